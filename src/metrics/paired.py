"""Two results on the same pictures: is their difference beyond chance? The paired bootstrap over pictures.

Both results are resampled with the same pictures, so that what is hard for both does not count. Axes: I pictures, P
annotated people, K keypoints, R resamples.
"""
from typing import Dict, Iterable, List, NamedTuple, Optional

import numpy as np

from ..data.oks_truth import OKSTruth
from .bootstrap import Interval, interval, picture_weights
from .keypoint_errors import KINDS, UNLABELLED, KeypointErrors

# What became of a labelled keypoint: one of KINDS, or its person has no pose.
FATES = (*KINDS, 'no pose')


class Difference(NamedTuple):
    """A number of both results, and the interval of the second minus the first; None if it is undefined in some draws.
    """

    first: float
    second: float
    interval: Optional[Interval]

    @property
    def change(self) -> float:
        """The second minus the first."""
        return self.second - self.first

    @property
    def verdict(self) -> str:
        """'better' or 'worse', if the second result is so beyond chance; 'same' if nothing differs in any draw;
        'chance' if the interval holds 0; 'undefined' without an interval."""
        if self.interval is None:
            return 'undefined'
        low, high = self.interval
        if low == high == 0:
            return 'same'
        return 'better' if low > 0 else 'worse' if high < 0 else 'chance'


def compare_numbers(first: Dict[str, float], second: Dict[str, float], first_drawn: Dict[str, np.ndarray],
                    second_drawn: Dict[str, np.ndarray]) -> Dict[str, Difference]:
    """Return {name: difference} of the numbers of two evaluations.

    Args:
        first_drawn, second_drawn: {name: value (R,)} in the same resamples.
    """
    found = {}
    for name, value in first.items():
        limits = None
        drawn = [each.get(name) for each in (first_drawn, second_drawn)]
        if all(each is not None and interval(each) is not None for each in drawn):
            limits = Interval(*np.percentile(drawn[1] - drawn[0], (2.5, 97.5)).tolist())
        found[name] = Difference(value, second[name], limits)
    return found


class PersonTable(NamedTuple):
    """How well everybody is found: OKS (P,) and similarity of each keypoint (P, K), 0 without a pose; the row of the
    kept pose (P,) or -1."""

    oks: np.ndarray
    similarity: np.ndarray
    pose: np.ndarray


def person_table(truth: OKSTruth, errors: KeypointErrors) -> PersonTable:
    """Return how well everybody is found by the poses of some errors."""
    oks, pose = np.zeros(len(truth)), np.full(len(truth), -1)
    similarity = np.zeros(truth.is_labelled.shape)
    oks[errors.person], similarity[errors.person], pose[errors.person] = errors.oks, errors.own, errors.pose
    return PersonTable(oks, similarity, pose)


def compare_means(truth: OKSTruth, first: np.ndarray, second: np.ndarray, masks: Iterable[np.ndarray], resamples: int
                  ) -> List[Difference]:
    """Return the difference of the means over some people, for each mask.

    Args:
        first, second: (M, P) a row for each mask, or (P,) for all.
        masks: M masks (P,) of the people over whom the mean is taken, or M weights (P,) of the people in it.
    """
    masks = np.array(list(masks), np.float64).reshape(-1, len(truth))
    sums = []
    for values in (np.broadcast_to(first, masks.shape) * masks, np.broadcast_to(second, masks.shape) * masks, masks):
        of_picture = np.zeros((len(masks), len(truth.image_ids)))
        np.add.at(of_picture.T, truth.image_index, values.T)
        sums.append(of_picture)
    weights = np.array(list(picture_weights(len(truth.image_ids), resamples)))
    with np.errstate(invalid='ignore', divide='ignore'):
        drawn = (weights @ (sums[1] - sums[0]).T) / (weights @ sums[2].T)
        means = [each.sum(axis=1) / sums[2].sum(axis=1) for each in sums[:2]]
    found = []
    for row in range(len(masks)):
        is_defined = np.isfinite(drawn[:, row]).all()
        limits = Interval(*np.percentile(drawn[:, row], (2.5, 97.5)).tolist()) if is_defined else None
        values = [float(each[row]) if np.isfinite(each[row]) else -1.0 for each in means]
        found.append(Difference(*values, limits))
    return found


def keypoint_fates(truth: OKSTruth, errors: KeypointErrors) -> np.ndarray:
    """Return what became of every keypoint (P, K) int8: UNLABELLED, also for people who do not count, or the index in
    FATES."""
    counts = truth.is_labelled & ~truth.is_ignored[:, None]
    fates = np.where(counts, len(KINDS), UNLABELLED).astype(np.int8)
    fates[errors.person] = errors.kind
    return fates


def compare_fates(truth: OKSTruth, first: np.ndarray, second: np.ndarray, resamples: int) -> List[Difference]:
    """Return the difference of the share of each of FATES among all labelled keypoints.

    Args:
        first, second: `keypoint_fates` (P, K) of both results.
    """
    labelled = (first != UNLABELLED).sum(axis=1)
    shares = [np.array([(fates == fate).sum(axis=1) for fate in range(len(FATES))]) / np.maximum(labelled, 1)
              for fates in (first, second)]
    return compare_means(truth, *shares, [labelled] * len(FATES), resamples)


def count_moves(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return how many keypoints (6, 6) are of each of FATES in the first result (rows) and in the second (columns)."""
    rows = (first != UNLABELLED) & (second != UNLABELLED)
    places = first[rows].astype(np.int64) * len(FATES) + second[rows]
    return np.bincount(places, minlength=len(FATES) ** 2).reshape(len(FATES), len(FATES))
