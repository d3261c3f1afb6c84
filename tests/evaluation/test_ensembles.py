"""Several checkpoints as one: the mean of their heatmaps, each with its own pixels, and what cannot be averaged."""
import argparse
import contextlib
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from golden_data import load_seeded
from mindspore import Tensor
from script_runs import MSPN, SIMPLE_POSE, TINY, run_script
from tiny_mipnet import mipnet_config, tiny_mipnet

from src.checkpoints.ckpt import save_checkpoint
from src.config import load_recipe, resolve
from src.data.skeletons import COCO
from src.evaluation.load_model import Ensemble, LoadedModel, add_source_flags, open_source
from src.export.example_crops import random_crops
from src.models.registry import build_configured_network
from src.synthetic.writing import write_synthetic_coco


def tiny_config(recipe: str, **overrides):
    items = dict(item.split('=') for item in TINY[recipe].split()[1:])
    return resolve(load_recipe(recipe), {**items, 'MODEL.IMAGE_SIZE': '64 96', **{
        key.replace('__', '.'): value for key, value in overrides.items()}})


# Fresh weights of another seed make another network.
CONFIGS = {
    'one': tiny_config(SIMPLE_POSE),
    'other': tiny_config(SIMPLE_POSE, GENERAL__SEED=7, DATASET__MEANS='0.1 0.2 0.3', DATASET__STDS='0.5 0.6 0.7',
                         TEST__FLIP_TEST=False, TEST__BATCH_SIZE=3),
    'larger': tiny_config(SIMPLE_POSE, MODEL__IMAGE_SIZE='96 128'),
    'fewer': tiny_config(SIMPLE_POSE, MODEL__NUM_JOINTS=14),
    'udp': tiny_config(SIMPLE_POSE, DATASET__ENCODING='udp', TEST__SHIFT_HEATMAP=False),
    'mspn': tiny_config(MSPN),
    'mspn_again': tiny_config(MSPN, GENERAL__SEED=5, DATASET__NORMALISE_BEFORE_SCALING=True),
}


@pytest.fixture(scope='module')
def material(tmp_path_factory):
    """Checkpoints of CONFIGS and of two MIPNets, and pictures of people, in the current folder."""
    folder = tmp_path_factory.mktemp('ensembles')
    write_synthetic_coco(str(folder / 'data'), num_train=1, num_val=3, seed=3, image_size=(240, 180))
    for name, config in CONFIGS.items():
        network = build_configured_network(config)
        if name in ('one', 'other'):
            load_seeded(network)
        if name == 'other':
            # Another network with heatmaps of the same size: those of fresh weights would not show in a mean.
            weight = network.final_layer.weight
            weight.set_data(Tensor(weight.asnumpy()[::-1].copy()))
        save_checkpoint(str(folder / f'{name}.ckpt'), network, config)
    for number in (2, 3):
        save_checkpoint(str(folder / f'mipnet{number}.ckpt'), tiny_mipnet(number),
                        mipnet_config(MIPNET__NUM_INSTANCES=number))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def opened(*names: str):
    parser = argparse.ArgumentParser()
    add_source_flags(parser, 'checkpoint')
    parser.add_argument('--recipe')
    arguments = parser.parse_args(['--ckpt_path', *(f'{name}.ckpt' for name in names)])
    with contextlib.redirect_stdout(io.StringIO()):
        return open_source(arguments, arguments.ckpt_path, lambda _: {})


def test_heatmaps_are_the_mean_of_those_of_the_members(material):
    """Each with its own pixel constants, all with the first one's flip test."""
    source, config, overrides = opened('one', 'other')
    assert isinstance(source, Ensemble) and config == CONFIGS['one'] and overrides == {}
    predictor, crops = source.build_predictor(config, COCO.flip_index), random_crops(config, 2)
    parts = []
    for name in ('one', 'other'):
        alone = opened(name).source
        assert isinstance(alone, LoadedModel)
        own = resolve(CONFIGS[name], {'TEST.FLIP_TEST': True})
        parts.append(alone.build_predictor(own, COCO.flip_index).run(crops)[0])
    ours, = predictor.run(crops)
    np.testing.assert_allclose(ours, np.mean(parts, axis=0), rtol=1e-5, atol=1e-6 * np.abs(ours).max())
    assert all(np.abs(part - ours).max() > 0.1 * np.abs(ours).max() for part in parts)
    assert predictor.batch_size == CONFIGS['one'].TEST.BATCH_SIZE and predictor.num_hypotheses == 1


def test_members_of_mspn_go_together(material):
    source, config, _ = opened('mspn', 'mspn_again')
    assert source.describe(config) == 'mean of mspn_1stg, mspn_1stg'


@pytest.mark.parametrize('names, message', [
    (('one', 'larger'), r'MODEL.IMAGE_SIZE is \[64, 96\] in the one and \[96, 128\] in the other'),
    (('one', 'fewer'), 'MODEL.NUM_JOINTS is 17 in the one and 14 in the other'),
    (('one', 'udp'), r'UDP \(DATASET.ENCODING\) is False in the one and True in the other'),
    (('one', 'mspn'), '.*and mspn in the other; heatmaps of the one reach 1, those of the other 255'),
    (('mspn', 'one'), '.*and pose_resnet in the other; heatmaps of the one reach 255, those of the other 1'),
    (('one', 'mipnet2'), 'the number of people in a box is 1 in the one and 2 in the other'),
    (('mipnet3', 'mipnet2'), 'the number of people in a box is 3 in the one and 2 in the other')])
def test_what_cannot_be_averaged_is_named(names, message, material):
    first, last = names
    with pytest.raises(ValueError, match=f'heatmaps of {first}.ckpt and {last}.ckpt cannot be averaged: {message}'):
        opened(first, first, last)


def test_a_member_that_is_missing_is_named(material):
    with pytest.raises(ValueError, match='nobody.ckpt does not exist'):
        opened('one', 'nobody')


def evaluate(names: str) -> tuple:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = run_script('eval', f'--ckpt_path {names} --data_url data --use_gt_bbox --save_path results.json')
    assert status == 0, out.getvalue()
    return out.getvalue(), json.loads(Path('results.json').read_text())


def test_an_ensemble_of_twins_is_the_checkpoint(material):
    out, twins = evaluate('one.ckpt one.ckpt')
    assert '\nnetwork: mean of simplepose_r18, simplepose_r18, device: CPU\n' in out
    assert twins == evaluate('one.ckpt')[1]


def test_inference_with_an_ensemble(material):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = run_script('infer', '--ckpt_path one.ckpt other.ckpt --data_url data/val2017 --det_file_url '
                            'data/annotations/val2017_detections.json --score_thresh -1 --img_save_dir drawn')
    assert status == 0 and 'recipe: the one inside other.ckpt' in out.getvalue()
    assert len(json.loads(Path('drawn/results.json').read_text())) > 2
    assert len([name for name in os.listdir('drawn') if name.endswith('_res.jpg')]) == 3
