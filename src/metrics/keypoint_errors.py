"""Errors of single keypoints by kind: jitter, inversion, swap, miss; and poses in which some kinds are corrected.

Definitions: Ronchi and Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation", ICCV 2017.

The similarity of a found keypoint with a labelled one is its term of the OKS: exp(-d²/(2 (2 sigma)² area)). Each found
keypoint is compared with its own label, with that of its left/right partner, and with both of everybody else in the
picture; the most similar one decides. Axes: M poses with a person, K keypoints.
"""
from dataclasses import dataclass, replace
from typing import Collection

import numpy as np

from ..data.oks_truth import OKSTruth
from .oks_matching import Pairs, match, oks_terms, pose_areas

# A pose belongs to a person, and its keypoints have errors, from this OKS on; below it the pose is on background.
BELONGS = 0.1
# Similarity from which a keypoint is near a labelled one, and from which it is good.
NEAR, GOOD_FROM = 0.5, 0.85
UNLABELLED, GOOD, JITTER, INVERSION, SWAP, MISS = -1, 0, 1, 2, 3, 4
KINDS = ('good', 'jitter', 'inversion', 'swap', 'miss')


@dataclass(frozen=True)
class KeypointErrors:
    """The keypoints of the M poses that belong to a person who counts.

    Attributes:
        pose, person: (M,) rows of the kept poses (`Pairs`) and of the ground truth.
        oks: (M,) of the pose with the person.
        kind: (M, K) int8, UNLABELLED, or the index in KINDS.
        own: (M, K) similarity with its own label; 0 where there is none.
        best: (M, K) similarity with the most similar label.
        other: (M, K) row of the person whose keypoint was taken in a swap, -1 elsewhere.
    """

    pose: np.ndarray
    person: np.ndarray
    oks: np.ndarray
    kind: np.ndarray
    own: np.ndarray
    best: np.ndarray
    other: np.ndarray

    def counts(self, rows=slice(None)) -> np.ndarray:
        """Return how many keypoints (5,) are of each kind in KINDS."""
        kinds = self.kind[rows]
        return np.bincount(kinds[kinds >= 0].ravel(), minlength=len(KINDS))


def find_keypoint_errors(truth: OKSTruth, pairs: Pairs, similarity: np.ndarray, flip_index: np.ndarray
                         ) -> KeypointErrors:
    """Return the kind of every keypoint. Poses are matched to people as COCO's evaluator does, at an OKS of BELONGS.

    Args:
        similarity: OKS (N,) of the pairs.
        flip_index: (K,), each keypoint's partner, or itself.
    """
    matched = match(truth, pairs, similarity, np.array([BELONGS])).person[0]
    is_chosen = (matched[pairs.pose] == pairs.person) & ~truth.is_ignored[pairs.person]
    chosen = np.flatnonzero(is_chosen)
    pose, person = pairs.pose[chosen], pairs.person[chosen]
    shape = (len(chosen), len(flip_index))
    kind, own, best = np.full(shape, UNLABELLED, np.int8), np.zeros(shape), np.zeros(shape)
    other = np.full(shape, -1)
    if not len(chosen):
        return KeypointErrors(pose, person, similarity[chosen], kind, own, best, other)
    # All pairs of these poses; those of one pose are adjacent.
    is_matched = np.zeros(len(pairs.scores), bool)
    is_matched[pose] = True
    rows = np.flatnonzero(is_matched[pairs.pose])
    first = np.flatnonzero(np.diff(pairs.pose[rows], prepend=-1))
    own_rows = np.flatnonzero(is_chosen[rows])
    people, places = pairs.person[rows], pairs.keypoints[pairs.pose[rows]]
    is_labelled = truth.is_labelled[people[own_rows]]
    for keypoint, partner in enumerate(flip_index.tolist()):
        to_own = np.where(truth.is_labelled[people, keypoint], pairs.terms[rows, keypoint], -1)
        to_partner = np.full(len(rows), -1.0)
        if partner != keypoint:
            offsets = (places[:, keypoint] - truth.keypoints[people, partner])[:, None]
            to_partner = np.where(truth.is_labelled[people, partner], oks_terms(
                offsets, pairs.variances[keypoint:keypoint + 1], truth.areas[people])[:, 0], -1)
        mine, inverted = to_own[own_rows].copy(), to_partner[own_rows]
        to_own[own_rows] = -1
        to_partner[own_rows] = -1
        by_own, by_partner = np.maximum.reduceat(to_own, first), np.maximum.reduceat(to_partner, first)
        largest = np.maximum.reduce([mine, inverted, by_own, by_partner])
        column = np.full(len(chosen), SWAP)
        # Of equal similarities the first counts: its own label, others' labels, its own partner, others' partners.
        column[(inverted == largest) & (by_own < largest)] = INVERSION
        column[mine == largest] = JITTER
        column[(mine == largest) & (mine >= GOOD_FROM)] = GOOD
        column[largest < NEAR] = MISS
        kind[:, keypoint] = np.where(is_labelled[:, keypoint], column, UNLABELLED)
        own[:, keypoint], best[:, keypoint] = np.maximum(mine, 0), np.maximum(largest, 0)
        nearest = _first_of_group(np.maximum(to_own, to_partner) == np.repeat(
            np.maximum(by_own, by_partner), np.diff(first, append=len(rows))), first)
        other[:, keypoint] = np.where(kind[:, keypoint] == SWAP, people[nearest], -1)
    return KeypointErrors(pose, person, similarity[chosen], kind, own, best, other)


def _first_of_group(is_wanted: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return the first wanted row of each group, of which each has one; `first` are the rows where groups start."""
    return np.minimum.reduceat(np.where(is_wanted, np.arange(len(is_wanted)), len(is_wanted)), first)


def corrected_similarity(errors: KeypointErrors) -> np.ndarray:
    """Return the similarity (M, K) with its own label that a corrected keypoint has: that of the smallest good distance
    for jitter, of the smallest near one for a miss, and for inversions and swaps as near to its own label as it is to
    the one it was confused with."""
    return np.select([errors.kind == JITTER, errors.kind == MISS], [GOOD_FROM, NEAR], errors.best)


def correct_keypoints(truth: OKSTruth, pairs: Pairs, errors: KeypointErrors, kinds: Collection[int]) -> Pairs:
    """Return the pairs with the keypoints of some kinds corrected: moved along the line to their own label, see
    `corrected_similarity`.

    Args:
        pairs: whose poses `errors` means.
        kinds: of JITTER, INVERSION, SWAP and MISS.
    """
    row, keypoint = np.nonzero(np.isin(errors.kind, list(kinds)))
    person, pose = errors.person[row], errors.pose[row]
    label = truth.keypoints[person, keypoint]
    offset = pairs.keypoints[pose, keypoint] - label
    length = np.hypot(offset[:, 0], offset[:, 1])
    # A trifle nearer, so that rounding does not leave it below the limit.
    wanted = np.minimum(corrected_similarity(errors)[row, keypoint] + 1e-9, 1)
    distance = np.sqrt(-2 * np.log(wanted) * pairs.variances[keypoint] * truth.areas[person])
    keypoints, terms, areas = pairs.keypoints.copy(), pairs.terms.copy(), pairs.areas.copy()
    keypoints[pose, keypoint] = label + offset * (distance / np.maximum(length, 1e-12))[:, None]
    is_changed = np.zeros(len(keypoints), bool)
    is_changed[pose] = True
    changed = np.flatnonzero(is_changed[pairs.pose])
    terms[changed] = oks_terms(keypoints[pairs.pose[changed]] - truth.keypoints[pairs.person[changed]],
                               pairs.variances, truth.areas[pairs.person[changed]])
    areas[is_changed] = pose_areas(keypoints[is_changed])
    return replace(pairs, keypoints=keypoints, terms=terms, areas=areas)
