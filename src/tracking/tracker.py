"""Tracking from frame to frame: poses are matched with the known people by OKS and the overlap (IoU) of their boxes,
all of them at once (Hungarian algorithm); people who are hidden for a while keep their id."""
from dataclasses import dataclass, field
from typing import List, NamedTuple, Sequence, Tuple

import numpy as np

from ..evaluation.oks import oks_to_others
from ..system.errors import PoseError
from .filters import OneEuroFilter, _import_scipy, without_lag

SMOOTHINGS = ('off', 'live', 'file')
# Longest time in seconds that a person may be hidden and keep the id.
KEPT_SECONDS = 1.5
# Mean of OKS and IoU below which two poses are different people.
LEAST_SIMILARITY = 0.15
# Factor on OKS's sigmas: they describe errors of annotators, and from frame to frame people move further.
SIGMA_FACTOR = 2.0
# Weight of the newest frame in a person's speed, and the time constant (seconds) with which a hidden person slows down.
SPEED_SHARE, SPEED_SECONDS = 0.4, 0.5
MAX_SPEED = 4.0  # body lengths per second


class TrackedPeople(NamedTuple):
    """The people of a frame, in the order in which they were given.

    Attributes:
        ids: (P,) int64, from 1.
        keypoints: (P, K, 3), smoothed if `smooth` is 'live'.
    """

    ids: np.ndarray
    keypoints: np.ndarray


@dataclass
class _Track:
    """A known person."""

    number: int
    keypoints: np.ndarray
    box_xywh: np.ndarray
    time: float
    speed: np.ndarray = field(default_factory=lambda: np.zeros(2))
    smooth: OneEuroFilter = field(default_factory=OneEuroFilter)

    def moved_to(self, time: float) -> np.ndarray:
        """Return the shift (2,) in pixels since the last frame with the person, predicted from the speed."""
        # The distance when the speed decays exponentially.
        return self.speed * SPEED_SECONDS * (1 - np.exp(-(time - self.time) / SPEED_SECONDS))


class PoseTracker:
    """Gives the people of a video their ids, frame by frame.

    Args:
        oks_sigmas: (K,) of the keypoints, as a skeleton has them.
        smooth: 'live' smooths with the past alone (One-Euro filter); 'off' and 'file' leave the poses as they
            are; with 'file' the caller smooths them when all frames are known (`smooth_whole`).
        kept_seconds: longest time that a person may be hidden and keep the id.

    Raises:
        PoseError: an argument is not valid.
        MissingPackageError: SciPy is not installed.
    """

    def __init__(self, oks_sigmas: Sequence[float], *, smooth: str = 'off', kept_seconds: float = KEPT_SECONDS):
        if smooth not in SMOOTHINGS:
            raise PoseError(f'smooth should be one of {", ".join(SMOOTHINGS)}, is {smooth!r}')
        if not kept_seconds >= 0:
            raise PoseError(f'kept_seconds should be zero or more, is {kept_seconds}')
        self._sigmas = SIGMA_FACTOR * np.asarray(oks_sigmas, np.float64)
        self.smooth, self._kept_seconds = smooth, kept_seconds
        self._assign = _import_scipy('optimize').linear_sum_assignment
        self.reset()

    def reset(self) -> None:
        """Forget all people; the next person gets id 1."""
        self._tracks: List[_Track] = []
        self._count = 0

    def update(self, keypoints: np.ndarray, boxes_xywh: np.ndarray, time: float) -> TrackedPeople:
        """Take the people of the next frame.

        Args:
            keypoints: (P, K, 3) x, y in pixels and score.
            boxes_xywh: (P, 4).
            time: in seconds, later than that of the frame before.
        """
        self._tracks = [each for each in self._tracks if time - each.time <= self._kept_seconds]
        keypoints, boxes = np.asarray(keypoints, np.float64), np.asarray(boxes_xywh, np.float64).reshape(-1, 4)
        # Detected boxes and followed boxes are of different size; boxes around the poses are comparable.
        boxes = np.array([box_around(each, box) for each, box in zip(keypoints, boxes)]).reshape(-1, 4)
        chosen = self._match(keypoints, boxes, time)
        ids, smoothed = np.zeros(len(boxes), np.int64), keypoints.copy()
        for row, track in enumerate(chosen):
            if track is None:
                self._count += 1
                track = _Track(self._count, keypoints[row], boxes[row], time)
                self._tracks.append(track)
            else:
                _advance(track, keypoints[row], boxes[row], time)
            ids[row] = track.number
            if self.smooth == 'live':
                size = max(boxes[row][2:])
                smoothed[row, :, :2] = track.smooth(keypoints[row, :, :2], size, time)
        return TrackedPeople(ids, smoothed)

    def _match(self, keypoints: np.ndarray, boxes: np.ndarray, time: float) -> list:
        """Return the matching track of every person, or None."""
        chosen: list = [None] * len(boxes)
        if not self._tracks or not len(boxes):
            return chosen
        similarity = np.stack([self._similarity(track, keypoints, boxes, time) for track in self._tracks])
        for number, row in zip(*self._assign(-similarity)):
            if similarity[number, row] > LEAST_SIMILARITY:
                chosen[row] = self._tracks[number]
        return chosen

    def _similarity(self, track: _Track, keypoints: np.ndarray, boxes: np.ndarray, time: float) -> np.ndarray:
        moved = track.moved_to(time)
        places = track.keypoints[:, :2] + moved
        box = np.concatenate([track.box_xywh[:2] + moved, track.box_xywh[2:]])
        oks = oks_to_others(places, keypoints, np.prod(box[2:]), np.prod(boxes[:, 2:], axis=1), self._sigmas)
        return (oks + _overlap(box, boxes)) / 2


def _advance(track: _Track, keypoints: np.ndarray, box: np.ndarray, time: float) -> None:
    seconds = max(time - track.time, 1e-3)
    size = max(box[2:])
    speed = (box[:2] + box[2:] / 2 - track.box_xywh[:2] - track.box_xywh[2:] / 2) / seconds
    speed = np.clip(speed, -MAX_SPEED * size, MAX_SPEED * size)
    track.speed = track.speed + SPEED_SHARE * (speed - track.speed)
    track.keypoints, track.box_xywh, track.time = keypoints, box, time


def box_around(keypoints: np.ndarray, box_xywh: np.ndarray) -> np.ndarray:
    """Return the box (4,) around the keypoints (K, 3) of high score, or the given box if that would be empty."""
    sure = keypoints[keypoints[:, 2] >= 0.5 * keypoints[:, 2].mean(), :2]
    low, high = sure.min(axis=0), sure.max(axis=0)
    return np.concatenate([low, high - low]) if (high - low > 1).all() else box_xywh


def _overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the IoU (P,) of a box (4,) with boxes (P, 4)."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[:2] + box[2:], boxes[:, :2] + boxes[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    return shared / np.maximum(np.prod(box[2:]) + np.prod(boxes[:, 2:], axis=1) - shared, 1e-9)


def smooth_whole(ids: Sequence[np.ndarray], keypoints: Sequence[np.ndarray], rate: float) -> List[np.ndarray]:
    """Return the keypoints of all F frames of a recording, smoothed without lag.

    Args:
        ids: F times (P,), as `update` gives them.
        keypoints: F times (P, K, 3).
        rate: frames per second.
    """
    result = [each.copy() for each in keypoints]
    where: dict = {}
    for frame, numbers in enumerate(ids):
        for row, number in enumerate(numbers.tolist()):
            where.setdefault(number, []).append((frame, row))
    for places in where.values():
        for stretch in _stretches(places, rate):
            first = stretch[0][0]
            is_there = np.zeros(stretch[-1][0] - first + 1, bool)
            whole = np.zeros((len(is_there), *keypoints[first].shape[1:2], 2))
            for frame, row in stretch:
                is_there[frame - first], whole[frame - first] = True, keypoints[frame][row, :, :2]
            smooth = without_lag(whole, is_there, rate)
            for frame, row in stretch:
                result[frame][row, :, :2] = smooth[frame - first]
    return result


def _stretches(places: List[Tuple[int, int]], rate: float) -> List[List[Tuple[int, int]]]:
    """Split the frames of a person at gaps of more than half a second, over which the path is not interpolated."""
    parts = [[places[0]]]
    for before, after in zip(places, places[1:]):
        if after[0] - before[0] > 0.5 * rate:
            parts.append([])
        parts[-1].append(after)
    return parts
