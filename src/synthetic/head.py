"""Paints the head of a made-up person: skull, hair, ears and, from the front, the face."""
from typing import Tuple

import numpy as np

from .canvas import Canvas, Color, capsule, ellipse, shaded
from .figure import HEAD_HALF_SIZE, Figure

_EYE_WHITE = (246, 246, 246)
_PUPIL = (34, 26, 22)
_LIPS = (88, 78, 178)


class HeadPainter:
    """Paints one head; make one per figure and call paint."""

    def __init__(self, canvas: Canvas, figure: Figure, part: int, *, skin: Color, hair: Color, hair_style: str):
        """Args: part is the number of the head in the canvas's map; hair_style is short, long, bun or bald."""
        self.canvas = canvas
        self.figure = figure
        self.part = part
        self.skin = skin
        self.hair = hair
        self.hair_style = hair_style
        self.center = figure.at('head')
        up = figure.at('crown') - self.center
        self.up = up / np.linalg.norm(up)
        self.across = np.array([-self.up[1], self.up[0]])  # to the right of an upright person's picture
        self.half_width, self.half_height = (half * figure.stature for half in HEAD_HALF_SIZE[:2])

    def paint(self) -> None:
        """Paint from far to near."""
        if self.hair_style == 'bun':
            self.canvas.fill(self._oval(self._in_head(0.0, 1.22), 0.42, 0.40), shaded(self.hair, 0.88), self.part)
        if self.figure.from_front:
            self._paint_face()
        else:
            self._paint_back_of_head()
        for name in ('left_ear', 'right_ear'):
            if name not in self.figure.hidden_ears:
                self._paint_ear(name)

    def _oval(self, place: np.ndarray, right: float, up: float) -> np.ndarray:
        """An ellipse around a place (2,), half axes in half widths of the head."""
        return ellipse(place, (right * self.half_width, up * self.half_width), self.up)

    def _in_head(self, right: float, up: float) -> np.ndarray:
        """A place (2,) counted in half sizes of the head from its center."""
        return self.center + right * self.half_width * self.across + up * self.half_height * self.up

    def _skull(self, growth: float = 1.0) -> np.ndarray:
        return ellipse(self.center, (growth * self.half_width, growth * self.half_height), self.up)

    def _paint_ear(self, name: str) -> None:
        place = self.figure.at(name)
        self.canvas.fill(self._oval(place, 0.22, 0.31), shaded(self.skin, 0.86), self.part)
        self.canvas.fill(self._oval(place, 0.11, 0.18), shaded(self.skin, 0.68))

    def _paint_back_of_head(self) -> None:
        color = shaded(self.skin, 0.95) if self.hair_style == 'bald' else self.hair
        self.canvas.fill(self._skull(1.05), shaded(color, 0.85), self.part)
        sheen = ellipse(self._in_head(-0.12, 0.14), (0.86 * self.half_width, 0.86 * self.half_height), self.up)
        self.canvas.fill(sheen, color)

    def _paint_face(self) -> None:
        skull = self._skull()
        self.canvas.fill(skull, self.skin, self.part)
        shade = skull + 0.85 * self.half_width * self.across
        self.canvas.fill_inside(skull, [(shade, shaded(self.skin, 0.5))], opacity=0.16)
        if self.hair_style != 'bald':
            self.canvas.fill(self._hair_cap(), self.hair, self.part)
        for name in ('left_eye', 'right_eye'):
            self._paint_eye(self.figure.at(name))
        nose = self.figure.at('nose')
        bridge = nose + 0.30 * self.half_width * self.up
        self.canvas.fill(capsule(bridge, nose, 0.06 * self.half_width, 0.15 * self.half_width), shaded(self.skin, 0.72))
        self._paint_mouth(self.figure.at('mouth'))

    def _hair_cap(self) -> np.ndarray:
        """The hair seen from the front: between the top of the head and a hairline that turns with the face."""
        turned = float(np.dot(self.figure.at('nose') - self.center, self.across)) / self.half_width
        angles = np.linspace(-0.12, np.pi + 0.12, 24)
        outer = [self._in_head(1.10 * np.cos(angle), 1.12 * np.sin(angle)) for angle in angles]
        inner = [self._in_head(0.86 * np.cos(angle) + 0.16 * turned, 0.10 + 0.46 * np.sin(angle) ** 0.6)
                 for angle in np.linspace(np.pi, 0.0, 16)]
        return np.array(outer + inner)

    def _paint_eye(self, place: np.ndarray) -> None:
        self.canvas.fill(self._oval(place, 0.20, 0.15), _EYE_WHITE)
        self.canvas.fill(self._oval(place, 0.115, 0.135), _PUPIL)
        brow = place + 0.30 * self.half_width * self.up
        reach = 0.17 * self.half_width * self.across
        thickness = 0.045 * self.half_width
        self.canvas.fill(capsule(brow - reach, brow + reach, thickness, thickness), shaded(self.hair, 0.8))

    def _paint_mouth(self, place: np.ndarray) -> None:
        reach, smile = 0.24 * self.half_width * self.across, 0.08 * self.half_width * self.up
        corners: Tuple[np.ndarray, np.ndarray] = (place - reach + smile, place + reach + smile)
        for corner in corners:
            self.canvas.fill(capsule(corner, place, 0.04 * self.half_width, 0.075 * self.half_width), _LIPS)
