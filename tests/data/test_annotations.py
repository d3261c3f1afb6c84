"""Files → people and pictures: each model's sample rules, what happens to bad boxes, and errors that name the place."""
import dataclasses
import json
import re
import struct

import cv2
import numpy as np
import pytest

from src.config import input_shape, load_recipe
from src.data.boxed_pictures import load_boxed_pictures
from src.data.coco import check_evaluable, load_coco_images, load_coco_people
from src.data.detections import BoxReport, detected_people, load_detections
from src.data.images import find_numbered_pictures, read_picture
from src.data.locate_pictures import locate_pictures
from src.data.people import People
from src.data.samples import PersonSamples
from src.data.skeletons import COCO
from src.models.common.crops import SimplePoseCrops
from src.models.mipnet.crops import MIPNetCrops
from src.models.mspn.crops import MSPNCrops
from src.models.registry import model_of
from src.system.files import read_json

RULES = ('mspn', 'simple_pose')
NAN, INFINITY = float('nan'), float('inf')
IMAGES = [{'id': 7, 'file_name': '7.jpg', 'width': 640, 'height': 480},
          {'id': 3, 'file_name': '3.jpg', 'width': 200, 'height': 300}]


def annotation(**values):
    """One good person on image 7; `...` leaves a field out."""
    content = {'id': 1, 'image_id': 7, 'category_id': 1, 'iscrowd': 0, 'bbox': [20, 30, 100, 200], 'area': 9000,
               'num_keypoints': 17, 'keypoints': [50, 60, 2] * 17, **values}
    return {key: value for key, value in content.items() if value is not ...}


@pytest.fixture
def write(tmp_path):
    """Return a function that writes JSON (or bytes) to a file and returns its path."""
    def do(content, name='file.json'):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return str(path)
    return do


@pytest.fixture
def load(write):
    """Return a function that loads people from a list of annotations."""
    def do(*annotations, rule='mspn', images=IMAGES):
        return load_coco_people(write({'images': images, 'annotations': list(annotations)}), COCO, sample_rule=rule)
    return do


# Annotation files

@pytest.mark.parametrize('rule', RULES)
def test_people_in_the_order_of_the_file(load, rule):
    people = load(annotation(), annotation(image_id=3, bbox=[10, 20, 30, 40], keypoints=[20, 30, 1] * 17), rule=rule)
    assert len(people) == 2
    assert people.image_ids.tolist() == [7, 3] and people.file_names.tolist() == [b'7.jpg', b'3.jpg']
    assert people.picture_sizes.tolist() == [[640, 480], [200, 300]]
    assert people.image_index.tolist() == [0, 1] and people.box_scores.tolist() == [1, 1]
    lost = 1 if rule == 'simple_pose' else 0
    assert people.boxes_xywh.tolist() == [[20, 30, 100 - lost, 200 - lost], [10, 20, 30 - lost, 40 - lost]]
    assert people.keypoints.shape == (2, 17, 3) and people.keypoints[1, 4].tolist() == [20, 30, 1]


@pytest.mark.parametrize('rule', RULES)
@pytest.mark.parametrize('dropped', [
    {'iscrowd': 1}, {'num_keypoints': 0}, {'category_id': 2}, {'keypoints': ...}, {'keypoints': []},
    {'keypoints': [0, 0, 0] * 17}, {'keypoints': [5, 5, 0] * 17, 'num_keypoints': ...}, {'bbox': [20, 30, 0, 50]},
    {'bbox': [20, 30, 50, -1]}], ids=str)
def test_people_whom_both_rules_leave_out(load, rule, dropped):
    people = load(annotation(bbox=[1, 2, 33, 44]), annotation(**dropped), rule=rule)
    assert len(people) == 1 and people.boxes_xywh[0, :2].tolist() == [1, 2]
    assert len(people.image_ids) == 2


@pytest.mark.parametrize('rule', RULES)
def test_optional_fields_may_be_missing(load, rule):
    people = load(annotation(iscrowd=..., category_id=..., num_keypoints=..., area=...), rule=rule)
    assert len(people) == 1


@pytest.mark.parametrize('rule', RULES)
def test_one_labelled_keypoint_is_enough(load, rule):
    people = load(annotation(keypoints=[0, 0, 0] * 16 + [9, 9, 1], num_keypoints=1), rule=rule)
    assert people.keypoints[0, :, 2].tolist() == [0] * 16 + [1]


def test_mspn_takes_boxes_as_they_are(load):
    boxes = [[-30, -20, 100.5, 90], [600, 400, 300, 300], [900, 900, 10, 10]]
    people = load(*[annotation(bbox=box, area=0) for box in boxes])
    assert people.boxes_xywh.tolist() == boxes


def test_simple_pose_clips_boxes(load):
    boxes = [[-30, -20, 100.5, 90], [600, 400, 300, 300], [900, 900, 10, 10], [639, 10, 50, 50], [20, 30, 1, 50]]
    people = load(*[annotation(bbox=box) for box in boxes], rule='simple_pose')
    assert people.boxes_xywh.tolist() == [[0, 0, 99.5, 89], [600, 400, 39, 79]]


@pytest.mark.parametrize('rule', RULES)
def test_integer_keypoints_stay_integer(load, rule):
    assert load(annotation(), rule=rule).keypoints.dtype == np.int32
    floats = load(annotation(keypoints=[50.5, 60, 2] * 17), annotation(), rule=rule).keypoints
    assert floats.dtype == np.float32 and floats[0, 0, 0] == 50.5


def test_selection_of_people(load):
    people = load(annotation(), annotation(image_id=3), annotation(bbox=[1, 1, 2, 2]))
    chosen = people.select(np.array([2, 1]))
    assert chosen.image_index.tolist() == [0, 1] and chosen.boxes_xywh[0].tolist() == [1, 1, 2, 2]
    assert len(people.select(np.array([True, False, False]))) == 1 and len(people) == 3
    assert chosen.file_names is people.file_names


@pytest.mark.parametrize('values, message', [
    ({'image_id': ...}, "annotation 1 has no 'image_id'"),
    ({'image_id': 'seven'}, "annotation 1: 'image_id' should be a whole number, is 'seven'"),
    ({'image_id': 7.5}, "annotation 1: 'image_id' should be a whole number, is 7.5"),
    ({'area': -1}, "annotation 1: 'area' should be zero or more, is -1"),
    ({'image_id': True}, "annotation 1: 'image_id' should be a whole number, is true"),
    ({'image_id': 99}, 'annotation 1: image_id 99 is not among the images'),
    ({'bbox': ...}, "annotation 1 has no 'bbox'"),
    ({'bbox': [1, 2, 3]}, "annotation 1: 'bbox' should be [x, y, width, height], is [1, 2, 3]"),
    ({'bbox': [1, 2, '3', 4]}, "annotation 1: 'bbox' should be [x, y, width, height]"),
    ({'bbox': [1, 2, NAN, 4]}, "annotation 1: 'bbox' should be finite numbers"),
    ({'bbox': [1, 2, None, 4]}, "annotation 1: 'bbox' should be finite numbers"),
    ({'keypoints': [1, 2, 2] * 16}, 'annotation 1: 48 keypoint values, should be 51'),
    ({'keypoints': {'nose': 1}}, "annotation 1: 'keypoints' should be a list"),
    ({'keypoints': ['a', 2, 2] * 17}, "annotation 1: 'keypoints' should be finite numbers"),
    ({'keypoints': [INFINITY, 2, 2] * 17}, "annotation 1: 'keypoints' should be finite numbers"),
    ({'keypoints': [1, 2, 3] * 17}, 'annotation 1: visibility should be 0, 1 or 2'),
    # Each of these would leave somebody out, or keep somebody in, without a word.
    ({'keypoints': {}}, "annotation 1: 'keypoints' should be a list, is {}"),
    ({'iscrowd': '0'}, "annotation 1: 'iscrowd' should be 0 or 1, is '0'"),
    ({'iscrowd': None}, "annotation 1: 'iscrowd' should be 0 or 1, is null"),
    ({'category_id': 'one'}, "annotation 1: 'category_id' should be a whole number, is 'one'"),
    ({'num_keypoints': '0'}, "annotation 1: 'num_keypoints' should be a whole number, is '0'")], ids=str)
def test_wrong_annotation_is_named(load, tmp_path, values, message):
    with pytest.raises(ValueError, match=re.escape(f'{tmp_path / "file.json"}, {message}')):
        load(annotation(), annotation(**values))


@pytest.mark.parametrize('key', ['id', 'file_name', 'width', 'height'])
def test_wrong_image_is_named(load, tmp_path, key):
    images = [IMAGES[0], {name: value for name, value in IMAGES[1].items() if name != key}]
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path / 'file.json'}, image 1 has no '{key}'")):
        load(annotation(), images=images)


@pytest.mark.parametrize('content, message', [
    ([], 'should be a COCO annotation file'), ({}, "has no 'images'"), ({'images': {}}, "'images' should be a list"),
    ({'images': []}, 'lists no images'), ({'images': IMAGES}, "has no 'annotations'"),
    ({'images': ['7.jpg'], 'annotations': []}, 'image 0 should be an object, is text'),
    ({'images': IMAGES, 'annotations': [3]}, 'annotation 0 should be an object, is a whole number'),
    ({'images': IMAGES, 'annotations': []}, 'none of its 0 annotations is a person'),
    (b'{"images": [', 'is not a JSON file'), (b'', 'is not a JSON file'), (b'\xff\xfe', 'is not a JSON file')], ids=str)
def test_wrong_file_is_named(write, content, message):
    path = write(content)
    with pytest.raises(ValueError, match=re.escape(path) + '.*' + re.escape(message)):
        load_coco_people(path, COCO, sample_rule='mspn')


def test_missing_files_and_unknown_rules(tmp_path, load):
    with pytest.raises(ValueError, match='cannot read .*none.json: No such file'):
        read_json(str(tmp_path / 'none.json'))
    with pytest.raises(ValueError, match='cannot read'):
        read_json(str(tmp_path))
    with pytest.raises(ValueError, match="unknown sample rule 'hrnet'; known: mspn, simple_pose"):
        load(annotation(), rule='hrnet')


def test_images_of_a_file_without_people(write):
    ids, names, sizes = load_coco_images(write({'images': IMAGES}))
    assert ids.tolist() == [7, 3] and names.tolist() == [b'7.jpg', b'3.jpg'] and sizes.tolist() == [[640, 480],
                                                                                                   [200, 300]]


# What the evaluator needs

@pytest.fixture
def check(write):
    """Return a function that checks a file of the given annotations for the evaluator."""
    def do(*annotations, **content):
        content = {'images': IMAGES, 'annotations': list(annotations), 'categories': [{'id': 1}], **content}
        check_evaluable(write({key: value for key, value in content.items() if value is not ...}), COCO)
    return do


def test_evaluable_file(check):
    check(annotation(), annotation(id=2, iscrowd=1, keypoints=[0, 0, 0] * 17, num_keypoints=0),
          annotation(id=3, area=...))


def test_ids_of_coco_crowds_are_evaluable(check):
    check(annotation(), annotation(id=900100217285, iscrowd=1, keypoints=[0, 0, 0] * 17, num_keypoints=0))


@pytest.mark.parametrize('values, message', [
    ({'image_id': 99}, 'annotation 1: image_id 99 is not among'),
    ({'bbox': ...}, "annotation 1 has no 'bbox'"),
    ({'keypoints': [1, 2, 2]}, 'annotation 1: 3 keypoint values, should be 51'),
    ({'area': 'large'}, "annotation 1: 'area' should be a number"),
    ({'area': None}, "annotation 1: 'area' should be a number, is null"),
    ({'area': -1}, "annotation 1: 'area' should be zero or more, is -1"),
    ({'area': INFINITY}, "annotation 1: 'area' should be finite, is inf"),
    ({'bbox': None}, r"annotation 1: 'bbox' should be \[x, y, width, height\], is null"),
    ({'bbox': [1, 2, None, 4]}, r"annotation 1: 'bbox' should be finite numbers, is \[1, 2, None, 4\]"),
    ({'bbox': [1, NAN, 3, 4]}, "annotation 1: 'bbox' should be finite numbers"),
    ({'bbox': [1, 2, -3, 4], 'area': ...}, r"'bbox' should have a width and height of zero or more, is \[1, 2, -3, 4"),
    ({'bbox': [1, 2, 3, -4], 'keypoints': [0] * 51}, "annotation 1: 'bbox' should have a width and height of zero or"),
    ({'iscrowd': None}, "annotation 1: 'iscrowd' should be 0 or 1, is null"),
    ({'iscrowd': '0'}, "annotation 1: 'iscrowd' should be 0 or 1, is '0'"),
    ({'iscrowd': [0]}, r"annotation 1: 'iscrowd' should be 0 or 1, is \[0\]"),
    ({'iscrowd': 2}, "annotation 1: 'iscrowd' should be 0 or 1, is 2"),
    ({'iscrowd': NAN}, "annotation 1: 'iscrowd' should be 0 or 1, is nan"),
    ({'num_keypoints': None}, "annotation 1: 'num_keypoints' should be a whole number, is null"),
    ({'num_keypoints': '17'}, "annotation 1: 'num_keypoints' should be a whole number, is '17'"),
    ({'num_keypoints': -1}, "annotation 1: 'num_keypoints' should be zero or more, is -1"),
    ({'category_id': None}, "annotation 1: 'category_id' should be a whole number, is null"),
    ({'category_id': 'one'}, "annotation 1: 'category_id' should be a whole number, is 'one'")], ids=str)
def test_what_the_evaluator_cannot_read_is_named(check, values, message):
    with pytest.raises(ValueError, match=f'file.json, {message}' if message.startswith('ann') else message):
        check(annotation(), annotation(**{'id': 2, **values}))


def test_ids_that_are_there_twice(check, write):
    with pytest.raises(ValueError, match="annotation 1: the 'id' 1 is there twice"):
        check(annotation(), annotation())
    with pytest.raises(ValueError, match='the image id 7 is there twice'):
        load_coco_images(write({'images': [IMAGES[0], IMAGES[0]]}))


@pytest.mark.parametrize('key', ['iscrowd', 'num_keypoints', 'area', 'bbox'])
def test_people_without_keypoints_are_checked_like_all_others(check, key):
    """The evaluator compares with crowds and unlabelled people as well: poses on them are not wrong."""
    with pytest.raises(ValueError, match=f"annotation 1: '{key}' should be .* is null"):
        check(annotation(), annotation(**{'id': 2, 'keypoints': [0] * 51, 'num_keypoints': 0, key: None}))


def test_flags_may_be_written_as_true_and_false(check):
    check(annotation(iscrowd=False), annotation(id=2, iscrowd=True, num_keypoints=0))


def test_a_box_of_which_only_the_place_is_used_may_be_turned_round(check):
    check(annotation(), annotation(id=2, bbox=[20, 30, -100, 200]))


def test_entries_of_other_categories_are_used_by_nobody(check):
    other = annotation(id=2, category_id=18, iscrowd=None, area='large', bbox=None, keypoints=..., num_keypoints='few')
    for values in ({}, {'id': 1}, {'image_id': None}):
        check(annotation(), {**other, **values}, categories=[{'id': 1}, {'id': 18}])
    with pytest.raises(ValueError, match='none of its 1 annotations is a person .*: 1 of category 18; the person is 1'):
        check(other)


def test_categories_need_a_person(check):
    with pytest.raises(ValueError, match="'categories' should have one with id 1, person"):
        check(annotation(), categories=[])


def test_files_that_cannot_be_evaluated(check):
    for wrong, message in (({'categories': ...}, "has no 'categories'"), ({'annotations': []}, 'has no annotations')):
        with pytest.raises(ValueError, match=message):
            check(annotation(), **wrong)


# Detections

def box(**values):
    content = {'image_id': 7, 'category_id': 1, 'bbox': [20, 30, 100, 200], 'score': 0.9, **values}
    return {key: value for key, value in content.items() if value is not ...}


@pytest.fixture
def detect(write):
    """Return a function: boxes -> people and report."""
    def do(*boxes, people_only=True, **options):
        images = (np.array([7, 3]), np.array([b'7.jpg', b'3.jpg']), np.array([[640, 480], [200, 300]], np.int32))
        return detected_people(load_detections([write(list(boxes))], people_only=people_only), images, 17, **options)
    return do


def test_detected_people(detect):
    people, report = detect(box(), box(image_id=3, score=1, bbox=[1.5, 2, 30, 40]), box(score=0.0))
    assert people.image_index.tolist() == [0, 1, 0] and people.box_scores.tolist() == [0.9, 1, 0]
    assert people.boxes_xywh[1].tolist() == [1.5, 2, 30, 40]
    assert people.keypoints.shape == (3, 17, 3) and not people.keypoints.any()
    assert report == BoxReport('detected boxes', 3, 3, pictures=2)
    assert str(report) == '3 of 3 detected boxes on 2 pictures'


def test_what_becomes_of_bad_boxes_is_counted(detect):
    boxes = [box(), box(image_id=99), box(image_id=98), box(score=0.1), box(bbox=[1, 2, NAN, 4]),
             box(bbox=[1, None, 3, 4]), box(bbox=[INFINITY, 2, 3, 4]), box(bbox=[1, 2, 0, 4]), box(bbox=[1, 2, 3, -4]),
             box(bbox=[700, 500, 20, 20]), box(category_id=18)]
    people, report = detect(*boxes, min_score=0.2, source='boxes of a test')
    assert people.boxes_xywh[:, 0].tolist() == [20, 700]
    assert report == BoxReport('boxes of a test', given=11, used=2, other_categories=1, on_unknown_images=2,
                               below_score=1, not_finite=3, without_area=2, outside_but_used=1, pictures=2,
                               pictures_without_box=1)
    assert str(report) == ('2 of 11 boxes of a test on 2 pictures; left out: 1 of another category, 2 on unknown '
                           'images, 1 below the score threshold, 3 with NaN or infinity, 2 without area; 1 lie outside '
                           'their picture; 1 pictures have no box')


def test_counts_add_up_for_boxes_with_two_faults(detect):
    _, report = detect(box(), box(score=0.1, bbox=[1, 2, NAN, 4]), box(score=0.1, bbox=[1, 2, 0, 4]),
                       box(image_id=99, score=0.1, bbox=[1, 2, 0, 4]), min_score=0.2)
    left_out = report.other_categories + report.on_unknown_images + report.below_score + report.not_finite \
        + report.without_area
    assert left_out == report.given - report.used == 3


def test_score_at_the_threshold_is_used(detect):
    people, _ = detect(box(score=0.2), box(score=0.19), min_score=0.2)
    assert len(people) == 1


def test_all_categories_on_request(detect):
    people, report = detect(box(category_id=18), box(category_id=...), people_only=False)
    assert len(people) == 2 and report.other_categories == 0
    assert len(detect(box(category_id=...), people_only=True)[0]) == 1


def test_boxes_of_other_pictures_are_an_error(detect):
    with pytest.raises(ValueError, match=r'none of the 4 boxes lies on one of the 2 images: .* such as \[11, 12, 13\], '
                                         r'the images are \[7, 3\]'):
        detect(*[box(image_id=image_id) for image_id in (11, 12, 13, 14)])


def test_no_usable_box_is_an_error_that_counts(detect):
    with pytest.raises(ValueError, match=r'none of the 4 boxes can be used: 1 on unknown images, 1 below score 0.5, '
                                         r'1 with NaN or infinity, 1 without area'):
        detect(box(image_id=99), box(score=0.4), box(bbox=[NAN, 1, 2, 3]), box(bbox=[1, 2, 3, 0]), min_score=0.5)


@pytest.mark.parametrize('values, message', [
    ({'image_id': ...}, "box 1 has no 'image_id'"),
    ({'image_id': 7.5}, "box 1: 'image_id' should be a whole number, is 7.5"),
    ({'bbox': ...}, "box 1 has no 'bbox'"), ({'bbox': [1, 2]}, "box 1: 'bbox' should be [x, y, width, height]"),
    ({'score': 'high'}, "box 1: 'score' should be a number, is 'high'"),
    ({'score': NAN}, "box 1: 'score' should be a finite number")], ids=str)
def test_wrong_detection_is_named(detect, tmp_path, values, message):
    with pytest.raises(ValueError, match=re.escape(f'{tmp_path / "file.json"}, {message}')):
        detect(box(), box(**values))


@pytest.mark.parametrize('content, message', [({'boxes': []}, 'should be a list of boxes'), ([], 'no box of a person'),
                                              ([3], 'box 0 should be an object, is a whole number'),
                                              ([{'image_id': 7, 'category_id': 2}], 'no box of a person')], ids=str)
def test_wrong_detection_file_is_named(write, content, message):
    path = write(content)
    with pytest.raises(ValueError, match=re.escape(path) + '.*' + re.escape(message)):
        load_detections([path], people_only=True)


def test_several_detection_files(write):
    paths = [write([box()], 'a.json'), write([], 'b.json'), write([box(image_id=3), box(category_id=2)], 'c.json')]
    detections = load_detections(paths, people_only=True)
    assert detections.image_ids.tolist() == [7, 3] and detections.other_categories == 1


def test_report_of_ground_truth_boxes(load):
    report = BoxReport.of_ground_truth(load(annotation(), annotation()))
    assert str(report) == '2 of 2 ground-truth boxes on 2 pictures; 1 pictures have no box'
    report = BoxReport.of_ground_truth(load(annotation(), annotation(bbox=[1, 2, 0, 3]), annotation(iscrowd=1)))
    assert str(report) == ('1 of 3 ground-truth boxes on 2 pictures; left out: 1 crowds, 1 without area; '
                           '1 pictures have no box')


# Where pictures lie

@pytest.fixture
def locate(tmp_path):
    """Return a function: files that there are, names that are wanted, split folder -> paths below the root."""
    def do(files, names, split_folder='train2017'):
        for file in files:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).touch()
        paths = locate_pictures(str(tmp_path), np.array([name.encode() for name in names]), split_folder=split_folder)
        return [path.decode()[len(str(tmp_path)) + 1:] for path in paths]
    return do


@pytest.mark.parametrize('folder, split_folder', [
    ('train2017', 'train2017'), ('images/train2017', 'train2017'), ('val2014', 'val2014'), ('', 'train2017'),
    ('images', 'train2017'), ('images/val2014', 'train2014'), ('test2017', 'val2017'), ('mine', 'mine'),
    ('images/mine', 'mine')])
def test_usual_layouts(locate, folder, split_folder):
    files = [f'{folder}/{name}'.lstrip('/') for name in ('b.jpg', 'a.jpg')]
    assert locate(files, ['a.jpg', 'b.jpg'], split_folder) == files[::-1]


def test_coco_2014_takes_training_pictures_from_both_folders(locate):
    files = ['train2014/COCO_train2014_1.jpg', 'val2014/COCO_val2014_2.jpg']
    names = ['val2014/COCO_val2014_2.jpg', 'COCO_train2014_1.jpg']
    assert locate(files, names, 'train2014') == files[::-1]


def test_same_name_in_both_splits_is_taken_from_its_own(locate):
    files = ['train2017/1.jpg', 'val2017/1.jpg']
    assert locate(files, ['1.jpg'], 'train2017') == files[:1]
    assert locate(files, ['1.jpg'], 'val2017') == files[1:]


def test_ambiguous_names_are_refused(locate):
    with pytest.raises(ValueError, match=r'1.jpg is in several folders: .*val2014, .*val2017; .*--data_url'):
        locate(['val2014/1.jpg', 'val2017/1.jpg'], ['1.jpg'])
    with pytest.raises(ValueError, match=r'several folders: .*train2017, .*images/train2017'):
        locate(['train2017/3.jpg', 'images/train2017/3.jpg'], ['3.jpg'])


def test_a_bare_number_is_not_taken_from_another_split(locate):
    """Picture 2 of val2017 may show something else than picture 2 of train2017."""
    with pytest.raises(ValueError, match='1 of 2 pictures are missing, e.g. 2.jpg'):
        locate(['train2017/1.jpg', 'val2017/2.jpg'], ['1.jpg', '2.jpg'])


def test_missing_pictures_are_named(locate, tmp_path):
    with pytest.raises(ValueError, match=r'4 of 5 pictures are missing, e.g. a.jpg, b.jpg, c.jpg; looked in .*train20'):
        locate(['train2017/x.jpg'], ['a.jpg', 'b.jpg', 'x.jpg', 'c.jpg', 'd.jpg'])
    with pytest.raises(ValueError, match=r'picture folder .*nowhere does not exist \(data_url\)'):
        locate_pictures(str(tmp_path / 'nowhere'), np.array([b'a.jpg']), split_folder='train2017')


# Reading pictures

def jpeg(size=(60, 40), seed=0):
    """A JPEG of (width, height)."""
    noise = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    return cv2.imencode('.jpg', noise)[1].tobytes()


def with_orientation(content, orientation):
    """A JPEG with an EXIF segment that holds nothing but an orientation."""
    entry = struct.pack('<HHIHH', 0x0112, 3, 1, orientation, 0)
    payload = b'Exif\0\0II*\0' + struct.pack('<IH', 8, 1) + entry + struct.pack('<I', 0)
    return content[:2] + b'\xff\xe1' + struct.pack('>H', len(payload) + 2) + payload + content[2:]


def test_exif_orientation_is_honoured_on_request_only(write):
    content = jpeg()
    plain = read_picture(write(content, 'plain.jpg'))
    assert plain.shape == (40, 60, 3) and plain.dtype == np.uint8
    for orientation, turned in ((1, plain), (2, plain[:, ::-1]), (3, plain[::-1, ::-1]), (6, np.rot90(plain, -1)),
                                (8, np.rot90(plain))):
        path = write(with_orientation(content, orientation), f'{orientation}.jpg')
        np.testing.assert_array_equal(read_picture(path, honour_exif=True), turned)
        np.testing.assert_array_equal(read_picture(path, honour_exif=False), plain)


@pytest.mark.parametrize('recipe, is_upright', [
    (MSPNCrops(), True), (SimplePoseCrops(), False), (SimplePoseCrops(half_body_probability=0.3), False),
    (MIPNetCrops(), False)], ids=['mspn', 'simple_pose', 'hrnet', 'mipnet'])
def test_exif_orientation_of_each_recipe(write, recipe, is_upright):
    """MSPN's release turns pictures as a camera says, the others cut from what the sensor saw; in both kinds of
    samples."""
    path = write(with_orientation(jpeg(), 6), '7.jpg')
    keypoints = np.tile([10, 10, 2], (1, 17, 1))
    people = People(np.array([7]), np.array([b'7.jpg']), np.zeros((1, 2), np.int64), np.zeros(1, np.int32),
                    np.array([[5.0, 5, 30, 30]]), np.ones(1), keypoints)
    samples = PersonSamples(people, np.array([path.encode()]), recipe, COCO, (64, 64))
    seen = {}
    for honours in (True, False):
        forced = dataclasses.replace(samples, honour_exif=honours)
        out = np.empty((64, 64, 3), np.uint8)
        forced.training_sample(0, 0, out)
        seen[honours] = out, forced.test_samples(np.array([0]))[0][0]
    out = np.empty((64, 64, 3), np.uint8)
    samples.training_sample(0, 0, out)
    for number, crop in enumerate((out, samples.test_samples(np.array([0]))[0][0])):
        np.testing.assert_array_equal(crop, seen[is_upright][number])
        assert not np.array_equal(crop, seen[not is_upright][number])


@pytest.mark.parametrize('recipe', ['mspn_2stg_coco_256x192', 'simplepose_r50_coco_256x192'])
def test_an_inference_looks_at_photographs_upright(write, tmp_path, recipe):
    """Whatever the recipe does with the pictures of its benchmark."""
    write(with_orientation(jpeg(), 6), '7.jpg')
    # Of whatever category and score: it is the user's box.
    boxes = write([{'image_id': 7, 'category_id': 18, 'bbox': [5, 5, 30, 45], 'score': -0.5}], 'boxes.json')
    config = load_recipe(recipe)
    pictures, samples = load_boxed_pictures(model_of(config).crops(config), input_shape(config), COCO, str(tmp_path),
                                            boxes, lambda _: None)
    assert pictures.sizes.tolist() == [[40, 60]]
    upright = dataclasses.replace(samples, honour_exif=True).test_samples(np.array([0]))[0]
    np.testing.assert_array_equal(samples.test_samples(np.array([0]))[0], upright)
    unsized = dataclasses.replace(samples.people, picture_sizes=np.zeros((1, 2), np.int64))
    stored = dataclasses.replace(samples, honour_exif=False, people=unsized)
    assert not np.array_equal(stored.test_samples(np.array([0]))[0], upright)


def test_pictures_of_any_kind_come_as_three_channels(write):
    colors = np.random.default_rng(1).integers(0, 255, (10, 12, 4), np.uint8)
    for channels in (colors[:, :, 0], colors[:, :, :3], colors):
        picture = read_picture(write(cv2.imencode('.png', channels)[1].tobytes(), 'x.png'))
        assert picture.shape == (10, 12, 3) and picture.dtype == np.uint8
    # BGR, as OpenCV reads it.
    np.testing.assert_array_equal(picture, colors[:, :, :3])


@pytest.mark.parametrize('content, message', [
    (b'', 'is empty'), (b'some text', 'is not a picture'), (jpeg()[:-200], 'is truncated'), (jpeg()[:2], 'x.jpg'),
    (jpeg()[:100], 'x.jpg'), (with_orientation(jpeg(), 6)[:-400], 'is truncated'),
    (cv2.imencode('.png', np.zeros((9, 9, 3), np.uint8))[1].tobytes()[:40], 'x.jpg')],
    ids=['empty', 'text', 'cut', 'start_only', 'header_only', 'cut_with_exif', 'png_header'])
def test_unreadable_picture_is_named(write, content, message):
    path = write(content, 'x.jpg')
    with pytest.raises(ValueError, match=re.escape(path) + '.*' if message != 'x.jpg' else re.escape(path)) as caught:
        read_picture(path)
    assert message in str(caught.value)


def test_missing_picture_is_named(tmp_path):
    for path in (tmp_path / 'none.jpg', tmp_path):
        with pytest.raises(ValueError, match='cannot read the picture ' + re.escape(str(path))):
            read_picture(str(path))


def test_cut_behind_a_thumbnail_is_noticed(write):
    """The end marker of a small picture inside the EXIF segment is not the end of the picture."""
    content, small = jpeg(), jpeg((8, 8))
    inside = content[:2] + b'\xff\xe1' + struct.pack('>H', len(small) + 2) + small + content[2:]
    assert read_picture(write(inside, 'whole.jpg')).shape == (40, 60, 3)
    with pytest.raises(ValueError, match='truncated'):
        read_picture(write(inside[:-500], 'cut.jpg'))


def test_bytes_behind_the_end_do_no_harm(write):
    padded = jpeg() + b'\0' * 300
    np.testing.assert_array_equal(read_picture(write(padded, 'padded.jpg')), read_picture(write(jpeg(), 'plain.jpg')))


def test_truncated_png_is_noticed(write):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    content = cv2.imencode('.png', noise)[1].tobytes()
    with pytest.raises(ValueError, match='x.png'):
        read_picture(write(content[:len(content) // 2], 'x.png'))


# Pictures named by their image id

@pytest.fixture
def find(tmp_path):
    """Return a function: {name: content} -> numbered pictures and what was said."""
    def do(files):
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        said = []
        return find_numbered_pictures(str(tmp_path), said.append), said
    return do


def test_numbered_pictures(find, tmp_path):
    png = cv2.imencode('.png', np.zeros((5, 9, 3), np.uint8))[1].tobytes()
    pictures, said = find({'42.jpg': jpeg(), '000000000007.JPG': jpeg((30, 20)), '8.png': png, '9.jpeg': jpeg(),
                           'COCO_val2014_000000000011.jpg': jpeg(), 'boxes.json': b'[]', 'README.md': b''})
    places = dict(zip(pictures.image_ids.tolist(), zip(pictures.paths.tolist(), pictures.sizes.tolist())))
    assert set(places) == {7, 8, 9, 11, 42}
    assert said == [f'left out: boxes.json in {tmp_path}: no pictures by their names']
    assert places[7] == (str(tmp_path / '000000000007.JPG').encode(), [30, 20])
    assert places[8][1] == [9, 5]
    assert [array.dtype.kind for array in pictures.as_images()] == ['i', 'S', 'i']


@pytest.mark.parametrize('ending', ['.webp', '.bmp', '.tif', '.tiff', '.ppm', '.JPE'])
def test_every_format_that_opencv_reads_is_taken(find, ending):
    content = cv2.imencode(ending.lower().replace('.jpe', '.jpg'), np.full((5, 9, 3), 90, np.uint8))[1].tobytes()
    pictures, said = find({f'3{ending}': content})
    assert pictures.image_ids.tolist() == [3] and pictures.sizes.tolist() == [[9, 5]] and said == []


def test_other_files_are_named_in_one_line(find, tmp_path):
    (tmp_path / 'more').mkdir()
    _, said = find({'1.jpg': jpeg(), '.DS_Store': b'', **{f'note{number:02}.txt': b'' for number in range(11)}})
    line, = said
    assert line.startswith('left out: more, note00.txt, ') and 'note08.txt and 2 more in ' in line


def test_pictures_that_cannot_be_used_are_named(find):
    good = dict.fromkeys(('1.jpg', '0001.jpg', '1.png', '6.jpg', 'party.jpg', '-2.jpg', '\u0666.jpg'), jpeg())
    pictures, said = find({**good, '3.jpg': b'text', '4.jpg': jpeg()[:-300], '5.jpg': b''})
    assert sorted(pictures.image_ids.tolist()) == [1, 6]
    assert all(line.startswith('left out: ') for line in said) and len(said) == 8
    text = '\n'.join(said)
    assert text.count('has the same image id as') == 2 and text.count('is not named by an image id') == 3
    for part in ('3.jpg is not a picture', '4.jpg is truncated', '5.jpg is empty', 'party.jpg', '-2.jpg'):
        assert part in text


def test_an_unreadable_picture_does_not_hide_one_of_the_same_id(find):
    pictures, said = find({'0001.jpg': b'text', '1.jpg': jpeg()})
    assert pictures.image_ids.tolist() == [1] and len(said) == 1


@pytest.mark.parametrize('files', [{}, {'party.jpg': jpeg()}, {'1.jpg': b'text'}, {'1.bmp': b''}],
                         ids=['empty', 'no_number', 'no_picture', 'other_kind'])
def test_folder_without_a_usable_picture(find, files):
    with pytest.raises(ValueError, match=r'holds no readable picture that is named by an image id, such as 42.jpg'):
        find(files)


def test_folder_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r'picture folder .*none does not exist \(data_url\)'):
        find_numbered_pictures(str(tmp_path / 'none'), print)
