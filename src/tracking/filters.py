"""Filters of keypoints over time: One-Euro, which needs no future, and one without lag for whole recordings.

One-Euro: Casiez, Roussel and Vogel, "1 € Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive
Systems", CHI 2012. Without lag: a Butterworth low-pass filter that runs forwards and then backwards, the usual one of
motion analysis (Winter, "Biomechanics and Motor Control of Human Movement").
"""
from typing import Optional

import numpy as np

from ..system.errors import MissingPackageError, PoseError

# Hz at rest; lower shakes less and lags more.
MIN_CUTOFF = 1.0
# Hz that a speed of one body length per second adds.
BETA = 4.0
# Hz, of the speed itself.
SPEED_CUTOFF = 2.0
# Hz of the filter without lag; people hardly move a joint to and fro more often.
OFFLINE_CUTOFF = 5.0
OFFLINE_ORDER = 2


def _weight(cutoff: np.ndarray, seconds: float) -> np.ndarray:
    """Return what the newest value counts in an exponential mean of this cutoff frequency."""
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
            size: of the person in pixels; the parameters do not depend on how near somebody is.
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
    """Return the smoothed places (F, K, 2) of a person over F frames; those of frames without the person stay as they
    are.

    Args:
        places: (F, K, 2) pixels.
        is_there: (F,) bool; in between, the way is taken to be straight.
        rate: frames per second.
        cutoff: Hz.

    Raises:
        PoseError: the cutoff is no positive number.
        MissingPackageError: SciPy is not installed.
    """
    if not cutoff > 0:
        raise PoseError(f'the cutoff frequency of a filter should be above 0, is {cutoff}')
    shown = np.flatnonzero(is_there)
    # Above half of the frame rate there is nothing to take away, and a few frames have no frequencies.
    if cutoff >= 0.49 * rate or len(shown) < 4:
        return places
    signal = _import_scipy('signal')
    first, last = shown[0], shown[-1]
    frames = np.arange(first, last + 1)
    flat = places.reshape(len(places), -1)
    filled = np.stack([np.interp(frames, shown, flat[shown, column]) for column in range(flat.shape[1])], axis=1)
    sections = signal.butter(OFFLINE_ORDER, cutoff, fs=rate, output='sos')
    # Mirrored beyond both ends, as far as there is something to mirror.
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
