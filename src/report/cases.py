"""The worst cases of each kind of error, for the gallery."""
from collections import Counter
from itertools import islice
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Tuple, TypeVar

import numpy as np

from ..metrics.keypoint_errors import INVERSION, JITTER, KINDS, MISS, SWAP, corrected_similarity
from ..metrics.people_errors import BACKGROUND, DUPLICATE, MISSED
from .analysis import Analysis

# Cases of a kind that may be from one picture, so that one odd picture does not fill the page.
MOST_OF_PICTURE = 2
Item = TypeVar('Item')


class WrongKeypoint(NamedTuple):
    """A keypoint of a case: its index, kind of error, similarity with its own label, and the row of the person whose
    keypoint it took in a swap, else -1."""

    keypoint: int
    kind: int
    similarity: float
    other: int


class Case(NamedTuple):
    """One card of the gallery.

    Attributes:
        kind: a name in CASES.
        image: row of the picture.
        person: row in the ground truth, -1 for poses on background.
        poses: rows of the kept poses: the one that is wrong, then the one to compare it with, if any; empty for missed
            people.
        weight: how bad it is among its kind; what it measures depends on the kind.
        oks: of the first pose with the person, or with the nearest one; 0 without a pose.
        score: of the first pose; 0 without.
        other_oks: of the second pose with the person.
        keypoints: the keypoints of this kind.
    """

    kind: str
    image: int
    person: int
    poses: Tuple[int, ...]
    weight: float
    oks: float
    score: float
    keypoints: Tuple[WrongKeypoint, ...] = ()
    other_oks: float = 0.0


def _of_keypoints(analysis: Analysis, kind: int) -> Iterable[Case]:
    """Poses that lose most OKS by one kind of error."""
    errors, name = analysis.errors, KINDS[kind]
    labelled = np.maximum((errors.kind >= 0).sum(axis=1), 1)
    is_kind = errors.kind == kind
    lost = np.where(is_kind, corrected_similarity(errors) - errors.own, 0).sum(axis=1) / labelled
    for row in np.argsort(-lost, kind='stable'):
        if not is_kind[row].any():
            return
        wrong = tuple(WrongKeypoint(int(each), kind, float(errors.own[row, each]), int(errors.other[row, each]))
                      for each in np.flatnonzero(is_kind[row]))
        pose = int(errors.pose[row])
        yield Case(name, int(analysis.pairs.image_index[pose]), int(errors.person[row]), (pose,), float(lost[row]),
                   float(errors.oks[row]), float(analysis.pairs.scores[pose]), wrong)


def _missed(analysis: Analysis) -> Iterable[Case]:
    """The largest people to whom no pose belongs."""
    people = np.flatnonzero(analysis.people.person_state == MISSED)
    for person in people[np.argsort(-analysis.truth.areas[people], kind='stable')].tolist():
        yield Case('missed', int(analysis.truth.image_index[person]), person, (),
                   float(analysis.truth.areas[person]), 0.0, 0.0)


def _on_background(analysis: Analysis) -> Iterable[Case]:
    """The poses on background with the best scores."""
    for pose, oks, score in _poses_of_state(analysis, BACKGROUND):
        yield Case('background', int(analysis.pairs.image_index[pose]), -1, (pose,), score, oks, score)


def _duplicates(analysis: Analysis) -> Iterable[Case]:
    """The duplicates with the best scores, each with the pose that the person has."""
    errors = analysis.errors
    holder = dict(zip(errors.person.tolist(), zip(errors.pose.tolist(), errors.oks.tolist())))
    for pose, oks, score in _poses_of_state(analysis, DUPLICATE):
        person = int(analysis.people.nearest[pose])
        other, other_oks = holder.get(person, (None, 0.0))
        yield Case('duplicate', int(analysis.pairs.image_index[pose]), person,
                   (pose,) if other is None else (pose, other), score, oks, score, (), other_oks)


def _poses_of_state(analysis: Analysis, state: int) -> Iterable[Tuple[int, float, float]]:
    """Yield the row, the highest OKS and the score of each pose of a state, best score first."""
    poses = np.flatnonzero(analysis.people.pose_state == state)
    for pose in poses[np.argsort(-analysis.pairs.scores[poses], kind='stable')].tolist():
        yield pose, float(analysis.people.nearest_oks[pose]), float(analysis.pairs.scores[pose])


def _misranked(analysis: Analysis) -> Iterable[Case]:
    """People whose best-scored pose is much less similar, and much better scored, than another one."""
    people, pairs = analysis.people, analysis.pairs
    oks = {(pose, person): value for pose, person, value in zip(
        pairs.pose.tolist(), pairs.person.tolist(), analysis.similarity.tolist())} if len(people.misranked) else {}
    found = []
    for person, first, better in people.misranked.tolist():
        gain = oks[better, person] - oks[first, person]
        weight = float(np.sqrt(gain * (pairs.scores[first] - pairs.scores[better])))
        found.append(Case('score', int(pairs.image_index[first]), person, (first, better), weight,
                          oks[first, person], float(pairs.scores[first]), (), oks[better, person]))
    return sorted(found, key=lambda case: -case.weight)


CASES: Dict[str, Callable[[Analysis], Iterable[Case]]] = {
    'miss': lambda analysis: _of_keypoints(analysis, MISS),
    'swap': lambda analysis: _of_keypoints(analysis, SWAP),
    'inversion': lambda analysis: _of_keypoints(analysis, INVERSION),
    'jitter': lambda analysis: _of_keypoints(analysis, JITTER),
    'missed': _missed,
    'background': _on_background,
    'duplicate': _duplicates,
    'score': _misranked,
}


def worst_cases(analysis: Analysis, most: int) -> List[Case]:
    """Return up to `most` cases of each kind, the worst first."""
    return [case for cases in CASES.values()
            for case in islice(few_of_a_picture(cases(analysis), lambda case: case.image), most)]


def few_of_a_picture(cases: Iterable[Item], image_of: Callable[[Item], int]) -> Iterator[Item]:
    """Yield the first MOST_OF_PICTURE cases of each picture."""
    of_picture: Counter = Counter()
    for case in cases:
        image = image_of(case)
        if of_picture[image] < MOST_OF_PICTURE:
            of_picture[image] += 1
            yield case
