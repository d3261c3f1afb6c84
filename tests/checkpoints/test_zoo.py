"""Published weights by name: the table, and downloads from a server on this machine that become checkpoints."""
import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
import torch_writer
import yaml
from file_server import ServedFile, running_server
from golden_data import seeded_state
from mindspore import Parameter, Tensor
from published_names import (
    mindcv,
    mindpose,
    mindpose_hrnet,
    mindspore_names,
    mmpose_hrnet,
    mmpose_mobilenet,
    mmpose_mspn,
    mmpose_resnet,
    trunk_of,
    with_counters,
)
from script_runs import ROOT, SIMPLE_POSE, run_script

from src import PoseEstimator
from src.checkpoints import zoo
from src.checkpoints.ckpt import read_entries
from src.checkpoints.names import named_parameters, pytorch_names
from src.checkpoints.zoo import fetch_checkpoint, get, list_table
from src.checkpoints.zoo_table import find_weights, read_zoo
from src.config import from_json, load_recipe, recipe_names, resolve
from src.evaluation.arguments import check_arguments
from src.models.registry import build_configured_network, network_name
from src.system import downloads
from src.system.errors import PoseError
from src.training.setup import build_started_network

PUBLISHED = ROOT.parent / 'shared' / 'data' / 'weights_zoo.csv'
# Its head predicts offsets beside heatmaps, as no network here does.
MISSING_RECIPES = {'hrnet_w32_udp_regress_coco_256x192'}


# The table

ROWS = read_zoo()


def test_every_recipe_is_there():
    needed = {row.recipe for row in ROWS.values()}
    assert needed - set(recipe_names()) == MISSING_RECIPES


@pytest.mark.skipif(not PUBLISHED.is_file(), reason='the list of published files is not here')
def test_the_table_has_every_published_file_with_its_value():
    with open(PUBLISHED, newline='', encoding='utf-8') as file:
        listed = {row['url']: row for row in csv.DictReader(file) if '384x288' not in row['name']
                  or '256x192' not in row['url']}
    ours = {row.url: row for row in ROWS.values()}
    # The page of MMPose 1.x has no file of its own for this one; MMPose 0.x has.
    other = ROWS['simplepose_r101_coco_384x288']
    assert set(ours) - set(listed) == {other.url} and len(ROWS) == 67
    for url, row in listed.items():
        assert ours[url].published == (float(row['published']) if row['published'] else None)
        assert ours[url].data == row['dataset'] and row['project'].lower().startswith(ours[url].project.lower()[:6])


@pytest.mark.parametrize('name', [name for name, row in ROWS.items() if row.recipe in recipe_names()])
def test_a_recipe_is_that_of_the_file(name):
    """Network, depth or width, input size and keypoints, told by the name of the project's file."""
    row = ROWS[name]
    config = resolve(load_recipe(row.recipe), row.settings)
    file = row.file
    kind, number = re.search(r'(hrnet[-_]w|res(?:net)?|mobilenet_?v|mspn\.|mspn)(\d*)', file).groups()
    stages = re.search(r'(\d?)x?mspn', file)
    assert network_name(config) == {'h': f'hrnet_w{number}', 'r': f'simplepose_r{number}',
                                    'm': 'simplepose_mobilenetv2'}[kind[0]] if not stages else (
        network_name(config) == f'mspn_{2 if file == "mspn.ckpt" else stages[1] or 1}stg')
    size = re.search(r'(?<=[_-])(\d{3})[x_](\d{3})\D', file)
    if size:
        assert [int(size[2]), int(size[1])] == config.MODEL.IMAGE_SIZE
    assert row.is_start or {'COCO': 17, 'CrowdPose': 14, 'MPII': 16}[row.data] == config.MODEL.NUM_JOINTS
    assert row.is_start or row.data.lower() == config.DATASET.PROTOCOL
    assert ('udp' in file, 'dark' in file) == ('_udp_' in row.recipe, '_dark_' in row.recipe)


def test_hashes_are_those_in_the_names_of_two_projects():
    for row in ROWS.values():
        assert len(row.sha256) == (8 if row.project in ('MMPose', 'MindCV') else 0) and row.sha256 in row.file
        assert row.url.startswith('https://') and row.licence and row.page


def test_the_list_says_what_was_never_loaded():
    lines = list_table(['mindcv', 'HRNET'])
    assert [line.split()[0] for line in lines] == ['name', 'hrnet_w32_imagenet', 'hrnet_w48_imagenet']
    assert lines[1].split()[3:] == ['never', 'a', 'start', 'for', 'training']
    with pytest.raises(PoseError, match='no published weights with nobody and here'):
        list_table(['nobody', 'here'])


@pytest.mark.parametrize('name, message', [
    ('hrnet_w32_coco_256x129', r"are called 'hrnet_w32_coco_256x129'; did you mean hrnet_w32_coco_256x192\?"),
    ('README.md', r'\(INPUTs come before --weights, a checkpoint comes with --ckpt_path\)'),
    ('hrnet_w32_udp_regress_coco_256x192', 'cannot be used: its head predicts offsets'),
    ('resnet50_imagenet', 'is a start for training')])
def test_other_names_are_refused(name, message, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(PoseError, match=message):
        fetch_checkpoint(name)


# Weights of every project and network, small, from a server

RESNET = {'MODEL.STEM_CHANNELS': 8, 'POSE_RESNET.NUM_LAYERS': 18, 'POSE_RESNET.NUM_DECONV_FILTERS': [16, 16, 16]}
MSPN = {'MODEL.STEM_CHANNELS': 8, 'MSPN.BLOCKS': [1, 1, 1, 1], 'MSPN.PLANES': [4, 8, 16, 32],
        'MSPN.UPSAMPLE_CHANNEL_NUM': 16}
HRNET = {'MODEL.STEM_CHANNELS': 8, 'HRNET.WIDTH': 8, 'HRNET.MODULES': [1, 1, 1], 'HRNET.BLOCKS': 1}
MOBILENET = {'POSE_MOBILENET.WIDTH': 0.25, 'POSE_MOBILENET.LAST_CHANNELS': 24,
             'POSE_MOBILENET.NUM_DECONV_FILTERS': [16, 16, 16]}


def pth(state: dict) -> bytes:
    buffer = io.BytesIO()
    torch_writer.save(buffer, {'state_dict': state, 'meta': {'epoch': 210}})
    return buffer.getvalue()


def ckpt(state: dict) -> bytes:
    ms.save_checkpoint([{'name': name, 'data': Parameter(Tensor(value), name=name)} for name, value in state.items()],
                       'written.ckpt')
    return Path('written.ckpt').read_bytes()


def with_19_keypoints(state: dict) -> dict:
    """A head for COCO's keypoints and two more."""
    return {name: np.concatenate([value, value[:2] + 1]) if name.startswith('final_layer.') else value
            for name, value in state.items()}


# Row of the table -> small settings, names of the project, container
SMALL = {
    'hrnet_w32_coco_256x192': (HRNET, lambda state: mmpose_hrnet(state, 'head'), pth),
    'hrnet_w48_mpii_256x256': (HRNET, lambda state: mmpose_hrnet(state, 'keypoint_head'), pth),
    'hrnet_w32_coco_256x192_aic_combine': (HRNET, lambda state: mmpose_hrnet(with_19_keypoints(state), 'head'), pth),
    'simplepose_r152_crowdpose_256x192': (RESNET, lambda state: mmpose_resnet(state, 'keypoint_head'), pth),
    'simplepose_mobilenetv2_coco_384x288': (MOBILENET, lambda state: mmpose_mobilenet(state, 'head'), pth),
    'mspn_2stg_coco_256x192': (MSPN, lambda state: with_counters(mmpose_mspn(state)), pth),
    'hrnet_w32_coco_256x192_mindpose': (HRNET, mindpose_hrnet, ckpt),
    'hrnet_w48_udp_coco_256x192_mindpose': (HRNET, mindpose_hrnet, ckpt),
    'simplepose_r50_coco_256x192_mindpose': (RESNET, mindpose, ckpt),
    'mspn_2stg_course_coco_256x192': (MSPN, mindspore_names, ckpt)}


class Zoo:
    """A server, and a table of the user's own with what it has: rows of the table of this package, but small."""

    def __init__(self, server, folder: Path):
        self.server, self._table = server, folder / 'zoo.yaml'
        self.content = {'projects': {'P': {'licence': 'none', 'page': 'here'}}, 'sources': []}

    def add(self, name: str, content: bytes, *, file: str = '', **entry) -> str:
        """Serve a file under a name that holds its hash, and return its path in the cache."""
        row = ROWS.get(name)
        ending = (row.file if row else 'w.ckpt').rpartition('.')[2]
        file = file or f'{name}-{hashlib.sha256(content).hexdigest()[:8]}.{ending}'
        if row:
            entry = {'recipe': row.recipe, **({'head_keypoints': row.head_keypoints} if row.head_keypoints else {}),
                     **entry}
        self.content['sources'].append({'project': 'P', 'folder': self.server.address, 'weights': {
            name: {'file': file, **entry}}, 'data': row.data if row else 'COCO'})
        self._table.write_text(yaml.safe_dump(self.content), encoding='utf-8')
        self.server.files[file] = ServedFile(content)
        return os.path.join(zoo.home(), 'downloads', file)

    def add_small(self, name: str, **entry) -> tuple:
        """Serve a row of SMALL; return its configuration, {our name: array} of its weights and its path."""
        settings, rename, write = SMALL[name]
        settings = {**ROWS[name].settings, **settings}
        config = resolve(load_recipe(ROWS[name].recipe), settings)
        network = build_configured_network(config)
        state = seeded_state(network)
        path = self.add(name, write(rename(state)), settings=settings, **entry)
        return config, {ours: state[plain] for ours, plain in pytorch_names(network).items()}, path


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MINDSPORE_POSE_HOME', str(tmp_path / 'home'))
    monkeypatch.setenv('MINDSPORE_POSE_ZOO', str(tmp_path / 'zoo.yaml'))
    monkeypatch.delenv('MINDSPORE_POSE_MIRROR', raising=False)
    monkeypatch.setattr(downloads, 'PAUSES', ())
    with running_server() as server:
        yield Zoo(server, tmp_path)


# What the weights change in the recipe, beside the sizes.
PIXELS = {'DATASET.MEANS': [0.406, 0.456, 0.485], 'DATASET.STDS': [0.225, 0.224, 0.229]}
ADOPTED = {
    'simplepose_r152_crowdpose_256x192': PIXELS, 'mspn_2stg_coco_256x192': {'TEST.SHIFT_HEATMAP': False},
    **dict.fromkeys(('hrnet_w32_coco_256x192_mindpose', 'hrnet_w48_udp_coco_256x192_mindpose'),
                    {'DATASET.STDS': [0.229, 0.224, 0.255]}),
    'simplepose_r50_coco_256x192_mindpose': {**PIXELS, 'DATASET.STDS': [0.255, 0.224, 0.229],
                                             'MODEL.STEM_POOL': 'same'}}


@pytest.mark.parametrize('name', SMALL)
def test_a_file_of_every_project_becomes_a_checkpoint_with_its_recipe(name, own):
    _, expected, path = own.add_small(name)
    checkpoint = get(name)
    assert checkpoint == str(Path(zoo.home()) / 'checkpoints' / f'{name}.ckpt')
    arrays, texts = read_entries(checkpoint, needs_checksum=True)
    # MMPose's MSPN has no biases before its BatchNorms, whose means have taken them up.
    skipped = ('.conv.bias', '.moving_mean') if name == 'mspn_2stg_coco_256x192' else ()
    assert set(arrays) == set(expected)
    for ours, value in expected.items():
        if not ours.endswith(skipped or ('none',)):
            np.testing.assert_array_equal(arrays[ours], value, err_msg=ours)
    config, recipe = from_json(texts['config'], checkpoint), load_recipe(ROWS[name].recipe)
    changed = {f'{section}.{key}': value for section, values in config.items() for key, value in values.items()
               if value != recipe[section][key]}
    assert {key: value for key, value in changed.items() if key not in SMALL[name][0]} == ADOPTED.get(name, {})
    origin = json.loads(texts['source'])
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert (origin['name'], origin['licence'], origin['sha256']) == (name, 'none', digest)
    assert Path(f'{path}.sha256').read_text() == f'{digest}  {os.path.basename(path)}\n'
    # It is there now.
    own.server.files.clear()
    assert get(name) == fetch_checkpoint(name) == checkpoint


NAME = 'simplepose_r50_coco_256x192_mindpose'


def test_weights_by_name_in_python_and_in_the_scripts(own, capsys, monkeypatch):
    """The first use downloads and converts, in a process of its own, wherever this one runs and whatever lies there."""
    own.add_small(NAME)
    Path('src').mkdir()
    Path('src/__init__.py').write_text('raise SystemError("another package")\n')
    monkeypatch.setenv('MINDSPORE_POSE_HOME', 'home')
    monkeypatch.setenv('MINDSPORE_POSE_ZOO', 'zoo.yaml')
    picture = np.random.default_rng(0).integers(0, 256, (96, 72, 3), np.uint8)
    estimator = PoseEstimator(weights=NAME, flip_test=False)
    assert estimator(picture).keypoints.shape == (1, 17, 3) and estimator.config.MODEL.STEM_POOL == 'same'
    assert len(own.server.requests) == 1
    for script, words in (('infer', 'nowhere.jpg'), ('eval', '--data_url nowhere')):
        # Both end after the network is loaded.
        assert run_script(script, f'{words} --weights {NAME}') == 2
        out, err = capsys.readouterr()
        assert f'recipe: the one inside {zoo.home()}/checkpoints/{NAME}.ckpt\nnetwork: simplepose_r18' in out
        assert 'nowhere' in err
        assert run_script(script, f'--weights {NAME} --ckpt_path other.ckpt') == 2
        assert capsys.readouterr().err == 'error: give --weights, --ckpt_path or --model_file, only one of them\n'
        assert run_script(script, f'--weights {ROWS[NAME].recipe} other.jpg') == 2
        assert "no published weights are called 'other.jpg'" in capsys.readouterr().err
    assert len(own.server.requests) == 1
    with pytest.raises(PoseError, match='give a path or the name of weights, not both'):
        PoseEstimator('pose.ckpt', weights=NAME)


def test_the_check_before_a_launch_knows_the_names(own):
    own.add('mine', b'')
    check_arguments(['--weights', 'mine'])
    with pytest.raises(PoseError, match="no published weights are called 'yours'"):
        check_arguments(['--weights', 'yours'])


def test_a_file_that_does_not_fit_is_not_remembered(own):
    path = own.add('mine', ckpt({'conv.weight': np.ones((2, 2), np.float32)}), recipe=SIMPLE_POSE)
    with pytest.raises(PoseError, match=rf'^{re.escape(path)} does not fit the network \(SimplePoseNet\)'):
        get('mine')
    assert os.path.isfile(path) and not os.path.exists(f'{path}.sha256')


@pytest.mark.parametrize('status, error, kind, message', [
    (2, 'a warning\nerror: w.ckpt is damaged\n', PoseError, '^w.ckpt is damaged$'),
    (1, 'Traceback …\nerror: this is a bug\n', RuntimeError, 'ended with status 1:\nTraceback …\n'),
    (-9, '', RuntimeError, 'converting mine ended with status -9')])
def test_how_the_converting_process_ends(status, error, kind, message, own, monkeypatch):
    own.add('mine', b'x', recipe=SIMPLE_POSE)
    monkeypatch.setattr(zoo.subprocess, 'run', lambda command, **_: subprocess.CompletedProcess(
        command, status, stderr=error))
    with pytest.raises(kind, match=message):
        fetch_checkpoint('mine')


def test_a_training_starts_from_weights_by_name(own, capsys):
    config = resolve(load_recipe(SIMPLE_POSE), {'MODEL.PRETRAINED': 'resnet18_imagenet',
                                                'MODEL.INIT_WEIGHTS': True, **RESNET})
    state = trunk_of(build_configured_network(config))
    path = own.add('resnet18_imagenet', ckpt(mindcv(state)))
    network = build_started_network(config, {'MODEL.PRETRAINED': 'resnet18_imagenet'})
    np.testing.assert_array_equal(named_parameters(network)['layer4.1.conv2.weight'].asnumpy(),
                                  state['layer4.1.conv2.weight'])
    assert f'parameters from {path} (' in capsys.readouterr().out and os.path.isfile(f'{path}.sha256')
    assert get('resnet18_imagenet') == path


def test_a_checkpoint_of_ours_needs_no_recipe(own):
    path = own.add('mine', b'a checkpoint', recipe='')
    assert fetch_checkpoint('mine') == get('mine') == path == zoo.checkpoint_path(find_weights('mine'))
    assert Path(path).read_bytes() == b'a checkpoint' and os.path.isfile(f'{path}.sha256')


# What goes wrong

def test_without_a_network_it_says_which_file_goes_where(own, monkeypatch):
    """And the file that is put there is used."""
    _, _, path = own.add_small(NAME)
    file = own.server.files.pop(os.path.basename(path))
    url = own.server.url(os.path.basename(path))
    with pytest.raises(PoseError, match=(
            rf'^{NAME} could not be downloaded: 127\.0\.0\.1:\d+: the server answers 404 Not Found. Without a network: '
            rf'get {url} elsewhere, put it into the folder {os.path.dirname(path)} and start again; or name a mirror '
            'in MINDSPORE_POSE_MIRROR$')):
        get(NAME)
    Path(path).write_bytes(file.content[:-1])
    with pytest.raises(PoseError, match=rf'^the SHA-256 of {path} begins with \w{{8}} instead of \w{{8}}; remove it'):
        get(NAME)
    Path(path).write_bytes(file.content)
    assert os.path.isfile(get(NAME))


def test_a_file_without_a_hash_stays_what_it_was_at_first(own):
    _, _, path = own.add_small(NAME, file='resnet50.ckpt')
    checkpoint = get(NAME)
    os.remove(path)
    os.remove(checkpoint)
    served = own.server.files['resnet50.ckpt']
    served.content, first = served.content + b' ', served.content
    told = rf'another file \(the digits are those of the first download: {path}\.sha256\)'
    with pytest.raises(PoseError, match=told):
        get(NAME)
    assert not os.path.exists(path) and not os.path.exists(checkpoint)
    served.content = first
    assert get(NAME) == checkpoint


def test_mirrors_come_first_and_the_project_last(own, monkeypatch):
    _, _, path = own.add_small(NAME)
    file = os.path.basename(path)
    host = own.server.address.partition('://')[2]
    monkeypatch.setenv('MINDSPORE_POSE_MIRROR', f'{own.server.address}/a/ {own.server.address}/b')
    content = own.server.files.pop(file)
    own.server.files[f'b/{host}/{file}'] = content
    assert os.path.isfile(get(NAME))
    assert [request['path'] for request in own.server.requests] == [f'/a/{host}/{file}', f'/b/{host}/{file}']
    monkeypatch.setenv('MINDSPORE_POSE_MIRROR', 'http://mirror.example')
    with pytest.raises(PoseError, match='^MINDSPORE_POSE_MIRROR: the address http://mirror.example should begin with'):
        find_weights(NAME).addresses()


def test_two_at_once_download_and_convert_once(own, capsys):
    own.add_small(NAME)
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(get, [NAME, NAME]))
    assert paths == [zoo.checkpoint_path(find_weights(NAME))] * 2
    assert len(own.server.requests) == 1 and capsys.readouterr().out.count('converting ') == 1


def test_the_command_tells_whose_weights_they_are(own, capsys, monkeypatch):
    own.add('mine', b'', published=0.5)
    monkeypatch.setattr(zoo, 'get', lambda name: f'/there/{name}.ckpt')
    monkeypatch.setattr(sys, 'argv', ['zoo', 'get', 'mine'])
    zoo.main()
    assert capsys.readouterr().out == 'mine: /there/mine.ckpt\n  of P (none), here, published AP 0.500\n'
    monkeypatch.setattr(sys, 'argv', ['zoo', 'list', 'mine'])
    zoo.main()
    out = capsys.readouterr().out
    assert re.match(r'name .*\nmine +AP 0\.500 +COCO +P +never +not usable: the recipe mine is missing\n', out)
    assert f'folder: {zoo.home()}\n' in out and 'MMPose Apache-2.0' in out


@pytest.mark.parametrize('change, message', [
    ({'projects': None}, 'should have the sections projects and sources'),
    ({'sources': [{'project': 'P'}]}, 'a source should have project, folder, data and weights'),
    ({'project': 'Q'}, "the project 'Q' is not among projects"),
    ({'folder': 'http://example.com'}, "'mine': the address http://example.com/w.ckpt should begin with https://"),
    ({'file': '../w.ckpt'}, r"file should be a plain name that ends in \.pth.*, is '\.\./w\.ckpt'"),
    ({'file': 'w.exe'}, 'file should be a plain name'), ({'file': None}, 'should have a file'),
    ({'name': '../mine'}, 'a name should consist of letters, digits and _'),
    ({'published': 74.4}, 'published should be from 0 to 1, is 74.4'), ({'more': 1}, "may have .*; is {'file'"),
    ({'head_keypoints': 0}, 'head_keypoints should be above 0'), ({'settings': 3}, 'settings should be keys'),
    ({'sha256': 12345678}, None), ({'sha256': 'nothing'}, 'sha256 should be 8 to 64 hexadecimal digits')], ids=str)
def test_a_table_of_the_user_is_checked(change, message, tmp_path, monkeypatch):
    entry = {'file': 'w.ckpt', **{key: value for key, value in change.items()
                                  if key in ('file', 'published', 'more', 'head_keypoints', 'settings', 'sha256')}}
    source = {'project': change.get('project', 'P'), 'folder': change.get('folder', 'https://example.com'),
              'data': 'COCO', 'weights': {change.get('name', 'mine'): entry}}
    table = {'projects': {'P': {}}, 'sources': [source], **{key: value for key, value in change.items()
                                                           if key in ('projects', 'sources')}}
    (tmp_path / 'own.yaml').write_text(yaml.safe_dump(table), encoding='utf-8')
    monkeypatch.setenv('MINDSPORE_POSE_ZOO', str(tmp_path / 'own.yaml'))
    if message is None:
        assert next(iter(read_zoo())) == 'mine' and len(read_zoo()) == 68
        return
    with pytest.raises(PoseError, match=f'^{re.escape(str(tmp_path))}/own.yaml.*{message}'):
        read_zoo()
