"""Poses of the made-up people: an articulated body in three dimensions, seen from the front or from behind.

Pure geometry, no painting. Body frame: origin midway between the hips, x to the person's left, y up, z where the
person faces; the unit is the stature (sole to crown of a standing adult). The camera looks along -z from far away, so
a person seen from the front has the left hand at the right of the picture, and limbs that point at the camera look
short.
"""
from dataclasses import dataclass
from typing import Dict, Tuple

import numpy as np

from ..data.skeletons import COCO

# Body proportions in statures. The head is larger than in reality, as it has five of the seventeen keypoints.
SHOULDER_HEIGHT = 0.290
SHOULDER_HALF_WIDTH = 0.122
HIP_HALF_WIDTH = 0.068
UPPER_ARM_LENGTH = 0.158
LOWER_ARM_LENGTH = 0.142
HAND_LENGTH = 0.032
UPPER_LEG_LENGTH = 0.235
LOWER_LEG_LENGTH = 0.225
FOOT_LENGTH = 0.062
HEAD_HEIGHT = 0.152
HEAD_HALF_SIZE = (0.084, 0.102, 0.084)

# Places on the head in units of HEAD_HALF_SIZE: x to the left, y up, z forward.
HEAD_PLACES = {
    'nose': (0.0, -0.20, 1.08),
    'left_eye': (0.40, 0.08, 0.90),
    'right_eye': (-0.40, 0.08, 0.90),
    'left_ear': (1.03, -0.08, 0.0),
    'right_ear': (-1.03, -0.08, 0.0),
    'mouth': (0.0, -0.52, 0.92),
}
# In a turned head an ear is hidden if its depth is below this, in half depths of the head.
EAR_HIDDEN_DEPTH = -0.40

SIDES = {'left': 1.0, 'right': -1.0}
BACK_VIEW_SHARE = 0.20
STEEP_ROLL_SHARE = 0.04

Range = Tuple[float, float]


@dataclass(frozen=True)
class LimbRanges:
    """Ranges, in degrees, from which the angles of an arm or a leg are drawn.

    Attributes:
        abduction: of the upper part away from the body, 0 hangs down and 90 points sideways.
        swing: of the upper part to the front.
        flexion: at the elbow or knee, 0 is straight.
        azimuth: direction of the lower part: 0 front, 90 outwards (upwards when abducted), -90 inwards, 180 back.
    """

    abduction: Range
    swing: Range
    flexion: Range
    azimuth: Range


# Name → relative frequency, and the angle ranges of an arm.
ARM_POSES = {
    'hanging': (0.40, LimbRanges((5, 22), (-15, 18), (4, 35), (-60, -5))),
    'apart': (0.20, LimbRanges((28, 60), (-10, 15), (0, 45), (-60, 60))),
    'sideways': (0.09, LimbRanges((65, 105), (-15, 15), (0, 40), (-20, 90))),
    'waving': (0.08, LimbRanges((60, 115), (-10, 15), (55, 105), (65, 105))),
    'raised': (0.09, LimbRanges((125, 165), (-10, 15), (0, 45), (60, 120))),
    'on_hip': (0.08, LimbRanges((36, 55), (-8, 10), (85, 112), (-95, -75))),
    'bent': (0.05, LimbRanges((10, 28), (-25, 20), (55, 100), (-50, 0))),
    'behind': (0.02, LimbRanges((12, 26), (-32, -18), (35, 70), (-110, -85))),
}
_STANDING = LimbRanges((2, 9), (-6, 8), (0, 10), (170, 190))
_ASTRIDE = LimbRanges((11, 26), (-6, 6), (0, 10), (170, 190))
_STEPPING = LimbRanges((2, 8), (15, 34), (0, 16), (170, 190))
_TRAILING = LimbRanges((2, 8), (-28, -12), (12, 42), (170, 190))
_KNEE_UP = LimbRanges((3, 12), (38, 60), (55, 95), (165, 195))
_PUSHING = LimbRanges((2, 8), (-28, -8), (25, 65), (170, 190))
_LUNGING = LimbRanges((34, 50), (0, 14), (38, 62), (-100, -80))
_STRETCHED = LimbRanges((22, 36), (0, 8), (0, 8), (170, 190))
_SQUATTING = LimbRanges((32, 50), (0, 22), (45, 75), (-105, -75))
_SITTING = LimbRanges((10, 24), (42, 62), (50, 80), (165, 195))
# Name → relative frequency, and the angle ranges of one leg and of the other.
LEG_POSES = {
    'standing': (0.36, _STANDING, _STANDING),
    'astride': (0.24, _ASTRIDE, _ASTRIDE),
    'walking': (0.18, _STEPPING, _TRAILING),
    'running': (0.07, _KNEE_UP, _PUSHING),
    'lunging': (0.07, _LUNGING, _STRETCHED),
    'squatting': (0.04, _SQUATTING, _SQUATTING),
    'sitting': (0.04, _SITTING, _SITTING),
}


@dataclass(frozen=True)
class Figure:
    """One posed person in the picture.

    Attributes:
        points: place (3,) of every COCO keypoint and of neck, head, crown, mouth, {left,right}_{hand,toe}: x and y in
            pixels of the picture (whole numbers are pixel centers), and the depth towards the camera in pixels.
        stature: body height in pixels.
        build: factor on all widths, 1 is average.
        from_front: whether the camera sees the face.
        hidden_ears: names of the ears behind the turned head.
    """

    points: Dict[str, np.ndarray]
    stature: float
    build: float
    from_front: bool
    hidden_ears: Tuple[str, ...]

    def at(self, name: str) -> np.ndarray:
        """Place (2,) in pixels of the picture."""
        return self.points[name][:2]

    def depth(self, name: str) -> float:
        """Depth towards the camera, in statures."""
        return float(self.points[name][2]) / self.stature

    @property
    def keypoints(self) -> np.ndarray:
        """The COCO keypoints (17, 2) in pixels of the picture."""
        return np.stack([self.at(name) for name in COCO.keypoint_names])

    @property
    def extent_xyxy(self) -> np.ndarray:
        """Box (4,) around the points, without the thickness of the body."""
        places = np.stack([place[:2] for place in self.points.values()])
        return np.concatenate([places.min(0), places.max(0)])

    def moved(self, shift: np.ndarray) -> 'Figure':
        """The same figure elsewhere; shift (2,) in pixels."""
        offset = np.append(shift, 0.0)
        points = {name: place + offset for name, place in self.points.items()}
        return Figure(points, self.stature, self.build, self.from_front, self.hidden_ears)


def sample_figure(rng: np.random.Generator, stature: float) -> Figure:
    """Draw a pose.

    Args:
        rng: source of all draws.
        stature: body height in pixels.

    Returns:
        The figure with the middle of its hips at the picture's origin.
    """
    from_front = bool(rng.random() >= BACK_VIEW_SHARE)
    turn = float(np.clip(rng.normal(0.0, 11.0), -28.0, 28.0))
    yaw = turn if from_front else 180.0 + turn
    body = {**_sample_trunk(rng), 'hip_middle': np.zeros(3)}
    body.update(_sample_arms(rng, body))
    body.update(_sample_legs(rng, body))
    seen = {name: _turn_about_y(yaw) @ place for name, place in body.items() if name != 'hip_middle'}

    head_yaw = yaw + float(rng.uniform(-16.0, 16.0))
    tilt = float(np.clip(rng.normal(0.0, 7.0), -18.0, 18.0))
    head = _sample_head(rng, seen['neck'], head_yaw, tilt)
    seen.update(head)
    hidden = tuple(name for name in ('left_ear', 'right_ear')
                   if head[name][2] - head['head'][2] < EAR_HIDDEN_DEPTH * HEAD_HALF_SIZE[2])

    roll = _turn_about_z(_sample_roll(rng))
    to_picture = np.array([1.0, -1.0, 1.0]) * stature  # the picture's y points down
    points = {name: (roll @ place) * to_picture for name, place in seen.items()}
    return Figure(points, stature, float(rng.uniform(0.95, 1.18)), from_front, hidden)


def _sample_roll(rng: np.random.Generator) -> float:
    """Rotation of the whole person in the picture plane, degrees."""
    if rng.random() < STEEP_ROLL_SHARE:
        return float(rng.choice((-1.0, 1.0)) * rng.uniform(24.0, 60.0))
    return float(np.clip(rng.normal(0.0, 7.0), -24.0, 24.0))


def _sample_trunk(rng: np.random.Generator) -> Dict[str, np.ndarray]:
    """Shoulders, hips and neck in the body frame."""
    lean = _turn_about_z(rng.uniform(-9.0, 9.0)) @ _turn_about_x(rng.uniform(-4.0, 14.0))
    hip_tilt = _turn_about_z(rng.uniform(-4.0, 4.0))
    places = {'neck': lean @ np.array([0.0, SHOULDER_HEIGHT + 0.012, 0.0])}
    for side, sign in SIDES.items():
        places[f'{side}_shoulder'] = lean @ np.array([sign * SHOULDER_HALF_WIDTH, SHOULDER_HEIGHT, 0.0])
        places[f'{side}_hip'] = hip_tilt @ np.array([sign * HIP_HALF_WIDTH, 0.0, 0.0])
    return places


def _sample_arms(rng: np.random.Generator, body: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """Elbows, wrists and finger tips in the body frame."""
    weights = np.array([pose[0] for pose in ARM_POSES.values()])
    names = list(ARM_POSES)
    chosen = [names[index] for index in rng.choice(len(names), size=2, p=weights / weights.sum())]
    if rng.random() < 0.4:
        chosen[1] = chosen[0]
    places = {}
    for (side, sign), name in zip(SIDES.items(), chosen):
        elbow, wrist, along = _bend_limb(rng, body[f'{side}_shoulder'], sign, ARM_POSES[name][1],
                                         (UPPER_ARM_LENGTH, LOWER_ARM_LENGTH))
        places[f'{side}_elbow'], places[f'{side}_wrist'] = elbow, wrist
        places[f'{side}_hand'] = wrist + HAND_LENGTH * along
    return places


def _sample_legs(rng: np.random.Generator, body: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """Knees, ankles and toes in the body frame."""
    weights = np.array([pose[0] for pose in LEG_POSES.values()])
    names = list(LEG_POSES)
    ranges = list(LEG_POSES[names[rng.choice(len(names), p=weights / weights.sum())]][1:])
    if rng.random() < 0.5:
        ranges.reverse()
    places = {}
    for (side, sign), limb in zip(SIDES.items(), ranges):
        knee, ankle, along = _bend_limb(rng, body[f'{side}_hip'], sign, limb, (UPPER_LEG_LENGTH, LOWER_LEG_LENGTH))
        places[f'{side}_knee'], places[f'{side}_ankle'] = knee, ankle
        toe = 0.45 * along + np.array([sign * 0.42, 0.0, 0.8])
        places[f'{side}_toe'] = ankle + FOOT_LENGTH * toe / np.linalg.norm(toe)
    return places


def _bend_limb(rng: np.random.Generator, root: np.ndarray, sign: float, ranges: LimbRanges,
               lengths: Tuple[float, float]) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the angles of a limb.

    Returns:
        The middle joint (3,), the end joint (3,) and the unit direction (3,) of the lower part.
    """
    abduction, swing, flexion, azimuth = (
        float(rng.uniform(*bounds)) for bounds in (ranges.abduction, ranges.swing, ranges.flexion, ranges.azimuth))
    bend, around = np.radians(flexion), np.radians(azimuth)
    lower = np.array([sign * np.sin(around) * np.sin(bend), -np.cos(bend), np.cos(around) * np.sin(bend)])
    at_root = _turn_about_z(sign * abduction) @ _turn_about_x(-swing)
    middle = root + lengths[0] * (at_root @ np.array([0.0, -1.0, 0.0]))
    along = at_root @ lower
    return middle, middle + lengths[1] * along, along


def _sample_head(rng: np.random.Generator, neck: np.ndarray, yaw: float, tilt: float) -> Dict[str, np.ndarray]:
    """Points of the head in camera orientation, as is neck (3,); angles in degrees."""
    nod = _turn_about_x(float(rng.uniform(-8.0, 8.0)))
    turn = _turn_about_z(tilt)
    head = neck + turn @ np.array([0.0, HEAD_HEIGHT, 0.0])
    half_size = np.array(HEAD_HALF_SIZE)
    places = {name: head + turn @ _turn_about_y(yaw) @ nod @ (np.array(place) * half_size)
              for name, place in HEAD_PLACES.items()}
    return {**places, 'head': head, 'crown': head + turn @ np.array([0.0, half_size[1], 0.0])}


def _turn_about_x(degrees: float) -> np.ndarray:
    """Rotation (3, 3) about x that tilts the upper side to the front."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[1.0, 0.0, 0.0], [0.0, cosine, -sine], [0.0, sine, cosine]])


def _turn_about_y(degrees: float) -> np.ndarray:
    """Rotation (3, 3) about y that turns the front to the left."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])


def _turn_about_z(degrees: float) -> np.ndarray:
    """Rotation (3, 3) about z, counter-clockwise as seen by the camera."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
