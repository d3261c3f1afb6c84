"""The training curve: a plot of loss, learning rate and AP of a run, or of several; and the page of its metrics."""
import math
import re
import sys
from typing import Any, Sequence

import numpy as np

from ..system.command_line import run_command
from ..system.errors import PoseError
from ..system.printing import ArgumentParser, printable
from .curve_parts import TEXT_COLOR, check_output, new_figure, read_columns, running_median, tidy_axes, write_figure

_MAX_EPOCH_MARKS = 12
_LOSS_COLOR, _MEDIAN_COLOR, _LR_COLOR, _AP_COLOR = '#f2b280', '#c2410c', '#2563a8', '#2e7d4f'
_MARK_COLOR = '#d5d5d5'


def draw_loss_curve(jsonl_path: str, png_path: str, *, title: str = '') -> None:
    """Draw the loss of every step with its running median, the learning rate, AP (MPII: the mean PCKh) if the run was
    evaluated, and the epochs as a PNG.

    An axis is logarithmic when its values span more than a factor of 20.

    Raises:
        ImportError: matplotlib is not installed.
        PoseError: the file is damaged, a line lacks epoch, step or loss, or no loss is finite.
        OSError: the metrics cannot be read or the PNG cannot be written.
    """
    figure = new_figure()
    epochs, steps, losses, rates, evaluations, metric = read_columns(jsonl_path)
    is_finite = np.isfinite(losses)
    if not is_finite.any():
        raise PoseError(f'{jsonl_path} holds no finite loss')
    centers, medians = running_median(losses[is_finite])
    median_steps = steps[is_finite][centers]

    heights = (4, 1.5, 1) if len(evaluations) else (4, 1)
    panels = figure.subplots(len(heights), 1, sharex=True, gridspec_kw={'height_ratios': heights})
    loss_axes, rate_axes = panels[0], panels[-1]
    # A single step draws no line, so it gets a marker.
    marker = 'o' if len(steps) == 1 else None
    loss_axes.plot(steps, losses, color=_LOSS_COLOR, linewidth=0.7, alpha=0.8, marker=marker, label='loss of a step')
    loss_axes.plot(median_steps, medians, color=_MEDIAN_COLOR, linewidth=1.8, label='running median')
    rate_axes.plot(steps, rates, color=_LR_COLOR, linewidth=1.4, marker=marker, drawstyle='steps-post')
    for axes, values, name in ((loss_axes, losses, 'loss'), (rate_axes, rates, 'learning rate')):
        tidy_axes(axes, values, name)
    if len(evaluations):
        panels[1].plot(*evaluations.T, color=_AP_COLOR, linewidth=1.4, marker='o', markersize=3.5)
        tidy_axes(panels[1], evaluations[:, 1], metric)
    _mark_epochs(panels, epochs, steps)
    rate_axes.xaxis.get_major_locator().set_params(integer=True)
    rate_axes.set_xlabel('step', fontsize=9, color=TEXT_COLOR)
    legend = loss_axes.legend(loc='upper right', frameon=True, framealpha=0.9, edgecolor='none', fontsize=9)
    legend.get_lines()[0].set_linewidth(1.5)
    count = '1 step' if len(steps) == 1 else f'{len(steps)} steps'
    last = f'{count}, median loss at the end {medians[-1]:.4g}'
    if len(evaluations):
        last += f', best {metric} {evaluations[:, 1].max():.3f}'
    # matplotlib would read a dollar sign as the start of a formula.
    title = printable(title).replace('$', r'\$')
    figure.suptitle(f'{title}: {last}' if title else last, fontsize=11, color=TEXT_COLOR)

    write_figure(figure, png_path)


def _mark_epochs(panels: Sequence[Any], epochs: np.ndarray, steps: np.ndarray) -> None:
    """Draw thin lines at the starts of epochs, at round intervals, with their numbers above the first panel."""
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
                           textcoords='offset points', fontsize=7, color=TEXT_COLOR)


def main() -> None:
    """Draw the curve of a run, or compare several, as the command line names them."""
    parser = ArgumentParser(description='Draw the curve of a training run, or several in one picture with a table of '
                            'what differs.')
    parser.add_argument('metrics', nargs='+', help='metrics (.jsonl) that train.py wrote beside the checkpoints')
    parser.add_argument('--output', metavar='FILE', help='.png: a picture (default: of one run beside its metrics, of '
                        'several none); .html: a page with more plots and the settings')
    parser.add_argument('--title', default='')
    chosen = parser.parse_args()
    # Imported only now, because it imports MindSpore to read checkpoints: --help stays quick.
    from .comparison import compare_runs, draw_comparison, load_runs
    from .page import write_page
    try:
        output = chosen.output
        if output is None and len(chosen.metrics) > 1 and chosen.metrics[-1].lower().endswith('.png'):
            output = chosen.metrics.pop()
        if output is None and len(chosen.metrics) == 1:
            output = re.sub(r'(_metrics)?\.jsonl$', '', chosen.metrics[0]) + '_curve.png'
        if output is not None:
            check_output(output)
        is_page = output is not None and output.lower().endswith('.html')
        if len(chosen.metrics) == 1 and not is_page:
            draw_loss_curve(chosen.metrics[0], output, title=chosen.title)
        else:
            runs = load_runs(chosen.metrics)
            if len(runs) > 1:
                for line in compare_runs(runs):
                    print(printable(line, sys.stdout))
            if is_page:
                write_page(runs, output, title=chosen.title)
            elif output is not None:
                draw_comparison(runs, output, title=chosen.title)
    except (ValueError, OSError, ImportError) as error:
        parser.error(str(error))
    if output is not None:
        print(printable(f'{"page" if is_page else "loss curve"}: {output}', sys.stdout))


if __name__ == '__main__':
    run_command(main)
