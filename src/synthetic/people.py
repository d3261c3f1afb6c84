"""Paints a posed figure: body, clothes, hair and face, as a flat illustration with soft shading."""
from dataclasses import dataclass
from typing import List, Tuple

import numpy as np

from ..data.skeletons import COCO
from .canvas import Canvas, Color, capsule, ellipse, rounded, sample_color, shaded
from .figure import HEAD_HALF_SIZE, SIDES, Figure
from .head import HeadPainter

PARTS = ('torso', 'hips', 'head', 'hair') + tuple(
    f'{side}_{part}' for side in SIDES for part in ('upper_arm', 'lower_arm', 'upper_leg', 'lower_leg'))
PART_NUMBERS = {name: number for number, name in enumerate(PARTS, 1)}

# Half widths in statures, for build 1.
RADII = {'shoulder': 0.052, 'elbow': 0.040, 'wrist': 0.0290, 'hand': 0.0320, 'hip': 0.067, 'knee': 0.053,
         'ankle': 0.0345, 'foot': 0.0270, 'neck': 0.038, 'waist': 0.102, 'hem': 0.128}
SLEEVE_WIDENING = 1.08
# An arm whose wrist is this far behind the shoulder line, in statures, is painted behind the trunk.
ARM_BEHIND_DEPTH = -0.045
LIGHT = np.array([-0.55, -0.835])  # where the light comes from, in the picture
SHADOW = 0.80  # brightness of the side in shadow
LIT_SHARE = 0.80  # of a limb's thickness

SKIN_TONES = ((196, 216, 247), (170, 200, 240), (140, 178, 228), (112, 152, 208), (84, 122, 182), (62, 92, 148),
              (48, 70, 116))
HAIR_TONES = ((36, 32, 34), (40, 46, 66), (38, 62, 104), (60, 100, 160), (110, 176, 222), (40, 70, 168),
              (180, 184, 190))
_SHOE_TONES = ((48, 44, 44), (235, 235, 235), (52, 70, 120), (60, 60, 190), (150, 90, 50))


def _shown_by(keypoint: str) -> Tuple[int, ...]:
    """Numbers of the parts that, when they are on top at a keypoint of the same person, show it."""
    side, _, joint = keypoint.partition('_')
    own = {'shoulder': ('torso', f'{side}_upper_arm'),
           'elbow': (f'{side}_upper_arm', f'{side}_lower_arm'),
           'wrist': (f'{side}_lower_arm',),
           'hip': ('torso', 'hips', 'left_upper_leg', 'right_upper_leg'),
           'knee': (f'{side}_upper_leg', f'{side}_lower_leg'),
           'ankle': (f'{side}_lower_leg',)}
    return tuple(PART_NUMBERS[part] for part in own.get(joint, ('head',)))


SHOWN_BY = {name: _shown_by(name) for name in COCO.keypoint_names}


@dataclass(frozen=True)
class Outfit:
    """Clothes, skin and hair of a person; colors are BGR, 0 to 255."""

    skin: Color
    hair: Color
    hair_style: str
    shirt: Color
    stripe: Color
    pattern: str
    long_sleeves: bool
    trousers: Color
    legwear: str
    shoes: Color


def sample_outfit(rng: np.random.Generator) -> Outfit:
    """Draw clothes, skin and hair."""
    skin = SKIN_TONES[rng.integers(len(SKIN_TONES))]
    shirt = sample_color(rng, (0.15, 0.75), (0.5, 0.95))
    return Outfit(
        skin=skin,
        hair=HAIR_TONES[rng.integers(len(HAIR_TONES))],
        hair_style=str(rng.choice(('short', 'long', 'bun', 'bald'), p=(0.48, 0.27, 0.18, 0.07))),
        shirt=shirt,
        stripe=sample_color(rng, (0.0, 0.6), (0.75, 1.0)) if rng.random() < 0.5 else shaded(shirt, 0.62),
        pattern=str(rng.choice(('plain', 'stripes', 'band', 'panel'), p=(0.5, 0.22, 0.16, 0.12))),
        long_sleeves=bool(rng.random() < 0.45),
        trousers=sample_color(rng, (0.1, 0.7), (0.22, 0.75)),
        legwear=str(rng.choice(('trousers', 'shorts', 'skirt'), p=(0.6, 0.26, 0.14))),
        shoes=_SHOE_TONES[rng.integers(len(_SHOE_TONES))])


class FigurePainter:
    """Paints one figure in its outfit; make one per figure and call paint."""

    def __init__(self, canvas: Canvas, figure: Figure, outfit: Outfit):
        self.canvas = canvas
        self.figure = figure
        self.outfit = outfit
        width = figure.stature * figure.build
        self.radius = {name: width * radius for name, radius in RADII.items()}
        self.unit = figure.stature  # for lengths along the body, which do not depend on the build

        shoulders, hips = self._middle('shoulder'), self._middle('hip')
        self.trunk_up = (shoulders - hips) / np.linalg.norm(shoulders - hips)

    def paint(self) -> None:
        """Paint from far to near."""
        sides = sorted(SIDES, key=lambda side: self.figure.depth(f'{side}_wrist'))
        behind = [side for side in sides if self.figure.depth(f'{side}_wrist') < ARM_BEHIND_DEPTH]
        if self.figure.from_front and self.outfit.hair_style == 'long':
            self._paint_long_hair()
        for side in behind:
            self._paint_arm(side)
        for side in sorted(SIDES, key=lambda side: self.figure.depth(f'{side}_knee')):
            self._paint_leg(side)
        self._paint_hips()
        self._paint_trunk()
        HeadPainter(self.canvas, self.figure, PART_NUMBERS['head'], skin=self.outfit.skin, hair=self.outfit.hair,
                    hair_style=self.outfit.hair_style).paint()
        if not self.figure.from_front and self.outfit.hair_style == 'long':
            self._paint_long_hair()
        for side in sides:
            if side not in behind:
                self._paint_arm(side)

    def _middle(self, joint: str) -> np.ndarray:
        return (self.figure.at(f'left_{joint}') + self.figure.at(f'right_{joint}')) / 2

    def _paint_chain(self, pieces: List[Tuple[str, str, float, float, str]], color: Color) -> None:
        """Paint connected capsules as one shape: first all in shadow, then all lit, so that no seam shows.

        Args:
            pieces: start point, end point, start radius, end radius (pixels), part that the piece belongs to.
            color: of the lit side.
        """
        for start, end, start_radius, end_radius, part in pieces:
            outline = capsule(self._place(start), self._place(end), start_radius, end_radius)
            self.canvas.fill(outline, shaded(color, SHADOW), PART_NUMBERS[part])
        for start, end, start_radius, end_radius, _ in pieces:
            outline = capsule(self._place(start) + (1 - LIT_SHARE) * start_radius * LIGHT,
                              self._place(end) + (1 - LIT_SHARE) * end_radius * LIGHT,
                              LIT_SHARE * start_radius, LIT_SHARE * end_radius)
            self.canvas.fill(outline, color)

    def _place(self, name: str) -> np.ndarray:
        """A named point, or a point between two: 'left_shoulder>left_elbow@0.5' is halfway."""
        if '>' not in name:
            return self.figure.at(name)
        start, _, rest = name.partition('>')
        end, _, share = rest.partition('@')
        return self.figure.at(start) + float(share) * (self.figure.at(end) - self.figure.at(start))

    def _paint_patch(self, place: np.ndarray, radius: float, color: Color) -> None:
        self.canvas.fill(ellipse(place, (radius, radius), self.trunk_up), color)

    def _paint_arm(self, side: str) -> None:
        radius, outfit = self.radius, self.outfit
        shoulder, elbow, wrist, hand = (f'{side}_{name}' for name in ('shoulder', 'elbow', 'wrist', 'hand'))
        upper, lower = f'{side}_upper_arm', f'{side}_lower_arm'
        thick = {name: SLEEVE_WIDENING * radius[name] for name in ('shoulder', 'elbow', 'wrist')}
        self._paint_chain([(wrist, hand, 0.9 * radius['hand'], radius['hand'], lower)], outfit.skin)
        if outfit.long_sleeves:
            self._paint_chain([(shoulder, elbow, thick['shoulder'], thick['elbow'], upper),
                               (elbow, wrist, thick['elbow'], thick['wrist'], lower)], outfit.shirt)
            self._paint_patch(self._place(elbow), 0.55 * thick['elbow'], shaded(outfit.shirt, 0.84))
            self._paint_chain([(f'{elbow}>{wrist}@0.93', wrist, thick['wrist'], thick['wrist'], lower)], outfit.stripe)
            return
        self._paint_chain([(shoulder, elbow, radius['shoulder'], radius['elbow'], upper),
                           (elbow, wrist, radius['elbow'], radius['wrist'], lower)], outfit.skin)
        self._paint_patch(self._place(elbow), 0.45 * radius['elbow'], shaded(outfit.skin, 0.86))
        end = f'{shoulder}>{elbow}@0.52'
        self._paint_chain([(shoulder, end, thick['shoulder'], 0.95 * thick['shoulder'], upper)], outfit.stripe)
        end = f'{shoulder}>{elbow}@0.44'
        self._paint_chain([(shoulder, end, thick['shoulder'], 0.98 * thick['shoulder'], upper)], outfit.shirt)

    def _paint_leg(self, side: str) -> None:
        radius, outfit = self.radius, self.outfit
        hip, knee, ankle, toe = (f'{side}_{name}' for name in ('hip', 'knee', 'ankle', 'toe'))
        upper, lower = f'{side}_upper_leg', f'{side}_lower_leg'
        leg = [(hip, knee, radius['hip'], radius['knee'], upper), (knee, ankle, radius['knee'], radius['ankle'], lower)]
        self._paint_chain([(ankle, toe, 1.05 * radius['ankle'], radius['foot'], lower)], outfit.shoes)
        if outfit.legwear == 'trousers':
            self._paint_chain(leg, outfit.trousers)
            self._paint_patch(self._place(knee), 0.5 * radius['knee'], shaded(outfit.trousers, 1.13))
            return
        self._paint_chain(leg, outfit.skin)
        self._paint_chain([(f'{knee}>{ankle}@0.9', ankle, 1.05 * radius['ankle'], 1.05 * radius['ankle'], lower)],
                          (240, 240, 240))
        self._paint_patch(self._place(knee), 0.5 * radius['knee'], shaded(outfit.skin, 0.88))
        if outfit.legwear == 'shorts':
            self._paint_chain([(hip, f'{hip}>{knee}@0.66', 1.05 * radius['hip'], 1.12 * radius['knee'], upper)],
                              outfit.trousers)

    def _paint_hips(self) -> None:
        radius = self.radius
        self._paint_chain([('left_hip', 'right_hip', radius['hip'], radius['hip'], 'hips')], self.outfit.trousers)
        if self.outfit.legwear != 'skirt':
            return
        hips, across = self._middle('hip'), self._across('hip')
        waist, half_width = hips + 0.05 * self.unit * self.trunk_up, radius['waist'] * across
        hem = []  # at the left and at the right of the picture
        for side, outwards in zip(self._sides_in_picture(), (-across, across)):
            on_thigh = self._place(f'{side}_hip>{side}_knee@0.8')
            hem.append(on_thigh + 1.3 * radius['hip'] * outwards)
        below = (hem[0] + hem[1]) / 2 - 0.02 * self.unit * self.trunk_up
        skirt = rounded(np.array([waist - half_width, hem[0], below, hem[1], waist + half_width]), 1)
        self.canvas.fill(skirt, self.outfit.trousers, PART_NUMBERS['hips'])
        fold = 0.4 * hem[0] + 0.6 * hem[1]
        self.canvas.fill_inside(skirt, [(np.array([hips, fold, 2 * fold - hips, hem[1] + self.unit * across]),
                                         shaded(self.outfit.trousers, SHADOW))])

    def _across(self, joint: str) -> np.ndarray:
        """Unit vector (2,) through both shoulders or hips, towards the right of an upright person's picture."""
        first, last = self._sides_in_picture()
        line = self.figure.at(f'{last}_{joint}') - self.figure.at(f'{first}_{joint}')
        return line / np.linalg.norm(line)

    def _sides_in_picture(self) -> Tuple[str, str]:
        """The person's side at the left of an upright person's picture, then the one at the right."""
        return ('right', 'left') if self.figure.from_front else ('left', 'right')

    def _trunk_outline(self) -> np.ndarray:
        """Outline (N, 2) of the shirt."""
        radius, up = self.radius, self.trunk_up * self.unit
        shoulders, hips = self._middle('shoulder'), self._middle('hip')
        half_width = np.linalg.norm(self.figure.at('left_shoulder') - self.figure.at('right_shoulder')) / 2
        heights_and_widths = (  # from the neck down; the height counts from the shoulders and from the hips
            (shoulders + 0.042 * up, self._across('shoulder'), 0.9 * radius['neck']),
            (shoulders + 0.034 * up, self._across('shoulder'), half_width),
            (shoulders - 0.010 * up, self._across('shoulder'), half_width + radius['shoulder']),
            (shoulders - 0.065 * up, self._across('shoulder'), half_width + 0.2 * radius['shoulder']),
            (0.42 * shoulders + 0.58 * hips, self._across('hip'), radius['waist']),
            (hips - 0.002 * up, self._across('hip'), radius['hem']),
            (hips - 0.035 * up, self._across('hip'), radius['hem']))
        right = [place + width * across for place, across, width in heights_and_widths]
        left = [place - width * across for place, across, width in heights_and_widths]
        return rounded(np.array(right + left[::-1]))

    def _paint_trunk(self) -> None:
        outfit, radius = self.outfit, self.radius
        outline = self._trunk_outline()
        self._paint_chain([('neck', 'head', radius['neck'], radius['neck'], 'head')], shaded(outfit.skin, 0.9))
        self.canvas.fill(outline, outfit.shirt, PART_NUMBERS['torso'])
        self.canvas.fill_inside(outline, self._pattern_shapes())
        dark = outline + np.array([0.15, 0.02]) * self.unit
        self.canvas.fill_inside(outline, [(dark, (0, 0, 0))], opacity=0.13)
        if self.figure.from_front:
            place = self._middle('shoulder') + 0.030 * self.unit * self.trunk_up
            neckline = ellipse(place, (1.05 * radius['neck'], 0.75 * radius['neck']), self.trunk_up)
            self.canvas.fill_inside(outline, [(neckline, outfit.skin)])

    def _pattern_shapes(self) -> List[Tuple[np.ndarray, Color]]:
        """Decoration of the shirt: polygons that are cut off at its outline."""
        shoulders, hips, across = self._middle('shoulder'), self._middle('hip'), self._across('hip')
        wide = 0.3 * self.unit * across

        def bar(top: float, bottom: float) -> np.ndarray:
            first, last = (shoulders + share * (hips - shoulders) for share in (top, bottom))
            return np.array([first - wide, first + wide, last + wide, last - wide])

        if self.outfit.pattern == 'stripes':
            return [(bar(top, top + 0.08), self.outfit.stripe) for top in np.arange(0.08, 1.1, 0.17)]
        if self.outfit.pattern == 'band':
            return [(bar(0.28, 0.52), self.outfit.stripe)]
        if self.outfit.pattern == 'panel':
            middle = 0.018 * self.unit * across
            return [(np.array([shoulders - middle, shoulders + middle, 2 * hips - shoulders + middle,
                               2 * hips - shoulders - middle]), self.outfit.stripe)]
        return []

    def _paint_long_hair(self) -> None:
        head, up = self.figure.at('head'), self.figure.at('crown') - self.figure.at('head')
        unit = up / np.linalg.norm(up)
        across = np.array([-unit[1], unit[0]]) * HEAD_HALF_SIZE[0] * self.unit
        outline = np.array([head + 1.15 * up, head + 1.2 * across + 0.5 * up, head + 1.35 * across - 1.3 * up,
                            head + 0.6 * across - 1.75 * up, head - 0.6 * across - 1.75 * up,
                            head - 1.35 * across - 1.3 * up, head - 1.2 * across + 0.5 * up])
        self.canvas.fill(rounded(outline), shaded(self.outfit.hair, 0.85), PART_NUMBERS['hair'])
