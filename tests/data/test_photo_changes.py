"""Photos of training samples that end within the person, pieces of other photos before a person, and other light."""
import dataclasses

import cv2
import numpy as np
import pytest

from src.config import load_recipe, resolve
from src.data.people import People
from src.data.photo_changes import ABSENT, PhotoChanges, build_photo_changes, cover_person, end_at_frame, lay_piece
from src.data.samples import PersonSamples
from src.data.skeletons import COCO
from src.models.common.crops import SimplePoseCrops
from src.models.mipnet.crops import MIPNetCrops
from src.models.mspn.crops import MSPNCrops

SHAPE = (300, 400)
BOX = np.array([100.0, 50, 100, 200])
ALWAYS = PhotoChanges(cut_off_probability=1.0)
LEFT, TOP, RIGHT, BOTTOM = 0.0, 0.25, 0.4, 0.9      # what the dice of a side say for each


def grid() -> np.ndarray:
    """(17, 3): keypoints spread over BOX."""
    rng = np.random.default_rng(0)
    return np.concatenate((BOX[:2] + rng.random((17, 2)) * BOX[2:], np.full((17, 1), 2.0)), axis=1)


def dice(**thrown):
    plain = {'cut': 0.0, 'sides': np.array([BOTTOM, 0.0]), 'second': 1.0, 'depths': np.zeros(2),
             'colors': np.full(3, 0.5), 'covered': 1.0, 'cover_side': BOTTOM, 'cover_extent': np.array([0.5, 0.5, 0.5]),
             'piece': np.zeros(3), **thrown}
    return dataclasses.replace(ALWAYS.draw_dice(np.random.default_rng(0)), **plain)


@pytest.mark.parametrize('side, expected', [(LEFT, [130, 0, 400, 300]), (TOP, [0, 110, 400, 300]),
                                            (RIGHT, [0, 0, 170, 300]), (BOTTOM, [0, 0, 400, 190])])
def test_the_photo_ends_at_one_side(side, expected):
    """At depth 3/7 of at most 70 %: 30 % of the box is lost there."""
    frame = ALWAYS.frame(BOX, grid(), SHAPE, dice(sides=np.array([side, 0.0]), depths=np.array([3 / 7, 0.9])))
    assert frame.tolist() == expected


@pytest.mark.parametrize('first, other, expected', [
    (LEFT, 0.6, [130, 80, 400, 300]), (RIGHT, 0.4, [0, 0, 170, 220]), (BOTTOM, 0.6, [115, 0, 400, 190]),
    (TOP, 0.4, [0, 110, 185, 300])])
def test_or_at_two_that_meet(first, other, expected):
    thrown = dice(sides=np.array([first, other]), second=0.0, depths=np.array([3 / 7, 1.5 / 7]))
    assert ALWAYS.frame(BOX, grid(), SHAPE, thrown).tolist() == expected


def test_how_often_and_where():
    rng, recipe = np.random.default_rng(1), PhotoChanges(cut_off_probability=0.4)
    frames = [recipe.frame(BOX, grid(), SHAPE, recipe.draw_dice(rng)) for _ in range(4000)]
    cut = np.array([frame for frame in frames if frame is not None])
    assert len(cut) / 4000 == pytest.approx(0.4, abs=0.03)
    where = cut != [0, 0, 400, 300]
    assert where.any(axis=1).all()
    assert (where.sum(axis=1) == 2).mean() == pytest.approx(0.3, abs=0.04)
    one = where[where.sum(axis=1) == 1].mean(axis=0)
    np.testing.assert_allclose(one, [0.2, 0.1, 0.2, 0.5], atol=0.05)
    # Nobody loses more than 70 %, and losses of all sizes occur.
    losses = (BOX[1] + BOX[3] - cut[where[:, 3], 3]) / BOX[3]
    assert 0 <= losses.min() < 0.02 and 0.68 < losses.max() <= 0.7025


def test_nobody_is_cut_off_who_would_be_left_without_keypoints():
    low = grid()
    low[:16, 2] = 0
    assert ALWAYS.frame(BOX, low, SHAPE, dice(depths=np.full(2, 0.9))) is None
    # All keypoints in the half that would be lost.
    low = grid()
    low[:, 1] = 249
    assert ALWAYS.frame(BOX, low, SHAPE, dice(depths=np.full(2, 0.9))) is None


def test_a_box_beyond_the_picture_is_cut_within_it():
    beyond = np.array([-50.0, -20, 500, 400])
    frame = ALWAYS.frame(beyond, grid(), SHAPE, dice(depths=np.full(2, 0.01)))
    assert frame.tolist() == [0, 0, 400, 300]
    box, _ = end_at_frame(beyond, grid(), frame)
    assert box.tolist() == [0, 0, 400, 300]


def test_what_lies_outside_is_unlabelled_and_the_rest_moves():
    keypoints = grid()
    before = keypoints.copy()
    frame = np.array([130, 80, 400, 190])
    box, moved = end_at_frame(BOX, np.stack([keypoints, keypoints + [5, 0, 0]]), frame)
    np.testing.assert_array_equal(keypoints, before)
    assert box.tolist() == [0, 0, 70, 110] and moved.shape == (2, 17, 3)
    inside = (before[:, 0] >= 130) & (before[:, 1] >= 80) & (before[:, 1] <= 189)
    assert 3 < inside.sum() < 17
    np.testing.assert_array_equal(moved[0, inside], before[inside] - [130, 80, 0])
    assert not moved[0, ~inside].any()


def test_what_is_known_to_lie_beyond_the_photo_is_absent_where_asked_for():
    keypoints = grid()
    keypoints[::4, 2] = 0
    frame = np.array([130, 80, 400, 190])
    _, plain = end_at_frame(BOX, keypoints, frame)
    _, moved = end_at_frame(BOX, keypoints, frame, absent_as_empty=True)
    absent = (plain[:, 2] == 0) & (keypoints[:, 2] > 0)
    assert 3 < absent.sum() < 17
    np.testing.assert_array_equal(moved[absent], np.tile([0, 0, ABSENT], (absent.sum(), 1)))
    np.testing.assert_array_equal(moved[~absent], plain[~absent])


# Covers

COVERED = PhotoChanges(cover_probability=1.0)


@pytest.mark.parametrize('side, expected', [(LEFT, [80, 30, 140, 270]), (TOP, [90, 10, 210, 130]),
                                            (RIGHT, [160, 30, 220, 270]), (BOTTOM, [90, 170, 210, 290])])
def test_a_cover_reaches_into_the_box_from_one_side(side, expected):
    """From a fifth of the box outside it; depth 0.5 is 40 % of the box, breadth 0.5 is 1.2 boxes around the middle."""
    area = COVERED.cover(BOX, grid(), SHAPE, dice(covered=0.0, cover_side=side))
    assert area.tolist() == expected


def test_how_often_and_how_much_is_covered():
    rng, recipe = np.random.default_rng(1), PhotoChanges(cover_probability=0.3)
    areas = [recipe.cover(BOX, grid(), SHAPE, recipe.draw_dice(rng)) for _ in range(3000)]
    areas = np.array([area for area in areas if area is not None])
    # A few covers would hide all keypoints or all but one.
    assert 0.24 < len(areas) / 3000 <= 0.32
    assert (areas[:, :2] >= 0).all() and (areas[:, 2:] <= [400, 300]).all() and (areas[:, :2] < areas[:, 2:]).all()
    low, high = np.maximum(areas[:, :2], BOX[:2]), np.minimum(areas[:, 2:], BOX[:2] + BOX[2:])
    share = np.prod(np.maximum(high - low, 0), axis=1) / np.prod(BOX[2:])
    assert 0.1 < share.mean() < 0.4 and share.max() <= 0.71


def test_nobody_is_covered_of_whom_nothing_would_be_left():
    low = grid()
    low[:, 1] = 249
    thrown = dice(covered=0.0, cover_extent=np.array([0.9, 1.0, 0.5]))
    assert COVERED.cover(BOX, low, SHAPE, thrown) is None
    # Two are enough.
    low[:2, 1] = 51
    assert COVERED.cover(BOX, low, SHAPE, thrown) is not None


def test_a_cover_hides_keypoints_and_ends_the_box_if_it_is_as_broad():
    picture, other = np.full((*SHAPE, 3), 255, np.uint8), np.full((50, 40, 3), 7, np.uint8)
    keypoints = grid()
    before = keypoints.copy()
    keypoints[0, 2] = ABSENT
    area = np.array([90, 200, 210, 290])
    covered = lay_piece(picture, area, other, dice(piece=np.array([0.0, 0.9, 0.9])))
    box, seen = cover_person(BOX, keypoints, area)
    assert (picture == 255).all() and (covered[200:290, 90:210] == 7).all()
    assert (covered == 7).all(axis=2).sum() == 90 * 120
    assert box.tolist() == [100, 50, 100, 150]
    hidden = before[:, 1] >= 200
    assert 1 < hidden.sum() < 16 and not seen[hidden][:, 2].clip(0).any()
    np.testing.assert_array_equal(seen[~hidden], keypoints[~hidden])
    assert seen[0, 2] == ABSENT
    narrow = np.array([120, 200, 210, 290])
    assert cover_person(BOX, keypoints, narrow)[0].tolist() == BOX.tolist()
    left = np.array([80, 40, 130, 260])
    assert cover_person(BOX, keypoints, left)[0].tolist() == [130, 50, 70, 200]
    # The whole box: two pixels of it are left.
    whole = np.array([80, 40, 230, 260])
    assert cover_person(BOX, keypoints, whole)[0][2:].min() == 2


def test_the_piece_is_from_the_other_photo_and_keeps_its_size():
    """A piece of 20 x 30 pixels at the place that the dice say."""
    other = np.arange(60 * 50, dtype=np.float32).reshape(60, 50)
    other = np.repeat((other % 251).astype(np.uint8)[..., None], 3, axis=2)
    picture = np.zeros((*SHAPE, 3), np.uint8)
    covered = lay_piece(picture, np.array([10, 20, 30, 50]), other, dice(piece=np.array([0, 0.5, 0.2])))
    np.testing.assert_array_equal(covered[20:50, 10:30], other[6:36, 15:35])
    # A picture of which only the upper rows were read.
    part = lay_piece(picture[:40], np.array([10, 20, 30, 50]), other, dice(piece=np.array([0, 0.5, 0.2])))
    np.testing.assert_array_equal(part, covered[:40])


def test_colors():
    rng = np.random.default_rng(2)
    picture = rng.integers(0, 256, (20, 30, 3), np.uint8)
    recipe = PhotoChanges(color_jitter=0.4)
    np.testing.assert_array_equal(recipe.recolored(picture, dice()), picture)
    assert PhotoChanges().recolored(picture, dice(colors=np.zeros(3))) is picture
    brighter = recipe.recolored(picture, dice(colors=np.array([1.0, 0.5, 0.5])))
    np.testing.assert_allclose(brighter, np.minimum(picture * 1.4, 255), atol=0.51)
    flatter = recipe.recolored(picture, dice(colors=np.array([0.5, 0.0, 0.5])))
    np.testing.assert_allclose(flatter, 128 + (picture - 128.0) * 0.6, atol=0.51)
    paler = recipe.recolored(picture, dice(colors=np.array([0.5, 0.5, 0.0])))
    grey = picture @ [0.114, 0.587, 0.299]
    # OpenCV mixes channels of bytes in whole numbers.
    np.testing.assert_allclose(paler, 0.6 * picture + 0.4 * grey[..., None], atol=1)
    assert paler.dtype == np.uint8 and paler.shape == picture.shape


# Samples

@pytest.fixture(scope='module')
def photo(tmp_path_factory):
    """One person whose keypoints are dots of colors of their own, on white."""
    picture, keypoints = np.full((*SHAPE, 3), 255, np.uint8), grid()
    keypoints[:, :2] = keypoints[:, :2].round()
    for index, (x, y, _) in enumerate(keypoints.astype(int)):
        cv2.rectangle(picture, (x - 3, y - 3), (x + 3, y + 3), (10 * index, 60, 120), -1)
    path = tmp_path_factory.mktemp('photo') / '1.png'
    assert cv2.imwrite(str(path), picture)
    return People(np.array([1]), np.array([b'1.png']), np.array([[400, 300]], np.int32), np.zeros(1, np.int32),
                  BOX[None], np.ones(1), keypoints[None]), np.array([str(path).encode()])


def samples_of(photo, recipe=SimplePoseCrops(rotation_factor=0.0, flip=False), **changes):  # noqa: B008  frozen
    return PersonSamples(*photo, recipe, COCO, (96, 64), seed=3, photo=PhotoChanges(**changes))


def sample(samples, epoch):
    out = np.empty((96, 64, 3), np.uint8)
    return out, *samples.training_sample(0, epoch, out)


@pytest.mark.parametrize('recipe', [SimplePoseCrops(), MSPNCrops(), MIPNetCrops()])
def test_without_changes_a_sample_is_what_it_was(photo, recipe):
    """No number is drawn, so none of a published recipe changes; and the crop's own numbers do not depend on it."""
    plain = PersonSamples(*photo, recipe, COCO, (96, 64), seed=3)
    for epoch in range(5):
        for one, other in zip(sample(plain, epoch), sample(samples_of(photo, recipe), epoch)):
            np.testing.assert_array_equal(one, other)
        barely = sample(samples_of(photo, recipe, color_jitter=1e-9), epoch)
        np.testing.assert_array_equal(barely[1], sample(plain, epoch)[1])


def test_a_cut_off_sample_ends_in_black_and_its_keypoints_lie_on_their_dots(photo):
    samples = samples_of(photo, cut_off_probability=1.0)
    whole, cut, checked, black = samples_of(photo), 0, 0, 0
    for epoch in range(40):
        crop, joints, validity = sample(samples, epoch)
        cut += validity.sum() < sample(whole, epoch)[2].sum()
        black += (crop == 0).all(axis=2).any()
        # White paper, dots of red 120, and nothing but black beyond the end of the photo.
        assert crop.shape == (96, 64, 3)
        for index in np.flatnonzero(validity):
            x, y = joints[index]
            if 1 <= x < 62 and 1 <= y < 94:
                pixel = crop[int(y + 0.5), int(x + 0.5)].astype(int)
                if np.abs(pixel[1:] - [60, 120]).max() <= 3:
                    checked += 1
                    continue
                # Another's dot, or its edge at the end of the photo.
                assert pixel[2] < 200
    assert cut >= 35 and checked > 200
    assert black >= 30 and not (sample(whole, 7)[0] == 0).all(axis=2).any()


def test_a_sample_depends_on_seed_epoch_and_index_alone(photo):
    samples = samples_of(photo, cut_off_probability=0.5, color_jitter=0.4)
    first = sample(samples, 4)
    sample(samples, 5)
    np.random.seed(9)
    for one, other in zip(first, sample(samples, 4)):
        np.testing.assert_array_equal(one, other)
    assert any((sample(samples, epoch)[0] != first[0]).any() for epoch in (5, 6))


def test_a_covered_sample_shows_a_piece_of_another_photo(tmp_path):
    people = []
    for index, grey in enumerate((250, 40)):
        assert cv2.imwrite(str(tmp_path / f'{index}.png'), np.full((*SHAPE, 3), grey, np.uint8))
        people.append(str(tmp_path / f'{index}.png').encode())
    both = People(np.array([1, 2]), np.array([b'0.png', b'1.png']), np.array([[400, 300]] * 2, np.int32),
                  np.array([0, 1], np.int32), np.stack([BOX] * 2), np.ones(2), np.stack([grid()] * 2))
    samples = PersonSamples(both, np.array(people), SimplePoseCrops(rotation_factor=0.0, flip=False), COCO, (96, 64),
                            seed=3, photo=PhotoChanges(cover_probability=1.0))
    dark, hidden = [], []
    for epoch in range(40):
        out = np.empty((96, 64, 3), np.uint8)
        _, validity = samples.training_sample(0, epoch, out)
        dark.append((out == 40).all(axis=2).sum())
        hidden.append(17 - validity.sum())
    # Half of the pieces are from the person's own photo.
    assert 8 < np.count_nonzero(dark) < 32 and np.count_nonzero(hidden) > 20


# Configuration

def test_published_recipes_change_no_photo():
    assert build_photo_changes(load_recipe('simplepose_r50_coco_256x192')).are_off
    config = resolve(load_recipe('base'), {'DATASET.CUT_OFF_PROBABILITY': 0.25, 'DATASET.COLOR_JITTER': 0.5})
    assert build_photo_changes(config) == PhotoChanges(0.25, 0.5) and not build_photo_changes(config).are_off
    config = resolve(load_recipe('base'), {'DATASET.COVER_PROBABILITY': 0.25, 'DATASET.ABSENT_AS_EMPTY': 'true'})
    assert build_photo_changes(config) == PhotoChanges(cover_probability=0.25, absent_as_empty=True)
    assert not build_photo_changes(config).are_off


def test_mspn_has_no_weights_for_absent_keypoints():
    with pytest.raises(ValueError, match='DATASET.ABSENT_AS_EMPTY is not for mspn; it is for pose_resnet, '):
        resolve(load_recipe('mspn_2stg_coco_256x192'), {'DATASET.ABSENT_AS_EMPTY': 'true'})


@pytest.mark.parametrize('key', ['DATASET.CUT_OFF_PROBABILITY', 'DATASET.COVER_PROBABILITY', 'DATASET.COLOR_JITTER'])
@pytest.mark.parametrize('value', ['1.5', '-0.1', 'often'])
def test_values_out_of_range(key, value):
    with pytest.raises(ValueError, match=f'{key}:? should'):
        resolve(load_recipe('base'), {key: value})
