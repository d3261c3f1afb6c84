"""Adam as used for the published models, gradient clipping, and the running average of weights."""
from typing import Dict, Sequence

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops
from mindspore import dtype as mstype

_adam_update = ops.MultitypeFuncGraph('adam_update')


@_adam_update.register('Function', 'Number', 'Number', 'Number', 'Tensor', 'Tensor', 'Tensor', 'Tensor', 'Tensor',
                       'Tensor', 'Tensor', 'Tensor')
def _update_one(adam, decay, beta1, beta2, beta1_power, beta2_power, rate, eps, parameter, moment1, moment2, gradient):
    if decay > 0:
        gradient = gradient + decay * parameter
    return adam(parameter, moment1, moment2, beta1_power, beta2_power, rate, beta1, beta2, eps, gradient)


class TorchAdam(nn.Optimizer):
    """Adam with epsilon where PyTorch adds it: after the bias correction, lr * m' / (sqrt(v') + eps).

    MindSpore's own Adam adds it before, which makes the first steps several times shorter than the published ones if
    gradients are small (the loss of Simple Baselines is about 1e-3).

    Args:
        parameters: the parameters to train.
        rates: learning rate of every step of the run, (steps,).
        weight_decay: L2 penalty: decay times parameter is added to the gradient, for all parameters.
        first_step: index into `rates` of the first step.
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
        self.one = Tensor(1, mstype.int32)
        self.adam = ops.Adam()
        # Not a loop: over hundreds of parameters it would exceed the depth that the graph compiler allows.
        self.map = ops.HyperMap()

    def construct(self, gradients):
        rate = ops.gather(self.rates, self.step_index, 0)
        beta1_power = self.beta1_power * self.beta1
        beta2_power = self.beta2_power * self.beta2
        # The kernel divides m by sqrt(v) + eps and puts the bias correction into the rate. Scaled like this, epsilon
        # has the same effect as in PyTorch.
        eps = self.eps * ops.sqrt(1.0 - beta2_power)
        update = ops.partial(_adam_update, self.adam, self.decay, self.beta1, self.beta2, beta1_power, beta2_power,
                             rate, eps)
        done = self.map(update, self._parameters, self.moment1, self.moment2, gradients)
        done = ops.depend(done, ops.assign(self.beta1_power, beta1_power))
        done = ops.depend(done, ops.assign(self.beta2_power, beta2_power))
        return ops.depend(done, self.skip())

    def skip(self):
        """Count a step without an update, so that the next step takes the next learning rate."""
        return ops.assign_add(self.step_index, self.one)

    def state(self, names: Sequence[str]) -> Dict[str, Parameter]:
        """Return the state of this optimiser, {name: parameter}.

        Args:
            names: names of the trained parameters, in their order.
        """
        return {'step_index': self.step_index, 'beta1_power': self.beta1_power, 'beta2_power': self.beta2_power,
                **{f'moment1.{name}': moment for name, moment in zip(names, self.moment1)},
                **{f'moment2.{name}': moment for name, moment in zip(names, self.moment2)}}


_square_sum = ops.MultitypeFuncGraph('square_sum')
_scaled = ops.MultitypeFuncGraph('scaled')
_averaged = ops.MultitypeFuncGraph('averaged')


@_square_sum.register('Tensor')
def _square_sum_of_one(gradient):
    return ops.sum(gradient * gradient)


@_scaled.register('Tensor', 'Tensor')
def _scale_one(factor, gradient):
    return gradient * factor


@_averaged.register('Tensor', 'Tensor', 'Tensor')
def _average_one(share, average, weight):
    return ops.assign(average, average + share * (weight - average))


class GradientScale(nn.Cell):
    """Multiply all gradients by one factor."""

    def __init__(self):
        super().__init__(auto_prefix=False)
        self.map = ops.HyperMap()

    def construct(self, gradients, factor):
        return self.map(ops.partial(_scaled, factor), gradients)


class ClipByGlobalNorm(nn.Cell):
    """Scale the gradients so that their global L2 norm is at most `max_norm`, as PyTorch's `clip_grad_norm_` does.

    With `max_norm` 0 nothing is clipped.
    """

    def __init__(self, max_norm: float):
        super().__init__(auto_prefix=False)
        self.max_norm, self.map, self.scale = max_norm, ops.HyperMap(), GradientScale()

    def construct(self, gradients):
        if self.max_norm <= 0:
            return gradients
        norm = ops.sqrt(ops.addn(self.map(_square_sum, gradients)))
        return self.scale(gradients, ops.minimum(self.max_norm / (norm + 1e-6), Tensor(1.0, mstype.float32)))


class WeightAverage(nn.Cell):
    """Exponential moving average of all parameters of a network, including BatchNorm statistics.

    The decay at step n is (1 + n) / (10 + n), at most `decay`, so that the random initial weights soon lose influence.

    Args:
        parameters: {name: parameter} of the network.
        decay: e.g. 0.999.
    """

    def __init__(self, parameters: Dict[str, Parameter], decay: float):
        super().__init__(auto_prefix=False)
        self.decay, self.map = decay, ops.HyperMap()
        self.weights = ParameterTuple(parameters.values())
        self.averages = ParameterTuple([Parameter(Tensor(weight.asnumpy()), name=f'ema.{name}', requires_grad=False)
                                        for name, weight in parameters.items()])

    def construct(self, num_updates):
        count = ops.cast(num_updates, mstype.float32)
        share = 1.0 - ops.minimum((1.0 + count) / (10.0 + count), Tensor(self.decay, mstype.float32))
        return self.map(ops.partial(_averaged, share), self.averages, self.weights)
