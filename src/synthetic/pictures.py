"""Made-up pictures of people with COCO annotations: positions, occlusions and visible keypoints.

The people are painted from articulated figures, so every keypoint is known exactly, even if it is hidden.
"""
import functools
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import cv2
import numpy as np

from ..data.skeletons import COCO
from .canvas import Canvas
from .figure import Figure, sample_figure
from .pairs import sample_pair
from .people import PART_NUMBERS, SHOWN_BY, FigurePainter, Outfit, sample_outfit
from .scenery import paint_background, paint_ground_shadow, paint_obstacle, photograph

# The index of a split is part of its random seed.
SPLITS = ('train2017', 'val2017', 'singles2017', 'moderate2017')
DEFAULT_IMAGE_SIZE = (480, 360)

PEOPLE_SHARES = (0.45, 0.37, 0.18)  # of pictures with one, two and three people
STATURE_RANGES = ((0.40, 0.88), (0.36, 0.80), (0.30, 0.66))  # in picture heights, by the number of people
PAIR_STATURE_RANGE = (0.45, 0.84)
# IoU of the boxes of a pair, uniform. As with COCO, on which the published MIPNet is trained, and OCHuman, on which it
# is scored, people overlap less in the training set. OCHuman calls them moderately occluded from 0.5 on and hard
# from 0.75 on (Zhang et al., Pose2Seg, CVPR 2019).
IOU_RANGES = {'train2017': (0.1, 0.8), 'moderate2017': (0.5, 0.75), 'val2017': (0.75, 0.97)}
OVERLAP_SHARE = 0.12  # of pictures with several people
TRUNCATED_SHARE = 0.09  # of people
OBSTACLE_SHARE = 0.10
MIN_LABELLED = 5  # keypoints
MIN_SEEN = 6  # keypoints, so that nobody is almost completely hidden behind another
# The one behind in a pair may be hidden more than that, as long as the pose can still be recognised.
MIN_SEEN_BEHIND = 4  # keypoints
MIN_SEEN_BEHIND_SHARE = 0.35  # of the silhouette
MIN_SILHOUETTE = 1500  # pixels
CONTOUR_TOLERANCE = 0.6  # pixels that a polygon may stray from the silhouette
FACE = ('nose', 'left_eye', 'right_eye')
_OBSTACLE_PART = 255

# Random numbers and (W, H) of the picture -> figures from far to near.
SampleFigures = Callable[[np.random.Generator, Tuple[int, int]], List[Figure]]
# For each person, from far to near: number of visible keypoints, visible share of the silhouette -> whether accepted.
IsClear = Callable[[List[int], List[float]], bool]


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


def make_picture(seed: int, split: str, index: int, image_size: Tuple[int, int] = DEFAULT_IMAGE_SIZE, *,
                 pair_share: Optional[float] = None) -> SyntheticPicture:
    """Paint a picture; it depends on the arguments alone.

    Args:
        seed: 0 or more.
        split: one of SPLITS.
        index: of the picture in its split, from 1.
        image_size: (W, H) in pixels.
        pair_share: None paints one to three people, most of them apart. A number is the probability, 0 to 1, that the
            picture shows two people of whom one stands in front of the other (annotated from back to front), else one.
            The IoU of the two boxes is that of IOU_RANGES; singles2017 has no pairs.
    """
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    sample_figures, is_clear = _choose_scene(rng, pair_share, split)
    while True:
        figures = sample_figures(rng, image_size)
        outfits = [sample_outfit(rng) for _ in figures]
        canvas = Canvas(paint_background(rng, image_size, outfits[0].skin))
        silhouettes, shown = _paint_people(rng, canvas, figures, outfits)
        annotations = [_annotate(figure, silhouette, shown, person)
                       for person, (figure, silhouette) in enumerate(zip(figures, silhouettes))]
        num_seen = [annotation['keypoints'][2::3].count(2) for annotation in annotations]
        if min(annotation['area'] for annotation in annotations) >= MIN_SILHOUETTE and is_clear(
                num_seen, _seen_shares(silhouettes, shown)):
            break
    return SyntheticPicture(photograph(rng, canvas.picture()), int(rng.integers(70, 96)), annotations,
                            [_detect(rng, annotation['bbox'], image_size) for annotation in annotations])


def _choose_scene(rng: np.random.Generator, pair_share: Optional[float], split: str) -> Tuple[SampleFigures, IsClear]:
    """Return the function that draws the people of a picture, and the rule whether enough of them is visible."""
    if pair_share is None:
        return _sample_figures, _everybody_is_clear
    if rng.random() >= pair_share:
        return functools.partial(_sample_figures, count=1), _everybody_is_clear
    # Drawn once for all attempts: otherwise heavy overlaps, which fail more often, would become rare.
    return functools.partial(_sample_pair, iou=rng.uniform(*IOU_RANGES[split])), _pair_is_clear


def _everybody_is_clear(num_seen: List[int], seen_shares: List[float]) -> bool:
    return min(num_seen) >= MIN_SEEN


def _pair_is_clear(num_seen: List[int], seen_shares: List[float]) -> bool:
    return num_seen[0] >= MIN_SEEN_BEHIND and seen_shares[0] >= MIN_SEEN_BEHIND_SHARE and num_seen[1] >= MIN_SEEN


def _sample_figures(rng: np.random.Generator, image_size: Tuple[int, int], *, count: Optional[int] = None
                    ) -> List[Figure]:
    """Draw 1 to 3 people, or `count`, and their places, from far to near."""
    if count is None:
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
        figure, = _put(rng, [figure], x, image_size)
        if _is_well_labelled(figure, image_size):
            figures.append(figure)
    return sorted(figures, key=lambda figure: figure.extent_xyxy[3])


def _sample_pair(rng: np.random.Generator, image_size: Tuple[int, int], *, iou: float) -> List[Figure]:
    """Draw the one behind and the one in front, whose boxes have about this IoU, and their place in the picture."""
    while True:
        pair = sample_pair(rng, image_size[1] * rng.uniform(*PAIR_STATURE_RANGE), iou)
        pair = _put(rng, pair, image_size[0] * rng.uniform(0.25, 0.75), image_size)
        if all(_is_well_labelled(figure, image_size) for figure in pair):
            return pair


def _put(rng: np.random.Generator, group: Sequence[Figure], x: float, image_size: Tuple[int, int]) -> List[Figure]:
    """Move a group of figures together to the column x, inside the picture or sometimes across its border."""
    extents = np.stack([figure.extent_xyxy for figure in group])
    corner_now = extents[:, :2].min(0)
    size = extents[:, 2:].max(0) - corner_now
    room = np.array(image_size) - size
    margin = np.minimum(0.07 * group[-1].stature, np.maximum(room, 0) / 2)
    y = rng.uniform(0.35, 1.0) * max(room[1] - 2 * margin[1], 0) + margin[1]
    corner = np.array([np.clip(x - size[0] / 2, margin[0], max(room[0] - margin[0], margin[0])), y])
    if rng.random() < TRUNCATED_SHARE:
        axis, at_end = ((0, False), (0, True), (1, True), (1, False))[rng.choice(4, p=(0.3, 0.3, 0.3, 0.1))]
        cut = rng.uniform(0.12, 0.4) * size[axis]
        corner[axis] = room[axis] + cut if at_end else -cut
    return [figure.moved(corner - corner_now) for figure in group]


def _paint_people(rng: np.random.Generator, canvas: Canvas, figures: List[Figure], outfits: List[Outfit]
                  ) -> Tuple[List[np.ndarray], np.ndarray]:
    """Paint all people and what stands in front of them.

    Returns:
        The silhouettes, bool (H, W) each, as if nobody else were there; and the final map (H, W) uint8 of what
        is visible: part numbers, shifted for every person by _part_shift.
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


def _seen_shares(silhouettes: List[np.ndarray], shown: np.ndarray) -> List[float]:
    """The shares of the silhouettes that nothing covers; arguments as from _paint_people."""
    return [np.count_nonzero((shown > _part_shift(person)) & (shown < _part_shift(person + 1)))
            / max(np.count_nonzero(silhouette), 1) for person, silhouette in enumerate(silhouettes)]


def _is_labelled(figure: Figure, name: str, image_size: Tuple[int, int]) -> bool:
    """Whether COCO's annotators would have placed the keypoint."""
    place = figure.at(name)
    inside = bool(np.all(place >= 0) and np.all(place <= np.array(image_size) - 1))
    return inside and (figure.from_front or name not in FACE)


def _is_well_labelled(figure: Figure, image_size: Tuple[int, int]) -> bool:
    return sum(_is_labelled(figure, name, image_size) for name in COCO.keypoint_names) >= MIN_LABELLED


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
    """Outer contours of a bool (H, W) mask as COCO polygons [x, y, x, y, …]; its box if no contour has an area."""
    contours, _ = cv2.findContours(silhouette.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    polygons = [cv2.approxPolyDP(contour, CONTOUR_TOLERANCE, True).reshape(-1).tolist() for contour in contours]
    polygons = [polygon for polygon in polygons if len(polygon) >= 6]
    if polygons:
        return polygons
    x, y, width, height = cv2.boundingRect(silhouette.astype(np.uint8))
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def _detect(rng: np.random.Generator, box_xywh: List[float], image_size: Tuple[int, int]) -> Dict[str, Any]:
    """A true box, moved by a few percent of its size and clipped to the picture, with a made-up score."""
    x, y, width, height = box_xywh
    corners = np.array([x, y, x + width, y + height]) + rng.normal(0, 0.025, 4) * (width, height, width, height)
    left, top, right, bottom = np.clip(corners, 0, np.tile(image_size, 2))
    return {'category_id': 1, 'bbox': [round(float(value), 2) for value in (left, top, right - left, bottom - top)],
            'score': round(float(rng.uniform(0.6, 1.0)), 4)}
