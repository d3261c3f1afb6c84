"""Exported files in eval.py and infer.py: the poses of the checkpoint, and clear words about what does not fit."""
import contextlib
import io
import json
import os
import platform
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Callable, NamedTuple
from unittest import mock

import mindspore as ms
import numpy as np
import onnx
import onnxruntime
import pytest
from golden_data import load_seeded
from mindspore.train import mind_ir_pb2
from script_runs import MSPN, ROOT, SIMPLE_POSE, TINY, run_script

from src.checkpoints.ckpt import save_checkpoint
from src.config import load_recipe, resolve
from src.data.images import read_picture
from src.export import runtimes
from src.export.compare import run_in_batches
from src.export.example_crops import random_crops
from src.export.model_file import open_model_file
from src.export.runtimes import UnsupportedPrecisionError
from src.models.registry import build_configured_network
from src.synthetic.writing import write_synthetic_coco
from src.system.device import instruction_sets_unlimited, usable_cores
from src.visualization import write_picture

RECIPES = {'simplepose': SIMPLE_POSE, 'mspn': MSPN}
RUNTIMES = {'onnxruntime': '.onnx', 'openvino': '.onnx', 'mindir': '.mindir'}
# A place moves further only where two cells of a heatmap are equal to the last bits.
MOST_MOVE_LESS, SHARE_THAT_MAY = 0.02, 0.01
# Threads: nobody may ask for more than there are cores.
TWO_OR_ALL = min(2, usable_cores())


@pytest.fixture(scope='module')
def material(tmp_path_factory):
    """Pictures with boxes, and for both recipes a checkpoint with made-up weights, in the current folder."""
    folder = tmp_path_factory.mktemp('runtimes')
    write_synthetic_coco(str(folder / 'data'), num_train=1, num_val=6, seed=3, image_size=(240, 180))
    os.makedirs(folder / 'pictures')
    for number in range(1, 7):
        picture = read_picture(str(folder / 'data' / 'val2017' / f'{number:012}.jpg'))
        write_picture(str(folder / 'pictures' / f'{number}.jpg'), picture)
    for name, recipe in RECIPES.items():
        items = dict(item.split('=') for item in TINY[recipe].split()[1:])
        config = resolve(load_recipe(recipe), {**items, 'MODEL.IMAGE_SIZE': '64 96'})
        network = build_configured_network(config)
        load_seeded(network)
        save_checkpoint(str(folder / f'{name}.ckpt'), network, config)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


def call(script: str, arguments: str) -> Outcome:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = run_script(script, arguments)
    return Outcome(status, out.getvalue(), err.getvalue())


def export(name: str, ending: str, flags: str = '') -> str:
    """Export a checkpoint once and return the file."""
    path = f'{name}{"".join(flags.split()).replace("-", "_")}{ending}'
    if not os.path.exists(path):
        outcome = call('export', f'--ckpt_path {name}.ckpt --file_format {ending[1:]} --file_name {path} {flags}')
        assert outcome.status == 0, outcome.err
        assert f'\nwritten: {path} (' in outcome.out
    return path


def evaluate(source: str, flags: str = '') -> list:
    outcome = call('eval', f'{source} --data_url data --use_gt_bbox --save_path results.json {flags}')
    assert outcome.status == 0, outcome.err
    return json.loads(Path('results.json').read_text())


@cache
def evaluate_checkpoint(name: str, flags: str = '') -> list:
    """Return the poses of a checkpoint of `material`; many files are compared with the same."""
    return evaluate(f'--ckpt_path {name}.ckpt', flags)


def assert_same_poses(ours: list, expected: list) -> None:
    def by_person(records):
        return sorted(records, key=lambda record: (record['image_id'], record['keypoints'][:2]))

    assert len(ours) == len(expected) > 5
    places, others = (np.array([record['keypoints'] for record in by_person(records)]).reshape(-1, 3)
                      for records in (ours, expected))
    moved = np.abs(places[:, :2] - others[:, :2]).max(axis=1)
    assert (moved > MOST_MOVE_LESS).mean() <= SHARE_THAT_MAY
    np.testing.assert_allclose(places[:, 2], others[:, 2], rtol=1e-3, atol=1e-3)


# Poses

@pytest.mark.parametrize('runtime', RUNTIMES)
@pytest.mark.parametrize('name, batch, flip', [('mspn', '--batch_size dynamic', 'true'),
                                               ('simplepose', '--batch_size 4', 'false')])
def test_evaluation_of_a_file_is_that_of_the_checkpoint(name, runtime, flip, batch, material):
    """The flip test is made outside of a file that does not have it; a fixed batch serves any number of people."""
    flags = f'--set TEST.FLIP_TEST={flip} --num_parallel_workers 2'
    path = export(name, RUNTIMES[runtime], batch)
    ours = evaluate(f'--model_file {path} --runtime {runtime}', f'{flags} --batch_size 3')
    assert_same_poses(ours, evaluate_checkpoint(name, f'{flags} --batch_size 5'))


@pytest.mark.parametrize('runtime', RUNTIMES)
@pytest.mark.parametrize('name', RECIPES)
def test_everything_inside(name, runtime, material):
    path = export(name, RUNTIMES[runtime], '--input pixels --with_decode --flip_test --batch_size dynamic')
    assert_same_poses(evaluate(f'--model_file {path} --runtime {runtime}'), evaluate_checkpoint(name))


def test_a_file_of_udp(material):
    """Crops, flip test, cells and the way back to the picture are those of the checkpoint; the metadata say so. Not the
    decoder of UDP: on the rough heatmaps of made-up weights it follows rounding errors."""
    settings = '--set DATASET.ENCODING=udp TEST.SHIFT_HEATMAP=false'
    path = export('simplepose', '.onnx', f'--input pixels --with_decode --flip_test {settings}')
    expected = evaluate_checkpoint('simplepose', settings)
    assert_same_poses(evaluate(f'--model_file {path}'), expected)
    assert expected != evaluate_checkpoint('simplepose')
    assert open_model_file(path).facts['decoder']['pixels_per_cell'] == pytest.approx([63 / 15, 95 / 23])


def test_the_ending_chooses_the_runtime(material):
    for ending, runtime in (('.onnx', 'onnxruntime'), ('.mindir', 'mindir')):
        outcome = call('eval', f'--model_file {export("simplepose", ending, "--batch_size 4")} --data_url data '
                       '--use_gt_bbox --save_path results.json')
        assert f'network: simplepose_r18 in {runtime} (f32), device: CPU' in outcome.out


def test_inference_draws_the_same_people(material):
    path = export('simplepose', '.onnx', '--batch_size dynamic')
    boxes = '--data_url pictures --det_file_url data/annotations/val2017_detections.json --score_thresh 0'
    outputs = []
    for source, folder in (('--ckpt_path simplepose.ckpt', 'drawn_by_mindspore'), (f'--model_file {path}', 'drawn')):
        outcome = call('infer', f'{source} {boxes} --img_save_dir {folder}')
        assert outcome.status == 0, outcome.err
        outputs.append(json.loads(Path(folder, 'results.json').read_text()))
        assert len(list(Path(folder).glob('*_res.jpg'))) == 6
    assert_same_poses(*outputs)


class Moved(NamedTuple):
    """Between the poses of two evaluations: how far each keypoint has moved, in pixels, and by how much its score
    differs, as a part of the largest score."""

    places: np.ndarray
    scores: np.ndarray


EVERYBODY = 'TEST.OKS_NMS=false'


def compare_poses(ours: list, expected: list) -> Moved:
    """Pair up the poses of each picture, of evaluations with EVERYBODY, by the places of most of their keypoints."""
    assert len(ours) == len(expected) > 5
    pairs, left = [], list(range(len(expected)))
    tables, others = (np.array([record['keypoints'] for record in records]).reshape(len(records), -1, 3)
                      for records in (ours, expected))
    for record, table in zip(ours, tables):
        mates = [row for row in left if expected[row]['image_id'] == record['image_id']]
        left.remove(min(mates, key=lambda row: np.median(np.abs(table - others[row])[:, :2].max(axis=1))))
        pairs.append(next(row for row in mates if row not in left))
    difference = np.abs(tables - others[pairs])
    return Moved(difference[..., :2].max(axis=2).ravel(), difference[..., 2].ravel() / np.abs(others[..., 2]).max())


@pytest.mark.parametrize('flags', ['--threads 1', f'--threads {TWO_OR_ALL}'])
def test_openvino_with_some_threads(flags, material):
    path = export('simplepose', '.onnx', '--batch_size dynamic')
    assert_same_poses(evaluate(f'--model_file {path} --runtime openvino {flags}'), evaluate_checkpoint('simplepose'))


# bfloat16 and int8 differ by what they are, and a heatmap of made-up weights has near maxima, between which a keypoint
# may move across the picture. The bounds come from five other pairs of weights and pictures (four for MSPN in int8),
# which no test sees:
# bfloat16: at most 3.2 % of the keypoints of SimplePoseNet moved by over 0.02 pixels and 10.3 % of MSPN's, 5.1 % of
# either by over 2; keypoint scores differed by at most 0.95 % and 0.29 % of the largest.
# int8: at most 21 % and 35 % moved by over 0.02 pixels, 15 % and 27 % by over 2; scores differed by 9.7 % and 0.43 %.
BF16_BOUNDS = {'simplepose': (0.06, 0.06, 0.02), 'mspn': (0.18, 0.1, 0.006)}
INT8_BOUNDS = {'simplepose': (0.33, 0.25, 0.15), 'mspn': (0.48, 0.4, 0.01)}


def assert_nearly_the_same_poses(ours: list, expected: list, bounds: tuple) -> None:
    moved = compare_poses(ours, expected)
    share_that_moves, share_that_moves_far, worst_score = bounds
    assert (moved.places > MOST_MOVE_LESS).mean() <= share_that_moves
    assert (moved.places > 2).mean() <= share_that_moves_far
    assert moved.scores.max() <= worst_score


@pytest.mark.parametrize('name', RECIPES)
def test_openvino_in_bfloat16(name, material):
    path = export(name, '.onnx', '--batch_size dynamic')
    ours = evaluate(f'--model_file {path} --runtime openvino --precision bf16 --threads {TWO_OR_ALL}',
                    f'--set {EVERYBODY}')
    expected = evaluate_checkpoint(name, f'--set {EVERYBODY}')
    assert_nearly_the_same_poses(ours, expected, BF16_BOUNDS[name])
    assert compare_poses(ours, expected).scores.max() > 1e-5, 'it was computed in float32'


@pytest.mark.parametrize('precision, threads', [('f32', 0), ('bf16', 1), ('f32', TWO_OR_ALL)])
def test_openvino_is_told_precision_and_threads(precision, threads, material):
    openvino = pytest.importorskip('openvino')
    with mock.patch.object(openvino.Core, 'compile_model', autospec=True,
                           side_effect=openvino.Core.compile_model) as compiled:
        open_model_file(export('simplepose', '.onnx', '--batch_size dynamic'), 'openvino', precision=precision,
                        threads=threads)
    settings = compiled.call_args[0][3]
    assert settings['INFERENCE_PRECISION_HINT'] == precision
    assert settings.get('INFERENCE_NUM_THREADS', 0) == threads


@pytest.mark.parametrize('own, is_fast, chosen', [('bf16', True, 'bf16'), ('bf16', False, 'f32'), ('f32', True, 'f32'),
                                                  ('f16', True, 'f32')])
def test_auto_is_bfloat16_where_openvino_itself_chooses_it_and_it_is_fast(own, is_fast, chosen, material, monkeypatch):
    monkeypatch.setattr(runtimes, 'is_fast_in_bfloat16', lambda answer=is_fast: answer)
    openvino = pytest.importorskip('openvino')
    told = {'INFERENCE_PRECISION_HINT': getattr(openvino.Type, own), 'OPTIMIZATION_CAPABILITIES': ['FP32', 'BF16']}
    with mock.patch.object(openvino.Core, 'get_property', lambda _, device, name: told[name]):
        file = open_model_file(export('simplepose', '.onnx', '--batch_size dynamic'), 'openvino', precision='auto')
    assert file.precision == chosen and str(file) == f'openvino ({chosen})'


def test_auto_computes_as_the_file_says_elsewhere(material):
    file = open_model_file(export('simplepose', '.onnx', '--batch_size dynamic'), 'onnxruntime', precision='auto')
    assert file.precision == 'f32'


def test_drawing_takes_the_quicker_precision_and_says_so(material, monkeypatch):
    """Scores are computed exactly unless asked otherwise."""
    path, seen = export('simplepose', '.onnx', '--batch_size dynamic'), []
    openvino = pytest.importorskip('openvino')
    monkeypatch.setattr(runtimes, 'is_fast_in_bfloat16', lambda: True)
    monkeypatch.setattr(openvino.Core, 'get_property', lambda _, device, name: {
        'INFERENCE_PRECISION_HINT': openvino.Type.bf16, 'OPTIMIZATION_CAPABILITIES': ['FP32', 'BF16']}[name])
    for script, flags in (('infer', 'pictures/1.jpg --img_save_dir quick'), ('eval', '--data_url data --use_gt_bbox')):
        outcome = call(script, f'--model_file {path} --runtime openvino {flags}')
        assert outcome.status == 0, outcome.err
        seen.append('precision: bf16, in which this processor computes faster' in outcome.out)
    assert seen == [True, False]


@pytest.mark.parametrize('is_fast, flags, runtime', [
    (True, '', 'openvino'), (False, '', 'onnxruntime'), (True, '--runtime onnxruntime', 'onnxruntime'),
    (True, '--precision f32', 'onnxruntime')])
def test_drawing_takes_the_quicker_runtime(is_fast, flags, runtime, material, monkeypatch):
    """OpenVINO where it is installed and would compute in bfloat16, unless the runtime is named."""
    pytest.importorskip('openvino')
    path = export('simplepose', '.onnx', '--batch_size dynamic')
    monkeypatch.setattr(runtimes, 'is_fast_in_bfloat16', lambda: is_fast)
    outcome = call('infer', f'--model_file {path} {flags} pictures/1.jpg --img_save_dir quick')
    assert outcome.status == 0 and f'{runtime} (' in outcome.out, outcome.err


def test_without_openvino_nothing_is_quicker(monkeypatch):
    monkeypatch.setattr(runtimes, 'is_fast_in_bfloat16', lambda: True)
    monkeypatch.setattr(runtimes.importlib.util, 'find_spec', lambda name: None)
    assert runtimes.quickest_runtime('a.onnx', 'auto') == 'onnxruntime'
    assert runtimes.quickest_runtime('a.mindir', 'auto') == 'mindir'


@pytest.mark.parametrize('threads', [0, 1])
def test_onnxruntime_is_told_the_threads(threads, material):
    with mock.patch.object(onnxruntime, 'InferenceSession', side_effect=onnxruntime.InferenceSession) as session:
        open_model_file(export('simplepose', '.onnx', '--batch_size dynamic'), threads=threads)
    assert session.call_args[0][1].intra_op_num_threads == threads


def test_onnxruntime_with_one_thread(material):
    path = export('simplepose', '.onnx', '--batch_size dynamic')
    assert_same_poses(evaluate(f'--model_file {path} --threads 1'), evaluate_checkpoint('simplepose'))


# int8

INT8_FLAGS = ('--int8 --data_url pictures --det_file_url data/annotations/val2017_detections.json '
              '--calibration_people 6')


@pytest.mark.parametrize('name, flags', [('mspn', ''), ('simplepose', '--with_decode --batch_size 2 --input pixels')])
def test_int8_files_compute_in_integers_and_nearly_the_same(name, flags, material):
    path = f'{name}_int8.onnx'
    outcome = call('export', f'--ckpt_path {name}.ckpt --file_format ONNX --file_name {path} {flags} {INT8_FLAGS}')
    assert outcome.status == 0, outcome.err
    assert 'operators, calibrated on 6 people' in outcome.out
    model = onnx.load(path)
    weights = {each.name: each for each in model.graph.initializer}
    made_by = {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        if node.op_type in ('Conv', 'ConvTranspose'):
            sources = [made_by[each] for each in node.input[:2]]
            assert [each.op_type for each in sources] == ['DequantizeLinear'] * 2
            assert weights[sources[1].input[0]].data_type == onnx.TensorProto.INT8
        # What decodes computes places, which 8 bits cannot hold.
        if node.name.startswith('decoder'):
            assert not any(each in made_by and made_by[each].op_type == 'DequantizeLinear' and
                           made_by[made_by[each].input[0]].input[0].startswith('decoder') for each in node.input)
    file = open_model_file(path)
    assert str(file) == 'onnxruntime (int8)'
    told = re.search(r'differ by at most ([\d.]+) in onnxruntime, ([\d.]+) in openvino', outcome.out)
    assert all(0.0005 < float(number) < 0.15 for number in told.groups())
    flags = f'--set TEST.FLIP_TEST=false {EVERYBODY}'
    for runtime in ('onnxruntime', 'openvino'):
        results = evaluate(f'--model_file {path} --runtime {runtime}', flags)
        assert_nearly_the_same_poses(results, evaluate_checkpoint(name, flags), INT8_BOUNDS[name])
    assert not [name for name in os.listdir() if '.tmp' in name]


@pytest.mark.parametrize('flags', ['', '--with_decode --flip_test --input pixels'])
def test_weights_in_float16_take_half_the_size(flags, material):
    path, whole = 'half.onnx', export('simplepose', '.onnx', flags)
    outcome = call('export', f'--ckpt_path simplepose.ckpt --file_format ONNX --file_name {path} --float16 {flags}')
    assert outcome.status == 0, outcome.err
    assert 'weights in float16' in outcome.out and os.path.getsize(path) < 0.65 * os.path.getsize(whole)
    told = re.search(r'float16: \d+ weights; heatmaps differ by at most ([\d.e-]+) in onnxruntime, ([\d.e-]+) in '
                     'openvino', outcome.out)
    assert all(1e-6 < float(number) < 0.02 for number in told.groups())
    for runtime in ('onnxruntime', 'openvino'):
        crops = random_crops(open_model_file(path).config, 2)
        ours, expected = (run_in_batches(open_model_file(name, runtime), crops) for name in (path, whole))
        assert all(each.dtype == np.float32 for each in ours)
        assert 0 < np.abs(ours[-1] - expected[-1]).max() < 0.02 * np.abs(expected[-1]).max()
    assert open_model_file(path).facts['versions']['weights'] == 'float16'


def test_float16_that_computes_something_else_is_refused(material, monkeypatch):
    from src.export import float16
    monkeypatch.setattr(float16, 'FLOAT16_TOLERANCE', 1e-9)
    outcome = call('export', '--ckpt_path mspn.ckpt --file_format ONNX --file_name refused.onnx --float16')
    assert outcome.status == 2 and 'the float16 file computes something else' in outcome.err
    assert not [name for name in os.listdir() if name.startswith(('refused', '.refused'))]


def test_a_bad_calibration_is_refused(material, monkeypatch):
    from src.export import quantise as quantisation
    monkeypatch.setattr(quantisation, 'INT8_TOLERANCE', 1e-6)
    outcome = call('export', f'--ckpt_path mspn.ckpt --file_format ONNX --file_name refused.onnx {INT8_FLAGS}')
    assert outcome.status == 2 and 'the int8 file computes something else' in outcome.err
    assert not [name for name in os.listdir() if name.startswith(('refused', '.refused'))]


# export.py

def test_export_keeps_nothing_of_a_file_that_differs(material, monkeypatch):
    """What was there under the name stays."""
    from src.export import compare as comparing
    Path('kept.onnx').write_bytes(b'of an earlier export')
    monkeypatch.setattr(comparing, 'HEATMAP_TOLERANCE', 1e-12)
    outcome = call('export', '--ckpt_path mspn.ckpt --file_format ONNX --file_name kept')
    assert outcome.status == 2 and 'does not compute in onnxruntime what the network computes' in outcome.err
    assert Path('kept.onnx').read_bytes() == b'of an earlier export'
    assert not [name for name in os.listdir() if name.startswith('.kept')]


def test_export_tells_what_it_compared(material):
    outcome = call('export', '--ckpt_path mspn.ckpt --file_format onnx --file_name told --with_decode --input pixels')
    for runtime in ('onnxruntime', 'openvino'):
        for what in ('random pixels', 'painted people'):
            assert f'checked in {runtime} on {what}: ' in outcome.out
    assert 'keypoints differ by at most' in outcome.out
    written, note = outcome.out.splitlines()[-2:]
    assert written.startswith('written: told.onnx (mspn_1stg, ONNX opset 17, batch of any size, pixels -> keypoints '
                              'and scores, ')
    assert note == ('note: the flip test of the recipe is not inside, and nobody can add it to keypoints; --flip_test '
                    'would')


def test_export_checks_on_given_pictures(material):
    outcome = call('export', '--ckpt_path simplepose.ckpt --file_format MINDIR --file_name given --data_url pictures '
                   '--det_file_url data/annotations/val2017_detections.json')
    assert outcome.status == 0 and 'checked in mindir on people of --data_url: ' in outcome.out


# Wrong input

def edited(source: str, change: Callable) -> Callable[[], str]:
    """Return a function that writes a changed copy of an ONNX file and returns its path."""
    def make() -> str:
        model = onnx.load(export('simplepose', '.onnx', '--batch_size dynamic'))
        change(model)
        onnx.save(model, source)
        return source
    return make


def damaged(path: str, change: Callable[[bytes], bytes], ending: str) -> Callable[[], str]:
    def make() -> str:
        original = Path(export('simplepose', ending, '--batch_size dynamic')).read_bytes()
        Path(path).write_bytes(change(original))
        return path
    return make


def text_file(path: str, content: bytes) -> Callable[[], str]:
    def make() -> str:
        Path(path).write_bytes(content)
        return path
    return make


def without_metadata(model) -> None:
    del model.metadata_props[:]


def with_broken_recipe(model) -> None:
    next(each for each in model.metadata_props if each.key == 'recipe').value = '{"MODEL": '


def with_weights_elsewhere(model) -> None:
    """Weights from a file outside of the model's folder."""
    tensor = next(each for each in model.graph.initializer if each.name.endswith('weight'))
    tensor.ClearField('raw_data')
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key='location', value='../../../../etc/passwd')


def with_an_unknown_operator(model) -> None:
    model.graph.node[0].op_type = 'RunProgram'


def with_facts(**facts) -> Callable:
    """Return a change of what a file says of itself."""
    def change(model) -> None:
        for each in model.metadata_props:
            each.value = facts.get(each.key, each.value)
    return change


def with_another_input_size(model) -> None:
    recipe = next(each for each in model.metadata_props if each.key == 'recipe')
    recipe.value = recipe.value.replace('"IMAGE_SIZE": [64, 96]', '"IMAGE_SIZE": [96, 64]').replace(
        '"HEATMAP_SIZE": [16, 24]', '"HEATMAP_SIZE": [24, 16]')


def with_weight(change: Callable, ending: str) -> Callable[[bytes], bytes]:
    """Return a change of the largest weight of a file."""
    def apply(content: bytes) -> bytes:
        model = onnx.ModelProto() if ending == '.onnx' else mind_ir_pb2.ModelProto()
        model.ParseFromString(content)
        tensors = model.graph.initializer if ending == '.onnx' else model.graph.parameter
        change(max(tensors, key=lambda tensor: len(tensor.raw_data)))
        return model.SerializeToString()
    return apply


def cut_content(tensor) -> None:
    tensor.raw_data = tensor.raw_data[:len(tensor.raw_data) // 2]


def double_content(tensor) -> None:
    tensor.raw_data = tensor.raw_data * 2


def no_content(tensor) -> None:
    tensor.ClearField('raw_data')


def with_shape(*shape: int) -> Callable:
    def change(tensor) -> None:
        tensor.dims[:] = shape
    return change


# Weights that are not as long as their shape says.
LENGTHS = {'short': cut_content, 'long': double_content, 'huge': with_shape(10 ** 9),
           'overflowing': with_shape(1 << 62, 4), 'negative': with_shape(-8, -147)}
LFS = b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 136054432\n'
FILES = {
    'missing.onnx': (lambda: 'missing.onnx', 'missing.onnx does not exist'),
    'empty.onnx': (text_file('empty.onnx', b''),
                   r'empty.onnx \(0 bytes\) is damaged, no file of export.py or too new for'),
    'truncated.onnx': (damaged('truncated.onnx', lambda content: content[:len(content) // 2], '.onnx'),
                       r'truncated.onnx \(\d+ bytes\) is damaged'),
    'garbage.onnx': (text_file('garbage.onnx', bytes(range(256)) * 40), r'garbage.onnx \(\d+ bytes\) is damaged'),
    'page.onnx': (text_file('page.onnx', b'<html>not found</html>'), r'page.onnx \(\d+ bytes\) is damaged'),
    'pointer.onnx': (text_file('pointer.onnx', LFS), r'pointer.onnx \(\d+ bytes\) is damaged'),
    'foreign.onnx': (edited('foreign.onnx', without_metadata),
                     r'foreign.onnx does not say what it computes \(recipe, '),
    'recipe.onnx': (edited('recipe.onnx', with_broken_recipe), 'recipe.onnx: its configuration is damaged'),
    'decoder.onnx': (edited('decoder.onnx', with_facts(decoder='x')), 'decoder.onnx says something impossible of its '
                     'decoder'),
    'flip.onnx': (edited('flip.onnx', with_facts(flip_test='{}')), 'impossible of its flip_test'),
    'factor.onnx': (edited('factor.onnx', with_facts(normalisation='{"factor": [1]}')),
                    'impossible of its normalisation'),
    'infinite.onnx': (edited('infinite.onnx', with_facts(
        normalisation='{"factor": [1, 1, 1e400], "shift": [0, 0, 0]}')),
                      'impossible of its normalisation .*not finite'),
    'deep.onnx': (edited('deep.onnx', with_facts(decoder='[' * 10 ** 5)),
                  'impossible of its decoder .*nested too deeply'),
    'kind.onnx': (edited('kind.onnx', with_facts(input='{"kind": "sound"}')), 'impossible of its input'),
    'size.onnx': (edited('size.onnx', with_another_input_size),
                  r'impossible of its input \(its graph takes \(3, 96, 64\)'),
    'outside.onnx': (edited('outside.onnx', with_weights_elsewhere), r'outside.onnx \(\d+ bytes\) is damaged'),
    'operator.onnx': (edited('operator.onnx', with_an_unknown_operator),
                      r'operator.onnx \(\d+ bytes\) is damaged.*RunProgram'),
    'model.xml': (text_file('model.xml', b'<net/>'), 'model.xml should end in .onnx or .mindir'),
    'empty.mindir': (text_file('empty.mindir', b''), r'empty.mindir \(0 bytes\) is damaged, no file of export.py'),
    'garbage.mindir': (text_file('garbage.mindir', bytes(range(256)) * 40), r'garbage.mindir \(\d+ bytes\) is damaged'),
    'truncated.mindir': (damaged('truncated.mindir', lambda content: content[:len(content) // 2], '.mindir'),
                         r'truncated.mindir \(\d+ bytes\) is damaged'),
    **{f'{name}{ending}': (damaged(f'{name}{ending}', with_weight(change, ending), ending),
                           rf'{name}{ending} \(\d+ bytes\) is damaged'
                           + r'.*has \d+ bytes for its shape' * (ending == '.mindir'))
       for name, change in LENGTHS.items() for ending in ('.mindir', '.onnx')},
    'none.mindir': (damaged('none.mindir', with_weight(no_content, '.mindir'), '.mindir'), 'has 0 bytes for its shape'),
    'renamed.mindir': (damaged('renamed.mindir', lambda content: content, '.onnx'),
                       r'renamed.mindir \(\d+ bytes\) is damaged'),
    'renamed.onnx': (damaged('renamed.onnx', lambda content: content, '.mindir'),
                     r'renamed.onnx \(\d+ bytes\) is damaged'),
}


@pytest.mark.parametrize('name', FILES)
def test_broken_files_are_named(name, material):
    make, message = FILES[name]
    path = make()
    for runtime in ('onnxruntime', 'openvino') if name.endswith('.onnx') else ('',):
        with pytest.raises(ValueError, match=message) as caught:
            open_model_file(path, runtime)
        assert '\n' not in str(caught.value) and len(str(caught.value)) < 500


def test_broken_file_ends_eval_with_one_line(material):
    Path('broken.onnx').write_bytes(b'no model')
    outcome = call('eval', '--model_file broken.onnx --data_url data --use_gt_bbox --save_path never.json')
    assert outcome.status == 2 and outcome.err.startswith('error: broken.onnx (8 bytes) is damaged')
    assert outcome.err.count('\n') == 1 and not os.path.exists('never.json')


def assert_refused(script: str, arguments: str, message: str) -> None:
    """Run a script that should end with one line in which `message`, a regular expression, is found."""
    outcome = call(script, arguments)
    assert outcome.status == 2 and outcome.err.startswith('error: ') and outcome.err.count('\n') == 1
    assert re.search(message, outcome.err), outcome.err


DECODED = '--with_decode --batch_size dynamic'
FLIPPED = '--flip_test --batch_size dynamic'
FLAGS = {
    'both': ('--ckpt_path simplepose.ckpt --model_file {plain}', 'give --ckpt_path or --model_file, not both'),
    'neither': ('', 'give the checkpoint with --ckpt_path, or an exported model with --model_file'),
    'runtime_without_file': ('--ckpt_path simplepose.ckpt --runtime openvino', 'openvino needs --model_file'),
    'mindspore_with_file': ('--model_file {plain} --runtime mindspore', 'the runtime mindspore runs checkpoints'),
    'onnx_in_mindir': ('--model_file {plain} --runtime mindir', 'mindir does not read .*it needs a file that ends in '
                       '.mindir'),
    'mindir_in_openvino': ('--model_file {mindir} --runtime openvino', 'openvino does not read .*ends in .onnx'),
    'precision_of_onnxruntime': ('--model_file {plain} --precision bf16', 'precision bf16 is for openvino'),
    'precision_of_checkpoint': ('--ckpt_path simplepose.ckpt --precision bf16', 'are for --model_file'),
    'negative_threads': ('--model_file {plain} --threads -1', 'threads should be from 1 to .*is -1'),
    'a_million_threads': ('--model_file {plain} --threads 1000000', 'threads should be from 1 to .*is 1000000'),
    'threads_of_mindir': ('--model_file {mindir} --threads 1', 'threads are for onnxruntime and openvino'),
    'other_shift': ('--model_file {flipped} --set TEST.SHIFT_HEATMAP=false',
                    'was exported with TEST.SHIFT_HEATMAP=True'),
    'other_depth': ('--model_file {plain} --set POSE_RESNET.NUM_LAYERS=50',
                    'was exported with POSE_RESNET.NUM_LAYERS=18'),
    'upper_case': ('--model_file some.MINDIR', 'some.MINDIR should end in .onnx or .mindir'),
    'checkpoint_as_file': ('--model_file simplepose.ckpt', 'simplepose.ckpt should end in .onnx or .mindir'),
    'file_as_checkpoint': ('--ckpt_path {plain}', 'is no file of weights'),
    'other_input_size': ('--model_file {plain} --set MODEL.IMAGE_SIZE=[96,64]',
                         r'was exported with MODEL.IMAGE_SIZE=\[64, 96\]'),
    'other_means': ('--model_file {plain} --set DATASET.MEANS=[0,0,0]', 'was exported with DATASET.MEANS='),
    'other_recipe': ('--model_file {plain} --recipe ' + MSPN, 'was exported with MODEL.NAME=pose_resnet'),
    'other_decoder': ('--model_file {decoded} --set TEST.POST_PROCESS=false',
                      'was exported with TEST.POST_PROCESS=True'),
    'other_refinement': ('--model_file {decoded} --set TEST.DECODER=dark',
                         'was exported with TEST.DECODER=published; dark needs another export'),
    'other_crops': ('--model_file {plain} --set DATASET.ENCODING=udp TEST.SHIFT_HEATMAP=false',
                    'was exported with DATASET.ENCODING=published; udp needs another export'),
    'flip_outside_of_a_decoder': ('--model_file {decoded} --set TEST.FLIP_TEST=true',
                                  'decodes inside, without the flip test: export it with --flip_test'),
    'shifts_of_a_decoder': ('--model_file {decoded} --set TEST.MULTI_SHIFT=4',
                            'decodes inside, so TEST.MULTI_SHIFT=4 cannot average heatmaps'),
    'no_flip': ('--model_file {flipped} --set TEST.FLIP_TEST=false', 'has the flip test inside'),
}


@pytest.mark.parametrize('name', FLAGS)
def test_flags_that_do_not_fit_are_explained(name, material, monkeypatch):
    flags, message = FLAGS[name]
    # The folder has an mspn.ckpt, which would be taken where none is named.
    monkeypatch.setattr('src.evaluation.load_model.USUAL_CHECKPOINTS', ('./none.ckpt',))
    files = {'plain': export('simplepose', '.onnx', '--batch_size dynamic'),
             'mindir': export('simplepose', '.mindir', '--batch_size dynamic'),
             'decoded': export('simplepose', '.onnx', DECODED), 'flipped': export('simplepose', '.onnx', FLIPPED)}
    assert_refused('eval', f'{flags.format(**files)} --data_url data --use_gt_bbox --save_path never.json', message)
    assert not os.path.exists('never.json')


EXPORT_FLAGS = {
    'no_such_checkpoint': ('--ckpt_path none.ckpt', 'none.ckpt does not exist'),
    'batch_of_nothing': ('--ckpt_path mspn.ckpt --batch_size 0', "should be a positive number or dynamic, is '0'"),
    'batch_in_words': ('--ckpt_path mspn.ckpt --batch_size many', "should be a positive number or dynamic, is 'many'"),
    'no_digit_of_ascii': ('--ckpt_path mspn.ckpt --batch_size ²', "should be a positive number or dynamic, is '²'"),
    'nobody_calibrates': ('--ckpt_path mspn.ckpt --calibration_people 0',
                          'calibration_people should be positive, is 0'),
    'name_of_another_format': ('--ckpt_path mspn.ckpt --file_format MINDIR --file_name a.onnx',
                               'a.onnx should end in .mindir, or have no ending, for --file_format MINDIR'),
    'upper_case': ('--ckpt_path mspn.ckpt --file_name a.ONNX', 'a.ONNX should end in .onnx, or have no ending'),
    'no_name': ('--ckpt_path mspn.ckpt --file_name folder/', "'folder/' should be the name of a file"),
    'ending_only': ('--ckpt_path mspn.ckpt --file_name .onnx', "'.onnx' should be the name of a file"),
    'one_person_only': ('--ckpt_path mspn.ckpt --hypotheses all',
                        'hypotheses all is for networks that look for several people in a box, not for mspn_1stg'),
    'old_opset': ('--ckpt_path mspn.ckpt --file_format ONNX --opset 9',
                  'opset 9 is not supported; use one from 13 to 21'),
    'air': ('--ckpt_path mspn.ckpt --file_format AIR', 'on an Ascend server with CANN'),
    'float16_mindir': ('--ckpt_path mspn.ckpt --float16', '--float16 is for ONNX files'),
    'float16_of_int8': ('--ckpt_path mspn.ckpt --file_format ONNX --int8 --float16 --data_url pictures',
                        'not together with --int8'),
    'int8_mindir': ('--ckpt_path mspn.ckpt --int8 --data_url pictures', '--int8 makes ONNX files'),
    'int8_without_pictures': ('--ckpt_path mspn.ckpt --file_format ONNX --int8',
                              'calibrated on pictures: .*--data_url'),
    'no_pictures': ('--ckpt_path mspn.ckpt --file_format ONNX --data_url nowhere '
                    '--det_file_url data/annotations/val2017_detections.json',
                    'the picture folder nowhere does not exist'),
    'a_folder': ('--ckpt_path mspn.ckpt --file_format ONNX --file_name folder',
                 'should be a file to write, is a folder'),
    'other_weights': ('--ckpt_path mspn.ckpt --recipe simplepose_small_synthetic_160x128', 'does not fit the network'),
}


@pytest.mark.parametrize('name', EXPORT_FLAGS)
def test_exports_that_cannot_be_are_explained(name, material):
    flags, message = EXPORT_FLAGS[name]
    os.makedirs('folder.onnx', exist_ok=True)
    before = sorted(os.listdir())
    assert_refused('export', f'--file_name never {flags}', message)
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize('package, flags, message', [
    ('openvino', '--runtime openvino', 'openvino is not installed: pip install -r requirements-deploy.txt'),
    ('onnxruntime', '', 'onnxruntime is not installed: pip install -r requirements-deploy.txt')])
def test_runtimes_that_are_not_installed_are_named(package, flags, message, material, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    path = export('simplepose', '.onnx', '--batch_size dynamic')
    outcome = call('eval', f'--model_file {path} {flags} --data_url data --use_gt_bbox --save_path never.json')
    assert outcome.status == 2 and outcome.err == f'error: {message}\n'


def test_exporting_without_onnx_says_so(material, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnx', None)
    outcome = call('export', '--ckpt_path mspn.ckpt --file_format ONNX --file_name never')
    assert outcome.status == 2 and 'need the package onnx: pip install -r requirements-deploy.txt' in outcome.err


def test_a_broken_installation_is_not_called_a_missing_one(material, monkeypatch):
    def fail(name):
        raise ImportError('libGL.so.1: cannot open shared object file')

    monkeypatch.setattr('src.export.runtimes.importlib.import_module', fail)
    with pytest.raises(ImportError, match='libGL'):
        open_model_file(export('simplepose', '.onnx', '--batch_size dynamic'))


def test_a_processor_without_bfloat16_is_told(material, monkeypatch):
    openvino = pytest.importorskip('openvino')
    monkeypatch.setattr(openvino.Core, 'get_property', lambda *_: ['FP32', 'INT8'])
    with pytest.raises(UnsupportedPrecisionError, match='this processor has no bfloat16 for --precision bf16'):
        open_model_file(export('simplepose', '.onnx', '--batch_size dynamic'), 'openvino', precision='bf16')


@pytest.mark.parametrize('folder', ['with blank', 'mit ü'])
@pytest.mark.parametrize('ending', ['.onnx', '.mindir'])
def test_any_folder_will_do(folder, ending, material, tmp_path, monkeypatch):
    (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / folder)
    outcome = call('export', f'--ckpt_path {material}/mspn.ckpt --file_name pose{ending}')
    assert outcome.status == 0, outcome.err
    assert os.listdir() == [f'pose{ending}']


def test_files_that_killed_exports_left_go_with_the_next(material):
    gone = subprocess.Popen([sys.executable, '-c', ''])
    gone.wait()
    orphans = [f'.left.onnx.{gone.pid}.tmp.onnx', f'.left.onnx.{gone.pid}.tmp.onnx.int8.onnx']
    others = [f'.other.onnx.{gone.pid}.tmp.onnx', '.left.onnx.x.tmp.onnx']
    for name in orphans + others:
        Path(name).touch()
    assert call('export', '--ckpt_path mspn.ckpt --file_name left.onnx').status == 0
    assert not any(map(os.path.exists, orphans)) and all(map(os.path.exists, others))


# The limit of MindSpore's convolutions is not OpenVINO's

def test_the_limit_of_instruction_sets_is_lifted_for_a_moment(monkeypatch):
    monkeypatch.setenv('ONEDNN_MAX_CPU_ISA', 'AVX2')
    monkeypatch.setenv('POSE_SET_ONEDNN_MAX_CPU_ISA', '1')
    with instruction_sets_unlimited():
        assert 'ONEDNN_MAX_CPU_ISA' not in os.environ
    assert os.environ['ONEDNN_MAX_CPU_ISA'] == 'AVX2'
    monkeypatch.delenv('POSE_SET_ONEDNN_MAX_CPU_ISA')
    with instruction_sets_unlimited():
        assert os.environ['ONEDNN_MAX_CPU_ISA'] == 'AVX2'


@pytest.mark.parametrize('given, expected', [(None, ('AVX2', '1')), ('AVX512_CORE', ('AVX512_CORE', None))])
def test_who_set_the_limit_is_known(given, expected):
    environment = {name: value for name, value in os.environ.items() if 'ONEDNN_MAX_CPU_ISA' not in name}
    if given:
        environment['ONEDNN_MAX_CPU_ISA'] = given
    code = ('import os, src; print((os.environ.get("ONEDNN_MAX_CPU_ISA"), '
            'os.environ.get("POSE_SET_ONEDNN_MAX_CPU_ISA")))')
    done = subprocess.run([sys.executable, '-c', code], env={**environment, 'PYTHONPATH': str(ROOT)}, text=True,
                          capture_output=True, check=True)
    if platform.machine() == 'x86_64' and tuple(map(int, ms.__version__.split('.')[:2])) >= (2, 8):
        assert done.stdout.strip() == str(expected)


def test_a_recipe_comes_back_from_a_file(material):
    file = open_model_file(export('mspn', '.mindir', '--batch_size dynamic'))
    assert file.config.MODEL.IMAGE_SIZE == [64, 96] and file.config.MODEL.NAME == 'mspn'
