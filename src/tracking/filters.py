"""Filters of keypoints over time: One-Euro, which uses past frames only, and one without lag for whole recordings.

One-Euro: Casiez, Roussel and Vogel, "1 € Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive
Systems", CHI 2012. Without lag: a Butterworth low-pass filter that runs forwards and then backwards, the usual one of
motion analysis (Winter, "Biomechanics and Motor Control of Human Movement").
"""
from typing import Optional

import numpy as np

from ..system.errors import MissingPackageError, PoseError

# Cutoff in Hz at rest; a lower value gives less jitter and more lag.
MIN_CUTOFF = 1.0
# Hz that are added to the cutoff per body length per second of speed.
BETA = 4.0
# Cutoff in Hz for smoothing the speed itself.
SPEED_CUTOFF = 2.0
# Cutoff in Hz of the filter without lag; joints of people hardly oscillate faster.
OFFLINE_CUTOFF = 5.0
OFFLINE_ORDER = 2


def _weight(cutoff: np.ndarray, seconds: float) -> np.ndarray:
    """Return the weight of the newest value in an exponential moving average with this cutoff frequency."""
    return 1.0 / (1.0 + 1.0 / (2 * np.pi * cutoff * seconds))


class OneEuroFilter:
    """The keypoints of one person, frame by frame.

    Args:
        min_cutoff: Hz, of a keypoint at rest.
        beta: Hz per body length and second.
    """

    def __init__(self, min_cutoff: float = MIN_CUTOFF, beta: float = BETA):
        self._min_cutoff, self._beta = min_cutoff, beta
        self._last: Optional[np.ndarray] = None

    def __call__(self, places: np.ndarray, size: float, time: float) -> np.ndarray:
        """Return the smoothed places (K, 2) of a frame.

        Args:
            places: (K, 2) pixels.
            size: of the person in pixels, so that the parameters do not depend on the distance to the camera.
            time: in seconds, later than that of the call before.
        """
        if self._last is None:
            self._last, self._speed, self._time = places, np.zeros_like(places), time
            return places
        seconds = max(time - self._time, 1e-3)
        speed = (places - self._last) / max(size, 1.0) / seconds
        self._speed = self._speed + _weight(np.array(SPEED_CUTOFF), seconds) * (speed - self._speed)
        length = np.linalg.norm(self._speed, axis=1, keepdims=True)
        weight = _weight(self._min_cutoff + self._beta * length, seconds)
        self._last, self._time = self._last + weight * (places - self._last), time
        return self._last


def without_lag(places: np.ndarray, is_there: np.ndarray, rate: float, cutoff: float = OFFLINE_CUTOFF) -> np.ndarray:
    """Return the smoothed places (F, K, 2) of a person over F frames; frames without the person are not changed.

    Args:
        places: (F, K, 2) pixels.
        is_there: (F,) bool, whether the person is in the frame; gaps are interpolated linearly.
        rate: frames per second.
        cutoff: Hz.

    Raises:
        PoseError: the cutoff is not a positive number.
        MissingPackageError: SciPy is not installed.
    """
    if not cutoff > 0:
        raise PoseError(f'the cutoff frequency of a filter should be above 0, is {cutoff}')
    shown = np.flatnonzero(is_there)
    # There are no frequencies above half of the frame rate to remove, and very few frames cannot be filtered.
    if cutoff >= 0.49 * rate or len(shown) < 4:
        return places
    signal = _import_scipy('signal')
    first, last = shown[0], shown[-1]
    frames = np.arange(first, last + 1)
    flat = places.reshape(len(places), -1)
    filled = np.stack([np.interp(frames, shown, flat[shown, column]) for column in range(flat.shape[1])], axis=1)
    sections = signal.butter(OFFLINE_ORDER, cutoff, fs=rate, output='sos')
    # The recording is mirrored beyond both ends, at most by its own length.
    padding = min(len(frames) - 1, int(3 * rate / cutoff) + 1)
    smooth = signal.sosfiltfilt(sections, filled, axis=0, padlen=padding)
    result = flat.copy()
    result[shown] = smooth[shown - first]
    return result.reshape(places.shape)


def _import_scipy(name: str):
    import importlib
    try:
        return importlib.import_module(f'scipy.{name}')
    except ModuleNotFoundError as error:
        raise MissingPackageError('following people over frames needs SciPy: pip install -r requirements-extra.txt'
                                  ) from error
