"""Plots as SVG that is part of the page, in its colors; no library and no script."""
from typing import NamedTuple, Optional, Sequence

import numpy as np

from ..metrics.calibration import Reliability
from .page import Html, escape

WIDTH, HEIGHT = 400, 260
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 40


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

    def frame(self, title: str, x_label: str, y_label: str, ticks: Sequence[float]) -> list:
        """Return the grid, the numbers and the names of the axes; `ticks` are those of the values."""
        parts = [f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
                 f'<title>{escape(title)}</title>']
        for tick in ticks:
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{self.y(tick):.1f}" '
                         f'y2="{self.y(tick):.1f}"/><text x="{LEFT - 6}" y="{self.y(tick) + 4:.1f}" '
                         f'text-anchor="end">{_short(tick)}</text>')
        for tick in np.linspace(self.low, self.high, 6).tolist():
            parts.append(f'<text x="{self.x(tick):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">'
                         f'{_short(tick)}</text>')
        parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">'
                     f'{escape(x_label)}</text><text transform="translate(11 {(TOP + HEIGHT - BOTTOM) / 2}) '
                     f'rotate(-90)" text-anchor="middle">{escape(y_label)}</text>')
        return parts


def _short(value: float) -> str:
    return f'{value:.3g}' if abs(value) < 10000 else f'{value / 1000:.3g}k'


def lines(title: str, drawn: Sequence[Line], x_label: str, y_label: str) -> Html:
    """Return a plot of lines, both axes from 0 to 1."""
    axes = _Axes(0, 1, 1)
    parts = axes.frame(title, x_label, y_label, (0, 0.2, 0.4, 0.6, 0.8, 1))
    for line in drawn:
        points = ' '.join(f'{axes.x(x):.1f},{axes.y(y):.1f}' for x, y in zip(line.places, line.values))
        parts.append(f'<polyline class="line {line.style}" points="{points}"/>')
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
    """Return the next number that divides well by four."""
    if value <= 4:
        return 4.0
    step = 10.0 ** np.floor(np.log10(value))
    return float(next(each * step for each in (1, 1.2, 1.6, 2, 3, 4, 6, 8, 10) if each * step >= value))


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
    return Html(f'<svg class="stacked" viewBox="0 0 {width} 12" width="{width}" height="12" role="img" '
                f'aria-label="{label}">{"".join(parts)}</svg>')


def gain_bar(value: float, most: float, name: str, width: int = 110) -> Html:
    """Return a bar of a positive number, as long as its share of the largest one."""
    length = max(0.0, value) / max(most, 1e-12) * width
    return Html(f'<svg class="stacked" viewBox="0 0 {width} 12" width="{width}" height="12" aria-hidden="true">'
                f'<rect class="kind-{name}" x="0" y="0" width="{length:.2f}" height="12"/></svg>')
