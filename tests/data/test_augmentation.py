"""What a sample shows: the original's test crops, the dice of both recipes, and keypoints that follow the picture."""
import dataclasses
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from golden_data import FULL_FOLDER, golden

from src.config import load_recipe, resolve
from src.data.crops import Crop
from src.data.geometry import crop_matrix, transform_points
from src.data.images import read_picture
from src.data.people import People
from src.data.samples import PersonSamples, cut_crop, mirror_keypoints
from src.data.skeletons import COCO, CROWDPOSE, MPII
from src.models.common.crops import SimplePoseCrops
from src.models.mspn.crops import MSPNCrops
from src.models.registry import model_of

RECIPES = {'mspn': MSPNCrops(), 'simple': SimplePoseCrops()}
INPUT_SHAPE, ASPECT = (256, 192), 0.75
VAL_PICTURES = FULL_FOLDER.parent / 'data' / 'coco-mini' / 'val2017'
BOX = np.array([100.0, 60, 90, 200])
PICTURE_WIDTH = 400
NUM_DRAWS = 4000
IDENTITY = np.array([[1.0, 0, 0], [0, 1, 0]])


def keypoints_in_box(seed=0, visibility=2):
    """(17, 3) int: the upper 13 keypoints in the upper half of BOX, knees and ankles below."""
    rng = np.random.default_rng(seed)
    table = np.full((17, 3), visibility)
    table[:, 0] = rng.integers(105, 185, 17)
    table[:13, 1], table[13:, 1] = rng.integers(65, 150, 13), rng.integers(165, 255, 4)
    return table


@cache
def drawn(kind):
    """Dice and crops of many samples of one person with all keypoints."""
    recipe, keypoints = RECIPES[kind], keypoints_in_box()
    dice = [recipe.draw_dice(np.random.default_rng((1, index))) for index in range(NUM_DRAWS)]
    return dice, [recipe.train_crop(BOX, keypoints, COCO.is_upper_body, ASPECT, PICTURE_WIDTH, each) for each in dice]


def mspn_crop(keypoints=None, recipe=RECIPES['mspn'], **dice):
    """The crop for given dice; where nothing is said: no extension, no half body, no jitter, rotation or flip."""
    plain = {'extension': np.zeros(2), 'half_body': 1.0, 'side': 0.0, 'half_body_extension': np.zeros(2), 'scale': 0.5,
             'rotate': 1.0, 'angle': 0.5, 'flip': 1.0, **dice}
    thrown = dataclasses.replace(recipe.draw_dice(np.random.default_rng(0)), **plain)
    keypoints = keypoints_in_box() if keypoints is None else keypoints
    return recipe.train_crop(BOX, keypoints, COCO.is_upper_body, ASPECT, PICTURE_WIDTH, thrown)


def simple_crop(recipe=RECIPES['simple'], **dice):
    plain = {'scale': 0.0, 'angle': 0.0, 'rotate': 1.0, 'flip': 1.0, **dice}
    thrown = dataclasses.replace(recipe.draw_dice(np.random.default_rng(0)), **plain)
    return recipe.train_crop(BOX, keypoints_in_box(), COCO.is_upper_body, ASPECT, PICTURE_WIDTH, thrown)


def assert_same_crop(ours, expected):
    np.testing.assert_allclose(ours.center, expected.center, rtol=1e-6)
    np.testing.assert_allclose(ours.scale, expected.scale, rtol=1e-6)
    assert (ours.rotation_degrees, ours.flip) == (expected.rotation_degrees, expected.flip)


# The test crop

@pytest.mark.parametrize('kind', RECIPES)
def test_test_crops_lie_where_the_original_has_them(kind):
    arrays = golden('crops')
    for index, box in enumerate(arrays['bboxes']):
        crop = RECIPES[kind].test_crop(box, ASPECT)
        assert crop.center.dtype == crop.scale.dtype == np.float32
        np.testing.assert_allclose(crop.center, arrays[f'{kind}_center_{index}'], rtol=1e-6)
        np.testing.assert_allclose(crop.scale, arrays[f'{kind}_scale_{index}'], rtol=1e-6)
        assert crop.rotation_degrees == 0 and not crop.flip


@pytest.mark.skipif(not VAL_PICTURES.is_dir() or 'mspn_0' not in golden('crops'),
                    reason='the pictures of the golden crops (../shared) are not here; only their places are tested')
@pytest.mark.parametrize('kind', RECIPES)
def test_test_crops_equal_the_original(kind):
    """At most one grey level on at most 0.1 % of the values, with the OpenCV that the original ran on.

    OpenCV 4 interpolates in fixed point with weights of five bits, and differs from OpenCV 5 by a few grey levels.
    """
    arrays = golden('crops')
    for index, (name, box) in enumerate(zip(arrays['files'], arrays['bboxes'])):
        picture = read_picture(str(VAL_PICTURES / name), honour_exif=RECIPES[kind].honours_exif)
        out = np.empty((*INPUT_SHAPE, 3), np.uint8)
        cut_crop(picture, RECIPES[kind].test_crop(box, ASPECT), out)
        difference = np.abs(out.astype(int) - arrays[f'{kind}_{index}'])
        if int(cv2.__version__.split('.')[0]) >= 5:
            assert difference.max() <= 1 and np.mean(difference > 0) <= 1e-3
        else:
            assert difference.max() <= 5 and np.mean(difference > 1) <= 1e-2


def test_test_crops_of_both_recipes_in_numbers():
    """MSPN pads before it fits the aspect, Simple Baselines behind."""
    box = np.array([100.0, 60, 90, 200])
    assert_same_crop(MSPNCrops().test_crop(box, ASPECT), Crop(np.array([145, 160]), np.array([0.85125, 1.135])))
    assert_same_crop(SimplePoseCrops().test_crop(box, ASPECT), Crop(np.array([145, 160]), np.array([0.9375, 1.25])))
    wide = np.array([0.0, 0, 300, 100])
    assert_same_crop(MSPNCrops().test_crop(wide, ASPECT), Crop(np.array([150, 50]), np.array([1.635, 2.18])))


# MSPN's dice

def test_mspn_scale_range():
    _, crops = drawn('mspn')
    recipe = dataclasses.replace(RECIPES['mspn'], random_extension=False, half_body_probability=0.0)
    plain = fit = 1.05 * 200 / 200                          # the height rules: 0.75 * 200 is more than 90
    dice, _ = drawn('mspn')
    heights = np.array([recipe.train_crop(BOX, keypoints_in_box(), COCO.is_upper_body, ASPECT, PICTURE_WIDTH, each)
                        .scale[1] for each in dice]) / plain
    assert 0.6 <= heights.min() < 0.605 and 0.995 < heights.max() <= 1.0
    np.testing.assert_allclose(np.histogram(heights, 4, (0.6, 1.0))[0] / NUM_DRAWS, 0.25, atol=0.03)
    # With the random extension the height grows by up to 80 % more.
    full = [crop.scale[1] for crop, each in zip(crops, dice) if each.half_body >= 0.3]
    assert 0.6 * fit <= min(full) and fit * 1.7 < max(full) <= fit * 1.8
    for crop in crops:
        assert crop.scale[0] / crop.scale[1] == pytest.approx(ASPECT, rel=1e-5)


def test_mspn_extension_in_numbers():
    assert mspn_crop().scale == pytest.approx([0.75 * 1.05 * 0.8, 1.05 * 0.8])
    tall = mspn_crop(extension=np.array([0.5, 0.25])).scale
    assert tall == pytest.approx([0.75 * 1.05 * 1.2 * 0.8, 1.05 * 1.2 * 0.8])
    off = dataclasses.replace(RECIPES['mspn'], random_extension=False)
    assert mspn_crop(recipe=off, extension=np.ones(2)).scale == pytest.approx([0.63, 0.84])
    assert mspn_crop(scale=0.0).scale[1] == pytest.approx(1.05 * 0.8 * 0.75)


def test_mspn_rotation_and_flip_shares():
    _, crops = drawn('mspn')
    angles = np.array([crop.rotation_degrees for crop in crops])
    assert np.mean(angles != 0) == pytest.approx(0.5, abs=0.03)
    turned = angles[angles != 0]
    assert -45 <= turned.min() < -44 and 44 < turned.max() <= 45
    np.testing.assert_allclose(np.histogram(turned, 4, (-45, 45))[0] / len(turned), 0.25, atol=0.04)
    assert np.mean([crop.flip for crop in crops]) == pytest.approx(0.5, abs=0.03)


def test_mspn_half_body_shares():
    """Upper body in 69 % of the cases, since a normal number is compared with 0.5; lower body in the others."""
    dice, crops = drawn('mspn')
    table = keypoints_in_box()
    upper, lower = ((part.min(axis=0) + part.max(axis=0)) / 2 for part in (table[:13, :2], table[13:, :2]))
    rows = {'upper': 0, 'lower': 0, 'box': 0}
    for crop in crops:
        center = np.array([PICTURE_WIDTH - crop.center[0] - 1 if crop.flip else crop.center[0], crop.center[1]])
        where = {'upper': upper, 'lower': lower, 'box': np.array([145, 160])}
        rows[min(where, key=lambda name: np.abs(where[name] - center).sum())] += 1
    half = rows['upper'] + rows['lower']
    assert half / NUM_DRAWS == pytest.approx(0.3, abs=0.025)
    assert rows['upper'] / half == pytest.approx(0.691, abs=0.04)
    assert np.mean([each.side < 0.5 for each in dice]) == pytest.approx(0.691, abs=0.03)


def test_half_body_replaces_the_box():
    table = np.zeros((17, 3), int)
    table[:5] = [[10, 20, 2], [50, 20, 2], [10, 180, 1], [30, 90, 2], [40, 100, 2]]
    crop = mspn_crop(table, half_body=0.0, side=0.0, extension=np.ones(2))
    assert crop.center.tolist() == [30, 100]
    assert crop.scale == pytest.approx([0.75 * 0.8 * 0.8, 0.8 * 0.8])
    wider = mspn_crop(table, half_body=0.0, half_body_extension=np.array([1.0, 0.5]))
    assert wider.scale == pytest.approx([0.75 * 0.8 * 1.4 * 0.8, 0.8 * 1.4 * 0.8])


@pytest.mark.parametrize('labelled, side, chosen', [
    (range(3), 0.0, None),                     # three labelled keypoints are too few
    (range(4), 0.0, range(4)),
    (range(4), 1.0, range(4)),                 # the lower body has too few: the upper one after all
    (range(17), 0.0, range(13)),
    (range(17), 1.0, range(13, 17)),
    ([0, 1, 2, 13, 14, 15, 16], 0.0, range(13, 17)),
    ([0, 1, 2, 13, 14, 15], 0.0, range(3)),    # neither half has four: the upper three
    ([0, 1, 13, 14, 15], 0.0, None),           # two are too few to replace the box
])
def test_half_body_choice(labelled, side, chosen):
    table = keypoints_in_box(visibility=0)
    table[list(labelled), 2] = 1
    crop = mspn_crop(table, half_body=0.0, side=side)
    if chosen is None:
        assert_same_crop(crop, mspn_crop(table))
    else:
        places = table[list(chosen), :2]
        np.testing.assert_allclose(crop.center, (places.min(axis=0) + places.max(axis=0)) / 2)


def test_half_body_of_keypoints_in_one_place_keeps_the_box():
    table = np.tile([140, 100, 2], (17, 1))
    assert_same_crop(mspn_crop(table, half_body=0.0), mspn_crop(table))
    in_a_row = table.copy()
    in_a_row[:, 0] += np.arange(17)
    assert (mspn_crop(in_a_row, half_body=0.0).scale > 0).all()


# Simple Baselines' dice

def test_simple_pose_scale_rotation_and_flip_shares():
    dice, crops = drawn('simple')
    heights = np.array([crop.scale[1] for crop in crops]) / 1.25
    assert heights.min() == pytest.approx(0.7, abs=1e-6) and heights.max() == pytest.approx(1.3, abs=1e-6)
    # A normal number lies outside one standard deviation in 31.7 % of the cases, and is cut there.
    assert np.mean(np.isclose(heights, 0.7) | np.isclose(heights, 1.3)) == pytest.approx(0.317, abs=0.03)
    angles = np.array([crop.rotation_degrees for crop in crops])
    assert np.mean(angles != 0) == pytest.approx(0.6, abs=0.03)
    assert angles.min() == -80 and angles.max() == 80
    assert np.mean(np.abs(angles[angles != 0]) < 40) == pytest.approx(0.683, abs=0.03)
    assert np.mean([crop.flip for crop in crops]) == pytest.approx(0.5, abs=0.03)
    assert len({each.scale for each in dice}) == NUM_DRAWS


def test_simple_pose_crop_in_numbers():
    assert_same_crop(simple_crop(), Crop(np.array([145, 160]), np.array([0.9375, 1.25])))
    assert_same_crop(simple_crop(scale=0.5, rotate=0.59, angle=-1.5),
                     Crop(np.array([145, 160]), np.array([0.9375, 1.25]) * 1.15, -60.0))
    assert simple_crop(rotate=0.6, angle=1.0).rotation_degrees == 0
    assert simple_crop(rotate=0.0, angle=9.0).rotation_degrees == 80


@pytest.mark.parametrize('crop_of', [mspn_crop, simple_crop], ids=['mspn', 'simple'])
def test_flip_mirrors_the_center_and_keeps_the_angle(crop_of):
    angle = {'rotate': 0.0, 'angle': 0.75}
    plain, mirrored = crop_of(**angle), crop_of(flip=0.0, **angle)
    assert mirrored.flip and mirrored.rotation_degrees == plain.rotation_degrees != 0
    assert mirrored.center.tolist() == [PICTURE_WIDTH - plain.center[0] - 1, plain.center[1]]
    np.testing.assert_array_equal(mirrored.scale, plain.scale)


@pytest.mark.parametrize('crop_of, kind', [(mspn_crop, 'mspn'), (simple_crop, 'simple')], ids=RECIPES)
def test_flip_can_be_switched_off(crop_of, kind):
    off = dataclasses.replace(RECIPES[kind], flip=False)
    assert not crop_of(recipe=off, flip=0.0).flip


@pytest.mark.parametrize('kind', RECIPES)
def test_every_sample_takes_as_many_random_numbers(kind):
    """Otherwise one choice would change what the later numbers mean."""
    first, second = np.random.default_rng(5), np.random.default_rng(5)
    one, other = RECIPES[kind].draw_dice(first), RECIPES[kind].draw_dice(second)
    for field in dataclasses.fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))
    assert first.random() == second.random()


@pytest.mark.parametrize('name, kind', [('mspn_2stg_coco_256x192', MSPNCrops),
                                        ('simplepose_r50_coco_256x192', SimplePoseCrops)])
def test_recipes_build_the_published_crops(name, kind):
    assert model_of(load_recipe(name)).crops(load_recipe(name)) == kind()


# MSPN on MPII

def test_mspn_crops_of_mpii():
    """A fixed quarter around the person instead of a random extension, no shrinking, half bodies of more keypoints."""
    config = resolve(load_recipe('mspn_2stg_coco_256x192'), {
        'DATASET.PROTOCOL': 'mpii', 'DATASET.SKELETON': 'mpii', 'MODEL.NUM_JOINTS': 16,
        'DATASET.RANDOM_EXTENSION': False, 'DATASET.ROT_FACTOR': 60, 'DATASET.HALF_BODY_PROBABILITY': 0.5})
    recipe = model_of(config).crops(config)
    square = np.array([100.0, 60, 200, 200])
    assert_same_crop(recipe.test_crop(square, 1.0), Crop(np.array([200, 160]), np.array([1.25, 1.25])))
    keypoints = np.column_stack([np.arange(16) * 10 + 100, np.arange(16) * 5 + 60, np.full(16, 2)]).astype(np.float32)
    upper = recipe.upper_body(MPII)
    assert np.flatnonzero(upper).tolist() == list(range(7, 16))

    def crop(labelled=16, axes=(0, 1, 2), **dice):
        plain = {'extension': np.ones(2), 'half_body': 1.0, 'side': 0.0, 'half_body_extension': np.zeros(2),
                 'scale': 0.5, 'rotate': 1.0, 'angle': 0.5, 'flip': 1.0, **dice}
        table = keypoints[:, axes] * (np.arange(16) >= 16 - labelled)[:, None]
        return recipe.train_crop(square, table, upper, 1.0, PICTURE_WIDTH,
                                 dataclasses.replace(recipe.draw_dice(np.random.default_rng(0)), **plain))

    assert_same_crop(crop(), Crop(np.array([200, 160]), np.array([1.25, 1.25])))
    assert crop(rotate=0.0, angle=1.0).rotation_degrees == 60
    half = crop(half_body=0.49, half_body_extension=np.array([1.0, 1.0]))
    assert_same_crop(half, Crop(np.array([210, 115]), np.full(2, 80 * 1.6 / 200)))
    # The same lying down: both directions widen alike.
    half = crop(half_body=0.49, half_body_extension=np.array([1.0, 1.0]), axes=(1, 0, 2))
    assert_same_crop(half, Crop(np.array([115, 210]), np.full(2, 80 * 1.6 / 200)))
    assert crop(labelled=9, half_body=0.49).center.tolist() == [210, 115]
    assert crop(labelled=8, half_body=0.49).center.tolist() == [200, 160]


# HRNet's half bodies

HRNET = SimplePoseCrops(scale_factor=0.35, rotation_factor=45.0, half_body_probability=0.3)


def hrnet_crop(keypoints, **dice):
    plain = {'scale': 0.0, 'angle': 0.0, 'rotate': 1.0, 'flip': 1.0, 'side': 0.0, 'half_body': 0.0, **dice}
    thrown = dataclasses.replace(HRNET.draw_dice(np.random.default_rng(0)), **plain)
    return HRNET.train_crop(BOX, keypoints, HRNET.upper_body(COCO), ASPECT, PICTURE_WIDTH, thrown)


def test_upper_bodies_of_both_recipes():
    """MSPN counts COCO's hips among the upper body, HRNet does not; elsewhere they agree."""
    recipes = (RECIPES['mspn'], HRNET)
    assert [np.flatnonzero(recipe.upper_body(COCO)).tolist() for recipe in recipes] == [list(range(13)),
                                                                                        list(range(11))]
    for recipe in recipes:
        assert np.flatnonzero(recipe.upper_body(CROWDPOSE)).tolist() == [0, 1, 2, 3, 4, 5, 12, 13]
        assert np.flatnonzero(recipe.upper_body(MPII)).tolist() == list(range(7, 16))


def test_hrnet_half_body_in_numbers():
    """Around the mean of the keypoints, half as much again as their extent, in place of the padded box."""
    table = keypoints_in_box()
    for side, chosen in ((0.49, table[:11, :2]), (0.5, table[11:, :2])):
        width, height = np.ptp(chosen, axis=0)
        size = np.array([max(width, 0.75 * height), max(width / 0.75, height)])
        assert_same_crop(hrnet_crop(table, side=side), Crop(chosen.mean(axis=0), size * 1.5 / 200))
    mirrored, plain = hrnet_crop(table, flip=0.0), hrnet_crop(table)
    assert mirrored.center[0] == pytest.approx(PICTURE_WIDTH - plain.center[0] - 1)
    np.testing.assert_allclose(hrnet_crop(table, scale=9.0).scale, plain.scale * 1.35, rtol=1e-6)
    assert_same_crop(hrnet_crop(table, half_body=0.3), simple_crop())


@pytest.mark.parametrize('labelled, side, chosen', [
    (range(8), 0.0, None),                                  # eight labelled keypoints are too few
    (range(9), 0.0, range(9)),
    (range(9), 1.0, range(9)),                              # nothing below: the upper body after all
    ([0, 1, *range(11, 17)], 0.0, None),                    # eight again
    ([*range(8), 14, 15], 1.0, range(8)),                   # two below are too few
    ([*range(8), 14, 15, 16], 1.0, range(14, 17)),
    ([*range(8), 14, 15, 16], 0.49, range(8)),
])
def test_hrnet_half_body_choice(labelled, side, chosen):
    table = keypoints_in_box(visibility=0)
    table[list(labelled), 2] = 1
    crop = hrnet_crop(table, side=side)
    if chosen is None:
        assert_same_crop(crop, simple_crop())
    else:
        np.testing.assert_allclose(crop.center, table[list(chosen), :2].mean(axis=0), rtol=1e-6)


class HalvesOfFew(SimplePoseCrops):
    """HRNet's rule without the demand for more than eight keypoints, which some of its cases cannot meet."""

    half_body_min_keypoints = 0


@pytest.mark.parametrize('labelled, center', [((0, 1), [110, 75]), ((0,), [145, 160])])
def test_two_upper_keypoints_do_where_the_lower_ones_are_too_few(labelled, center):
    recipe, table = HalvesOfFew(half_body_probability=0.3), np.zeros((17, 3), int)
    table[[0, 1], :2] = [[100, 60], [120, 90]]
    table[list(labelled), 2] = 2
    thrown = dataclasses.replace(recipe.draw_dice(np.random.default_rng(0)), side=0.0, half_body=0.0, rotate=1.0,
                                 flip=1.0, scale=0.0)
    crop = recipe.train_crop(BOX, table, recipe.upper_body(COCO), ASPECT, PICTURE_WIDTH, thrown)
    assert crop.center.tolist() == center


def test_hrnet_half_body_shares():
    table = keypoints_in_box()
    dice = [HRNET.draw_dice(np.random.default_rng((3, index))) for index in range(NUM_DRAWS)]
    crops = [hrnet_crop(table, side=each.side, half_body=each.half_body) for each in dice]
    upper, lower = table[:11, :2].mean(axis=0), table[11:, :2].mean(axis=0)
    near_upper, near_lower = (np.mean([np.abs(crop.center - place).max() < 0.01 for crop in crops])
                              for place in (upper, lower))
    assert near_upper + near_lower == pytest.approx(0.3, abs=0.025)
    assert near_upper / (near_upper + near_lower) == pytest.approx(0.691, abs=0.04)


def test_settings_of_hrnet_reach_the_crops():
    config = resolve(load_recipe('base'), {'MODEL.NAME': 'hrnet', 'DATASET.HALF_BODY_PROBABILITY': 0.3,
                                           'DATASET.ROT_FACTOR': 45, 'DATASET.SCALE_FACTOR': 0.35})
    assert model_of(config).crops(config) == HRNET


# Keypoints in the crop

def placed(kind, places, dtype, visibility=2):
    """Places in the crop -> joints and validity behind the identity transform."""
    table = np.array([[*place, visibility] for place in places], dtype)
    return RECIPES[kind].place_keypoints(table, IDENTITY, INPUT_SHAPE)


def test_mspn_range_of_float_keypoints():
    places = [(0, 0), (191, 255), (-0.01, 5), (5, -0.01), (191.01, 5), (5, 255.01), (190.9, 254.9)]
    joints, validity = placed('mspn', places, np.float32)
    assert validity.tolist() == [2, 2, 0, 0, 0, 0, 2]
    np.testing.assert_allclose(joints, places, atol=1e-5)


def test_mspn_truncates_integer_keypoints():
    """The release's integer array drops fractions towards zero, so the range is really -1 < x < 192."""
    table = np.array([[10, 10, 2]] * 6)
    for offset, kept in ((-10.6, True), (-10.999, True), (-11.0, False), (181.7, True), (181.999, True),
                         (182.0, False)):
        matrix = IDENTITY + np.array([[0, 0, offset], [0, 0, 0.75]])
        joints, validity = RECIPES['mspn'].place_keypoints(table, matrix, INPUT_SHAPE)
        assert (validity == (2 if kept else 0)).all()
        assert joints[0].tolist() == [np.trunc(10 + offset), 10]


def test_mspn_keeps_the_visibility_of_keypoints_inside():
    table = np.array([[5, 5, 0], [5, 5, 1], [5, 5, 2], [500, 5, 1], [5, 500, 2]])
    _, validity = RECIPES['mspn'].place_keypoints(table, IDENTITY, INPUT_SHAPE)
    assert validity.tolist() == [0, 1, 2, 0, 0]


def test_simple_pose_keeps_keypoints_outside():
    joints, validity = placed('simple', [(5.5, 5), (-40, 5), (5, 700)], np.float32)
    assert validity.tolist() == [1, 1, 1]
    np.testing.assert_array_equal(joints, [(5.5, 5), (-40, 5), (5, 700)])
    assert placed('simple', [(5, 5)], int, visibility=1)[1].tolist() == [1]
    matrix = IDENTITY + np.array([[0, 0, 0.6], [0, 0, -5.7]])
    joints, _ = RECIPES['simple'].place_keypoints(np.array([[5, 5, 2]]), matrix, INPUT_SHAPE)
    np.testing.assert_allclose(joints, [[5.6, -0.7]])


@pytest.mark.parametrize('kind', RECIPES)
def test_keypoints_without_label_are_not_transformed(kind):
    joints, validity = RECIPES[kind].place_keypoints(np.zeros((2, 3)), 3 + IDENTITY, INPUT_SHAPE)
    assert not joints.any() and not validity.any()


def test_mirrored_keypoints():
    table = keypoints_in_box()
    before = table.copy()
    mirrored = mirror_keypoints(table, PICTURE_WIDTH, COCO.flip_index)
    np.testing.assert_array_equal(table, before)
    assert mirrored[5].tolist() == [PICTURE_WIDTH - table[6, 0] - 1, *table[6, 1:]]
    np.testing.assert_array_equal(mirror_keypoints(mirrored, PICTURE_WIDTH, COCO.flip_index), table)


# Whole samples

@pytest.fixture(scope='module')
def dotted(tmp_path_factory):
    """A person whose keypoints are dots of 17 colors: {kind: samples}, the table and the colors."""
    rng = np.random.default_rng(7)
    # A grid keeps the dots apart.
    cells = rng.permutation([(x, y) for x in range(60, 360, 50) for y in range(50, 290, 48)])[:17]
    table = np.column_stack([cells, rng.integers(1, 3, 17)]).astype(np.int32)
    colors = np.array([(60 + 190 * (k % 2), 60 + 95 * (k // 2 % 3), 60 + 65 * (k // 6)) for k in range(17)])
    picture = np.zeros((320, PICTURE_WIDTH, 3), np.uint8)
    for (x, y, _), color in zip(table.tolist(), colors.tolist()):
        cv2.circle(picture, (x, y), 12, color, -1)
    path = tmp_path_factory.mktemp('dotted') / '1.png'
    assert cv2.imwrite(str(path), picture)
    people = People(np.array([1]), np.array([b'1.png']), np.array([[PICTURE_WIDTH, 320]], np.int32),
                    np.zeros(1, np.int32), np.array([[60.0, 50, 260, 200]]), np.ones(1), table[None])
    return {kind: PersonSamples(people, np.array([str(path).encode()]), recipe, COCO, INPUT_SHAPE, seed=3)
            for kind, recipe in RECIPES.items()}, colors


def sample_of(samples, epoch, index=0):
    out = np.full((*INPUT_SHAPE, 3), 77, np.uint8)
    joints, validity = samples.training_sample(index, epoch, out)
    return out, joints, validity


@pytest.mark.parametrize('kind', RECIPES)
def test_dots_lie_under_their_keypoints(dotted, kind):
    """Also in mirrored and turned samples; a mirrored left wrist is where the right one was painted."""
    samples, colors = dotted[0][kind], dotted[1]
    checked, mirrored = 0, 0
    for epoch in range(40):
        dice = samples.crops.draw_dice(np.random.default_rng((3, epoch, 0)))
        flip = dice.flip < 0.5
        expected = colors[COCO.flip_index] if flip else colors
        crop, joints, validity = sample_of(samples, epoch)
        for (x, y), valid, color in zip(joints, validity, expected):
            if valid and 0 <= x < 191 and 0 <= y < 255:
                np.testing.assert_allclose(crop[int(y + 0.5), int(x + 0.5)].astype(int), color, atol=2)
                checked += 1
                mirrored += flip
    assert checked > 250 and mirrored > 80


@pytest.mark.parametrize('kind', RECIPES)
def test_sample_depends_on_seed_epoch_and_index_alone(dotted, kind):
    samples = dotted[0][kind]
    first = sample_of(samples, 4)
    sample_of(samples, 5)
    np.random.seed(99)
    for one, other in zip(first, sample_of(samples, 4)):
        np.testing.assert_array_equal(one, other)
    two_of_them = dataclasses.replace(samples, people=samples.people.select(np.array([0, 0])))
    for changed in (sample_of(samples, 5), sample_of(dataclasses.replace(samples, seed=4), 4),
                    sample_of(two_of_them, 4, index=1)):
        assert not np.array_equal(first[1], changed[1])


@pytest.mark.parametrize('kind', RECIPES)
def test_samples_change_nothing_but_the_crop(dotted, kind):
    samples = dotted[0][kind]
    path = Path(samples.paths[0].decode())
    stored = {field.name: np.copy(getattr(samples.people, field.name)) for field in dataclasses.fields(samples.people)}
    content = path.read_bytes()
    for epoch in range(12):
        sample_of(samples, epoch)
    samples.test_samples(np.array([0]))
    for name, before in stored.items():
        np.testing.assert_array_equal(getattr(samples.people, name), before)
    assert path.read_bytes() == content


@pytest.mark.parametrize('kind', RECIPES)
def test_test_sample_leads_back_to_the_picture(dotted, kind):
    samples, colors = dotted[0][kind], dotted[1]
    (out,), (center,), (scale,) = samples.test_samples(np.array([0]))
    expected = samples.crops.test_crop(samples.people.boxes_xywh[0], ASPECT)
    assert center.tolist() == expected.center.tolist() and scale.tolist() == expected.scale.tolist()
    matrix = crop_matrix(center, scale, 0, INPUT_SHAPE[::-1])
    for (x, y), color in zip(transform_points(samples.people.keypoints[0, :, :2], matrix), colors):
        if 0 <= x < 191 and 0 <= y < 255:
            np.testing.assert_allclose(out[int(y + 0.5), int(x + 0.5)].astype(int), color, atol=2)


def test_outside_the_picture_is_black():
    picture = np.full((50, 60, 3), 200, np.uint8)
    out = np.full((64, 64, 3), 77, np.uint8)
    cut_crop(picture, Crop(np.array([60.0, 25], np.float32), np.array([0.5, 0.5], np.float32)), out)
    assert (out[20:40, :25] == 200).all() and not out[:, 36:].any()
    cut_crop(picture, Crop(np.array([900.0, 900], np.float32), np.array([0.5, 0.5], np.float32)), out)
    assert not out.any()


def test_describe_names_the_pictures(dotted):
    samples = dotted[0]['mspn']
    assert samples.describe(np.array([0])) == '1.png'
    assert samples.describe(np.zeros(10, int)).endswith('and 2 more')
