"""Samples of several people in one crop: who the neighbours are, and what of them is kept (arXiv 2101.11223)."""
import dataclasses
import json

import cv2
import numpy as np
import pytest

from src.config import load_recipe, resolve
from src.data.coco import load_coco_people
from src.data.geometry import crop_matrix, transform_points
from src.data.loader import BatchPlan, TrainingBatches, iterate_batches
from src.data.neighbours import nearest_neighbours
from src.data.people import People
from src.data.samples import PersonSamples, mirror_keypoints
from src.data.skeletons import COCO
from src.models.common.crops import SimplePoseCrops
from src.models.mipnet.crops import MIPNetCrops
from src.models.registry import model_of

INPUT_SHAPE = (256, 192)
IDENTITY = np.array([[1.0, 0, 0], [0, 1, 0]])
PICTURE_SIZE = (400, 320)


def people_of(image_index, boxes, keypoints=None):
    count = len(image_index)
    pictures = max(image_index) + 1
    keypoints = np.zeros((count, 17, 3), np.int32) if keypoints is None else np.asarray(keypoints)
    return People(np.arange(pictures), np.array([b'%d.png' % number for number in range(pictures)]),
                  np.tile(PICTURE_SIZE, (pictures, 1)), np.array(image_index, np.int32),
                  np.array(boxes, np.float64).reshape(count, 4), np.ones(count), keypoints)


# Neighbours

def neighbours_one_by_one(people, count):
    """Spec by hand: for each person all others of the picture in the order of the file, a stable sort by distance."""
    table = []
    for person in range(len(people)):
        x, y, width, height = people.boxes_xywh[person]
        others = []
        for other in range(len(people)):
            if other != person and people.image_index[other] == people.image_index[person]:
                left, top, wide, high = people.boxes_xywh[other]
                others.append(((x + width / 2 - left - wide / 2) ** 2 + (y + height / 2 - top - high / 2) ** 2, other))
        nearest = [other for _, other in sorted(others, key=lambda pair: pair[0])][:count]
        table.append(nearest + [person] * (count - len(nearest)))
    return table


@pytest.mark.parametrize('count', [1, 2, 3])
@pytest.mark.parametrize('grid', [1, 40], ids=['free', 'many ties'])
def test_neighbours_equal_those_found_one_by_one(count, grid):
    rng = np.random.default_rng(count)
    people = people_of(rng.integers(0, 60, 200), rng.integers(0, 200, (200, 4)) // grid * grid)
    assert len(set(np.bincount(people.image_index).tolist())) > 4
    neighbours = nearest_neighbours(people, count)
    assert neighbours.shape == (200, count) and neighbours.dtype == np.int32
    assert neighbours.tolist() == neighbours_one_by_one(people, count)


def test_the_first_of_the_file_wins_a_tie():
    left, right = [0, 0, 10, 10], [20, 0, 10, 10]
    middle = [10, 0, 10, 10]
    assert nearest_neighbours(people_of([0] * 3, [right, middle, left]), 1)[1] == 0
    assert nearest_neighbours(people_of([0] * 3, [left, middle, right]), 2).tolist() == [[1, 2], [0, 2], [1, 0]]
    # Two in the same place are nearest to each other, not to themselves.
    assert nearest_neighbours(people_of([0] * 3, [left, left, left]), 1).tolist() == [[1], [0], [0]]


def test_who_is_missing_is_filled_up_with_the_person_itself():
    boxes = [[0, 0, 10, 10], [50, 0, 10, 10], [5, 0, 10, 10]]
    people = people_of([0, 1, 1], boxes)
    assert nearest_neighbours(people, 1).tolist() == [[0], [2], [1]]
    assert nearest_neighbours(people, 3).tolist() == [[0, 0, 0], [2, 1, 1], [1, 2, 2]]


def test_neighbours_are_those_of_the_clipped_boxes(tmp_path):
    """A box that reaches far out of the picture would have its center elsewhere."""
    keypoints = [150, 150, 2] * 17
    boxes = ([100, 100, 40, 40], [150, 100, 400, 40], [100, 190, 40, 40])
    content = {'images': [{'id': 1, 'file_name': '1.jpg', 'width': 200, 'height': 300}],
               'annotations': [{'id': number, 'image_id': 1, 'category_id': 1, 'iscrowd': 0, 'area': 1600, 'bbox': box,
                                'keypoints': keypoints} for number, box in enumerate(boxes, 1)]}
    path = tmp_path / 'people.json'
    path.write_text(json.dumps(content))
    nearest = {rule: nearest_neighbours(load_coco_people(str(path), COCO, sample_rule=rule), 1)[0, 0]
               for rule in ('mspn', 'simple_pose')}
    assert MIPNetCrops().sample_rule == 'simple_pose' and nearest == {'mspn': 2, 'simple_pose': 1}


# What is kept of whom

def placed(*people, dtype=np.float64, matrix=IDENTITY):
    """[(x, y, v), ...] of each person -> joints and validity."""
    return MIPNetCrops.place_keypoints(np.array(people, dtype), matrix, INPUT_SHAPE)


def test_joints_outside_the_crop_are_gone_also_those_of_the_first_person():
    """x = W and y = H count as inside, which is one pixel beyond the last."""
    first = [(0, 0, 2), (192, 256, 1), (192.01, 5, 2), (5, 256.01, 2), (-0.01, 5, 2), (5, -0.01, 2), (5, 5, 0)]
    joints, validity = placed(first)
    assert validity.tolist() == [[1, 1, 0, 0, 0, 0, 0]]
    np.testing.assert_array_equal(joints[0], [(0, 0), (192, 256), (0, 0), (0, 0), (0, 0), (0, 0), (5, 5)])


@pytest.mark.parametrize('dtype', [np.float32, np.int32])
def test_places_are_not_rounded(dtype):
    matrix = IDENTITY + np.array([[0, 0, 0.6], [0, 0, 0.25]])
    joints, _ = placed([(7, 9, 2)] * 5, [(3, 4, 1)] * 5, dtype=dtype, matrix=matrix)
    np.testing.assert_allclose(joints, [[(7.6, 9.25)] * 5, [(3.6, 4.25)] * 5])


@pytest.mark.parametrize('left, unlabelled, kept', [(3, 0, False), (3, 2, False), (4, 0, True), (0, 5, False)])
def test_a_neighbour_needs_four_labelled_joints_in_the_crop(left, unlabelled, kept):
    first = [(10 + k, 20, 2) for k in range(6)]
    second = [(100, 30 + k, 0 if k < unlabelled else 1 + k % 2) if k < left + unlabelled else (500, 30, 2)
              for k in range(6)]
    joints, validity = placed(first, second, second)
    np.testing.assert_array_equal(joints[0], [(10 + k, 20) for k in range(6)])
    np.testing.assert_array_equal(validity[0], np.ones(6))
    np.testing.assert_array_equal(joints[1], joints[2])
    if kept:
        assert validity[1].tolist() == [1] * left + [0] * (6 - left)
        np.testing.assert_array_equal(joints[1, :left], [(100, 30 + k) for k in range(left)])
    else:
        np.testing.assert_array_equal(joints[1], joints[0])
        np.testing.assert_array_equal(validity[1], validity[0])


def test_the_first_person_stays_however_little_of_it_is_left():
    first, second = [(10, 20, 2), *[(-5, 0, 2)] * 5], [(100, 30, 2)] * 6
    joints, validity = placed(first, second)
    assert validity.tolist() == [[1, 0, 0, 0, 0, 0], [1] * 6] and joints[0, 0].tolist() == [10, 20]
    # Who stands in for a neighbour is the first person as it is left, not as it was annotated.
    assert placed(first, [(500, 0, 2)] * 6)[1].tolist() == [[1, 0, 0, 0, 0, 0]] * 2


def test_all_people_are_mirrored():
    table = np.random.default_rng(0).integers(0, 300, (3, 17, 3))
    mirrored = mirror_keypoints(table, 400, COCO.flip_index)
    for person, alone in zip(mirrored, table):
        np.testing.assert_array_equal(person, mirror_keypoints(alone, 400, COCO.flip_index))


# Whole samples

@pytest.fixture(scope='module')
def dotted(tmp_path_factory):
    """Three people on one picture and one alone on another; the second person's keypoints are dots of 17 colors.

    Returns ({number of neighbours: samples}, colors).
    """
    rng = np.random.default_rng(7)
    tables = rng.integers((60, 50, 1), (340, 290, 3), (4, 17, 3))
    cells = rng.permutation([(x, y) for x in range(60, 360, 50) for y in range(50, 290, 48)])[:17]
    tables[1, :, :2] = cells
    tables[1, 16] = 0
    colors = np.array([(60 + 190 * (k % 2), 60 + 95 * (k // 2 % 3), 60 + 65 * (k // 6)) for k in range(17)])
    picture = np.zeros((*PICTURE_SIZE[::-1], 3), np.uint8)
    for (x, y, visibility), color in zip(tables[1].tolist(), colors.tolist()):
        if visibility:
            cv2.circle(picture, (x, y), 12, color, -1)
    folder = tmp_path_factory.mktemp('dotted')
    paths = [str(folder / f'{number}.png') for number in range(2)]
    for path in paths:
        assert cv2.imwrite(path, picture)
    boxes = [[60, 50, 200, 200], [100, 60, 260, 200], [240, 130, 120, 140], [60, 50, 260, 200]]
    people = people_of([0, 0, 0, 1], boxes, tables.astype(np.int32))
    return {count: PersonSamples(people, np.array([path.encode() for path in paths]), recipe, COCO, INPUT_SHAPE, seed=3)
            for count, recipe in ((0, SimplePoseCrops(half_body_probability=0.3)),
                                  (1, MIPNetCrops(half_body_probability=0.3)), (2, MIPNetCrops(num_neighbours=2)))
            }, colors


def sample_of(samples, index, epoch):
    crop = np.empty((*INPUT_SHAPE, 3), np.uint8)
    return (crop, *samples.training_sample(index, epoch, crop))


def test_the_crop_and_the_first_person_are_those_of_the_single_sample(dotted):
    """The same dice and the same crop; only what lies outside is not valid any more."""
    alone, together = dotted[0][0], dotted[0][1]
    gone = 0
    for epoch in range(20):
        crop, joints, validity = sample_of(together, 0, epoch)
        its_crop, its_joints, its_validity = sample_of(alone, 0, epoch)
        np.testing.assert_array_equal(crop, its_crop)
        assert joints.shape == (2, 17, 2) and validity.shape == (2, 17)
        inside = (its_joints >= 0).all(axis=1) & (its_joints <= [192, 256]).all(axis=1)
        np.testing.assert_array_equal(validity[0], its_validity * inside)
        np.testing.assert_array_equal(joints[0], its_joints * inside[:, None])
        gone += (~inside).sum()
    assert gone > 20


def test_dots_lie_under_the_neighbours_keypoints(dotted):
    """The crop is around the first person; what is painted are the keypoints of the second."""
    samples, colors = dotted[0][1], dotted[1]
    assert samples.neighbours[:, 0].tolist() == [1, 0, 1, 3]
    checked = mirrored = replaced = 0
    for epoch in range(60):
        flip = samples.crops.draw_dice(np.random.default_rng((3, epoch, 2))).flip < 0.5
        crop, joints, validity = sample_of(samples, 2, epoch)
        if np.array_equal(joints[0], joints[1]):
            np.testing.assert_array_equal(validity[0], validity[1])
            replaced += 1
            continue
        assert validity[1].sum() >= 4
        for (x, y), valid, color in zip(joints[1], validity[1], colors[COCO.flip_index] if flip else colors):
            if valid and x < 191 and y < 255:
                np.testing.assert_allclose(crop[int(y + 0.5), int(x + 0.5)].astype(int), color, atol=2)
                checked += 1
                mirrored += flip
    # Whether enough of the neighbour is in the crop is decided anew in every epoch.
    assert checked > 300 and mirrored > 100 and 0 < replaced < 30


def test_three_people_in_a_crop(dotted):
    samples = dotted[0][2]
    assert samples.neighbours.tolist() == [[1, 2], [0, 2], [1, 0], [3, 3]]
    people = samples.people
    for epoch in range(10):
        _, joints, validity = sample_of(samples, 0, epoch)
        dice = samples.crops.draw_dice(np.random.default_rng((3, epoch, 0)))
        crop = samples.crops.train_crop(people.boxes_xywh[0], people.keypoints[0], COCO.is_upper_body, 0.75,
                                         PICTURE_SIZE[0], dice)
        matrix = crop_matrix(crop.center, crop.scale, crop.rotation_degrees, INPUT_SHAPE[::-1])
        for person, place in zip((0, 1, 2), range(3)):
            table = people.keypoints[person]
            if crop.flip:
                table = mirror_keypoints(table, PICTURE_SIZE[0], COCO.flip_index)
            expected = transform_points(table[:, :2].astype(float), matrix)
            inside = (expected >= 0).all(axis=1) & (expected <= [192, 256]).all(axis=1) & (table[:, 2] > 0)
            if place and inside.sum() < 4:
                np.testing.assert_array_equal(joints[place], joints[0])
            else:
                np.testing.assert_array_equal(validity[place], inside)
                np.testing.assert_allclose(joints[place][inside], expected[inside])


@pytest.mark.parametrize('count', [1, 2])
def test_a_person_alone_is_shown_as_often_as_there_are_hypotheses(dotted, count):
    _, joints, validity = sample_of(dotted[0][count], 3, 0)
    assert joints.shape == (count + 1, 17, 2) and validity[0].any()
    for place in range(1, count + 1):
        np.testing.assert_array_equal(joints[place], joints[0])
        np.testing.assert_array_equal(validity[place], validity[0])


def test_neighbours_follow_the_people(dotted):
    samples = dotted[0][1]
    fewer = dataclasses.replace(samples, people=samples.people.select(np.array([0, 2, 3])))
    assert fewer.neighbours.tolist() == [[1], [0], [2]]


@pytest.mark.parametrize('num_workers', [0, 2])
def test_batches_of_several_people(dotted, num_workers):
    samples = dotted[0][2]
    plan = BatchPlan(len(samples), 3, 1, seed=1)
    batches = list(iterate_batches(TrainingBatches(samples, plan), num_workers=num_workers))
    assert [len(rows) for *_, rows in batches] == [3, 1]
    for pixels, joints, validity, rows in batches:
        count = len(rows)
        assert pixels.shape == (count, *INPUT_SHAPE, 3)
        assert joints.shape == (count, 3, 17, 2) and joints.dtype == np.float32
        assert validity.shape == (count, 3, 17) and validity.dtype == np.float32
        for place, row in enumerate(rows.tolist()):
            _, its_joints, its_validity = sample_of(samples, row, 0)
            np.testing.assert_allclose(joints[place], its_joints, rtol=1e-6)
            np.testing.assert_array_equal(validity[place], its_validity)


@pytest.mark.parametrize('num_instances', [2, 3, 4])
@pytest.mark.parametrize('backbone', ['hrnet', 'pose_resnet'])
def test_recipes_build_the_crops(backbone, num_instances):
    config = resolve(load_recipe('base'), {'MODEL.NAME': 'mipnet', 'MIPNET.BACKBONE': backbone,
                                           'MIPNET.NUM_INSTANCES': num_instances, 'DATASET.ROT_FACTOR': 45,
                                           'DATASET.SCALE_FACTOR': 0.35, 'DATASET.HALF_BODY_PROBABILITY': 0.3})
    assert model_of(config).crops(config) == MIPNetCrops(
        scale_factor=0.35, rotation_factor=45.0, half_body_probability=0.3, num_neighbours=num_instances - 1)
