"""How far a number would vary with other pictures: the percentile bootstrap over pictures, of AP and AR.

A picture is drawn with everybody on it, since the people of a picture are not independent of each other. Axes: I
pictures, D poses, T thresholds, R resamples.
"""
from typing import Iterator, NamedTuple, Optional, Tuple

import numpy as np

from ..data.oks_truth import OKSTruth
from .oks_matching import EPSILON, RECALLS, Matching, Pairs

RESAMPLES = 200
SEED = 0


class Interval(NamedTuple):
    """Limits between which 95 % of the resampled numbers lie."""

    low: float
    high: float


def picture_weights(num_pictures: int, resamples: int = RESAMPLES, seed: int = SEED) -> Iterator[np.ndarray]:
    """Yield for each resample how often each picture (I,) is drawn; the same seed draws the same pictures."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(rng.integers(0, num_pictures, num_pictures), minlength=num_pictures).astype(np.float64)


def interval(values: np.ndarray) -> Optional[Interval]:
    """Return the interval of the resampled numbers (R,); None if some were undefined (-1 or NaN)."""
    values = np.asarray(values, np.float64)
    if not len(values) or not np.isfinite(values).all() or (values < -0.999).any():
        return None
    return Interval(*np.percentile(values, (2.5, 97.5)).tolist())


class WeightedRanking:
    """AP and AR of matched poses for any weights of the pictures; with weights of 1 they are those of
    `precision_and_recall`.

    The precision envelope and the recall change at right poses only, so only these are looked at.

    Args:
        images: mask (I,) of the pictures that count; None takes all.
    """

    def __init__(self, truth: OKSTruth, pairs: Pairs, matching: Matching, images: Optional[np.ndarray] = None):
        in_images = np.ones(len(truth.image_ids), bool) if images is None else images
        poses = np.flatnonzero(in_images[pairs.image_index])
        poses = poses[np.argsort(-pairs.scores[poses], kind='stable')]
        counts = ~matching.is_ignored[:, poses]
        is_right = (matching.person[:, poses] >= 0) & counts
        image = pairs.image_index[poses]
        # Per threshold: the pictures of the poses that count, best score first, and the places of the right ones.
        self._images = [image[each] for each in counts]
        self._right = [np.flatnonzero(right[each]) for right, each in zip(is_right, counts)]
        counted = in_images[truth.image_index] & ~truth.is_ignored
        self._people = np.bincount(truth.image_index[counted], minlength=len(truth.image_ids)).astype(np.float64)

    def numbers(self, weights: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """Return the mean precision (T,) and the highest recall (T,) for weights (I,); -1 if nobody counts."""
        people = float(weights @ self._people)
        precisions, recalls = np.full(len(self._right), -1.0), np.full(len(self._right), -1.0)
        if not people:
            return precisions, recalls
        for row, (image, places) in enumerate(zip(self._images, self._right)):
            of_pose = weights[image]
            right = np.cumsum(of_pose[places])
            counted = np.cumsum(of_pose)[places]
            recall = right / people
            precision = np.maximum.accumulate((right / (counted + EPSILON))[::-1])[::-1]
            precision = np.append(precision, 0.0)
            precisions[row] = precision[np.searchsorted(recall, RECALLS)].mean()
            recalls[row] = recall[-1] if len(recall) else 0.0
        return precisions, recalls
