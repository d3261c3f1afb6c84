"""Do scores say how often a pose or a keypoint is right? The reliability curve and the expected calibration error (Guo
et al., "On Calibration of Modern Neural Networks", ICML 2017)."""
from typing import NamedTuple, Optional

import numpy as np

BINS = 10


class Reliability(NamedTuple):
    """B bins of equal width over the range of the scores; empty bins have NaN.

    Attributes:
        edges: (B + 1,); from 0 to 1 if all scores are there, else from the lowest to the highest.
        counts: (B,).
        scores: (B,) mean score.
        right: (B,) share that is right.
        expected_error: mean of |share that is right - score| over all, by bins; None if the scores are not between 0
            and 1, so that they cannot be probabilities, or if there are none.
    """

    edges: np.ndarray
    counts: np.ndarray
    scores: np.ndarray
    right: np.ndarray
    expected_error: Optional[float]


def reliability(scores: np.ndarray, is_right: np.ndarray, bins: int = BINS) -> Reliability:
    """Return the reliability of scores (N,) for what is right (N,) bool."""
    low, high = (float(scores.min()), float(scores.max())) if len(scores) else (0.0, 1.0)
    can_be_probabilities = low >= 0 and high <= 1
    if can_be_probabilities or low == high:
        low, high = (0.0, 1.0) if can_be_probabilities else (low - 0.5, high + 0.5)
    edges = np.linspace(low, high, bins + 1)
    places = np.clip(np.searchsorted(edges, scores, side='right') - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    with np.errstate(invalid='ignore'):
        mean = np.bincount(places, scores, bins) / counts
        right = np.bincount(places, is_right, bins) / counts
    error = None
    if can_be_probabilities and len(scores):
        filled = counts > 0
        error = float((counts[filled] * np.abs(right[filled] - mean[filled])).sum() / len(scores))
    return Reliability(edges, counts, mean, right, error)
