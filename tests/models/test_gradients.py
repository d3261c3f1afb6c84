"""Gradients and first training steps of the full-size networks against PyTorch, and that no parameter of a network goes
without a gradient.

Two modes, because they allow different claims. In eval mode (BatchNorm with its running statistics) the function is
well conditioned and every gradient is held to 1e-3. In train mode the statistics of only two people, together with
ReLUs that flip, make float32 chaotic: rerun with MKL-DNN off, the PyTorch original itself misses its own golden norms
by up to 0.56 % (SimplePose r50), 11 % (MSPN, 1 stage), 10 % (2 stages); with one thread instead of two by 0.27 %, 4 %,
5 %; and against its own float64 run by 0.55 %, 15 %, 16 %. So 1e-3 for each tensor is below what float32 can reproduce
there, for any implementation, and the train-mode norms are compared as a whole.
"""
import contextlib
import gc

import mindspore as ms
import numpy as np
import pytest
from golden_data import (
    LOSS_TOLERANCE,
    MSPN_TRAINED,
    TRAINED,
    golden,
    images_of,
    joints_and_validity_of,
    operator_by_operator,
    seeded_network,
    small_mipnet,
    small_mipnet_resnet,
    small_mspn,
    targets_and_loss_of,
)
from mindspore import nn

from src.checkpoints.names import named_parameters, pytorch_names
from src.models.common.gaussian_targets import GaussianTargets
from src.models.common.mse_loss import JointsMSELoss
from src.models.mspn.loss import JointsL2Loss
from src.models.mspn.targets import MSPNTargets
from src.training.optimizers import TorchAdam
from src.training.step import LossGraph, TrainStep

# Of the golden train-mode norms: (deviation of the global norm, median deviation). About twice the distance between
# the golden norms and float64, since we and the golden file may each be that far from the truth. That distance is
# 1.1e-3, 4.2e-4, 8.4e-3 for the global norm and 9.1e-4, 2.8e-4, 5.4e-3 for the median; PyTorch without MKL-DNN is
# 5.9e-4, 5.7e-4, 8.2e-3 and 4.8e-4, 3.6e-4, 7.8e-3 away from its own golden norms.
TRAIN_BOUNDS = {'simplepose_r50_256x192': (2e-3, 2e-3), 'mspn_1stg_256x192': (1e-3, 1e-3),
                'mspn_2stg_256x192': (1.7e-2, 1e-2)}


def _loss_and_norms(network, model, inputs):
    """Return the loss and {PyTorch name: L2 norm of the gradient}."""
    parameters = network.trainable_params()
    loss, gradients = ms.value_and_grad(model, None, parameters)(*inputs)
    return float(loss), _norms_by_name(network, [gradient.asnumpy() for gradient in gradients])


def _norms_by_name(network, gradients):
    """Return {PyTorch name: L2 norm} of the gradients of the network's trained parameters, in their order."""
    place = {id(parameter): name for name, parameter in named_parameters(network).items()}
    names = pytorch_names(network)
    return {names[place[id(parameter)]]: np.linalg.norm(gradient.astype(np.float64))
            for parameter, gradient in zip(network.trainable_params(), gradients)}


def _take_steps(name, network, model):
    """Return the losses before three training steps, and the gradient norms of the first."""
    is_mspn = name in MSPN_TRAINED
    decay = 1e-5 if is_mspn else 0.0
    optimizer = TorchAdam(network.trainable_params(), np.full(3, 5e-4 if is_mspn else 1e-3), weight_decay=decay)
    step = TrainStep(model, optimizer)
    step.set_train()
    before = [parameter.asnumpy().copy() for parameter in network.trainable_params()]
    batch = (images_of(name), *joints_and_validity_of(name))
    losses = [step(*batch).loss]
    # Adam's first moment is now the part 1 - beta1 of what it was given, decay of the weights included.
    norms = _norms_by_name(network, [moment.asnumpy() / (1 - optimizer.beta1) - decay * weights
                                     for moment, weights in zip(optimizer.moment1, before)])
    return losses + [step(*batch).loss for _ in range(2)], norms


def _deviations(norms, names, reference):
    """Relative to the larger of the norm and 1e-6 of the largest norm."""
    mine = np.array([norms[name] for name in names])
    return np.abs(mine - reference) / np.maximum(reference, 1e-6 * reference.max())


def _global_norm(norms):
    return np.sqrt(np.sum(np.square(norms)))


@pytest.fixture(scope='module', params=[name for name in TRAINED if not name.startswith('mspn_1stg')])
def gradients(request):
    """Return (golden name, eval-mode loss and norms, losses of the first training steps and norms of the first); one
    network serves both. All parameters of an MSPN of one stage are in one of two stages."""
    name = request.param
    network = seeded_network(name)
    inputs = [ms.Tensor(array) for array in (images_of(name), *joints_and_validity_of(name))]
    # The golden inputs are normalised already.
    model = LossGraph(nn.Identity(), network, *targets_and_loss_of(name)).set_train(False)
    # Eval mode first: training changes the weights and the running statistics. One network proves the gradients of a
    # compiled graph; MSPN's takes long to compile, and the training steps compile it once more.
    with operator_by_operator() if name in MSPN_TRAINED else contextlib.nullcontext():
        in_eval = _loss_and_norms(network, model, inputs)
    in_train = _take_steps(name, network, model)
    del network, model
    gc.collect()
    return name, in_eval, in_train


def test_every_eval_mode_gradient_equals_pytorch(gradients):
    """Strict: each parameter's norm within 1e-3 of the float64 norm of the PyTorch function. Eval mode is where this
    can be asked; see the head of this file for train mode."""
    name, (loss, norms), _ = gradients
    reference = golden(name)
    assert loss == pytest.approx(float(reference['loss_eval_float64']), rel=LOSS_TOLERANCE)
    published = reference['loss_eval_ohkm1_ctf1' if name in MSPN_TRAINED else 'loss_eval']
    assert loss == pytest.approx(float(published), rel=LOSS_TOLERANCE)
    names = reference['grad_names'].tolist()
    assert set(norms) == set(names)
    deviations = _deviations(norms, names, reference['grad_norms_eval_float64'])
    assert deviations.max() <= 1e-3, f'{names[deviations.argmax()]} is off by {deviations.max():.2e}'


def test_train_mode_gradients_agree_with_the_golden_ones_as_far_as_float32_allows(gradients):
    """Loose where it must be: the original itself, rerun in another setting, misses single golden norms by up to 11 %
    (see the head of this file), so the global norm and the median deviation are compared.

    Convolution biases in front of a BatchNorm are left out of the median: their true gradient is zero, the golden norms
    are rounding errors. All of MSPN's convolution biases are such.
    """
    name, _, (_, norms) = gradients
    reference = golden(name)
    pairs = dict(zip(reference['grad_names'].tolist(), reference['grad_norms']))
    assert set(norms) == set(pairs)
    golden_norms = np.array(list(pairs.values()))
    mine = np.array([norms[key] for key in pairs])
    global_bound, median_bound = TRAIN_BOUNDS[name]
    assert _global_norm(mine) == pytest.approx(_global_norm(golden_norms), rel=global_bound)
    with_gradient = np.array([not key.endswith('.conv.bias') for key in pairs])
    assert np.median(_deviations(norms, list(pairs), golden_norms)[with_gradient]) <= median_bound
    # What is zero in truth must be small here too.
    assert np.all(mine[~with_gradient] <= 1e-3 * golden_norms.max())


def test_first_losses_of_the_trace(gradients):
    """The first loss checks the forward pass, the second and third the optimiser too.

    Batch statistics over two people are chaotic. The PyTorch original differs from its own trace, run with one thread
    instead of two or with MKL-DNN off, by up to 5e-4 in the second loss and 3e-3 in the third; only the first can be
    held to the strict tolerance. Without the optimiser's own rules (decay, place of epsilon) the second would be off
    by far more.
    """
    name, _, (losses, _) = gradients
    expected = golden(name)['loss_trace'][:3]
    deviations = np.abs(np.array(losses) - expected) / expected
    assert (deviations <= [LOSS_TOLERANCE, 1e-3, 5e-3]).all(), deviations


@pytest.mark.parametrize('build, people', [(small_mspn, 1), (small_mipnet, 2), (small_mipnet_resnet, 2)])
def test_every_parameter_gets_a_finite_gradient(build, people):
    """All of HRNet's and of SimplePoseNet's are in a MIPNet."""
    network = build()
    if build is small_mspn:
        targets, loss = MSPNTargets((64, 64), (16, 16)), JointsL2Loss()
    else:
        targets, loss = GaussianTargets((64, 64), (16, 16), 2), JointsMSELoss()
    rng = np.random.default_rng(0)
    inputs = [ms.Tensor(rng.standard_normal((3, 3, 64, 64)).astype(np.float32)),
              ms.Tensor(rng.uniform(8, 56, (3 * people, 17, 2)).astype(np.float32)),
              ms.Tensor(np.ones((3 * people, 17), np.float32))]
    model = LossGraph(nn.Identity(), network, targets, loss).set_train(True)
    value, norms = _loss_and_norms(network, model, inputs)
    assert np.isfinite(value)
    assert set(norms) == {name for name in pytorch_names(network).values() if '.running_' not in name}
    assert np.all(np.isfinite(list(norms.values())))
    # A bias in front of a BatchNorm has a gradient of zero, anything else of zero is cut off from the loss.
    cut_off = [name for name, norm in norms.items() if norm == 0 and not name.endswith('.conv.bias')]
    assert not cut_off
