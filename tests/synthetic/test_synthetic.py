"""The made-up data set: it repeats itself, its annotations are true, and pycocotools reads it."""
import json
import os

import cv2
import numpy as np
import pycocotools.coco
import pytest

from src.data.skeletons import COCO
from src.synthetic.canvas import Canvas, capsule, sample_color
from src.synthetic.figure import sample_figure
from src.synthetic.pairs import DISTANCE_RANGE, HEIGHT_RANGE, box_of_body, sample_pair
from src.synthetic.pictures import (
    IOU_RANGES,
    MIN_SEEN,
    MIN_SEEN_BEHIND,
    make_picture,
)
from src.synthetic.writing import MARKER_NAME, main, write_synthetic_coco, write_synthetic_ochuman

SPLITS = ('train2017', 'val2017')
NUM_TRAIN, NUM_VAL = 24, 6
OCHUMAN_FILE = 'annotations/ochuman_coco_format_val_range_0.00_1.00.json'


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    root = str(tmp_path_factory.mktemp('synthetic'))
    write_synthetic_coco(root, num_train=NUM_TRAIN, num_val=NUM_VAL, seed=3)
    return root


@pytest.fixture(scope='module')
def pictures():
    return [make_picture(11, 'train2017', index) for index in range(1, 81)]


@pytest.fixture(scope='module')
def annotations(pictures):
    return [(picture.image.shape[:2], annotation) for picture in pictures for annotation in picture.annotations]


@pytest.fixture(scope='module')
def pairs():
    """Shape of the picture and annotations (behind, in front) of held-out pairs."""
    pictures = [make_picture(11, 'val2017', index, pair_share=1.0) for index in range(1, 31)]
    assert {len(picture.annotations) for picture in pictures} == {2}
    return [(picture.image.shape[:2], *picture.annotations) for picture in pictures]


@pytest.fixture(scope='module')
def crowded_root(tmp_path_factory):
    root = str(tmp_path_factory.mktemp('crowded'))
    write_synthetic_coco(root, num_train=16, num_val=4, seed=3, pair_share=0.5)
    return root


def load_files(root):
    """Relative path → bytes of every file of the data set."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, 'rb') as file:
                found[os.path.relpath(path, root)] = file.read()
    return found


def box_of(mask):
    """Box (xywh) around the pixels of a mask (H, W)."""
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]


def iou_of(first, second):
    """IoU of two boxes (xyxy)."""
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    shared = np.prod(np.maximum(sides, 0))
    return shared / (np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2]) - shared)


def corners_of(annotation):
    x, y, width, height = annotation['bbox']
    return np.array([x, y, x + width, y + height], float)


def mask_of(annotation, shape, growth=5):
    """The silhouette, widened by half of `growth` pixels: uint8 (H, W)."""
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.array(polygon).reshape(-1, 2) for polygon in annotation['segmentation']], 1)
    return cv2.dilate(mask, np.ones((growth, growth), np.uint8))


def keypoints_of(annotation):
    """Places (17, 2) and visibility (17,)."""
    table = np.array(annotation['keypoints'], float).reshape(COCO.num_keypoints, 3)
    return table[:, :2], table[:, 2]


def test_same_seed_gives_the_same_bytes(data_root, tmp_path):
    write_synthetic_coco(str(tmp_path), num_train=NUM_TRAIN, num_val=NUM_VAL, seed=3)
    assert load_files(tmp_path) == load_files(data_root)


def test_other_seeds_splits_and_numbers_give_other_pictures():
    first = make_picture(3, 'train2017', 1).image
    for arguments in ((4, 'train2017', 1), (3, 'val2017', 1), (3, 'train2017', 2)):
        assert not np.array_equal(first, make_picture(*arguments).image)


def test_a_picture_does_not_depend_on_the_number_of_pictures(data_root, tmp_path):
    write_synthetic_coco(str(tmp_path), num_train=2, num_val=1, seed=3)
    few, many = load_files(tmp_path), load_files(data_root)
    for name in few:
        if name.endswith('.jpg'):
            assert few[name] == many[name]


def test_the_usual_people_are_those_they_always_were():
    """Scores of older versions hold as long as the default pictures stay."""
    picture = make_picture(1, 'train2017', 1)
    assert [annotation['bbox'] for annotation in picture.annotations] == [[307, 113, 152, 223], [44, 135, 108, 208]]
    assert picture.annotations[0]['keypoints'][:6] == [386.93, 141.93, 2, 396.04, 136.84, 2]
    assert picture.image.mean() == pytest.approx(135.204, abs=0.1)


def test_files_follow_coco(data_root):
    for split, count in zip(SPLITS, (NUM_TRAIN, NUM_VAL)):
        coco_file = pycocotools.coco.COCO(os.path.join(data_root, 'annotations', f'person_keypoints_{split}.json'))
        assert len(coco_file.getImgIds()) == count
        assert coco_file.loadCats(1)[0]['keypoints'] == list(COCO.keypoint_names)
        assert np.min(coco_file.loadCats(1)[0]['skeleton']) == 1
        assert coco_file.getAnnIds() == list(range(1, len(coco_file.anns) + 1))
        for record in coco_file.imgs.values():
            image = cv2.imread(os.path.join(data_root, split, record['file_name']))
            assert image.shape == (record['height'], record['width'], 3)
            assert 1 <= len(coco_file.getAnnIds(imgIds=record['id'])) <= 3
        for annotation in coco_file.anns.values():
            # A polygon cannot tell the holes between arms and trunk.
            assert annotation['bbox'] == pytest.approx(box_of(coco_file.annToMask(annotation)), abs=2)
            assert int(coco_file.annToMask(annotation).sum()) == pytest.approx(annotation['area'], rel=0.1)


def test_detections_lie_near_the_people(data_root):
    annotation_path = os.path.join(data_root, 'annotations', 'person_keypoints_val2017.json')
    coco_file = pycocotools.coco.COCO(annotation_path)
    with open(os.path.join(data_root, 'annotations', 'val2017_detections.json'), encoding='utf-8') as file:
        detections = json.load(file)
    assert len(detections) == len(coco_file.anns)
    assert len(coco_file.loadRes(detections).anns) == len(detections)
    for detection, annotation in zip(detections, coco_file.anns.values()):
        assert detection['image_id'] == annotation['image_id']
        assert 0.6 <= detection['score'] <= 1.0
        size = np.tile(annotation['bbox'][2:], 2)
        assert np.all(np.abs(np.array(detection['bbox']) - annotation['bbox']) < 0.25 * size)


def test_boxes_lie_in_the_picture_and_hold_the_visible_keypoints(annotations):
    for (height, width), annotation in annotations:
        x, y, box_width, box_height = annotation['bbox']
        assert x >= 0 and y >= 0 and x + box_width <= width and y + box_height <= height
        places, visibility = keypoints_of(annotation)
        seen = places[visibility == 2]
        assert np.all(seen >= np.array([x, y]) - 3)
        assert np.all(seen <= np.array([x + box_width, y + box_height]) + 3)


def test_visible_keypoints_lie_in_the_silhouette(annotations):
    inside = []
    for (height, width), annotation in annotations:
        assert all(len(polygon) >= 6 for polygon in annotation['segmentation'])
        mask = mask_of(annotation, (height, width))
        places, visibility = keypoints_of(annotation)
        columns, rows = np.round(places[visibility == 2]).astype(int).T
        inside += mask[rows, columns].tolist()
    assert np.mean(inside) >= 0.98


def test_flags_and_counts(annotations):
    shares = np.zeros(3)
    for (height, width), annotation in annotations:
        places, visibility = keypoints_of(annotation)
        assert set(visibility) <= {0, 1, 2}
        assert annotation['num_keypoints'] == np.count_nonzero(visibility) >= 5
        assert np.all(places[visibility == 0] == 0)
        labelled = places[visibility > 0]
        assert np.all(labelled >= 0) and np.all(labelled <= (width - 1, height - 1))
        assert annotation['area'] >= 1500
        shares += np.bincount(visibility.astype(int), minlength=3)
    assert np.all(shares > 0) and shares[2] > 0.7 * shares.sum()


def test_left_and_right_follow_the_view(annotations):
    nose, left, right = (COCO.keypoint_names.index(name) for name in ('nose', 'left_shoulder', 'right_shoulder'))
    left_is_at_the_right = {True: [], False: []}
    for _, annotation in annotations:
        places, visibility = keypoints_of(annotation)
        if visibility[left] and visibility[right] and np.ptp(places[[left, right], 0]) > 5:
            left_is_at_the_right[bool(visibility[nose])].append(places[left, 0] > places[right, 0])
    assert np.mean(left_is_at_the_right[True]) > 0.95
    assert np.mean(left_is_at_the_right[False]) < 0.3  # some noses are missing because the border cuts them off


def test_bones_are_never_longer_than_the_body_allows():
    rng = np.random.default_rng(0)
    for _ in range(50):
        figure = sample_figure(rng, 200.0)
        for first, last in (('left_hip', 'left_knee'), ('right_shoulder', 'right_elbow')):
            length = np.linalg.norm(figure.points[first] - figure.points[last])
            assert length == pytest.approx(200 * (0.235 if 'hip' in first else 0.158))


def test_canvas_paints_where_it_is_told():
    canvas = Canvas(np.zeros((60, 80, 3), np.uint8))
    canvas.fill(capsule(np.array([20.0, 30.0]), np.array([60.0, 30.0]), 6.0, 6.0), (255, 255, 255), part=7)
    assert canvas.parts[30, 40] == 7 and canvas.parts[40, 40] == 0
    rows, columns = np.nonzero(canvas.picture()[:, :, 0] > 127)
    assert np.mean(rows) == pytest.approx(30, abs=0.1) and np.mean(columns) == pytest.approx(40, abs=0.1)
    blue, green, red = sample_color(np.random.default_rng(0), (1, 1), (1, 1), hue=(240, 240))
    assert (blue, green, red) == (255, 0, 0)


# Pairs

def test_pairs_stand_on_one_ground_and_overlap_as_asked():
    rng = np.random.default_rng(0)
    sides = []
    for iou in np.tile(np.linspace(min(IOU_RANGES.values())[0], max(IOU_RANGES.values())[1], 6), 5):
        behind, front = sample_pair(rng, 200.0, iou)
        assert iou_of(box_of_body(behind), box_of_body(front)) == pytest.approx(iou, abs=1e-6)
        assert HEIGHT_RANGE[0] / DISTANCE_RANGE[1] < behind.stature / front.stature < HEIGHT_RANGE[1]
        assert front.stature == 200 and 0 < front.extent_xyxy[3] - behind.extent_xyxy[3] < 0.2 * 200
        sides.append(behind.extent_xyxy[0] > front.extent_xyxy[0])
    assert 0.2 < np.mean(sides) < 0.8


def overlaps_of(pairs):
    return np.array([iou_of(corners_of(behind), corners_of(front)) for _, behind, front in pairs])


@pytest.mark.parametrize('split', IOU_RANGES)
def test_pairs_of_a_split_overlap_as_they_should(split, pairs):
    if split != 'val2017':
        pairs = [(None, *make_picture(11, split, index, pair_share=1.0).annotations) for index in range(1, 61)]
    overlaps, wanted = overlaps_of(pairs), IOU_RANGES[split]
    # Uniform, but for limbs thicker or thinner than the average, and people cut off by the border.
    assert overlaps.mean() == pytest.approx(np.mean(wanted), abs=0.07)
    assert overlaps.std() == pytest.approx(np.ptp(wanted) / 12 ** 0.5, abs=0.05)
    assert np.all(np.abs(overlaps - np.mean(wanted)) < np.ptp(wanted) / 2 + 0.2)


def test_hidden_people_are_annotated_as_if_nobody_stood_in_front(pairs):
    """Boxes, areas and outlines are whole, and every keypoint inside the picture is labelled, however hidden."""
    in_own, in_front, num_hidden = [], [], []
    for (height, width), behind, front in pairs:
        left, top, right, bottom = corners_of(behind)
        assert left >= 0 and top >= 0 and right <= width and bottom <= height
        mask, mask_of_front = mask_of(behind, (height, width)), mask_of(front, (height, width), 9)
        exact = mask_of(behind, (height, width), 1)
        assert behind['bbox'] == pytest.approx(box_of(exact), abs=2)
        assert behind['area'] == pytest.approx(np.count_nonzero(exact), rel=0.15)
        places, visibility = keypoints_of(behind)
        columns, rows = np.round(places[visibility > 0]).astype(int).T
        in_own += mask[rows, columns].tolist()
        columns, rows = np.round(places[visibility == 1]).astype(int).T
        in_front += mask_of_front[rows, columns].tolist()
        num_hidden.append(np.count_nonzero(visibility == 1))
        assert np.count_nonzero(visibility == 2) >= MIN_SEEN_BEHIND
        assert np.count_nonzero(keypoints_of(front)[1] == 2) >= MIN_SEEN
    assert np.mean(in_own) > 0.97 and np.mean(in_front) > 0.8
    assert 5 < np.mean(num_hidden) < 10


def test_splits_of_a_crowded_set(crowded_root, tmp_path):
    write_synthetic_coco(str(tmp_path), num_train=16, num_val=4, seed=3, pair_share=0.5)
    assert load_files(tmp_path) == load_files(crowded_root)
    counts = {}
    for split in (*SPLITS, 'moderate2017', 'singles2017'):
        coco_file = pycocotools.coco.COCO(os.path.join(crowded_root, f'annotations/person_keypoints_{split}.json'))
        counts[split] = [len(coco_file.getAnnIds(imgIds=index)) for index in coco_file.getImgIds()]
        assert all(os.path.isfile(os.path.join(crowded_root, split, record['file_name']))
                   for record in coco_file.imgs.values())
    assert counts['val2017'] == counts['moderate2017'] == [2] * 4 and counts['singles2017'] == [1] * 4
    assert set(counts['train2017']) == {1, 2} and len(counts['train2017']) == 16


def test_the_marker_tells_the_sets_apart(tmp_path):
    arguments = {'num_train': 1, 'num_val': 1, 'seed': 3}
    usual = write_synthetic_coco(str(tmp_path), **arguments)
    assert 'pair_share' not in json.loads((tmp_path / MARKER_NAME).read_text())['arguments']
    for share in (0.5, 1.0):
        crowded = write_synthetic_coco(str(tmp_path), **arguments, pair_share=share)
        assert not crowded.reused and crowded.num_people['singles2017'] == 1
        assert write_synthetic_coco(str(tmp_path), **arguments, pair_share=share).reused
    again = write_synthetic_coco(str(tmp_path), **arguments)
    assert not again.reused and again.num_people == usual.num_people
    assert not write_synthetic_ochuman(str(tmp_path), num_val=1, seed=3).reused


def test_ochuman_layout(crowded_root, tmp_path, monkeypatch, capsys):
    """The pairs of val2017 with OCHuman's names; an area is that of the box."""
    monkeypatch.setattr('sys.argv', ['synthetic', '--root', str(tmp_path), '--ochuman', '--num_val', '4',
                                     '--seed', '3'])
    main()
    assert f'annotations in {tmp_path}/{OCHUMAN_FILE}' in capsys.readouterr().out
    assert sorted(os.listdir(tmp_path / 'images')) == [f'{index:06d}.jpg' for index in range(1, 5)]
    ours = pycocotools.coco.COCO(str(tmp_path / OCHUMAN_FILE)).anns
    theirs = pycocotools.coco.COCO(os.path.join(crowded_root, 'annotations/person_keypoints_val2017.json')).anns
    assert sorted(ours) == list(range(1, 9)) == sorted(theirs)
    for number, annotation in ours.items():
        assert annotation['area'] == annotation['bbox'][2] * annotation['bbox'][3] > theirs[number]['area']
        assert {**annotation, 'area': 0} == {**theirs[number], 'area': 0}
    pictures = (tmp_path / 'images' / '000004.jpg', os.path.join(crowded_root, 'val2017', '000000000004.jpg'))
    assert np.array_equal(*(cv2.imread(str(path)) for path in pictures))


# Folders

def test_a_complete_set_is_reused(data_root, capsys):
    made = write_synthetic_coco(data_root, num_train=NUM_TRAIN, num_val=NUM_VAL, seed=3)
    assert made.reused and 'already holds' in capsys.readouterr().out
    assert made.num_people['train2017'] >= NUM_TRAIN


def test_a_damaged_set_is_repaired(tmp_path):
    arguments = {'num_train': 2, 'num_val': 1, 'seed': 5}
    write_synthetic_coco(str(tmp_path), **arguments)
    os.remove(tmp_path / 'train2017' / '000000000002.jpg')
    assert not write_synthetic_coco(str(tmp_path), **arguments).reused
    assert (tmp_path / 'train2017' / '000000000002.jpg').is_file()


@pytest.mark.parametrize('wrong', [{'num_train': 0}, {'num_val': -1}, {'seed': -1}, {'image_size': (480, 20)},
                                   {'pair_share': 1.2}, {'pair_share': -0.1}, {'pair_share': float('nan')}])
def test_wrong_arguments_are_refused(tmp_path, wrong):
    arguments = {'num_train': 1, 'num_val': 1, 'seed': 0, **wrong}
    with pytest.raises(ValueError, match='|'.join(('at least 1', 'seed', 'image_size', 'pair_share'))):
        write_synthetic_coco(str(tmp_path / 'new'), **arguments)
    assert not (tmp_path / 'new').exists()


def test_other_peoples_folders_are_left_alone(tmp_path):
    file = tmp_path / 'file'
    file.write_text('not a folder')
    with pytest.raises(OSError, match='cannot write the synthetic data set'):
        write_synthetic_coco(str(file), num_train=1, num_val=1, seed=0)
    real = tmp_path / 'annotations' / 'person_keypoints_val2017.json'
    real.parent.mkdir()
    real.write_text('{}')
    with pytest.raises(FileExistsError, match='not synthetic'):
        write_synthetic_coco(str(tmp_path), num_train=1, num_val=1, seed=0)
    assert real.read_text() == '{}'
