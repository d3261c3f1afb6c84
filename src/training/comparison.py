"""Comparison of several training runs: a plot of their curves, and a table of their results and of the settings that
differ."""
import os
import re
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..checkpoints.load import read_weights
from ..config import differing_keys
from ..system.errors import PoseError
from ..system.printing import printable
from .curve_parts import (
    TEXT_COLOR,
    columns_of,
    load_metrics,
    new_figure,
    running_median,
    tidy_axes,
    times_of,
    write_figure,
)

# Safe for color-blind readers (Okabe and Ito); one picture shows at most this many runs.
COLORS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#555555')


class Run(NamedTuple):
    """The metrics of a run. Axes: S steps, E evaluations.

    Attributes:
        name: the part of its path that differs from the other runs.
        steps, losses, rates: (S,).
        evaluations: (E, 2) step and main metric.
        metric: name of the main metric.
        epochs: number of epochs done.
        seconds, data_seconds: (S,) of each step, and of these how long it waited for data; NaN if unknown.
        config: from the checkpoint beside its metrics; None if there is no checkpoint.
    """

    name: str
    steps: np.ndarray
    losses: np.ndarray
    rates: np.ndarray
    evaluations: np.ndarray
    metric: str
    epochs: float
    seconds: np.ndarray
    data_seconds: np.ndarray
    config: Optional[Any]

    @property
    def hours(self) -> float:
        """Total time of its steps."""
        return float(np.nansum(self.seconds)) / 3600

    @property
    def images_per_second(self) -> Optional[float]:
        """By the median step; None if the batch or the time is not known."""
        if self.config is None or not np.isfinite(self.seconds).any():
            return None
        return self.config.TRAIN.BATCH_SIZE * self.config.TRAIN.ACCUMULATE / float(np.nanmedian(self.seconds))


def load_runs(paths: Sequence[str]) -> List[Run]:
    """Read the metrics of several runs.

    Raises:
        PoseError: a file is damaged or holds no step; the message names it.
        OSError: one cannot be read.
    """
    return [_load_run(path, name) for path, name in zip(paths, short_names(paths))]


def _load_run(path: str, name: str) -> Run:
    lines = load_metrics(path)
    epochs, steps, losses, rates, evaluations, metric = columns_of(lines, path)
    seconds, data_seconds = times_of(lines).T
    config, checkpoint = None, re.sub(r'(_metrics)?\.jsonl$', '', path) + '.ckpt'
    if os.path.isfile(checkpoint):
        _, config = read_weights(checkpoint)
    return Run(name, steps, losses, rates, evaluations, metric, float(epochs.max()), seconds, data_seconds, config)


def short_names(paths: Sequence[str]) -> List[str]:
    """Return the paths without the leading and trailing parts that all of them share."""
    parts = [re.sub(r'(_metrics)?\.jsonl$', '', path).split(os.sep) for path in paths]
    while len(parts) > 1 and all(len(each) > 1 for each in parts) and len({each[0] for each in parts}) == 1:
        parts = [each[1:] for each in parts]
    while len(parts) > 1 and all(len(each) > 1 for each in parts) and len({each[-1] for each in parts}) == 1:
        parts = [each[:-1] for each in parts]
    return [os.sep.join(each) for each in parts]


def compare_runs(runs: Sequence[Run]) -> List[str]:
    """Return the lines of a table: the results of each run, and each setting in which the runs differ."""
    differing, told = describe_settings(runs)
    return [*_table(summary_table(runs)), '', *([f'settings: {told}'] if told else _table(differing))]


def summary_table(runs: Sequence[Run]) -> List[List[str]]:
    """Return the rows of a table with the results of each run; the first is its head."""
    rows = [['run', 'epochs', 'steps', 'hours', 'images/s', 'loss at the end', 'best', 'at step']]
    for run in runs:
        finite = run.losses[np.isfinite(run.losses)]
        last = f'{running_median(finite)[1][-1]:.4g}' if len(finite) else '-'
        best = run.evaluations[run.evaluations[:, 1].argmax()] if len(run.evaluations) else None
        rows.append([run.name, f'{run.epochs:g}', str(len(run.steps)), f'{run.hours:.2f}',
                     f'{run.images_per_second:.1f}' if run.images_per_second else '-', last,
                     f'{run.metric} {best[1]:.4f}' if best is not None else '-',
                     f'{best[0]:g}' if best is not None else '-'])
    return rows


def describe_settings(runs: Sequence[Run]) -> Tuple[List[List[str]], str]:
    """Return the rows of a table with each setting in which the runs differ, the first its head; and, if there is no
    table, why."""
    unknown = [run.name for run in runs if run.config is None]
    if unknown:
        return [], f'no checkpoint beside the metrics of {", ".join(unknown)}'
    differing = dict.fromkeys(key for run in runs[1:] for key in differing_keys(runs[0].config, run.config))
    if not differing:
        return [], 'all the same' if len(runs) > 1 else ''
    return [['setting', *(run.name for run in runs)],
            *([key, *(str(_value(run.config, key)) for run in runs)] for key in differing)], ''


def _value(config: Dict, key: str) -> Any:
    section, name = key.split('.')
    return config[section][name]


def _table(rows: List[List[str]]) -> List[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ['  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def draw_comparison(runs: Sequence[Run], png_path: str, *, title: str = '') -> None:
    """Draw the running medians of the losses of several runs, their learning rates and the main metric of their
    evaluations, if there are any, as a PNG.

    Raises:
        ImportError: matplotlib is not installed.
        PoseError: there are too many runs, or one has no finite loss.
        OSError: the PNG cannot be written.
    """
    if len(runs) > len(COLORS):
        raise PoseError(f'{len(runs)} runs are too many for one picture; at most {len(COLORS)}')
    figure = new_figure()
    has_scores = any(len(run.evaluations) for run in runs)
    heights = (4, 1.5, 1.2) if has_scores else (4, 1)
    panels = figure.subplots(len(heights), 1, sharex=True, gridspec_kw={'height_ratios': heights})
    for run, color in zip(runs, COLORS):
        finite = np.isfinite(run.losses)
        if not finite.any():
            raise PoseError(f'the run {run.name} has no finite loss')
        centers, medians = running_median(run.losses[finite])
        # In matplotlib a dollar sign starts a formula, and an underscore at the start hides an entry of the legend.
        label = printable(run.name).replace('$', r'\$').lstrip('_')
        panels[0].plot(run.steps[finite][centers], medians, color=color, linewidth=1.6, label=label)
        if len(run.evaluations):
            panels[1].plot(*run.evaluations.T, color=color, linewidth=1.4, marker='o', markersize=3.5)
        panels[-1].plot(run.steps, run.rates, color=color, linewidth=1.2, drawstyle='steps-post')
    tidy_axes(panels[0], np.concatenate([running_median(run.losses[np.isfinite(run.losses)])[1] for run in runs]),
              'loss, running median')
    if has_scores:
        metrics = list(dict.fromkeys(run.metric for run in runs if len(run.evaluations)))
        tidy_axes(panels[1], np.concatenate([run.evaluations[:, 1] for run in runs]), ', '.join(metrics))
    tidy_axes(panels[-1], np.concatenate([run.rates for run in runs]), 'learning rate')
    panels[-1].set_xlabel('step', fontsize=9, color=TEXT_COLOR)
    panels[0].legend(loc='upper right', frameon=True, framealpha=0.9, edgecolor='none', fontsize=9)
    figure.suptitle(printable(title).replace('$', r'\$') or f'{len(runs)} runs', fontsize=11, color=TEXT_COLOR)
    figure.align_ylabels(panels)
    write_figure(figure, png_path)
