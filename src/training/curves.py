"""The training curve: the metrics file that training appends to, and a picture of loss, learning rate and AP.

Training writes one JSON object per line and step, such as
``{"epoch": 1, "step": 1, "loss": 169.18, "lr": 0.0005, "seconds": 0.31}``, and one per evaluation, such as
``{"epoch": 1, "step": 172, "AP": 0.41}``.
"""
import io
import math
import sys
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from ..datasets.registry import DATASETS
from ..system.command_line import run_command
from ..system.errors import MissingPackageError, PoseError
from ..system.files import is_number, open_regular, parse_json, write_bytes
from ..system.printing import ArgumentParser, brief, printable

_LOG_SPAN = 20.0
_MAX_EPOCH_MARKS = 12
# Enough for a curve of some thousand pixels, and it keeps long runs quick.
_MAX_MEDIANS = 1000
_LOSS_COLOR, _MEDIAN_COLOR, _LR_COLOR, _AP_COLOR = '#f2b280', '#c2410c', '#2563a8', '#2e7d4f'
_MARK_COLOR, _TEXT_COLOR = '#d5d5d5', '#444444'


def load_metrics(jsonl_path: str) -> List[Dict[str, Any]]:
    """Read a metrics file, in the order of its lines.

    A damaged last line is left out: a run that was killed while writing leaves one. Blank lines do not count.

    Raises:
        PoseError: another line is not a JSON object, or an epoch or step no finite number; the message gives the
            number of the line, from 1.
        OSError: the file cannot be read, or is no regular file.
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


def draw_loss_curve(jsonl_path: str, png_path: str, *, title: str = '') -> None:
    """Draw the loss of every step with its running median, the learning rate, AP (MPII: the mean PCKh) where the run
    was evaluated, and the epochs as a PNG.

    An axis is logarithmic when its values span more than a factor of 20.

    Raises:
        ImportError: matplotlib is not installed.
        PoseError: the file is damaged, a line lacks epoch, step or loss, or no loss is finite.
        OSError: the metrics cannot be read or the PNG cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError(
            'the training curve needs matplotlib: pip install -r requirements-extra.txt') from error

    epochs, steps, losses, rates, evaluations, metric = _read_columns(jsonl_path)
    is_finite = np.isfinite(losses)
    if not is_finite.any():
        raise PoseError(f'{jsonl_path} holds no finite loss')
    centers, medians = _running_median(losses[is_finite])
    median_steps = steps[is_finite][centers]

    figure = Figure(figsize=(8.0, 5.0), dpi=150, layout='constrained', facecolor='white')
    FigureCanvasAgg(figure)
    heights = (4, 1.5, 1) if len(evaluations) else (4, 1)
    panels = figure.subplots(len(heights), 1, sharex=True, gridspec_kw={'height_ratios': heights})
    loss_axes, rate_axes = panels[0], panels[-1]
    # One step alone makes no line.
    marker = 'o' if len(steps) == 1 else None
    loss_axes.plot(steps, losses, color=_LOSS_COLOR, linewidth=0.7, alpha=0.8, marker=marker, label='loss of a step')
    loss_axes.plot(median_steps, medians, color=_MEDIAN_COLOR, linewidth=1.8, label='running median')
    rate_axes.plot(steps, rates, color=_LR_COLOR, linewidth=1.4, marker=marker, drawstyle='steps-post')
    for axes, values, name in ((loss_axes, losses, 'loss'), (rate_axes, rates, 'learning rate')):
        _tidy_axes(axes, values, name)
    if len(evaluations):
        panels[1].plot(*evaluations.T, color=_AP_COLOR, linewidth=1.4, marker='o', markersize=3.5)
        _tidy_axes(panels[1], evaluations[:, 1], metric)
    _mark_epochs(panels, epochs, steps)
    rate_axes.xaxis.get_major_locator().set_params(integer=True)
    rate_axes.set_xlabel('step', fontsize=9, color=_TEXT_COLOR)
    legend = loss_axes.legend(loc='upper right', frameon=True, framealpha=0.9, edgecolor='none', fontsize=9)
    legend.get_lines()[0].set_linewidth(1.5)
    count = '1 step' if len(steps) == 1 else f'{len(steps)} steps'
    last = f'{count}, median loss at the end {medians[-1]:.4g}'
    if len(evaluations):
        last += f', best {metric} {evaluations[:, 1].max():.3f}'
    # A dollar sign would begin a formula.
    title = printable(title).replace('$', r'\$')
    figure.suptitle(f'{title}: {last}' if title else last, fontsize=11, color=_TEXT_COLOR)

    content = io.BytesIO()
    figure.savefig(content, format='png')
    write_bytes(png_path, content.getvalue())


def _read_columns(
        jsonl_path: str) -> Tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, str]:
    """Return epochs, steps, losses and learning rates, (S,) each, with strictly growing steps, the evaluations (E, 2)
    as step and main number, and the name of that number.

    A run that was resumed may have written some steps twice; the later line counts. Steps that start anew in every
    epoch are counted through, from 1.
    """
    rows, scores, metric = {}, {}, 'AP'
    main_metrics = {dataset.main_metric for dataset in DATASETS.values()}
    for row in load_metrics(jsonl_path):
        numbers = [name for name in row if name in main_metrics and 'loss' not in row]
        metric = numbers[0] if numbers else metric
        # The loss of a step whose gradients overflowed may be no number.
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


def _running_median(values: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Median over windows of a fiftieth of the run, cut at both ends; a spike leaves no trace in it, unlike in a mean.

    Returns:
        Indices of the window centres (M,) and medians (M,), M at most 1000.
    """
    count = len(values)
    half = max(4, count // 100)
    centers = np.unique(np.linspace(0, count - 1, min(count, _MAX_MEDIANS)).round().astype(int))
    medians = [np.median(values[max(0, center - half):center + half + 1]) for center in centers]
    return centers, np.array(medians)


def _tidy_axes(axes: Any, values: np.ndarray, name: str) -> None:
    finite = values[np.isfinite(values)]
    if len(finite) > 0 and finite.min() > 0 and finite.max() / finite.min() > _LOG_SPAN:
        axes.set_yscale('log')
    axes.set_ylabel(name, fontsize=9, color=_TEXT_COLOR)
    axes.tick_params(labelsize=8, colors=_TEXT_COLOR)
    axes.yaxis.get_offset_text().set_fontsize(8)
    axes.margins(x=0.01)
    axes.grid(axis='y', color='#ececec', linewidth=0.6)
    axes.set_axisbelow(True)
    for edge in ('top', 'right'):
        axes.spines[edge].set_visible(False)


def _mark_epochs(panels: Sequence[Any], epochs: np.ndarray, steps: np.ndarray) -> None:
    """Draw a thin line where an epoch starts, for a round selection of epochs, with its number over the first panel."""
    starts = np.flatnonzero(np.diff(epochs, prepend=epochs[0] - 1))
    least_stride = max(1.0, len(starts) / _MAX_EPOCH_MARKS)
    decade = 10 ** math.floor(math.log10(least_stride))
    stride = next(decade * digit for digit in (1, 2, 5, 10) if decade * digit >= least_stride)
    for number, start in enumerate(starts):
        if number > 0 and epochs[start] % stride != 0:
            continue
        for axes in panels:
            axes.axvline(steps[start], color=_MARK_COLOR, linewidth=0.7, zorder=0)
        text = f'epoch {epochs[start]:g}' if number == 0 else f'{epochs[start]:g}'
        panels[0].annotate(text, (steps[start], 1.0), xycoords=('data', 'axes fraction'), xytext=(2, 2),
                           textcoords='offset points', fontsize=7, color=_TEXT_COLOR)


def main() -> None:
    """Draw the curve named on the command line."""
    parser = ArgumentParser(description='Draw the loss curve of a training run.')
    parser.add_argument('jsonl_path', help='metrics that train.py wrote beside the checkpoint')
    parser.add_argument('png_path', help='picture to write')
    parser.add_argument('--title', default='')
    chosen = parser.parse_args()
    try:
        draw_loss_curve(chosen.jsonl_path, chosen.png_path, title=chosen.title)
    except (ValueError, OSError, ImportError) as error:
        parser.error(str(error))
    print(printable(f'loss curve: {chosen.png_path}', sys.stdout))


if __name__ == '__main__':
    run_command(main)
