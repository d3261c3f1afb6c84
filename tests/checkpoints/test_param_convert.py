"""param_convert.py from end to end, and the scripts that take files of other programs directly."""
import collections
import json
import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch_writer
from golden_data import seeded_state
from published_names import (
    CLASSIFIER,
    mmpose_mspn,
    mmpose_resnet,
    mspn_release,
    torchvision,
    torchvision_of_mspn,
    trunk_of,
    zoo_simple_pose,
)
from script_runs import MSPN, SIMPLE_POSE, TINY, run_script

from src.checkpoints.load import read_weights
from src.checkpoints.names import named_parameters, pytorch_names
from src.config import load_recipe, resolve
from src.models.registry import build_configured_network
from src.synthetic.writing import write_synthetic_coco

TWO_STAGES = f'{TINY[MSPN]} MSPN.STAGE_NUM=2'


class Outcome(NamedTuple):
    """How the script ended, and what it printed."""

    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('POSE_TRACEBACK', raising=False)


@pytest.fixture
def call(capfd):
    """Return a function that runs a script: (script, arguments) -> Outcome."""
    def run(script: str, arguments: str) -> Outcome:
        capfd.readouterr()
        return Outcome(run_script(script, arguments), *capfd.readouterr())
    return run


def convert_small(call, state: dict, arguments: str = '', *, recipe: str = SIMPLE_POSE, settings: str = '') -> Outcome:
    """Write `state` to in.pth and convert it to out.ckpt."""
    torch_writer.save('in.pth', state)
    return call('param_convert', f'--recipe {recipe} --input in.pth --output out.ckpt {arguments} '
                                 f'{settings or TINY[recipe]}')


def network_of(recipe: str = SIMPLE_POSE, settings: str = ''):
    words = (settings or TINY[recipe]).split()[1:]
    return build_configured_network(resolve(load_recipe(recipe), dict(word.split('=') for word in words)))


def assert_fails(outcome: Outcome, *parts: str) -> None:
    assert outcome.status == 2 and 'Traceback' not in outcome.err
    assert re.match(r'(\w+\.py: )?error: ', outcome.err.splitlines()[-1])
    for part in parts:
        assert part in outcome.err
    assert not os.path.exists('out.ckpt') and not [name for name in os.listdir() if 'tmp' in name]


def account_of(out: str) -> dict:
    """Return {name in the file: [(our name, shape, note)]} of the printed table."""
    lines = out.splitlines()
    begin = next(index for index, line in enumerate(lines) if line.startswith('name in the file'))
    rows = collections.defaultdict(list)
    for line in lines[begin + 1:]:
        words = re.split(r' {2,}', line)
        if len(words) < 3:
            break
        rows[words[0]].append((*words[1:3], words[3] if len(words) > 3 else ''))
    return rows


# Weights in

@pytest.mark.parametrize('recipe, rename, format_name', [
    (SIMPLE_POSE, dict, 'Simple Baselines'), (SIMPLE_POSE, zoo_simple_pose, 'MindSpore model-zoo simple_pose'),
    (MSPN, mspn_release, 'MSPN')])
def test_a_whole_network_becomes_a_checkpoint_with_its_recipe(call, recipe, rename, format_name):
    network = network_of(recipe)
    state = seeded_state(network)
    outcome = convert_small(call, {'module.' + name: value for name, value in rename(state).items()}, recipe=recipe)
    assert outcome.status == 0, outcome.err
    weights, config = read_weights('out.ckpt')
    assert {name: weights[target].tolist() for target, name in pytorch_names(network).items()} == {
        name: value.tolist() for name, value in state.items()}
    stem = 'same' if rename is zoo_simple_pose else 'symmetric'
    assert config.MODEL.STEM_CHANNELS == 8 and stem == config.MODEL.STEM_POOL
    total = len(named_parameters(network))
    assert f'format: {format_name}; {total} of {total} parameters of ' in outcome.out
    assert 'note:' not in outcome.out and outcome.out.splitlines()[-1] == 'written: out.ckpt'


def test_the_table_tells_what_became_of_every_name(call):
    network = network_of(MSPN)
    state = mmpose_mspn(seeded_state(network))
    state['backbone.top.top.0.bn.num_batches_tracked'] = np.array(3)
    outcome = convert_small(call, {'state_dict': state, 'meta': {'epoch': 210}}, recipe=MSPN)
    assert outcome.status == 0, outcome.err
    rows = account_of(outcome.out)
    assert list(rows) == list(state)
    assert rows['backbone.top.top.0.conv.weight'] == [
        ('top.conv.conv.weight', '8x3x7x7', 'input channels reversed: RGB -> BGR')]
    assert rows['head.predict_layers.3.conv_layers.1.bn.running_var'] == [
        ('stage0.upsample.up4.res_conv2.bn.moving_variance', '17', '')]
    assert rows['backbone.top.top.0.bn.num_batches_tracked'] == [('-', 'scalar', 'not needed')]
    assert f'1 of {len(state)} names left over' in outcome.out
    biases = sum(name.endswith('.conv.bias') for name in named_parameters(network))
    assert f'note: {biases} of these are biases of zero; the format has none' in outcome.out


def test_settings_of_the_source_are_inside_the_checkpoint(call):
    network = network_of()
    outcome = convert_small(call, mmpose_resnet(seeded_state(network), 'head'))
    assert outcome.status == 0, outcome.err
    config = read_weights('out.ckpt')[1]
    assert config.DATASET.MEANS == [0.406, 0.456, 0.485] and config.DATASET.STDS == [0.225, 0.224, 0.229]
    assert 'in.pth needs, and gets, DATASET.MEANS=[0.406, 0.456, 0.485], DATASET.STDS=' in outcome.out
    again = convert_small(call, mmpose_resnet(seeded_state(network), 'head'),
                          settings=f'{TINY[SIMPLE_POSE]} DATASET.MEANS=[0.1,0.2,0.3]')
    assert again.status == 0, again.err
    assert read_weights('out.ckpt')[1].DATASET.MEANS == [0.1, 0.2, 0.3]


def test_what_is_left_over_is_an_error_unless_it_is_named(call):
    state = {**seeded_state(network_of()), 'aux.weight': np.ones((2, 3), np.float32), 'aux.bias': np.ones(2)}
    outcome = convert_small(call, state)
    assert_fails(outcome, 'in.pth does not fit', '2 unexpected, e.g. aux.weight; aux.bias')
    # The table is there to look it up.
    assert account_of(outcome.out)['aux.weight'] == [('-', '2x3', 'UNEXPECTED')]
    assert_fails(convert_small(call, state, '--ignore aux.w*'), '1 unexpected, e.g. aux.bias')
    allowed = convert_small(call, state, '--ignore aux.w* --ignore aux.bias')
    assert allowed.status == 0, allowed.err
    assert account_of(allowed.out)['aux.bias'] == [('-', '2', 'ignored')]


def test_what_is_missing_is_an_error_whatever_is_ignored(call):
    state = seeded_state(network_of())
    del state['final_layer.bias']
    assert_fails(convert_small(call, state, '--ignore *'), '1 missing, e.g. final_layer.bias')


# ImageNet starts

def test_an_imagenet_start_says_what_is_random(call):
    network = network_of()
    outcome = convert_small(call, torchvision(trunk_of(network)))
    assert outcome.status == 0, outcome.err
    assert 'note: random initial values in deconv_layers, final_layer: a start for training' in outcome.out
    assert account_of(outcome.out)['fc.weight'] == [('-', '10x256', 'not needed')]
    weights = read_weights('out.ckpt')[0]
    names = pytorch_names(network)
    trunk = trunk_of(network)
    taken = {names[target]: value for target, value in weights.items() if names[target] in trunk}
    assert len(taken) > 50 and all(np.array_equal(value, trunk[name]) for name, value in taken.items())


@pytest.mark.parametrize('flag, parts', [('', ['stage0.upsample', 'stage1.upsample']),
                                         ('--first_stage_only', ['stage0.upsample', 'stage1.downsample',
                                                                 'stage1.upsample'])])
def test_an_imagenet_start_fills_all_stages_of_an_mspn_or_the_first(call, flag, parts):
    network = network_of(MSPN, TWO_STAGES)
    # The stem of the tiny network is as wide as the input of its stages.
    file = {**torchvision_of_mspn(seeded_state(network)), **CLASSIFIER}
    outcome = convert_small(call, file, flag, recipe=MSPN, settings=TWO_STAGES)
    assert outcome.status == 0, outcome.err
    assert f'note: random initial values in {", ".join(parts)}: a start' in outcome.out
    targets = [target for target, _, _ in account_of(outcome.out)['layer1.0.conv1.weight']]
    assert targets == [f'stage{stage}.downsample.layer1.0.conv_bn_relu1.conv.weight'
                       for stage in ((0,) if flag else (0, 1))]


def test_first_stage_only_is_refused_elsewhere(call):
    assert_fails(convert_small(call, seeded_state(network_of()), '--first_stage_only'),
                 'first_stage_only is for an ImageNet trunk in an MSPN')


# And back

def test_our_checkpoint_returns_as_safetensors_and_comes_again_with_the_same_bits(call):
    assert convert_small(call, seeded_state(network_of())).status == 0
    back = call('param_convert', '--input out.ckpt --output back.safetensors')
    assert back.status == 0, back.err
    assert 'recipe: the one inside out.ckpt' in back.out and 'note:' not in back.out
    assert len(account_of(back.out)) == len(read_weights('out.ckpt')[0])
    again = call('param_convert', '--input back.safetensors --output again.ckpt')
    assert again.status == 0, again.err
    (first, config), (last, again_config) = read_weights('out.ckpt'), read_weights('again.ckpt')
    assert list(first) == list(last) and config == again_config
    assert all(first[name].tobytes() == last[name].tobytes() for name in first)


def test_a_file_in_float16_has_half_the_size_and_what_is_beyond_stays_float32(call):
    state = seeded_state(network_of())
    large = next(name for name in state if name.endswith('running_var'))
    state[large] = np.full_like(state[large], 7e4)
    assert convert_small(call, state).status == 0
    for flag, name in (('', 'whole'), ('--float16', 'half')):
        outcome = call('param_convert', f'--input out.ckpt --output {name}.safetensors {flag}')
        assert outcome.status == 0, outcome.err
    whole, half = (read_weights(f'{name}.safetensors')[0] for name in ('whole', 'half'))
    assert os.path.getsize('half.safetensors') < 0.6 * os.path.getsize('whole.safetensors')
    with np.errstate(over='ignore'):
        expected = {name: value.astype(np.float16) for name, value in whole.items() if value.dtype == np.float32}
    expected[large] = whole[large]
    assert all(np.array_equal(half[name], value) and half[name].dtype == value.dtype
               for name, value in expected.items())
    again = call('param_convert', '--input half.safetensors --output again.ckpt')
    assert again.status == 0 and read_weights('again.ckpt')[0]['conv1.weight'].dtype == np.float32


def test_pytorch_files_become_safetensors_at_once(call):
    state = seeded_state(network_of())
    torch_writer.save('in.pth.tar', {'state_dict': state}, legacy=True)
    outcome = call('param_convert', f'--recipe {SIMPLE_POSE} --input in.pth.tar --output x.safetensors '
                                    f'{TINY[SIMPLE_POSE]}')
    assert outcome.status == 0, outcome.err
    found = read_weights('x.safetensors')[0]
    assert all(np.array_equal(found[name], value) for name, value in state.items())


# Mistakes

def simple(name: str = 'in.pth') -> None:
    torch_writer.save(name, {'deconv_layers.0.weight': np.ones(1)})


MISTAKES = {
    'no_recipe': ('--input in.pth --output out.ckpt', ('in.pth does not say', '--recipe', SIMPLE_POSE)),
    'recipe_unknown': ('--recipe pose --input in.pth --output out.ckpt', ("unknown recipe 'pose'", '--list_recipes')),
    'key_unknown': (f'--recipe {SIMPLE_POSE} --input in.pth --output out.ckpt --set MODEL.SIZE=3', ('MODEL.SIZE',)),
    'input_missing': (f'--recipe {SIMPLE_POSE} --input none.pth --output out.ckpt', ('none.pth does not exist',)),
    'input_of_other_kind': (f'--recipe {SIMPLE_POSE} --input in.txt --output out.ckpt', ('in.txt', 'known endings')),
    'input_hostile': (f'--recipe {SIMPLE_POSE} --input evil.pth --output out.ckpt', ('evil.pth', 'os.system')),
    'other_network': (f'--recipe {MSPN} --input in.pth --output out.ckpt', ('It looks like Simple Baselines',)),
    'output_of_other_kind': (f'--recipe {SIMPLE_POSE} --input in.pth --output out.pth', ('out.pth', '.ckpt or .safe')),
    'output_is_the_input': ('--input same.ckpt --output ./same.ckpt', ('./same.ckpt is the input',)),
    'checkpoint_in_float16': ('--input same.ckpt --output out.ckpt --float16', ('--float16 is for .safetensors',)),
    'output_is_a_folder': (f'--recipe {SIMPLE_POSE} --input in.pth --output folder.ckpt', ('should be a file',)),
    'output_under_a_file': (f'--recipe {SIMPLE_POSE} --input in.pth --output in.pth/x.ckpt', ('cannot write',)),
    'nothing_given': ('', ('--input', '--output')),
}


@pytest.mark.parametrize('name', MISTAKES)
def test_a_mistake_is_explained_and_writes_nothing(call, name):
    simple()
    Path('in.txt').write_text('weights')
    Path('evil.pth').write_bytes(b'\x80\x02cos\nsystem\nX\x0b\x00\x00\x00touch pwned\x85R.')
    Path('same.ckpt').write_bytes(b'mine')
    os.mkdir('folder.ckpt')
    before = sorted(os.listdir())
    arguments, parts = MISTAKES[name]
    assert_fails(call('param_convert', arguments), *parts)
    assert sorted(os.listdir()) == before and Path('same.ckpt').read_bytes() == b'mine'


@pytest.mark.parametrize('output', ['out.ckpt', 'out.safetensors'])
def test_an_output_that_cannot_be_finished_leaves_the_earlier_one(call, monkeypatch, output):
    Path(output).write_bytes(b'of an earlier run')

    replace = os.replace

    def fail_at_the_end(source, target):
        if str(target).endswith(output):
            raise OSError(28, 'No space left on device')
        replace(source, target)

    monkeypatch.setattr('os.replace', fail_at_the_end)
    torch_writer.save('in.pth', seeded_state(network_of()))
    outcome = call('param_convert', f'--recipe {SIMPLE_POSE} --input in.pth --output {output} {TINY[SIMPLE_POSE]}')
    assert outcome.status == 2 and 'cannot write' in outcome.err and output in outcome.err
    assert sorted(os.listdir()) == sorted(['in.pth', output]) and Path(output).read_bytes() == b'of an earlier run'


# Without a conversion first

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    write_synthetic_coco(str(folder), num_train=3, num_val=2, seed=1, image_size=(240, 180))
    return folder


def test_train_and_eval_take_pytorch_files_directly(call, data):
    """A start from a file of MMPose, and an evaluation of the same file, agree with the converted checkpoint."""
    size = 'MODEL.IMAGE_SIZE=[96,128] POSE_RESNET.HEATMAP_SIZE=[24,32]'
    settings = f'{TINY[SIMPLE_POSE]} {size}'
    state = mmpose_resnet(seeded_state(network_of(settings=settings)), 'keypoint_head')
    assert convert_small(call, state, settings=settings).status == 0
    trained = call('train', f'--recipe {SIMPLE_POSE} --data_url {data} --pretrained_path in.pth --epoch 0 '
                            f'--batch_size 2 --ckpt_save_path start.ckpt {settings}')
    assert trained.status == 0, trained.err
    assert 'in.pth needs, and gets, DATASET.MEANS' in trained.out
    assert re.search(r'start: (\d+) of \1 parameters from in.pth \(MMPose ResNet\)', trained.out)
    (converted, config), (start, start_config) = read_weights('out.ckpt'), read_weights('start.ckpt')
    assert all(np.array_equal(converted[name], start[name]) for name in converted)
    assert config.DATASET.MEANS == start_config.DATASET.MEANS == [0.406, 0.456, 0.485]

    results = {}
    for file, recipe in (('in.pth', f'--recipe {SIMPLE_POSE} {settings}'), ('out.ckpt', '')):
        outcome = call('eval', f'--ckpt_path {file} --data_url {data} --use_gt_bbox --save_path {file}.json {recipe}')
        assert outcome.status == 0, outcome.err
        results[file] = json.loads(Path(f'{file}.json').read_text())
    assert results['in.pth'] == results['out.ckpt'] and results['in.pth']


def test_eval_refuses_an_imagenet_start(call, data):
    torch_writer.save('resnet18.pth', torchvision(trunk_of(network_of())))
    outcome = call('eval', f'--recipe {SIMPLE_POSE} --ckpt_path resnet18.pth --data_url {data} --use_gt_bbox '
                           f'{TINY[SIMPLE_POSE]}')
    assert_fails(outcome, 'resnet18.pth does not fit', 'ImageNet ResNet it lacks deconv_layers, final_layer',
                 '--pretrained_path')
