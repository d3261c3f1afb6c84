"""The training loop: it runs the steps, prints and logs them, calls the hooks, and decides when to end."""
import math
import statistics
import sys
import time
from typing import Callable, Iterable, List, NamedTuple, Sequence

import numpy as np
from tqdm import tqdm

from ..data.loader import BatchPlan
from ..system.command_line import say
from ..system.errors import PoseError
from .log import MetricsLog
from .states import Progress
from .step import StepReport, TrainStep
from .stopping import StopRequest

# The first steps compile graphs, start loader processes and warm caches.
WARM_UP_STEPS = 10


class NonFiniteLossError(PoseError, ArithmeticError):
    """A step had a loss of NaN or infinity, or too many steps in a row overflowed in mixed precision."""


class StepTime(NamedTuple):
    """Duration of one step in seconds, how much of it was waiting for data, and number of images on all devices."""

    seconds: float
    waited: float
    images: int


class Hooks:
    """What a run does between steps; by default nothing.

    A hook gets the number of the step or epoch, counted from 1.
    """

    def after_step(self, step: int) -> None:
        """Called after every step but the last of an epoch."""

    def after_epoch(self, epoch: int, is_stopping: bool) -> bool:
        """Called after the last step of an epoch; True ends the run, and so does `is_stopping`."""
        return False


def train(step: TrainStep, batches: Iterable[tuple], *, plan: BatchPlan, rates: np.ndarray, progress: Progress,
          log: MetricsLog, stop: StopRequest, hooks: Hooks = Hooks(), max_steps: int = 0,  # noqa: B008  it has no state
          max_skipped_steps: int = 30, print_every: int = 0, describe_rows: Callable[[np.ndarray], str] = str
          ) -> List[StepTime]:
    """Run `step` on all batches, print one line per step and, on a terminal, a progress bar with the remaining time.

    Args:
        step: the training step.
        batches: tuples of NumPy arrays (pixels, joints, validity, rows), beginning after `progress.step`.
        plan: the plan that the batches follow.
        rates: learning rate of every step of the run.
        progress: updated after every step, before the hooks are called.
        log: gets epoch, step, loss, rate, seconds and waiting time of every step.
        stop: a request to stop; it ends the run on all processes after the same step.
        max_steps: number of the last step; 0 runs all steps of `rates`.
        max_skipped_steps: more overflowing steps in a row than this are an error.
        print_every: print speed and remaining time every so many steps; 0 never.
        describe_rows: describes the samples of a batch for the message of a non-finite loss.

    Returns:
        The times of the steps.

    Raises:
        NonFiniteLossError: the message names epoch, step, learning rate, and what was in the batch.
    """
    times: List[StepTime] = []
    told = 0
    step.set_train()
    first = progress.step
    last = min(len(rates), max_steps or len(rates))
    epoch_start = step_start = time.perf_counter()
    batches = iter(batches)
    with tqdm(total=last, initial=first, unit='step', disable=not sys.stderr.isatty(), smoothing=0.05) as bar:
        for index in range(first, last):
            batch = next(batches)
            waited = time.perf_counter() - step_start
            report = step(*batch[:3], share=plan.share(index), smallest_share=plan.smallest_share(index),
                          stop=stop.is_set)
            stop.listen()
            epoch, within = index // plan.steps_per_epoch + 1, index % plan.steps_per_epoch + 1
            progress.step = index + 1
            _count_skipped(progress, report)
            where = f'epoch {epoch}, step {within}, learning rate {rates[index]:g}'
            if progress.skipped_in_a_row > max_skipped_steps:
                raise NonFiniteLossError(
                    f'{progress.skipped_in_a_row} steps in a row overflowed in mixed precision, the last at {where}, '
                    f'with a loss scale of {report.loss_scale:g} and a loss of {report.loss:g}; batch: '
                    f'{describe_rows(batch[3])}. --amp_level O0 or a lower learning rate may help.')
            if not report.skipped and not math.isfinite(report.loss):
                raise NonFiniteLossError(_describe_batch(report.loss, where, batch, plan, describe_rows))
            now = time.perf_counter()
            note = f', skipped: overflow at loss scale {report.loss_scale:g}' if report.skipped else ''
            times.append(StepTime(now - step_start, waited, len(plan.joint_batch(index)[1])))
            say(f'epoch: {epoch} step: {within}, loss is {report.loss:.6g}{note}')
            if print_every and (index + 1) % print_every == 0:
                say(f'{time.strftime("%Y-%m-%d %H:%M:%S")} step {index + 1} of {last}: loss {report.loss:.6g}, '
                    + describe_pace(times[told:], float(rates[index]), last - index - 1))
                told = len(times)
            bar.update()
            scaling = {'loss_scale': report.loss_scale, 'skipped': progress.skipped} if step.scaler else {}
            log.write(epoch=epoch, step=within, loss=report.loss, lr=float(rates[index]),
                      seconds=round(now - step_start, 4), data_seconds=round(waited, 4), **scaling)
            ends_run = report.stop
            if within == plan.steps_per_epoch:
                elapsed, steps = now - epoch_start, min(plan.steps_per_epoch, len(times))
                say(f'Epoch time: {1000 * elapsed:.3f} ms, per step time: {1000 * elapsed / steps:.3f} ms')
                ends_run = hooks.after_epoch(epoch, ends_run) or ends_run
                epoch_start = time.perf_counter()
            else:
                hooks.after_step(index + 1)
            if ends_run:
                break
            # The time for saving and evaluating does not count as time of a step.
            step_start = time.perf_counter()
    return times


def describe_pace(times: Sequence[StepTime], rate: float, steps_left: int) -> str:
    """Return a description of the pace of some steps: learning rate, people per second on all devices, estimated time
    left, and the fraction of the time spent waiting for data."""
    seconds = sum(each.seconds for each in times)
    left = tqdm.format_interval(round(seconds / len(times) * steps_left))
    return (f'rate {rate:.3g}, {sum(each.images for each in times) / seconds:.1f} FPS, {left} left, '
            f'{sum(each.waited for each in times) / seconds:.0%} waiting for data')


def _count_skipped(progress: Progress, report: StepReport) -> None:
    progress.skipped += report.skipped
    progress.skipped_in_a_row = progress.skipped_in_a_row + 1 if report.skipped else 0


def _describe_batch(loss: float, where: str, batch: tuple, plan: BatchPlan,
                    describe_rows: Callable[[np.ndarray], str]) -> str:
    pixels, joints, validity, rows = batch
    whose = f'batch of process {plan.shard}, which need not be the one to blame' if plan.num_shards > 1 else 'batch'
    return (f'the loss is {loss} at {where}; pixels {pixels.min()} to {pixels.max()}, joints {joints.min():g} to '
            f'{joints.max():g}, validity {np.unique(validity).tolist()}; {whose}: {describe_rows(rows)}. '
            'A lower learning rate or other start weights may help.')


def measure_speed(times: Sequence[StepTime]) -> dict:
    """Return the speed of a run: fps (images per second on all devices) and step_ms, both medians; data_wait_share, the
    fraction of the time spent waiting for data; and the numbers of measured steps and of steps left out as warm-up.

    Short runs leave out half of their steps as warm-up. Batches of another size, such as the last of an epoch, do not
    count.
    """
    skipped = min(WARM_UP_STEPS, len(times) // 2)
    whole = statistics.mode(each.images for each in times) if times else 0
    counted = [each for each in times[skipped:] if each.images == whole] or list(times)
    if not counted:
        return {'fps': 0.0, 'step_ms': 0.0, 'data_wait_share': 0.0, 'steps': 0, 'warm_up_steps': 0}
    seconds = float(np.median([each.seconds for each in counted]))
    waited = sum(each.waited for each in counted) / sum(each.seconds for each in counted)
    return {'fps': round(whole / seconds, 2), 'step_ms': round(1000 * seconds, 2), 'data_wait_share': round(waited, 4),
            'steps': len(counted), 'warm_up_steps': skipped}
