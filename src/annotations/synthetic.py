"""A made-up data set of people in the layout of COCO 2017, so that a first training needs no download.

    python -m src.annotations.synthetic --root DIR --num_train 1200 --num_val 300 --seed 1

The people are painted from articulated figures, so every keypoint is known exactly, also where something hides it.
As in COCO, visibility 2 is seen, 1 is hidden but inside the picture, and 0 is not labelled: outside the picture, or
the nose and eyes of a person seen from behind.
"""
import argparse
import json
import os
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

import cv2
import numpy as np
from tqdm import tqdm

from src.annotations.synthetic_canvas import Canvas
from src.annotations.synthetic_figure import Figure, sample_figure
from src.annotations.synthetic_people import PART_NUMBERS, SHOWN_BY, FigurePainter, Outfit, sample_outfit
from src.annotations.synthetic_scenery import paint_background, paint_ground_shadow, paint_obstacle, photograph
from src.files import write_bytes, write_json
from src.skeletons import COCO

SPLITS = ('train2017', 'val2017')
DEFAULT_IMAGE_SIZE = (480, 360)
MIN_IMAGE_SIDE = 160
MARKER_NAME = 'synthetic.json'
# Part of the marker: a folder made by an older painter is made anew. Raise it when the pictures change.
PAINTER_VERSION = 3

PEOPLE_SHARES = (0.45, 0.37, 0.18)  # of pictures with one, two and three people
STATURE_RANGES = ((0.40, 0.88), (0.36, 0.80), (0.30, 0.66))  # in picture heights, by the number of people
OVERLAP_SHARE = 0.12  # of pictures with several people
TRUNCATED_SHARE = 0.09  # of people
OBSTACLE_SHARE = 0.10
MIN_LABELLED = 5  # keypoints
MIN_SEEN = 6  # keypoints: nobody stands all but hidden behind another
MIN_SILHOUETTE = 1500  # pixels
CONTOUR_TOLERANCE = 0.6  # pixels that a polygon may stray from the silhouette
FACE = ('nose', 'left_eye', 'right_eye')
_OBSTACLE_PART = 255


@dataclass(frozen=True)
class SyntheticPicture:
    """One picture with its people.

    Attributes:
        image: BGR uint8 (H, W, 3).
        jpeg_quality: 70 to 95.
        annotations: COCO annotations without id and image_id.
        detections: what a person detector might have found: bbox (xywh in pixels) and score.
    """

    image: np.ndarray
    jpeg_quality: int
    annotations: List[Dict[str, Any]]
    detections: List[Dict[str, Any]]


@dataclass(frozen=True)
class SyntheticSet:
    """What lies on disk: pictures and people by split, and whether it was there already."""

    root: str
    num_pictures: Dict[str, int]
    num_people: Dict[str, int]
    reused: bool


def make_picture(seed: int, split: str, index: int, image_size: Tuple[int, int] = DEFAULT_IMAGE_SIZE
                 ) -> SyntheticPicture:
    """Paint a picture, which depends on nothing but the arguments; index counts from 1, image_size is (W, H)."""
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    while True:
        figures = _sample_figures(rng, image_size)
        outfits = [sample_outfit(rng) for _ in figures]
        canvas = Canvas(paint_background(rng, image_size, outfits[0].skin))
        silhouettes, shown = _paint_people(rng, canvas, figures, outfits)
        annotations = [_annotate(figure, silhouette, shown, person)
                       for person, (figure, silhouette) in enumerate(zip(figures, silhouettes))]
        if all(annotation['area'] >= MIN_SILHOUETTE and annotation['keypoints'][2::3].count(2) >= MIN_SEEN
               for annotation in annotations):
            break
    return SyntheticPicture(photograph(rng, canvas.picture()), int(rng.integers(70, 96)), annotations,
                            [_detect(rng, annotation['bbox'], image_size) for annotation in annotations])


def _sample_figures(rng: np.random.Generator, image_size: Tuple[int, int]) -> List[Figure]:
    """Draw 1 to 3 people and their places, from far to near."""
    count = int(rng.choice(len(PEOPLE_SHARES), p=PEOPLE_SHARES)) + 1
    slots = (rng.permutation(count) + rng.uniform(0.35, 0.65, count)) * image_size[0] / count
    overlapping = count > 1 and rng.random() < OVERLAP_SHARE
    figures: List[Figure] = []
    while len(figures) < count:
        figure = sample_figure(rng, image_size[1] * rng.uniform(*STATURE_RANGES[count - 1]))
        x = slots[len(figures)]
        if overlapping and len(figures) == 1:
            first = figures[0].extent_xyxy
            x = (first[0] + first[2]) / 2 + rng.choice((-1, 1)) * rng.uniform(0.22, 0.42) * figure.stature
        figure = _put(rng, figure, x, image_size)
        if sum(_is_labelled(figure, name, image_size) for name in COCO.keypoint_names) >= MIN_LABELLED:
            figures.append(figure)
    return sorted(figures, key=lambda figure: figure.extent_xyxy[3])


def _put(rng: np.random.Generator, figure: Figure, x: float, image_size: Tuple[int, int]) -> Figure:
    """Move a figure to the column x: inside the picture, or for some across its border."""
    left, top, right, bottom = figure.extent_xyxy
    size = np.array([right - left, bottom - top])
    room = np.array(image_size) - size
    margin = np.minimum(0.07 * figure.stature, np.maximum(room, 0) / 2)
    y = rng.uniform(0.35, 1.0) * max(room[1] - 2 * margin[1], 0) + margin[1]
    corner = np.array([np.clip(x - size[0] / 2, margin[0], max(room[0] - margin[0], margin[0])), y])
    if rng.random() < TRUNCATED_SHARE:
        axis, at_end = ((0, False), (0, True), (1, True), (1, False))[rng.choice(4, p=(0.3, 0.3, 0.3, 0.1))]
        cut = rng.uniform(0.12, 0.4) * size[axis]
        corner[axis] = room[axis] + cut if at_end else -cut
    return figure.moved(corner - (left, top))


def _paint_people(rng: np.random.Generator, canvas: Canvas, figures: List[Figure], outfits: List[Outfit]
                  ) -> Tuple[List[np.ndarray], np.ndarray]:
    """Paint all people and what stands in front of them.

    Returns:
        The silhouettes, bool (H, W) each, as if nobody else was there; and the map (H, W) uint8 of what is seen in
        the end: part numbers, shifted for every person by _part_shift.
    """
    shown = np.zeros_like(canvas.parts)
    silhouettes = []
    for person, (figure, outfit) in enumerate(zip(figures, outfits)):
        canvas.parts[:] = 0
        feet = np.stack([figure.at('left_toe'), figure.at('right_toe')])
        reach = np.abs(feet[0] - feet[1])[0] / 2 + 0.1 * figure.stature
        paint_ground_shadow(canvas, np.array([feet[:, 0].mean(), feet[:, 1].max()]), (reach, 0.035 * figure.stature))
        FigurePainter(canvas, figure, outfit).paint()
        silhouettes.append(canvas.parts > 0)
        np.copyto(shown, canvas.parts + np.uint8(_part_shift(person)), where=silhouettes[-1])
    canvas.parts[:] = 0
    for figure in figures:
        if rng.random() < OBSTACLE_SHARE:
            paint_obstacle(rng, canvas, _OBSTACLE_PART, figure.extent_xyxy)
    shown[canvas.parts > 0] = _OBSTACLE_PART
    return silhouettes, shown


def _part_shift(person: int) -> int:
    return person * (len(PART_NUMBERS) + 1)


def _is_labelled(figure: Figure, name: str, image_size: Tuple[int, int]) -> bool:
    """Whether COCO's annotators would have placed the keypoint."""
    place = figure.at(name)
    inside = bool(np.all(place >= 0) and np.all(place <= np.array(image_size) - 1))
    return inside and (figure.from_front or name not in FACE)


def _annotate(figure: Figure, silhouette: np.ndarray, shown: np.ndarray, person: int) -> Dict[str, Any]:
    """COCO annotation of one person, without ids; silhouette and shown as from _paint_people."""
    image_size = silhouette.shape[::-1]
    keypoints: List[float] = []
    for name in COCO.keypoint_names:
        if not _is_labelled(figure, name, image_size):
            keypoints += [0, 0, 0]
            continue
        x, y = figure.at(name)
        part = int(shown[int(round(y)), int(round(x))]) - _part_shift(person)
        seen = part in SHOWN_BY[name] and name not in figure.hidden_ears
        keypoints += [round(float(x), 2), round(float(y), 2), 2 if seen else 1]
    x, y, width, height = cv2.boundingRect(silhouette.astype(np.uint8))
    return {'category_id': 1, 'iscrowd': 0, 'bbox': [x, y, width, height], 'area': int(np.count_nonzero(silhouette)),
            'segmentation': _outline_silhouette(silhouette), 'keypoints': keypoints,
            'num_keypoints': sum(visibility > 0 for visibility in keypoints[2::3])}


def _outline_silhouette(silhouette: np.ndarray) -> List[List[float]]:
    """Outer contours of a bool (H, W) mask as COCO polygons [x, y, x, y, …]; its box where no contour has an area."""
    contours, _ = cv2.findContours(silhouette.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    polygons = [cv2.approxPolyDP(contour, CONTOUR_TOLERANCE, True).reshape(-1).tolist() for contour in contours]
    polygons = [polygon for polygon in polygons if len(polygon) >= 6]
    if polygons:
        return polygons
    x, y, width, height = cv2.boundingRect(silhouette.astype(np.uint8))
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def _detect(rng: np.random.Generator, box_xywh: List[float], image_size: Tuple[int, int]) -> Dict[str, Any]:
    """A true box moved by a few per cent of its size and cut at the border, with a made-up score."""
    x, y, width, height = box_xywh
    corners = np.array([x, y, x + width, y + height]) + rng.normal(0, 0.025, 4) * (width, height, width, height)
    left, top, right, bottom = np.clip(corners, 0, np.tile(image_size, 2))
    return {'category_id': 1, 'bbox': [round(float(value), 2) for value in (left, top, right - left, bottom - top)],
            'score': round(float(rng.uniform(0.6, 1.0)), 4)}


def write_synthetic_coco(root: str, *, num_train: int, num_val: int, seed: int,
                         image_size: Tuple[int, int] = DEFAULT_IMAGE_SIZE) -> SyntheticSet:
    """Write pictures and annotations in the layout of COCO 2017, plus annotations/val2017_detections.json.

    A complete set that was made with the same arguments is kept as it is.

    Args:
        root: folder of the data set; made when missing.
        num_train: pictures in train2017.
        num_val: pictures in val2017.
        seed: 0 or more; picture i of a split depends only on the seed, the split, i and the image size.
        image_size: (W, H) in pixels.

    Raises:
        ValueError: a count below 1, a negative seed or a picture too small for people.
        FileExistsError: root holds annotations that this function did not write.
        OSError: root cannot be written.
    """
    counts = dict(zip(SPLITS, (num_train, num_val)))
    _check_arguments(counts, seed, image_size)
    arguments = {'painter_version': PAINTER_VERSION, 'num_train': num_train, 'num_val': num_val, 'seed': seed,
                 'image_size': list(image_size)}
    marker = _load_marker(root)
    if marker is not None and marker.get('arguments') == arguments and _is_complete(root, marker, counts):
        print(f'{root} already holds this synthetic data set; it is used as it is')
        return SyntheticSet(root, counts, marker['num_people'], reused=True)
    if marker is None and any(os.path.exists(_annotation_path(root, split)) for split in SPLITS):
        raise FileExistsError(f'{root} holds COCO annotations that are not synthetic; choose another folder')
    try:
        os.makedirs(os.path.join(root, 'annotations'), exist_ok=True)
        write_json(os.path.join(root, MARKER_NAME), {'arguments': arguments, 'complete': False})
        num_people = {split: _write_split(root, split, counts[split], seed, image_size) for split in SPLITS}
        write_json(os.path.join(root, MARKER_NAME),
                    {'arguments': arguments, 'complete': True, 'num_people': num_people})
    except OSError as error:
        raise OSError(f'cannot write the synthetic data set to {root!r}: {error}') from error
    return SyntheticSet(root, counts, num_people, reused=False)


def _check_arguments(counts: Dict[str, int], seed: int, image_size: Tuple[int, int]) -> None:
    for split, count in counts.items():
        if count < 1:
            raise ValueError(f'{split} needs at least 1 picture, not {count}')
    if seed < 0:
        raise ValueError(f'seed must be 0 or more, not {seed}')
    if min(image_size) < MIN_IMAGE_SIDE:
        raise ValueError(f'image_size {tuple(image_size)} is too small: people need {MIN_IMAGE_SIDE} pixels each way')


def _load_marker(root: str) -> Optional[Dict[str, Any]]:
    """The note that write_synthetic_coco leaves in its folder, or None."""
    path = os.path.join(root, MARKER_NAME)
    if not os.path.isfile(path):
        return None
    with open(path, encoding='utf-8') as file:
        return json.load(file)


def _is_complete(root: str, marker: Dict[str, Any], counts: Dict[str, int]) -> bool:
    paths = [_annotation_path(root, split) for split in SPLITS] + [_detection_path(root)]
    paths += [os.path.join(root, split, _file_name(index)) for split in SPLITS for index in range(1, counts[split] + 1)]
    return marker['complete'] and all(os.path.isfile(path) for path in paths)


def _file_name(index: int) -> str:
    return f'{index:012d}.jpg'


def _annotation_path(root: str, split: str) -> str:
    return os.path.join(root, 'annotations', f'person_keypoints_{split}.json')


def _detection_path(root: str) -> str:
    return os.path.join(root, 'annotations', 'val2017_detections.json')


def _write_split(root: str, split: str, count: int, seed: int, image_size: Tuple[int, int]) -> int:
    """Write the pictures and annotations of a split; return the number of its people."""
    os.makedirs(os.path.join(root, split), exist_ok=True)
    images, annotations, detections = [], [], []
    for index in tqdm(range(1, count + 1), desc=f'painting {split}', unit='picture'):
        picture = make_picture(seed, split, index, image_size)
        _, encoded = cv2.imencode('.jpg', picture.image, (cv2.IMWRITE_JPEG_QUALITY, picture.jpeg_quality))
        write_bytes(os.path.join(root, split, _file_name(index)), encoded.tobytes())
        images.append({'id': index, 'file_name': _file_name(index), 'width': image_size[0], 'height': image_size[1]})
        for annotation in picture.annotations:
            annotations.append({'id': len(annotations) + 1, 'image_id': index, **annotation})
        detections += [{'image_id': index, **detection} for detection in picture.detections]
    write_json(_annotation_path(root, split), {
        'info': {'description': f'Synthetic people, {split}, seed {seed}'}, 'images': images,
        'annotations': annotations, 'categories': [_category()]})
    if split == 'val2017':
        write_json(_detection_path(root), detections)
    return len(annotations)


def _category() -> Dict[str, Any]:
    return {'id': 1, 'name': 'person', 'supercategory': 'person', 'keypoints': list(COCO.keypoint_names),
            'skeleton': (COCO.link_index + 1).tolist()}


def main() -> None:
    """Write the data set named on the command line and say where it lies."""
    parser = argparse.ArgumentParser(description='Paint a small data set of people in the layout of COCO 2017.')
    parser.add_argument('--root', required=True, help='folder of the data set')
    parser.add_argument('--num_train', type=int, default=1200, help='pictures in train2017 (default: %(default)s)')
    parser.add_argument('--num_val', type=int, default=300, help='pictures in val2017 (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=1, help='another seed paints other people (default: %(default)s)')
    chosen = parser.parse_args()
    try:
        made = write_synthetic_coco(chosen.root, num_train=chosen.num_train, num_val=chosen.num_val, seed=chosen.seed)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    for split in SPLITS:
        print(f'{split}: {made.num_pictures[split]} pictures of {made.num_people[split]} people in '
              f'{os.path.join(made.root, split)}, annotations in {_annotation_path(made.root, split)}')
    print(f'detections for val2017: {_detection_path(made.root)}')


if __name__ == '__main__':
    main()
