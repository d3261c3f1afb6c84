"""Plots as SVG that is part of the page, in its colors; no library and no script."""
from typing import NamedTuple, Optional, Sequence

import numpy as np

from ..metrics.calibration import Reliability
from .page import Html, escape

WIDTH, HEIGHT = 400, 260
# What every page with plots needs; the colors of lines are its own.
STYLE = '''
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 16px; }
.plots figure { background: var(--card); border: 1px solid var(--line); padding: 10px 12px; }
.plots figcaption { font-size: 13px; color: var(--dim); max-width: none; }
svg.plot { display: block; width: 100%; height: auto; }
svg text { font: 12px system-ui, sans-serif; fill: var(--dim); }
.grid { stroke: var(--line); }
'''
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 12, 40


class Line(NamedTuple):
    """A line of a plot: places (N,), values (N,) and its CSS class."""

    places: np.ndarray
    values: np.ndarray
    style: str


class _Axes:
    """Turns numbers into positions in the drawing."""

    def __init__(self, low: float, high: float, top: float):
        self.low, self.high, self.top = low, high, top

    def x(self, value: float) -> float:
        return LEFT + (value - self.low) / (self.high - self.low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - value / self.top * (HEIGHT - TOP - BOTTOM)

    def frame(self, title: str, x_label: str, y_label: str, ticks: Sequence[float],
              names: Optional[Sequence[str]] = None, x_ticks: Optional[Sequence[float]] = None) -> list:
        """Return the grid, the numbers and the names of the axes; `ticks` are those of the values, `names` their texts
        if these are not the numbers themselves."""
        parts = [f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
                 f'<title>{escape(title)}</title>']
        for tick, name in zip(ticks, names or map(_short, ticks)):
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{self.y(tick):.1f}" '
                         f'y2="{self.y(tick):.1f}"/><text x="{LEFT - 6}" y="{self.y(tick) + 4:.1f}" '
                         f'text-anchor="end">{name}</text>')
        for tick in np.linspace(self.low, self.high, 6).tolist() if x_ticks is None else x_ticks:
            parts.append(f'<text x="{self.x(tick):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">'
                         f'{_short(tick)}</text>')
        parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">'
                     f'{escape(x_label)}</text><text transform="translate(11 {(TOP + HEIGHT - BOTTOM) / 2}) '
                     f'rotate(-90)" text-anchor="middle">{escape(y_label)}</text>')
        return parts


def _short(value: float) -> str:
    if 0 < abs(value) < 0.001:
        return f'{value:.2g}'.replace('e-0', 'e-') if abs(value) < 1e-4 else f'{value * 1e4:.3g}e-4'
    return f'{value:.3g}' if abs(value) < 1000 else f'{value:.0f}' if abs(value) < 10000 else f'{value / 1000:.3g}k'


def _round_ticks(low: float, high: float, most: int) -> np.ndarray:
    """Return at most `most` round numbers from `low` to `high`."""
    decade = 10.0 ** np.floor(np.log10((high - low) / most))
    step = next(each * decade for each in (1, 2, 5, 10) if each * decade * most >= high - low)
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step


def _round_log_ticks(low: float, high: float) -> np.ndarray:
    """Return powers of ten, and between few of them also 2 and 5 times these, from 10 ** `low` to 10 ** `high`."""
    exponents = np.arange(np.floor(low), np.ceil(high) + 1)
    digits = (1, 2, 5) if high - low < 2 else (1,)
    ticks = np.sort([digit * 10.0 ** exponent for exponent in exponents for digit in digits])
    return ticks[(ticks >= 10 ** low) & (ticks <= 10 ** high)]


def lines(title: str, drawn: Sequence[Line], x_label: str, y_label: str) -> Html:
    """Return a plot of lines, both axes from 0 to 1."""
    axes = _Axes(0, 1, 1)
    parts = axes.frame(title, x_label, y_label, (0, 0.2, 0.4, 0.6, 0.8, 1))
    for line in drawn:
        points = ' '.join(f'{axes.x(x):.1f},{axes.y(y):.1f}' for x, y in zip(line.places, line.values))
        parts.append(f'<polyline class="line {line.style}" points="{points}"/>')
    return Html(''.join([*parts, '</svg>']))


def curves(title: str, drawn: Sequence[Line], x_label: str, *, is_log: bool = False, with_dots: bool = False) -> Html:
    """Return a plot of lines over any range, or '' if nothing is finite. Lines are broken where a value is not finite.

    Args:
        is_log: a logarithmic axis of values; those that are not positive are left out.
        with_dots: mark every value.
    """
    scaled = [np.log10(np.where(line.values > 0, line.values, np.nan)) if is_log else line.values for line in drawn]
    finite = np.concatenate([values[np.isfinite(values)] for values in scaled] or [np.zeros(0)])
    if not finite.size:
        return Html('')
    low, high = float(finite.min()), float(finite.max())
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    low, high = max(low - margin, 0.0) if not is_log and low >= 0 else low - margin, high + margin
    places = np.concatenate([line.places for line in drawn])
    begin, end = float(places.min()), float(places.max())
    axes = _Axes(begin, end if end > begin else begin + 1, 1)
    ticks = _round_log_ticks(low, high) if is_log else _round_ticks(low, high, 5)
    parts = axes.frame(title, x_label, '', (((np.log10(ticks) if is_log else ticks) - low) / (high - low)).tolist(),
                       list(map(_short, ticks.tolist())), _round_ticks(axes.low, axes.high, 5).tolist())
    for line, values in zip(drawn, scaled):
        heights = (values - low) / (high - low)
        whole = np.isfinite(heights)
        for run in np.split(np.arange(len(heights)), np.flatnonzero(np.diff(whole)) + 1):
            points = [(axes.x(float(line.places[index])), axes.y(float(heights[index])))
                      for index in run if whole[index]]
            if len(points) > 1:
                text = ' '.join(f'{x:.1f},{y:.1f}' for x, y in points)
                parts.append(f'<polyline class="line {line.style}" points="{text}"/>')
            if with_dots or len(points) == 1:
                parts += [f'<circle class="dot {line.style}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in points]
    return Html(''.join([*parts, '</svg>']))


def columns(title: str, edges: np.ndarray, counts: np.ndarray, x_label: str, y_label: str, *,
            mark: Optional[float] = None) -> Html:
    """Return a histogram.

    Args:
        edges: (B + 1,).
        counts: (B,).
        mark: place of a dashed line.
    """
    top = _round_up(float(counts.max(initial=0)))
    axes = _Axes(float(edges[0]), float(edges[-1]), top)
    parts = axes.frame(title, x_label, y_label, np.linspace(0, top, 5).tolist())
    for low, high, count in zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist()):
        if count:
            parts.append(f'<rect class="column" x="{axes.x(low) + 0.5:.1f}" y="{axes.y(count):.1f}" '
                         f'width="{axes.x(high) - axes.x(low) - 1:.1f}" height="{axes.y(0) - axes.y(count):.1f}">'
                         f'<title>{low:.2f} to {high:.2f}: {count}</title></rect>')
    if mark is not None:
        parts.append(f'<line class="mark" x1="{axes.x(mark):.1f}" x2="{axes.x(mark):.1f}" y1="{TOP}" '
                     f'y2="{HEIGHT - BOTTOM}"/>')
    return Html(''.join([*parts, '</svg>']))


def _round_up(value: float) -> float:
    """Return a round number, not below `value`, whose quarter is whole."""
    if value <= 4:
        return 4.0
    step = 10.0 ** np.floor(np.log10(value))
    rounded = (round(each * step) for each in (1, 1.2, 1.6, 2, 3, 4, 6, 8, 10, 12))
    return float(next(each for each in rounded if each >= value and each % 4 == 0))


def reliability_plot(title: str, measured: Reliability, x_label: str, y_label: str) -> Html:
    """Return the share that is right over the score, with the diagonal if scores can be probabilities."""
    axes = _Axes(float(measured.edges[0]), float(measured.edges[-1]), 1)
    parts = axes.frame(title, x_label, y_label, (0, 0.2, 0.4, 0.6, 0.8, 1))
    for low, high, count, score, right in zip(*(each.tolist() for each in (
            measured.edges[:-1], measured.edges[1:], measured.counts, measured.scores, measured.right))):
        if count:
            parts.append(f'<rect class="column" x="{axes.x(low) + 0.5:.1f}" y="{axes.y(right):.1f}" '
                         f'width="{axes.x(high) - axes.x(low) - 1:.1f}" height="{axes.y(0) - axes.y(right):.1f}">'
                         f'<title>scores {low:.2f} to {high:.2f}, mean {score:.3f}: {right:.3f} right of {count}'
                         f'</title></rect>')
    if measured.expected_error is not None:
        parts.append(f'<line class="mark" x1="{axes.x(0)}" y1="{axes.y(0)}" x2="{axes.x(1)}" y2="{axes.y(1)}"/>')
    return Html(''.join([*parts, '</svg>']))


def stacked(counts: Sequence[int], names: Sequence[str], width: int = 130) -> Html:
    """Return a bar of shares; each part has its name as CSS class, and as a title with its share."""
    total, x, parts = max(1, sum(counts)), 0.0, []
    for name, count in zip(names, counts):
        part = width * count / total
        if count:
            parts.append(f'<rect class="kind-{name}" x="{x:.2f}" y="0" width="{part:.2f}" height="12">'
                         f'<title>{name}: {100 * count / total:.1f} %</title></rect>')
        x += part
    label = ', '.join(f'{name} {100 * count / total:.0f} %' for name, count in zip(names, counts))
    return Html(f'<svg class="stacked" viewBox="0 0 {width} 12" width="{width}" height="12" '
                f'preserveAspectRatio="none" role="img" aria-label="{label}">{"".join(parts)}</svg>')


def gain_bar(value: float, most: float, name: str, width: int = 110) -> Html:
    """Return a bar of a positive number, as long as its share of the largest one."""
    length = max(0.0, value) / max(most, 1e-12) * width
    return Html(f'<svg class="stacked" viewBox="0 0 {width} 12" width="{width}" height="12" aria-hidden="true">'
                f'<rect class="kind-{name}" x="0" y="0" width="{length:.2f}" height="12"/></svg>')
