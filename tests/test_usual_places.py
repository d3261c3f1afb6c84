"""Files that nobody names: they are taken where the course and the releases put them, and that is said."""
import argparse
from pathlib import Path

import numpy as np
import pytest

from src.config import load_recipe, resolve
from src.data.detections import find_inference_boxes
from src.data.mpii import find_mat_file
from src.datasets.annotation_files import find_annotation_file, find_detection_file
from src.evaluation.load_model import open_source
from src.system.errors import PoseError


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def touch(path: str, content='') -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(content)
    return path


def test_annotations_and_boxes_in_the_folders_of_the_releases():
    config = resolve(load_recipe('base'), {'DATASET.ROOT': 'data'})
    gt = touch('data/gt_json/person_keypoints_val2017.json')
    assert find_annotation_file(config, 'TEST', is_explicit=False) == gt
    name = 'COCO_val2017_detections_AP_H_56_person.json'
    with pytest.raises(PoseError, match='does not exist.*--det_file_url'):
        find_detection_file(config, is_explicit=False)
    for folder in ('data/person_detection_results', 'data/det_json', './annotation/det_json'):
        path = touch(f'{folder}/{name}')
        assert find_detection_file(config, is_explicit=False) == path
        with pytest.raises(PoseError, match='does not exist'):
            find_detection_file(config, is_explicit=True)


@pytest.mark.parametrize('path', ['data/gt_json/valid.mat', 'data/annot/valid.mat', 'data/annot/gt_valid.mat',
                                  'data/gt_json/gt_valid.mat'])
def test_the_matlab_file_of_mpii(path):
    touch('data/annot/valid.json')
    assert find_mat_file('data/annot/valid.json') is None
    touch(path)
    assert Path(find_mat_file('data/annot/valid.json')).resolve() == Path(path).resolve()


def test_boxes_of_an_evaluation_are_left_aside_where_there_are_others():
    said = []
    with pytest.raises(PoseError, match='no detection JSON in ./annotation/det_json'):
        find_inference_boxes(None)
    own = touch('./annotation/det_json/minival_2014_det.json', '[]')
    assert find_inference_boxes(None, said.append) == [own] and not said
    mine = touch('./annotation/det_json/mine.json', '[]')
    assert find_inference_boxes(None, said.append) == [mine]
    assert said == [f'left aside: {own}, boxes of an evaluation (take them with --det_file_url)']


@pytest.mark.parametrize('there, taken', [(['mspn.ckpt'], './mspn.ckpt'),
                                          (['mspn.ckpt', 'mspn_new.ckpt'], './mspn_new.ckpt')])
def test_the_checkpoint_of_the_course(there, taken, monkeypatch, capsys):
    arguments = argparse.Namespace(model_file=None, ckpt_path=None, runtime=None, precision='f32', threads=0,
                                   recipe='simplepose_r50_coco_256x192')
    with pytest.raises(PoseError, match='--ckpt_path.*./mspn_new.ckpt or ./mspn.ckpt is taken, and neither is here'):
        open_source(arguments, None, lambda recipe: {})
    for name in there:
        touch(name)
    monkeypatch.setattr('src.checkpoints.load.read_weights', lambda path: ({'x': np.ones(1)}, load_recipe('base')))
    assert open_source(arguments, None, lambda recipe: {}).source.path == taken
    assert f'checkpoint: {taken}, since none is given' in capsys.readouterr().out


def test_the_start_file_of_simple_pose(monkeypatch, capsys):
    from src.training import setup
    seen = []

    def stop(path):
        seen.append(path)
        raise PoseError('seen')

    monkeypatch.setattr(setup, 'read_weights', stop)
    monkeypatch.setattr(setup, 'build_configured_network', lambda config: None)
    config = load_recipe('simplepose_r50_coco_256x192')
    assert setup.build_started_network(config, {}) is None and not seen
    touch('models/resnet50.ckpt')
    with pytest.raises(PoseError, match='seen'):
        setup.build_started_network(config, {})
    assert seen == ['./models/resnet50.ckpt'] and 'start file: ./models/resnet50.ckpt' in capsys.readouterr().out
    assert setup.build_started_network(resolve(config, {'MODEL.INIT_WEIGHTS': 'false'}), {}) is None and len(seen) == 1
    mipnet = load_recipe('mipnet_r50_coco_256x192')
    assert setup.build_started_network(mipnet, {}) is None
    assert 'start from the weights of the same network without modulation' in capsys.readouterr().out
