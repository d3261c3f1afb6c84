"""Published formats: files with the original names, in the original containers, meet the golden heatmaps."""
import collections
import json
import re
import struct

import mindspore as ms
import numpy as np
import pytest
import safetensors.numpy
import torch_writer
from golden_data import (
    HEATMAP_TOLERANCE,
    golden,
    images_of,
    operator_by_operator,
    seeded_state,
    small_mspn,
    small_simple_pose,
)
from mindspore import Parameter, Tensor
from published_names import (
    CLASSIFIER,
    mindcv,
    mindpose,
    mindspore_names,
    mmpose_mspn,
    mmpose_resnet,
    model_zoo,
    prefixed,
    replaced,
    torchvision,
    torchvision_of_mspn,
    trunk_of,
    with_counters,
    without_biases,
    zoo_simple_pose,
)

from src.checkpoints.formats import ConversionError, convert_weights
from src.checkpoints.load import adopt_source, load_weights, read_weights, write_pytorch_safetensors
from src.checkpoints.names import assign_weights, named_parameters, pytorch_names
from src.config import load_recipe
from src.models.registry import build_configured_network

MSPN_RECIPE, SIMPLE_RECIPE = 'mspn_2stg_coco_256x192', 'simplepose_r50_coco_256x192'
COURSE_RECIPE = 'mspn_2stg_course_coco_256x192'
GOLDEN = {MSPN_RECIPE: 'mspn_2stg_256x192', SIMPLE_RECIPE: 'simplepose_r50_256x192'}


@pytest.fixture(scope='module')
def networks():
    """The full-size networks, made once; the tests load their weights anew."""
    made = {}

    def get(recipe):
        if recipe not in made:
            made[recipe] = build_configured_network(load_recipe(recipe))
        return made[recipe]

    return get


# Containers

def pth(path, state, **options):
    torch_writer.save(str(path), collections.OrderedDict(state), **options)


def training_checkpoint(key, **options):
    """What a training program saves: the weights under `key`, and its optimiser."""
    def write(path, state):
        moments = {index: {'step': 3, 'exp_avg': np.ones((2, 3), np.float32)} for index in range(2)}
        torch_writer.save(str(path), {key: collections.OrderedDict(state), 'optimizer': {'state': moments},
                                      'iteration': 17, 'perf': np.float64(0.7)}, **options)
    return write


def ckpt(path, state):
    entries = [{'name': name, 'data': Parameter(Tensor(value), name=name)} for name, value in state.items()]
    entries += [{'name': name, 'data': Parameter(Tensor(np.ones(2, np.float32)), name=name)}
                for name in ('moment1.conv1.weight', 'beta1_power', 'global_step')]
    ms.save_checkpoint(entries, str(path))


def safetensors_file(path, state):
    safetensors.numpy.save_file({name: np.ascontiguousarray(value) for name, value in state.items()}, str(path))


FORMATS = {
    'release_of_mspn': (MSPN_RECIPE, with_counters, 'iter-96000.pth', training_checkpoint('model', legacy=True)),
    'mmpose_mspn': (MSPN_RECIPE, lambda state: with_counters(mmpose_mspn(state)), 'mspn.pth',
                    training_checkpoint('state_dict')),
    'course_port': (MSPN_RECIPE, mindspore_names, 'mspn.ckpt', ckpt),
    'pose_resnet_of_2018': (SIMPLE_RECIPE, dict, 'pose_resnet_50_256x192.pth.tar',
                            lambda path, state: pth(path, state, legacy=True)),
    'pose_resnet_in_training': (SIMPLE_RECIPE, lambda state: prefixed(with_counters(state)), 'checkpoint.pth.tar',
                                training_checkpoint('state_dict', legacy=True)),
    'pose_resnet_as_safetensors': (SIMPLE_RECIPE, with_counters, 'pose.safetensors', safetensors_file),
    'model_zoo_simple_pose': (SIMPLE_RECIPE, zoo_simple_pose, 'simple_pose.ckpt', ckpt),
    'mmpose_0_resnet': (SIMPLE_RECIPE, lambda state: with_counters(mmpose_resnet(state, 'keypoint_head')), 'res50.pth',
                        training_checkpoint('state_dict')),
    'mmpose_1_resnet': (SIMPLE_RECIPE, lambda state: mmpose_resnet(state, 'head'), 'res50.safetensors',
                        safetensors_file),
    'mindpose_simple_baseline': (SIMPLE_RECIPE, mindpose, 'res50.ckpt', ckpt),
}


def assert_golden_heatmaps(network, recipe: str) -> None:
    name = GOLDEN[recipe]
    reference = golden(name)
    network.set_train(False)
    with operator_by_operator():
        heatmaps = network(Tensor(images_of(name))).asnumpy()[:, :, ::4, ::4]
    worst = np.abs(heatmaps - reference['heatmaps_every4']).max()
    assert worst <= HEATMAP_TOLERANCE * float(reference['heatmaps_peak'])


def blank(network) -> None:
    """So that no test passes on what the one before it has loaded."""
    shapes = {name: each.shape for name, each in named_parameters(network).items()}
    assign_weights(network, {name: np.zeros(shape, np.float32) for name, shape in shapes.items()})


@pytest.mark.parametrize('name', FORMATS)
def test_a_published_format_meets_the_golden_heatmaps(name, networks, tmp_path):
    recipe, rename, file_name, write = FORMATS[name]
    network, path = networks(recipe), tmp_path / file_name
    state = rename(seeded_state(network))
    write(path, state)
    blank(network)
    found, carried = read_weights(str(path))
    assert carried is None and set(found) == set(state)
    conversion = load_weights(network, found, load_recipe(recipe), str(path))
    assert {row.source for row in conversion.rows} == set(state)
    assert all(row.target or row.note == 'not needed' for row in conversion.rows)
    assert set(conversion.weights) == set(named_parameters(network))
    assert_golden_heatmaps(network, recipe)


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('dtype, bits', [('f2', 11), ('bf16', 8)])
def test_half_precision(dtype, bits, legacy, tmp_path):
    network = small_mspn()
    state, path = seeded_state(network), tmp_path / 'half.pth'
    pth(path, state, dtype=dtype, legacy=legacy)
    weights = convert_weights(read_weights(str(path))[0], network, 'mspn', str(path)).weights
    for target, plain in pytorch_names(network).items():
        assert weights[target].dtype == np.float32
        np.testing.assert_allclose(weights[target], state[plain], rtol=2.0 ** -bits, atol=1e-7)
    assert any((weights[target] != state[plain]).any() for target, plain in pytorch_names(network).items())


def test_bfloat16_of_safetensors(tmp_path):
    """NumPy has no such type; a bfloat16 is the upper half of a float32."""
    values = np.float32([1, -2.5, 3.140625, 0])
    header = json.dumps({'weight': {'dtype': 'BF16', 'shape': [2, 2], 'data_offsets': [0, 8]}}).encode()
    (tmp_path / 'half.safetensors').write_bytes(
        struct.pack('<Q', len(header)) + header + (values.view(np.uint32) >> 16).astype('<u2').tobytes())
    weights, _ = read_weights(str(tmp_path / 'half.safetensors'))
    assert weights['weight'].dtype == np.float32
    np.testing.assert_array_equal(weights['weight'], values.reshape(2, 2))


# What other projects feed their networks

BGR = {'MEANS': [0.406, 0.456, 0.485], 'STDS': [0.225, 0.224, 0.229]}
RELEASED = {'STEM_POOL': 'symmetric', 'NORMALISE_BEFORE_SCALING': False}
# (format, recipe) -> what the format changes in the recipe
ADOPTED = {
    ('release_of_mspn', MSPN_RECIPE): {}, ('release_of_mspn', COURSE_RECIPE): RELEASED,
    ('mmpose_mspn', MSPN_RECIPE): {}, ('mmpose_mspn', COURSE_RECIPE): RELEASED,
    ('course_port', MSPN_RECIPE): {'STEM_POOL': 'same', 'NORMALISE_BEFORE_SCALING': True},
    ('course_port', COURSE_RECIPE): {},
    ('pose_resnet_of_2018', SIMPLE_RECIPE): {}, ('model_zoo_simple_pose', SIMPLE_RECIPE): {'STEM_POOL': 'same'},
    ('mmpose_0_resnet', SIMPLE_RECIPE): BGR, ('mmpose_1_resnet', SIMPLE_RECIPE): BGR,
    ('mindpose_simple_baseline', SIMPLE_RECIPE): {**BGR, 'STDS': [0.255, 0.224, 0.229], 'STEM_POOL': 'same'}}


@pytest.mark.parametrize('name, recipe', ADOPTED)
def test_settings_of_other_projects_are_taken_over(name, recipe, capsys):
    rename = FORMATS[name][1]
    config, before = load_recipe(recipe), load_recipe(recipe)
    adopt_source(config, None, rename(empty_state(recipe)), {}, 'other.pth')
    changed = {key: config[section][key] for section in config for key in config[section]
               if config[section][key] != before[section][key]}
    assert changed == ADOPTED[name, recipe]
    assert capsys.readouterr().out.startswith('other.pth needs, and gets, ') == bool(changed)


def empty_state(recipe: str) -> dict:
    """The PyTorch names of a network of the recipe's kind, and no values to speak of."""
    network = small_mspn() if recipe.startswith('mspn') else small_simple_pose()
    return dict.fromkeys(pytorch_names(network).values(), np.zeros((2, 3, 1, 1), np.float32))


def test_what_the_user_sets_stays():
    config = load_recipe(SIMPLE_RECIPE)
    adopt_source(config, None, mindpose(empty_state(SIMPLE_RECIPE)),
                 {'MODEL.STEM_POOL': 'symmetric', 'DATASET.MEANS': '1 2 3'}, 'other.ckpt')
    assert config.MODEL.STEM_POOL == 'symmetric' and config.DATASET.MEANS == [0.485, 0.456, 0.406]
    assert config.DATASET.STDS == [0.255, 0.224, 0.229]


def test_formats_do_not_share_what_they_set():
    config = load_recipe(SIMPLE_RECIPE)
    adopt_source(config, None, mindpose(empty_state(SIMPLE_RECIPE)), {}, 'other.ckpt')
    config.DATASET.MEANS[0] = 7.0
    again = load_recipe(SIMPLE_RECIPE)
    adopt_source(again, None, mindpose(empty_state(SIMPLE_RECIPE)), {}, 'other.ckpt')
    assert again.DATASET.MEANS == [0.406, 0.456, 0.485]


def test_a_configuration_inside_the_file_says_it_all():
    config = load_recipe(SIMPLE_RECIPE)
    adopt_source(config, load_recipe(SIMPLE_RECIPE), {'head.deconv_layer.0.weight': np.zeros(1)}, {}, 'ours.ckpt')
    assert config == load_recipe(SIMPLE_RECIPE)


# ImageNet trunks

@pytest.mark.parametrize('blocks', [(3, 4, 6, 3), (3, 4, 23, 3)], ids=['resnet50', 'resnet101'])
@pytest.mark.parametrize('first_only, stages', [(False, (0, 1)), (True, (0,))])
@pytest.mark.parametrize('kind', [torchvision, model_zoo])
def test_an_imagenet_trunk_starts_an_mspn(kind, first_only, stages, blocks):
    network = small_mspn(planes=(8, 16, 32, 64), stem_channels=8, num_stages=2, blocks=blocks)
    before = {name: each.asnumpy().copy() for name, each in named_parameters(network).items()}
    state = seeded_state(network)
    file = kind(torchvision_of_mspn(state))
    conversion = load_weights(network, file, load_recipe(MSPN_RECIPE), 'resnet.pth', is_start=True,
                              first_stage_only=first_only)
    expected = without_biases(state)
    after, names = named_parameters(network), pytorch_names(network)
    for target, plain in names.items():
        stage = re.match(r'stage(\d)\.downsample\.', plain)
        if plain.startswith('top.') or (stage and int(stage[1]) in stages):
            source = re.sub(r'^stage\d', 'stage0', plain)
            want = expected.get(source, np.zeros(after[target].shape))
            assert source in expected or source.endswith('.conv.bias')
        else:
            want = before[target]
        np.testing.assert_array_equal(after[target].asnumpy(), want, err_msg=plain)
    assert conversion.initial_parts == ['stage0.upsample', *['stage1.downsample'] * first_only, 'stage1.upsample']
    assert conversion.zero_biases == 1 + len(stages) * (3 * sum(blocks) + 4)


@pytest.mark.parametrize('network, kind, layers, remedy', [
    (small_simple_pose, 'pose_resnet', 50, 'POSE_RESNET.NUM_LAYERS=50'),
    (small_mspn, 'mspn', 101, r'MSPN.BLOCKS=\[3,4,23,3\]'),
    (small_mspn, 'mspn', 18, 'MSPN has blocks of three convolutions')])
def test_a_trunk_of_another_depth_is_told_with_the_remedy(network, kind, layers, remedy):
    file = torchvision(trunk_of(small_simple_pose(num_layers=layers)))
    with pytest.raises(ValueError, match=rf'Its trunk is a ResNet-{layers}; .*{remedy}'):
        convert_weights(file, network(), kind, 'resnet.pth')


@pytest.mark.parametrize('recipe, rename', [(MSPN_RECIPE, dict), (SIMPLE_RECIPE, dict), (SIMPLE_RECIPE, torchvision)])
def test_first_stage_only_is_for_imagenet_trunks_in_an_mspn(recipe, rename):
    network = small_mspn() if recipe == MSPN_RECIPE else small_simple_pose()
    state = seeded_state(network) if rename is dict else rename(trunk_of(network))
    with pytest.raises(ValueError, match='is for an ImageNet trunk in an MSPN; x.pth is of the format'):
        load_weights(network, state, load_recipe(recipe), 'x.pth', is_start=True, first_stage_only=True)


TRUNKS = {'torchvision': torchvision, 'torchvision_of_2017': lambda trunk: {**trunk, **CLASSIFIER},
          'model_zoo': model_zoo, 'mindcv': mindcv}


@pytest.mark.parametrize('kind, layers', [*(('torchvision', layers) for layers in (18, 34, 50, 101, 152)),
                                          ('torchvision_of_2017', 50), ('model_zoo', 50), ('mindcv', 18)])
def test_an_imagenet_trunk_starts_a_simple_pose_net(kind, layers):
    """Its filters stay in their order, as in Simple Baselines; the head keeps its initial weights."""
    network = small_simple_pose(num_layers=layers)
    before = {name: each.asnumpy().copy() for name, each in named_parameters(network).items()}
    state = seeded_state(network)
    file = TRUNKS[kind](trunk_of(network))
    config = load_recipe(SIMPLE_RECIPE)
    with pytest.raises(ValueError, match='does not fit .* it lacks deconv_layers, final_layer, so it is a start'):
        load_weights(network, file, config, 'resnet.pth')
    conversion = load_weights(network, file, config, 'resnet.pth', is_start=True)
    after = named_parameters(network)
    for target, plain in pytorch_names(network).items():
        want = before[target] if target in conversion.initial else state[plain]
        np.testing.assert_array_equal(after[target].asnumpy(), want, err_msg=plain)
    assert conversion.initial_parts == ['deconv_layers', 'final_layer']
    assert {row.source for row in conversion.rows if not row.target} == {
        name for name in file if 'num_batches' in name or name.startswith(('fc.', 'end_point.', 'classifier.'))}


# Everything is accounted for

def change(**changes):
    """Return the state of a small MSPN with some entries changed, or gone where the value is None."""
    network = small_mspn()
    state = {**seeded_state(network), **changes}
    return network, {name: value for name, value in state.items() if value is not None}


PROBLEMS = {
    'missing': ({'top.conv.bn.bias': None}, '1 missing, e.g. top.conv.bn.beta'),
    'unexpected': ({'fc.weight': np.ones(3)}, '1 unexpected, e.g. fc.weight'),
    'unlike_the_rest': ({'module.top.conv.conv.weight': np.ones(3)}, '1 unexpected, e.g. module.top.conv.conv.weight'),
    'counter_of_nothing': ({'top.other.num_batches_tracked': np.int64(0)}, 'unexpected, e.g. top.other.num_batches'),
    'other_shape': ({'stage0.upsample.up1.u_skip.conv.bias': np.ones((1, 16))},
                    r'1 of another shape, e.g. stage0.upsample.up1.u_skip.conv.bias is \(1, 16\), should be \(16,\)'),
    # The same number of values in another order of axes.
    'turned': ({'stage1.upsample.up1.res_conv2.conv.weight': np.ones((16, 17, 3, 3))},
               r'is \(16, 17, 3, 3\), should be \(17, 16, 3, 3\)'),
    'named_twice': ({'top.conv.bn.moving_mean': np.ones(8)}, '1 named twice, e.g. top.conv.bn.moving_mean'),
    'not_finite': ({'top.conv.bn.weight': np.full(8, np.nan)}, '1 with NaN or infinity, e.g. top.conv.bn.gamma'),
}


@pytest.mark.parametrize('name', PROBLEMS)
def test_what_does_not_fit_is_named_and_nothing_changes(name):
    changes, message = PROBLEMS[name]
    network, state = change(**changes)
    before = {key: each.asnumpy().copy() for key, each in named_parameters(network).items()}
    with pytest.raises(ValueError, match=r'x.pth does not fit the network \(MSPN\), read as MSPN: .*' + message):
        load_weights(network, state, load_recipe(MSPN_RECIPE), 'x.pth')
    assert all(np.array_equal(each.asnumpy(), before[key]) for key, each in named_parameters(network).items())


def test_several_problems_are_named_at_once():
    network, state = change(**{key: value for changes, _ in PROBLEMS.values() for key, value in changes.items()})
    with pytest.raises(ConversionError, match='1 missing.*3 unexpected.*2 of another shape.*named twice.*NaN') as error:
        convert_weights(state, network, 'mspn', 'x.pth')
    assert {row.source for row in error.value.rows} == set(state)
    notes = {row.source: row.note for row in error.value.rows}
    assert notes['fc.weight'] == 'UNEXPECTED' and notes['stage0.upsample.up1.u_skip.conv.bias'] == 'SHOULD BE 16'


def test_left_over_names_can_be_allowed():
    network, state = change(**{'fc.weight': np.ones(3), 'aux.bias': np.ones(3)})
    with pytest.raises(ValueError, match='1 unexpected, e.g. aux.bias'):
        convert_weights(state, network, 'mspn', 'x.pth', ignore=['fc.*'])
    rows = convert_weights(state, network, 'mspn', 'x.pth', ignore=['fc.*', 'aux.bias']).rows
    assert [row.source for row in rows if row.note == 'ignored'] == ['fc.weight', 'aux.bias']


@pytest.mark.parametrize('state, message', [
    ({}, 'its names begin with nothing'), ({'encoder.weight': np.ones(1)}, 'its names begin with encoder.weight'),
    ({'deconv_layers.0.weight': np.ones(1)}, 'It looks like Simple Baselines: another recipe?')])
def test_an_unknown_format_is_told_with_the_known_ones(state, message):
    with pytest.raises(ValueError, match=r'does not fit the network \(MSPN\): .*MMPose MSPN.*' + re.escape(message)):
        convert_weights(state, small_mspn(), 'mspn', 'x.pth')


def test_older_heads_of_mmpose_mspn_are_known():
    network = small_mspn()
    state = replaced(mmpose_mspn(seeded_state(network)), (r'^head\.', 'keypoint_head.'))
    conversion = convert_weights(state, network, 'mspn', 'x.pth')
    assert len(conversion.weights) == len(named_parameters(network)) and not conversion.initial


def test_prefixes_of_wrappers_fall_away_however_many():
    network = small_simple_pose()
    state = seeded_state(network)
    twice = prefixed({f'model.{name}': value for name, value in state.items()})
    weights = convert_weights(twice, network, 'pose_resnet', 'x.pth').weights
    assert all(np.array_equal(weights[target], state[plain]) for target, plain in pytorch_names(network).items())


# And back

def test_weights_return_to_pytorch_names(tmp_path):
    network, path = small_simple_pose(), tmp_path / 'pose.safetensors'
    state, config = seeded_state(network), load_recipe(SIMPLE_RECIPE)
    assign_weights(network, {target: state[plain] for target, plain in pytorch_names(network).items()})
    write_pytorch_safetensors(str(path), network, config)
    written = safetensors.numpy.load_file(str(path))
    assert {name for name in written if not name.endswith('num_batches_tracked')} == set(state)
    assert all(np.array_equal(written[name], state[name]) for name in state)
    assert sum(name.endswith('num_batches_tracked') for name in written) == sum(
        name.endswith('running_mean') for name in state)
    assert read_weights(str(path))[1] == config


@pytest.mark.parametrize('recipe, path, warns', [
    (SIMPLE_RECIPE, 'resnet50_udp_256_192.ckpt', True), (SIMPLE_RECIPE, 'td-hm_hrnet-w32_udp-8xb64.pth', True),
    (SIMPLE_RECIPE, 'udp/resnet50_256_192.ckpt', False), (SIMPLE_RECIPE, 'udpated.ckpt', False),
    ('simplepose_r50_udp_coco_256x192', 'resnet50_udp_256_192.ckpt', False)])
def test_weights_of_udp_are_told_by_the_name_of_their_file(recipe, path, warns, capsys):
    """MindPose's weights of UDP have the names of its other weights, so nothing in the file tells them."""
    config = load_recipe(recipe)
    adopt_source(config, None, mindpose(empty_state(SIMPLE_RECIPE)), {}, path)
    assert ('warning: by its name' in capsys.readouterr().out) == warns
    assert config.DATASET.ENCODING == load_recipe(recipe).DATASET.ENCODING
    assert config.DATASET.STDS == [0.255, 0.224, 0.229] and config.MODEL.STEM_POOL == 'same'
