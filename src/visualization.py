"""Drawing of people: skeletons, box corners and scores on a picture, and the writing of that picture to disk.

P people, K keypoints, L limbs, H, W picture. The person's left side is orange, the right side blue and what joins the
two is nearly white: orange against blue stays apart for every common kind of colour blindness (Okabe and Ito, "Color
Universal Design", 2008). Layouts of one's own are drawn by limb group (`data/limb_groups.py`). Further people, whom a
network has found in the box of another one, are drawn lightly: thin dashed limbs, rings for keypoints and a label in
reversed colours. How one person looks is decided in ``_choose_style`` and carried by a ``PersonStyle``; the functions
that put it on the picture know no colours and no sizes of their own.
"""
import os
from dataclasses import dataclass
from typing import List, Optional, Tuple

import cv2
import numpy as np

from .data.limb_groups import keypoint_colors, limb_colors
from .data.skeletons import Skeleton
from .system.errors import PoseError
from .system.files import write_bytes

Color = Tuple[int, int, int]  # blue, green, red in 0..255, as OpenCV wants them

# One tuple per family, one entry per person in turn: a person stays within the family but differs from the next one.
_LEFT_COLORS: Tuple[Color, ...] = ((0, 140, 255), (40, 200, 255), (30, 85, 235), (80, 165, 240))
_RIGHT_COLORS: Tuple[Color, ...] = ((245, 130, 30), (255, 205, 95), (235, 75, 65), (210, 175, 0))
_MIDDLE_COLOR: Color = (225, 245, 230)
_ACCENT_COLORS: Tuple[Color, ...] = (
    (235, 235, 235), (80, 230, 245), (190, 135, 245), (130, 215, 60), (250, 200, 130), (80, 160, 250))
_OUTLINE_COLOR: Color = (25, 20, 20)
_RIM_COLOR: Color = (250, 250, 250)

# cv2 takes whole numbers; four fractional bits keep small people from snapping to the pixel grid.
_SHIFT = 4
# Far beyond any picture, yet small enough that products of two coordinates stay exact in float64.
_FARTHEST = 1e7
_HEAD_WORDS = frozenset(('nose', 'eye', 'ear', 'head'))
_ENCODER_OPTIONS = {
    '.jpg': (cv2.IMWRITE_JPEG_QUALITY, 95), '.jpeg': (cv2.IMWRITE_JPEG_QUALITY, 95), '.png': ()}


@dataclass(frozen=True)
class PersonStyle:
    """How one person is drawn; all lengths in picture pixels.

    Attributes:
        left, right, middle: colours of the person's left and right side and of what joins them.
        accent: colour of the box corners and of the label, different from person to person.
        line_width: width of a limb without its outline.
        outlined_width: width of a limb with the dark edges on both its sides.
        keypoint_radius: radius of a keypoint without its rim, where its neighbours leave room.
        text_height: height of a capital letter in the label.
        is_light: dashed limbs, rings for keypoints, a label in reversed colours.
    """

    left: Color
    right: Color
    middle: Color
    accent: Color
    line_width: int
    outlined_width: int
    keypoint_radius: float
    text_height: int
    is_light: bool = False


def draw_people(picture_bgr: np.ndarray, keypoints: np.ndarray, skeleton: Skeleton, *,
                person_scores: Optional[np.ndarray] = None, boxes_xywh: Optional[np.ndarray] = None,
                is_further: Optional[np.ndarray] = None, keypoint_score_thresh: float = 0.0) -> np.ndarray:
    """Draw people on a copy of a picture, the surest person last and so on top.

    A keypoint is left out, with its limbs, when a number of it is not finite or its score is not above the threshold.
    Keypoints may lie outside the picture; the visible part of their limbs is drawn.

    Args:
        picture_bgr: (H, W, 3) uint8; not changed.
        keypoints: (P, K, 3) x and y in picture pixels (0 is the centre of the first one) and the keypoint score.
        skeleton: the layout of the K keypoints.
        person_scores: (P,), written beside the head; without them the mean keypoint score decides the order and
            nothing is written.
        boxes_xywh: (P, 4) in picture pixels, drawn as corners; they also tell the person's size.
        is_further: (P,) bool, who was found in the box of another person; drawn lightly, without the box.
        keypoint_score_thresh: keypoints with this score or less are left out.

    Returns:
        A new (H, W, 3) uint8 picture.

    Raises:
        PoseError: the picture is not (H, W, 3) uint8, or another array has the wrong shape.
    """
    _check_picture(picture_bgr)
    canvas = np.array(picture_bgr, order='C')
    num_people = len(keypoints)
    if num_people == 0:
        return canvas
    keypoints = _as_array('keypoints', keypoints, (num_people, skeleton.num_keypoints, 3))
    boxes = np.full((num_people, 4), np.nan)
    if boxes_xywh is not None:
        boxes = _as_array('boxes_xywh', boxes_xywh, (num_people, 4))
    boxes = np.where(_is_box(boxes)[:, None], np.clip(boxes, -_FARTHEST, _FARTHEST), np.nan)
    is_shown = np.isfinite(keypoints).all(axis=2) & (keypoints[..., 2] > keypoint_score_thresh)
    points = np.clip(np.where(is_shown[..., None], keypoints[..., :2], np.nan), -_FARTHEST, _FARTHEST)
    if person_scores is None:
        labels = np.full(num_people, np.nan)
        ranks = np.where(is_shown, keypoints[..., 2], 0.0).sum(axis=1) / np.maximum(is_shown.sum(axis=1), 1)
    else:
        labels = ranks = _as_array('person_scores', person_scores, (num_people,))

    is_light = np.zeros(num_people, bool)
    if is_further is not None:
        is_light = _as_array('is_further', is_further, (num_people,)) > 0

    drawing_order = np.argsort(np.where(np.isnan(ranks), -np.inf, ranks), kind='stable')
    styles = [_choose_style(person, points[person], boxes[person], canvas.shape[:2], is_light=bool(is_light[person]))
              for person in range(num_people)]
    for person in drawing_order:
        if np.isfinite(boxes[person]).all() and not is_light[person]:
            _draw_box_corners(canvas, boxes[person], styles[person])
        _draw_limbs(canvas, points[person], skeleton, styles[person])
        _draw_keypoints(canvas, points[person], skeleton, styles[person])
    taken: List[Tuple[int, int, int, int]] = []
    # The surest person chooses the place of the label first.
    for person in drawing_order[::-1]:
        if np.isfinite(labels[person]) and np.isfinite(points[person]).any():
            text = f'{labels[person]:.2f}'
            taken.append(_draw_label(canvas, text, points[person], skeleton, styles[person], taken))
    return canvas


def write_picture(path: str, picture_bgr: np.ndarray) -> None:
    """Write a (H, W, 3) uint8 picture as .jpg, .jpeg or .png; the file is there whole or not at all.

    Raises:
        PoseError: unknown extension, or not a picture.
        OSError: the folder is missing or cannot be written.
    """
    extension = os.path.splitext(path)[1].lower()
    if extension not in _ENCODER_OPTIONS:
        raise PoseError(f'cannot write {path}: extension {extension!r} is not one of {", ".join(_ENCODER_OPTIONS)}')
    _check_picture(picture_bgr)
    if picture_bgr.size == 0:
        raise PoseError(f'cannot write {path}: the picture has no pixels, its shape is {picture_bgr.shape}')
    done, encoded = cv2.imencode(extension, picture_bgr, _ENCODER_OPTIONS[extension])
    if not done:
        raise PoseError(f'cannot write {path}: a picture of shape {picture_bgr.shape} does not fit {extension}')
    write_bytes(path, encoded.tobytes())


def _check_picture(picture: np.ndarray) -> None:
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise PoseError(
            f'a picture must be (H, W, 3) uint8 in BGR order, got shape {picture.shape} {picture.dtype}; turn a '
            'grayscale picture into one with cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)')


def _as_array(name: str, values: np.ndarray, shape: Tuple[int, ...]) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.shape != shape:
        raise PoseError(f'{name} must have shape {shape}, got {array.shape}')
    return array


def _is_box(boxes_xywh: np.ndarray) -> np.ndarray:
    """Mask (P,) of the boxes that are finite and not empty."""
    return np.isfinite(boxes_xywh).all(axis=1) & (np.nan_to_num(boxes_xywh[:, 2:]) > 0).all(axis=1)


def _choose_style(person: int, points: np.ndarray, box_xywh: np.ndarray, picture_shape: Tuple[int, int], *,
                  is_light: bool) -> PersonStyle:
    """Colours by the person's number; sizes by the person's length, within bounds that follow the picture's size."""
    side = max(picture_shape)
    length = _measure_person(points, box_xywh, picture_shape)
    line_width = int(round(np.clip(length / 75, max(2, side / 2000), max(4, side / 140))))
    keypoint_radius = float(np.clip(length / 45, 1.2, 0.95 * line_width))
    if is_light:
        # A ring needs room for its hole.
        line_width, keypoint_radius = max(2, round(0.5 * line_width)), max(3.5, 1.5 * keypoint_radius)
    return PersonStyle(
        left=_LEFT_COLORS[person % len(_LEFT_COLORS)], right=_RIGHT_COLORS[person % len(_RIGHT_COLORS)],
        middle=_MIDDLE_COLOR, accent=_ACCENT_COLORS[person % len(_ACCENT_COLORS)], line_width=line_width,
        # Around the thinnest line a full pixel of edge on either side would drown the colour.
        outlined_width=3 if line_width == 2 else line_width + 2 * max(1, round(0.25 * line_width)),
        keypoint_radius=keypoint_radius,
        text_height=int(round(np.clip(length / 28, max(8, side / 95), max(10, side / 60)))), is_light=is_light)


def _measure_person(points: np.ndarray, box_xywh: np.ndarray, picture_shape: Tuple[int, int]) -> float:
    """Longer side, in pixels, of the box or else of the keypoints' extent, as far as it lies in the picture."""
    height, width = picture_shape
    shown = points[np.isfinite(points[:, 0])]
    if np.isfinite(box_xywh).all():
        corners, margin = np.stack([box_xywh[:2], box_xywh[:2] + box_xywh[2:]]), 1.0
    elif len(shown) > 0:
        # Keypoints end at the eyes and ankles, a box at the hair and soles.
        corners, margin = shown, 1.2
    else:
        return 0.0
    inside = np.clip(corners, 0, [width, height])
    return margin * float(np.ptp(inside, axis=0).max())


def _side_of(names: Tuple[str, ...]) -> str:
    """'left' or 'right' when the keypoints of that side are without a partner among the names, else 'middle'."""
    sides = {side for side in ('left', 'right') for name in names if name.startswith(f'{side}_')}
    return sides.pop() if len(sides) == 1 else 'middle'


def _draw_limbs(canvas: np.ndarray, points: np.ndarray, skeleton: Skeleton, style: PersonStyle) -> None:
    """Draw the limbs between finite points (K, 2): first every outline, so that none cuts through another limb."""
    segments, own_colors = [], limb_colors(skeleton)
    for number, (names, (start, end)) in enumerate(zip(skeleton.links, skeleton.link_index)):
        if not np.isfinite(points[[start, end]]).all():
            continue
        # The margin keeps the round cap of a cut limb out of the picture.
        segment = _clip_segment(points[start], points[end], canvas.shape[:2], margin=style.outlined_width)
        if segment is not None:
            color = own_colors[number] if own_colors else getattr(style, _side_of(names))
            segments += [(part, color) for part in (_dashes(segment, style) if style.is_light else [segment])]
    for segment, _ in segments:
        _draw_line(canvas, segment, _OUTLINE_COLOR, style.outlined_width)
    for segment, color in segments:
        _draw_line(canvas, segment, color, style.line_width)


def _dashes(segment: np.ndarray, style: PersonStyle) -> List[np.ndarray]:
    """Cut a segment (2, 2) into dashes, the first and the last one at its ends."""
    length = float(np.linalg.norm(segment[1] - segment[0]))
    # Ends are round and reach beyond a dash by half its width.
    dash, gap = 3.0 * style.outlined_width, 2.0 * style.outlined_width
    count = max(1, round((length + gap) / (dash + gap)))
    begins = np.linspace(0, max(0.0, length - dash), count)
    direction = (segment[1] - segment[0]) / max(length, 1e-9)
    return [segment[0] + direction * np.array([[begin], [min(begin + dash, length)]]) for begin in begins]


def _draw_keypoints(canvas: np.ndarray, points: np.ndarray, skeleton: Skeleton, style: PersonStyle) -> None:
    """Draw the finite points (K, 2) as discs with a light rim, or as rings, smaller where they stand close as in a
    face."""
    (height, width), own_colors = canvas.shape[:2], keypoint_colors(skeleton)
    radii = style.keypoint_radius * np.ones(len(points))
    shown = np.flatnonzero(np.isfinite(points[:, 0]))
    distances = np.linalg.norm(points[shown, None] - points[None, shown], axis=2)
    np.fill_diagonal(distances, np.inf)
    # The many points of a face would hide it.
    smallest = 0.3 if own_colors else 0.55
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
            _draw_circle(canvas, points[index], radii[index], _OUTLINE_COLOR, style.outlined_width)
            _draw_circle(canvas, points[index], radii[index], color, style.line_width)
            continue
        if rim > 0:
            _draw_disc(canvas, points[index], reach, _OUTLINE_COLOR)
            _draw_disc(canvas, points[index], reach - 1, _RIM_COLOR)
        _draw_disc(canvas, points[index], radii[index], color)


def _draw_box_corners(canvas: np.ndarray, box_xywh: np.ndarray, style: PersonStyle) -> None:
    """Mark the corners of a box (4,) with thin outlined brackets."""
    x, y, width, height = box_xywh
    arm = 0.14 * min(width, height)
    thickness = max(2, style.line_width // 3)
    segments = []
    for corner_x, step_x in ((x, arm), (x + width, -arm)):
        for corner_y, step_y in ((y, arm), (y + height, -arm)):
            for end in ((corner_x + step_x, corner_y), (corner_x, corner_y + step_y)):
                segments.append(_clip_segment(np.array([corner_x, corner_y]), np.array(end), canvas.shape[:2], 4.0))
    for color, line_width in ((_OUTLINE_COLOR, thickness + max(1, thickness // 2)), (style.accent, thickness)):
        for segment in segments:
            if segment is not None:
                _draw_line(canvas, segment, color, line_width)


def _draw_label(canvas: np.ndarray, text: str, points: np.ndarray, skeleton: Skeleton, style: PersonStyle,
                taken: List[Tuple[int, int, int, int]]) -> Tuple[int, int, int, int]:
    """Write a text on a plate of the accent colour above the head, or beside it where another label is.

    Returns:
        The plate as (left, top, right, bottom), in whole pixels inside the picture.
    """
    font, letter_scale = cv2.FONT_HERSHEY_SIMPLEX, style.text_height / 21
    thickness = max(1, round(style.text_height / 10))
    (text_width, text_height), _ = cv2.getTextSize(text, font, letter_scale, thickness)
    pad = max(2, round(0.35 * style.text_height))
    plate_size = np.array([text_width + 2 * pad, text_height + 2 * pad])

    picture_size = np.array([canvas.shape[1], canvas.shape[0]])
    is_head = np.array([not _HEAD_WORDS.isdisjoint(name.split('_')) for name in skeleton.keypoint_names])
    anchors = points[is_head] if np.isfinite(points[is_head]).any() else points
    top = np.clip([np.nanmean(anchors[:, 0]), np.nanmin(anchors[:, 1])], 0, picture_size)
    gap = 4.0 * style.keypoint_radius + pad
    above = top + [-plate_size[0] / 2, -gap - plate_size[1]]
    step_x, step_y = plate_size + pad
    candidates = [above, above - [0, step_y], above + [step_x, 0], above - [step_x, 0]]
    plates = []
    for candidate in candidates:
        left, upper = np.round(np.clip(candidate, 0, np.maximum(picture_size - plate_size, 0))).astype(int).tolist()
        plates.append((left, upper, left + int(plate_size[0]), upper + int(plate_size[1])))
    plate = next((plate for plate in plates if not any(_overlaps(plate, other) for other in taken)), plates[0])

    paper, ink = (_OUTLINE_COLOR, style.accent) if style.is_light else (style.accent, _OUTLINE_COLOR)
    cv2.rectangle(canvas, plate[:2], (plate[2] - 1, plate[3] - 1), paper, cv2.FILLED)
    cv2.putText(canvas, text, (plate[0] + pad, plate[3] - pad), font, letter_scale, ink, thickness, cv2.LINE_AA)
    return plate


def _overlaps(first: Tuple[int, int, int, int], second: Tuple[int, int, int, int]) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def _clip_segment(start: np.ndarray, end: np.ndarray, picture_shape: Tuple[int, int],
                  margin: float) -> Optional[np.ndarray]:
    """Cut a segment to the picture grown by a margin on every side (Liang and Barsky, 1984).

    cv2 has its own clipping, but it works on whole numbers that overflow for a keypoint far away.

    Returns:
        (2, 2) the two ends, or None when nothing of the segment lies there.
    """
    upper = np.array([picture_shape[1], picture_shape[0]]) + margin
    direction = end - start
    enter, leave = 0.0, 1.0
    for axis in (0, 1):
        to_low, to_high = -margin - start[axis], upper[axis] - start[axis]
        if direction[axis] == 0:
            if to_low > 0 or to_high < 0:
                return None
            continue
        first, last = sorted((to_low / direction[axis], to_high / direction[axis]))
        enter, leave = max(enter, first), min(leave, last)
    if enter > leave:
        return None
    return np.stack([start + enter * direction, start + leave * direction])


def _draw_line(canvas: np.ndarray, segment: np.ndarray, color: Color, width: int) -> None:
    (x1, y1), (x2, y2) = np.round(segment * 2 ** _SHIFT).astype(int).tolist()
    cv2.line(canvas, (x1, y1), (x2, y2), color, width, cv2.LINE_AA, _SHIFT)


def _draw_disc(canvas: np.ndarray, center: np.ndarray, radius: float, color: Color) -> None:
    _draw_circle(canvas, center, radius, color, cv2.FILLED)


def _draw_circle(canvas: np.ndarray, center: np.ndarray, radius: float, color: Color, width: int) -> None:
    x, y = np.round(center * 2 ** _SHIFT).astype(int).tolist()
    cv2.circle(canvas, (x, y), round(radius * 2 ** _SHIFT), color, width, cv2.LINE_AA, _SHIFT)
