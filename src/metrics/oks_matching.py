"""Average precision by OKS, for all pictures at once: the arithmetic of COCO's evaluator in array operations.

Axes: T thresholds, D found poses, I pictures, P annotated people, K keypoints, N pairs of a pose and a person.
Only the 20 best poses of a picture count.
"""
from dataclasses import dataclass, replace
from typing import Optional, Tuple

import numpy as np

from ..data.coco import MAX_POSES
from ..data.oks_truth import OKSTruth
from .records import PoseArrays

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
EPSILON = np.spacing(1)


@dataclass(frozen=True)
class Pairs:
    """All N pairs of a kept pose and a person in the same picture.

    Attributes:
        image_index: (D,) picture of each kept pose, ascending; within a picture, poses have descending scores.
        rank: (D,) of a pose within its picture, from 0.
        given: (D,) row of each kept pose among the given ones.
        scores: (D,).
        areas: (D,) of the box around all keypoints of a pose, square pixels.
        pose, person: (N,) rows of the kept poses and of the ground truth.
        keypoints: (D, K, 2) of the kept poses.
        variances: (K,) of the OKS.
        terms: (N, K) OKS term of each keypoint, from its distance to the annotated position.
    """

    image_index: np.ndarray
    rank: np.ndarray
    given: np.ndarray
    scores: np.ndarray
    areas: np.ndarray
    pose: np.ndarray
    person: np.ndarray
    keypoints: np.ndarray
    variances: np.ndarray
    terms: np.ndarray

    def similarity(self, truth: OKSTruth, keypoint: Optional[int] = None) -> np.ndarray:
        """Return the OKS (N,) over the labelled keypoints, or over one `keypoint` only; for people without a labelled
        one, the box is compared instead."""
        columns = slice(None) if keypoint is None else slice(keypoint, keypoint + 1)
        labelled = truth.is_labelled[self.person, columns]
        count = labelled.sum(axis=1)
        values = np.where(labelled, self.terms[:, columns], 0).sum(axis=1) / np.maximum(count, 1)
        rows = np.flatnonzero(count == 0)
        values[rows] = self._box_terms(truth, rows, columns).mean(axis=1)
        return values

    def with_scores(self, scores: np.ndarray) -> 'Pairs':
        """Return the pairs with other scores (D,) of the poses; of each picture the MAX_POSES best are kept."""
        order = np.lexsort((np.arange(len(scores)), -scores, self.image_index))
        rank = _place_in_group(self.image_index[order])
        order, rank = order[rank < MAX_POSES], rank[rank < MAX_POSES]
        place = np.full(len(scores), -1)
        place[order] = np.arange(len(order))
        rows = np.flatnonzero(place[self.pose] >= 0)
        rows = rows[np.argsort(place[self.pose[rows]], kind='stable')]
        return replace(self, image_index=self.image_index[order], rank=rank, given=self.given[order],
                       scores=scores[order], areas=self.areas[order], pose=place[self.pose[rows]],
                       person=self.person[rows], keypoints=self.keypoints[order], terms=self.terms[rows])

    def _box_terms(self, truth: OKSTruth, rows: np.ndarray, columns: slice) -> np.ndarray:
        """Return the OKS terms (n, k) of some pairs from the distance to the person's box of three times the size."""
        person, places = self.person[rows], self.keypoints[self.pose[rows], columns]
        corner, size = truth.boxes_xywh[person, None, :2], truth.boxes_xywh[person, None, 2:]
        outside = np.maximum(0, corner - size - places) + np.maximum(0, places - (corner + size * 2))
        return oks_terms(outside, self.variances[columns], truth.areas[person])


def oks_terms(offsets: np.ndarray, variances: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Return the OKS terms (N, k) of offsets (N, k, 2), which are overwritten."""
    # Poses of another program may be beyond all measure; they have an OKS of 0.
    with np.errstate(over='ignore'):
        offsets *= offsets
        exponents = offsets[..., 0] + offsets[..., 1]
        exponents /= variances
        exponents /= (areas + EPSILON)[:, None]
    exponents /= -2
    return np.exp(exponents, out=exponents)


@dataclass(frozen=True)
class Matching:
    """Which pose is matched to which person.

    Attributes:
        person: (T, D) row of the person in the ground truth that a pose is matched to, -1 for none.
        is_ignored: (T, D) whether the pose is neither right nor wrong, for example matched to an ignored person.
    """

    person: np.ndarray
    is_ignored: np.ndarray


def pair_up(truth: OKSTruth, found: PoseArrays, oks_sigmas: np.ndarray, *, most: int = MAX_POSES) -> Pairs:
    """Keep the best poses of every picture and compare each with every person in it.

    Args:
        found: poses, only on pictures of the ground truth.
        oks_sigmas: (K,).
        most: poses of a picture that are kept.
    """
    image_index = np.searchsorted(truth.image_ids, found.image_ids)
    order = np.lexsort((np.arange(len(image_index)), -found.scores, image_index))
    rank = _place_in_group(image_index[order])
    order, rank = order[rank < most], rank[rank < most]
    image_index = image_index[order]
    pose, person = with_people_of_picture(image_index, truth)
    keypoints, variances = found.keypoints[order], (2 * np.asarray(oks_sigmas)) ** 2
    offsets = keypoints[pose]
    offsets -= truth.keypoints[person]
    return Pairs(image_index, rank, order, found.scores[order], pose_areas(keypoints), pose, person, keypoints,
                 variances, oks_terms(offsets, variances, truth.areas[person]))


def pose_areas(keypoints: np.ndarray) -> np.ndarray:
    """Return the areas (D,) of the boxes around keypoints (D, K, 2)."""
    # One axis after the other: several times as fast as both together.
    x, y = (np.ptp(keypoints[:, :, axis], axis=1) for axis in (0, 1))
    return x * y


def with_people_of_picture(image_index: np.ndarray, truth: OKSTruth) -> Tuple[np.ndarray, np.ndarray]:
    """Return all pairs (N,), (N,) of a row of `image_index` (D,), ascending, and a person of the same picture."""
    people_by_image = np.argsort(truth.image_index, kind='stable')
    counts = np.bincount(truth.image_index, minlength=len(truth.image_ids))
    starts = np.cumsum(counts) - counts
    people_of_row = counts[image_index]
    row = np.repeat(np.arange(len(image_index)), people_of_row)
    within = np.arange(len(row)) - np.repeat(np.cumsum(people_of_row) - people_of_row, people_of_row)
    return row, people_by_image[starts[image_index[row]] + within]


def _place_in_group(groups: np.ndarray) -> np.ndarray:
    """Return the index (D,) of each element within its group; elements of a group must be adjacent."""
    if not len(groups):
        return np.zeros(0, np.int64)
    first = np.flatnonzero(np.diff(groups, prepend=groups[0] - 1))
    return np.arange(len(groups)) - np.repeat(first, np.diff(first, append=len(groups)))


def match(truth: OKSTruth, pairs: Pairs, similarity: np.ndarray, thresholds: np.ndarray = THRESHOLDS) -> Matching:
    """Match poses to people as COCO's evaluator does: poses choose in the order of their scores, and prefer people who
    count to those who are ignored. Among equal similarities the later person is chosen.

    Args:
        similarity: (N,) of the pairs.
        thresholds: (T,) smallest OKS of a match.
    """
    num_thresholds, num_poses = len(thresholds), len(pairs.scores)
    # The people of a picture are put into slots, ignored people after the others.
    by_slot = np.lexsort((truth.is_ignored, truth.image_index))
    slot = np.empty(len(truth), np.int64)
    slot[by_slot] = _place_in_group(truth.image_index[by_slot])
    # Pictures are sorted by their number of poses, the largest first.
    poses_of_image = np.bincount(pairs.image_index, minlength=len(truth.image_ids))
    images = np.argsort(-poses_of_image, kind='stable')
    row_of_image = np.empty(len(images), np.int64)
    row_of_image[images] = np.arange(len(images))
    shape = (len(images), int(slot.max(initial=0)) + 1)

    person_at = np.full(shape, -1)
    person_at[row_of_image[truth.image_index], slot] = np.arange(len(truth))
    is_ignored = (person_at >= 0) & truth.is_ignored[person_at]
    is_crowd = (person_at >= 0) & truth.is_crowd[person_at]
    of_pose = np.full((num_poses, shape[1]), -1.0)
    of_pose[pairs.pose, slot[pairs.person]] = similarity
    limits = np.minimum(thresholds, 1 - 1e-10)[:, None, None]

    taken = np.zeros((num_thresholds, *shape), bool)
    person = np.full((num_thresholds, num_poses), -1)
    row_of_pose = row_of_image[pairs.image_index]
    for rank in range(int(pairs.rank.max(initial=-1)) + 1):
        poses = np.flatnonzero(pairs.rank == rank)
        rows = row_of_pose[poses]
        values = of_pose[poses][None]
        allowed = (values >= limits) & ~taken[:, rows]
        counting = allowed & ~is_ignored[rows]
        allowed &= counting | ~counting.any(axis=2, keepdims=True)
        choice = shape[1] - 1 - np.where(allowed, values, -1)[..., ::-1].argmax(axis=2)
        threshold, which = np.nonzero(allowed.any(axis=2))
        chosen = choice[threshold, which]
        person[threshold, poses[which]] = person_at[rows[which], chosen]
        taken[threshold, rows[which], chosen] = ~is_crowd[rows[which], chosen]
    return Matching(person, (person >= 0) & truth.is_ignored[person])


def match_sizes(truth: OKSTruth, pairs: Pairs, similarity: np.ndarray, area_range: Tuple[float, float]
                ) -> Tuple[OKSTruth, Matching]:
    """Match as COCO's evaluator does for one range of sizes: people of other sizes are ignored, and so are unmatched
    poses of other sizes.

    Args:
        area_range: smallest and largest area in square pixels, both included.

    Returns:
        The ground truth with these people ignored too, and the matching.
    """
    low, high = area_range
    truth = replace(truth, is_ignored=truth.is_ignored | (truth.areas < low) | (truth.areas > high))
    matching = match(truth, pairs, similarity)
    is_other_size = (pairs.areas < low) | (pairs.areas > high)
    return truth, Matching(matching.person, matching.is_ignored | ((matching.person < 0) & is_other_size))


def precision_and_recall(truth: OKSTruth, pairs: Pairs, matching: Matching,
                         images: Optional[np.ndarray] = None) -> Tuple[np.ndarray, np.ndarray]:
    """Return the precision (T, 101) at the recalls in RECALLS, and the highest recall (T,); -1 if nobody counts.

    Args:
        images: mask (I,) of the pictures that count; None takes all.
    """
    in_images = np.ones(len(truth.image_ids), bool) if images is None else images
    num_people = int((in_images[truth.image_index] & ~truth.is_ignored).sum())
    if not num_people:
        return np.full((len(THRESHOLDS), len(RECALLS)), -1.0), np.full(len(THRESHOLDS), -1.0)
    poses = np.flatnonzero(in_images[pairs.image_index])
    poses = poses[np.argsort(-pairs.scores[poses], kind='stable')]
    is_right, counts = matching.person[:, poses] >= 0, ~matching.is_ignored[:, poses]
    return precision_of_ranking(is_right & counts, ~is_right & counts, np.full(len(is_right), num_people))


def precision_of_ranking(is_right: np.ndarray, is_wrong: np.ndarray, num_people: np.ndarray
                         ) -> Tuple[np.ndarray, np.ndarray]:
    """Return the precision (T, 101) at the recalls in RECALLS, and the highest recall (T,), of ranked poses.

    Args:
        is_right, is_wrong: (T, D), best score first.
        num_people: (T,) who could be found, 1 or more.
    """
    right, wrong = (np.cumsum(kind, axis=1, dtype=np.float64) for kind in (is_right, is_wrong))
    recall = right / num_people[:, None]
    precision = np.maximum.accumulate((right / (right + wrong + EPSILON))[:, ::-1], axis=1)[:, ::-1]
    # Beyond the highest recall the precision is 0.
    precision = np.concatenate([precision, np.zeros((len(precision), 1))], axis=1)
    at_recalls = np.stack([row[np.searchsorted(its_recall, RECALLS)] for row, its_recall in zip(precision, recall)])
    return at_recalls, recall[:, -1] if recall.shape[1] else np.zeros(len(recall))
