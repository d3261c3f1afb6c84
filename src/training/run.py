"""What a training run does between its steps: states, checkpoints, evaluations, and agreement among its processes."""
import os
import time
import zlib
from dataclasses import astuple
from typing import Callable, Mapping, Optional

import numpy as np
from easydict import EasyDict
from mindspore import Parameter, Tensor, nn

from ..checkpoints.ckpt import save_checkpoint
from ..checkpoints.names import named_parameters
from ..data.people import People
from ..datasets.registry import dataset_of
from ..evaluation.evaluate import Evaluation
from ..system.collectives import broadcast_parameters, digest, gather_rows
from ..system.device import Processes
from ..system.errors import PoseError
from .curves import draw_loss_curve
from .files import RunFiles
from .log import MetricsLog
from .loop import Hooks
from .states import Progress, RunStates
from .step import TrainStep


def people_checksum(people: People) -> int:
    """Return a checksum of the people to train on: pictures, boxes, keypoints."""
    value = 0
    for array in (people.file_names, people.image_index, people.boxes_xywh, people.keypoints):
        value = zlib.crc32(np.ascontiguousarray(array).tobytes(), value)
    return value


def resume_run(resume: Optional[str], files: RunFiles, states: RunStates, state: Mapping[str, Parameter],
               processes: Processes, say: Callable[[str], None], *, first_step: int = 0) -> Progress:
    """Return the progress to continue from, the same on every process; `state` is then loaded on rank 0.

    Args:
        resume: 'auto', the path of a state, or None for a new run.
        state: `TrainStep.state`; the caller broadcasts it afterwards.
        first_step: of a new run.

    Raises:
        PoseError: the state is missing, damaged or of another run, or the processes were started differently.
    """
    sums = [int(part[0, 0]) for part in gather_rows(np.array([[states.identity.checksum()]], np.int64), processes)]
    others = [str(rank) for rank, value in enumerate(sums) if value != sums[0]]
    if others:
        raise PoseError(f'the processes were not started alike: recipe, settings or people of process '
                        f'{", ".join(others)} differ from those of process 0')
    progress = Progress(step=first_step, evaluated_step=first_step)
    if processes.is_first:
        unwatched = files.lock()
        if unwatched:
            say(f'note: no locks on the file system of {", ".join(unwatched)}: nobody would notice another run into it')
        files.remove_leftovers()
        states.remove_leftovers()
        if resume is None:
            files.set_aside_earlier_run(say)
        elif resume == 'auto':
            found = states.resume_newest(state, say)
            if found is None:
                say(f'no state in {states.folder} yet: a new run')
            else:
                progress = found[0]
                say(f'resumed after step {progress.step} from {found[1]}')
        else:
            progress = states.resume(resume, state)
            say(f'resumed after step {progress.step} from {resume}')
            files.set_aside_states(states.paths(after=progress.step), say)
    return share_progress(progress, processes)


def share_progress(progress: Progress, processes: Processes) -> Progress:
    """Return rank 0's progress."""
    values = [np.nan if value is None else value for value in astuple(progress)]
    step, skipped, in_a_row, best_ap, best_epoch, without_gain, evaluated = gather_rows(
        np.array([values], np.float64), processes)[0][0].tolist()
    return Progress(int(step), int(skipped), int(in_a_row), None if np.isnan(best_ap) else best_ap, int(best_epoch),
                    int(without_gain), int(evaluated))


class TrainingRun(Hooks):
    """What happens after steps and epochs.

    Args:
        config: resolved configuration.
        files, states, log: where rank 0 writes.
        network, step: the network in training and its training step.
        progress: updated by the loop.
        evaluation, evaluation_network: None if TRAIN.EVAL_EPOCHS is 0. The network is a second one, filled for each
            evaluation: with the running average of the weights if there is one, and always with the values of rank 0,
            since BatchNorm statistics differ among processes (PyTorch's DistributedDataParallel does the same).
        say: prints a line.
    """

    def __init__(self, *, config: EasyDict, processes: Processes, files: RunFiles, states: RunStates, log: MetricsLog,
                 network: nn.Cell, step: TrainStep, progress: Progress, evaluation: Optional[Evaluation],
                 evaluation_network: Optional[nn.Cell], steps_per_epoch: int, say: Callable[[str], None]):
        self.config, self.processes, self.files, self.states, self.log = config, processes, files, states, log
        self.network, self.step, self.progress, self.say = network, step, progress, say
        self.evaluation, self.evaluation_network = evaluation, evaluation_network
        self.steps_per_epoch = steps_per_epoch
        self._state = step.state(network)
        self._last_save, self._saved_step = time.monotonic(), progress.step
        self.saved_weights_step: Optional[int] = None
        self._main_metric = dataset_of(config).main_metric

    @property
    def stopped_early(self) -> bool:
        """Whether early stopping has ended the run: too many evaluations without gain."""
        limit = self.config.TRAIN.EARLY_STOP
        return bool(limit) and self.progress.evaluations_without_gain >= limit

    def is_save_due(self, step: int) -> bool:
        """Whether the state is to be saved after this step."""
        train = self.config.TRAIN
        is_due = bool(train.SAVE_STEPS) and step % train.SAVE_STEPS == 0
        return is_due or bool(train.SAVE_MINUTES) and time.monotonic() - self._last_save >= 60 * train.SAVE_MINUTES

    def after_step(self, step: int) -> None:
        """Save the state if it is due."""
        if self.is_save_due(step):
            self.save_state()

    def after_epoch(self, epoch: int, is_stopping: bool) -> bool:
        """Save checkpoint and state, evaluate if it is due; return True when early stopping ends the run."""
        self.save_weights(must=False)
        every = self.config.TRAIN.SAVE_EPOCHS
        if every and (epoch % every == 0 or epoch == self.config.TRAIN.END_EPOCH):
            self._keep_weights(epoch)
        # Before the evaluation, which may take minutes: a run that is killed during it repeats only the evaluation.
        self.save_state()
        if not is_stopping:
            self.evaluate_if_due()
        return self.stopped_early

    def evaluate_if_due(self) -> None:
        """Evaluate if it is due after this epoch and was not done yet; a resumed run may start with it."""
        train, progress = self.config.TRAIN, self.progress
        epoch, within = divmod(progress.step, self.steps_per_epoch)
        if self.evaluation is None or within or progress.evaluated_step >= progress.step:
            return
        if epoch % train.EVAL_EPOCHS and epoch != train.END_EPOCH:
            return
        try:
            self._evaluate(epoch)
        except Exception as error:  # noqa: BLE001  the evaluators of others raise whatever they stumble over
            if self._saved_step != progress.step:
                self.save_state()
            is_told = isinstance(error, (PoseError, OSError))
            reason = str(error) if is_told else f'{type(error).__name__}: {error}'.rstrip(': ')
            raise PoseError(
                f'the evaluation after epoch {epoch} failed: {reason}; {self._what_is_there()} (--resume auto repeats '
                'the evaluation, TRAIN.EVAL_EPOCHS=0 leaves it out)') from error
        self.save_state()
        if self.stopped_early:
            self.say(f'early stop: no gain in {train.EARLY_STOP} evaluations; the best is {self._main_metric} '
                     f'{progress.best_ap:.4f} of epoch {progress.best_epoch}')

    def _evaluate(self, epoch: int) -> None:
        started = time.perf_counter()
        self._fill_evaluation_network()
        metrics = self.evaluation.measure(self.evaluation_network).metrics
        progress = self.progress
        value = metrics[self._main_metric]
        is_best = progress.best_ap is None or value > progress.best_ap
        progress.evaluations_without_gain = 0 if is_best else progress.evaluations_without_gain + 1
        progress.evaluated_step = progress.step
        # Only a checkpoint that was written counts as the best: otherwise a failed write would leave none of the best.
        if is_best and (not self.processes.is_first or self._attempt(
                lambda: save_checkpoint(self.files.best, self.evaluation_network, self.config))):
            progress.best_ap, progress.best_epoch = value, epoch
        # Metrics may differ in the last bit between servers; early stopping has to decide alike on all of them.
        vars(progress).update(vars(share_progress(progress, self.processes)))
        seconds = time.perf_counter() - started
        self.say(f'epoch: {epoch} {self._main_metric}: {value:.4f} with {self.evaluation.box_report.source}'
                 f'{" (best so far)" if is_best else ""}, evaluated in {seconds:.1f} s')
        self.log.write(epoch=epoch, step=self.steps_per_epoch, **metrics)

    def _result(self) -> dict:
        """Return the resulting weights, {name: parameter}: the running average if there is one."""
        if self.step.average is None:
            return named_parameters(self.network)
        return dict(zip(named_parameters(self.network), self.step.average.averages))

    def _fill_evaluation_network(self) -> None:
        target = named_parameters(self.evaluation_network)
        for name, parameter in self._result().items():
            target[name].set_data(Tensor(parameter.asnumpy().copy()))
        broadcast_parameters(target, self.processes)

    def save_weights(self, *, must: bool) -> None:
        """Write the checkpoint of weights; a failure ends the run only if `must` is True."""
        if self.processes.is_first and self._attempt(
                lambda: save_checkpoint(self.files.ckpt, self._result(), self.config), must=must):
            self.saved_weights_step = self.progress.step

    def _keep_weights(self, epoch: int) -> None:
        """Write the weights of an epoch to a separate file, and remove the oldest beyond TRAIN.KEEP_CHECKPOINTS."""
        if not self.processes.is_first or not self._attempt(
                lambda: save_checkpoint(self.files.of_epoch(epoch), self._result(), self.config)):
            return
        keep = self.config.TRAIN.KEEP_CHECKPOINTS
        for path in self.files.of_epochs[:-keep] if keep else ():
            self._attempt(lambda: os.remove(path))  # noqa: B023  it is called at once

    def save_state(self, *, must: bool = False) -> None:
        """Write the state from which the run can be resumed; a failure ends the run only if `must` is True."""
        if self.processes.is_first and self._attempt(lambda: self.states.save(self._state, self.progress), must=must):
            self._saved_step = self.progress.step
        self._last_save = time.monotonic()

    def _attempt(self, write: Callable[[], object], *, must: bool = False) -> bool:
        try:
            write()
            return True
        except OSError as error:
            if must:
                raise
            newest = next(iter(self.states.paths()), 'none')
            self.say(f'warning: {error}; the run goes on, the newest whole state is {newest}')
            return False

    def finish(self) -> None:
        """Write the last state and checkpoint, and check that all processes hold the same weights.

        The state comes first, since a run can be resumed from it and it holds the weights as well. The checkpoint takes
        a third of the space, so it may still fit on the disk if the state does not.

        Raises:
            RuntimeError: the weights differ among the processes.
            OSError, PoseError: the last checkpoint or state cannot be written; the message says which files exist.
        """
        trained = {name: parameter for name, parameter in named_parameters(self.network).items()
                   if parameter.requires_grad}
        sums = [int(part[0, 0]) for part in gather_rows(np.array([[digest(trained)]], np.int64), self.processes)]
        broadcast_parameters(named_parameters(self.network), self.processes)
        problems = []
        for save in [self.save_state] * (self._saved_step != self.progress.step) + [self.save_weights]:
            try:
                save(must=True)
            except (OSError, PoseError) as error:
                problems.append(error)
        if problems:
            kind = OSError if any(isinstance(error, OSError) for error in problems) else PoseError
            raise kind(f'{"; ".join(map(str, problems))}; {self._what_is_there()}')
        if len(set(sums)) > 1:
            raise RuntimeError('the processes ended with different weights: checksums '
                               + ', '.join(f'{value:08x}' for value in sums))
        if self.processes.size > 1:
            self.say(f'weights: checksum {digest(named_parameters(self.network)):08x} on process '
                     f'{self.processes.rank} of {self.processes.size}')

    def _what_is_there(self) -> str:
        """Return which weights and which state are on the disk."""
        if not self.processes.is_first:
            return 'weights and state are those of process 0'
        ckpt, step = self.files.ckpt, self.saved_weights_step
        if step == self.progress.step:
            weights = f'the weights of step {step} are in {ckpt}'
        elif step is not None:
            weights = f'{ckpt} holds the weights of step {step}'
        else:
            weights = f'{ckpt} is that of an earlier start' if os.path.exists(ckpt) else f'there is no {ckpt}'
        newest = next(iter(self.states.paths()), None)
        return f'{weights}, ' + (f'the newest whole state is {newest}' if newest else 'there is no whole state')

    def what_is_left(self, was_stopped: bool) -> str:
        """Return how to resume the run, for the last line; '' if the run is complete."""
        total = self.config.TRAIN.END_EPOCH * self.steps_per_epoch
        if self.stopped_early or self.progress.step >= total:
            return ''
        why = 'stopped' if was_stopped else 'ended'
        return f' ({why} after step {self.progress.step} of {total}; --resume auto goes on)'

    def draw_curve(self) -> None:
        """Draw the training curve; if that fails, as without matplotlib, print a note."""
        if not self.processes.is_first or not os.path.isfile(self.files.metrics):
            return
        try:
            draw_loss_curve(self.files.metrics, self.files.curve, title=os.path.basename(self.files.stem))
        except Exception as error:  # noqa: BLE001  the run is over and its files are there, whatever matplotlib misses
            self.say(f'note: no picture of the training curve: {error}')
