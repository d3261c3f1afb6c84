"""Weights that stay as they are, activations that are computed again, and what a log is told."""
import numpy as np
import pytest
from golden_data import small_simple_pose
from mindspore import Tensor, nn, ops

from src.checkpoints.names import named_parameters
from src.config import load_recipe
from src.evaluation.predict import describe_progress
from src.models.common.blocks import BatchNorm, freeze_weights, recompute_blocks
from src.models.mspn.network import Bottleneck
from src.models.registry import build_network, model_of
from src.training.loop import StepTime, describe_pace
from src.training.setup import _freeze


def test_the_trunk_of_every_network_is_all_but_its_heads():
    mspn = build_network('mspn_1stg', num_keypoints=3, input_shape=(32, 32))
    for recipe, network, left in (
            ('simplepose_r50_coco_256x192', small_simple_pose(), ('deconv_layers', 'final_layer')),
            ('mspn_2stg_coco_256x192', mspn, ('stage0.upsample',))):
        _freeze(network, 'trunk', model_of(load_recipe(recipe)).trunk)
        trained = [name for name, each in named_parameters(network).items() if each.requires_grad]
        assert trained and all(name.startswith(left) for name in trained)
        frozen = set(named_parameters(network)) - set(trained)
        assert {name for name in frozen if name.startswith(left)} <= {
            name for name in frozen if name.endswith(('moving_mean', 'moving_variance'))}


def test_patterns_of_names(capsys):
    network = small_simple_pose()
    _freeze(network, 'conv1.*, layer1.*', 'x')
    frozen = {name for name, each in named_parameters(network).items()
              if not each.requires_grad and not name.endswith(('moving_mean', 'moving_variance'))}
    assert frozen and all(name.startswith(('conv1.', 'layer1.')) for name in frozen)
    assert 'are trained' in capsys.readouterr().out
    with pytest.raises(ValueError, match='TRAIN.FREEZE: no parameter is called layer9.*; known are trunk and'):
        _freeze(small_simple_pose(), 'layer9.*', 'x')
    with pytest.raises(ValueError, match='leaves nothing to train'):
        _freeze(small_simple_pose(), '*', 'x')


class Blocks(nn.Cell):
    """Two bottlenecks on 4 channels and their mean square."""

    def __init__(self):
        super().__init__()
        self.first = Bottleneck(4, 1, stride=1, project=True)
        self.second = Bottleneck(4, 1, stride=1, project=False)
        rng = np.random.default_rng(0)
        for _, each in self.parameters_and_names():
            if each.requires_grad and each.ndim > 1:
                each.set_data(Tensor(rng.standard_normal(each.shape).astype(np.float32)))

    def construct(self, x):
        return ops.ReduceMean()(ops.square(self.second(self.first(x))))


def step(change=lambda network: None):
    network = Blocks()
    change(network)
    network.set_train(True)
    x = Tensor(np.random.default_rng(1).standard_normal((2, 4, 3, 3)).astype(np.float32))
    loss, gradients = ops.value_and_grad(network, None, network.trainable_params())(x)
    return network, float(loss), [each.asnumpy() for each in gradients]


def test_what_is_computed_again_changes_no_number():
    """Neither the gradients nor the statistics, which would move twice."""
    plain, loss, gradients = step()
    again, its_loss, its_gradients = step(lambda network: recompute_blocks(network))
    assert its_loss == loss
    for one, other in zip(gradients, its_gradients):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)
    for name, each in named_parameters(plain).items():
        np.testing.assert_array_equal(each.asnumpy(), named_parameters(again)[name].asnumpy(), err_msg=name)
    assert recompute_blocks(Blocks()) == 2 and recompute_blocks(nn.Conv2d(1, 1, 1)) == 0


def test_a_frozen_batch_norm_keeps_and_uses_its_statistics():
    frozen, _, gradients = step(lambda network: freeze_weights(
        network, [name for name in named_parameters(network) if name.startswith('first.')]))
    free, _, all_gradients = step()
    assert len(gradients) < len(all_gradients)
    for name, each in named_parameters(frozen).items():
        if name.endswith('moving_mean'):
            assert (each.asnumpy() == 0).all() == name.startswith('first.'), name
    assert isinstance(frozen.first.conv_bn_relu1.bn, BatchNorm)


def test_what_a_log_is_told():
    times = [StepTime(0.5, 0.1, 8)] * 4
    assert describe_pace(times, 0.001, 7200) == 'rate 0.001, 16.0 FPS, 1:00:00 left, 20% waiting for data'
    assert describe_progress(1024, 104125, 30.0) == '1024 of 104125 people, 30 s, 34 people/s'
    assert describe_progress(60, 104125, 30.0) == '60 of 104125 people, 30 s, 2.00 people/s'
