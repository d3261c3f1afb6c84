"""One training step as one graph, and the loop around it."""
import json
import math
import sys
import time
from typing import Callable, Iterable, Sequence

import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore import dtype as mstype
from tqdm import tqdm


class LossGraph(nn.Cell):
    """The crops and joints of a batch -> its loss.

    Args:
        normaliser: pixels -> network input.
        network: has `training_outputs(images)`.
        targets: (joints, validity) -> what the loss takes after the outputs.
        loss: (outputs, *targets) -> scalar.
    """

    def __init__(self, normaliser: nn.Cell, network: nn.Cell, targets: nn.Cell, loss: nn.Cell):
        # The parameters keep the names that they have in the network alone.
        super().__init__(auto_prefix=False)
        self.normaliser, self.network, self.targets, self.loss = normaliser, network, targets, loss

    def construct(self, pixels, joints, validity):
        """Return the loss of pixels (N, H, W, 3) uint8, joints (N, K, 2) and validity (N, K) float32."""
        labels, weights = self.targets(joints, validity)
        return self.loss(self.network.training_outputs(self.normaliser(pixels)), labels, weights)


_adam_update = ops.MultitypeFuncGraph('adam_update')


@_adam_update.register('Function', 'Number', 'Number', 'Number', 'Tensor', 'Tensor', 'Tensor', 'Tensor', 'Tensor',
                       'Tensor', 'Tensor', 'Tensor')
def _update_one(adam, decay, beta1, beta2, beta1_power, beta2_power, rate, eps, parameter, moment1, moment2, gradient):
    if decay > 0:
        gradient = gradient + decay * parameter
    return adam(parameter, moment1, moment2, beta1_power, beta2_power, rate, beta1, beta2, eps, gradient)


class TorchAdam(nn.Optimizer):
    """Adam with PyTorch's place of epsilon: behind the bias correction, lr * m' / (sqrt(v') + eps).

    MindSpore's own Adam has it before, which makes the first steps of small gradients (Simple Baselines' loss is
    about 1e-3) several times shorter than the published ones.

    Args:
        parameters: to be trained.
        rates: learning rate of every step of the run, (steps,).
        weight_decay: coupled, i.e. added to the gradient, on all parameters.
        first_step: index into `rates` of the first step that is taken.
    """

    def __init__(self, parameters: Sequence[Parameter], rates: np.ndarray, *, weight_decay: float = 0.0,
                 first_step: int = 0, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8):
        super().__init__(0.0, parameters)
        self.beta1, self.beta2, self.eps, self.decay = beta1, beta2, eps, weight_decay
        self.rates = Tensor(np.asarray(rates, np.float32))
        self.step_index = Parameter(Tensor(first_step, mstype.int32), name='step_index', requires_grad=False)
        self.beta1_power = Parameter(Tensor(1.0, mstype.float32), name='beta1_power', requires_grad=False)
        self.beta2_power = Parameter(Tensor(1.0, mstype.float32), name='beta2_power', requires_grad=False)
        self.moment1 = self._parameters.clone(prefix='moment1', init='zeros')
        self.moment2 = self._parameters.clone(prefix='moment2', init='zeros')
        self.adam = ops.Adam()
        # A loop over hundreds of parameters would exceed the depth that the graph compiler allows.
        self.map = ops.HyperMap()

    def construct(self, gradients):
        rate = ops.gather(self.rates, self.step_index, 0)
        beta1_power = self.beta1_power * self.beta1
        beta2_power = self.beta2_power * self.beta2
        # The kernel divides m by sqrt(v) + eps and corrects the rate; scaled like this, its epsilon is PyTorch's.
        eps = self.eps * ops.sqrt(1.0 - beta2_power)
        update = ops.partial(_adam_update, self.adam, self.decay, self.beta1, self.beta2, beta1_power, beta2_power,
                             rate, eps)
        done = self.map(update, self._parameters, self.moment1, self.moment2, gradients)
        done = ops.depend(done, ops.assign(self.beta1_power, beta1_power))
        done = ops.depend(done, ops.assign(self.beta2_power, beta2_power))
        return ops.depend(done, ops.assign_add(self.step_index, Tensor(1, mstype.int32)))


class TrainStep(nn.Cell):
    """One optimiser step: a batch -> its loss before the step."""

    def __init__(self, loss_graph: nn.Cell, optimizer: nn.Optimizer):
        super().__init__(auto_prefix=False)
        self.loss_graph, self.optimizer = loss_graph, optimizer
        self.value_and_gradients = ops.value_and_grad(loss_graph, None, optimizer.parameters)

    def construct(self, *batch):
        loss, gradients = self.value_and_gradients(*batch)
        return ops.depend(loss, self.optimizer(gradients))


class NonFiniteLossError(ArithmeticError):
    """A step had a loss of NaN or infinity."""


def train(step: TrainStep, batches: Iterable[tuple], *, rates: np.ndarray, steps_per_epoch: int, first_step: int = 0,
          metrics_path: str = '', on_epoch_end: Callable[[], None] = lambda: None,
          describe_rows: Callable[[np.ndarray], str] = str) -> float:
    """Run `step` over all batches, print the classic lines and, on a terminal, a bar with the remaining time.

    Args:
        step: the compiled step, in training mode.
        batches: tuples of NumPy arrays (pixels, joints, validity, rows).
        rates: learning rate of every step of the run.
        steps_per_epoch, first_step: where in the run the first batch lies.
        metrics_path: JSON-lines file that gets epoch, step, loss, rate and seconds of every step; '' for none.
        on_epoch_end: called after the last step of every epoch, e.g. to save.
        describe_rows: says which samples the rows of a batch are, for the message of a non-finite loss.

    Returns:
        The last loss.

    Raises:
        NonFiniteLossError: naming epoch, step, learning rate, and what was in the batch.
    """
    step.set_train(True)
    loss = math.nan
    epoch_start = step_start = time.perf_counter()
    metrics = open(metrics_path, 'a' if first_step else 'w', encoding='utf-8') if metrics_path else None  # noqa: SIM115  closed below
    bar = tqdm(total=len(rates), initial=first_step, unit='step', disable=not sys.stderr.isatty(), smoothing=0.05)
    try:
        for index, (pixels, joints, validity, rows) in enumerate(batches, start=first_step):
            loss = float(step(Tensor(pixels), Tensor(joints), Tensor(validity)).asnumpy())
            epoch, within = index // steps_per_epoch + 1, index % steps_per_epoch + 1
            if not math.isfinite(loss):
                raise NonFiniteLossError(
                    f'the loss is {loss} at epoch {epoch}, step {within}, learning rate {rates[index]:g}; pixels '
                    f'{pixels.min()} to {pixels.max()}, joints {joints.min():g} to {joints.max():g}, '
                    f'validity {np.unique(validity).tolist()}; batch: {describe_rows(rows)}. '
                    'A lower learning rate or other start weights may help.')
            now = time.perf_counter()
            tqdm.write(f'epoch: {epoch} step: {within}, loss is {loss:.6g}')
            bar.update()
            if metrics:
                metrics.write(json.dumps({'epoch': epoch, 'step': within, 'loss': loss, 'lr': float(rates[index]),
                                          'seconds': round(now - step_start, 4)}) + '\n')
                metrics.flush()
            if within == steps_per_epoch:
                elapsed = now - epoch_start
                tqdm.write(f'Epoch time: {1000 * elapsed:.3f} ms, per step time: '
                           f'{1000 * elapsed / steps_per_epoch:.3f} ms')
                on_epoch_end()
                epoch_start = time.perf_counter()
            step_start = time.perf_counter()
    finally:
        bar.close()
        if metrics:
            metrics.close()
    return loss
