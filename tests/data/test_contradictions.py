"""Files that contradict each other: the right number where they can be understood, one line where they cannot."""
import copy
import json
import re
import time

import cv2
import numpy as np
import pytest

from src.data.annotation_checks import AnnotationFile
from src.data.coco import check_evaluable, load_coco_images, load_coco_people
from src.data.detections import detected_people, load_detections
from src.data.locate_pictures import describe_folders, locate_pictures, other_split
from src.data.oks_truth import load_coco_truth
from src.data.samples import PersonSamples
from src.data.skeletons import COCO
from src.metrics.coco import evaluate_coco
from src.models.common.crops import SimplePoseCrops
from src.system.errors import PoseError
from src.system.files import read_json

WIDTH, HEIGHT = 640, 480
NUM_PICTURES = 6


def person(number: int, image_id: int, rng) -> dict:
    width, height = rng.uniform([60, 120], [150, 300]).round(1).tolist()
    x, y = rng.uniform([0, 0], [WIDTH - width, HEIGHT - height]).round(1).tolist()
    places = rng.uniform([x, y], [x + width, y + height], (17, 2)).round(1)
    keypoints = np.column_stack([places, np.full(17, 2)]).ravel().tolist()
    return {'id': number, 'image_id': image_id, 'category_id': 1, 'iscrowd': 0, 'bbox': [x, y, width, height],
            'area': width * height * 0.5, 'num_keypoints': 17, 'keypoints': keypoints}


def content_of_coco() -> dict:
    rng = np.random.default_rng(7)
    images = [{'id': number, 'file_name': f'{number:012d}.jpg', 'width': WIDTH, 'height': HEIGHT}
              for number in range(1, NUM_PICTURES + 1)]
    annotations = [person(number + 1, 1 + number // 2, rng) for number in range(2 * NUM_PICTURES)]
    return {'images': images, 'annotations': annotations,
            'categories': [{'id': 1, 'name': 'person', 'keypoints': list(COCO.keypoint_names), 'skeleton': []}]}


CONTENT = content_of_coco()
BOXES = [{'image_id': each['image_id'], 'category_id': 1, 'bbox': each['bbox'], 'score': 0.9}
         for each in CONTENT['annotations']]


@pytest.fixture
def write(tmp_path):
    def do(content, name='file.json') -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return str(path)
    return do


def changed(change=lambda content: None, *, each=lambda annotation: None) -> dict:
    """The content with everybody changed by `each`, and then as a whole."""
    content = copy.deepcopy(CONTENT)
    for annotation in content['annotations']:
        each(annotation)
    change(content)
    return content


def poses() -> list:
    """Poses of everybody, some of them rather wrong."""
    rng = np.random.default_rng(3)
    results = []
    for number, each in enumerate(CONTENT['annotations']):
        places = np.reshape(each['keypoints'], (17, 3)) + [0, 0, 0]
        places[:, :2] += rng.normal(0, 2 + 3 * (number % 3), (17, 2))
        results.append({'image_id': each['image_id'], 'category_id': 1, 'keypoints': places.ravel().tolist(),
                        'score': 0.5 + number / 100})
    return results


def score(path: str, category: str = '') -> dict:
    file = AnnotationFile(path, category)
    check_evaluable(file, COCO)
    return evaluate_coco(file, poses(), COCO)


def renumber_categories(content: dict) -> None:
    content['categories'] = [{'id': 1, 'name': 'ball'}, {'id': 2, 'name': 'car'}, {**content['categories'][0], 'id': 3}]
    content['annotations'] += [{'id': 900, 'image_id': 1, 'category_id': 2, 'bbox': [1, 2, 3, 4]},
                               {'id': 'x', 'image_id': 'none of ours', 'category_id': 1}]


# What says the same in another way: nobody is lost, and AP stays.
SAME = {
    'category 0': changed(lambda content: content['categories'][0].update(id=0),
                          each=lambda a: a.update(category_id=0)),
    'category 3 of three': changed(renumber_categories, each=lambda a: a.update(category_id=3)),
    'category as text': changed(each=lambda a: a.update(category_id='1')),
    'no category id': changed(each=lambda a: a.pop('category_id')),
    'another name alone': changed(lambda content: content['categories'][0].update(id=5, name='worker'),
                                  each=lambda a: a.update(category_id=5)),
    'annotation ids from 0': changed(each=lambda a: a.update(id=a['id'] - 1)),
    'annotation ids of text': changed(each=lambda a: a.update(id=f'a1b2-{a["id"]}')),
    'annotation ids as floats': changed(each=lambda a: a.update(id=float(a['id']))),
    'huge annotation ids': changed(each=lambda a: a.update(id=2 ** 53 + a['id'])),
    'no annotation ids': changed(each=lambda a: a.pop('id')),
    'picture ids as text': changed(lambda content: [image.update(id=str(image['id'])) for image in content['images']],
                                   each=lambda a: a.update(image_id=f'{a["image_id"]:03d}')),
    'picture ids as floats': changed(each=lambda a: a.update(image_id=float(a['image_id']))),
    'sizes as floats': changed(lambda content: [image.update(width=640.0) for image in content['images']]),
    'no crowd flags': changed(each=lambda a: a.pop('iscrowd')),
    'no counts': changed(each=lambda a: a.pop('num_keypoints')),
    'others without keypoints': changed(lambda content: content['annotations'].extend(
        [{'id': 901, 'image_id': 1, 'category_id': 1, 'bbox': None, 'iscrowd': None, 'keypoints': keypoints}
         for keypoints in (None, [])] + [{'image_id': 2, 'category_id': 1}])),
}


@pytest.mark.parametrize('content', SAME.values(), ids=SAME)
def test_what_says_the_same_gives_the_same_people_and_score(write, content):
    plain, other = write(CONTENT, 'plain.json'), write(content, 'other.json')
    before = load_coco_people(plain, COCO, sample_rule='simple_pose')
    after = load_coco_people(other, COCO, sample_rule='simple_pose')
    assert len(before) == len(CONTENT['annotations'])
    np.testing.assert_array_equal(before.keypoints, after.keypoints)
    np.testing.assert_array_equal(before.boxes_xywh, after.boxes_xywh)
    numbers = score(plain)
    assert 0.1 < numbers['AP'] < 0.95 and score(other) == numbers


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_other_encodings(write, encoding):
    assert read_json(write(json.dumps(CONTENT).encode(encoding))) == CONTENT


def test_the_area_of_the_box_stands_for_a_missing_one(write):
    """In training and evaluation alike, and said once."""
    boxes = write(changed(each=lambda a: a.update(area=a['bbox'][2] * a['bbox'][3])), 'boxes.json')
    for name, content in (('missing', changed(each=lambda a: a.pop('area'))),
                          ('zero', changed(each=lambda a: a.update(area=0)))):
        path = write(content, f'{name}.json')
        people = load_coco_people(path, COCO, sample_rule='simple_pose')
        assert len(people) == 12
        assert people.notes == ('12 people have no area, or one of 0: that of their boxes counts',)
        assert score(path) == score(boxes) != score(write(CONTENT))
        np.testing.assert_array_equal(load_coco_truth(path, COCO).areas, load_coco_truth(boxes, COCO).areas)
        file = AnnotationFile(path)
        check_evaluable(file, COCO)
        assert file.notes == list(people.notes)


def test_other_categories_do_not_lower_the_mean(write):
    dog = {'id': 18, 'name': 'dog', 'keypoints': list(COCO.keypoint_names)}
    path = write(changed(lambda content: (
        content['categories'].append(dog),
        content['annotations'].append({**content['annotations'][0], 'id': 77, 'category_id': 18}))))
    people = load_coco_people(path, COCO, sample_rule='mspn')
    assert len(people) == 12 and people.left_out == {'of category 18 (dog)': 1}
    assert people.describe('f.json') == '12 of 13 people of f.json; left out: 1 of category 18 (dog)'
    assert score(path) == score(write(CONTENT, 'plain.json'))
    dogs = load_coco_people(AnnotationFile(path, 'dog'), COCO, sample_rule='mspn')
    assert len(dogs) == 1 and dogs.category_id == 18
    assert dogs.notes == ('people are the annotations of category 18 (dog)',)
    assert len(load_coco_people(AnnotationFile(path, '18'), COCO, sample_rule='mspn')) == 1


# What cannot be understood

NOBODY = {
    'another category': (changed(lambda content: content['categories'].append({'id': 3, 'name': 'dog'}),
                                 each=lambda a: a.update(category_id=3)),
                         '12 of category 3 (dog); the person is 1 (person): --set DATASET.CATEGORY=dog'),
    'no such category': (changed(each=lambda a: a.update(category_id=0)),
                         "12 of category 0; the person is 1 (person) (its 'categories' are 1 (person)): --set "
                         'DATASET.CATEGORY=0'),
    'no keypoints': (changed(each=lambda a: a.pop('keypoints')),
                     '12 without keypoints; is this the file of the keypoints, person_keypoints_….json?'),
    'nothing labelled': (changed(each=lambda a: a.update(keypoints=[9, 9, 0] * 17)),
                         '12 without a labelled keypoint; the third number of a keypoint should be 2 for visible'),
    'counts of 0': (changed(each=lambda a: a.update(num_keypoints=0)),
                    "12 with num_keypoints 0 though keypoints are labelled; write their number into 'num_keypoints'"),
    'crowds': (changed(each=lambda a: a.update(iscrowd=1)), "12 crowds; 'iscrowd' should be 0 for a single person"),
}


@pytest.mark.parametrize('content, message', NOBODY.values(), ids=NOBODY)
def test_the_largest_reason_is_named_with_its_remedy(write, content, message):
    path = write(content)
    for check in (lambda: load_coco_people(path, COCO, sample_rule='simple_pose'), lambda: check_evaluable(path, COCO)):
        with pytest.raises(PoseError, match=re.escape(f'{path}: none of its 12 annotations is a person') + '.*'
                           + re.escape(message)):
            check()


def test_boxes_outside_of_the_picture_are_the_reason(write):
    path = write(changed(each=lambda a: a.update(bbox=[5000, 5000, 9, 9])))
    with pytest.raises(PoseError, match='12 with a box outside the picture; .bbox. should be'):
        load_coco_people(path, COCO, sample_rule='simple_pose')


@pytest.mark.parametrize('wish, message', [
    ('', "none is called person: 4 (cat), 7 (dog); say whose keypoints count, e.g. --set DATASET.CATEGORY=cat"),
    ('dgo', "has no category 'dgo' (DATASET.CATEGORY); did you mean dog? its categories are 4 (cat), 7 (dog)"),
    ('9', "has no category '9' (DATASET.CATEGORY); its categories are 4 (cat), 7 (dog)")])
def test_categories_among_which_to_choose(write, wish, message):
    def two_kinds(content):
        content['categories'] = [{'id': 4, 'name': 'cat'}, {'id': 7, 'name': 'dog'}]
        for number, each in enumerate(content['annotations']):
            each['category_id'] = (4, 7)[number % 2]
    path = write(changed(two_kinds))
    with pytest.raises(PoseError, match=re.escape(message)):
        load_coco_people(AnnotationFile(path, wish), COCO, sample_rule='mspn')
    assert len(load_coco_people(AnnotationFile(path, 'Dog'), COCO, sample_rule='mspn')) == 6


WRONG = {
    'crowd flag of text': ({'iscrowd': '0'}, "annotation 0: 'iscrowd' should be 0 or 1, is '0'"),
    'count of text': ({'num_keypoints': '17'}, "annotation 0: 'num_keypoints' should be a whole number, is '17'"),
    'box of text': ({'bbox': '1 2 3 4'}, "annotation 0: 'bbox' should be [x, y, width, height], is '1 2 3 4'"),
    'category of text': ({'category_id': 'person'},
                         "annotation 0: 'category_id' should be a whole number, is 'person'"),
    'area of text': ({'area': 'large'}, "annotation 0: 'area' should be a number, is 'large'"),
}


@pytest.mark.parametrize('values, message', WRONG.values(), ids=WRONG)
def test_types_are_checked_in_training_and_evaluation_alike(write, values, message):
    path = write(changed(lambda content: content['annotations'][0].update(values)))
    for check in (lambda: load_coco_people(path, COCO, sample_rule='mspn'), lambda: check_evaluable(path, COCO)):
        with pytest.raises(PoseError, match=re.escape(f'{path}, {message}')):
            check()


@pytest.mark.parametrize('key, value', [('width', 0), ('height', -5), ('width', None), ('height', 3.5)])
def test_sizes_that_no_picture_has(write, key, value):
    path = write(changed(lambda content: content['images'][2].update({key: value})))
    told = f"image 2: '{key}' should be .*, is {value}" if value is not None else (
        f"image 2 has no '{key}': .*convert FILE OUT")
    with pytest.raises(PoseError, match=told):
        load_coco_images(path)


def test_twice_the_same_picture_among_many_is_found_at_once(write):
    images = [{'id': number, 'file_name': f'{number}.jpg', 'width': 9, 'height': 9} for number in range(118_287)]
    file = AnnotationFile('many.json')
    file.__dict__['content'] = {'images': [*images, images[-1]], 'annotations': []}
    start = time.process_time()
    with pytest.raises(PoseError, match=re.escape('the image id 118286 is there twice (images 118286 and 118287)')):
        _ = file.pictures
    assert time.process_time() - start < 1


def test_counts_that_contradict_the_keypoints_are_told(write):
    def some(content):
        for number, each in enumerate(content['annotations'][:5]):
            each.update({'num_keypoints': 0} if number < 3 else {'keypoints': [5, 5, 0] * 17})
    path = write(changed(some))
    people = load_coco_people(path, COCO, sample_rule='mspn')
    assert people.left_out == {'with num_keypoints 0 though keypoints are labelled': 3,
                               'without a labelled keypoint': 2}
    file = AnnotationFile(path)
    check_evaluable(file, COCO)
    assert file.notes == ['3 people with labelled keypoints have num_keypoints 0: they do not count',
                          '2 people have num_keypoints above 0 and no labelled keypoint: poses are compared with their '
                          'boxes']


def test_more_people_than_count_are_told(write):
    rng = np.random.default_rng(0)
    path = write(changed(lambda content: content['annotations'].extend(
        person(100 + number, 3, rng) for number in range(48))))
    file = AnnotationFile(path)
    check_evaluable(file, COCO)
    assert file.notes == ['1 pictures have more than 20 people, up to 50: only the 20 best poses of a picture count, '
                          'so the others are missed']


# Pictures

def make_picture(path, size=(WIDTH, HEIGHT)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((size[1], size[0], 3), 90, np.uint8))


def samples_of(write, tmp_path, size, said, honour_exif=None, content=None):
    path = tmp_path / 'train2017' / '000000000001.jpg'
    if content is None:
        make_picture(path, size)
    else:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    file = changed(lambda content: (content['images'][0].update(width=said[0], height=said[1]),
                                    content['annotations'][0].update(bbox=[10, 10, 100, 200])))
    people = load_coco_people(write(file), COCO, sample_rule='simple_pose')
    paths = np.array([str(path).encode()] * NUM_PICTURES)
    return PersonSamples(people, paths, SimplePoseCrops(), COCO, (64, 48), honour_exif=honour_exif)


@pytest.mark.parametrize('said, message', [
    ((480, 640), "'width' and 'height' are swapped in the file, or the picture was turned afterwards"),
    ((320, 240), 'before it was resized (by 2 and 2)'), ((640, 479), 'before it was resized')])
def test_pictures_of_another_size_are_refused(write, tmp_path, said, message):
    samples = samples_of(write, tmp_path, (640, 480), said)
    start = f'000000000001.jpg has 640 x 480 pixels (width x height), the annotation file says {said[0]} x {said[1]}'
    for read in (lambda: samples.training_sample(0, 0, np.empty((64, 48, 3), np.uint8)),
                 lambda: samples.test_samples(np.array([0]))):
        with pytest.raises(PoseError, match=re.escape(start) + '.*' + re.escape(message)):
            read()


def test_pictures_that_a_phone_has_turned(write, tmp_path):
    """Whichever way the annotation file means it, DATASET.EXIF says so."""
    entry = b'Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0'
    plain = cv2.imencode('.jpg', np.zeros((480, 640, 3), np.uint8))[1].tobytes()
    turned = plain[:2] + b'\xff\xe1' + (len(entry) + 2).to_bytes(2, 'big') + entry + plain[2:]
    for said, upright in (((640, 480), False), ((480, 640), True)):
        right = samples_of(write, tmp_path, None, said, upright, turned)
        assert right.test_samples(np.array([0]))[0].shape == (1, 64, 48, 3)
        wrong = samples_of(write, tmp_path, None, said, not upright, turned)
        with pytest.raises(PoseError, match=f'turns it: --set DATASET.EXIF={"upright" if upright else "stored"}'):
            wrong.test_samples(np.array([0]))


def locate(tmp_path, files, names, **options):
    for file in files:
        make_picture(tmp_path / file, (4, 4))
    paths = locate_pictures(str(tmp_path), np.array([name.encode() for name in names]), split_folder='train2017',
                            **options)
    return [path.decode()[len(str(tmp_path)) + 1:] for path in paths]


@pytest.mark.parametrize('folder', ['', 'train2017/', 'images/train2017/', 'images/'])
def test_names_with_folders_are_taken_whole(tmp_path, folder):
    names = ['a/1.jpg', 'b/1.jpg', './b/c/2.jpg']
    files = [folder + name.replace('./', '') for name in names]
    assert locate(tmp_path, files, names) == files


def test_without_their_folders_names_are_found_by_their_end(tmp_path):
    assert locate(tmp_path, ['train2017/1.jpg'], ['some/where/1.jpg']) == ['train2017/1.jpg']


def test_one_picture_for_two_names_is_refused(tmp_path):
    with pytest.raises(PoseError, match='a/1.jpg and b/1.jpg are two pictures of .*, but only .*1.jpg is there'):
        locate(tmp_path, ['train2017/1.jpg'], ['a/1.jpg', 'b/1.jpg'])
    assert locate(tmp_path, [], ['1.jpg', './1.jpg']) == ['train2017/1.jpg'] * 2


@pytest.mark.parametrize('there, wanted, hint', [
    ('1.jpg', 'train2017\\1.jpg', 'it has backslashes'), ('1.jpg', '1.jpg?size=640&x=2', 'the query of a URL'),
    ('a b.jpg', 'a%20b.jpg', 'as a URL spells them'), ('1.jpg', '1.JPG', 'capital and small letters differ'),
    ('cafe\u0301.jpg', 'caf\u00e9.jpg', 'Unicode NFC and NFD'), ('1.png', '1.jpg', 'the endings differ')])
def test_the_difference_to_a_picture_that_is_there_is_shown(tmp_path, there, wanted, hint):
    with pytest.raises(PoseError, match='1 of 1 pictures are missing') as caught:
        locate(tmp_path, [f'train2017/{there}'], [wanted])
    assert hint in str(caught.value) and ascii(there)[1:-1] in str(caught.value)
    assert ascii(wanted)[1:-1] in str(caught.value)


def test_pictures_that_nobody_is_on_need_not_be_there(tmp_path):
    names = [f'{number}.jpg' for number in range(4)]
    paths = locate_pictures(str(tmp_path), np.array([name.encode() for name in names]), split_folder='x',
                            needed=np.array([], int))
    assert paths.tolist() == [b''] * 4
    make_picture(tmp_path / 'x/2.jpg', (4, 4))
    paths = locate_pictures(str(tmp_path), np.array([name.encode() for name in names]), split_folder='x',
                            needed=np.array([2, 2]))
    assert [bool(path) for path in paths] == [False, False, True, False]
    assert describe_folders(paths) == f'pictures: 1 in {tmp_path}/x'
    with pytest.raises(PoseError, match='1 of 2 pictures are missing, e.g. 3.jpg'):
        locate_pictures(str(tmp_path), np.array([name.encode() for name in names]), split_folder='x',
                        needed=np.array([2, 3]))


@pytest.mark.parametrize('gt_file, folder, name, is_odd', [
    ('person_keypoints_train2017.json', 'val2017', '1.jpg', True),
    ('person_keypoints_val2017.json', 'val2017', '1.jpg', False), ('mine.json', 'val2017', '1.jpg', False),
    ('person_keypoints_train2017.json', 'pictures', '1.jpg', False),
    ('train_val_minus_minival_2014.json', 'val2014', 'COCO_val2014_1.jpg', False)])
def test_an_annotation_file_with_pictures_of_another_split_is_told(gt_file, folder, name, is_odd):
    told = other_split(np.array([b'', f'data/{folder}/{name}'.encode()]), f'data/annotations/{gt_file}')
    assert bool(told) == is_odd and (not told or f'{gt_file} is used with pictures of {folder}' in told)


# Boxes

def place(write, boxes, **options):
    images = load_coco_images(write(CONTENT, 'images.json'))
    return detected_people(load_detections([write(boxes, 'boxes.json')], people_only=True), images, 17, **options)


def with_boxes(form):
    return [{**each, 'bbox': form(*each['bbox'])} for each in BOXES]


OTHER_BOXES = {
    'corners': (with_boxes(lambda x, y, w, h: [x, y, x + w, y + h]), 'look like [x1, y1, x2, y2], two corners, in'),
    'centers': (with_boxes(lambda x, y, w, h: [x + w / 2, y + h / 2, w, h]), 'look like [center x, center y, width, '),
    'shares': (with_boxes(lambda x, y, w, h: [x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT]), 'from 0 to 1'),
    'shares of corners': (with_boxes(lambda x, y, w, h: [x / WIDTH, y / HEIGHT, (x + w) / WIDTH, (y + h) / HEIGHT]),
                          '[x1, y1, x2, y2], two corners, from 0 to 1'),
    'shares of centers': (with_boxes(lambda x, y, w, h: [(x + w / 2) / WIDTH, (y + h / 2) / HEIGHT, w / WIDTH,
                                                         h / HEIGHT]),
                          '[center x, center y, width, height], from 0 to 1'),
    'larger pictures': (with_boxes(lambda *box: [3 * side for side in box]), 'on pictures of another size?'),
}


@pytest.mark.parametrize('boxes, message', OTHER_BOXES.values(), ids=OTHER_BOXES)
def test_boxes_of_another_form_are_refused(write, boxes, message):
    with pytest.raises(PoseError, match=r'of 12 boxes reach beyond .*' + re.escape(message)):
        place(write, boxes, source='detected boxes of x.json')


def test_a_few_boxes_may_reach_beyond_their_pictures(write):
    beyond = [{**BOXES[0], 'bbox': [600, 100, 100, 150]}, {**BOXES[0], 'bbox': [-60, 100, 100, 150]}]
    for boxes in (beyond[:1], beyond, BOXES + beyond):
        people, report = place(write, boxes)
        assert len(people) == len(boxes)
        assert ('reach beyond their pictures' in str(report)) == (len(boxes) < 3)
    with pytest.raises(PoseError, match='1 of 1 boxes reach beyond .* from 0 to 1'):
        place(write, [{**BOXES[0], 'bbox': [0.1, 0.2, 0.3, 0.4]}])


NAMED = {
    'padded text': lambda each: {**each, 'image_id': f'{each["image_id"]:012d}'},
    'name': lambda each: {**each, 'image_id': f'{each["image_id"]:012d}.jpg'},
    'name with folders': lambda each: {**each, 'image_id': f'val/{each["image_id"]:012d}.jpg'},
    'file_name': lambda each: {'file_name': f'{each["image_id"]:012d}.jpg', 'bbox': each['bbox'], 'score': 0.9},
    'float': lambda each: {**each, 'image_id': float(each['image_id'])},
    'category of text': lambda each: {**each, 'category_id': '1'},
}


@pytest.mark.parametrize('change', NAMED.values(), ids=NAMED)
def test_boxes_find_their_pictures(write, change):
    plain, _ = place(write, BOXES)
    people, _ = place(write, list(map(change, BOXES)))
    np.testing.assert_array_equal(people.image_index, plain.image_index)
    np.testing.assert_array_equal(people.boxes_xywh, plain.boxes_xywh)


def test_names_without_a_picture_are_told(write):
    with pytest.raises(PoseError, match=r"the boxes name pictures such as \['x.jpg'.*, the images are \['0000"):
        place(write, [{**each, 'image_id': 'x.jpg'} for each in BOXES])
    _, report = place(write, [*BOXES, {**BOXES[0], 'image_id': 'x.jpg'}])
    assert '1 on unknown images' in str(report)


def test_a_box_without_a_score_counts_one(write):
    people, report = place(write, [{key: value for key, value in each.items() if key != 'score'} for each in BOXES])
    assert (people.box_scores == 1).all() and '12 have no score and count 1' in str(report)


def test_other_categories_of_boxes_are_named(write):
    with pytest.raises(PoseError, match=r'no box of a person \(category_id 1\) in it, but 12 of category_id 0'):
        place(write, [{**each, 'category_id': 0} for each in BOXES])
    path = write([{**each, 'category_id': 3} for each in BOXES])
    assert len(load_detections([path], people_only=True, category=3).scores) == 12


def test_identical_boxes_count_once(write):
    _, report = place(write, BOXES + BOXES)
    assert report.used == 12 and '12 there twice' in str(report)
    # Of two files somebody has made one; scores and categories may differ.
    better = [{**each, 'category_id': 3, 'score': 0.95} for each in BOXES[:4]]
    other = write([*better, {**BOXES[0], 'bbox': [1, 1, 9, 9]}], 'other.json')
    detections = load_detections([write(BOXES), other], people_only=False)
    assert len(detections.scores) == 13 and sorted(detections.scores)[-4:] == [0.95] * 4
    # In one file they are another box.
    assert len(load_detections([write([BOXES[0], {**BOXES[0], 'score': 0.2}])], people_only=True).scores) == 2
