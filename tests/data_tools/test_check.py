"""The look over a data set: each kind of fault is found and named, a good one is left alone, and the page is whole."""
import json
import re
import sys
from unittest import mock

import cv2
import numpy as np
import pytest

from src.data.skeletons import COCO
from src.data_tools import check
from src.data_tools.annotated_set import open_picture, read_annotated_set
from src.data_tools.check_rules import check_detections, check_overlap, check_set, other_reading
from src.synthetic.writing import write_synthetic_coco
from src.system.errors import PoseError

GT = 'annotations/person_keypoints_{}2017.json'


@pytest.fixture(scope='module')
def painted(tmp_path_factory):
    root = tmp_path_factory.mktemp('check') / 'coco'
    write_synthetic_coco(str(root), num_train=5, num_val=3, seed=1, image_size=(200, 160))
    return root


@pytest.fixture
def content(painted):
    return json.loads((painted / GT.format('train')).read_text())


def findings_of(tmp_path, painted, content, **options):
    path = tmp_path / 'person_keypoints_train2017.json'
    path.write_text(json.dumps(content))
    whole = read_annotated_set(str(path), str(painted), **options)
    for picture in whole.pictures:
        if picture.path:
            open_picture(whole, picture)
    return check_set(whole)


def texts(findings):
    return '\n'.join(f'{each.level}: {each.text} {each.entries}' for each in findings)


def test_a_good_data_set_is_left_alone(tmp_path, painted, content):
    # Two of its people may be labelled beyond their boxes; nothing else is odd.
    assert not [each for each in findings_of(tmp_path, painted, content) if each.level != 'note']


def first(content):
    return content['annotations'][0]


def mirrored_people(content):
    names = COCO.keypoint_names
    for each in content['annotations']:
        table = np.zeros((17, 3), int)
        x, y, w, h = each['bbox']
        for name, dx, dy in (('nose', .5, .1), ('left_eye', .6, .08), ('right_eye', .4, .08),
                             ('left_shoulder', .2, .3), ('right_shoulder', .8, .3)):
            table[names.index(name)] = x + dx * w, y + dy * h, 2
        each.update(keypoints=table.ravel().tolist(), num_keypoints=5)


def sort_names(content):
    content['categories'][0]['keypoints'].sort()


FAULTS = [
    (lambda c: c['categories'][0]['keypoints'].__setitem__(0, 'tail'), 'coco', 'error: .* it has tail, it lacks nose'),
    (sort_names, None, 'warning: .*order or spelling .*put in the order of the coco layout'),
    (lambda c: [each.update(width=each['height'], height=each['width']) for each in c['images']], None,
     'error: .*5 pictures have width and height exchanged'),
    (lambda c: c['images'][0].update(width=400, height=320), None, 'error: .*1 pictures are of another size'),
    (lambda c: first(c).update(category_id=3), None, 'error: .*category_id that the file does not list'),
    (lambda c: first(c).update(category_id='1'), None, 'warning: .*category_id that is no number'),
    (lambda c: c['images'][0].update(file_name='nowhere.jpg'), None, 'error: .*1 of 5 pictures are missing; looked in'),
    (lambda c: first(c).pop('area'), None, 'note: .*1 of .* annotations have no area'),
    (lambda c: c['annotations'].extend({**first(c), 'id': 1000 + n} for n in range(20)), None,
     'warning: .*more than 20 people'),
    (lambda c: c['annotations'].append({**first(c), 'id': 1000}), None, 'warning: .*1 figures are there twice'),
    (lambda c: c['annotations'].append(first(c)), None, 'error: .*annotation ids that are there twice'),
    (lambda c: c['images'].append(c['images'][0]), None, 'error: .*image ids that are there twice'),
    (lambda c: first(c).update(keypoints=[1, 2]), None, 'error: .*malformed keypoints'),
    (lambda c: first(c)['keypoints'].__setitem__(2, 7), None, 'error: .*visibility other than 0, 1 and 2'),
    (lambda c: first(c).update(num_keypoints=0), None, 'warning: .*num_keypoints other than'),
    (lambda c: first(c).update(bbox=[0, 0, 0, 5]), None, 'warning: .*people without a box'),
    (lambda c: first(c).update(bbox=[0, 0, 5, 5]), None, 'warning: .*have keypoints far outside'),
    (lambda c: [each.update(bbox=[0, 0, 3, 3]) for each in c['annotations']], None, 'error: .*counted in other ways'),
    (lambda c: first(c).update(image_id=99), None, 'error: .*of pictures that the file does not list'),
    (lambda c: c['images'].append({'id': 9, 'file_name': 'x.jpg'}), None, 'warning: .*without width and height'),
    (lambda c: c['images'].append({'name': 9}), None, 'error: .*malformed images'),
    (lambda c: c.pop('annotations'), None, 'error: .*no annotations'),
    (lambda c: c.update(annotations=[]), None, 'error: .*nobody with a labelled keypoint'),
    (lambda c: c.update(images=c['images'][1:], annotations=[a for a in c['annotations'] if a['image_id'] != 1]), None,
     'note: 1 pictures lie beside those'),
    (mirrored_people, None, "error: .*left and right shoulder exchanged: left and right seem to be the viewer's"),
]


@pytest.mark.parametrize('change, skeleton, message', FAULTS)
def test_every_kind_of_fault_is_found(tmp_path, painted, content, change, skeleton, message):
    assert not re.search(message, texts(findings_of(tmp_path, painted, content)))
    change(content)
    assert re.search(message, texts(findings_of(tmp_path, painted, content, skeleton=skeleton)))


def test_pictures_that_training_and_evaluation_share_are_found_by_what_they_show(tmp_path, painted, content):
    """Also under another name and after another compression."""
    picture = cv2.imread(str(painted / 'train2017' / content['images'][1]['file_name']))
    (tmp_path / 'val2017').mkdir()
    cv2.imwrite(str(tmp_path / 'val2017' / '77.jpg'), picture, [cv2.IMWRITE_JPEG_QUALITY, 60])
    other = {**content, 'images': [{**content['images'][1], 'id': 7, 'file_name': '77.jpg'}],
             'annotations': [{**first(content), 'image_id': 7}]}
    (tmp_path / 'val.json').write_text(json.dumps(other))
    sets = [read_annotated_set(str(painted / GT.format('train')), str(painted)),
            read_annotated_set(str(tmp_path / 'val.json'), str(tmp_path))]
    for whole in sets:
        for each in whole.pictures:
            open_picture(whole, each)
    finding, = check_overlap(sets)
    assert finding.level == 'error' and finding.entries == [f'{content["images"][1]["file_name"]} and 77.jpg']


def test_a_damaged_picture_is_named(tmp_path, painted, content):
    (tmp_path / '1.jpg').write_bytes(b'no picture')
    content['images'] = [{**content['images'][0], 'file_name': '1.jpg'}]
    content['annotations'] = [{**first(content), 'image_id': content['images'][0]['id']}]
    assert 'error: person_keypoints_train2017: pictures that cannot be read' in texts(
        findings_of(tmp_path, painted, content, pictures=str(tmp_path)))


SIZE = np.array([200, 160, 200, 160])


@pytest.mark.parametrize('change, reading', [
    (lambda b: b, None), (lambda b: [*b[:2], b[0] + b[2], b[1] + b[3]], 'left, top, right, bottom.* in pixels'),
    (lambda b: [each / side for each, side in zip(b, SIZE)], r'\[x, y, width, height\] in shares'),
    (lambda b: [each / side for each, side in zip([*b[:2], b[0] + b[2], b[1] + b[3]], SIZE)],
     'left, top, right, bottom.* in shares'),
    (lambda b: [(b[0] + b[2] / 2) / 200, (b[1] + b[3] / 2) / 160, b[2] / 200, b[3] / 160], 'center.* in shares')])
def test_the_other_reading_of_boxes_is_told(tmp_path, painted, content, change, reading):
    boxes = [{'image_id': each['image_id'], 'category_id': 1, 'bbox': [float(n) for n in change(each['bbox'])],
              'score': 1.0} for each in content['annotations']]
    # Most people of these pictures are tall enough to tell.
    boxes = [each for each, a in zip(boxes, content['annotations']) if a['bbox'][0] > 40 or reading is None] or boxes
    (tmp_path / 'det.json').write_text(json.dumps(boxes))
    found = texts(check_detections(str(tmp_path / 'det.json'), [
        read_annotated_set(str(painted / GT.format('train')), str(painted))]))
    assert re.search(f'they fit as .*{reading}', found) if reading else found == ''


def test_detections_of_other_pictures_and_without_numbers(tmp_path, painted):
    whole = read_annotated_set(str(painted / GT.format('train')), str(painted))
    (tmp_path / 'det.json').write_text(json.dumps([
        {'image_id': 99, 'bbox': [0, 0, 5, 5], 'score': 1}, {'image_id': 1, 'bbox': 'x'},
        {'image_id': '1', 'bbox': [0, 0, 50, 50]}]))
    found = texts(check_detections(str(tmp_path / 'det.json'), [whole]))
    assert '1 of 3 entries have no box' in found and '1 of 3 boxes are on pictures' in found
    assert '2 of 3 boxes have no score' in found
    assert other_reading(np.empty((0, 4)), np.empty((0, 2))) is None
    (tmp_path / 'det.json').write_text('{}')
    with pytest.raises(PoseError, match='should be a list of boxes'):
        check_detections(str(tmp_path / 'det.json'), [whole])


def run(*words) -> None:
    with mock.patch.object(sys, 'argv', ['check', *map(str, words)]):
        check.main()


def test_the_command_writes_text_and_one_page(tmp_path, painted, capsys):
    run(painted, '--page', tmp_path / 'check.html')
    out = capsys.readouterr().out
    assert 'person_keypoints_train2017  coco (17)  5' in out and 'person_keypoints_val2017' in out
    page = (tmp_path / 'check.html').read_text()
    assert page.count('<img') == page.count('data:image/jpeg;base64,') > 3
    # Nothing is fetched from anywhere.
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_an_error_ends_with_status_1_and_names_are_shown_as_text(tmp_path, painted, content, capsys):
    content['images'][0]['file_name'] = '<script>alert(1)</script>.jpg'
    path = tmp_path / 'train2017.json'
    path.write_text(json.dumps(content))
    with pytest.raises(SystemExit) as end:
        run(painted, '--gt', path, '--page', tmp_path / 'a.html')
    assert end.value.code == 1 and 'error: train2017: 1 of 5 pictures are missing' in capsys.readouterr().out
    assert '<script' not in (tmp_path / 'a.html').read_text()


@pytest.mark.parametrize('words, message', [
    (['nowhere'], 'nowhere does not exist'), (['.'], 'holds no annotation file'),
    (['empty.json'], 'empty.json should be a COCO annotation file'), (['.', '--page', 'a.txt'], 'should end in .html')])
def test_wrong_words_are_explained(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    if 'empty.json' in words:
        (tmp_path / 'empty.json').write_text('{}')
    with pytest.raises(PoseError, match=message):
        run(*words)
