"""MIPNet: sizes, the modulation, hypotheses that share a trunk, and training with all codes in a batch."""
import numpy as np
import pytest
from golden_data import (
    HEATMAP_TOLERANCE,
    MIPNET,
    SMALL_MIPNETS,
    golden,
    hypotheses_of,
    load_seeded,
    needs_full_golden,
    operator_by_operator,
    seeded_input,
    seeded_state,
    small_hrnet,
    small_mipnet,
    small_mipnet_resnet,
    small_simple_pose,
)
from mindspore import Tensor, nn

from src.checkpoints.names import assign_weights, named_parameters, pytorch_names
from src.models.common.blocks import without_initial_values
from src.models.common.mse_loss import JointsMSELoss
from src.models.mipnet.codes import instance_codes
from src.models.mipnet.network import NUM_PARTS, Modulation, ModulationBlock
from src.models.registry import build_network

BATCH_NORM_EPSILON = 1e-5
PUBLISHED, EVERYWHERE, LAST = (False, False, True, True), (True, True, True, True), (False, False, False, True)


@pytest.fixture(name='operator_by_operator')
def run_operator_by_operator():
    """Many variants of a network within the time of one."""
    with operator_by_operator():
        yield


def run(function, *arrays) -> np.ndarray:
    return function(*map(Tensor, arrays)).asnumpy()


def seeded(build, **options) -> nn.Cell:
    with without_initial_values():
        network = build(**options)
    load_seeded(network)
    return network.set_train(False)


# The published numbers

def test_both_hypotheses_equal_pytorch():
    reference = golden(MIPNET)
    for index, heatmaps in enumerate(hypotheses_of(MIPNET)):
        expected, peak = (reference[f'heatmaps_lambda{index}_{part}'] for part in ('every4', 'peak'))
        assert heatmaps[..., ::4, ::4].shape == expected.shape
        assert np.abs(heatmaps[..., ::4, ::4] - expected).max() <= HEATMAP_TOLERANCE * float(peak)


@needs_full_golden
def test_whole_hypotheses_equal_pytorch():
    reference = golden(MIPNET)
    for index, heatmaps in enumerate(hypotheses_of(MIPNET)):
        expected = reference[f'heatmaps_lambda{index}']
        assert np.abs(heatmaps - expected).max() <= HEATMAP_TOLERANCE * np.abs(expected).max()


# name, K, blocks -> (tensors of PyTorch's state, trainable tensors, trainable values, values with running statistics or
# None where the release says nothing of them)
SIZES = [
    ('hrnet_w32', 14, None, 1754, 878, 28_536_014, 28_590_350),
    ('mipnet_hrnet_w32', 17, None, 1809, 918, 28_603_313, 28_657_905),
    ('mipnet_hrnet_w32', 14, None, 1809, 918, 28_603_214, 28_657_806),
    ('mipnet_hrnet_w32', 17, EVERYWHERE, 1864, 958, 28_624_001, 28_678_753),
    ('hrnet_w48', 14, None, 1754, 878, 63_595_598, 63_675_182),
    ('mipnet_hrnet_w48', 17, None, 1809, 918, 63_746_081, 63_826_049),
    ('mipnet_hrnet_w48', 14, None, 1809, 918, 63_745_934, 63_825_902),
    ('mipnet_hrnet_w48', 17, EVERYWHERE, 1864, 958, 63_792_089, 63_872_297),
    ('mipnet_r50', 17, None, 360, 186, 34_986_193, None),
    ('mipnet_r101', 17, None, 666, 339, 53_978_321, None),
    ('mipnet_r101', 14, LAST, 655, 331, 53_779_790, None),
    ('mipnet_r152', 17, None, 972, 492, 69_621_969, None),
]


@pytest.mark.parametrize('name, num_keypoints, se_modules, tensors, trainable, values, all_values', SIZES)
def test_sizes(name, num_keypoints, se_modules, tensors, trainable, values, all_values):
    options = {} if se_modules is None else {'se_modules': se_modules}
    with without_initial_values():
        network = build_network(name, num_keypoints=num_keypoints, input_shape=(256, 192), **options)
    names = list(pytorch_names(network).values())
    # PyTorch also keeps a counter for every BatchNorm.
    assert len(names) + sum(each.endswith('running_mean') for each in names) == tensors
    shapes = [int(np.prod(each.shape)) for each in network.trainable_params()]
    assert (len(shapes), sum(shapes)) == (trainable, values)
    if all_values is not None:
        assert sum(int(np.prod(each.shape)) for each in network.get_parameters()) == all_values


# One block

def block_state(channels: int, seed: int = 0) -> dict:
    """Weights of a block under PyTorch's names."""
    rng, hidden = np.random.default_rng(seed), channels // 4
    shapes = {'fc.0.weight': (hidden, channels), 'fc.2.weight': (channels, hidden), 'fc_lambda.0.weight': (hidden, 2),
              'fc_lambda.0.bias': (hidden,), 'fc_lambda.1.weight': (hidden,), 'fc_lambda.1.bias': (hidden,),
              'fc_lambda.1.running_mean': (hidden,), 'fc_lambda.1.running_var': (hidden,),
              'fc_lambda.3.weight': (channels, hidden), 'fc_lambda.3.bias': (channels,)}
    state = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    state['fc_lambda.1.running_var'] = np.abs(state['fc_lambda.1.running_var']) + 0.1
    return state


def loaded_block(channels: int, state: dict) -> ModulationBlock:
    block = ModulationBlock(channels)
    assert set(pytorch_names(block).values()) == set(state)
    assign_weights(block, {ours: state[plain] for ours, plain in pytorch_names(block).items()})
    return block


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def embedding(state: dict, codes: np.ndarray, statistics=None) -> np.ndarray:
    """z of the paper's release in NumPy, (N, C), with the running statistics or given ones."""
    hidden = codes @ state['fc_lambda.0.weight'].T + state['fc_lambda.0.bias']
    mean, variance = statistics or (state['fc_lambda.1.running_mean'], state['fc_lambda.1.running_var'])
    hidden = (hidden - mean) / np.sqrt(variance + BATCH_NORM_EPSILON)
    hidden = np.maximum(hidden * state['fc_lambda.1.weight'] + state['fc_lambda.1.bias'], 0)
    return sigmoid(hidden @ state['fc_lambda.3.weight'].T + state['fc_lambda.3.bias'])


def excitation(state: dict, x: np.ndarray) -> np.ndarray:
    """y of the release in NumPy, (N, C)."""
    hidden = np.maximum(x.mean((2, 3)) @ state['fc.0.weight'].T, 0)
    return sigmoid(hidden @ state['fc.2.weight'].T)


def test_block(operator_by_operator):
    state, x = block_state(8), seeded_input(1, (3, 8, 5, 4))
    codes = np.float32([[1, 0], [0, 1], [0.3, 0.7]])
    expected = x * (excitation(state, x) * embedding(state, codes))[:, :, None, None]
    modulated = run(loaded_block(8, state).set_train(False), x, codes)
    np.testing.assert_allclose(modulated, expected, rtol=1e-4, atol=1e-6)


def test_batch_norm_of_codes_in_training(operator_by_operator):
    """Balanced codes: plus and minus d / sqrt(d^2 + eps); momentum and the unbiased variance are PyTorch's."""
    state, x = block_state(8), np.ones((4, 8, 2, 2), np.float32)
    state.update({'fc_lambda.0.weight': np.float32([[0.0016, 0.0002], [-1, 2]]), 'fc_lambda.1.weight': np.ones(2),
                  'fc_lambda.1.bias': np.zeros(2), 'fc.2.weight': np.zeros((8, 2))})
    codes = np.float32([[1, 0], [0, 1], [1, 0], [0, 1]])
    block = loaded_block(8, state).set_train(True)
    modulated = run(block, x, codes)
    hidden = codes @ state['fc_lambda.0.weight'].T + state['fc_lambda.0.bias']
    distance = (state['fc_lambda.0.weight'][:, 0] - state['fc_lambda.0.weight'][:, 1]) / 2
    # The first unit is as small as a fresh one: there epsilon decides.
    assert np.abs(distance / np.sqrt(distance ** 2 + BATCH_NORM_EPSILON))[0] < 0.25
    expected = embedding(state, codes, (hidden.mean(0), hidden.var(0)))
    np.testing.assert_allclose(modulated[:, :, 0, 0], 0.5 * expected, rtol=1e-4)
    after = {plain: named_parameters(block)[ours].asnumpy() for ours, plain in pytorch_names(block).items()}
    for name, value in (('running_mean', hidden.mean(0)), ('running_var', hidden.var(0, ddof=1))):
        before = state[f'fc_lambda.1.{name}']
        np.testing.assert_allclose(after[f'fc_lambda.1.{name}'], 0.9 * before + 0.1 * value, rtol=1e-5)


def test_batch_norm_of_codes_over_processes(operator_by_operator):
    """Two processes with the same batch compute what one does with both, running statistics included."""
    state, x, codes = block_state(8), seeded_input(1, (2, 8, 5, 4)), np.eye(2, dtype=np.float32)
    alone, joint = (loaded_block(8, state).set_train(True) for _ in range(2))
    norm = joint.fc_lambda[1]
    norm.num_processes, norm.sum_over_processes = 2, lambda values: 2 * values
    both = run(alone, np.concatenate([x, x]), np.tile(codes, (2, 1)))
    np.testing.assert_allclose(run(joint, x, codes), both[:2], rtol=1e-5)
    for name in ('moving_mean', 'moving_variance'):
        ours, expected = (getattr(block.fc_lambda[1], name).asnumpy() for block in (joint, alone))
        np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_a_batch_of_one_code_cannot_tell_codes_apart(operator_by_operator):
    """Why training mixes the codes."""
    block, x = loaded_block(8, block_state(8)).set_train(True), seeded_input(1, (2, 8, 5, 4))
    one, other = (run(block, x, np.tile(np.float32(code), (2, 1))) for code in ((1, 0), (0, 1)))
    np.testing.assert_allclose(one, other, rtol=1e-3)
    mixed = run(block, x, np.eye(2, dtype=np.float32))
    assert np.abs(mixed - one).max() > 0.01 * np.abs(one).max()


def test_too_few_channels():
    with pytest.raises(ValueError, match='needs at least 4 channels, got 3'):
        ModulationBlock(3)


# Whole networks



@pytest.mark.parametrize('kind', SMALL_MIPNETS)
@pytest.mark.parametrize('se_modules, num_instances', [
    (PUBLISHED, 2), (EVERYWHERE, 4), (LAST, 3), ((False, True, False, True), 2)])
def test_hypotheses_with_a_shared_trunk_equal_separate_calls(kind, se_modules, num_instances, operator_by_operator):
    network = seeded(SMALL_MIPNETS[kind], se_modules=se_modules, num_instances=num_instances)
    images = seeded_input(0, (3, 3, 64, 64))
    together = run(network.hypotheses, images)
    codes = instance_codes(num_instances)
    assert together.shape == (3 * num_instances, 17, 16, 16)
    separate = np.concatenate([run(network, images, np.tile(code, (3, 1))) for code in codes])
    assert np.abs(together - separate).max() <= 1e-5 * np.abs(separate).max()
    np.testing.assert_array_equal(run(network.training_outputs, images), together)
    # More than rounding tells codes apart. (A block of two hidden units may be dead for two of three codes.)
    assert np.abs(together - np.tile(together[:3], (num_instances, 1, 1, 1))).max() > 1e-3 * np.abs(together).max()
    features = network.trunk(Tensor(images))
    assert len(features) == (1 if kind == 'resnet' else (2, 3, 4, 1)[se_modules.index(True)])
    np.testing.assert_allclose(network.modulate(features, Tensor(np.tile(codes[1], (3, 1)))).asnumpy(), separate[3:6],
                               rtol=1e-5, atol=1e-5 * np.abs(separate).max())


@pytest.mark.parametrize('kind', SMALL_MIPNETS)
def test_the_code_acts_through_its_embedding_alone(kind, operator_by_operator):
    """In eval mode a table of one vector per block and code replaces the codes."""
    network = seeded(SMALL_MIPNETS[kind], se_modules=EVERYWHERE)
    state, images = seeded_state(network), seeded_input(0, (2, 3, 64, 64))
    for code in instance_codes(2):
        features = (Tensor(images),)
        for number in range(NUM_PARTS):
            features = network.part(number, features)
            if number == NUM_PARTS - 1:
                break
            modulated = []
            for branch, x in enumerate(each.asnumpy() for each in features):
                prefix = f'{"layer" if kind == "resnet" else "stage"}{number + 1}_se.se_layers.{branch}.'
                own = {name[len(prefix):]: value for name, value in state.items() if name.startswith(prefix)}
                factors = excitation(own, x) * embedding(own, code[None])
                modulated.append(Tensor((x * factors[:, :, None, None]).astype(np.float32)))
            features = tuple(modulated)
        expected = features[0].asnumpy()
        heatmaps = run(network, images, np.tile(code, (2, 1)))
        assert np.abs(heatmaps - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize('kind, baseline', [('hrnet', small_hrnet), ('resnet', small_simple_pose)])
def test_modulation_of_zeros_multiplies_by_a_quarter(kind, baseline, operator_by_operator):
    """As fresh blocks nearly do: that has to be learned away."""
    network, plain = seeded(SMALL_MIPNETS[kind]), seeded(baseline)
    blank = {name: np.zeros(each.shape, np.float32) for name, each in named_parameters(network).items()
             if '_se.' in name and name.endswith(('weight', 'bias'))}
    assign_weights(network, blank)
    x = (Tensor(seeded_input(0, (2, 3, 64, 64))),)
    # The network without modulation, run in the parts of the other.
    part = type(network).part
    for number in range(NUM_PARTS):
        x = part(plain, number, x)
        x = tuple(0.25 * each for each in x) if number in (2, 3) else x
    heatmaps = run(network, seeded_input(0, (2, 3, 64, 64)), instance_codes(2))
    np.testing.assert_allclose(heatmaps, x[0].asnumpy(), rtol=1e-4, atol=1e-5 * np.abs(heatmaps).max())


def test_the_loss_does_not_depend_on_the_draw_of_codes(operator_by_operator):
    """The release draws for every crop which half of the doubled batch gets which code; the mean is the same."""
    network, images = small_mipnet(), seeded_input(0, (3, 3, 64, 64))
    load_seeded(network)
    network.set_train(True)
    rng = np.random.default_rng(5)
    targets = rng.random((2, 3, 17, 16, 16)).astype(np.float32)
    weights = (rng.random((2, 3, 17)) > 0.3).astype(np.float32)
    ours = run(JointsMSELoss(), run(network.training_outputs, images), targets.reshape(6, 17, 16, 16),
               weights.reshape(6, 17))
    for draw in ((1, 1, 1), (0, 1, 0), (0, 0, 1)):
        first = np.array([*draw, *(1 - each for each in draw)])
        heatmaps = run(network, np.concatenate([images, images]),
                       np.stack([first, 1 - first], 1).astype(np.float32))
        person = np.arange(6) % 3
        # Row by row: 0.5 (m P - m T)^2 against the targets of A where the code is (1, 0), of B otherwise.
        target, weight = targets[1 - first, person], weights[1 - first, person, :, None, None]
        rows = (0.5 * (weight * heatmaps - weight * target) ** 2).mean((1, 2, 3))
        np.testing.assert_allclose(rows.mean(), ours, rtol=1e-5)


@pytest.mark.parametrize('build, widths', [
    (small_mipnet_resnet, [8, 8, 16, 32]), (lambda **options: small_mipnet_resnet(num_layers=34, **options),
                                            [8, 8, 16, 32]),
    (lambda **options: small_mipnet_resnet(num_layers=50, **options), [8, 32, 64, 128])])
def test_blocks_take_their_widths_from_the_network(build, widths):
    network = build(se_modules=EVERYWHERE)
    blocks = [cell for _, cell in network.cells_and_names() if isinstance(cell, Modulation)]
    assert [each.se_layers[0].fc[0].in_channels for each in blocks] == widths


@pytest.mark.parametrize('build', SMALL_MIPNETS.values())
@pytest.mark.parametrize('options, message', [
    ({'se_modules': (False,) * 4}, r'each of the 4 places (stage1_se|layer1_se), .* at least one should; got \[False,'),
    ({'se_modules': (True, True, True)}, r'got \[True, True, True\]'),
    ({'num_instances': 5}, 'codes for 2, 3 or 4 people in a box, not for 5')])
def test_arguments_out_of_range_raise(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_initial_values():
    """HRNet's blocks start from N(0, 0.001) without biases, those on a ResNet as PyTorch makes dense layers."""
    for name, value in ((name, each.asnumpy()) for name, each in named_parameters(
            small_mipnet(width=64, se_modules=EVERYWHERE)).items() if '_se.' in name):
        if name.endswith('bias'):
            assert not value.any(), name
        elif name.endswith('weight') and value.size > 1000:
            assert abs(value.std() / 0.001 - 1) < 0.2 and np.abs(value).max() < 0.006, name
    for name, value in ((name, each.asnumpy()) for name, each in named_parameters(
            small_mipnet_resnet(stem_channels=64, se_modules=EVERYWHERE)).items() if '_se.' in name):
        if name.endswith(('weight', 'bias')):
            fan_in = {'fc.0.weight': value.shape[-1], 'fc_lambda.0.weight': 2, 'fc_lambda.0.bias': 2}.get(
                name.split('.', 3)[3], len(value) // 4 if name.endswith('fc_lambda.3.bias') else value.shape[-1])
            assert 0.8 / np.sqrt(fan_in) < np.abs(value).max() <= 1 / np.sqrt(fan_in) * (1 + 1e-6), name
