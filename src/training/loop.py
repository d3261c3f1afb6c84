"""The training loop: it runs the steps, prints and logs them, calls the hooks, and decides when to end."""
import math
import statistics
import sys
import time
from collections import deque
from typing import Callable, Deque, Iterable, List, NamedTuple, Sequence

import numpy as np
from tqdm import tqdm

from ..data.loader import BatchPlan
from ..system.command_line import say
from ..system.errors import PoseError
from .log import MetricsLog
from .states import Progress
from .step import LaunchedStep, StepReport, TrainStep
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

    def is_save_due(self, step: int) -> bool:
        """Whether `after_step` will save the state; no later step is then launched before."""
        return False

    def after_step(self, step: int) -> None:
        """Called after every step but the last of an epoch, unless the next one was launched already."""

    def after_epoch(self, epoch: int, is_stopping: bool) -> bool:
        """Called after the last step of an epoch; True ends the run, and so does `is_stopping`."""
        return False


class _Launched(NamedTuple):
    """A step under way: its index from 0, its batch, the seconds of waiting for it, and the step itself."""

    index: int
    batch: tuple
    waited: float
    step: LaunchedStep


def train(step: TrainStep, batches: Iterable[tuple], *, plan: BatchPlan, rates: np.ndarray, progress: Progress,
          log: MetricsLog, stop: StopRequest, hooks: Hooks = Hooks(), max_steps: int = 0,  # noqa: B008  it has no state
          steps_ahead: int = 0, max_skipped_steps: int = 30, print_every: int = 0,
          describe_rows: Callable[[np.ndarray], str] = str) -> List[StepTime]:
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
        steps_ahead: so many steps are launched before the report of a step is waited for, so that an accelerator has
            something to do meanwhile. At the end of an epoch and where a state is saved all are waited for. A request
            to stop ends the run so many steps later.
        max_skipped_steps: more overflowing steps in a row than this are an error.
        print_every: print speed and remaining time every so many steps; 0 never.
        describe_rows: describes the samples of a batch for the message of a non-finite loss.

    Returns:
        The times of the steps.

    Raises:
        NonFiniteLossError: the message names epoch, step, learning rate, and what was in the batch.
    """
    step.set_train()
    end = min(len(rates), max_steps or len(rates))
    reports = _Reports(plan, rates, end, progress, log, max_skipped_steps, print_every, describe_rows,
                       logs_scale=step.scaler is not None)
    launched: Deque[_Launched] = deque()
    batches, is_stopping = iter(batches), False
    with tqdm(total=end, initial=progress.step, unit='step', disable=not sys.stderr.isatty(), smoothing=0.05) as bar:
        for index in range(progress.step, end):
            before = time.perf_counter()
            batch = next(batches)
            launched.append(_Launched(index, batch, time.perf_counter() - before, step.launch(
                *batch[:3], share=plan.share(index), smallest_share=plan.smallest_share(index), stop=stop.is_set)))
            stop.listen()
            is_epoch_over = (index + 1) % plan.steps_per_epoch == 0
            must_wait = is_epoch_over or hooks.is_save_due(index + 1)
            while launched and (len(launched) > steps_ahead or must_wait or index + 1 == end):
                oldest = launched.popleft()
                if reports.take(oldest) and not is_stopping:
                    # Not at once, since other processes may have launched steps that this one has not.
                    is_stopping, end = True, min(end, oldest.index + 1 + steps_ahead)
                bar.update()
            if is_epoch_over and hooks.after_epoch(index // plan.steps_per_epoch + 1, is_stopping):
                break
            if not launched and not is_epoch_over:
                hooks.after_step(index + 1)
            if index + 1 == end or is_epoch_over and is_stopping:
                break
            if not launched:
                # The time for saving and evaluating does not count as time of a step.
                reports.start_clock(is_epoch_over)
    return reports.times


class _Reports:
    """Takes the reports of steps in order: prints them, logs them, and refuses losses that are not finite."""

    def __init__(self, plan: BatchPlan, rates: np.ndarray, num_steps: int, progress: Progress, log: MetricsLog,
                 max_skipped_steps: int, print_every: int, describe_rows: Callable[[np.ndarray], str], *,
                 logs_scale: bool):
        self._plan, self._rates, self._num_steps, self._progress, self._log = plan, rates, num_steps, progress, log
        self._max_skipped_steps, self._print_every, self._describe_rows = max_skipped_steps, print_every, describe_rows
        self._logs_scale, self._told = logs_scale, 0
        self.times: List[StepTime] = []
        self.start_clock(is_new_epoch=True)

    def start_clock(self, is_new_epoch: bool) -> None:
        """Let the time of the next step begin now."""
        self._step_start = time.perf_counter()
        if is_new_epoch:
            self._epoch_start = self._step_start

    def take(self, launched: _Launched) -> bool:
        """Wait for a step and report it; return whether some process was asked to stop."""
        index, rate, plan, progress = launched.index, float(self._rates[launched.index]), self._plan, self._progress
        report = launched.step.report()
        epoch, within = index // plan.steps_per_epoch + 1, index % plan.steps_per_epoch + 1
        progress.step = index + 1
        _count_skipped(progress, report)
        self._check(report, f'epoch {epoch}, step {within}, learning rate {rate:g}', launched.batch)
        now = time.perf_counter()
        note = f', skipped: overflow at loss scale {report.loss_scale:g}' if report.skipped else ''
        self.times.append(StepTime(now - self._step_start, launched.waited, len(plan.joint_batch(index)[1])))
        say(f'epoch: {epoch} step: {within}, loss is {report.loss:.6g}{note}')
        if self._print_every and (index + 1) % self._print_every == 0:
            say(f'{time.strftime("%Y-%m-%d %H:%M:%S")} step {index + 1} of {self._num_steps}: loss {report.loss:.6g}, '
                + describe_pace(self.times[self._told:], rate, self._num_steps - index - 1))
            self._told = len(self.times)
        scaling = {'loss_scale': report.loss_scale, 'skipped': progress.skipped} if self._logs_scale else {}
        self._log.write(epoch=epoch, step=within, loss=report.loss, lr=rate, seconds=round(now - self._step_start, 4),
                        data_seconds=round(launched.waited, 4), **scaling)
        if within == plan.steps_per_epoch:
            elapsed, steps = now - self._epoch_start, min(plan.steps_per_epoch, len(self.times))
            say(f'Epoch time: {1000 * elapsed:.3f} ms, per step time: {1000 * elapsed / steps:.3f} ms')
        self.start_clock(is_new_epoch=False)
        return report.stop

    def _check(self, report: StepReport, where: str, batch: tuple) -> None:
        if self._progress.skipped_in_a_row > self._max_skipped_steps:
            raise NonFiniteLossError(
                f'{self._progress.skipped_in_a_row} steps in a row overflowed in mixed precision, the last at {where}, '
                f'with a loss scale of {report.loss_scale:g} and a loss of {report.loss:g}; batch: '
                f'{self._describe_rows(batch[3])}. --amp_level O0 or a lower learning rate may help.')
        if not report.skipped and not math.isfinite(report.loss):
            raise NonFiniteLossError(_describe_batch(report.loss, where, batch, self._plan, self._describe_rows))


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
