"""What is drawn of a data set is what a training is given: its crops, and label maps with peaks on the keypoints."""
import sys
from unittest import mock

import cv2
import numpy as np
import pytest

from src.config import load_recipe, resolve
from src.data_tools import draw
from src.synthetic.writing import write_synthetic_coco
from src.system.errors import PoseError


@pytest.fixture(scope='module')
def painted(tmp_path_factory):
    root = tmp_path_factory.mktemp('draw') / 'coco'
    write_synthetic_coco(str(root), num_train=3, num_val=2, seed=1, image_size=(200, 160))
    return root


def samples_of(painted, recipe='base', **settings):
    config = resolve(load_recipe(recipe), {'DATASET.ROOT': str(painted), **settings})
    path = painted / 'annotations/person_keypoints_train2017.json'
    return config, draw.load_samples(config, str(path), 'train2017')


def test_crops_are_those_of_the_training(painted):
    _, samples = samples_of(painted)
    crops, joints, validity = draw.training_crops(samples, np.array([1]))
    crop = np.empty_like(crops[0, 0])
    for epoch in range(draw.EPOCHS):
        its_joints, its_validity = samples.training_sample(1, epoch, crop)
        assert (crop == crops[0, epoch]).all() and (its_joints.astype(np.float32) == joints[0, epoch]).all()
        assert (its_validity == validity[0, epoch]).all()


@pytest.mark.parametrize('recipe', ['base', 'mspn_1stg_coco_256x192', 'mipnet_r50_coco_256x192'])
def test_label_maps_lie_on_the_keypoints(painted, recipe):
    """Of every network, whatever shape its maps have."""
    config, samples = samples_of(painted, recipe)
    crops, joints, validity = draw.training_crops(samples, np.array([0]))
    maps = draw.label_maps(config, joints[0], validity[0])
    height, width = samples.input_shape
    assert maps.shape == (draw.EPOCHS, height // 4, width // 4)
    for label_map, places, seen in zip(maps, joints[0], validity[0]):
        inside = (seen > 0) & (places >= 0).all(axis=1) & (places < [width - 4, height - 4]).all(axis=1)
        assert inside.any()
        for x, y in places[inside] / 4:
            # MSPN rounds to other cells than the others.
            left, top = max(0, int(x) - 1), max(0, int(y) - 1)
            assert label_map[top:top + 4, left:left + 4].max() > 0.95 * label_map.max()
    assert draw.overlay(crops[0, 0], maps[0]).shape == crops[0, 0].shape


def run(*words) -> None:
    with mock.patch.object(sys, 'argv', ['draw', *map(str, words)]):
        draw.main()


@pytest.mark.parametrize('split, count', [('train', 3), ('val', 2)])
def test_the_command(tmp_path, painted, split, count):
    run(painted, tmp_path / 'out', '--split', split, '--no_label_maps')
    assert len(list((tmp_path / 'out/annotations').iterdir())) == count
    assert cv2.imread(str(tmp_path / 'out/crops.jpg')) is not None and not (tmp_path / 'out/label_maps.jpg').exists()


@pytest.mark.parametrize('words, message', [
    (['nowhere', 'out'], 'nowhere does not exist'), (['.', 'out'], 'no annotation file; looked for'),
    (['.', 'out', '--most', '0'], '--most should be positive')])
def test_wrong_words_are_explained(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PoseError, match=message):
        run(*words)
