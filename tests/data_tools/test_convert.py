"""Labels in the layouts of labelling tools, made here, become the same data set in COCO's layout; and YOLO-pose comes
back."""
import csv
import json
import sys
from unittest import mock

import cv2
import numpy as np
import pytest
import yaml

from src.data.coco import load_coco_people
from src.data.skeleton_files import read_skeleton
from src.data_tools import convert
from src.data_tools.yolo_labels import read_yolo
from src.synthetic.animals import KEYPOINTS, LIMBS, write_animals
from src.system.errors import PoseError

NUM = 6


@pytest.fixture(scope='module')
def export(tmp_path_factory):
    """CVAT's layout: annotations/person_keypoints_default.json, images/default."""
    folder = tmp_path_factory.mktemp('cvat') / 'export'
    write_animals(str(folder), num=NUM, seed=1, image_size=(160, 120))
    return folder


@pytest.fixture
def content(export):
    return json.loads((export / 'annotations/person_keypoints_default.json').read_text())


def run(*words) -> None:
    with mock.patch.object(sys, 'argv', ['convert', *map(str, words)]):
        convert.main()


def converted(tmp_path, source, *words):
    """Convert and return {original name: (keypoints (K, 3), box)} of all figures."""
    run(source, tmp_path / 'own', *words)
    skeleton = read_skeleton(str(tmp_path / 'own/skeleton.yaml'))
    found = {}
    for split in ('train', 'val'):
        path = tmp_path / f'own/annotations/person_keypoints_{split}2017.json'
        people = load_coco_people(str(path), skeleton, sample_rule='simple_pose')
        images = json.loads(path.read_text())['images']
        for index, image in enumerate(images):
            assert cv2.imread(str(tmp_path / f'own/{split}2017' / image['file_name'])) is not None
            rows = np.flatnonzero(people.image_index == index)
            found[image['original']] = people.keypoints[rows].astype(float), people.boxes_xywh[rows]
    return skeleton, found


def expected(content):
    names = {image['id']: image['file_name'] for image in content['images']}
    return {names[each['image_id']]: (np.reshape(each['keypoints'], (-1, 3)), np.array(each['bbox']))
            for each in content['annotations']}


def check_same(found, content, *, boxes=True, atol=0.02):
    for name, (keypoints, box) in expected(content).items():
        its = next(value for key, value in found.items() if name[:-4] in key)
        np.testing.assert_allclose(its[0][0], keypoints, atol=atol)
        if boxes:
            # The sample rule clips boxes to whole pixels of the picture.
            np.testing.assert_allclose(its[1][0], box, atol=2)


def test_cvat(tmp_path, export, content, capsys):
    skeleton, found = converted(tmp_path, export)
    assert skeleton.keypoint_names == KEYPOINTS and skeleton.links == LIMBS and skeleton.name == 'dog'
    assert len(found) == NUM
    check_same(found, content)
    out = capsys.readouterr().out
    assert 'mirrored pictures swap left_ear and right_ear, left_front_paw and right_front_paw, left_hind_paw' in out
    assert 'train2017: 5 pictures, 5 labelled' in out and 'val2017: 1 pictures, 1 labelled' in out
    boxes = json.loads((tmp_path / 'own/annotations/val2017_detections.json').read_text())
    assert len(boxes) == 1 and boxes[0]['score'] == 1
    with pytest.raises(PoseError, match='is there already'):
        run(export, tmp_path / 'own')


def roboflow(folder, export, content):
    """Splits in folders, an empty category 0, and a hash in every name."""
    for split, images in (('train', content['images'][:4]), ('valid', content['images'][4:])):
        (folder / split).mkdir(parents=True)
        ids = {image['id'] for image in images}
        renamed = []
        for image in images:
            name = f'{image["file_name"][:-4]}_jpg.rf.{image["id"]:032x}.jpg'
            (folder / split / name).write_bytes((export / 'images/default' / image['file_name']).read_bytes())
            renamed.append({**image, 'id': image['id'] - 1, 'file_name': name, 'extra': {'name': image['file_name']}})
        (folder / split / '_annotations.coco.json').write_text(json.dumps({
            'images': renamed, 'categories': [
                {'id': 0, 'name': 'animals', 'supercategory': 'none'},
                {'id': 1, 'name': 'dog', 'supercategory': 'animals', 'keypoints': list(KEYPOINTS),
                 'skeleton': [[KEYPOINTS.index(end) + 1 for end in limb] for limb in LIMBS]}],
            'annotations': [{**each, 'id': each['id'] - 1, 'image_id': each['image_id'] - 1}
                            for each in content['annotations'] if each['image_id'] in ids]}))


def test_roboflow(tmp_path, export, content, capsys):
    roboflow(tmp_path / 'roboflow', export, content)
    skeleton, found = converted(tmp_path, tmp_path / 'roboflow')
    assert skeleton.keypoint_names == KEYPOINTS
    check_same(found, content)
    assert 'train2017: 4 pictures' in capsys.readouterr().out


def test_label_studio(tmp_path, export, content):
    """result.json with ids from 0 and names with an address, a prefix and a query."""
    folder = tmp_path / 'studio'
    (folder / 'images').mkdir(parents=True)
    for image in content['images']:
        name = f'{image["id"]:08x}-{image["file_name"]}'
        # The third kind of names is of files that were not uploaded.
        on_disk = image['file_name'] if image['id'] % 3 == 2 else name
        (folder / 'images' / on_disk).write_bytes((export / 'images/default' / image['file_name']).read_bytes())
        image['file_name'] = [f'images\\{name}', f'http://localhost:8080/data/upload/1/{name}?d=1',
                              f'../../data/upload/1/{name}'][image['id'] % 3]
    content['categories'][0]['id'] = 0
    for each in content['annotations']:
        each.update(category_id=0, id=each['id'] - 1)
    (folder / 'result.json').write_text(json.dumps(content))
    _, found = converted(tmp_path, folder)
    assert len(found) == NUM


def test_labelme_converters_leave_out_fields_and_write_ids_as_text(tmp_path, export, content):
    (tmp_path / 'labelme').mkdir()
    for image in content['images']:
        (tmp_path / 'labelme' / image['file_name']).write_bytes(
            (export / 'images/default' / image['file_name']).read_bytes())
        image['id'] = str(image['id'])
        del image['width'], image['height']
    for each in content['annotations']:
        for key in ('area', 'bbox', 'iscrowd', 'num_keypoints', 'segmentation'):
            del each[key]
        each['keypoints'][:3] = [0, 0, 0]
    content['categories'].insert(0, {'id': 7, 'name': 'car'})
    content['annotations'].append({'id': 99, 'image_id': 1, 'category_id': 7, 'bbox': [0, 0, 5, 5]})
    content['annotations'].append({'id': 100, 'image_id': 1, 'category_id': 1, 'keypoints': [0] * 24})
    (tmp_path / 'labelme' / 'coco.json').write_text(json.dumps(content))
    _, found = converted(tmp_path, tmp_path / 'labelme' / 'coco.json')
    for keypoints, boxes in found.values():
        places = keypoints[0, 1:, :2]
        assert (keypoints[0, 0] == 0).all() and len(keypoints) == 1
        assert (boxes[0, :2] < places.min(axis=0)).all() or (boxes[0, :2] == 0).any()


def test_what_is_left_out_is_counted(tmp_path, export, content, capsys):
    content['categories'].append({'id': 7, 'name': 'car'})
    content['annotations'] += [{'id': 99, 'image_id': 1, 'category_id': 7, 'bbox': [0, 0, 5, 5]},
                               {'id': 100, 'image_id': 1, 'category_id': 1, 'keypoints': [0] * 24},
                               {'id': 101, 'image_id': 1, 'category_id': 1}]
    (tmp_path / 'a.json').write_text(json.dumps(content))
    run(tmp_path / 'a.json', tmp_path / 'own', '--pictures', export / 'images')
    out = capsys.readouterr().out
    assert 'left out: 1 of other categories' in out and 'left out: 1 without a labelled keypoint' in out
    assert 'left out: 1 without keypoints' in out


@pytest.mark.parametrize('change, message', [
    (lambda each: each.update(file_name='nowhere.jpg'), r'6 of 6 pictures are missing, e.g. nowhere.jpg; .*--pictures'),
    (lambda each: each.pop('file_name'), "image 0 has no 'file_name'"),
    (lambda each: each.pop('id'), "image 0 has no 'id'"),
    (lambda each: each.update(width=120, height=160), 'labels are of a picture of 120 x 160: it was turned or cut')])
def test_pictures_that_do_not_fit_are_explained(tmp_path, export, content, change, message):
    for image in content['images']:
        change(image)
    (tmp_path / 'a.json').write_text(json.dumps(content))
    with pytest.raises(PoseError, match=message):
        run(tmp_path / 'a.json', tmp_path / 'own', '--pictures', export / 'images')


@pytest.mark.parametrize('change, message', [
    (lambda content: content['annotations'][0].update(keypoints=[1, 2]), "annotation 0: 'keypoints' should be 8 times"),
    (lambda content: content['annotations'][0].update(keypoints=['a'] * 24), "should be numbers, one is 'a'"),
    (lambda content: content['annotations'][0].update(image_id=77), 'image_id 77 is not among the images'),
    (lambda content: content['categories'].append({**content['categories'][0], 'id': 2, 'name': 'cat'}),
     r'several categories with keypoints: dog \(1\), cat \(2\); choose one with --category'),
    (lambda content: content['categories'][0].pop('keypoints'), 'does not name its keypoints; .*--skeleton'),
    (lambda content: content.update(annotations=[]), 'nothing with keypoints to take over')])
def test_malformed_annotations_are_explained(tmp_path, export, content, change, message):
    change(content)
    (tmp_path / 'a.json').write_text(json.dumps(content))
    with pytest.raises(PoseError, match=message):
        run(tmp_path / 'a.json', tmp_path / 'own', '--pictures', export / 'images')


def test_resized_and_turned_pictures_keep_their_labels_in_place(tmp_path, export, content):
    """A picture of half the size; and one that a phone has stored on its side, labelled upright."""
    folder = tmp_path / 'changed'
    folder.mkdir()
    for image in content['images']:
        picture = cv2.imread(str(export / 'images/default' / image['file_name']))
        if image['id'] == 1:
            picture = cv2.resize(picture, (80, 60))
        data = cv2.imencode('.jpg', picture)[1].tobytes()
        if image['id'] == 2:
            # Orientation 6: to be turned by 90 degrees to the right.
            data = cv2.imencode('.jpg', cv2.rotate(picture, cv2.ROTATE_90_COUNTERCLOCKWISE))[1].tobytes()
            exif = b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'
            data = data[:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + data[2:]
        (folder / image['file_name']).write_bytes(data)
    (folder / 'a.json').write_text(json.dumps(content))
    _, found = converted(tmp_path, folder / 'a.json')
    by_name = expected(content)
    halved = by_name['frame_000001.jpg'][0][:, :2] / 2
    np.testing.assert_allclose(found['frame_000001.jpg'][0][0, :, :2], halved, atol=0.01)
    np.testing.assert_allclose(found['frame_000002.jpg'][0][0], by_name['frame_000002.jpg'][0], atol=0.01)
    image = next(each for split in ('train', 'val') for each in json.loads(
        (tmp_path / f'own/annotations/person_keypoints_{split}2017.json').read_text())['images'] if each['id'] == 2)
    assert (image['width'], image['height']) == (160, 120)


def test_yolo_pose_and_back(tmp_path, export, content):
    run(export, tmp_path / 'yolo', '--to', 'yolo')
    settings = yaml.safe_load((tmp_path / 'yolo/data.yaml').read_text())
    assert settings['kpt_shape'] == [8, 3] and settings['flip_idx'] == [0, 2, 1, 3, 5, 4, 7, 6]
    line = next(path for path in sorted((tmp_path / 'yolo/labels').rglob('*.txt'))).read_text().split()
    assert len(line) == 29 and line[0] == '0'
    skeleton, found = converted(tmp_path, tmp_path / 'yolo')
    assert skeleton.keypoint_names == KEYPOINTS
    assert dict(skeleton.swap_pairs) == {
        'left_ear': 'right_ear', 'left_front_paw': 'right_front_paw', 'left_hind_paw': 'right_hind_paw'}
    numbers = {image['file_name']: f'{number:012d}' for number, image in enumerate(content['images'], start=1)}
    for image in content['images']:
        image['file_name'] = f'{numbers[image["file_name"]]}.jpg'
    check_same(found, content)


def test_yolo_of_two_numbers_needs_names_and_leaves_zeros_out(tmp_path, export):
    run(export, tmp_path / 'yolo', '--to', 'yolo')
    settings = yaml.safe_load((tmp_path / 'yolo/data.yaml').read_text())
    for key in ('kpt_names', 'flip_idx'):
        del settings[key]
    # Written by other tools with the path of another machine.
    settings.update(kpt_shape=[8, 2], path='/elsewhere', names=['dog'], test=None)
    (tmp_path / 'yolo/data.yaml').write_text(yaml.safe_dump(settings))
    for path in (tmp_path / 'yolo/labels').rglob('*.txt'):
        words = path.read_text().split()
        words = words[:5] + ['0', '0'] + [word for place, word in enumerate(words[8:]) if place % 3 < 2]
        path.write_text(' '.join(words) + '\n')
    labels = read_yolo(str(tmp_path / 'yolo'), None, None)
    assert labels.layout['keypoints'][:2] == ['keypoint_1', 'keypoint_2'] and len(labels.figures) == NUM
    assert all((figure.keypoints[0] == 0).all() and (figure.keypoints[1:, 2] == 2).all() for figure in labels.figures)


@pytest.mark.parametrize('line, message', [
    ('0 0.5 0.5 0.1', '4 numbers, should be 29'), ('0 a', 'should be numbers'),
    ('0 80 60 20 20' + ' 0.5 0.5 2' * 8, 'the box should be shares of the picture')])
def test_wrong_yolo_lines_are_named(tmp_path, export, line, message):
    run(export, tmp_path / 'yolo', '--to', 'yolo')
    path = next((tmp_path / 'yolo/labels').rglob('*.txt'))
    path.write_text(f'{line}\n')
    with pytest.raises(PoseError, match=f'{path.name}, line 1: .*{message}'):
        read_yolo(str(tmp_path / 'yolo'), None, None)


def deeplabcut(folder, export, content, *, animals=(), columns=1):
    """A project with one video, whose frames are the pictures."""
    frames = folder / 'labeled-data' / 'video1'
    frames.mkdir(parents=True)
    (folder / 'config.yaml').write_text(yaml.safe_dump({'Task': 'dogs', 'skeleton': [list(limb) for limb in LIMBS]}))
    head = [[level] for level in ('scorer', *(('individuals',) if animals else ()), 'bodyparts', 'coords')]
    for line in head:
        line += [''] * (columns - 1)
    for animal in animals or ('',):
        for name in KEYPOINTS:
            for coordinate in 'xy':
                values = {'scorer': 'me', 'individuals': animal, 'bodyparts': name, 'coords': coordinate}
                for line in head:
                    line.append(values[line[0]])
    rows = []
    for each, image in zip(content['annotations'], content['images']):
        (frames / image['file_name']).write_bytes((export / 'images/default' / image['file_name']).read_bytes())
        table = np.reshape(each['keypoints'], (-1, 3))
        place = ['labeled-data', 'video1', image['file_name']]
        values = [repr(float(value)) for value in table[:, :2].ravel()]
        # Of several animals the second is labelled by a nose alone.
        rest = [values[0], values[1]] + [''] * (len(values) - 2) if animals else []
        rows.append([*(place if columns == 3 else ['/'.join(place)]), *values, *rest])
    with open(frames / 'CollectedData_me.csv', 'w', newline='') as file:
        csv.writer(file).writerows([*head, *rows])


@pytest.mark.parametrize('columns', [1, 3])
def test_deeplabcut(tmp_path, export, content, columns):
    deeplabcut(tmp_path / 'project', export, content, columns=columns)
    skeleton, found = converted(tmp_path, tmp_path / 'project')
    assert skeleton.keypoint_names == KEYPOINTS and skeleton.links == LIMBS
    check_same(found, content, boxes=False)


def test_deeplabcut_of_several_animals(tmp_path, export, content):
    deeplabcut(tmp_path / 'project', export, content, animals=('one', 'two'))
    _, found = converted(tmp_path, tmp_path / 'project')
    assert {len(keypoints) for keypoints, _ in found.values()} == {2}
    assert {int((keypoints[1, :, 2] > 0).sum()) for keypoints, _ in found.values()} == {1}


def test_deeplabcut_h5(tmp_path, export, content):
    pandas = pytest.importorskip('pandas', reason='requirements-h5.txt is not installed')
    pytest.importorskip('tables', reason='requirements-h5.txt is not installed')
    deeplabcut(tmp_path / 'project', export, content)
    path = tmp_path / 'project/labeled-data/video1/CollectedData_me.csv'
    frame = pandas.read_csv(path, header=[0, 1, 2], index_col=0)
    path.unlink()
    frame.to_hdf(path.with_suffix('.h5'), key='df_with_missing', mode='w')
    _, found = converted(tmp_path, tmp_path / 'project')
    check_same(found, content, boxes=False)


def test_points_of_makesense(tmp_path, export, content):
    with open(tmp_path / 'labels.csv', 'w', newline='') as file:
        writer = csv.writer(file)
        for each, image in zip(content['annotations'], content['images']):
            for name, (x, y, _) in zip(KEYPOINTS, np.reshape(each['keypoints'], (-1, 3)).tolist()):
                writer.writerow([name, x, y, image['file_name'], 160, 120])
    skeleton, found = converted(tmp_path, tmp_path / 'labels.csv', '--pictures', export / 'images')
    assert skeleton.keypoint_names == KEYPOINTS
    check_same(found, content, boxes=False)


@pytest.mark.parametrize('words, message', [
    (['nowhere', 'own'], 'nowhere does not exist'), (['empty', 'own'], 'is of no known format: looked for COCO'),
    (['empty', 'own', '--val', '2'], '--val should be a share between 0 and 1'),
    (['labels.csv', 'own'], 'labels.csv, line 1: should be label, x, y')])
def test_wrong_sources_are_explained(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'labels.csv').write_text('nose,1,2\n')
    with pytest.raises(PoseError, match=message):
        run(*words)
