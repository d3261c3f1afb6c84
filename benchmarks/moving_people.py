"""Made-up people on smooth paths with known joints: they walk, swing their limbs, cross each other and are hidden."""
from typing import NamedTuple

import numpy as np

from src.data.skeletons import COCO

RATE = 25.0
_HALF = {'nose': (0, -0.42), 'eye': (0.03, -0.45), 'ear': (0.06, -0.43), 'shoulder': (0.14, -0.28),
         'elbow': (0.19, -0.1), 'wrist': (0.2, 0.06), 'hip': (0.09, 0.03), 'knee': (0.1, 0.27), 'ankle': (0.1, 0.5)}


class Scene(NamedTuple):
    """F frames of N people.

    Attributes:
        truth: (F, N, K, 2).
        is_seen: (F, N), False while a person is hidden.
    """

    truth: np.ndarray
    is_seen: np.ndarray

    def observed(self, noise: float, seed: int = 0):
        """Yield for every frame keypoints (P, K, 3), boxes (P, 4) and the true person indices (P,), in random order."""
        rng = np.random.default_rng(seed)
        for places, seen in zip(self.truth, self.is_seen):
            who = rng.permutation(np.flatnonzero(seen))
            noisy = places[who] + rng.normal(0, noise, places[who].shape)
            keypoints = np.concatenate([noisy, np.full((*noisy.shape[:2], 1), 0.8)], axis=2)
            low, high = noisy.min(axis=1), noisy.max(axis=1)
            yield keypoints, np.concatenate([low, high - low], axis=1).reshape(-1, 4), who


def walking(start, speed, frames: int, *, length: float = 200.0, phase: float = 0.0) -> np.ndarray:
    """Return (F, K, 2) of a person who walks from `start` with `speed` pixels per second and swings arms and legs."""
    time = np.arange(frames) / RATE
    center = np.array(start) + time[:, None] * np.array(speed)
    swing = np.sin(2 * np.pi * 0.9 * time + phase)
    places = np.zeros((frames, COCO.num_keypoints, 2))
    for index, name in enumerate(COCO.keypoint_names):
        part, sign = name.split('_')[-1], -1 if name.startswith('right_') else 1
        x, y = _HALF[part]
        reach = {'wrist': 0.1, 'elbow': 0.05, 'knee': 0.06, 'ankle': 0.12}.get(part, 0.0)
        places[:, index, 0] = center[:, 0] + length * (sign * x + sign * reach * swing)
        places[:, index, 1] = center[:, 1] + length * y
    return places


def crossing(frames: int = 100) -> Scene:
    """Two people who walk past each other, the farther one hidden while they overlap, and a third who stands."""
    truth = np.stack([walking((100, 200), (120, 0), frames), walking((500, 190), (-110, 5), frames, phase=2),
                      walking((620, 210), (0, 0), frames, length=150)], axis=1)
    is_seen = np.ones((frames, 3), bool)
    distance = np.abs(truth[:, 0, 0, 0] - truth[:, 1, 0, 0])
    is_seen[distance < 30, 1] = False
    # The third person is hidden, as if somebody passed in front.
    is_seen[40:60, 2] = False
    return Scene(truth, is_seen)


def identity_switches(ids, who) -> int:
    """Return how often the id of a person changes, also after the person was hidden."""
    last, switches = {}, 0
    for numbers, people in zip(ids, who):
        for number, person in zip(numbers.tolist(), people.tolist()):
            switches += last.get(person, number) != number
            last[person] = number
    return switches


def errors_of(scene: Scene, keypoints, who):
    """Return (F, N, K, 2), found minus true positions, NaN for people who were not found."""
    errors = np.full(scene.truth.shape, np.nan)
    for frame, (found, people) in enumerate(zip(keypoints, who)):
        errors[frame, people] = found[:, :, :2] - scene.truth[frame, people]
    return errors


def jitter(errors: np.ndarray) -> float:
    """Return the mean acceleration of the error, in pixels per frame squared."""
    return float(np.nanmean(np.linalg.norm(np.diff(errors, n=2, axis=0), axis=-1)))


def lag_in_frames(scene: Scene, keypoints, who, *, joints=(9, 10, 15, 16)) -> float:
    """Return the lag of found positions behind true ones: the shift in frames that fits best, over moving joints."""
    found = errors_of(scene, keypoints, who) + scene.truth
    frames = np.arange(len(found))
    shifts = np.arange(-1, 8, 0.1)
    sums = []
    for shift in shifts:
        total = []
        for person in range(found.shape[1]):
            for joint in joints:
                moved = np.interp(frames - shift, frames, scene.truth[:, person, joint, 0])
                total.append(np.nanmean((found[10:, person, joint, 0] - moved[10:]) ** 2))
        sums.append(np.nanmean(total))
    return float(shifts[int(np.argmin(sums))])
