"""The report of an evaluation by distances (MPII's PCKh) as one HTML page."""
from typing import Dict, List, Sequence

import numpy as np

from ..data.skeletons import Skeleton
from ..metrics.bootstrap import RESAMPLES, SEED, interval
from ..metrics.mpii import COLUMNS, THRESHOLD, HeadDistances
from .page import Html, Sorted, escape, notes_list, table, whole_page
from .plots import Line, lines
from .sections import count
from .write import Source, read_assets

# Shares of the head size that the curves show; beyond it hardly anything changes.
LARGEST = 1.0
TIGHT = 0.1
SIZE_GROUPS = 4


def pckh_page(distances: HeadDistances, numbers: Dict[str, float], skeleton: Skeleton, source: Source) -> str:
    """Return the page.

    Args:
        numbers: of the evaluation, in percent; 'Mean' is its main one.
    """
    style, script = read_assets()
    facts = (f'{source.results} on {source.annotations}, {source.evaluation}: {len(distances.head_sizes)} people, '
             f'{int(distances.is_visible.sum())} visible keypoints')
    body = [f'<h1>What the poses get wrong</h1><p class="dim">{escape(facts)}</p>', _numbers(distances, numbers),
            _keypoints(distances, skeleton), _curves(distances, skeleton), _sizes(distances)]
    if source.notes:
        body.append(notes_list(source.notes))
    return whole_page(f'PCKh {numbers["Mean"]:.3f}', body, style=style, script=script)


def _percent(part: np.ndarray, whole: np.ndarray) -> Sorted:
    total = int(whole.sum())
    share = 100 * float((part & whole).sum()) / total if total else -1.0
    return Sorted(f'{share:.1f}' if total else '–', share)


def _numbers(distances: HeadDistances, numbers: Dict[str, float]) -> Html:
    right, counted = (distances.own <= THRESHOLD) & distances.is_counted, distances.is_counted
    rng, people = np.random.default_rng(SEED), len(right)
    of_people = np.stack([right.sum(axis=1), counted.sum(axis=1)])
    draws = of_people[:, rng.integers(0, people, (RESAMPLES, people))].sum(axis=2)
    limits = interval(np.where(draws[1] > 0, 100 * draws[0] / np.maximum(draws[1], 1), np.nan))
    beside = (f'95 % between {limits.low:.1f} and {limits.high:.1f}' if limits
              else 'no interval: undefined for some draws of people')
    rows: List[list] = [['percent', *numbers], ['value', *(Sorted('–' if value < 0 else f'{value:.3f}', value)
                                                          for value in numbers.values())]]
    return Html(f'<section><div class="lead"><span class="big" id="headline">PCKh {numbers["Mean"]:.3f}</span>'
                f'<span class="dim">{beside}</span></div><h2 id="numbers">Numbers</h2>{table(rows)}'
                f'<p class="dim">The limits hold 95 % of {RESAMPLES} draws of as many people with replacement.</p>'
                '</section>')


def _keypoints(distances: HeadDistances, skeleton: Skeleton) -> Html:
    """Return the table of keypoints: right, and what the others are."""
    rows: List[list] = [['keypoint', f'within {THRESHOLD}', f'within {TIGHT}', 'left and right swapped', 'elsewhere',
                         'median distance', 'people']]
    for index, name in enumerate(skeleton.keypoint_names):
        own, partner, visible = (each[:, index] for each in (distances.own, distances.partner, distances.is_visible))
        swapped = (own > THRESHOLD) & (partner <= THRESHOLD)
        median = float(np.median(own[visible])) if visible.any() else -1.0
        rows.append([name, _percent(own <= THRESHOLD, visible), _percent(own <= TIGHT, visible),
                     _percent(swapped, visible), _percent((own > THRESHOLD) & ~swapped, visible),
                     Sorted(f'{median:.3f}' if visible.any() else '–', median),
                     count(int(visible.sum()))])
    return Html(f'<section><h2 id="keypoints">Keypoints</h2>{table(rows, "table-keypoints")}'
                '<p class="dim">Percent of the visible labels; distances in head sizes. Swapped: too far from its own '
                f'label and within {THRESHOLD} of the label of its left or right partner.</p></section>')


def _curves(distances: HeadDistances, skeleton: Skeleton) -> Html:
    """Return the shares of keypoints within a distance, over the distance."""
    thresholds = np.linspace(0, LARGEST, 101)
    index_of = {name: index for index, name in enumerate(skeleton.keypoint_names)}
    drawn = [_curve(distances.own, distances.is_counted, thresholds, 'first')]
    shown: List[Sequence[str]] = [('all', 'first')]
    names = {column: [index_of[name] for name in names if name in index_of] for column, names in COLUMNS.items()}
    at = {column: _share_within(distances, rows, THRESHOLD) for column, rows in names.items()}
    known = [column for column, share in at.items() if np.isfinite(share)]
    if known:
        for column, style in ((max(known, key=at.get), 'second'), (min(known, key=at.get), 'third')):
            drawn.append(_curve(distances.own[:, names[column]], distances.is_visible[:, names[column]], thresholds,
                                style))
            shown.append((column.lower(), style))
    key = ''.join(f'<span class="{style}"><b>{escape(name)}</b></span>' for name, style in shown)
    plot = lines('Share of keypoints within a distance', drawn, 'distance from the label, head sizes', 'share')
    return Html(f'<section><h2 id="curves">Thresholds</h2><div class="plots"><figure style="max-width: 520px">{plot}'
                f'<figcaption><p class="key">{key}</p>All counted keypoints, and the columns that are found best and '
                f'worst at {THRESHOLD}.</figcaption></figure></div></section>')


def _share_within(distances: HeadDistances, rows: List[int], threshold: float) -> float:
    visible = distances.is_visible[:, rows]
    return float((distances.own[:, rows] <= threshold)[visible].mean()) if visible.any() else float('nan')


def _curve(own: np.ndarray, visible: np.ndarray, thresholds: np.ndarray, style: str) -> Line:
    found = np.sort(own[visible])
    shares = np.searchsorted(found, thresholds, side='right') / max(1, len(found))
    return Line(thresholds / LARGEST, shares, style)


def _sizes(distances: HeadDistances) -> Html:
    """Return the table of people by the size of their heads."""
    limits = np.quantile(distances.head_sizes, np.linspace(0, 1, SIZE_GROUPS + 1))
    group = np.searchsorted(limits[1:-1], distances.head_sizes, side='left')
    rows: List[list] = [['head size, pixels', f'within {THRESHOLD}', f'within {TIGHT}', 'people']]
    for number in range(SIZE_GROUPS):
        chosen = group == number
        own, counted = distances.own[chosen], distances.is_counted[chosen]
        if chosen.any():
            rows.append([Sorted(f'{limits[number]:.0f} to {limits[number + 1]:.0f}', float(limits[number])),
                         _percent(own <= THRESHOLD, counted), _percent(own <= TIGHT, counted),
                         count(int(chosen.sum()))])
    return Html(f'<section><h2 id="where">Size of the head</h2>{table(rows, "table-where-sizes")}</section>')
