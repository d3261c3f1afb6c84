"""Exported files compute what the networks compute, at full size, in the runtimes that serve them."""
import json
import os
import re
import stat
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import mindspore as ms
import numpy as np
import onnx
import onnxruntime
import pytest
from golden_data import (
    HEATMAP_TOLERANCE,
    HRNET,
    MIPNET,
    SMALL_NETWORKS,
    golden,
    images_of,
    load_seeded,
    operator_by_operator,
    seeded_input,
    small_hrnet,
    small_mspn,
    small_simple_pose,
)
from mindspore import nn
from tiny_mipnet import mipnet_config, tiny_mipnet

from src.config import from_json, load_recipe, resolve, to_json
from src.data.skeletons import COCO
from src.evaluation.predictors import file_predictor, network_predictor
from src.export import plan as plans
from src.export.compare import compare, compare_all, relative_difference, run_in_batches
from src.export.example_crops import painted_crops, random_crops
from src.export.folding import fold_batch_norms
from src.export.model_file import METADATA_KEYS, open_model_file
from src.export.onnx_cells import follow
from src.export.onnx_graph import OnnxGraph, Value
from src.export.plan import FILE_FORMATS, ExportPlan, check_air
from src.export.quantise import quantise
from src.export.runtimes import installed_runtimes
from src.export.write import LOCAL_KEYS, build_exported_model, describe, write_model
from src.models.common.blocks import BatchNorm
from src.models.registry import build_empty_network, model_of

# recipe -> its golden file. MSPNs with other numbers of stages are built of the same parts.
FULL_SIZE = {'mspn_2stg_coco_256x192': 'mspn_2stg_256x192', 'simplepose_r50_coco_256x192': 'simplepose_r50_256x192'}
BOTH_BATCHES = ('simplepose_r50_coco_256x192',)
TINY_KEYS = {'mspn_small_synthetic_160x128': {'MODEL.STEM_CHANNELS': 8, 'MSPN.PLANES': [4, 8, 16, 32],
                                              'MSPN.UPSAMPLE_CHANNEL_NUM': 16, 'MODEL.IMAGE_SIZE': [64, 96]},
             'simplepose_small_synthetic_160x128': {'MODEL.STEM_CHANNELS': 8, 'MODEL.IMAGE_SIZE': [64, 96],
                                                    'POSE_RESNET.NUM_DECONV_FILTERS': [16, 16, 16]}}
TINY = sorted(TINY_KEYS)


def tiny_config(recipe: str):
    return resolve(load_recipe(recipe), TINY_KEYS[recipe])


def seeded(config) -> nn.Cell:
    network = build_empty_network(config)
    load_seeded(network)
    return network.set_train(False)


def written(path: Path, config, plan: ExportPlan, network: nn.Cell = None) -> str:
    """Write an export of the seeded network of a configuration and return its path."""
    model = build_exported_model(config, network or seeded(config), plan, COCO.flip_index)
    write_model(str(path), model, config, plan, describe(config, plan, COCO.keypoint_names))
    return str(path)


def runtimes_of(path: str) -> list:
    """All that can run the file; there are some, or a test that asks each would say nothing."""
    runtimes = list(installed_runtimes(path))
    assert runtimes[0] == ('onnxruntime' if path.endswith('.onnx') else 'mindir')
    return runtimes


def reference_of(config, plan: ExportPlan, crops: np.ndarray) -> np.ndarray:
    return predictor_of(to_json(resolve(config, {'TEST.FLIP_TEST': plan.flip_test}))).run(crops)[0]


@cache
def predictor_of(config: str):
    """Return the predictor of a configuration; its graph is compiled once for all files that are held against it."""
    config = from_json(config, 'a configuration of this file')
    return network_predictor(config, seeded(config), COCO.flip_index)


# BatchNorm

@pytest.mark.parametrize('build', [
    small_mspn, partial(small_mspn, stem_pool='same'), small_simple_pose, small_hrnet,
    partial(small_simple_pose, num_layers=50, deconv_with_bias=True, final_conv_kernel=3),
    partial(small_simple_pose, num_deconv_kernels=(2, 3, 4))])
def test_batch_norms_fold_into_convolutions(build):
    network, images = build().set_train(False), ms.Tensor(seeded_input(5, (2, 3, 64, 64)))
    load_seeded(network)
    # A graph that was compiled before the folding would be run again after it.
    with operator_by_operator():
        before = network(images).asnumpy()
        norms = sum(isinstance(cell, BatchNorm) for _, cell in network.cells_and_names())
        assert fold_batch_norms(network) == norms > 10
        assert not any(isinstance(cell, nn.BatchNorm2d) for _, cell in network.cells_and_names())
        after = network(images).asnumpy()
    assert 0 < np.abs(after - before).max() <= 1e-5 * np.abs(before).max()


def test_a_batch_norm_without_a_convolution_stays_and_is_exported(tmp_path):
    class Head(nn.Cell):
        def __init__(self):
            super().__init__()
            self.relu, self.bn = nn.ReLU(), BatchNorm(3)

        def construct(self, x):
            return self.bn(self.relu(x))

    head = Head()
    load_seeded(head)
    assert fold_batch_norms(head) == 0
    graph = OnnxGraph(17)
    out = follow(head, Value(graph, 'images'))
    content = graph.model([('images', np.float32, ('N', 3, 4, 4))], [('heatmaps', out, ('N', 3, 4, 4))], {})
    images = seeded_input(1, (2, 3, 4, 4))
    expected = head.set_train(False)(ms.Tensor(images)).asnumpy()
    heatmaps, = onnxruntime.InferenceSession(content).run(None, {'images': images})
    np.testing.assert_allclose(heatmaps, expected, rtol=1e-5, atol=1e-6)


# Full size: ONNX and MINDIR, any batch and a fixed one, in all runtimes

@pytest.mark.parametrize('recipe', FULL_SIZE)
def test_full_size_files_meet_the_golden_heatmaps(recipe, tmp_path):
    name, config = FULL_SIZE[recipe], load_recipe(recipe)
    network = seeded(config)
    height, width = config.MODEL.IMAGE_SIZE[::-1]
    images, peak = images_of(name), float(golden(name)['heatmaps_peak'])
    expected = golden(name)['heatmaps_every4']
    many = np.concatenate([images, seeded_input(7, (8 - len(images), *images.shape[1:]))])
    model = build_exported_model(config, network, ExportPlan('ONNX'), COCO.flip_index)
    for file_format, ending in FILE_FORMATS.items():
        if file_format == 'AIR':
            continue
        # What the batch size changes does not depend on the depth of a network, and one deep MINDIR is proof of all.
        if recipe in BOTH_BATCHES and file_format == 'MINDIR':
            continue
        for batch_size in (0, 3) if recipe in BOTH_BATCHES else ((0,) if file_format == 'ONNX' else (3,)):
            plan = ExportPlan(file_format, batch_size=batch_size)
            path = str(tmp_path / f'{batch_size}{ending}')
            write_model(path, model, config, plan, describe(config, plan, COCO.keypoint_names))
            for runtime in runtimes_of(path):
                file = open_model_file(path, runtime)
                assert file.graph.shapes == ((batch_size or None, 3, height, width),)
                heatmaps, = file.graph.run(many[:3])
                assert np.abs(heatmaps[:len(images), :, ::4, ::4] - expected).max() <= HEATMAP_TOLERANCE * peak
                for size in ((1, 8) if recipe in BOTH_BATCHES else (1,)) if batch_size == 0 else ():
                    other, = file.graph.run(many[:size])
                    assert other.shape[0] == size
                    # A person's heatmaps do not depend on the others.
                    same = min(size, 3)
                    assert np.abs(other[:same] - heatmaps[:same]).max() <= 0.1 * HEATMAP_TOLERANCE * peak
            os.remove(path)


@pytest.mark.parametrize('recipe, file_format', [
    ('hrnet_w32_coco_256x192', 'ONNX'), ('mipnet_hrnet_w32_crowdpose_256x192', 'ONNX'),
    ('mipnet_hrnet_w32_crowdpose_256x192', 'MINDIR')])
def test_full_size_files_with_branches_meet_the_golden_heatmaps(recipe, file_format, tmp_path):
    """HRNet, and MIPNet with each of its codes. Of MINDIR MIPNet stands for both: its graph holds HRNet's, and to
    compile either takes long."""
    config = load_recipe(recipe)
    name = MIPNET if config.MODEL.NAME == 'mipnet' else HRNET
    images, stored = images_of(name), golden(name)
    batch = len(images)
    wanted = [([images], 'heatmaps')] if name == HRNET else [
        ([images, np.tile(code, (batch, 1))], f'heatmaps_lambda{number}')
        for number, code in enumerate(np.eye(2, dtype=np.float32))]
    path = written(tmp_path / f'pose{FILE_FORMATS[file_format]}', config,
                   ExportPlan(file_format, batch_size=0 if file_format == 'ONNX' else batch))
    for runtime in installed_runtimes(path):
        run = open_model_file(path, runtime).graph.run
        for inputs, key in wanted:
            heatmaps, = run(*inputs)
            allowed = HEATMAP_TOLERANCE * float(stored[f'{key}_peak'])
            assert np.abs(heatmaps[:, :, ::4, ::4] - stored[f'{key}_every4']).max() <= allowed


# What is inside

PLANS = {'images': ExportPlan('ONNX'), 'pixels': ExportPlan('ONNX', 'pixels'),
         'flip': ExportPlan('ONNX', flip_test=True), 'decode': ExportPlan('ONNX', with_decode=True),
         'all': ExportPlan('ONNX', 'pixels', with_decode=True, flip_test=True),
         'all_fixed': ExportPlan('ONNX', 'pixels', with_decode=True, flip_test=True, batch_size=2),
         'mindir': ExportPlan('MINDIR'), 'mindir_fixed': ExportPlan('MINDIR', batch_size=1),
         'mindir_all': ExportPlan('MINDIR', 'pixels', with_decode=True, flip_test=True)}


# The networks differ in their decoders and in the flip test; the rest of a plan is the same for both.
PLANS_OF = {recipe: [name for name, plan in PLANS.items() if plan.with_decode or plan.flip_test or number == 0]
            for number, recipe in enumerate(TINY)}


@pytest.mark.parametrize('name, recipe', [(name, recipe) for recipe in TINY for name in PLANS_OF[recipe]])
def test_every_plan_computes_what_the_network_computes(name, recipe, tmp_path):
    config, plan = tiny_config(recipe), PLANS[name]
    path = written(tmp_path / f'pose{FILE_FORMATS[plan.file_format]}', config, plan)
    crops = np.concatenate([random_crops(config, 1), painted_crops(config, 2)])
    heatmaps = reference_of(config, plan, crops)
    for runtime in runtimes_of(path):
        file = open_model_file(path, runtime)
        difference = compare(file, crops, heatmaps, model_of(config).codec.decode(config))
        assert difference.compared >= (17 if plan.with_decode else heatmaps.size)
        assert file.has_decoder == plan.with_decode and file.has_flip_test == plan.flip_test
        assert file.batch_size == plan.batch_size
        assert file.graph.outputs == plan.output_names


@pytest.mark.parametrize('opset, recipe', list(zip([13, 21], TINY)))
def test_opsets(recipe, opset, tmp_path):
    config, plan = tiny_config(recipe), ExportPlan('ONNX', 'pixels', with_decode=True, flip_test=True, opset=opset)
    path = written(tmp_path / 'pose.onnx', config, plan)
    assert [each.version for each in onnx.load(path).opset_import] == [opset]
    crops = painted_crops(config, 2)
    heatmaps = reference_of(config, plan, crops)
    for runtime in runtimes_of(path):
        compare(open_model_file(path, runtime), crops, heatmaps, model_of(config).codec.decode(config))


@pytest.mark.parametrize('opset', [12, 99])
def test_other_opsets_are_refused(opset, tmp_path):
    with pytest.raises(ValueError, match=f'opset {opset} is not supported; use one from 13 to 21'):
        written(tmp_path / 'pose.onnx', tiny_config(TINY[0]), ExportPlan('ONNX', opset=opset))


def test_weights_are_inside_once_although_the_flip_test_runs_the_network_twice(tmp_path):
    config = tiny_config(TINY[1])
    plain, flipped = (written(tmp_path / f'{flip}.onnx', config, ExportPlan('ONNX', flip_test=flip))
                      for flip in (False, True))
    names = [{each.name for each in onnx.load(path).graph.initializer} for path in (plain, flipped)]
    assert {name for name in names[1] if name.endswith('weight')} == {
        name for name in names[0] if name.endswith('weight')}
    assert os.path.getsize(flipped) < 1.2 * os.path.getsize(plain)


def test_nodes_are_named_by_their_place_in_the_network(tmp_path):
    model = onnx.load(written(tmp_path / 'pose.onnx', tiny_config(TINY[1]), PLANS['all']))
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert any(name.startswith('predictor.network.layer1.0.conv1/Conv') for name in names)
    assert not any(node.op_type == 'BatchNormalization' for node in model.graph.node)


@pytest.mark.parametrize('file_format', ['ONNX', 'MINDIR'])
@pytest.mark.parametrize('recipe', TINY)
def test_a_file_says_what_it_computes(recipe, file_format, tmp_path):
    config = resolve(tiny_config(recipe), {'DATASET.MEANS': [0.1, 0.2, 0.3], 'DATASET.ROOT': '/home/me/coco',
                                           'DEVICE.TARGET': 'CPU'})
    plan = ExportPlan(file_format, with_decode=True)
    file = open_model_file(written(tmp_path / f'pose{FILE_FORMATS[file_format]}', config, plan))
    assert set(file.facts) == set(METADATA_KEYS) - {'recipe'}
    told = file.facts
    # Nobody can add the flip test to keypoints; a file of heatmaps leaves the recipe as it is.
    base = load_recipe('base')
    for key in LOCAL_KEYS:
        # The exporter's device and folders are nobody else's.
        section, name = key.split('.')
        config[section][name] = base[section][name]
    assert file.config == resolve(config, {'TEST.FLIP_TEST': False})
    assert told['keypoint_names'] == list(COCO.keypoint_names)
    assert told['input']['channel_order'] == 'BGR' and (told['input']['height'], told['input']['width']) == (96, 64)
    assert told['normalisation']['means'] == [0.1, 0.2, 0.3] and not told['normalisation']['inside']
    assert told['decoder']['inside'] and told['versions']['mindspore'] == ms.__version__
    assert list(told['outputs']) == ['keypoints', 'scores']
    # The formula is the one by which anybody can prepare crops.
    crops = random_crops(config, 1)
    factor, shift = (np.array(told['normalisation'][key]) for key in ('factor', 'shift'))
    np.testing.assert_allclose(file.as_input(crops), (crops * factor + shift).transpose(0, 3, 1, 2), rtol=1e-5,
                               atol=1e-5)


@pytest.mark.parametrize('before_scaling', [False, True])
def test_pixels_are_normalised_alike_inside_and_outside(before_scaling, tmp_path):
    config = resolve(tiny_config(TINY[0]), {'DATASET.NORMALISE_BEFORE_SCALING': before_scaling})
    crops = random_crops(config, 2)
    files = [open_model_file(written(tmp_path / f'{kind}.onnx', config, ExportPlan('ONNX', kind)))
             for kind in ('images', 'pixels')]
    expected = reference_of(config, ExportPlan('ONNX'), crops)
    for file in files:
        assert np.abs(file.run(crops)[0] - expected).max() <= HEATMAP_TOLERANCE * np.abs(expected).max()


# What does not fit

def changed(file, **outputs):
    """A file in a runtime that returns something else."""
    run = file.graph.run

    def other(array):
        return [outputs.get(name, lambda value: value)(value) for name, value in zip(file.graph.outputs, run(array))]

    object.__setattr__(file, 'graph', file.graph._replace(run=other))
    return file


@pytest.mark.parametrize('plan, output, change, message', [
    (ExportPlan('ONNX'), 'heatmaps', lambda maps: maps + 2e-4 * np.abs(maps).max(), 'heatmaps differ by 2.0e-04'),
    (ExportPlan('ONNX'), 'heatmaps', lambda maps: maps * np.nan, 'heatmaps differ by nan'),
    (ExportPlan('ONNX'), 'heatmaps', lambda maps: maps[:, :, ::-1], 'heatmaps differ by'),
    (ExportPlan('ONNX'), 'heatmaps', lambda maps: maps[:, :5], 'heatmaps differ by inf'),
    (ExportPlan('ONNX', with_decode=True), 'keypoints', lambda places: places + 0.01, 'keypoints differ by 1.0e-02'),
    (ExportPlan('ONNX', with_decode=True), 'scores', lambda scores: scores * 1.001, 'scores differ by 1.0e-03')])
def test_a_file_that_computes_something_else_is_found(plan, output, change, message, tmp_path):
    config = tiny_config(TINY[1])
    file = open_model_file(written(tmp_path / 'pose.onnx', config, plan))
    crops = painted_crops(config, 2)
    heatmaps, decode = reference_of(config, plan, crops), model_of(config).codec.decode(config)
    compare(file, crops, heatmaps, decode)
    with pytest.raises(ValueError, match=f'does not compute in onnxruntime what the network computes: {message}'):
        compare(changed(file, **{output: change}), crops, heatmaps, decode)


def test_keypoints_that_hang_on_rounding_are_counted_and_left_out(tmp_path):
    """Two maxima that differ by less than what is allowed: either may be first."""
    config = tiny_config(TINY[1])
    y, x = np.mgrid[:24, :16]
    # Off the middle of a cell: the neighbours differ clearly.
    one, other = (np.exp(-((x - at_x - 0.2) ** 2 + (y - at_y - 0.2) ** 2) / 4) for at_x, at_y in ((4, 12), (9, 6)))
    heatmaps = np.tile(one, (1, 17, 1, 1)).astype(np.float32)
    heatmaps[0, :3] += (other * (1 - 1e-6)).astype(np.float32)
    keypoints, scores = model_of(config).codec.decode(config)(heatmaps)

    class Fake:
        batch_size, has_decoder, runtime, num_hypotheses = 0, True, 'fake', 1

        def run(self, _crops):
            moved = keypoints.copy()
            moved[0, :3] += [20, -24]
            return moved, scores

    difference = compare(Fake(), np.zeros((1, 96, 64, 3), np.uint8), heatmaps, model_of(config).codec.decode(config))
    assert (difference.compared, difference.undecided) == (14, 3)


def test_a_decoder_that_cannot_be_compared_does_not_pass(tmp_path):
    """A network whose maps are flat: every keypoint hangs on rounding."""
    config, plan = tiny_config(TINY[1]), ExportPlan('ONNX', with_decode=True)
    network = seeded(config)
    for parameter, value in zip(network.final_layer.get_parameters(), (0, 1)):
        parameter.set_data(ms.Tensor(np.full(parameter.shape, value, np.float32)))
    crops = random_crops(config, 1)
    reference = network_predictor(resolve(config, {'TEST.FLIP_TEST': False}), network, COCO.flip_index)
    heatmaps = reference.run(crops)[0]
    file = open_model_file(written(tmp_path / 'pose.onnx', config, plan, network))
    with pytest.raises(ValueError, match='the decoder could not be checked'):
        list(compare_all([file], {'noise': crops}, lambda _: (heatmaps,), model_of(config).codec.decode(config)))


def test_batches_of_a_fixed_size_serve_any_number(tmp_path):
    config = tiny_config(TINY[1])
    free, fixed = (open_model_file(written(tmp_path / f'{size}.onnx', config, ExportPlan('ONNX', batch_size=size)))
                   for size in (0, 4))
    crops = random_crops(config, 6)
    np.testing.assert_allclose(run_in_batches(fixed, crops)[0], run_in_batches(free, crops)[0], rtol=1e-4, atol=1e-5)


def test_unknown_cells_are_named():
    class Unknown(nn.Cell):
        def __init__(self):
            super().__init__()
            self.pool = nn.AvgPool2d(2)

        def construct(self, x):
            return self.pool(x)

    class Functional(nn.Cell):
        def construct(self, x):
            return ms.ops.exp(x)

    for cell, message in ((Unknown(), 'pool is a AvgPool2d, which cannot be written as ONNX yet'),
                          (Functional(), 'Functional.* calls a function that cannot be followed')):
        with pytest.raises(ValueError, match=message + '.*src/export/onnx_cells.py'):
            follow(cell, Value(OnnxGraph(17), 'x'))


def test_following_leaves_cells_as_they_were(tmp_path):
    """Also after an error."""
    original = nn.Cell.__call__
    written(tmp_path / 'pose.onnx', tiny_config(TINY[0]), ExportPlan('ONNX'))
    assert nn.Cell.__call__ is original
    with pytest.raises(ValueError):
        follow(nn.AvgPool2d(2), Value(OnnxGraph(17), 'x'))
    assert nn.Cell.__call__ is original


def test_air_says_what_it_needs():
    with pytest.raises(ValueError, match='on an Ascend server with CANN; elsewhere export ONNX'):
        check_air(ExportPlan('AIR', batch_size=1))


def test_air_has_a_fixed_batch(monkeypatch):
    monkeypatch.setattr(plans, 'available_targets', lambda: ['Ascend', 'CPU'])
    with pytest.raises(ValueError, match='fixed batch size'):
        check_air(ExportPlan('AIR', batch_size=0))
    check_air(ExportPlan('AIR', batch_size=1))


def test_small_networks_are_all_here():
    """But for HRNet, whose export `test_onnx_cells.py` checks."""
    assert {name.split('_')[0] for name in TINY} == set(SMALL_NETWORKS) - {'hrnet'}


def test_file_modes_are_ordinary(tmp_path):
    """`atomic_file` takes MindSpore's read-only mode away."""
    from src.system.files import atomic_file
    path = tmp_path / 'pose.mindir'
    with atomic_file(str(path)) as temporary:
        written(Path(temporary), tiny_config(TINY[1]), ExportPlan('MINDIR'))
    assert stat.S_IMODE(path.stat().st_mode) == 0o644 and os.listdir(tmp_path) == ['pose.mindir']


# Networks that look for several people in a box

def written_mipnet(path: Path, config, plan: ExportPlan) -> str:
    model = build_exported_model(config, tiny_mipnet(config.MIPNET.NUM_INSTANCES), plan, COCO.flip_index)
    write_model(str(path), model, config, plan, describe(config, plan, COCO.keypoint_names))
    return str(path)


@pytest.mark.parametrize('all_hypotheses', [False, True])
@pytest.mark.parametrize('name', PLANS)
def test_every_hypothesis_is_compared_with_the_network(name, all_hypotheses, tmp_path):
    config, plan = mipnet_config(MIPNET__NUM_INSTANCES=3), replace(PLANS[name], all_hypotheses=all_hypotheses)
    path = written_mipnet(tmp_path / f'pose{FILE_FORMATS[plan.file_format]}', config, plan)
    crops = np.concatenate([random_crops(config, 1), painted_crops(config, 2)])
    reference = network_predictor(resolve(config, {'TEST.FLIP_TEST': plan.flip_test}), tiny_mipnet(3), COCO.flip_index)
    heatmaps, = reference.run(crops)
    for runtime in runtimes_of(path):
        file = open_model_file(path, runtime)
        assert file.num_hypotheses == 3 and (file.codes is None) == all_hypotheses
        assert len(file.graph.shapes) == (1 if all_hypotheses else 2)
        difference = compare(file, crops, heatmaps, model_of(config).codec.decode(config))
        assert difference.compared >= (3 * 17 if plan.with_decode else heatmaps.size)
        assert file.batch_size == plan.batch_size and file.graph.outputs == plan.output_names


@pytest.mark.parametrize('file_format', ['ONNX', 'MINDIR'])
@pytest.mark.parametrize('num_instances, values', [
    (2, {'primary': [1, 0], 'second': [0, 1]}),
    (4, {'primary': [0, 0], 'second': [1, 0], 'third': [0, 1], 'fourth': [1, 1]})])
def test_a_file_says_whom_each_code_means(num_instances, values, file_format, tmp_path):
    config, plan = mipnet_config(MIPNET__NUM_INSTANCES=num_instances), ExportPlan(file_format)
    file = open_model_file(written_mipnet(tmp_path / f'pose{FILE_FORMATS[file_format]}', config, plan))
    assert file.facts['input']['codes'] == {'axes': 'N, 2', 'type': 'float32', 'values': values}
    np.testing.assert_array_equal(file.codes, list(values.values()))
    # Anybody who reads it can ask for one person by hand.
    crops = random_crops(config, 2)
    second, = file.graph.run(file.as_input(crops), np.tile(np.float32(values['second']), (2, 1)))
    np.testing.assert_allclose(second, file.run(crops)[0][2:4], rtol=1e-6)


def test_a_file_of_all_hypotheses_says_in_which_order_they_come(tmp_path):
    config = mipnet_config()
    for with_decode, keys in ((False, ('heatmaps',)), (True, ('keypoints', 'scores'))):
        plan = ExportPlan('ONNX', with_decode=with_decode, all_hypotheses=True, batch_size=2)
        path = written_mipnet(tmp_path / 'pose.onnx', config, plan)
        outputs = open_model_file(path).facts['outputs']
        assert tuple(outputs) == keys
        assert all(re.fullmatch(r'I \* N, K.*; N primary people, then N second people', text)
                   for text in outputs.values())
        model = onnx.load(path)
        assert model.graph.output[0].type.tensor_type.shape.dim[0].dim_value == 4
        # What does not depend on the person is there once.
        assert sum(node.name.startswith('predictor.network.network.stem/Conv') for node in model.graph.node) == 1
        assert sum(node.name.startswith('predictor.network.network.head/Conv') for node in model.graph.node) == 2


def test_all_hypotheses_of_a_network_with_one_are_refused(tmp_path):
    with pytest.raises(ValueError, match='--hypotheses all is for networks that look for several people in a box, not '
                       'for simplepose_r18'):
        written(tmp_path / 'pose.onnx', tiny_config(TINY[1]), ExportPlan('ONNX', all_hypotheses=True))


@pytest.mark.parametrize('exchange', [
    lambda maps: np.concatenate([maps[2:], maps[:2]]), lambda maps: np.concatenate([maps[:2], maps[:2]]),
    lambda maps: maps.reshape(2, 2, *maps.shape[1:]).swapaxes(0, 1).reshape(maps.shape)])
def test_hypotheses_in_another_order_are_found(exchange, tmp_path):
    config = mipnet_config()
    file = open_model_file(written_mipnet(tmp_path / 'pose.onnx', config, ExportPlan('ONNX', all_hypotheses=True)))
    crops = painted_crops(config, 2)
    heatmaps, = network_predictor(resolve(config, {'TEST.FLIP_TEST': False}), tiny_mipnet(), COCO.flip_index).run(crops)
    compare(file, crops, heatmaps, model_of(config).codec.decode(config))
    with pytest.raises(ValueError, match='does not compute in onnxruntime what the network computes'):
        compare(changed(file, heatmaps=exchange), crops, heatmaps, model_of(config).codec.decode(config))


@pytest.mark.parametrize('options', [{}, {'batch_size': 2, 'input_kind': 'pixels'}, {'all_hypotheses': True}])
def test_int8_is_calibrated_with_every_code(options, tmp_path):
    config = mipnet_config()
    path = written_mipnet(tmp_path / 'pose.onnx', config, ExportPlan('ONNX', **options))
    crops = painted_crops(config, 3)
    expected, = run_in_batches(open_model_file(path), crops)
    assert 'operators, calibrated on 3 people' in quantise(path, crops)
    file = open_model_file(path)
    assert str(file) == 'onnxruntime (int8)'
    ours, = run_in_batches(file, crops)
    for rows in (slice(0, 3), slice(3, 6)):
        assert 0 < np.abs(ours[rows] - expected[rows]).max() < 0.1 * np.abs(expected[rows]).max()


def test_calls_feed_every_code(tmp_path):
    config = mipnet_config()
    file = open_model_file(written_mipnet(tmp_path / 'pose.onnx', config, ExportPlan('ONNX')))
    crops = random_crops(config, 3)
    first, second = file.calls(crops)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], [[1, 0]] * 3)
    np.testing.assert_array_equal(second[1], [[0, 1]] * 3)
    assert second[1].dtype == np.float32


@pytest.mark.parametrize('plan', [ExportPlan('ONNX'), ExportPlan('ONNX', flip_test=True, batch_size=2)])
def test_a_file_and_the_network_make_the_same_predictions(plan, tmp_path):
    """Flip test and shifts are added outside of a file that does not have them."""
    config = mipnet_config(TEST__MULTI_SHIFT=6)
    file = open_model_file(written_mipnet(tmp_path / 'pose.onnx', config, plan))
    ours, theirs = (file_predictor(config, file, COCO.flip_index),
                    network_predictor(config, tiny_mipnet(), COCO.flip_index))
    crops = painted_crops(config, 2)
    expected, = theirs.run(crops)
    assert relative_difference(ours.run(crops)[0], expected) <= HEATMAP_TOLERANCE
    assert ours.num_hypotheses == theirs.num_hypotheses == 2 and ours.batch_size == (plan.batch_size or 32)


def test_shifts_cannot_be_added_to_keypoints(tmp_path):
    config, plan = mipnet_config(TEST__MULTI_SHIFT=6), ExportPlan('ONNX', with_decode=True, flip_test=True)
    file = open_model_file(written_mipnet(tmp_path / 'pose.onnx', config, plan))
    with pytest.raises(ValueError, match='decodes inside, so TEST.MULTI_SHIFT=6 cannot average heatmaps; export it '
                       'without --with_decode'):
        file_predictor(config, file, COCO.flip_index)
    # Its own recipe does not ask for them.
    assert file.config.TEST.MULTI_SHIFT == 0
    file_predictor(file.config, file, COCO.flip_index)


@pytest.mark.parametrize('change, message', [
    ({'codes': None}, r'its graph takes \(3, 96, 64\), \(2,\) instead of \(3, 96, 64\)'),
    ({'kind': 'pixels'}, r'its graph takes \(3, 96, 64\), \(2,\) instead of \(96, 64, 3\), \(2,\)')])
def test_inputs_that_a_file_does_not_have_are_found(change, message, tmp_path):
    config = mipnet_config()
    metadata = describe(config, ExportPlan('ONNX'), COCO.keypoint_names)
    told = {**json.loads(metadata['input']), **change}
    metadata['input'] = json.dumps({key: value for key, value in told.items() if value is not None})
    write_model(str(tmp_path / 'pose.onnx'), build_exported_model(config, tiny_mipnet(), ExportPlan('ONNX'),
                                                                  COCO.flip_index),
                config, ExportPlan('ONNX'), metadata)
    with pytest.raises(ValueError, match=f'says something impossible of its input .{message}'):
        open_model_file(str(tmp_path / 'pose.onnx'))


def test_channels_of_images_are_in_the_order_that_a_file_says(tmp_path):
    """Crops are always blue, green, red; the file takes images in the order of its network."""
    config = resolve(tiny_config(TINY[1]), {'DATASET.MEANS': [0.1, 0.2, 0.3]})
    bgr = open_model_file(written(tmp_path / 'bgr.onnx', config, ExportPlan('ONNX')))
    metadata = describe(resolve(config, {'DATASET.COLOR_RGB': True}), ExportPlan('ONNX'), COCO.keypoint_names)
    assert json.loads(metadata['input'])['channel_order'] == 'RGB'
    model = onnx.load(bgr.path)
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, str(tmp_path / 'rgb.onnx'))
    rgb, crops = open_model_file(str(tmp_path / 'rgb.onnx')), random_crops(config, 1)
    np.testing.assert_array_equal(rgb.as_input(crops), bgr.as_input(crops[..., ::-1]))
    pixels = describe(resolve(config, {'DATASET.COLOR_RGB': True}), ExportPlan('ONNX', 'pixels'), COCO.keypoint_names)
    assert json.loads(pixels['input'])['channel_order'] == 'BGR'
