"""The metrics of a training, or of several laid over one another, as one HTML page that loads nothing."""
from typing import Callable, List, Sequence

import numpy as np

from ..config import to_yaml
from ..report import plots
from ..report.page import Html, escape, table, whole_page
from ..report.plots import Line, curves
from ..system.errors import PoseError
from ..system.files import write_bytes
from .comparison import COLORS, Run, describe_settings, summary_table
from .curve_parts import LOG_SPAN, running_median

STYLE = plots.STYLE + '''
h1 { margin-bottom: 14px; } .line { fill: none; stroke-width: 1.8; }
.key { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 12px 0; font-size: 14px; overflow-wrap: anywhere; }
.key span::before { content: ''; display: inline-block; width: 12px; height: 12px; border-radius: 2px;
                    margin-right: 6px; vertical-align: -1px; background: currentColor; }
.key b { color: var(--ink); font-weight: 400; }
pre { background: var(--card); border: 1px solid var(--line); padding: 12px 14px; overflow-x: auto; font-size: 13px; }
@media print { .plots figure { break-inside: avoid; } }
''' + '\n'.join(f'.line.run-{number} {{ stroke: {color}; }} .dot.run-{number} {{ fill: {color}; }} '
                f'.key .run-{number} {{ color: {color}; }}' for number, color in enumerate(COLORS))


def write_page(runs: Sequence[Run], page_path: str, *, title: str = '') -> None:
    """Write the page of some runs, whole or not at all.

    Raises:
        PoseError: there are too many runs.
        OSError: the page cannot be written.
    """
    if len(runs) > len(COLORS):
        raise PoseError(f'{len(runs)} runs are too many for one page; at most {len(COLORS)}')
    title = title or ('Training: ' + ', '.join(run.name for run in runs))
    body = [f'<h1>{escape(title)}</h1>', table(summary_table(runs))]
    if len(runs) > 1:
        body.append('<div class="key">' + ''.join(f'<span class="run-{number}"><b>{escape(run.name)}</b></span>'
                                                  for number, run in enumerate(runs)) + '</div>')
    body += ['<div class="plots">', *_plots(runs), '</div>', *_settings(runs)]
    write_bytes(page_path, whole_page(title, body, style=STYLE).encode())


def _plots(runs: Sequence[Run]) -> List[str]:
    metrics = ', '.join(dict.fromkeys(run.metric for run in runs if len(run.evaluations)))
    scores = [Line(*run.evaluations.T, f'run-{number}') for number, run in enumerate(runs) if len(run.evaluations)]
    figures = [('Loss', 'running median over a fiftieth of the run', _of_steps(runs, lambda run: run.losses), 'loss',
                {})]
    if scores:
        figures.append((metrics, 'every evaluation during the training', scores, metrics, {'with_dots': True}))
    figures += [('Learning rate', 'of every step', _of_steps(runs, lambda run: run.rates, smooth=False), 'rate', {}),
                ('Seconds per step', 'running median; the first steps compile the graph',
                 _of_steps(runs, lambda run: run.seconds), 'seconds', {}),
                ('Waiting for data', 'share of a step, running median; above 0.1 more loader workers help '
                 '(--num_parallel_workers)', _of_steps(runs, lambda run: run.data_seconds / run.seconds), 'share', {})]
    drawn = []
    for name, caption, lines, unit, options in figures:
        values = np.concatenate([np.zeros(0), *(line.values[line.values > 0] for line in lines)])
        is_log = len(values) > 0 and unit in ('loss', 'rate', 'seconds') and values.max() > LOG_SPAN * values.min()
        plot = curves(name, lines, 'step', is_log=is_log, **options)
        if plot:
            drawn.append(f'<figure>{plot}<figcaption><b>{escape(name)}</b>: {escape(caption)}</figcaption></figure>')
    return drawn


def _of_steps(runs: Sequence[Run], values_of: Callable[[Run], np.ndarray], *, smooth: bool = True) -> List[Line]:
    """Return a line per run, of running medians or of at most a thousand single values."""
    lines = []
    for number, run in enumerate(runs):
        values = np.asarray(values_of(run), np.float64)
        finite = np.flatnonzero(np.isfinite(values))
        if not len(finite):
            continue
        if smooth:
            centers, shown = running_median(values[finite])
            places = run.steps[finite][centers]
        else:
            chosen = np.unique(np.linspace(0, len(finite) - 1, min(len(finite), 1000)).astype(int))
            places, shown = run.steps[finite][chosen], values[finite][chosen]
        lines.append(Line(places, shown, f'run-{number}'))
    return lines


def _settings(runs: Sequence[Run]) -> List[str]:
    rows, told = describe_settings(runs)
    parts = ['<h2>Settings</h2>']
    if told:
        parts.append(f'<p class="dim">{escape(told)}</p>')
    if rows:
        parts.append(table(rows))
    if len(runs) == 1 and runs[0].config is not None:
        parts.append(Html(f'<details><summary>all settings of the run</summary><pre>{_lines(to_yaml(runs[0].config))}'
                          '</pre></details>'))
    return parts


def _lines(text: str) -> str:
    """Return a text of several lines for a page."""
    return '\n'.join(escape(line) for line in text.splitlines())
