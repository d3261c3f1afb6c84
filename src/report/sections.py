"""The sections of numbers of a report, as HTML."""
from typing import List, Optional

import numpy as np

from ..metrics.keypoint_errors import KINDS, UNLABELLED
from ..metrics.oks_matching import RECALLS, THRESHOLDS
from ..metrics.people_errors import BACKGROUND, CORRECTIONS, DUPLICATE, INEXACT, MISSED
from .analysis import Analysis
from .page import Html, Sorted, escape, percent, table
from .plots import Line, columns, gain_bar, lines, reliability_plot, stacked
from .texts import KIND_TEXTS

KEYPOINT_KINDS = ('miss', 'swap', 'inversion', 'jitter')
# What the kinds are called in the sentence at the head.
COSTLY = {'miss': 'misses', 'swap': 'swaps', 'inversion': 'inversions', 'jitter': 'jitter', 'score': 'the scores',
          'background': 'poses on background and duplicates', 'missed': 'people without a pose'}
# How far a group has to be above its share of the people, as a share of what everybody loses, to be named.
LOSES_MORE = 0.03


def number(value: float, digits: int = 3) -> Sorted:
    """Return a number as the evaluation prints it; a dash if it is undefined."""
    return Sorted('–' if value < -0.5 else f'{value:.{digits}f}', value)


def _share(part: float, whole: float) -> Sorted:
    return _part(part / whole if whole else -1.0)


def count(value: int) -> Sorted:
    """Return a number of people or the like."""
    return Sorted(f'{value}', float(value))


def _gain(value: float, ap: float) -> Sorted:
    gain = value - ap
    return Sorted('–' if value < -0.5 else f'{gain:+.3f}', gain if value > -0.5 else -1.0)


KEY = Html('<p class="key">' + ''.join(f'<span class="kind-{kind}"><b>{kind}</b></span>' for kind in KINDS) + '</p>')


def numbers_section(analysis: Analysis, digits: int) -> Html:
    """Return the numbers of the evaluation, with as many digits as it prints, and their intervals."""
    numbers, intervals = analysis.numbers, analysis.intervals
    rows: List[list] = [['number', 'value', 'from', 'to']]
    for name, value in numbers.items():
        limits = intervals.get(name)
        rows.append([name, number(value, digits),
                     *((number(each, digits) for each in limits) if limits else ('–', '–'))])
    limits = intervals.get('AP')
    beside = (f'95 % between {limits.low:.3f} and {limits.high:.3f}' if limits
              else 'no interval: undefined for some draws of pictures')
    return Html(
        f'<section><div class="lead"><span class="big" id="headline">AP {numbers["AP"]:.4f}</span>'
        f'<span class="dim">{beside}</span></div>{_most_costly(analysis)}'
        f'<h2 id="numbers">Numbers</h2>{table(rows, "table-numbers")}'
        f'<p class="dim">From, to: limits of 95 % of {analysis.resamples} draws of as many pictures with replacement. '
        'They tell how far a number would vary with other pictures of the same kind, not with another training.</p>'
        '</section>')


def _most_costly(analysis: Analysis) -> Html:
    ap = analysis.numbers['AP']
    # At each threshold, inexact poses are false positives and missed people as well: these would always come first.
    without = {**{name: analysis.corrections[name].alone for name in (*KEYPOINT_KINDS, 'score')},
               'background': analysis.without_states['false pose'], 'missed': analysis.without_states['no pose']}
    gains = sorted(((value - ap, name) for name, value in without.items() if value > -0.5), reverse=True)
    gains = [(gain, name) for gain, name in gains if gain >= 0.0005]
    if not gains:
        return Html('<p class="what">No kind of error costs AP by itself.</p>')
    gain, name = gains[0]
    text = (f'Most costly: {COSTLY[name]}. Correcting this alone would raise AP from {ap:.3f} to {ap + gain:.3f}'
            + (f'; next: {COSTLY[gains[1][1]]}, {gains[1][0]:+.3f}' if len(gains) > 1 else '')
            + f'. {KIND_TEXTS[name].advice}')
    return Html(f'<p class="what">{escape(text)}</p>')


def error_section(analysis: Analysis) -> Html:
    """Return the table of errors by kind with what each costs."""
    counts = dict(zip(KINDS, analysis.errors.counts().tolist()))
    poses, people = analysis.people.pose_state, analysis.people.person_state
    inexact, duplicate, background = (int((poses == state).sum()) for state in (INEXACT, DUPLICATE, BACKGROUND))
    missed, no_pose = int(np.isin(people, (INEXACT, MISSED)).sum()), int((people == MISSED).sum())
    return Html(
        '<section><h2 id="errors">Errors by kind</h2>'
        f'<p>Of {sum(counts.values())} labelled keypoints with a pose, {counts["good"]} are good. '
        f'Of {inexact + duplicate + background} false positives at an OKS of 0.5, {background} are on background, '
        f'{duplicate} are duplicates and {inexact} are too inexact. Of {missed} missed people, {no_pose} have no pose '
        f'at all.</p>{table(_error_rows(analysis), "table-errors")}'
        '<p class="dim">AP without it: only this kind is corrected. Step by step: this kind and all above it are. '
        'Definitions: Ronchi and Perona, ICCV 2017. Similarity of a keypoint: its term of the OKS. False positives and '
        'missed people are counted at an OKS of 0.5 and corrected at each threshold. At high thresholds inexact poses '
        f'make both; the second row of each leaves them aside.</p><dl class="advice">{_advice()}</dl></section>')


def _advice() -> str:
    """Return what each kind is, and what to try against it."""
    return ''.join(f'<div><dt>{escape(text.title)}</dt><dd>{escape(text.meaning)} <span class="dim">'
                   f'{escape(text.advice)}</span></dd></div>' for text in KIND_TEXTS.values())


def _error_rows(analysis: Analysis) -> List[list]:
    ap, counts = analysis.numbers['AP'], dict(zip(KINDS, analysis.errors.counts().tolist()))
    poses, people = analysis.people.pose_state, analysis.people.person_state
    labelled, counted = sum(counts.values()), int((~analysis.truth.is_ignored).sum())

    def of_state(states: np.ndarray, *wanted: int) -> int:
        return int(np.isin(states, wanted).sum())

    how_many = {**{kind: (counts[kind], labelled, 'keypoints') for kind in KEYPOINT_KINDS},
                'score': (len(analysis.people.misranked), counted, 'people'),
                'background': (of_state(poses, INEXACT, DUPLICATE, BACKGROUND), len(poses), 'poses'),
                'missed': (of_state(people, INEXACT, MISSED), counted, 'people')}
    aside = {'background': ('background, duplicates', 'false pose', of_state(poses, DUPLICATE, BACKGROUND)),
             'missed': ('no pose at all', 'no pose', of_state(people, MISSED))}
    most = max((each.alone - ap for each in analysis.corrections.values()), default=0.0)
    rows: List[list] = [['kind', 'how many', 'share', 'AP without it', 'gain', '', 'step by step']]
    for name in CORRECTIONS:
        correction, (count, whole, what), text = analysis.corrections[name], how_many[name], KIND_TEXTS[name]
        rows.append([text.title, Sorted(f'{count} {what}', float(count)), _share(count, whole),
                     number(correction.alone), _gain(correction.alone, ap),
                     gain_bar(correction.alone - ap, most, name), number(correction.one_after_another)])
        if name in aside:
            title, key, count = aside[name]
            value = analysis.without_states[key]
            rows.append([f'{text.title}: {title}', Sorted(f'{count} {what}', float(count)), _share(count, whole),
                         number(value), _gain(value, ap), gain_bar(value - ap, most, name), ''])
    return rows


def keypoint_section(analysis: Analysis) -> Html:
    """Return the table of the keypoints."""
    rows: List[list] = [['keypoint', 'AP alone', 'OKS error', 'labelled', *KINDS, 'shares']]
    for column, (name, numbers) in enumerate(analysis.keypoints.items()):
        kinds = analysis.errors.kind[:, column]
        counts = np.bincount(kinds[kinds != UNLABELLED], minlength=len(KINDS)).tolist()
        total = sum(counts)
        rows.append([name.replace('_', ' '), number(numbers.average_precision), number(numbers.oks_error),
                     count(total), *(_share(each, total) for each in counts), stacked(counts, KINDS)])
    return Html(
        f'<section><h2 id="keypoints">Keypoints</h2>{KEY}{table(rows, "table-keypoints")}'
        '<p class="dim">AP alone: as if the layout had this keypoint only. OKS error: what it takes from the OKS of a '
        'found person. Labelled: on people to whom a pose belongs, at an OKS of 0.1.</p></section>')


def groups_section(analysis: Analysis) -> Html:
    """Return a table for each way to group the people."""
    parts = []
    for place, (condition, groups) in enumerate(zip(analysis.conditions, analysis.groups)):
        rows: List[list] = [[condition.measure, 'people', 'found', 'AP', 'AR', 'mean OKS', 'lost', 'keypoints']]
        rows += [[name, count(each.people), _part(each.found), number(each.ap), number(each.ar), number(each.oks),
                  _part(each.lost), stacked(each.kinds.tolist(), KINDS)]
                 for name, each in zip(condition.groups, groups)]
        parts.append(f'<h3>{escape(condition.name)}</h3>{table(rows, f"table-where-{place}")}')
    return Html(
        f'<section><h2 id="where">Where</h2>{_where_most_is_lost(analysis)}{KEY}{"".join(parts)}'
        '<p class="dim">Found: matched at an OKS of 0.5. In the AP of a group all other people are ignored; a pose '
        'without a match counts where the person it is most similar to belongs, and nowhere if it is on background. So '
        'these APs do not average to the AP of all. Mean OKS: of people with a pose. Lost: the share of the group in '
        'all that the OKS of everybody lacks to 1, where people without a pose lack all.</p></section>')


def _part(share: float) -> Sorted:
    """Return a share as per cent; a dash if it is undefined."""
    return Sorted('–' if share < -0.5 else percent(share), share)


def _where_most_is_lost(analysis: Analysis) -> str:
    """Return a sentence on the group that loses most above its share of the people, if there is one."""
    counted = max(1, int((~analysis.truth.is_ignored).sum()))
    excess = [(each.lost - each.people / counted, condition, name, each)
              for condition, groups in zip(analysis.conditions, analysis.groups)
              for name, each in zip(condition.groups, groups) if each.people]
    if not excess:
        return ''
    most, condition, name, group = max(excess, key=lambda row: row[0])
    if most < LOSES_MORE:
        return '<p>No group loses much more than its share of the people.</p>'
    text = (f'{condition.name}, {name}: {100 * group.people / counted:.0f} % of the people, '
            f'{100 * group.lost:.0f} % of what is lost. No other group is so far above its share.')
    return f'<p>{escape(text)}</p>'


def boxes_section(analysis: Analysis, boxes: str, *, are_truth: bool, with_truth_boxes: Optional[float]) -> Html:
    """Return what is lost by the boxes and what by the network.

    Args:
        boxes: what they are, '' if that is not known.
        are_truth: they are those of the annotations.
        with_truth_boxes: AP of the same network on the boxes of the annotations, if it is known.
    """
    ap, counted = analysis.numbers['AP'], int((~analysis.truth.is_ignored).sum())
    no_pose = int((analysis.people.person_state == MISSED).sum())
    rows: List[list] = [['', 'people', 'AP'], [f'as given{f" ({boxes})" if boxes else ""}', count(counted),
                                               number(ap)]]
    if are_truth:
        text = (f'The boxes are those of the annotations, so everything that is lost is the part of the network. '
                f'{no_pose} of {counted} people have no pose.')
        return _boxes_html(text, rows)
    if analysis.boxes is not None:
        without = int(analysis.boxes.people_without_box.sum())
        rows.append(['people without a box (IoU below 0.5) do not count', count(counted - without),
                     number(analysis.boxes.ap_with_box)])
        text = (f'{without} of {counted} people have no box with an IoU of 0.5: no network can find them. '
                f'{no_pose} people have no pose.')
    else:
        text = f'{no_pose} of {counted} people have no pose. Give the boxes (--boxes) to see who had none.'
    if with_truth_boxes is not None:
        rows.append(['the network on ground-truth boxes', count(counted), number(with_truth_boxes)])
        text += f' With ground-truth boxes AP is {with_truth_boxes:.3f}: the difference of ' \
                f'{with_truth_boxes - ap:+.3f} is the part of the detector.'
    else:
        text += ' Results on ground-truth boxes (--gt_box_results) would show the part of the detector.'
    return _boxes_html(text, rows)


def _boxes_html(text: str, rows: List[list]) -> Html:
    return Html(f'<section><h2 id="boxes">Boxes or network</h2><p>{escape(text)}</p>{table(rows)}</section>')


def curves_section(analysis: Analysis) -> Html:
    """Return precision over recall, the OKS of the people, and the calibration of the scores."""
    styles = {0: 'first', 5: 'second', 9: 'third'}
    drawn = [Line(RECALLS, np.maximum(row, 0), styles.get(place, ''))
             for place, row in enumerate(analysis.precision)]
    key = ' '.join(f'<span class="{style}"><b>OKS {THRESHOLDS[place]:.2f}: AP {analysis.precision[place].mean():.3f}'
                   '</b></span>' for place, style in styles.items())
    drawn.sort(key=lambda line: bool(line.style))
    edges = np.linspace(0, 1, 21)
    oks = np.zeros(len(analysis.truth))
    oks[analysis.errors.person] = analysis.errors.oks
    counts = np.histogram(oks[~analysis.truth.is_ignored], edges)[0]
    people, keypoints = analysis.person_reliability, analysis.keypoint_reliability
    figures = [
        (lines('Precision over recall by OKS threshold', drawn, 'recall', 'precision'),
         Html(f'<span class="key">{key}</span>Precision over recall. Thin lines: the thresholds between.')),
        (columns('OKS of the people', edges, counts, 'OKS of the pose with its person', 'people', mark=0.5),
         'OKS of everybody who counts, 0 without a pose. Left of the line they are missed at 0.5.'),
        (reliability_plot('Person scores', people, 'person score', 'share right at OKS 0.5'),
         _calibration_text(people, 'poses')),
        (reliability_plot('Keypoint scores', keypoints, 'keypoint score', 'share near its label'),
         _calibration_text(keypoints, 'labelled keypoints of poses that belong to a person'))]
    shown = ''.join(f'<figure>{plot}<figcaption>{text if isinstance(text, Html) else escape(text)}'
                    '</figcaption></figure>' for plot, text in figures)
    return Html(f'<section><h2 id="curves">Curves and scores</h2><div class="plots">{shown}</div></section>')


def _calibration_text(measured, what: str) -> str:
    count = int(measured.counts.sum())
    if measured.expected_error is None:
        return f'{count} {what}. These scores are not between 0 and 1, so they cannot be read as probabilities.'
    return (f'{count} {what}. On the dashed line a score is the share that is right; expected calibration error '
            f'{measured.expected_error:.3f}.')
