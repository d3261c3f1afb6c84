"""What surrounds the made-up people: backgrounds, things that stand in front of them, and the camera's flaws."""
from typing import Tuple

import cv2
import numpy as np

from .canvas import Canvas, Color, capsule, ellipse, rectangle, sample_color, shaded

UPRIGHT = np.array([0.0, -1.0])
_MUTED = ((0.05, 0.35), (0.55, 0.95))  # ranges of saturation and value against which the people stand out
_LIVELY = ((0.2, 0.6), (0.45, 0.9))
# Ranges of hue in degrees.
_SKY, _WOOD, _LEAVES = (175.0, 235.0), (18.0, 42.0), (65.0, 150.0)
_AUTUMN, _EVENING = (10.0, 55.0), (330.0, 400.0)


def paint_background(rng: np.random.Generator, image_size: Tuple[int, int], limb_color: Color) -> np.ndarray:
    """Draw a scene without people.

    Args:
        rng: source of all draws.
        image_size: (W, H) in pixels.
        limb_color: color of those bars in the background that have the shape of a limb.

    Returns:
        BGR uint8 (H, W, 3).
    """
    paint_scene = (_paint_room, _paint_landscape, _paint_town, _paint_shapes)[rng.choice(4, p=(0.3, 0.28, 0.2, 0.22))]
    canvas = Canvas(_gradient(rng, image_size, paint_scene in (_paint_landscape, _paint_town)))
    paint_scene(rng, canvas, image_size)
    if rng.random() < 0.35:
        _paint_clutter(rng, canvas, image_size, limb_color)
    background = canvas.picture()
    if rng.random() < 0.5:
        background = cv2.GaussianBlur(background, (0, 0), rng.uniform(0.6, 2.5))
    if rng.random() < 0.6:
        background = _add_texture(rng, background)
    return background


def _gradient(rng: np.random.Generator, image_size: Tuple[int, int], is_sky: bool) -> np.ndarray:
    """A smooth change of color over the picture, BGR uint8 (H, W, 3)."""
    if is_sky:
        first = np.array(sample_color(rng, (0.15, 0.4), (0.8, 1.0), _SKY if rng.random() < 0.8 else _EVENING))
        last = 0.4 * first + 0.6 * 245
    else:
        first = np.array(sample_color(rng, *_MUTED))
        last = np.clip(first + rng.uniform(-20, 20) + rng.uniform(-14, 14, 3), 0, 255)
    corners = np.array([[first, (first + last) / 2], [(first + last) / 2, last]])
    if rng.random() < 0.5:
        corners = corners[:, ::-1]
    return cv2.resize(corners.astype(np.float32), image_size, interpolation=cv2.INTER_LINEAR).astype(np.uint8)


def _paint_room(rng: np.random.Generator, canvas: Canvas, image_size: Tuple[int, int]) -> None:
    """A wall with pictures and a floor with boards."""
    width, height = image_size
    floor_top = height * rng.uniform(0.66, 0.85)
    floor = sample_color(rng, (0.1, 0.45), (0.4, 0.8), _WOOD if rng.random() < 0.6 else (0.0, 360.0))
    for _ in range(rng.integers(1, 4)):
        left, top = rng.uniform(-0.05, 0.85) * width, rng.uniform(0.0, 0.35) * height
        right, bottom = left + rng.uniform(0.12, 0.3) * width, top + rng.uniform(0.15, 0.35) * height
        frame = sample_color(rng, *_MUTED)
        canvas.fill(rectangle(left, top, right, bottom), shaded(frame, 0.65))
        border = 0.012 * width
        canvas.fill(rectangle(left + border, top + border, right - border, bottom - border), shaded(frame, 1.35))
        if rng.random() < 0.6:
            middle = (left + right) / 2
            canvas.fill(rectangle(middle - border / 2, top, middle + border / 2, bottom), shaded(frame, 0.65))
    canvas.fill(rectangle(-1, floor_top, width, height), floor)
    for share in np.linspace(0.12, 1.0, 5):
        line = floor_top + (height - floor_top) * share ** 1.5
        canvas.fill(rectangle(-1, line, width, line + 1.2), shaded(floor, 0.88))
    canvas.fill(rectangle(-1, floor_top - 0.022 * height, width, floor_top), shaded(floor, 0.7))


def _paint_landscape(rng: np.random.Generator, canvas: Canvas, image_size: Tuple[int, int]) -> None:
    """Sky, sun or clouds, hills and trees."""
    width, height = image_size
    if rng.random() < 0.6:
        place = np.array([rng.uniform(0.05, 0.95) * width, rng.uniform(0.05, 0.25) * height])
        radius = rng.uniform(0.05, 0.09) * height
        canvas.fill(ellipse(place, (radius, radius), UPRIGHT), (170, 225, 250))
    for _ in range(rng.integers(0, 4)):
        place = np.array([rng.uniform(0, 1) * width, rng.uniform(0.04, 0.3) * height])
        for puff in range(3):
            radius = rng.uniform(0.03, 0.055) * width
            canvas.fill(ellipse(place + [puff * 0.045 * width, 0], (radius, 0.5 * radius), UPRIGHT), (246, 244, 240))
    along = np.linspace(-5, width + 5, 30)
    hill = sample_color(rng, (0.15, 0.5), (0.5, 0.85), _LEAVES if rng.random() < 0.7 else _AUTUMN)
    for layer in range(3):
        level = height * (0.48 + 0.13 * layer + rng.uniform(-0.04, 0.04))
        waves = np.sin(along / width * rng.uniform(3, 8) + rng.uniform(0, 6)) * height * rng.uniform(0.01, 0.05)
        crest = np.stack([along, level + waves], 1)
        ground = np.concatenate([crest, [[width + 5, height + 5], [-5, height + 5]]])
        canvas.fill(ground, shaded(hill, 1 - 0.13 * layer))
        if layer < 2:
            for index in rng.integers(0, len(crest), rng.integers(0, 4)):
                _paint_tree(rng, canvas, crest[index], height * rng.uniform(0.10, 0.22))


def _paint_tree(rng: np.random.Generator, canvas: Canvas, foot: np.ndarray, size: float) -> None:
    top = foot + size * UPRIGHT
    canvas.fill(capsule(foot, top, 0.06 * size, 0.05 * size), (58, 82, 112))
    leaves = sample_color(rng, (0.25, 0.6), (0.35, 0.7), _LEAVES if rng.random() < 0.75 else _AUTUMN)
    canvas.fill(ellipse(top, (0.34 * size, 0.45 * size), UPRIGHT), leaves)
    canvas.fill(ellipse(top - 0.08 * size, (0.22 * size, 0.30 * size), UPRIGHT), shaded(leaves, 1.12))


def _paint_town(rng: np.random.Generator, canvas: Canvas, image_size: Tuple[int, int]) -> None:
    """Houses with windows along a street."""
    width, height = image_size
    street = height * rng.uniform(0.72, 0.86)
    left = -rng.uniform(0, 0.1) * width
    while left < width:
        right = left + rng.uniform(0.12, 0.26) * width
        top = street - rng.uniform(0.3, 0.7) * height
        wall = sample_color(rng, *_MUTED)
        canvas.fill(rectangle(left, top, right, street), wall)
        pane = shaded(wall, rng.choice((0.72, 1.45)))
        pitch = rng.uniform(0.055, 0.085) * width
        for x in np.arange(left + 0.3 * pitch, right - 0.6 * pitch, pitch):
            for y in np.arange(top + 0.4 * pitch, street - 0.8 * pitch, 1.2 * pitch):
                canvas.fill(rectangle(x, y, x + 0.5 * pitch, y + 0.7 * pitch), pane)
        left = right
    ground = sample_color(rng, (0.02, 0.15), (0.4, 0.7))
    canvas.fill(rectangle(-1, street, width, height), ground)
    canvas.fill(rectangle(-1, street, width, street + 0.03 * height), shaded(ground, 1.3))


def _paint_shapes(rng: np.random.Generator, canvas: Canvas, image_size: Tuple[int, int]) -> None:
    """Colored ellipses and tilted rectangles."""
    width, height = image_size
    for _ in range(rng.integers(4, 12)):
        place = rng.uniform(0, 1, 2) * (width, height)
        half_size = tuple(rng.uniform(0.03, 0.2, 2) * height)
        angle = rng.uniform(0, np.pi)
        outline = ellipse(place, half_size, np.array([np.cos(angle), np.sin(angle)]))
        canvas.fill(outline if rng.random() < 0.5 else outline[::8], sample_color(rng, *_MUTED))


def _paint_clutter(rng: np.random.Generator, canvas: Canvas, image_size: Tuple[int, int], limb_color: Color) -> None:
    """Lines and bars, some of which look like limbs."""
    for _ in range(rng.integers(2, 7)):
        start = rng.uniform(0, 1, 2) * image_size
        angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.08, 0.3) * image_size[1]
        end = start + length * np.array([np.cos(angle), np.sin(angle)])
        if rng.random() < 0.25:
            radius, color = rng.uniform(0.012, 0.025) * image_size[1], limb_color
        else:
            radius, color = rng.uniform(0.4, 2.0), sample_color(rng, *_MUTED)
        canvas.fill(capsule(start, end, radius, radius * rng.uniform(0.6, 1.0)), color)


def _add_texture(rng: np.random.Generator, background: np.ndarray) -> np.ndarray:
    """Soft random spots, as on plaster or grass."""
    height, width = background.shape[:2]
    grain = int(rng.integers(3, 24))
    spots = rng.standard_normal((height // grain + 2, width // grain + 2), np.float32) * rng.uniform(1.0, 3.5)
    spots = cv2.resize(spots, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(background + spots[:, :, None], 0, 255).astype(np.uint8)


def paint_obstacle(rng: np.random.Generator, canvas: Canvas, part: int, box_xyxy: np.ndarray) -> None:
    """Put a post, a crate, a bush or a ball in front of a part of a person.

    Args:
        rng: source of all draws.
        canvas: painted on.
        part: number of the thing in the canvas's map.
        box_xyxy: (4,) extent of the person, pixels.
    """
    left, top, right, bottom = box_xyxy
    width, height = right - left, bottom - top
    color = sample_color(rng, *_LIVELY)
    kind = rng.choice(('post', 'crate', 'bush', 'ball'))
    x = left + rng.uniform(0.1, 0.9) * width
    if kind == 'post':
        half = rng.uniform(0.025, 0.045) * height
        canvas.fill(rectangle(x - half, -5, x + half, bottom + 0.02 * height), color, part)
        canvas.fill(rectangle(x, -5, x + half, bottom + 0.02 * height), shaded(color, 0.82))
    elif kind == 'crate':
        half, upper = rng.uniform(0.16, 0.3) * height, bottom - rng.uniform(0.15, 0.32) * height
        canvas.fill(rectangle(x - half, upper, x + half, bottom + 0.05 * height), color, part)
        canvas.fill(rectangle(x - half, upper, x + half, upper + 0.035 * height), shaded(color, 1.25))
        canvas.fill(rectangle(x - half, upper + 0.10 * height, x + half, upper + 0.115 * height), shaded(color, 0.8))
    elif kind == 'bush':
        for _ in range(5):
            place = np.array([x + rng.uniform(-0.2, 0.2) * height, bottom - rng.uniform(0.0, 0.14) * height])
            canvas.fill(ellipse(place, (0.11 * height, 0.10 * height), UPRIGHT), color, part)
            canvas.fill(ellipse(place - 0.02 * height, (0.07 * height, 0.06 * height), UPRIGHT), shaded(color, 1.12))
    else:
        place, radius = np.array([x, top + rng.uniform(0.25, 0.9) * height]), rng.uniform(0.06, 0.12) * height
        canvas.fill(ellipse(place, (radius, radius), UPRIGHT), shaded(color, 0.82), part)
        canvas.fill(ellipse(place - 0.12 * radius, (0.84 * radius, 0.84 * radius), UPRIGHT), color)
        canvas.fill(ellipse(place - 0.35 * radius, (0.22 * radius, 0.22 * radius), UPRIGHT), shaded(color, 1.5))


def paint_ground_shadow(canvas: Canvas, place: np.ndarray, half_size: Tuple[float, float]) -> None:
    """Darken an ellipse around a place (2,); half_size (W, H); all in pixels."""
    outline = ellipse(place, half_size, UPRIGHT)
    canvas.fill_inside(outline, [(outline, (0, 0, 0))], opacity=0.16)


def photograph(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Give a BGR uint8 (H, W, 3) picture a camera's exposure, color cast, slight blur and noise."""
    if rng.random() < 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 0.8))
    gain = rng.uniform(0.86, 1.12) * rng.uniform(0.95, 1.05, 3)
    noise = rng.standard_normal(picture.shape[:2], np.float32) * rng.uniform(0.0, 4.0)
    return np.clip(picture * gain.astype(np.float32) + noise[:, :, None], 0, 255).astype(np.uint8)
