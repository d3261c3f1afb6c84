"""Errors of whole people: poses on background, people who are missed, scores in the wrong order; and what each kind of
error costs, as the AP that is gained by correcting it (Ronchi and Perona, ICCV 2017).

Axes: D kept poses, P annotated people, T thresholds.
"""
from dataclasses import dataclass, replace
from typing import Collection, Dict, List, Optional, Tuple

import numpy as np

from ..data.oks_truth import OKSTruth
from .keypoint_errors import BELONGS, INVERSION, JITTER, MISS, NEAR, SWAP, KeypointErrors, correct_keypoints
from .oks_matching import Matching, Pairs, match, pair_up, precision_of_ranking
from .records import PoseArrays

# The state of a pose, and of a person who counts, at an OKS of 0.5; IGNORED is neither right nor wrong.
POSE_STATES = ('right', 'ignored', 'inexact', 'duplicate', 'background')
RIGHT, IGNORED, INEXACT, DUPLICATE, BACKGROUND = range(5)
PERSON_STATES = ('found', 'ignored', 'inexact', 'missed')
FOUND, _, _, MISSED = range(4)  # the others have the numbers of a pose's
# Divisor of the squared OKS in the soft NMS of the paper's optimal scores.
SOFT_NMS = 0.5
# The order in which the paper corrects: keypoints, then scores, then whole people.
CORRECTIONS = ('miss', 'swap', 'inversion', 'jitter', 'score', 'background', 'missed')
_OF_KEYPOINTS = {'miss': MISS, 'swap': SWAP, 'inversion': INVERSION, 'jitter': JITTER}


@dataclass(frozen=True)
class PeopleErrors:
    """The states of poses and people, and scores in the wrong order.

    Attributes:
        pose_state: (D,) index in POSE_STATES. 'inexact' belongs to a person, at an OKS of 0.1 to 0.5; 'duplicate' is on
            a person to whom a better-scored pose belongs; 'background' has an OKS below 0.1 with everybody.
        person_state: (P,) index in PERSON_STATES; 'missed' is a person to whom no pose belongs.
        nearest: (D,) the person with whom a pose has its highest OKS, -1 in pictures without people.
        nearest_oks: (D,) that OKS, 0 in pictures without people.
        misranked: (E, 3) of people whose best-scored pose is not the most similar one: the person, that pose and the
            more similar one, both above an OKS of 0.5.
    """

    pose_state: np.ndarray
    person_state: np.ndarray
    nearest: np.ndarray
    nearest_oks: np.ndarray
    misranked: np.ndarray


def find_people_errors(truth: OKSTruth, pairs: Pairs, similarity: np.ndarray, matching: Matching) -> PeopleErrors:
    """Return the state of every pose and person.

    Args:
        similarity: OKS (N,) of the pairs.
        matching: at the thresholds of the evaluation, whose first is 0.5.
    """
    nearest, nearest_oks = most_similar_people(pairs, similarity)
    belongs = match(truth, pairs, similarity, np.array([BELONGS])).person[0]
    matched = matching.person[0]
    pose_state = np.select(
        [matching.is_ignored[0], matched >= 0, (belongs >= 0) & truth.is_ignored[belongs], belongs >= 0,
         nearest_oks >= BELONGS], [IGNORED, RIGHT, IGNORED, INEXACT, DUPLICATE], BACKGROUND)
    person_state = np.full(len(truth), MISSED)
    person_state[belongs[belongs >= 0]] = INEXACT
    person_state[matched[matched >= 0]] = FOUND
    person_state[truth.is_ignored] = IGNORED
    return PeopleErrors(pose_state, person_state, nearest, nearest_oks,
                        _misranked(truth, pairs, similarity, matched))


def most_similar_people(pairs: Pairs, similarity: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Return for each pose (D,) the person with the highest OKS (-1 without people) and that OKS (0)."""
    nearest, oks = np.full(len(pairs.scores), -1), np.zeros(len(pairs.scores))
    # In ascending order of the OKS, the last assignment stays.
    order = np.argsort(similarity, kind='stable')
    nearest[pairs.pose[order]], oks[pairs.pose[order]] = pairs.person[order], similarity[order]
    return nearest, oks


def _misranked(truth: OKSTruth, pairs: Pairs, similarity: np.ndarray, matched: np.ndarray) -> np.ndarray:
    """Return (E, 3) of people who are matched by a pose while a more similar one, matched by nobody else, has a lower
    score."""
    holder = np.full(len(truth), -1)
    poses = np.flatnonzero(matched >= 0)
    holder[matched[poses]] = poses
    is_own = matched[pairs.pose] == pairs.person
    oks_of_holder = np.zeros(len(truth))
    oks_of_holder[pairs.person[is_own]] = similarity[is_own]
    rows = np.flatnonzero((matched[pairs.pose] < 0) & ~truth.is_ignored[pairs.person] & (holder[pairs.person] >= 0)
                          & (similarity > np.maximum(oks_of_holder[pairs.person], NEAR)))
    rows = rows[pairs.scores[pairs.pose[rows]] < pairs.scores[holder[pairs.person[rows]]]]
    best = np.full(len(truth), -1)
    order = rows[np.argsort(similarity[rows], kind='stable')]
    best[pairs.person[order]] = pairs.pose[order]
    people = np.flatnonzero(best >= 0)
    return np.stack([people, holder[people], best[people]], axis=1)


def optimal_scores(truth: OKSTruth, pairs: Pairs, similarity: np.ndarray) -> np.ndarray:
    """Return the paper's optimal scores (D,): the highest OKS of each pose with a person who counts, lowered by
    soft NMS among the poses of a picture: of two poses on one person, the more similar comes far before the other.
    """
    _, scores = most_similar_people(pairs, np.where(truth.is_ignored[pairs.person], 0, similarity))
    left = np.arange(len(scores))
    areas = pairs.areas
    while len(left):
        # One pose of each picture is kept per round: the best of those that are left.
        order = left[np.lexsort((-scores[left], pairs.image_index[left]))]
        images = pairs.image_index[order]
        is_best = np.diff(images, prepend=-1) > 0
        best = order[is_best]
        left = order[~is_best]
        of_picture = best[np.searchsorted(pairs.image_index[best], pairs.image_index[left])]
        squared = ((pairs.keypoints[left] - pairs.keypoints[of_picture]) ** 2).sum(axis=2)
        mean_area = (areas[left] + areas[of_picture]) / 2 + np.spacing(1)
        oks = np.exp(-squared / pairs.variances / mean_area[:, None] / 2).mean(axis=1)
        scores[left] *= np.exp(-oks ** 2 / SOFT_NMS)
    return scores


@dataclass(frozen=True)
class Correction:
    """The AP after one kind of error is corrected alone, and after it and all before it in CORRECTIONS are."""

    alone: float
    one_after_another: float


def ap_by_correction(truth: OKSTruth, found: PoseArrays, oks_sigmas: np.ndarray, pairs: Pairs, errors: KeypointErrors
                     ) -> Dict[str, Correction]:
    """Return {kind of error, in the order of CORRECTIONS: AP without it}; -1 if nobody is left.

    Background means all poses that match nobody, which are left out; missed people are all who are matched by no pose,
    who are left out as well: both at each threshold.

    Args:
        found: all poses; `pairs` and `errors` are of these.
    """
    def correct(poses: Pairs, name: str) -> Pairs:
        if name == 'score':
            return replace(poses, scores=optimal_scores(truth, poses, poses.similarity(truth)))
        return correct_keypoints(truth, poses, errors, [_OF_KEYPOINTS[name]])

    # Better scores may bring a pose among the best of its picture that was not there before.
    everybody = pairs if len(found.scores) == len(pairs.scores) else pair_up(truth, found, oks_sigmas,
                                                                             most=len(found.scores))
    place = np.empty(len(found.scores), np.int64)
    place[everybody.given] = np.arange(len(place))
    errors = replace(errors, pose=place[pairs.given[errors.pose]])
    numbers: Dict[str, Correction] = {}
    left_out: List[str] = []
    corrected, original = everybody, _Ranking(truth, pairs)
    ranking = original
    for name in CORRECTIONS:
        alone = original
        if name in _OF_KEYPOINTS or name == 'score':
            is_first = corrected is everybody
            changed = correct(everybody, name)
            alone = _Ranking(truth, changed.with_scores(changed.scores))
            corrected = changed if is_first else correct(corrected, name)
            ranking = alone if is_first else _Ranking(truth, corrected.with_scores(corrected.scores))
        else:
            left_out.append(name)
        numbers[name] = Correction(alone.without([name]), ranking.without(left_out))
    return numbers


def ap_without_states(truth: OKSTruth, pairs: Pairs, people: PeopleErrors) -> Dict[str, float]:
    """Return AP without poses on background and duplicates ('false pose'), and without people to whom no pose belongs
    ('no pose').

    Unlike 'background' and 'missed' of `ap_by_correction`, these are the same at each threshold: an inexact pose, which
    makes a false positive and a missed person at high thresholds, is neither of them.
    """
    ranking = _Ranking(truth, pairs)
    is_false = np.isin(people.pose_state, (BACKGROUND, DUPLICATE))[ranking.order]
    num_people = ranking.num_people - int((people.person_state == MISSED).sum())
    return {'false pose': ranking.average_precision(is_wrong=ranking.is_wrong & ~is_false),
            'no pose': ranking.average_precision(num_people=np.full(len(ranking.is_right), num_people))}


class _Ranking:
    """Matched poses in the order of their scores: what is right, what is wrong, and how many people count."""

    def __init__(self, truth: OKSTruth, pairs: Pairs):
        matching = match(truth, pairs, pairs.similarity(truth))
        self.order = np.argsort(-pairs.scores, kind='stable')
        counts = ~matching.is_ignored[:, self.order]
        self.is_right = (matching.person[:, self.order] >= 0) & counts
        self.is_wrong = counts & ~self.is_right
        self.num_people = int((~truth.is_ignored).sum())

    def without(self, left_out: Collection[str]) -> float:
        """Return the AP without the kinds 'background' and 'missed', where they are left out."""
        return self.average_precision(
            is_wrong=np.zeros_like(self.is_wrong) if 'background' in left_out else None,
            num_people=self.is_right.sum(axis=1) if 'missed' in left_out else None)

    def average_precision(self, *, is_wrong: Optional[np.ndarray] = None, num_people: Optional[np.ndarray] = None
                          ) -> float:
        """Return the AP; -1 if nobody is left.

        Args:
            is_wrong: (T, D) instead of the own.
            num_people: (T,) instead of the own; thresholds with nobody do not count.
        """
        is_wrong = self.is_wrong if is_wrong is None else is_wrong
        num_people = np.full(len(is_wrong), self.num_people) if num_people is None else num_people
        some = num_people > 0
        if not some.any():
            return -1.0
        return float(precision_of_ranking(self.is_right[some], is_wrong[some], num_people[some])[0].mean())
