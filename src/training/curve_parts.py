"""Helpers for the plots of training curves: reading the metrics of a run, running medians, figures in one style.

Training writes one JSON object per line and step, such as
``{"epoch": 1, "step": 1, "loss": 169.18, "lr": 0.0005, "seconds": 0.31}``, and one per evaluation, such as
``{"epoch": 1, "step": 172, "AP": 0.41}``.
"""
import io
import math
import os
from typing import Any, Dict, List, Tuple

import numpy as np

from ..datasets.registry import DATASETS
from ..system.errors import MissingPackageError, PoseError
from ..system.files import is_number, open_regular, parse_json, write_bytes
from ..system.printing import brief

# How files that may be overwritten begin, by the endings of their names.
_STARTS = {'.png': b'\x89PNG', '.html': b'<!DOCTYPE html>'}
LOG_SPAN = 20.0
# Enough for a curve about a thousand pixels wide; without a limit long runs would take long to plot.
_MAX_MEDIANS = 1000
TEXT_COLOR = '#444444'


def load_metrics(jsonl_path: str) -> List[Dict[str, Any]]:
    """Read a metrics file, in the order of its lines.

    A damaged last line is left out: a run that was killed while writing leaves one. Blank lines are ignored.

    Raises:
        PoseError: a line before the last is not a JSON object, or an epoch or step is not a finite number; the message
            gives the number of the line, from 1.
        OSError: the file cannot be read, or is not a regular file.
    """
    with open_regular(jsonl_path) as file:
        numbered = [(number, line) for number, line in enumerate(file, start=1) if line.strip()]
    rows = []
    for number, line in numbered:
        try:
            row = parse_json(line.decode('utf-8'))
            if not isinstance(row, dict):
                raise PoseError(f'expected an object, got {brief(row)}')
        except ValueError as error:
            if number == numbered[-1][0]:
                break
            raise PoseError(f'{jsonl_path}, line {number} is damaged: {error}') from error
        for key in ('epoch', 'step'):
            if key in row and not (is_number(row[key]) and math.isfinite(row[key])):
                raise PoseError(f'{jsonl_path}, line {number}: {key} should be a finite number, is {brief(row[key])}')
        rows.append(row)
    return rows


def new_figure() -> Any:
    """Return an empty figure that needs no display.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError(
            'the training curve needs matplotlib: pip install -r requirements-extra.txt') from error
    figure = Figure(figsize=(8.0, 5.0), dpi=150, layout='constrained', facecolor='white')
    FigureCanvasAgg(figure)
    return figure


def write_figure(figure: Any, png_path: str) -> None:
    """Write a figure as PNG, whole or not at all."""
    content = io.BytesIO()
    figure.savefig(content, format='png')
    write_bytes(png_path, content.getvalue())


def read_columns(
        jsonl_path: str) -> Tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, str]:
    """Return epochs, steps, losses and learning rates, (S,) each, with strictly increasing steps; the evaluations
    (E, 2) as step and main metric; and the name of that metric.

    A run that was resumed may have written some steps twice; the later line counts. If the step numbers restart in
    every epoch, the steps are numbered from 1 over the whole run.
    """
    return columns_of(load_metrics(jsonl_path), jsonl_path)


def columns_of(lines: List[Dict[str, Any]], jsonl_path: str
               ) -> Tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, str]:
    """Return the same of lines that have been read."""
    rows, scores, metric = {}, {}, 'AP'
    main_metrics = {dataset.main_metric for dataset in DATASETS.values()}
    for row in lines:
        numbers = [name for name in row if name in main_metrics and 'loss' not in row]
        metric = numbers[0] if numbers else metric
        # The loss of a step whose gradients overflowed may be null (NaN or infinity).
        if 'loss' in row and row['loss'] is None:
            row['loss'] = math.nan
        missing = [name for name in ('epoch', 'step', metric if numbers else 'loss')
                   if not is_number(row.get(name))]
        missing += ['lr'] if row.get('lr') is not None and not is_number(row['lr']) else []
        if missing:
            raise PoseError(f'{jsonl_path}: {", ".join(missing)} missing or not a number in {brief(row)}')
        (scores if numbers else rows)[row['epoch'], row['step']] = row
    if not rows:
        raise PoseError(f'{jsonl_path} holds no step')
    keys = sorted(rows)
    epochs, steps = np.array(keys, np.float64).T
    if (np.diff(steps) <= 0).any():
        steps = np.arange(1.0, len(keys) + 1)
    losses = np.array([rows[key]['loss'] for key in keys], np.float64)
    rates = np.array([rows[key].get('lr', math.nan) for key in keys], np.float64)
    place = dict(zip(keys, steps))
    evaluations = [(place[key], scores[key][metric]) for key in sorted(scores) if key in place]
    return epochs, steps, losses, rates, np.array(evaluations, np.float64).reshape(-1, 2), metric


def times_of(lines: List[Dict[str, Any]]) -> np.ndarray:
    """Return the seconds of every step, and the part of them that it waited for data, (S, 2), in the order of
    `columns_of`; NaN where the lines have none."""
    rows = {(row['epoch'], row['step']): row for row in lines if 'loss' in row}
    times = [[row.get(key) for key in ('seconds', 'data_seconds')] for _, row in sorted(rows.items())]
    return np.array([[value if is_number(value) else math.nan for value in pair] for pair in times], np.float64)


def running_median(values: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Median over windows of a fiftieth of the run, shorter at both ends. Unlike a mean it ignores single spikes.

    Returns:
        Indices of the window centers (M,) and medians (M,), M at most 1000.
    """
    count = len(values)
    half = max(4, count // 100)
    centers = np.unique(np.linspace(0, count - 1, min(count, _MAX_MEDIANS)).round().astype(int))
    medians = [np.median(values[max(0, center - half):center + half + 1]) for center in centers]
    return centers, np.array(medians)


def tidy_axes(axes: Any, values: np.ndarray, name: str) -> None:
    finite = values[np.isfinite(values)]
    if len(finite) > 0 and finite.min() > 0 and finite.max() / finite.min() > LOG_SPAN:
        axes.set_yscale('log')
    axes.set_ylabel(name, fontsize=9, color=TEXT_COLOR)
    axes.tick_params(labelsize=8, colors=TEXT_COLOR)
    axes.yaxis.get_offset_text().set_fontsize(8)
    axes.margins(x=0.01)
    axes.grid(axis='y', color='#ececec', linewidth=0.6)
    axes.set_axisbelow(True)
    for edge in ('top', 'right'):
        axes.spines[edge].set_visible(False)


def check_output(path: str) -> None:
    """Check that a picture or page may be written to a path, so that it does not overwrite, say, the metrics of a run.

    Raises:
        PoseError: the name does not end in .png or .html, or a file of another kind is there.
    """
    ending = os.path.splitext(path)[1].lower()
    if ending not in _STARTS:
        raise PoseError(f'the output {path} should end in .png (a picture) or .html (a page)')
    if os.path.isfile(path):
        with open(path, 'rb') as file:
            start = file.read(len(_STARTS[ending]))
        if start and start != _STARTS[ending]:
            raise PoseError(f'{path} is no {ending[1:].upper()} and stays as it is; give another place with --output')
