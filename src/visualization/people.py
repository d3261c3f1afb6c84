"""People on a picture: skeletons, box corners, labels and a legend.

P people, K keypoints, H, W picture. The user's own layouts are drawn by limb group (`data/limb_groups.py`). Further
people, found in the box of another person (MIPNet), are drawn lightly: thin dashed limbs, rings for keypoints
and a label in reversed colors. The look of a person is chosen in `styles.py` and passed on as a `PersonStyle`; the
drawing functions here define no colors or sizes.
"""
from typing import List, Optional, Sequence, Tuple

import numpy as np

from ..data.limb_groups import keypoint_colors, limb_colors
from ..data.skeletons import Skeleton
from ..system.errors import PoseError
from .files import check_picture
from .labels import LabelPlaces, draw_legend
from .strokes import clip_segment, draw_circle, draw_disc, draw_line
from .styles import OUTLINE_COLOR, RIM_COLOR, PersonStyle, choose_style, measure_person

# Far beyond any picture, yet small enough that products of two coordinates stay exact in float64.
_FARTHEST = 1e7


def draw_people(picture_bgr: np.ndarray, keypoints: np.ndarray, skeleton: Skeleton, *,
                person_scores: Optional[np.ndarray] = None, boxes_xywh: Optional[np.ndarray] = None,
                is_further: Optional[np.ndarray] = None, keypoint_score_thresh: float = 0.0,
                labels: Optional[Sequence[str]] = None, numbers: Optional[np.ndarray] = None, show_boxes: bool = True,
                by_person: bool = False, line_width: Optional[int] = None, legend: bool = False) -> np.ndarray:
    """Draw people on a copy of a picture, the one with the highest score last and so on top.

    A keypoint is left out, with its limbs, if one of its values is not finite or its score is not above the threshold.
    Keypoints may lie outside the picture; the visible part of their limbs is drawn.

    Args:
        picture_bgr: (H, W, 3) uint8; not changed.
        keypoints: (P, K, 3) x and y in picture pixels (0 is the center of the first one) and the keypoint score.
        skeleton: the layout of the K keypoints.
        person_scores: (P,), written beside the head unless there are labels; without them the mean keypoint score
            decides the order and nothing is written.
        boxes_xywh: (P, 4) in picture pixels, drawn as corners; they also give the person's size.
        is_further: (P,) bool, whether the person was found in the box of another one; drawn lightly, without the box.
        keypoint_score_thresh: keypoints with this score or less are left out.
        labels: P texts for the labels instead of the scores; an empty one gives no label.
        numbers: (P,) of the people, which choose their colors; by default the index in the list.
        show_boxes: draw the corners of the boxes.
        by_person: a color for each person instead of one for each side of the body.
        line_width: of limbs in pixels; by default from the person's size.
        legend: write in a corner which color is the person's left and which the right.

    Returns:
        A new (H, W, 3) uint8 picture.

    Raises:
        PoseError: the picture is not (H, W, 3) uint8, or another array has the wrong shape.
    """
    check_picture(picture_bgr)
    canvas = np.array(picture_bgr, order='C')
    num_people = len(keypoints)
    if num_people == 0:
        return canvas
    keypoints = _as_array('keypoints', keypoints, (num_people, skeleton.num_keypoints, 3))
    boxes = _as_array('boxes_xywh', boxes_xywh, (num_people, 4), default=np.nan)
    boxes = np.where(_is_box(boxes)[:, None], np.clip(boxes, -_FARTHEST, _FARTHEST), np.nan)
    is_shown = np.isfinite(keypoints).all(axis=2) & (keypoints[..., 2] > keypoint_score_thresh)
    points = np.clip(np.where(is_shown[..., None], keypoints[..., :2], np.nan), -_FARTHEST, _FARTHEST)
    means = np.where(is_shown, keypoints[..., 2], 0.0).sum(axis=1) / np.maximum(is_shown.sum(axis=1), 1)
    ranks = _as_array('person_scores', person_scores, (num_people,), default=means)
    texts = _label_texts(labels, person_scores, num_people)
    is_light = _as_array('is_further', is_further, (num_people,), default=0) > 0
    chosen = _as_array('numbers', numbers, (num_people,), default=np.arange(num_people)).astype(int)
    drawing_order = np.argsort(np.where(np.isnan(ranks), -np.inf, ranks), kind='stable')
    lengths = [measure_person(points[person], boxes[person], canvas.shape[:2]) for person in range(num_people)]
    styles = [choose_style(int(chosen[person]), lengths[person], canvas.shape[:2], is_light=bool(is_light[person]),
                           by_person=by_person, line_width=line_width) for person in range(num_people)]
    for person in drawing_order:
        _draw_person(canvas, points[person], boxes[person] if show_boxes else None, skeleton, styles[person])
    places = LabelPlaces(canvas.shape[:2], points, lengths, skeleton)
    # The label of the person with the highest score is placed first.
    for person in (each for each in drawing_order[::-1] if texts[each] and is_shown[each].any()):
        places.draw(canvas, texts[person], person, styles[person])
    if legend and not by_person and keypoint_colors(skeleton) is None and is_shown.any():
        draw_legend(canvas, places, skeleton)
    return canvas


def _draw_person(canvas: np.ndarray, points: np.ndarray, box_xywh: Optional[np.ndarray], skeleton: Skeleton,
                 style: PersonStyle) -> None:
    if box_xywh is not None and np.isfinite(box_xywh).all() and not style.is_light:
        _draw_box_corners(canvas, box_xywh, style)
    _draw_limbs(canvas, points, skeleton, style)
    _draw_keypoints(canvas, points, skeleton, style)


def _label_texts(labels: Optional[Sequence[str]], scores: Optional[np.ndarray], count: int) -> List[str]:
    if labels is not None:
        if len(labels) != count:
            raise PoseError(f'labels must be {count} texts, are {len(labels)}')
        return list(labels)
    if scores is None:
        return [''] * count
    return [f'{score:.2f}' if np.isfinite(score) else '' for score in np.asarray(scores, np.float64)]


def _as_array(name: str, values: Optional[np.ndarray], shape: Tuple[int, ...], *, default=None) -> np.ndarray:
    """Return values as float64 of a shape; if None, an array of that shape filled with the default."""
    if values is None:
        return np.broadcast_to(np.asarray(default, np.float64), shape)
    array = np.asarray(values, np.float64)
    if array.shape != shape:
        raise PoseError(f'{name} must have shape {shape}, got {array.shape}')
    return array


def _is_box(boxes_xywh: np.ndarray) -> np.ndarray:
    """Mask (P,) of the boxes that are finite and not empty."""
    return np.isfinite(boxes_xywh).all(axis=1) & (np.nan_to_num(boxes_xywh[:, 2:]) > 0).all(axis=1)


def _side_of(names: Tuple[str, ...]) -> str:
    """'left' or 'right' if the names hold keypoints of that side without their partners, else 'middle'."""
    sides = {side for side in ('left', 'right') for name in names if name.startswith(f'{side}_')}
    return sides.pop() if len(sides) == 1 else 'middle'


def _draw_limbs(canvas: np.ndarray, points: np.ndarray, skeleton: Skeleton, style: PersonStyle) -> None:
    """Draw the limbs between finite points (K, 2): first all outlines, so that none crosses another limb."""
    segments, own_colors = [], None if style.is_one_color else limb_colors(skeleton)
    for number, (names, (start, end)) in enumerate(zip(skeleton.links, skeleton.link_index)):
        if not np.isfinite(points[[start, end]]).all():
            continue
        # The margin keeps the round cap of a cut limb out of the picture.
        segment = clip_segment(points[start], points[end], canvas.shape[:2], margin=style.outlined_width)
        if segment is not None:
            color = own_colors[number] if own_colors else getattr(style, _side_of(names))
            segments += [(part, color) for part in (_dashes(segment, style) if style.is_light else [segment])]
    for segment, _ in segments:
        draw_line(canvas, segment, OUTLINE_COLOR, style.outlined_width)
    for segment, color in segments:
        draw_line(canvas, segment, color, style.line_width)


def _dashes(segment: np.ndarray, style: PersonStyle) -> List[np.ndarray]:
    """Cut a segment (2, 2) into dashes, the first and the last one at its ends."""
    length = float(np.linalg.norm(segment[1] - segment[0]))
    # The round ends extend a dash by half its width.
    dash, gap = 3.0 * style.outlined_width, 2.0 * style.outlined_width
    count = max(1, round((length + gap) / (dash + gap)))
    begins = np.linspace(0, max(0.0, length - dash), count)
    direction = (segment[1] - segment[0]) / max(length, 1e-9)
    return [segment[0] + direction * np.array([[begin], [min(begin + dash, length)]]) for begin in begins]


def _draw_keypoints(canvas: np.ndarray, points: np.ndarray, skeleton: Skeleton, style: PersonStyle) -> None:
    """Draw the finite points (K, 2) as discs with a light rim, or as rings; smaller where they lie close together,
    as in a face."""
    (height, width), own_colors = canvas.shape[:2], None if style.is_one_color else keypoint_colors(skeleton)
    radii = style.keypoint_radius * np.ones(len(points))
    shown = np.flatnonzero(np.isfinite(points[:, 0]))
    distances = np.linalg.norm(points[shown, None] - points[None, shown], axis=2)
    np.fill_diagonal(distances, np.inf)
    # Large discs would hide a face with many keypoints.
    smallest = 0.55 if keypoint_colors(skeleton) is None else 0.3
    if len(shown) > 1:
        radii[shown] = np.clip(0.35 * distances.min(axis=1), smallest * style.keypoint_radius, style.keypoint_radius)
    for index in shown:
        x, y = points[index]
        rim = 0.3 * radii[index] if radii[index] >= 2 else 0.0
        reach = radii[index] + rim + 1
        if not (-reach <= x <= width + reach and -reach <= y <= height + reach):
            continue
        color = own_colors[index] if own_colors else getattr(style, _side_of((skeleton.keypoint_names[index],)))
        if style.is_light:
            draw_circle(canvas, points[index], radii[index], OUTLINE_COLOR, style.outlined_width)
            draw_circle(canvas, points[index], radii[index], color, style.line_width)
            continue
        if rim > 0:
            draw_disc(canvas, points[index], reach, OUTLINE_COLOR)
            draw_disc(canvas, points[index], reach - 1, RIM_COLOR)
        draw_disc(canvas, points[index], radii[index], color)


def _draw_box_corners(canvas: np.ndarray, box_xywh: np.ndarray, style: PersonStyle) -> None:
    """Mark the corners of a box (4,) with thin outlined brackets."""
    x, y, width, height = box_xywh
    arm = 0.14 * min(width, height)
    thickness = max(2, style.line_width // 3)
    segments = []
    for corner_x, step_x in ((x, arm), (x + width, -arm)):
        for corner_y, step_y in ((y, arm), (y + height, -arm)):
            for end in ((corner_x + step_x, corner_y), (corner_x, corner_y + step_y)):
                segments.append(clip_segment(np.array([corner_x, corner_y]), np.array(end), canvas.shape[:2], 4.0))
    for color, line_width in ((OUTLINE_COLOR, thickness + max(1, thickness // 2)), (style.accent, thickness)):
        for segment in segments:
            if segment is not None:
                draw_line(canvas, segment, color, line_width)
