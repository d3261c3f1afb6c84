"""PoseEstimator gives the poses of the scripts, from a checkpoint and from exported files, also without MindSpore."""
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from golden_data import load_seeded
from script_runs import MSPN, ROOT, SIMPLE_POSE, TINY, run_script

import src
from src import PoseError, PoseEstimator
from src.checkpoints.ckpt import save_checkpoint
from src.config import load_recipe, resolve
from src.data.skeletons import COCO
from src.evaluation.predict import Predictor
from src.inference.box_poses import BoxPoser
from src.models.registry import build_configured_network
from src.synthetic.pictures import make_picture


@pytest.fixture(scope='module')
def material(tmp_path_factory):
    """Two checkpoints, their ONNX files, and two painted pictures with the boxes of their people."""
    folder = tmp_path_factory.mktemp('estimator')
    for name, recipe in (('simplepose', SIMPLE_POSE), ('mspn', MSPN)):
        items = dict(item.split('=') for item in TINY[recipe].split()[1:])
        config = resolve(load_recipe(recipe), {**items, 'MODEL.IMAGE_SIZE': '64 96'})
        network = build_configured_network(config)
        load_seeded(network)
        save_checkpoint(str(folder / f'{name}.ckpt'), network, config)
        assert run_script('export', f'--ckpt_path {folder}/{name}.ckpt --file_name {folder}/{name}.onnx') == 0
    painted = [make_picture(0, 'val2017', number) for number in (1, 2)]
    boxes = [np.array([each['bbox'] for each in picture.annotations], np.float64) for picture in painted]
    return folder, [picture.image for picture in painted], boxes


@pytest.mark.parametrize('name', ['simplepose', 'mspn'])
def test_it_gives_what_infer_gives(name, material, tmp_path):
    folder, images, boxes = material
    for number, image in enumerate(images, 1):
        cv2.imwrite(str(tmp_path / f'{number}.png'), image)
    detections = [{'image_id': number, 'category_id': 1, 'bbox': box.tolist(), 'score': 1.0}
                  for number, each in enumerate(boxes, 1) for box in each]
    (tmp_path / 'boxes.json').write_text(json.dumps(detections))
    assert run_script('infer', f'--ckpt_path {folder}/{name}.ckpt --data_url {tmp_path} --det_file_url '
                      f'{tmp_path}/boxes.json --img_save_dir {tmp_path}/out --set TEST.OKS_NMS=false') == 0
    wanted = json.loads((tmp_path / 'out' / 'results.json').read_text())
    poses = PoseEstimator(str(folder / f'{name}.ckpt'))(images, boxes)
    assert [len(each.keypoints) for each in poses] == list(map(len, boxes))
    for number, each in enumerate(poses, 1):
        theirs = sorted((record['score'], record['keypoints']) for record in wanted if record['image_id'] == number)
        ours = sorted(zip(each.scores.tolist(), each.keypoints.reshape(len(each.keypoints), -1).tolist()))
        np.testing.assert_allclose([score for score, _ in ours], [score for score, _ in theirs], rtol=1e-5)
        np.testing.assert_allclose([row for _, row in ours], [row for _, row in theirs], atol=1e-3)


@pytest.mark.parametrize('name', ['simplepose', 'mspn'])
def test_files_give_the_poses_of_their_checkpoint(name, material):
    folder, images, boxes = material
    wanted = PoseEstimator(str(folder / f'{name}.ckpt'))(images, boxes)
    for options in ({}, {'runtime': 'openvino', 'threads': 1, 'precision': 'f32'},
                    {'settings': {'TEST.BATCH_SIZE': 1}}):
        for ours, theirs in zip(PoseEstimator(str(folder / f'{name}.onnx'), **options)(images, boxes), wanted):
            assert np.abs(ours.keypoints[..., :2] - theirs.keypoints[..., :2]).max() < 1e-3
            np.testing.assert_allclose(ours.scores, theirs.scores, rtol=1e-4)


def test_one_picture_and_no_boxes(material):
    folder, images, boxes = material
    estimator = PoseEstimator(str(folder / 'simplepose.onnx'), flip_test=False)
    alone = estimator(images[0], boxes[0])
    assert alone.keypoints.shape == (len(boxes[0]), 17, 3) and alone.scores.shape == (len(boxes[0]),)
    np.testing.assert_array_equal(alone.keypoints, estimator(images, boxes)[0].keypoints)
    whole = estimator(images[0])
    height, width = images[0].shape[:2]
    assert whole.boxes_xywh.tolist() == [[0, 0, width, height]] and whole.keypoints.shape == (1, 17, 3)
    nobody = estimator(images[0], np.empty((0, 4)))
    assert nobody.keypoints.shape == (0, 17, 3) and nobody.scores.shape == (0,)
    assert estimator.keypoint_names[0] == 'nose' and estimator([], []) == []


@pytest.mark.parametrize('images, boxes, message', [
    ([None], None, 'picture 0 should be .* is NoneType; cv2.imread gives None'),
    ([np.zeros((9, 9), np.uint8)], None, r'picture 0 should be \(H, W, 3\) uint8, is uint8 \(9, 9\)'),
    ([np.zeros((9, 9, 3))], None, 'picture 0 should be .*, is float64'),
    ([np.zeros((9, 9, 3), np.uint8)], [[[1, 2, 3]]], r'the boxes of picture 0 should be \(P, 4\)'),
    ([np.zeros((9, 9, 3), np.uint8)], [[[1, 2, 3, 4], [0, 0, np.nan, 4]]], 'box 1 of picture 0 cannot be cropped'),
    ([np.zeros((9, 9, 3), np.uint8)], [], 'there are 1 pictures and boxes for 0')])
def test_wrong_input_is_named(material, images, boxes, message):
    with pytest.raises(PoseError, match=message):
        PoseEstimator(str(material[0] / 'simplepose.onnx'))(images, boxes)


def test_flags_of_files_are_not_for_checkpoints(material):
    with pytest.raises(PoseError, match='is no exported file'):
        PoseEstimator(str(material[0] / 'simplepose.ckpt'), runtime='openvino')


WITHOUT_MINDSPORE = '''
import importlib.abc, sys
class Nobody(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split('.')[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named '{{name}}'", name=name)
sys.meta_path.insert(0, Nobody())
import numpy as np
from src import PoseEstimator
picture = np.load({picture!r})
poses = PoseEstimator({path!r})(picture['image'], picture['boxes'])
np.save({out!r}, poses.keypoints)
'''


def test_an_onnx_file_needs_neither_mindspore_nor_an_evaluator(material, tmp_path):
    folder, images, boxes = material
    np.savez(tmp_path / 'picture.npz', image=images[0], boxes=boxes[0])
    program = WITHOUT_MINDSPORE.format(missing=['mindspore', 'pycocotools', 'safetensors', 'scipy', 'matplotlib'],
                                       picture=str(tmp_path / 'picture.npz'), path=str(folder / 'simplepose.onnx'),
                                       out=str(tmp_path / 'keypoints.npy'))
    done = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    wanted = PoseEstimator(str(folder / 'simplepose.ckpt'))(images[0], boxes[0])
    assert np.abs(np.load(tmp_path / 'keypoints.npy') - wanted.keypoints)[..., :2].max() < 1e-3


def test_the_public_face(material):
    for name in src.__all__:
        assert getattr(src, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'PoseEstimater'"):
        src.PoseEstimater  # noqa: B018


def test_the_first_people_are_computed_without_compiling():
    """In batches of just their number. The 17th needs a graph, and from then on there are two batch sizes."""
    config, calls = load_recipe(SIMPLE_POSE), []

    def runs_as(name):
        def run(crops):
            calls.append((name, len(crops)))
            return (np.zeros((len(crops), 17, 64, 48), np.float32),)
        return run

    def decode(heatmaps, center, scale):
        return np.zeros((len(heatmaps), 17, 2)), np.zeros((len(heatmaps), 17))

    predictor = Predictor(runs_as('graph'), decode, 8, run_uncompiled=runs_as('operators'))
    picture, box = np.zeros((90, 60, 3), np.uint8), np.array([[0.0, 0.0, 60.0, 90.0]])

    def poses_of(*counts, **options):
        calls.clear()
        poser = BoxPoser(config, options.pop('predictor', predictor), COCO, is_compiled=True)
        for count in counts:
            found, = poser.in_order_of_boxes([picture], [np.tile(box, (count, 1))], [np.ones(count)])
            assert len(found.keypoints) == count
        return list(calls)

    assert poses_of(1, 5, 9, 1, 1, 5) == [('operators', 1), ('operators', 5), ('operators', 8), ('operators', 1),
                                          ('operators', 1), ('graph', 4), ('graph', 8)]
    assert poses_of(20) == [('operators', 8), ('operators', 8), ('graph', 4)]
    assert poses_of(1, predictor=predictor._replace(run_uncompiled=None)) == [('graph', 4)]
    assert poses_of(1, predictor=predictor._replace(needs_whole_batches=True)) == [('graph', 8)]
