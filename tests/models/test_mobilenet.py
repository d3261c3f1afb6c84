"""SimplePoseNet on MobileNetV2: the PyTorch network's numbers, sizes, folding, precision, export, published names."""
from functools import cache

import mindspore as ms
import numpy as np
import pytest
from golden_data import (
    HEATMAP_TOLERANCE,
    MOBILENET,
    golden,
    images_of,
    load_seeded,
    operator_by_operator,
    seeded_input,
    seeded_network,
    seeded_state,
    small_mobilenet,
)
from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype
from published_names import (
    mindcv_mobilenet,
    mmpose_mobilenet,
    mmpretrain_mobilenet,
    prefixed,
    torchvision_mobilenet,
    with_counters,
)

from src.checkpoints.formats import recognise
from src.checkpoints.load import adopt_source, load_weights
from src.checkpoints.names import assign_weights, named_parameters, pytorch_names
from src.config import load_recipe, resolve
from src.data.skeletons import COCO
from src.evaluation.load_model import network_keys
from src.evaluation.predictors import network_predictor
from src.export.compare import compare
from src.export.example_crops import painted_crops, random_crops
from src.export.folding import fold_batch_norms
from src.export.model_file import open_model_file
from src.export.plan import FILE_FORMATS, ExportPlan
from src.export.runtimes import installed_runtimes
from src.export.write import build_exported_model, describe, write_model
from src.models.common.blocks import BatchNorm, set_precision, without_initial_values
from src.models.common.gaussian_targets import GaussianTargets
from src.models.common.mse_loss import JointsMSELoss
from src.models.registry import build_configured_network, build_network, model_of, network_name
from src.models.simple_pose import mobilenet
from src.models.simple_pose.mobilenet import ConvNorm, DepthwiseConv, scaled_channels
from src.models.simple_pose.network import SimplePoseMobileNet
from src.training.setup import build_started_network
from src.training.step import LossGraph

RECIPE = 'simplepose_mobilenetv2_coco_256x192'
SMALL_KEYS = {'MODEL.IMAGE_SIZE': [64, 64], 'POSE_MOBILENET.WIDTH': 0.25, 'POSE_MOBILENET.LAST_CHANNELS': 24,
              'POSE_MOBILENET.NUM_DECONV_FILTERS': [16, 16, 16]}


class Gradients(nn.Cell):
    """Gradients of maps and weights of a convolution."""

    def __init__(self, convolution):
        super().__init__()
        self.convolution, self.weights = convolution, ms.ParameterTuple(convolution.trainable_params())
        self.gradient = ops.GradOperation(get_all=True, get_by_list=True, sens_param=True)

    def construct(self, maps, gradient):
        return self.gradient(self.convolution, self.weights)(maps, gradient)


@pytest.mark.parametrize('stride, height, width, is_own', [(1, 20, 18, True), (2, 40, 36, True), (2, 41, 37, True),
                                                          (1, 10, 8, False)])
def test_gradients_of_a_depthwise_convolution_are_those_of_mindspore(monkeypatch, stride, height, width, is_own):
    monkeypatch.setattr(mobilenet, 'is_mindspore_at_least', lambda *_: True)
    rng = np.random.default_rng(0)
    ours = DepthwiseConv(6, stride)
    plain = nn.Conv2d(6, 6, 3, stride, 'pad', 1, group=6, has_bias=False)
    weights = Tensor(rng.standard_normal((6, 1, 3, 3)).astype(np.float32))
    ours.weight.set_data(weights)
    plain.weight.set_data(weights)
    maps = Tensor(rng.standard_normal((3, 6, height, width)).astype(np.float32))
    result = plain(maps)
    np.testing.assert_array_equal(ours(maps).asnumpy(), result.asnumpy())
    gradient = Tensor(rng.standard_normal(result.shape).astype(np.float32))
    (of_maps,), (of_weights,) = Gradients(ours)(maps, gradient)
    (maps_expected,), (weights_expected,) = Gradients(plain)(maps, gradient)
    np.testing.assert_allclose(of_maps.asnumpy(), maps_expected.asnumpy(), atol=1e-6)
    np.testing.assert_allclose(of_weights.asnumpy(), weights_expected.asnumpy(), atol=1e-4)
    # The same sums in another order; and where the maps are small, the very same.
    assert np.array_equal(of_weights.asnumpy(), weights_expected.asnumpy()) != is_own


def small_config(**overrides):
    return resolve(load_recipe(RECIPE), {**SMALL_KEYS, **overrides})


def values_of(network) -> dict:
    """{PyTorch name: a copy of the value}."""
    parameters = named_parameters(network)
    return {plain: parameters[ours].asnumpy().copy() for ours, plain in pytorch_names(network).items()}


def small_images() -> np.ndarray:
    return 10 * seeded_input(3, (3, 3, 64, 64))


def heatmaps_of(network, images) -> np.ndarray:
    """Without compiling, which takes longer than the computation."""
    with operator_by_operator():
        return network.set_train(False)(Tensor(images)).asnumpy()


@cache
def small_heatmaps() -> np.ndarray:
    """Of the small network with made-up weights."""
    network = small_mobilenet()
    load_seeded(network)
    return heatmaps_of(network, small_images())


# The network

def assert_golden_heatmaps(network) -> None:
    reference = golden(MOBILENET)
    ours = heatmaps_of(network, images_of(MOBILENET))
    assert ours.shape == (2, 17, 64, 48)
    worst = np.abs(ours[..., ::4, ::4] - reference['heatmaps_every4']).max()
    assert worst <= HEATMAP_TOLERANCE * float(reference['heatmaps_peak'])


def test_heatmaps_equal_pytorch():
    # The network sees what it is shown: the two images' heatmaps differ by far more than the tolerance.
    every4 = golden(MOBILENET)['heatmaps_every4']
    assert np.abs(every4[0] - every4[1]).max() > 100 * HEATMAP_TOLERANCE * golden(MOBILENET)['heatmaps_peak']
    assert_golden_heatmaps(seeded_network(MOBILENET))


@pytest.mark.parametrize('options, trainable', [
    ({}, 9_569_809), ({'num_keypoints': 16}, 9_569_552),
    ({'last_channels': 0, 'num_deconv_filters': (128, 64, 64)}, 2_665_297),
    ({'width': 1.4}, 13_758_865), ({'width': 0.35}, 7_742_065),
    ({'width': 0.5, 'last_channels': 0, 'num_deconv_filters': (64, 64, 64)}, 776_721)])
def test_sizes(options, trainable):
    """As counted in PyTorch; 167 trainable tensors and 277 in all with the last convolution, as published."""
    with without_initial_values():
        network = build_network('simplepose_mobilenetv2', input_shape=(256, 192), **{'num_keypoints': 17, **options})
    assert sum(int(np.prod(parameter.shape)) for parameter in network.trainable_params()) == trainable
    last = 0 if options.get('last_channels') == 0 else 1
    assert (len(network.trainable_params()), len(list(network.get_parameters()))) == (164 + 3 * last, 272 + 5 * last)


@pytest.mark.parametrize('channels, width, expected', [
    (32, 1, 32), (32, 0.35, 16), (16, 0.35, 8), (24, 0.35, 8), (96, 0.35, 32), (24, 0.75, 24), (16, 0.1, 8),
    (24, 1.4, 32), (64, 1.4, 88), (160, 0.5, 80)])
def test_channels_are_multiples_of_eight_and_lose_no_tenth(channels, width, expected):
    assert scaled_channels(channels, width) == expected


@pytest.mark.parametrize('options', [{'width': 0}, {'width': -1.0}, {'last_channels': -1},
                                     {'num_deconv_filters': (16, 16)}, {'input_shape': (64, 100)}])
def test_arguments_out_of_range(options):
    with pytest.raises(ValueError):
        small_mobilenet(**options)


def test_one_person_equals_the_same_person_in_a_batch():
    network = small_mobilenet()
    load_seeded(network)
    single = heatmaps_of(network, small_images()[1:2])
    batch = small_heatmaps()
    assert batch.shape == (3, 17, 16, 16)
    assert np.abs(single[0] - batch[1]).max() <= 1e-5 * np.abs(batch).max()
    assert np.abs(batch[0] - batch[1]).max() > 0.01 * np.abs(batch).max()


def test_initial_values():
    """As of the ResNets: N(0, 0.001) behind the trunk, Kaiming normal (fan out) in it, biases zero."""
    for name, values in values_of(small_mobilenet(width=1.0)).items():
        if name.startswith(('deconv_layers.0.', 'deconv_layers.3.', 'deconv_layers.6.', 'final_layer.weight')):
            assert values.std() == pytest.approx(0.001, rel=0.1), name
        elif name.endswith('.conv.weight'):
            out_channels, _, height, width = values.shape
            assert values.std() == pytest.approx(np.sqrt(2 / (height * width * out_channels)), rel=0.2), name
        else:
            assert np.all(values == (1 if name.endswith(('running_var', '.weight')) else 0)), name


def test_every_parameter_gets_a_finite_gradient():
    network = small_mobilenet()
    rng = np.random.default_rng(0)
    inputs = [Tensor(rng.standard_normal((3, 3, 64, 64)).astype(np.float32)),
              Tensor(rng.uniform(8, 56, (3, 17, 2)).astype(np.float32)), Tensor(np.ones((3, 17), np.float32))]
    model = LossGraph(nn.Identity(), network, GaussianTargets((64, 64), (16, 16), 2), JointsMSELoss()).set_train(True)
    parameters = ms.ParameterTuple(network.trainable_params())
    value, gradients = ms.value_and_grad(model, None, parameters)(*inputs)
    norms = [float(np.linalg.norm(gradient.asnumpy())) for gradient in gradients]
    assert np.isfinite(float(value.asnumpy())) and np.isfinite(norms).all() and min(norms) > 0


def test_batch_norms_fold_into_convolutions():
    network = small_mobilenet()
    load_seeded(network)
    norms = sum(isinstance(cell, BatchNorm) for _, cell in network.cells_and_names())
    assert fold_batch_norms(network) == norms == 52 + 3
    assert not any(isinstance(cell, nn.BatchNorm2d) for _, cell in network.cells_and_names())
    after = heatmaps_of(network, small_images())
    assert np.abs(after - small_heatmaps()).max() <= 1e-5 * np.abs(small_heatmaps()).max()


@pytest.mark.parametrize('level', ['O2', 'O3'])
def test_mixed_precision(level):
    """Convolutions, depthwise ones too, in float16; BatchNorm in float32 at O2; the heatmaps close to those in
    float32."""
    network = small_mobilenet().set_train(False)
    load_seeded(network)
    set_precision(network, level)
    with operator_by_operator():
        depthwise = network.layer2[0].conv[1]
        assert isinstance(depthwise, ConvNorm) and depthwise.conv.group == depthwise.conv.in_channels > 1
        x = depthwise.conv(Tensor(np.ones((1, depthwise.conv.in_channels, 8, 8), np.float32)))
        assert x.dtype == mstype.float16
        assert depthwise.bn(x).dtype == (mstype.float32 if level == 'O2' else mstype.float16)
        heatmaps = network(Tensor(small_images()))
    assert heatmaps.dtype == mstype.float16
    difference = np.abs(heatmaps.asnumpy().astype(np.float32) - small_heatmaps()).max()
    assert 0 < difference <= 0.02 * np.abs(small_heatmaps()).max()


PLANS = {'onnx': ExportPlan('ONNX', 'pixels'), 'mindir': ExportPlan('MINDIR', batch_size=3)}


@pytest.mark.parametrize('name', PLANS)
def test_exported_files_compute_what_the_network_computes(name, tmp_path):
    config, plan = small_config(), PLANS[name]
    network = build_configured_network(config)
    load_seeded(network)
    # So that ReLU6 has something to cut off.
    network.conv1.conv.weight.set_data(network.conv1.conv.weight * 10)
    path = str(tmp_path / f'pose{FILE_FORMATS[plan.file_format]}')
    model = build_exported_model(config, network.set_train(False), plan, COCO.flip_index)
    write_model(path, model, config, plan, describe(config, plan, COCO.keypoint_names))
    crops = np.concatenate([random_crops(config, 1), painted_crops(config, 2)])
    reference = network_predictor(resolve(config, {'TEST.FLIP_TEST': False}), network, COCO.flip_index)
    heatmaps = reference.run(crops)[0]
    for runtime in installed_runtimes(path):
        difference = compare(open_model_file(path, runtime), crops, heatmaps, model_of(config).codec.decode(config))
        assert difference.compared >= heatmaps.size


# Configuration

def test_a_configuration_builds_its_network():
    config = small_config(**{'POSE_MOBILENET.LAST_CHANNELS': 0, 'POSE_MOBILENET.NUM_DECONV_FILTERS': [16, 24, 32],
                             'MODEL.NUM_JOINTS': 14})
    network = build_configured_network(config)
    assert type(network) is SimplePoseMobileNet and network_name(config) == 'simplepose_mobilenetv2_0.25'
    assert network.conv1.conv.out_channels == 8 and network.layer7[0].conv[-1].conv.out_channels == 80
    filters = [cell.out_channels for cell in network.deconv_layers if isinstance(cell, nn.Conv2dTranspose)]
    assert filters == [16, 24, 32] and network.deconv_layers[0].in_channels == 80
    assert network.final_layer.out_channels == 14
    assert build_configured_network(small_config()).conv2.conv.out_channels == 24
    assert network_name(load_recipe(RECIPE)) == 'simplepose_mobilenetv2'


def test_the_small_recipe_stays_below_eight_megabytes_in_float16():
    network = build_configured_network(load_recipe('simplepose_mobilenetv2_small_people18k_192x160'))
    values = sum(int(np.prod(parameter.shape)) for parameter in network.get_parameters())
    assert 2_665_297 < values < 4_000_000


def test_what_an_exported_file_has_inside_cannot_be_set_beside_it():
    config = small_config()
    assert set(network_keys(config)) == {f'POSE_MOBILENET.{name}' for name in config.POSE_MOBILENET}


@pytest.mark.parametrize('key, value', [
    ('POSE_MOBILENET.WIDTH', '0'), ('POSE_MOBILENET.WIDTH', 'wide'), ('POSE_MOBILENET.LAST_CHANNELS', '-1'),
    ('POSE_MOBILENET.NUM_DECONV_FILTERS', '16 16'), ('POSE_MOBILENET.NUM_DECONV_FILTERS', '16 0 16'),
    ('POSE_MOBILENET.SIGMA', '0'), ('POSE_MOBILENET.HEATMAP_SIZE', '10 10')])
def test_values_out_of_range(key, value):
    with pytest.raises(ValueError, match=f'{key}:? should'):
        resolve(load_recipe(RECIPE), {key: value})


# Published weights

RENAMED = {
    'mmpose_0': (lambda state: mmpose_mobilenet(state, 'keypoint_head'), 'MMPose MobileNetV2'),
    'mmpose_1': (lambda state: prefixed(mmpose_mobilenet(state, 'head')), 'MMPose MobileNetV2'),
    'plain': (with_counters, 'SimplePoseNet on MobileNetV2')}


@pytest.mark.parametrize('name', RENAMED)
def test_a_published_format_is_loaded_whole(name):
    network = small_mobilenet()
    expected = seeded_state(network)
    rename, source = RENAMED[name]
    state = rename(expected)
    conversion = load_weights(network, state, small_config(), 'x.pth')
    assert conversion.source.name == source and not conversion.initial
    assert {row.source for row in conversion.rows} == set(state)
    assert all(row.target or row.source.endswith('num_batches_tracked') for row in conversion.rows)
    for plain, value in values_of(network).items():
        np.testing.assert_array_equal(value, expected[plain], err_msg=plain)


def test_mmpose_weights_meet_the_golden_heatmaps():
    network = build_network('simplepose_mobilenetv2', num_keypoints=17, input_shape=(256, 192))
    state = mmpose_mobilenet(seeded_state(network), 'head')
    assign_weights(network, {name: np.zeros(each.shape) for name, each in named_parameters(network).items()})
    load_weights(network, state, load_recipe(RECIPE), 'mobilenetv2.pth')
    assert_golden_heatmaps(network)


def trunk_of_mobilenet(network) -> dict:
    return {name: value for name, value in seeded_state(network).items()
            if not name.startswith(('deconv_layers.', 'final_layer.'))}


STARTS = {'mindcv': (mindcv_mobilenet, 'MindCV MobileNetV2'),
          'torchvision': (torchvision_mobilenet, 'torchvision MobileNetV2'),
          'mmpretrain': (mmpretrain_mobilenet, 'MMPretrain MobileNetV2'), 'trunk': (dict, 'MobileNetV2 trunk')}


@pytest.mark.parametrize('last_channels', [24, 0])
@pytest.mark.parametrize('name', STARTS)
def test_an_imagenet_network_is_a_start(name, last_channels):
    """Its classifier is dropped, and its last convolution where the pose network has none."""
    rename, source = STARTS[name]
    file = rename(trunk_of_mobilenet(small_mobilenet()))
    network = small_mobilenet(last_channels=last_channels)
    before, expected = values_of(network), seeded_state(network)
    config = small_config(**{'POSE_MOBILENET.LAST_CHANNELS': last_channels})
    with pytest.raises(ValueError, match='it lacks deconv_layers, final_layer, so it is a start'):
        load_weights(network, file, config, 'x.ckpt')
    conversion = load_weights(network, file, config, 'x.ckpt', is_start=True)
    assert conversion.source.name == source and conversion.initial_parts == ['deconv_layers', 'final_layer']
    for plain, value in values_of(network).items():
        is_head = plain.startswith(('deconv_layers.', 'final_layer.'))
        np.testing.assert_array_equal(value, (before if is_head else expected)[plain], err_msg=plain)
    left = {row.source for row in conversion.rows if not row.target and 'num_batches' not in row.source}
    without_last = {'mindcv': ('features.20.', 'features.21.'), 'torchvision': 'features.18.',
                    'mmpretrain': 'backbone.conv2.', 'trunk': 'conv2.'}[name]
    dropped = ('classifier.', 'head.fc.', *([without_last] if isinstance(without_last, str) else without_last)[
        :None if last_channels == 0 else 0])
    assert left == {each for each in file if each.startswith(dropped) and 'num_batches' not in each}


@pytest.mark.parametrize('rename', [lambda state: mmpose_mobilenet(state, 'head'), with_counters, mindcv_mobilenet])
def test_the_networks_see_red_green_blue(rename):
    state = seeded_state(small_mobilenet())
    if rename is mindcv_mobilenet:
        state = trunk_of_mobilenet(small_mobilenet())
    config = resolve(load_recipe('base'), {'MODEL.NAME': 'pose_mobilenet'})
    adopt_source(config, None, rename(state), {}, 'x.pth')
    assert config.DATASET.COLOR_RGB and config.DATASET.MEANS == [0.485, 0.456, 0.406]


def test_a_start_of_a_configured_network(tmp_path):
    """train.py's way: MODEL.PRETRAINED names the file."""
    path = tmp_path / 'mobilenet_v2.safetensors'
    import safetensors.numpy
    state = mindcv_mobilenet(trunk_of_mobilenet(small_mobilenet()))
    safetensors.numpy.save_file({name: np.ascontiguousarray(value) for name, value in state.items()}, str(path))
    config = small_config(**{'MODEL.PRETRAINED': str(path)})
    network = build_started_network(config, {'MODEL.PRETRAINED': str(path)})
    np.testing.assert_array_equal(values_of(network)['layer3.2.conv.1.conv.weight'],
                                  seeded_state(network)['layer3.2.conv.1.conv.weight'])


def test_formats_are_told_apart():
    files = {'pose_resnet': ['layer4.0.conv1.weight', 'deconv_layers.0.weight'], 'pose_mobilenet': list(
        trunk_of_mobilenet(small_mobilenet()))}
    assert recognise(files['pose_mobilenet'], 'pose_resnet') is None
    assert recognise(['layer4.0.conv1.weight'], 'pose_mobilenet') is None


def test_another_width_is_named():
    file = trunk_of_mobilenet(small_mobilenet(width=0.5))
    with pytest.raises(ValueError, match=r'conv1.conv.weight is \(16, 3, 3, 3\), should be \(8, 3, 3, 3\)'):
        load_weights(small_mobilenet(), file, small_config(), 'x.ckpt', is_start=True)
