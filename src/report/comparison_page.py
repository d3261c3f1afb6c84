"""The page of a comparison of two results."""
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..metrics.conditions import Condition
from ..metrics.paired import Difference
from .cards import (
    Drawings,
    Gallery,
    PathFinder,
    card,
    cut_out_people,
    draw_poses,
    draw_truth,
    draw_within_limits,
    gallery_section,
    name_of_picture,
    plain,
)
from .comparison import Change, Comparison, fates_sentence, signed, verdict_sentence
from .comparison_kinds import change_text, kinds_section
from .page import Html, Sorted, escape, notes_list, table, whole_page
from .sections import count, number
from .write import Source, read_assets

# A keypoint is named on the card of a person if its similarity changed by this.
NAMED_FROM = 0.3
NAMES = 'A', 'B'
VERDICTS = {'better': 'B is better', 'worse': 'A is better', 'chance': 'not beyond chance', 'same': 'no difference',
            'undefined': 'too few people'}
KINDS_OF_CHANGE = (('better', 'Better in B', 'people whose OKS rose most'),
                   ('worse', 'Worse in B', 'people whose OKS fell most'))


class SettingRow(NamedTuple):
    """A setting that differs: its key, its values in A and in B, and what it sets, all as text."""

    key: str
    first: str
    second: str
    meaning: str


class DifferingSettings(NamedTuple):
    """The settings in which A and B differ.

    Attributes:
        rows: None if those of A or of B are not known.
        notes: what the reader should know about them, a line each.
    """

    rows: Optional[Sequence[SettingRow]]
    notes: Sequence[str]

    @property
    def is_only_seed(self) -> bool:
        """Whether two trainings were the same but for their seed."""
        return [row.key for row in self.rows or ()] == ['GENERAL.SEED']

    @property
    def sentence(self) -> str:
        """In words: what there is to see."""
        if self.rows is None:
            return 'The settings of A and B cannot be compared.'
        keys = [row.key for row in self.rows]
        if not keys:
            return 'No setting that changes numbers differs between A and B.'
        if self.is_only_seed:
            return 'Only GENERAL.SEED differs: this is what two trainings with the same settings differ by.'
        return f'Settings that differ: {", ".join(keys[:8])}' + (f' and {len(keys) - 8} more' if keys[8:] else '') + '.'


def draw_changes(comparison: Comparison, changes: Sequence[Change], find_path: PathFinder) -> Gallery:
    """Return the cards of people who changed: annotated, in A and in B."""
    truth, names = comparison.first.truth, comparison.first.skeleton.keypoint_names
    images = [int(truth.image_index[change.person]) for change in changes]
    drawings, without_picture, left_out = draw_within_limits(
        images, find_path, lambda row, picture: _draw(comparison, changes[row].person, picture))
    cards, ranks = [], {'better': 0, 'worse': 0}
    titles = {kind: title for kind, title, _ in KINDS_OF_CHANGE}
    for change, image, pictures in zip(changes, images, drawings):
        ranks[change.kind] += 1
        person = change.person
        oks = [float(each.oks[person]) for each in comparison.tables]
        difference = comparison.tables[1].similarity[person] - comparison.tables[0].similarity[person]
        changed = [row for row in np.argsort(-np.abs(difference), kind='stable').tolist()
                   if abs(difference[row]) >= NAMED_FROM and truth.is_labelled[person, row]]
        details = [f'{plain(names[row])}: similarity {comparison.tables[0].similarity[person, row]:.2f} in A, '
                   f'{comparison.tables[1].similarity[person, row]:.2f} in B' for row in changed]
        facts = [f'OKS {oks[0]:.3f} in A, {oks[1]:.3f} in B',
                 f'annotation {comparison.first.pictures.annotations[person]}']
        cards.append(card(change.kind, titles[change.kind],
                          name_of_picture(comparison.first, image), pictures, facts, details,
                          keypoints=[names[row] for row in changed], score=abs(oks[1] - oks[0]), oks=min(oks),
                          rank=ranks[change.kind]))
    return Gallery(cards, without_picture, left_out)


def _draw(comparison: Comparison, person: int, picture: Optional[np.ndarray]) -> Drawings:
    poses = [[int(each.pose[person])] if each.pose[person] >= 0 else [] for each in comparison.tables]
    analyses = comparison.first, comparison.second
    small = cut_out_people(comparison.first, int(comparison.first.truth.image_index[person]), picture, [person],
                           [each.pairs.keypoints[row] for each, rows in zip(analyses, poses) for row in rows])
    return [('annotated', draw_truth(comparison.first, [person], small)),
            *((name if rows else f'{name}: no pose', draw_poses(each, rows, small))
              for name, each, rows in zip(NAMES, analyses, poses))]


def _row(name: str, difference: Difference, digits: int = 3) -> list:
    is_defined = min(difference.first, difference.second) > -0.5
    limits = ([Sorted(signed(each, digits), each) for each in difference.interval] if difference.interval
              else ['–', '–'])
    verdict = difference.verdict
    change = Sorted(change_text(signed(difference.change, digits), verdict) if is_defined else '–', difference.change)
    text = VERDICTS[verdict] if is_defined else '–'
    mark = Html(f'<span class="verdict {verdict}">{escape(text)}</span>')
    return [name, number(difference.first, digits), number(difference.second, digits), change, *limits, mark]


HEAD = ['A', 'B', 'B − A', 'from', 'to', '']


def comparison_page(comparison: Comparison, sources: Tuple[Source, Source], settings: DifferingSettings,
                    changes: Sequence[Change], gallery: Gallery) -> str:
    """Return the page.

    Args:
        sources: of A and of B.
        settings: in which they differ.
        changes: the people of the gallery.
    """
    truth, digits = comparison.first.truth, sources[0].digits
    facts = (f'{sources[0].annotations}, {sources[0].evaluation}: {int((~truth.is_ignored).sum())} people who count on '
             f'{len(truth.image_ids)} pictures')
    numbers = [['number', *HEAD], *(_row(name, each, digits) for name, each in comparison.numbers.items())]
    keypoints = [['keypoint', *HEAD], *(_row(plain(name), each) for name, each in comparison.keypoints.items())]
    groups = ''.join(
        f'<h3>{escape(condition.name)}</h3>'
        + table([[condition.measure, 'people', *HEAD], *_group_rows(comparison, condition, differences)],
                f'table-where-{place}')
        for place, (condition, differences) in enumerate(zip(comparison.first.conditions, comparison.groups)))
    changed = sorted({row for change in changes for row in np.flatnonzero(np.abs(
        comparison.tables[1].similarity[change.person] - comparison.tables[0].similarity[change.person]) >= NAMED_FROM
        ).tolist() if truth.is_labelled[change.person, row]})
    used = [kind for kind in KINDS_OF_CHANGE if any(change.kind == kind[0] for change in changes)]
    body = [
        f'<h1>Two results compared</h1><p class="dim">{escape(facts)}</p>'
        f'<p class="dim">A: {escape(sources[0].results)}<br>B: {escape(sources[1].results)}</p>'
        '<nav aria-label="sections"><a href="#numbers">Numbers</a><a href="#settings">Settings</a>'
        '<a href="#errors">Errors by kind</a><a href="#keypoints">Keypoints</a><a href="#where">Where</a>'
        '<a href="#cases">People that changed</a></nav>'
        f'<p class="what" id="verdict">{_sentence(verdict_sentence(comparison))} '
        f'{_sentence(fates_sentence(comparison))}</p>',
        f'<section><h2 id="numbers">Numbers</h2>{table(numbers, "table-numbers")}'
        f'<p class="dim">From, to: limits of 95 % of B − A in {comparison.first.resamples} draws of as many pictures '
        'with replacement, the same for A and B; bold: 0 lies outside of them. They tell what other pictures would '
        'change, not what another training would: compare several seeds for that.</p></section>',
        _settings(settings),
        kinds_section(comparison),
        f'<section><h2 id="keypoints">Keypoints</h2>{table(keypoints, "table-keypoints")}'
        '<p class="dim">Mean similarity of the keypoint (its term of the OKS) over all people who have it labelled, 0 '
        'without a pose. Of twenty rows without a true difference, one is beyond chance by chance.</p></section>',
        f'<section><h2 id="where">Where</h2>{groups}<p class="dim">Mean OKS over everybody of the group, 0 without a '
        'pose.</p></section>',
        gallery_section('People that changed', 'The annotated person, and its pose in A and in B. Orange is the left '
                        'side of the body, blue the right.', gallery, used,
                        [comparison.first.skeleton.keypoint_names[row] for row in changed],
                        (('worst', 'largest change first'), ('oks', 'OKS, lowest first'), ('name', 'file name')))]
    notes = list(dict.fromkeys([*sources[0].notes, *sources[1].notes]))
    if notes:
        body.append(f'<h2>Notes</h2>{notes_list(notes)}')
    style, script = read_assets()
    return whole_page('Two results compared', body, style=style, script=script)


def _group_rows(comparison: Comparison, condition: Condition, differences: Sequence[Difference]) -> List[list]:
    counted = condition.group_of[~comparison.first.truth.is_ignored]
    people = np.bincount(counted[counted >= 0], minlength=len(condition.groups)).tolist()
    rows = []
    for name, number_of_people, difference in zip(condition.groups, people, differences):
        first, *others = _row(name, difference)
        rows.append([first, count(number_of_people), *others])
    return rows


def _sentence(text: str) -> str:
    """Return a sentence for the page; its numbers stay with their signs of per cent."""
    return escape(text).replace(' %', '&nbsp;%')


def _settings(settings: DifferingSettings) -> Html:
    """Return the table of the settings that differ."""
    rows = [['setting', *NAMES, 'what it sets'],
            *([Html(escape(row.key).replace('_', '_<wbr>').replace('.', '.<wbr>')), *row[1:]]
              for row in settings.rows or ())]
    left_out = 'Devices, folders and what is printed and kept are left out.'
    shown = f'<p>{escape(settings.sentence)}</p>' if not settings.rows or settings.is_only_seed else ''
    shown += f'{table(rows, "table-settings")}<p class="dim">{left_out}</p>' if settings.rows else ''
    return Html(f'<section><h2 id="settings">Settings that differ</h2>{shown}'
                f'{notes_list(settings.notes) if settings.notes else ""}</section>')
