"""One training step: loss, gradients, their mean over batches and devices, update.

The stages in order, each used only if the recipe asks for it: loss scaling (mixed precision), accumulation over several
batches, mean over devices, clipping, optimiser, running average of the weights.
"""
from typing import Dict, NamedTuple, Optional, Sequence

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, amp, nn, ops
from mindspore import dtype as mstype

from ..checkpoints.names import named_parameters
from .optimizers import ClipByGlobalNorm, GradientScale, TorchAdam, WeightAverage

_to_float32 = ops.MultitypeFuncGraph('to_float32')


@_to_float32.register('Tensor')
def _tensor_to_float32(value):
    return ops.cast(value, mstype.float32)


class LossGraph(nn.Cell):
    """The crops and joints of a batch -> its loss.

    Args:
        normaliser: pixels -> network input.
        network: has `training_outputs(images)`.
        targets: (joints, validity) -> (labels, weights), the further arguments of the loss.
        loss: (outputs, *targets) -> scalar.
    """

    def __init__(self, normaliser: nn.Cell, network: nn.Cell, targets: nn.Cell, loss: nn.Cell):
        # No prefix: the parameters keep the names that they have in the network by itself.
        super().__init__(auto_prefix=False)
        self.normaliser, self.network, self.targets, self.loss = normaliser, network, targets, loss
        self.map = ops.HyperMap()

    def construct(self, pixels, joints, validity):
        """Return the loss of pixels (N, H, W, 3) uint8, joints (N, K, 2) and validity (N, K) float32; with I people
        in a crop, joints are (N, I, K, 2) and validity (N, I, K)."""
        labels, weights = self.targets(joints, validity)
        outputs = self.network.training_outputs(self.normaliser(pixels))
        # Mixed precision ends here: the loss is computed in float32.
        return self.loss(self.map(_to_float32, outputs), labels, weights)


class ScaledLoss(nn.Cell):
    """A loss graph -> the scaled loss, which is differentiated, and the unscaled loss, which is reported."""

    def __init__(self, loss_graph: nn.Cell):
        super().__init__(auto_prefix=False)
        self.loss_graph = loss_graph

    def construct(self, pixels, joints, validity, factor):
        loss = self.loss_graph(pixels, joints, validity)
        return loss * factor, loss


class StepReport(NamedTuple):
    """The report of a step: the loss before the update, whether the update was skipped because gradients overflowed,
    whether some process was asked to stop, and the loss scale used."""

    loss: float
    skipped: bool
    stop: bool
    loss_scale: float


_add_into = ops.MultitypeFuncGraph('add_into')
_set_zero = ops.MultitypeFuncGraph('set_zero')
_copy_into = ops.MultitypeFuncGraph('copy_into')
_restore_if = ops.MultitypeFuncGraph('restore_if')
_sum_of_two = ops.MultitypeFuncGraph('sum_of_two')


@_add_into.register('Tensor', 'Tensor')
def _add_one(total, gradient):
    return ops.assign_add(total, gradient)


@_set_zero.register('Tensor')
def _zero_one(total):
    return ops.assign(total, ops.zeros_like(total))


@_copy_into.register('Tensor', 'Tensor')
def _copy_one(target, source):
    return ops.assign(target, source)


@_restore_if.register('Tensor', 'Tensor', 'Tensor')
def _restore_one(is_wrong, target, kept):
    return ops.assign(target, ops.where(is_wrong, kept, target))


@_sum_of_two.register('Tensor', 'Tensor')
def _sum_one(total, gradient):
    return total + gradient


class Accumulator(nn.Cell):
    """Sums of the gradients and losses over the parts of a batch, except the last part.

    Args:
        parameters: the trained parameters.
    """

    def __init__(self, parameters: Sequence[Parameter]):
        super().__init__(auto_prefix=False)
        self.gradients = ParameterTuple([Parameter(Tensor(np.zeros(each.shape, np.float32)), name=f'sum.{each.name}',
                                                   requires_grad=False) for each in parameters])
        self.loss = Parameter(Tensor(0.0, mstype.float32), name='sum_of_losses', requires_grad=False)
        self.map = ops.HyperMap()

    def construct(self, loss, gradients):
        """Add the loss and the gradients of one part."""
        done = self.map(_add_into, self.gradients, gradients)
        return ops.depend(done, ops.assign_add(self.loss, loss))

    def take(self, loss, gradients):
        """Return the sums including the last part, and set the stored sums to zero."""
        loss = self.loss + loss
        gradients = self.map(_sum_of_two, self.gradients, gradients)
        loss = ops.depend(loss, gradients)
        done = self.map(_set_zero, ops.depend(self.gradients, loss))
        done = ops.depend(done, ops.assign(self.loss, ops.depend(Tensor(0.0, mstype.float32), done)))
        return ops.depend(loss, done), gradients


class AccumulateStep(nn.Cell):
    """Forward and backward pass of one part of a batch; its loss and gradients go to the accumulator."""

    def __init__(self, value_and_gradients, accumulator: Accumulator, scaler: Optional[amp.DynamicLossScaler]):
        super().__init__(auto_prefix=False)
        self.value_and_gradients, self.accumulator, self.scaler = value_and_gradients, accumulator, scaler

    def construct(self, pixels, joints, validity, share):
        factor = share if self.scaler is None else share * self.scaler.scale_value
        (_, loss), gradients = self.value_and_gradients(pixels, joints, validity, factor)
        return self.accumulator(loss * share, gradients)


class UpdateStep(nn.Cell):
    """The last part of a batch: computes its gradients, updates the weights, returns `StepReport` as (4,) float32."""

    def __init__(self, value_and_gradients, optimizer: nn.Cell, *, accumulator: Optional[Accumulator],
                 scaler: Optional[amp.DynamicLossScaler], clip_norm: float, average: Optional[WeightAverage],
                 num_processes: int):
        super().__init__(auto_prefix=False)
        self.value_and_gradients, self.optimizer, self.accumulator = value_and_gradients, optimizer, accumulator
        self.scaler, self.average, self.num_processes = scaler, average, num_processes
        self.unscale, self.clip = GradientScale(), ClipByGlobalNorm(clip_norm)
        self.zero, self.one = Tensor(0.0, mstype.float32), Tensor(1.0, mstype.float32)
        if num_processes > 1:
            self.mean = nn.DistributedGradReducer(optimizer.parameters, mean=True, degree=num_processes)
            self.sum = ops.AllReduce()

    def _update(self, gradients):
        done = self.optimizer(self.clip(gradients))
        if self.average is not None:
            done = ops.depend(done, self.average(ops.depend(self.optimizer.step_index, done)))
        return ops.depend(self.one, done)

    def construct(self, pixels, joints, validity, share, stop):
        scale = self.one if self.scaler is None else self.scaler.scale_value
        (_, loss), gradients = self.value_and_gradients(pixels, joints, validity, share * scale)
        loss = loss * share
        if self.accumulator is not None:
            loss, gradients = self.accumulator.take(loss, gradients)
        overflow = self.zero
        if self.scaler is not None:
            overflow = 1.0 - ops.cast(amp.all_finite(gradients), mstype.float32)
        if self.num_processes > 1:
            gradients = self.mean(gradients)
            # Summed over all processes, so that all of them decide alike. `overflow` and `stop` are above 0 if any is.
            told = self.sum(ops.stack((loss / self.num_processes, overflow, stop)))
            loss, overflow, stop = told[0], told[1], told[2]
        if self.scaler is None:
            done = self._update(gradients)
        else:
            # Computed here, before the scaler changes its parameter: a later read of it would give the new scale.
            inverse = 1.0 / scale
            scale = 1.0 / inverse
            gradients = self.unscale(gradients, inverse)
            is_finite = overflow < 0.5
            if is_finite:
                done = self._update(gradients)
            else:
                done = ops.depend(self.one, self.optimizer.skip())
            done = ops.depend(done, self.scaler.adjust(ops.depend(is_finite, (done, scale))))
        return ops.depend(ops.stack((loss, overflow, stop, scale)), done)


class StatisticsKeeper(nn.Cell):
    """Restores BatchNorm's moving statistics after a step that overflowed: its forward pass may have written infinities
    into them. The device decides, so that the next step may be launched before this one has reported.

    Args:
        network: the network with the BatchNorms.
    """

    def __init__(self, network: nn.Cell):
        super().__init__(auto_prefix=False)
        statistics = [each for name, each in named_parameters(network).items()
                      if name.endswith(('moving_mean', 'moving_variance'))]
        self.statistics = ParameterTuple(statistics)
        self.kept = ParameterTuple([Parameter(Tensor(each.asnumpy()), name=f'kept.{each.name}', requires_grad=False)
                                    for each in statistics])
        self.map = ops.HyperMap()

    def construct(self, report=None):
        """Save a copy of the statistics or, given the report of a step, restore them from it if the step overflowed."""
        if report is None:
            return self.map(_copy_into, self.kept, self.statistics)
        return self.map(ops.partial(_restore_if, report[1] > 0.5), self.statistics, self.kept)


class LaunchedStep:
    """A step that the device may still be computing."""

    def __init__(self, report: Tensor):
        self._report = report

    def report(self) -> StepReport:
        """Wait for the end of the step, and return its report."""
        loss, overflow, stop, loss_scale = self._report.asnumpy().tolist()
        return StepReport(loss, overflow > 0.5, stop > 0.5, loss_scale)


class TrainStep:
    """One step of the optimiser on a batch, which is split into parts if gradients are accumulated.

    Args:
        loss_graph: pixels, joints, validity -> loss.
        optimizer: has `parameters`, `step_index` and `skip()`.
        accumulate: number of parts into which the batch of a step is split; their gradients are averaged, weighted by
            their sizes.
        loss_scale: initial scale of the dynamic loss scaling of mixed precision; 0 for none.
        loss_scale_window: steps without overflow after which the scale doubles.
        clip_norm: largest global norm of the gradients; 0 for no limit.
        ema_decay: decay of the running average of the weights; 0 for none.
        network: its weights are averaged and its BatchNorm statistics are protected from overflow.
        num_processes: number of processes over which gradients are averaged.
    """

    def __init__(self, loss_graph: nn.Cell, optimizer: TorchAdam, *, accumulate: int = 1, loss_scale: float = 0.0,
                 loss_scale_window: int = 1000, clip_norm: float = 0.0, ema_decay: float = 0.0,
                 network: Optional[nn.Cell] = None, num_processes: int = 1):
        self.loss_graph, self.optimizer, self.accumulate = loss_graph, optimizer, accumulate
        self.scaler = amp.DynamicLossScaler(loss_scale, 2, loss_scale_window) if loss_scale else None
        self.average = WeightAverage(named_parameters(network), ema_decay) if ema_decay else None
        keeps = loss_scale and network is not None and any(
            isinstance(cell, nn.BatchNorm2d) for _, cell in network.cells_and_names())
        self.keeper = StatisticsKeeper(network) if keeps else None
        scaled = ScaledLoss(loss_graph)
        gradients = ops.value_and_grad(scaled, None, optimizer.parameters, has_aux=True)
        accumulator = Accumulator(optimizer.parameters) if accumulate > 1 else None
        self.accumulate_step = AccumulateStep(gradients, accumulator, self.scaler) if accumulate > 1 else None
        self.update_step = UpdateStep(gradients, optimizer, accumulator=accumulator, scaler=self.scaler,
                                      clip_norm=clip_norm, average=self.average, num_processes=num_processes)

    def set_train(self) -> None:
        """Set training mode: BatchNorm uses the statistics of the batch and updates its moving ones."""
        # The two step cells hold the loss graph inside a gradient function, which their own set_train does not reach.
        for cell in (self.loss_graph, self.accumulate_step, self.update_step):
            if cell is not None:
                cell.set_train(True)

    def __call__(self, *batch: np.ndarray, **settings) -> StepReport:
        """Take one step and wait for it, see `launch`."""
        return self.launch(*batch, **settings).report()

    def launch(self, pixels: np.ndarray, joints: np.ndarray, validity: np.ndarray, *, share: float = 1.0,
               smallest_share: Optional[int] = None, stop: bool = False) -> LaunchedStep:
        """Let the device take one step. On Ascend and GPU it is computed while the host goes on.

        Args:
            pixels: (N, H, W, 3) uint8.
            joints: (N, K, 2) float32, in input pixels; (N, I, K, 2) with I people in a crop.
            validity: (N, K) float32, or (N, I, K).
            share: weight of this process's batch in the mean over processes.
            smallest_share: smallest N among the processes, since all have to run the same number of parts; None: N.
            stop: this process was asked to stop; the reports of all processes then say so.
        """
        count = len(pixels)
        num_parts = min(self.accumulate, count if smallest_share is None else smallest_share)
        parts = list(zip(*(np.array_split(array, num_parts) for array in (pixels, joints, validity))))
        if self.keeper is not None:
            self.keeper()
        for part in parts[:-1]:
            self.accumulate_step(*map(Tensor, part), _scalar(share * len(part[0]) / count))
        last = parts[-1]
        report = self.update_step(*map(Tensor, last), _scalar(share * len(last[0]) / count), _scalar(stop))
        if self.keeper is not None:
            self.keeper(report)
        return LaunchedStep(report)

    def state(self, network: nn.Cell) -> Dict[str, Parameter]:
        """Return everything that the next step depends on, by name: weights, optimiser, loss scale, running average."""
        names_of = {id(parameter): name for name, parameter in named_parameters(network).items()}
        state = {**named_parameters(network),
                 **self.optimizer.state([names_of[id(each)] for each in self.optimizer.parameters])}
        if self.scaler is not None:
            state.update({'loss_scale': self.scaler.scale_value, 'loss_scale_counter': self.scaler.counter})
        if self.average is not None:
            state.update({average.name: average for average in self.average.averages})
        return state


def _scalar(value: float) -> Tensor:
    return Tensor(value, mstype.float32)
