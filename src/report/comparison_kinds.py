"""The section of a comparison that says which kinds of errors A and B make, what each costs, and what became of A's."""
from typing import List, Tuple

import numpy as np

from ..metrics.keypoint_errors import KINDS
from ..metrics.paired import FATES, Difference
from ..metrics.people_errors import BACKGROUND, DUPLICATE, MISSED
from .analysis import Analysis
from .comparison import Comparison, signed
from .page import Html, Sorted, percent, table
from .plots import stacked
from .sections import KEY, count
from .texts import KIND_TEXTS

# A larger share is 'better' only for good keypoints, so the table says where there are more.
MORE = {'better': 'more in B', 'worse': 'more in A', 'chance': 'not beyond chance', 'same': 'no difference',
        'undefined': 'too few people'}
COLORS = (*KINDS, 'missed')
KEY_WITH_NO_POSE = Html(KEY.replace('</p>', '<span class="kind-missed"><b>no pose</b></span></p>'))


def kinds_section(comparison: Comparison) -> Html:
    """Return the section: shares of keypoints, people and poses, and the moves from A to B."""
    rows: List[list] = [['of all labelled keypoints', 'A', 'B', 'B − A', 'from', 'to', '', 'costs A', 'costs B']]
    rows += [_fate_row(comparison, name, each) for name, each in comparison.fates.items()]
    shares = ''.join(f'<p class="shares"><span>{name}</span>{stacked(counts, COLORS, width=420)}</p>'
                     for name, counts in zip('AB', (comparison.moves.sum(axis=1), comparison.moves.sum(axis=0))))
    return Html(
        f'<section><h2 id="errors">Errors by kind</h2>'
        f'{KEY_WITH_NO_POSE}{shares}{table(rows, "table-kinds")}{table(_people_rows(comparison))}'
        '<p class="dim">Costs: AP that is gained by correcting this kind alone. Order of scores: people with a more '
        'similar pose of a lower score; it costs what the best possible scores would gain.</p>'
        f'<h3>What became of A’s keypoints in B</h3>{table(_move_rows(comparison), "table-moves")}'
        '<p class="dim">Labelled keypoints by their kind in A (rows) and in B (columns). No pose: none belongs to the '
        'person.</p></section>')


def _costs(analysis: Analysis) -> dict:
    """Return {kind: AP that is gained by correcting it}."""
    corrected = {**{name: each.alone for name, each in analysis.corrections.items() if name in (*KINDS, 'score')},
                 'no pose': analysis.without_states['no pose'], 'false pose': analysis.without_states['false pose']}
    return {name: value - analysis.numbers['AP'] for name, value in corrected.items() if value > -0.5}


def _cost_cells(comparison: Comparison, name: str) -> List[Sorted]:
    costs = [_costs(each).get(name) for each in (comparison.first, comparison.second)]
    return [Sorted('–', -1.0) if each is None else Sorted(signed(each), each) for each in costs]


def change_text(text: str, verdict: str) -> str:
    """Return a difference for a table: bold if it is beyond chance."""
    return Html(f'<b>{text}</b>') if verdict in ('better', 'worse') else text


def _fate_row(comparison: Comparison, name: str, difference: Difference) -> list:
    limits = ([Sorted(signed(100 * each, 1), each) for each in difference.interval] if difference.interval
              else ['–', '–'])
    verdict = difference.verdict
    mark = Html(f'<span class="verdict {verdict}">{MORE[verdict]}</span>')
    title = KIND_TEXTS[name].title if name in KIND_TEXTS else name.capitalize()
    return [title, Sorted(percent(difference.first), difference.first),
            Sorted(percent(difference.second), difference.second),
            Sorted(change_text(signed(100 * difference.change, 1), verdict), difference.change), *limits, mark,
            *_cost_cells(comparison, name)]


def _people_rows(comparison: Comparison) -> List[list]:
    def counts(analysis: Analysis) -> Tuple[int, int, int]:
        people = analysis.people
        return (int((people.person_state == MISSED).sum()),
                int(np.isin(people.pose_state, (BACKGROUND, DUPLICATE)).sum()), len(people.misranked))

    names = 'people without a pose', 'poses on background, duplicates', 'order of scores'
    costs = 'no pose', 'false pose', 'score'
    rows: List[list] = [['people and poses', 'A', 'B', 'costs A', 'costs B']]
    for place, (name, cost) in enumerate(zip(names, costs)):
        rows.append([name, *(count(counts(each)[place]) for each in (comparison.first, comparison.second)),
                     *_cost_cells(comparison, cost)])
    return rows


def _move_rows(comparison: Comparison) -> List[list]:
    rows: List[list] = [['in A', *(f'{name} in B' for name in FATES), 'all']]
    for name, moves in zip(FATES, comparison.moves.tolist()):
        rows.append([name, *(count(each) for each in moves), count(sum(moves))])
    rows.append(['all', *(count(each) for each in comparison.moves.sum(axis=0).tolist()),
                 count(int(comparison.moves.sum()))])
    return rows
