"""Valid JSON that is impossible: numbers that no array holds, nesting without end, names that no file can have."""
import json
import os
import time

import cv2
import numpy as np
import pytest
import safetensors.numpy

from src.checkpoints.load import read_weights
from src.config import load_recipe, to_json
from src.data.coco import load_coco_images, load_coco_people
from src.data.detections import load_detections
from src.data.images import find_numbered_pictures, read_picture
from src.data.locate_pictures import locate_pictures
from src.data.mpii import load_mpii_people, read_mat_file
from src.data.oks_truth import load_coco_truth, load_crowdpose_truth
from src.data.skeletons import COCO, CROWDPOSE
from src.export.model_file import open_model_file
from src.system.files import parse_json, read_json

DIGITS = '7' * 5000
WRONG_TEXTS = {
    'deep_list': ('[' * 10 ** 6, 'nested too deeply'), 'deep_object': ('{"a":' * 10 ** 5, 'nested too deeply'),
    'digits': (f'[{DIGITS}]', 'a number of thousands of digits'),
    'negative_digits': (f'{{"a": -{DIGITS}}}', 'a number of thousands of digits'), 'cut': ('{"a": ', 'line 1 column 7')}


def annotation(**values):
    return {'id': 1, 'image_id': 7, 'category_id': 1, 'iscrowd': 0, 'bbox': [20, 30, 100, 200], 'area': 9000,
            'num_keypoints': 17, 'keypoints': [50, 60, 2] * 17, **values}


def image(**values):
    return {'id': 7, 'file_name': '7.jpg', 'width': 640, 'height': 480, 'crowdIndex': 0.5, **values}


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a text, or JSON, to a file and returns its path."""
    def do(content):
        path = tmp_path / 'file.json'
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)
    return do


@pytest.mark.parametrize('text, message', WRONG_TEXTS.values(), ids=WRONG_TEXTS)
def test_json_that_python_cannot_read_is_named(write, text, message):
    with pytest.raises(ValueError, match=f'file.json is not a JSON file: .*{message}'):
        read_json(write(text))
    with pytest.raises(ValueError, match=message):
        parse_json(text)


@pytest.mark.parametrize('depth', [5, 100, 900])
def test_nested_values_are_named_and_not_written_out(write, depth):
    """What Python's parser still takes may already be too deep to be printed."""
    nested = '[' * depth + ']' * depth
    for key in ('bbox', 'keypoints', 'image_id', 'area'):
        text = json.dumps({'images': [image()], 'annotations': [annotation(**{key: 'HERE'})]}).replace('"HERE"', nested)
        with pytest.raises(ValueError, match=f'file.json, annotation 0.*{key[:8]}') as caught:
            load_coco_truth(write(text), COCO)
        assert len(str(caught.value)) < 600
    with pytest.raises(ValueError, match="file.json, box 0: 'score' should be a number"):
        load_detections([write(f'[{{"image_id": 7, "bbox": [1, 2, 3, 4], "score": {nested}}}]')], people_only=True)
    with pytest.raises(ValueError, match="file.json, person 0: 'center' should be 2 finite numbers"):
        load_mpii_people(write(f'[{{"image": "1.jpg", "center": {nested}, "scale": 1}}]'), needs_keypoints=False)


# Coordinates

@pytest.mark.parametrize('value', [2 ** 32 + 7, -2 ** 31 - 1, 2 ** 63, 10 ** 40, 1e300, float('inf'), float('-inf')])
def test_a_coordinate_beyond_all_pictures_is_refused(write, value):
    keypoints = [9, 9, 2] * 16 + [value, 9, 2]
    path = write({'images': [image()], 'annotations': [annotation(), annotation(id=2, keypoints=keypoints)]})
    for load in (lambda: load_coco_people(path, COCO, sample_rule='mspn'), lambda: load_coco_truth(path, COCO)):
        with pytest.raises(ValueError, match="file.json, annotation 1: 'keypoints' should be finite numbers") as caught:
            load()
        assert f'one is {str(value)[:15]}' in str(caught.value)
    joints = {'joints': [[9, 9]] * 15 + [[value, 9]], 'joints_vis': [1] * 16}
    for person in ({**joints}, {'center': [9, value]}, {'scale': value}):
        entry = {'image': '1.jpg', 'center': [50, 50], 'scale': 1.0, 'joints': [[9, 9]] * 16, 'joints_vis': [1] * 16}
        with pytest.raises(ValueError, match="file.json, person 0: "):
            load_mpii_people(write([{**entry, **person}]), needs_keypoints=True)


@pytest.mark.parametrize('value', [2 ** 29, -2 ** 29, 12345678])
def test_large_coordinates_come_through_as_they_are(write, value):
    path = write({'images': [image()], 'annotations': [annotation(keypoints=[value, 9, 2] * 17)]})
    people = load_coco_people(path, COCO, sample_rule='mspn')
    assert people.keypoints.dtype == np.int32 and people.keypoints[0, 3].tolist() == [value, 9, 2]


def test_sizes_and_ids_beyond_int64_are_refused(write):
    for key in ('id', 'width', 'height'):
        with pytest.raises(ValueError, match=f"file.json, image 0: '{key}' is too large"):
            load_coco_images(write({'images': [image(**{key: 2 ** 64 + 7})]}))
    for key, text in (('area', '1e400'), ('num_keypoints', '1' + '0' * 30), ('image_id', str(2 ** 64 + 7))):
        crowd = json.dumps({'images': [image()], 'annotations': [
            annotation(keypoints=[50, 60, 2] * 14, **{key: 'HERE'})]}).replace('"HERE"', text)
        if key == 'area':
            crowd = crowd.replace(json.dumps([50, 60, 2] * 14), json.dumps([50, 60, 2] * 17))
        with pytest.raises(ValueError, match=f"file.json, annotation 0: '{key}'"):
            if key == 'area':
                load_coco_truth(write(crowd), COCO)
            else:
                load_crowdpose_truth(write(crowd), CROWDPOSE, rule='official')
    for key, text in (('image_id', str(2 ** 64 + 7)), ('score', '1e400'), ('score', 'NaN')):
        with pytest.raises(ValueError, match=f"file.json, box 0: '{key}'"):
            load_detections([write(json.dumps([{'image_id': 7, 'bbox': [1, 2, 3, 4], 'score': 1, key: 'HERE'}]).replace(
                '"HERE"', text))], people_only=True)


def test_heads_of_infinite_size_are_named(tmp_path):
    savemat = pytest.importorskip('scipy.io').savemat
    names = np.array(['rank', 'rkne', 'rhip', 'lhip', 'lkne', 'lank', 'pelv', 'thor', 'neck', 'head', 'rwri', 'relb',
                      'rsho', 'lsho', 'lelb', 'lwri'], object)
    heads = np.ones((2, 2, 3))
    heads[1] = [[2, 2, np.inf]] * 2
    savemat(tmp_path / 'gt.mat', {'dataset_joints': names, 'jnt_missing': np.zeros((16, 3)),
                                  'pos_gt_src': np.ones((16, 2, 3)), 'headboxes_src': heads})
    with pytest.raises(ValueError, match='gt.mat: the head of person 2 has no size'):
        read_mat_file(str(tmp_path / 'gt.mat'))


def test_twice_the_same_id_is_found_in_linear_time(write):
    count = 60_000
    images = [image(id=number) for number in range(count)]
    images[-1]['id'] = count - 2
    path = write({'images': images})
    start = time.process_time()
    with pytest.raises(ValueError, match=f'file.json: the image id {count - 2} is there twice'):
        load_coco_images(path)
    # Comparing each with all takes half a minute.
    assert time.process_time() - start < 5


# Names

@pytest.mark.parametrize('name', ['\ud800.jpg', 'a\udfff', 'a\0.jpg', '7.jpg\0', 'a' * 5000, '人' * 1500])
def test_what_no_file_can_be_called_is_refused(write, name):
    with pytest.raises(ValueError, match="file.json, image 0: 'file_name' should be the name of a file, is '") as found:
        load_coco_images(write({'images': [image(file_name=name)]}))
    assert str(found.value).isprintable() and len(str(found.value)) < 400
    with pytest.raises(ValueError, match="file.json, person 0: 'image' should be the name of a file, is '"):
        load_mpii_people(write([{'image': name, 'center': [9, 9], 'scale': 1}]), needs_keypoints=False)


@pytest.fixture
def latin(tmp_path):
    """A folder whose name and one of whose pictures' is Latin-1; the other's is Chinese, in UTF-8."""
    folder = os.fsencode(tmp_path) + b'/d\xe9p\xf4t'
    os.makedirs(folder + b'/val2017')
    for name in (b'caf\xe9.jpg', '人物.jpg'.encode(), b'42.jpg', b'\xff43.jpg'):
        with open(folder + b'/val2017/' + name, 'wb') as file:
            file.write(cv2.imencode('.jpg', np.zeros((9, 12, 3), np.uint8))[1].tobytes())
    return os.fsdecode(folder)


def test_pictures_are_found_by_names_that_are_no_utf8(write, latin):
    """JSON carries such a byte as Python's os.listdir and json.dump do."""
    path = write({'images': [image(file_name='caf\udce9.jpg'), image(id=8, file_name='val2017/人物.jpg')]})
    names = load_coco_images(path)[1]
    assert names.tolist() == [b'caf\xe9.jpg', 'val2017/人物.jpg'.encode()]
    paths = locate_pictures(latin, names, split_folder='val2017')
    assert [os.path.basename(path) for path in paths.tolist()] == [b'caf\xe9.jpg', '人物.jpg'.encode()]
    assert all(read_picture(path).shape == (9, 12, 3) for path in paths)
    with pytest.raises(ValueError, match='1 of 1 pictures are missing, e.g. \udce8.jpg'):
        locate_pictures(latin, np.array([b'\xe8.jpg']), split_folder='val2017')
    people = load_mpii_people(write([{'image': 'caf\udce9.jpg', 'center': [9, 9], 'scale': 1}]), needs_keypoints=False)
    assert people.file_names.tolist() == [b'caf\xe9.jpg']


def test_folders_are_searched_by_names_that_are_no_utf8(latin):
    said = []
    pictures = find_numbered_pictures(os.path.join(latin, 'val2017'), said.append)
    assert pictures.image_ids.tolist() == [42] and read_picture(pictures.paths[0]).shape == (9, 12, 3)
    assert len(said) == 3 and any('\udcff43.jpg is not named by an image id' in line for line in said)


def test_weights_lie_where_names_are_no_utf8(latin):
    path = os.path.join(latin, 'caf\udce9.safetensors')
    with open(path, 'wb') as file:
        file.write(safetensors.numpy.save({'x': np.ones(3, np.float32)}, {'config': to_json(load_recipe('base'))}))
    weights, config = read_weights(path)
    assert weights['x'].tolist() == [1, 1, 1] and config == load_recipe('base')


def test_exported_files_lie_where_names_are_utf8(latin):
    """The runtimes' own limit."""
    path = os.path.join(latin, 'x.onnx')
    open(path, 'wb').close()
    with pytest.raises(ValueError, match='x.onnx should lie where all names are UTF-8'):
        open_model_file(path)


def test_errors_of_pictures_can_leave_a_loader_process(latin):
    """MindSpore hands texts on in UTF-8."""
    path = os.path.join(latin, 'val2017', '\udcff43.jpg')
    os.truncate(path, 100)
    with pytest.raises(ValueError, match=r'd\\xe9p\\xf4t/val2017/\\xff43.jpg is not a picture') as caught:
        read_picture(path)
    str(caught.value).encode()
