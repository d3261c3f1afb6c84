"""Two results on the same annotations: the differences beyond chance, and the people that got better or worse."""
from itertools import islice, takewhile
from typing import Dict, List, NamedTuple, Tuple

import numpy as np

from ..metrics.paired import (
    FATES,
    Difference,
    PersonTable,
    compare_fates,
    compare_means,
    compare_numbers,
    count_moves,
    keypoint_fates,
    person_table,
)
from .analysis import Analysis
from .cases import few_of_a_picture
from .page import percent

# What became of keypoints, in a sentence.
PLURALS = {'jitter': 'with jitter', 'inversion': 'inversions', 'swap': 'swaps', 'miss': 'misses',
           'no pose': 'keypoints of people without a pose'}


class Comparison(NamedTuple):
    """Two results and their differences.

    Attributes:
        first, second: the analyses of A and B, of the same annotations.
        tables: how well each finds everybody.
        numbers: {name of a number: its difference}.
        fates: {one of FATES: difference of its share of all labelled keypoints}.
        moves: (6, 6) keypoints of each of FATES in A (rows) and in B (columns).
        keypoints: {name: difference of the mean similarity of the keypoint}.
        groups: difference of the mean OKS of each group of each condition.
    """

    first: Analysis
    second: Analysis
    tables: Tuple[PersonTable, PersonTable]
    numbers: Dict[str, Difference]
    fates: Dict[str, Difference]
    moves: np.ndarray
    keypoints: Dict[str, Difference]
    groups: List[List[Difference]]


class Change(NamedTuple):
    """A card of the gallery: 'better' or 'worse', and the row of the person."""

    kind: str
    person: int


def compare(first: Analysis, second: Analysis) -> Comparison:
    """Compare two analyses of the same annotations, with equally many resamples."""
    truth, counted = first.truth, ~first.truth.is_ignored
    tables = person_table(truth, first.errors), person_table(truth, second.errors)
    keypoints = compare_means(truth, tables[0].similarity.T, tables[1].similarity.T,
                              [counted & column for column in truth.is_labelled.T], first.resamples)
    groups = [compare_means(truth, tables[0].oks, tables[1].oks,
                            [counted & (condition.group_of == group) for group in range(len(condition.groups))],
                            first.resamples) for condition in first.conditions]
    fates = keypoint_fates(truth, first.errors), keypoint_fates(truth, second.errors)
    return Comparison(first, second, tables,
                      compare_numbers(first.numbers, second.numbers, first.drawn, second.drawn),
                      dict(zip(FATES, compare_fates(truth, *fates, first.resamples))), count_moves(*fates),
                      dict(zip(first.skeleton.keypoint_names, keypoints)), groups)


def verdict_sentence(comparison: Comparison) -> str:
    """Return in plain words whether the AP differs beyond chance."""
    ap = comparison.numbers['AP']
    numbers = f'AP of A is {ap.first:.4f}, of B {ap.second:.4f}: B − A = {signed(ap.change, 4)}'
    if ap.interval is None:
        return f'{numbers}. There are too few people to tell whether this is beyond chance.'
    limits = f'95 % between {signed(ap.interval.low, 4)} and {signed(ap.interval.high, 4)}'
    if ap.verdict == 'same':
        return f'{numbers}. There is no difference.'
    if ap.verdict == 'chance':
        return (f'{numbers}, {limits}. The difference is not beyond chance: on other pictures of this kind it could as '
                'well be the other way round.')
    better = 'B' if ap.verdict == 'better' else 'A'
    return f'{numbers}, {limits}. The difference is beyond chance: {better} is better on pictures of this kind.'


def fates_sentence(comparison: Comparison) -> str:
    """Return in plain words which kinds of errors B has fewer of, or more, beyond chance."""
    changed = sorted(((abs(each.change), name, each) for name, each in comparison.fates.items()
                      if name != 'good' and each.verdict in ('better', 'worse')), reverse=True)
    if not changed:
        return 'No kind of error of the keypoints changed beyond chance.'
    parts = [f'{"fewer" if each.change < 0 else "more"} {PLURALS[name]} ({percent(each.first)} in A, '
             f'{percent(each.second)} in B)' for _, name, each in changed]
    return f'Of the labelled keypoints B has, beyond chance, {", ".join(parts)}.'


def changed_people(comparison: Comparison, most: int) -> List[Change]:
    """Return up to `most` people whose OKS rose, and as many whose OKS fell; most first, few of a picture."""
    truth = comparison.first.truth
    change = np.where(truth.is_ignored, 0.0, comparison.tables[1].oks - comparison.tables[0].oks)
    found: List[Change] = []
    for kind, sign in (('better', 1.0), ('worse', -1.0)):
        people = takewhile(lambda person: sign * change[person] >= 1e-6,  # noqa: B023  used at once
                           np.argsort(-sign * change, kind='stable').tolist())
        chosen = few_of_a_picture(people, lambda person: int(truth.image_index[person]))
        found += [Change(kind, person) for person in islice(chosen, most)]
    return found


def signed(value: float, digits: int = 3) -> str:
    """Return a number with its sign."""
    return f'{value:+.{digits}f}'.replace('-', '−')
