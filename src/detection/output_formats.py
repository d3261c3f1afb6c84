"""What the outputs of published detectors mean: recognised from names and shapes, turned into boxes and scores.

Formats, each as its own project exports it: YOLOX (arXiv 2107.08430; Megvii), RTMDet (arXiv 2212.07784;
OpenMMLab), NanoDet and NanoDet-Plus (RangiLyu), YOLOv8 and YOLO11 (Ultralytics). S is the side of a grid of cells, C
the number of classes, N all cells of all grids; boxes are x1, y1, x2, y2 in pixels of the detector's input.
"""
import ast
from dataclasses import dataclass
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..system.errors import PoseError
from ..system.printing import brief

# Outputs of one call -> boxes (N, 4) and their person scores (N,).
Decode = Callable[[Sequence[np.ndarray]], Tuple[np.ndarray, np.ndarray]]

KNOWN_FORMATS = (
    'YOLOX (1, N, 5 + classes)', 'RTMDet (three grids of classes and three of 4 distances, or three of both, or dets '
    'and labels)', 'NanoDet (classes and distances of three grids) and NanoDet-Plus (1, N, classes + 32)',
    'YOLOv8/YOLO11 (1, 4 + classes, N), or (1, 300, 6) with the suppression inside')
# Pixels per cell of the three grids; NanoDet-Plus has a fourth grid.
STRIDES = (8, 16, 32)
# NanoDet predicts a distance as a distribution over this many bins (Generalized Focal Loss, arXiv 2006.04388).
DISTANCE_BINS = 8
# The number of classes of COCO, whose first one is the person.
COCO_CLASSES = 80


@dataclass(frozen=True)
class Pixels:
    """How a detector expects its input pixels.

    Attributes:
        mean, std: (3,), in the order of the input's channels.
        is_rgb: whether that order is R, G, B.
        is_centered: whether the picture lies in the middle of the input instead of its upper left corner.
        padding: grey value around it.
    """

    mean: Tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: Tuple[float, float, float] = (1.0, 1.0, 1.0)
    is_rgb: bool = False
    is_centered: bool = False
    padding: int = 114


class OutputFormat(NamedTuple):
    """A recognised detector.

    Attributes:
        name: of its family.
        pixels: the pixels that it expects.
        decode: of its outputs.
        threshold: the family's default score above which boxes are people.
        has_suppression: whether the outputs are already without duplicates (NMS inside the file).
    """

    name: str
    pixels: Pixels
    decode: Decode
    threshold: float
    has_suppression: bool = False


# OpenMMLab's and NanoDet's constants of ImageNet, in the order blue, green, red.
_IMAGENET_BGR = {'mean': (103.53, 116.28, 123.675), 'std': (57.375, 57.12, 58.395)}
_ULTRALYTICS = Pixels(std=(255.0, 255.0, 255.0), is_rgb=True, is_centered=True)


def recognise(path: str, input_shape: Tuple[int, int], names: Sequence[str], outputs: Sequence[np.ndarray],
              metadata: Dict[str, str]) -> OutputFormat:
    """Return the format of a detector.

    Args:
        path: of the file, for messages.
        input_shape: (H, W).
        names, outputs: of one call on any picture.
        metadata: of the file.

    Raises:
        PoseError: no known format fits; the message shows the outputs and names the known formats.
    """
    shapes = [each.shape for each in outputs]
    by_name = dict(zip(names, outputs))
    for find in (_find_suppressed, _find_rtmdet, _find_nanodet, _find_single_output):
        found = find(path, input_shape, by_name, metadata)
        if found is not None:
            return found
    kind = ('; this looks like a classifier, which finds no boxes' if len(shapes) == 1 and len(shapes[0]) == 2 else '')
    raise PoseError(f'the outputs of {path} are none of a known detector: '
                    + ', '.join(f'{brief(name)} {shape}' for name, shape in list(zip(names, shapes))[:8])
                    + f'{kind}; known are {"; ".join(KNOWN_FORMATS)}')


def person_class(path: str, num_classes: int, metadata: Dict[str, str]) -> int:
    """Return which of C classes is the person.

    Raises:
        PoseError: neither the metadata nor the number of classes tells.
    """
    if 'names' in metadata:
        # Ultralytics writes {0: 'person', …} as Python's repr.
        try:
            names = ast.literal_eval(metadata['names'])
            found = [int(number) for number, name in dict(names).items() if str(name).lower() == 'person']
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            found = []
        if found and 0 <= found[0] < num_classes:
            return found[0]
        raise PoseError(f'the detector {path} finds no people: its classes are {brief(metadata["names"])}')
    if num_classes not in (1, COCO_CLASSES):
        raise PoseError(f'the detector {path} has {num_classes} classes and does not say which of them is the person; '
                        f'detectors of people alone, or of the {COCO_CLASSES} classes of COCO, need not')
    return 0


def cell_places(input_shape: Tuple[int, int], strides: Sequence[int]) -> Tuple[np.ndarray, np.ndarray]:
    """Return column and row (N, 2) of every cell, grid by grid and row by row, and its stride (N, 1)."""
    places, sizes = [], []
    for stride in strides:
        rows, columns = np.mgrid[:-(-input_shape[0] // stride), :-(-input_shape[1] // stride)]
        places.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        sizes.append(np.full((rows.size, 1), stride))
    return np.concatenate(places).astype(np.float32), np.concatenate(sizes).astype(np.float32)


def around_points(points: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Return the boxes (N, 4) around points (N, 2) with distances (N, 4) to left, top, right and bottom."""
    return np.concatenate([points - distances[:, :2], points + distances[:, 2:]], axis=1)


def around_centers(centers: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the boxes (N, 4) of centers (N, 2) and sizes (N, 2)."""
    return np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1)


def _as_probabilities(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values, -50, 50)))


def _num_cells(input_shape: Tuple[int, int], strides: Sequence[int]) -> int:
    return sum(-(-input_shape[0] // stride) * -(-input_shape[1] // stride) for stride in strides)


def _find_suppressed(path, _input_shape, outputs, metadata) -> Optional[OutputFormat]:
    """MMDeploy's dets (1, N, 5) and labels (1, N), and Ultralytics' (1, N, 6) of x1, y1, x2, y2, score, class."""
    values = list(outputs.values())
    if set(outputs) == {'dets', 'labels'} and outputs['dets'].ndim == 3 and outputs['dets'].shape[2] == 5:
        order = [list(outputs).index(name) for name in ('dets', 'labels')]

        def decode_labelled(arrays: Sequence[np.ndarray]) -> Tuple[np.ndarray, np.ndarray]:
            boxes, labels = (arrays[number][0] for number in order)
            people = labels == 0
            return boxes[people, :4], boxes[people, 4]

        return OutputFormat('RTMDet with suppression', Pixels(**_IMAGENET_BGR), decode_labelled, 0.45, True)
    if len(values) == 1 and values[0].ndim == 3 and values[0].shape[2] == 6 and values[0].shape[1] <= 1000:
        person = person_class(path, COCO_CLASSES, metadata)

        def decode_rows(arrays: Sequence[np.ndarray]) -> Tuple[np.ndarray, np.ndarray]:
            rows = arrays[0][0]
            rows = rows[np.round(rows[:, 5]) == person]
            return rows[:, :4], rows[:, 4]

        return OutputFormat('YOLO with suppression', _ULTRALYTICS, decode_rows, 0.3, True)
    return None


def _find_rtmdet(path, input_shape, outputs, metadata) -> Optional[OutputFormat]:
    """Grids (1, C, S, S) of class logits and (1, 4, S, S) of distances in pixels, or (1, S, S, C + 4) of both."""
    values = list(outputs.values())
    sides = [(input_shape[0] // stride, input_shape[1] // stride) for stride in STRIDES]
    points, strides = cell_places(input_shape, STRIDES)
    corners = points * strides
    if len(values) == 3 and all(each.ndim == 4 and each.shape[3] > 4 for each in values):
        order = _by_grid([each.shape[1:3] for each in values], sides)
        if order is None:
            return None
        person = person_class(path, values[0].shape[3] - 4, metadata)

        def decode_joint(arrays: Sequence[np.ndarray]) -> Tuple[np.ndarray, np.ndarray]:
            rows = np.concatenate([arrays[number][0].reshape(-1, arrays[number].shape[3]) for number in order])
            return around_points(corners, rows[:, -4:]), _as_probabilities(rows[:, person])

        return OutputFormat('RTMDet', Pixels(**_IMAGENET_BGR), decode_joint, 0.45)
    if len(values) == 6 and all(each.ndim == 4 for each in values):
        classes = [number for number, each in enumerate(values) if number < 3]
        distances = [number for number, each in enumerate(values) if number >= 3]
        groups = []
        for numbers in (classes, distances):
            order = _by_grid([values[number].shape[2:] for number in numbers], sides)
            if order is None or len({values[number].shape[1] for number in numbers}) > 1:
                return None
            groups.append([numbers[place] for place in order])
        if values[distances[0]].shape[1] != 4:
            return None
        person = person_class(path, values[classes[0]].shape[1], metadata)

        def decode_apart(arrays: Sequence[np.ndarray]) -> Tuple[np.ndarray, np.ndarray]:
            logits = np.concatenate([arrays[number][0, person].ravel() for number in groups[0]])
            sides_of_boxes = np.concatenate([arrays[number][0].reshape(4, -1).T for number in groups[1]])
            return around_points(corners, sides_of_boxes), _as_probabilities(logits)

        return OutputFormat('RTMDet', Pixels(**_IMAGENET_BGR), decode_apart, 0.45)
    return None


def _by_grid(shapes: Sequence[Tuple[int, ...]], sides: Sequence[Tuple[int, int]]) -> Optional[List[int]]:
    """Return for every grid the index of its output, or None if they do not match one to one."""
    shapes = [tuple(shape) for shape in shapes]
    return [shapes.index(side) for side in sides] if sorted(shapes) == sorted(sides) else None


def _find_nanodet(path, input_shape, outputs, metadata) -> Optional[OutputFormat]:
    """Per grid (1, S * S, C) of probabilities and (1, S * S, 32) of distances; NanoDet-Plus joins all of them."""
    values, bins = list(outputs.values()), 4 * DISTANCE_BINS
    pixels = Pixels(**_IMAGENET_BGR, is_centered=True, padding=0)
    if len(values) == 6 and all(each.ndim == 3 for each in values):
        counts = [_num_cells(input_shape, [stride]) for stride in STRIDES]
        classes = [number for number, name in enumerate(outputs) if values[number].shape[2] != bins]
        distances = [number for number, name in enumerate(outputs) if values[number].shape[2] == bins]
        groups = []
        for numbers in (classes, distances):
            found = [values[number].shape[1] for number in numbers]
            if sorted(found) != sorted(counts):
                return None
            groups.append([numbers[found.index(count)] for count in counts])
        person = person_class(path, values[classes[0]].shape[2], metadata)

        def decode_grids(arrays: Sequence[np.ndarray]) -> Tuple[np.ndarray, np.ndarray]:
            scores = np.concatenate([arrays[number][0, :, person] for number in groups[0]])
            bins_of_sides = np.concatenate([arrays[number][0] for number in groups[1]])
            return _nanodet_boxes(scores, bins_of_sides, input_shape, STRIDES, 0.5)

        return OutputFormat('NanoDet', pixels, decode_grids, 0.4)
    strides = (*STRIDES, 64)
    if len(values) == 1 and values[0].ndim == 3 and values[0].shape[1] == _num_cells(input_shape, strides) \
            and values[0].shape[2] > bins:
        person = person_class(path, values[0].shape[2] - bins, metadata)

        def decode_joined(arrays: Sequence[np.ndarray]) -> Tuple[np.ndarray, np.ndarray]:
            # In NanoDet-Plus distances start at the corner of a cell, not at its center.
            return _nanodet_boxes(arrays[0][0, :, person], arrays[0][0, :, -bins:], input_shape, strides, 0.0)

        return OutputFormat('NanoDet-Plus', pixels, decode_joined, 0.4)
    return None


def _nanodet_boxes(scores: np.ndarray, bins: np.ndarray, input_shape, strides, offset: float
                   ) -> Tuple[np.ndarray, np.ndarray]:
    """Return boxes and scores of N cells; a distance is the expectation over its bins, in cells."""
    bins = bins.reshape(len(bins), 4, DISTANCE_BINS)
    weights = np.exp(bins - bins.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    points, sizes = cell_places(input_shape, strides)
    distances = weights @ np.arange(DISTANCE_BINS, dtype=np.float32) * sizes
    return around_points((points + offset) * sizes, distances), scores


def _find_single_output(path, input_shape, outputs, metadata) -> Optional[OutputFormat]:
    """YOLOX (1, N, 5 + C) of cells, and Ultralytics' (1, 4 + C, N) of boxes."""
    values = list(outputs.values())
    count = _num_cells(input_shape, STRIDES)
    if len(values) != 1 or values[0].ndim != 3:
        return None
    _, rows, columns = values[0].shape
    if rows == count and columns > 5:
        person = person_class(path, columns - 5, metadata)
        places, strides = cell_places(input_shape, STRIDES)
        # Megvii's default export gives offsets in cells; with --decode_in_inference they are already pixels.
        is_decoded = np.median(np.abs(values[0][0, :, 2:4])) > 8

        def decode_cells(arrays: Sequence[np.ndarray]) -> Tuple[np.ndarray, np.ndarray]:
            cells = arrays[0][0]
            scores = cells[:, 4] * cells[:, 5 + person]
            if is_decoded:
                return around_centers(cells[:, :2], cells[:, 2:4]), scores
            return around_centers((cells[:, :2] + places) * strides,
                                  np.exp(np.clip(cells[:, 2:4], None, 20)) * strides), scores

        return OutputFormat('YOLOX', Pixels(), decode_cells, 0.3)
    if columns == count and rows > 4:
        num_classes = _classes_of_ultralytics(rows - 4, metadata)
        person = person_class(path, num_classes, metadata)

        def decode_columns(arrays: Sequence[np.ndarray]) -> Tuple[np.ndarray, np.ndarray]:
            boxes = arrays[0][0]
            return around_centers(boxes[:2].T, boxes[2:4].T), boxes[4 + person]

        return OutputFormat('YOLOv8/YOLO11', _ULTRALYTICS, decode_columns, 0.3)
    return None


def _classes_of_ultralytics(channels: int, metadata: Dict[str, str]) -> int:
    """Return the number of classes; a pose network has its one class and then three channels per keypoint."""
    if metadata.get('task') == 'pose' or channels == 1 + 3 * 17:
        return 1
    return channels
