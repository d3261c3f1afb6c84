"""Published weights of HRNet and MIPNet, and those from which MIPNet or a network for other keypoints starts."""
import collections

import numpy as np
import pytest
import torch_writer
from golden_data import (
    load_seeded,
    seeded_state,
    small_hrnet,
    small_mipnet,
    small_mipnet_resnet,
    small_mspn,
    small_simple_pose,
)
from published_names import (
    imagenet_hrnet,
    mindcv_hrnet,
    mindpose,
    mindpose_hrnet,
    mindspore_names,
    mmpose_hrnet,
    mmpose_resnet,
    prefixed,
    torchvision,
    torchvision_of_mspn,
    trunk_of,
    with_counters,
    zoo_simple_pose,
)

from src.checkpoints.formats import ConversionError, convert_weights, recognise
from src.checkpoints.load import adopt_source, load_weights, read_weights, write_pytorch_safetensors
from src.checkpoints.names import named_parameters, pytorch_names
from src.config import load_recipe, resolve
from src.training.setup import build_started_network

LAST_MODULE = 'stage4.0'
EVERYWHERE = (True, True, True, True)


def config_of(kind: str, **overrides):
    return resolve(load_recipe('base'), {'MODEL.NAME': kind, **overrides})


def values_of(network) -> dict:
    """{PyTorch name: a copy of the value}."""
    parameters = named_parameters(network)
    return {plain: parameters[ours].asnumpy().copy() for ours, plain in pytorch_names(network).items()}


def assert_loaded(network, expected: dict) -> None:
    for name, value in values_of(network).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


# Formats of whole networks: (network, MODEL.NAME, names of the other program, name of the format)
FORMATS = {
    'hrnet': (small_hrnet, 'hrnet', with_counters, 'HRNet'),
    'hrnet_of_mindspore': (small_hrnet, 'hrnet', mindspore_names, 'HRNet'),
    'hrnet_of_mmpose_0': (small_hrnet, 'hrnet', lambda state: mmpose_hrnet(state, 'keypoint_head'), 'MMPose HRNet'),
    'hrnet_of_mmpose_1': (small_hrnet, 'hrnet', lambda state: mmpose_hrnet(state, 'head'), 'MMPose HRNet'),
    'hrnet_of_mindpose': (small_hrnet, 'hrnet', mindpose_hrnet, 'MindPose HRNet'),
    'mipnet': (small_mipnet, 'mipnet', with_counters, 'MIPNet on HRNet'),
    'mipnet_of_mindspore': (small_mipnet, 'mipnet', mindspore_names, 'MIPNet on HRNet'),
    'mipnet_on_resnet': (small_mipnet_resnet, 'mipnet', with_counters, 'MIPNet on ResNet'),
}


@pytest.mark.parametrize('name', FORMATS)
def test_a_published_format_is_loaded_whole(name):
    build, kind, rename, source = FORMATS[name]
    network = build()
    expected = seeded_state(network)
    state = rename(expected)
    conversion = load_weights(network, state, config_of(kind), 'x.pth')
    assert conversion.source.name == source and not conversion.initial
    assert {row.source for row in conversion.rows} == set(state)
    assert all(row.target or row.source.endswith('num_batches_tracked') for row in conversion.rows)
    assert_loaded(network, expected)


def test_the_release_of_mipnet_in_training(tmp_path):
    """A dictionary with three states under PyTorch's names; the latest counts."""
    network, path = small_mipnet(), str(tmp_path / 'model_103.pth')
    state = collections.OrderedDict(with_counters(seeded_state(network)))
    older = {name: value * 0 for name, value in state.items()}
    torch_writer.save(path, {'epoch': 103, 'model': 'pose_hrnet_se_lambda', 'state_dict': prefixed(older),
                             'latest_state_dict': state, 'best_state_dict': older, 'perf': 0.0,
                             'optimizer': {'state': {0: {'step': 3, 'exp_avg': np.ones(3, np.float32)}}}})
    load_weights(network, read_weights(path)[0], config_of('mipnet'), path)
    assert_loaded(network, seeded_state(network))


def test_mipnet_returns_to_pytorch_names(tmp_path):
    network, path = small_mipnet(), str(tmp_path / 'mipnet.safetensors')
    load_seeded(network)
    write_pytorch_safetensors(path, network, config_of('mipnet'))
    state = read_weights(path)[0]
    assert set(state) == set(with_counters(seeded_state(network)))
    again = small_mipnet(seed=2)
    load_weights(again, state, config_of('mipnet'), path)
    assert_loaded(again, values_of(network))


# What a start leaves as it was

def modulation_of(network) -> set:
    return {name for name in named_parameters(network) if '_se.' in name}


STARTS = {
    'hrnet': (small_mipnet, small_hrnet, with_counters, ()),
    'hrnet_of_mmpose': (small_mipnet, small_hrnet, lambda state: mmpose_hrnet(state, 'head'), ()),
    'hrnet_of_mindpose': (small_mipnet, small_hrnet, mindpose_hrnet, ()),
    'imagenet_hrnet': (small_mipnet, small_hrnet, lambda state: imagenet_hrnet(state, LAST_MODULE), ('final_layer.',)),
    'imagenet_mindcv': (small_mipnet, small_hrnet, lambda state: mindcv_hrnet(state, LAST_MODULE), ('final_layer.',)),
    'simple_baselines': (small_mipnet_resnet, small_simple_pose, with_counters, ()),
    'simple_baselines_of_mindspore': (small_mipnet_resnet, small_simple_pose, zoo_simple_pose, ()),
    'imagenet_resnet': (small_mipnet_resnet, small_simple_pose,
                        lambda state: torchvision(trunk_of(small_simple_pose())), ('deconv_layers.', 'final_layer.')),
}


@pytest.mark.parametrize('name', STARTS)
def test_a_baseline_starts_a_mipnet(name):
    build, baseline, rename, other_parts = STARTS[name]
    network = build()
    before, state = values_of(network), seeded_state(baseline())
    with pytest.raises(ValueError, match='x.pth does not fit .* it lacks .*_se, so it is a start for training'):
        load_weights(network, rename(state), config_of('mipnet'), 'x.pth')
    conversion = load_weights(network, rename(state), config_of('mipnet'), 'x.pth', is_start=True)
    rest = {each for each in named_parameters(network) if each.startswith(other_parts)} if other_parts else set()
    assert set(conversion.initial) == modulation_of(network) | rest
    initial = {pytorch_names(network)[each] for each in conversion.initial}
    assert_loaded(network, {each: before[each] if each in initial else state[each] for each in before})


def test_the_published_places_have_fifty_tensors():
    """55 with PyTorch's counters."""
    network = small_mipnet()
    conversion = convert_weights(seeded_state(small_hrnet()), network, 'mipnet', 'x.pth', is_start=True)
    assert len(conversion.initial) == 50 and set(conversion.initial) == modulation_of(network)
    assert conversion.initial_parts == ['stage3_se', 'stage4_se']


@pytest.mark.parametrize('rename', [imagenet_hrnet, mindcv_hrnet])
def test_an_imagenet_hrnet_starts_an_hrnet(rename):
    network = small_hrnet()
    before, state = values_of(network), seeded_state(network)
    file = rename(state, LAST_MODULE)
    conversion = load_weights(network, file, config_of('hrnet'), 'x.pth', is_start=True)
    assert conversion.source.name == 'ImageNet HRNet' and conversion.initial_parts == ['final_layer']
    assert_loaded(network, {name: before[name] if name.startswith('final_layer.') else state[name] for name in state})
    left_over = {row.source for row in conversion.rows if not row.target and 'num_batches' not in row.source}
    assert left_over == {name for name in file if name.startswith((
        'incre', 'downsamp', 'final_layer', 'classifier', *(f'{LAST_MODULE}.fuse_layers.{row}' for row in (1, 2, 3))))
        and 'num_batches' not in name}


# Other keypoints

HEADS = {'hrnet': small_hrnet, 'mipnet': small_mipnet, 'pose_resnet': small_simple_pose}


@pytest.mark.parametrize('kind', HEADS)
def test_a_network_for_other_keypoints_is_a_start(kind, capsys, tmp_path):
    network = HEADS[kind](num_keypoints=14)
    before, state = values_of(network), seeded_state(HEADS[kind]())
    config = config_of(kind)
    with pytest.raises(ValueError, match=r'2 of another shape, e.g. final_layer.weight is \(17, .* should be \(14, '):
        load_weights(network, state, config, 'x.pth')
    conversion = load_weights(network, state, config, 'x.pth', is_start=True)
    assert conversion.initial == ['final_layer.weight', 'final_layer.bias']
    notes = {row.source: (row.target, row.note) for row in conversion.rows if row.note}
    note = 'for 17 keypoints, not 14: ours keeps its initial weights'
    assert notes == {'final_layer.weight': ('', note), 'final_layer.bias': ('', note)}
    assert conversion.other_head == f'the head of x.pth is {note}'
    assert_loaded(network, {name: before[name] if name.startswith('final_layer.') else state[name] for name in state})


def test_other_shapes_beside_the_head_do_not_pass():
    state = seeded_state(small_hrnet(width=4))
    with pytest.raises(ConversionError, match=r'of another shape.*an HRNet of width 4; .* needs HRNET.WIDTH=4'):
        convert_weights(state, small_hrnet(num_keypoints=14), 'hrnet', 'x.pth', is_start=True)


def test_training_says_that_the_head_is_new(tmp_path, capsys):
    path = str(tmp_path / 'coco.pth')
    torch_writer.save(path, collections.OrderedDict(seeded_state(small_hrnet())))
    config = config_of('hrnet', **{
        'HRNET.WIDTH': 8, 'HRNET.BLOCKS': 1, 'HRNET.MODULES': [1, 1, 1], 'MODEL.STEM_CHANNELS': 8,
        'MODEL.IMAGE_SIZE': [64, 64], 'MODEL.NUM_JOINTS': 14, 'MODEL.PRETRAINED': path})
    build_started_network(config, {'MODEL.PRETRAINED': path})
    out = capsys.readouterr().out
    assert f'{path} needs, and gets, DATASET.COLOR_RGB=True' in out and '(HRNet)' in out
    assert f'note: the head of {path} is for 17 keypoints, not 14: ours keeps its initial weights' in out


# What other projects feed their networks

RGB = {'COLOR_RGB': True, 'MEANS': [0.485, 0.456, 0.406], 'STDS': [0.229, 0.224, 0.225]}
BGR = {'COLOR_RGB': False, 'MEANS': [0.406, 0.456, 0.485], 'STDS': [0.225, 0.224, 0.229]}
SIMPLE = {**RGB, 'COLOR_RGB': False}
SETTINGS = [
    ('hrnet', small_hrnet, with_counters, RGB), ('hrnet', small_hrnet, mindspore_names, RGB),
    ('hrnet', small_hrnet, lambda state: mmpose_hrnet(state, 'head'), RGB),
    ('hrnet', small_hrnet, mindpose_hrnet, {**RGB, 'STDS': [0.229, 0.224, 0.255]}),
    ('hrnet', small_hrnet, lambda state: imagenet_hrnet(state, LAST_MODULE), RGB),
    ('mipnet', small_mipnet, with_counters, RGB), ('mipnet', small_hrnet, with_counters, RGB),
    ('mipnet', small_mipnet_resnet, with_counters, SIMPLE), ('mipnet', small_simple_pose, with_counters, SIMPLE),
    ('mipnet', small_simple_pose, lambda state: mmpose_resnet(state, 'head'), BGR),
    ('pose_resnet', small_simple_pose, with_counters, SIMPLE),
    ('pose_resnet', small_simple_pose, mindpose, {**BGR, 'STDS': [0.255, 0.224, 0.229]}),
    ('mspn', small_mspn, with_counters, BGR)]


@pytest.mark.parametrize('kind, build, rename, expected', SETTINGS)
def test_the_order_of_channels_is_taken_over(kind, build, rename, expected):
    """Whatever the recipe says."""
    for color_rgb in (False, True):
        config = config_of(kind, **{'DATASET.COLOR_RGB': color_rgb, 'DATASET.MEANS': [1, 2, 3]})
        adopt_source(config, None, rename(seeded_state(build())), {}, 'other.pth')
        assert {key: config.DATASET[key] for key in expected} == expected


@pytest.mark.parametrize('kind, network, state', [
    ('pose_resnet', small_simple_pose, lambda: mmpose_resnet(seeded_state(small_simple_pose()), 'head')),
    ('mspn', small_mspn, lambda: torchvision(torchvision_of_mspn(seeded_state(small_mspn(blocks=(3, 4, 6, 3))))))])
def test_a_reversed_stem_needs_pictures_in_bgr(kind, network, state):
    options = {'blocks': (3, 4, 6, 3)} if kind == 'mspn' else {}
    with pytest.raises(ValueError, match='x.pth .* blue, green, red: set DATASET.COLOR_RGB=false'):
        load_weights(network(**options), state(), config_of(kind, **{'DATASET.COLOR_RGB': True}), 'x.pth',
                     is_start=True)


def test_formats_are_not_mixed_up():
    """Names that HRNet and ResNet share belong to neither."""
    hrnet, resnet = seeded_state(small_hrnet()), seeded_state(small_simple_pose())
    assert recognise(list(resnet), 'hrnet') is None and recognise(list(hrnet), 'pose_resnet') is None
    assert recognise(list(hrnet), 'mspn') is None
    with pytest.raises(ValueError, match='It looks like HRNet: another recipe?'):
        convert_weights(hrnet, small_simple_pose(), 'pose_resnet', 'x.pth')
    with pytest.raises(ValueError, match=r'does not fit the network \(HRNet\), .* unexpected, e.g. stage3_se'):
        convert_weights(seeded_state(small_mipnet()), small_hrnet(), 'hrnet', 'x.pth')
    with pytest.raises(ValueError, match=r'MIPNetHRNet\), read as MIPNet on HRNet: .* missing, e.g. stage1_se'):
        convert_weights(seeded_state(small_mipnet()), small_mipnet(se_modules=EVERYWHERE), 'mipnet', 'x.pth')
