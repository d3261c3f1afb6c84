"""How far a number would vary with other pictures: the percentile bootstrap over pictures, of AP and AR.

A picture is drawn with everybody on it, since the people of a picture are not independent of each other. Axes: I
pictures, D poses, T thresholds, R resamples.
"""
from typing import Collection, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

from ..data.oks_truth import OKSTruth
from .coco import AREA_RANGES
from .crowdpose import crowd_groups
from .oks_matching import EPSILON, RECALLS, THRESHOLDS, Matching, Pairs, match_sizes

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


def resampled_numbers(truth: OKSTruth, pairs: Pairs, similarity: np.ndarray, names: Collection[str], *,
                      crowd_index: Optional[np.ndarray] = None, resamples: int = RESAMPLES, seed: int = SEED
                      ) -> Dict[str, np.ndarray]:
    """Return {name: its value (R,) in each resample} of those numbers of an evaluation whose names are known here: AP,
    AP50, AP75, AR, AR50, AR75, AP (M) and so on.

    Args:
        similarity: OKS (N,) of the pairs.
        names: of the numbers of the evaluation.
        crowd_index: (I,) of CrowdPose's pictures, for the numbers of its groups.
    """
    rankings: Dict[str, WeightedRanking] = {}
    for suffix, limits in AREA_RANGES.items():
        if f'AP{suffix}' in names:
            of_size, matching = match_sizes(truth, pairs, similarity, limits)
            rankings[suffix] = WeightedRanking(of_size, pairs, matching)
    if crowd_index is not None:
        of_all, matching = match_sizes(truth, pairs, similarity, AREA_RANGES[''])
        for suffix, images in crowd_groups(crowd_index).items():
            if f'AP{suffix}' in names:
                rankings[suffix] = WeightedRanking(of_all, pairs, matching, images)
    at = {'': slice(None), '50': int(np.argmin(np.abs(THRESHOLDS - 0.5))),
          '75': int(np.argmin(np.abs(THRESHOLDS - 0.75)))}
    values: Dict[str, List[float]] = {}
    for weights in picture_weights(len(truth.image_ids), resamples, seed):
        for suffix, ranking in rankings.items():
            for kind, table in zip(('AP', 'AR'), ranking.numbers(weights)):
                for threshold, rows in at.items():
                    name = f'{kind}{threshold}{suffix}'
                    if name in names:
                        values.setdefault(name, []).append(float(np.mean(table[rows])))
    return {name: np.array(each) for name, each in values.items()}
