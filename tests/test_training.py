"""The training step against the first steps of the originals, and the loop's promises."""
import json

import numpy as np
import pytest
from golden_data import LOSS_TOLERANCE, TRAINED, golden, images_of, joints_and_validity_of, seeded_network
from golden_data import small_simple_pose, targets_and_loss_of
from mindspore import Tensor, nn

from src.training import LossGraph, NonFiniteLossError, TorchAdam, TrainStep, train


class Identity(nn.Cell):
    """The golden inputs are normalised already."""

    def construct(self, images):
        return images


@pytest.mark.parametrize('name', TRAINED)
def test_first_losses_of_the_trace(name):
    """The first loss checks the forward pass, the second and third the optimiser too.

    Batch statistics over two people are chaotic. The PyTorch original differs from its own trace, run with one thread
    instead of two or with MKL-DNN off, by up to 5e-4 in the second loss and 3e-3 in the third; only the first can be
    held to the strict tolerance. Without the optimiser's own rules (decay, place of epsilon) the second would be off
    by far more.
    """
    numbers = golden(name)
    network = seeded_network(name)
    targets, loss = targets_and_loss_of(name)
    graph = LossGraph(Identity(), network, targets, loss)
    is_mspn = name.startswith('mspn')
    rates = np.full(3, 5e-4 if is_mspn else 1e-3)
    step = TrainStep(graph, TorchAdam(network.trainable_params(), rates, weight_decay=1e-5 if is_mspn else 0.0))
    step.set_train(True)
    joints, validity = joints_and_validity_of(name)
    batch = Tensor(images_of(name)), Tensor(joints), Tensor(validity)
    losses = np.array([float(step(*batch).asnumpy()) for _ in range(3)])
    expected = numbers['loss_trace'][:3]
    deviations = np.abs(losses - expected) / expected
    assert (deviations <= [LOSS_TOLERANCE, 1e-3, 5e-3]).all(), deviations
