"""Heatmaps → keypoints: the numbers of the original decoders, the worked tables, and encoding followed by decoding."""
from functools import partial
from unittest import mock

import cv2
import mindspore as ms
import numpy as np
import pytest
from decoders import decode_gaussian, decode_mspn
from golden_data import golden, needs_full_golden

from src.config import load_recipe
from src.evaluation.predictors import build_decoder
from src.models.common.gaussian_decoder import first_maximum
from src.models.common.gaussian_targets import GaussianTargets
from src.models.mspn import decoder
from src.models.mspn.targets import MSPNTargets
from src.models.registry import model_of

PIXEL_TOLERANCE, SCORE_TOLERANCE = 1e-3, 1e-6
DECODERS = {'mspn_coco': partial(decode_mspn, input_size=(192, 256), blur_kernel=5),
            'mspn_mpii': partial(decode_mspn, input_size=(256, 256), blur_kernel=9),
            'simple': decode_gaussian}
# The crop of the worked tables: one cell of a 64x48 map is five picture pixels.
CENTER, SCALE = np.array([[320.5, 240.25]], np.float32), np.array([[1.2, 1.6]], np.float32)
# A crop whose pixels are the picture's.
IDENTITY_CENTER, IDENTITY_SCALE = np.array([[96, 128]], np.float32), np.array([[0.96, 1.28]], np.float32)
INPUT_SHAPE, HEATMAP_SHAPE = (256, 192), (64, 48)


def points_map(points):
    """{(x, y): value} -> heatmaps (1, 1, 64, 48), zero elsewhere."""
    heatmaps = np.zeros((1, 1, *HEATMAP_SHAPE), np.float32)
    for (x, y), value in points.items():
        heatmaps[0, 0, y, x] = value
    return heatmaps


def bell_map():
    y, x = np.mgrid[:HEATMAP_SHAPE[0], :HEATMAP_SHAPE[1]]
    return (180 * np.exp(-((x - 20.3) ** 2 + (y - 40.6) ** 2) / (2 * 1.5 ** 2))).astype(np.float32)[None, None]


def constant_map(value):
    return np.full((1, 1, *HEATMAP_SHAPE), value, np.float32)


def mspn_labels(joints, kernel=5):
    """Joints (N, K, 2) in input pixels -> the finest labels (N, K, h, w)."""
    joints = np.asarray(joints, np.float32)
    (labels,), _ = MSPNTargets(INPUT_SHAPE, HEATMAP_SHAPE, kernels=(kernel,))(
        ms.Tensor(joints), ms.Tensor(np.full(joints.shape[:2], 2, np.float32)))
    return labels.asnumpy()


def gaussian_targets(joints):
    joints = np.asarray(joints, np.float32)
    target, _ = GaussianTargets(INPUT_SHAPE, HEATMAP_SHAPE, 2)(
        ms.Tensor(joints), ms.Tensor(np.ones(joints.shape[:2], np.float32)))
    return target.asnumpy()


def decode_one(decode, heatmaps, center=CENTER, scale=SCALE):
    """Heatmaps (1, 1, h, w) -> (x, y) and score."""
    keypoints, scores = decode(heatmaps, center, scale)
    assert keypoints.shape == (1, 1, 2) and scores.shape == (1, 1)
    return keypoints[0, 0].tolist(), float(scores[0, 0])


def assert_equals_the_original(kind, arrays):
    keypoints, scores = DECODERS[kind](arrays['heatmaps'], arrays['center'], arrays['scale'])
    assert np.abs(keypoints - arrays['keypoints']).max() <= PIXEL_TOLERANCE
    assert np.abs(scores - arrays['scores'][..., 0]).max() <= SCORE_TOLERANCE


@pytest.mark.parametrize('kind', DECODERS)
def test_first_person_equals_the_original(kind):
    assert_equals_the_original(kind, golden(f'decode_{kind}'))


@needs_full_golden
@pytest.mark.parametrize('kind', DECODERS)
def test_all_people_equal_the_original(kind):
    arrays = {key[len(kind) + 1:]: value for key, value in golden('decode').items() if key.startswith(f'{kind}_')}
    assert len(arrays['heatmaps']) == 4
    assert_equals_the_original(kind, arrays)


@pytest.mark.parametrize('heatmaps, keypoint, score', [
    # All four neighbours are equal; the first in raster order lies above.
    (lambda: 0.8 * mspn_labels([[(102, 78)]]), (328.0, 176.5), 1.3),
    (lambda: points_map({(20, 30): 200, (21, 30): 150, (20, 31): 100}), (304.25, 232.75), 1.284314),
    (lambda: constant_map(-1), (203.0, 82.75), 0.496078),
    (bell_map, (303.0, 286.5), 1.167736)], ids=['label', 'three_cells', 'negative', 'bell'])
def test_mspn_decoding_check(heatmaps, keypoint, score):
    ours, our_score = decode_one(DECODERS['mspn_coco'], heatmaps())
    assert ours == pytest.approx(keypoint, abs=PIXEL_TOLERANCE)
    assert our_score == pytest.approx(score, abs=SCORE_TOLERANCE)


@pytest.mark.parametrize('heatmaps, keypoint, score', [
    (lambda: gaussian_targets([[(100.3, 77.9)]]), (325.5, 175.25), 1),
    (lambda: points_map({(20, 30): 200, (21, 30): 150, (20, 31): 100}), (301.75, 231.5), 200),
    (lambda: constant_map(-1), (200.5, 80.25), -1),
    (lambda: points_map({(0, 0): 7}), (200.5, 80.25), 7),
    (bell_map, (301.75, 284.0), 170.273)], ids=['target', 'three_cells', 'negative', 'corner', 'bell'])
def test_simple_pose_decoding_check(heatmaps, keypoint, score):
    ours, our_score = decode_one(decode_gaussian, heatmaps())
    assert ours == pytest.approx(keypoint, abs=PIXEL_TOLERANCE)
    assert our_score == pytest.approx(score, abs=5e-4)


def test_mspn_round_trip():
    """Half a cell of quantisation and, upwards, the quarter cell that decoding adds to a symmetric label."""
    joints = np.random.default_rng(0).uniform((8, 8), (183, 247), (6, 17, 2))
    keypoints, scores = DECODERS['mspn_coco'](mspn_labels(joints), np.tile(IDENTITY_CENTER, (6, 1)),
                                              np.tile(IDENTITY_SCALE, (6, 1)))
    error = np.abs(keypoints - joints)
    assert error[..., 0].max() <= 2.001 and error[..., 1].max() <= 3.001
    np.testing.assert_allclose(scores, 1.5, atol=1e-6)


def test_mspn_round_trip_at_the_border():
    """Labels of the second column peak in the first one, so a joint there comes back up to a cell further out."""
    joints = np.array([[(0, 0), (5, 100), (191, 255), (187, 100), (100, 1), (100, 250)]])
    keypoints, _ = DECODERS['mspn_coco'](mspn_labels(joints), IDENTITY_CENTER, IDENTITY_SCALE)
    assert np.abs(keypoints - joints).max() <= 6.001


def test_simple_pose_round_trip():
    # Behind the last cell's center (252, 188) the joint's cell lies outside the map and the error grows to a cell.
    joints = np.random.default_rng(1).uniform((0, 0), (189.9, 253.9), (6, 17, 2))
    keypoints, scores = decode_gaussian(gaussian_targets(joints), np.tile(IDENTITY_CENTER, (6, 1)),
                                           np.tile(IDENTITY_SCALE, (6, 1)))
    assert np.abs(keypoints - joints).max() <= 2.001
    np.testing.assert_array_equal(scores, 1)


@pytest.mark.parametrize('kind', DECODERS)
def test_one_person_equals_a_row_of_many(kind):
    rng = np.random.default_rng(2)
    heatmaps = rng.normal(0, 60, (5, 3, 64, 64 if kind == 'mspn_mpii' else 48)).astype(np.float32)
    center, scale = rng.uniform(50, 400, (5, 2)).astype(np.float32), rng.uniform(0.3, 2, (5, 2)).astype(np.float32)
    keypoints, scores = DECODERS[kind](heatmaps, center, scale)
    assert keypoints.shape == (5, 3, 2) and scores.shape == (5, 3)
    for person in range(5):
        alone, alone_scores = DECODERS[kind](*(array[person:person + 1] for array in (heatmaps, center, scale)))
        np.testing.assert_allclose(alone[0], keypoints[person], atol=1e-9)
        np.testing.assert_array_equal(alone_scores[0], scores[person])


@pytest.mark.parametrize('kind', DECODERS)
def test_decoders_leave_their_input_alone(kind):
    rng = np.random.default_rng(3)
    heatmaps = rng.normal(0, 60, (2, 3, 64, 48)).astype(np.float32)
    before = heatmaps.copy()
    DECODERS[kind](heatmaps, np.tile(CENTER, (2, 1)), np.tile(SCALE, (2, 1)))
    np.testing.assert_array_equal(heatmaps, before)


@pytest.mark.parametrize('value', [0, 3, -300, 1e-20])
@pytest.mark.parametrize('kind', DECODERS)
def test_flat_maps_give_finite_keypoints_inside_the_crop(kind, value):
    (x, y), score = decode_one(DECODERS[kind], constant_map(value))
    assert 200.499 <= x <= 440.501 and 80.249 <= y <= 400.251
    assert score == pytest.approx(value if kind == 'simple' else value / 255 + 0.5, abs=1e-6)


def test_maps_with_one_cell_only():
    """MSPN's second maximum is then the blurred map's next cell; Simple Baselines has no direction to move to."""
    heatmaps = points_map({(30, 20): 100})
    assert decode_one(decode_gaussian, heatmaps)[0] == pytest.approx((350.5, 180.25))
    (x, y), score = decode_one(DECODERS['mspn_coco'], heatmaps)
    assert (x, y) == pytest.approx((353.0, 181.5)) and score == pytest.approx(100 / 255 + 0.5)


def step_by_step(heatmap, kernel):
    """One map (h, w) -> (x, y) in cells and score, as the release goes about it."""
    height, width = heatmap.shape
    framed = np.zeros((height + 20, width + 20))
    framed[10:-10, 10:-10] = heatmap
    framed = cv2.GaussianBlur(framed, (kernel, kernel), 0)
    first = np.array(np.unravel_index(framed.argmax(), framed.shape))[::-1] - 10
    framed[first[1] + 10, first[0] + 10] = 0
    second = np.array(np.unravel_index(framed.argmax(), framed.shape))[::-1] - 10
    length = np.linalg.norm(second - first)
    place = first + (0.25 * (second - first) / length if length > 1e-3 else 0)
    x, y = np.clip(place, 0, [width - 1, height - 1])
    return (x, y), heatmap[round(y), round(x)] / 255 + 0.5


@pytest.mark.parametrize('kernel', [5, 9])
def test_mspn_decoder_goes_the_steps_of_the_release(kernel):
    """One narrow frame and one blur for all maps change nothing: noise, mostly negative, hardly anything positive, and
    nothing above a zero that is not in the first cell."""
    rng = np.random.default_rng(4)
    maps = rng.normal(0, 60, (124, *HEATMAP_SHAPE)).astype(np.float32)
    maps[40:80] -= 40
    maps[80:120] = -1
    for heatmap in maps[80:120]:
        heatmap[rng.integers(64), rng.integers(48)] = rng.uniform(0, 40)
    # The maximum is exactly 0, once blurred and once not.
    maps[120:] = 0
    maps[120, 0, 0] = maps[121, :, :30] = -1
    # The second maximum is: the peak is above 0 alone.
    maps[122, 20:41, 20:41], maps[122, 30, 30] = -1, 8
    maps[123, 0:21, 0:21], maps[123, 10, 12] = -1, 8
    ours, scores = decode_mspn(maps[None], IDENTITY_CENTER, IDENTITY_SCALE, input_size=(192, 256), blur_kernel=kernel)
    for heatmap, cell, score in zip(maps, (ours[0] - 2) / 4, scores[0]):
        expected, expected_score = step_by_step(heatmap, kernel)
        np.testing.assert_allclose(cell, expected, atol=1e-4)
        assert score == pytest.approx(expected_score, abs=1e-6)


@pytest.mark.parametrize('kernel', [5, 9])
def test_mspn_looks_beyond_the_peak_where_another_hill_may_be_higher(kernel):
    """Blobs on cells and between them (so that neighbors tie), a needle far from a broad hill that is lower but higher
    once blurred, two hills, and values of any size: all as computed from the whole map in float64."""
    rng = np.random.default_rng(6)
    y, x = np.mgrid[:HEATMAP_SHAPE[0], :HEATMAP_SHAPE[1]]
    blobs = np.stack([np.exp(-((x - rng.integers(96) / 2) ** 2 + (y - rng.integers(128) / 2) ** 2) / spread)
                      for spread in rng.choice([2, 8, 30], 300)]).astype(np.float32)
    maps = blobs * rng.choice([1e-30, 1, 255, 1e30], (300, 1, 1))
    maps[100:200] += 0.9 * np.roll(blobs[100:200], 1, axis=0)
    maps[200:250, 3, 5] = maps[200:250].max(axis=(1, 2)) * 1.2
    maps = maps.astype(np.float32)
    ours, scores = decode_mspn(maps[None], IDENTITY_CENTER, IDENTITY_SCALE, input_size=(192, 256), blur_kernel=kernel)
    with mock.patch.object(decoder, '_maxima_around_the_peak', lambda maps, *_: (
            *np.empty((2, len(maps), 2)), np.zeros(len(maps), bool))):
        expected, expected_scores = decode_mspn(maps[None], IDENTITY_CENTER, IDENTITY_SCALE, input_size=(192, 256),
                                                blur_kernel=kernel)
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(scores, expected_scores)


@pytest.mark.parametrize('shape', [(9, 12), (4, 5), (1, 3)])
def test_mspn_bound_of_what_lies_outside(shape):
    """Around every cell, also in corners and in maps smaller than the square: never below the largest value outside,
    and equal to it where the square does not touch the border."""
    rng = np.random.default_rng(7)
    y, x = (grid.ravel() for grid in np.mgrid[:shape[0], :shape[1]])
    maps = rng.normal(0, 60, (len(y), *shape)).astype(np.float32)
    bounds = decoder._largest_outside(maps, x, y, 2)
    rows, columns = np.mgrid[:shape[0], :shape[1]]
    for bound, heatmap, center_x, center_y in zip(bounds, maps, x, y):
        outside = np.maximum(abs(rows - center_y), abs(columns - center_x)) > 2
        largest = heatmap[outside].max(initial=-np.inf)
        assert bound >= largest
        if 2 < center_x < shape[1] - 3:
            assert bound == largest


def test_mspn_blurs_whole_maps_only_where_it_has_to():
    """Of noisy blobs, some of them at the border, hardly any."""
    rng = np.random.default_rng(8)
    rows, columns = np.mgrid[:HEATMAP_SHAPE[0], :HEATMAP_SHAPE[1]]
    center = rng.uniform(0, HEATMAP_SHAPE, (200, 2))
    maps = 255 * np.exp(-((rows - center[:, :1, None]) ** 2 + (columns - center[:, 1:, None]) ** 2) / 8)
    maps = (maps + rng.normal(0, 5, maps.shape)).astype(np.float32)
    for kernel in (5, 9):
        assert decoder._maxima_around_the_peak(maps, kernel)[2].mean() > 0.97


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('value', [np.inf, -np.inf, np.nan])
def test_mspn_maps_that_are_not_finite_go_the_steps_of_the_release(value):
    heatmaps = np.tile(bell_map(), (1, 3, 1, 1))
    heatmaps[0, 0, 40, 22] = heatmaps[0, 1, 2, 3] = value
    keypoints, scores = decode_mspn(heatmaps, IDENTITY_CENTER, IDENTITY_SCALE, input_size=(192, 256))
    alone, score = decode_mspn(heatmaps[:, 2:], IDENTITY_CENTER, IDENTITY_SCALE, input_size=(192, 256))
    np.testing.assert_array_equal(keypoints[0, 2], alone[0, 0])
    assert scores[0, 2] == score


def test_mspn_second_maximum_may_lie_in_the_frame():
    """Where nothing but the peak is positive after the blur, it is the first zero of the frame's corner."""
    heatmaps = constant_map(-1)
    heatmaps[0, 0, 20, 30] = 8
    (x, y), score = decode_one(DECODERS['mspn_coco'], heatmaps)
    assert (x, y) == pytest.approx((203 + 5 * 29.8, 82.75 + 5 * 19.85), abs=1e-3)
    assert score == pytest.approx(8 / 255 + 0.5)


def test_first_of_two_equal_peaks_wins():
    heatmaps = points_map({(30, 20): 200, (10, 40): 200})
    assert decode_one(decode_gaussian, heatmaps)[0] == pytest.approx((350.5, 180.25))
    # MSPN goes a quarter cell towards the second peak, however far away it is.
    direction = np.array([-20, 20]) / np.sqrt(800)
    expected = (np.array([30, 20]) + 0.25 * direction) * 5 + (203.0, 82.75)
    assert decode_one(DECODERS['mspn_coco'], heatmaps)[0] == pytest.approx(expected, abs=1e-3)


def test_quarter_offset_needs_two_cells_to_every_border():
    """Near one border neither axis moves; sign(0) is no movement."""
    for column, moves in ((1, False), (2, True), (46, True), (47, False)):
        inner = column - 1 if column > 10 else column + 1
        heatmaps = points_map({(column, 30): 9, (inner, 30): 5, (column, 31): 5})
        (x, y), _ = decode_one(decode_gaussian, heatmaps)
        shift = 1.25 if moves else 0
        expected = (200.5 + 5 * column + (shift if inner > column else -shift), 80.25 + 150 + shift)
        assert (x, y) == pytest.approx(expected, abs=1e-4)
    for row, moves in ((1, False), (2, True), (62, True), (63, False)):
        inner = row - 1 if row > 10 else row + 1
        heatmaps = points_map({(20, row): 9, (20, inner): 5, (21, row): 5})
        (x, y), _ = decode_one(decode_gaussian, heatmaps)
        shift = 1.25 if moves else 0
        expected = (200.5 + 100 + shift, 80.25 + 5 * row + (shift if inner > row else -shift))
        assert (x, y) == pytest.approx(expected, abs=1e-4)


def test_quarter_offset_can_be_switched_off():
    heatmaps = points_map({(20, 30): 200, (21, 30): 150})
    plain = decode_one(partial(decode_gaussian, quarter_offset=False), heatmaps)
    assert plain[0] == pytest.approx((300.5, 230.25)) and plain[1] == 200


def test_mspn_score_is_read_from_the_unblurred_map():
    """Two bells: the single strong cell loses against a broad hill once the map is blurred."""
    heatmaps = points_map({(5, 5): 250, **{(x, y): 150 for x in range(28, 35) for y in range(18, 25)}})
    (x, y), score = decode_one(DECODERS['mspn_coco'], heatmaps)
    assert 200.5 + 28 * 5 <= x <= 200.5 + 36 * 5
    assert score == pytest.approx(150 / 255 + 0.5)


@pytest.mark.parametrize('value', [0, -1e-6])
def test_a_maximum_that_is_not_above_zero_is_none(value):
    """Simple Baselines puts it into the first cell, wherever it is; the score is the maximum itself."""
    heatmaps = constant_map(-3)
    heatmaps[0, 0, 30, 20] = value
    assert decode_one(decode_gaussian, heatmaps) == (pytest.approx((200.5, 80.25)), pytest.approx(value))
    heatmaps[0, 0, 30, 20] = 1e-6
    assert decode_one(decode_gaussian, heatmaps)[0] == pytest.approx((200.5 + 100, 80.25 + 150))


def test_first_maximum_in_raster_order():
    index, value = first_maximum(np.array([[1, 5, 2, 5], [-3, -3, -3, -4]], np.float32))
    assert index.tolist() == [1, 0] and value.tolist() == [5, -3]


@pytest.mark.parametrize('recipe, keypoint', [('mspn_2stg_coco_256x192', (304.25, 232.75)),
                                              ('simplepose_r50_coco_256x192', (301.75, 231.5))])
def test_decoder_of_a_recipe(recipe, keypoint):
    decode = build_decoder(load_recipe(recipe))
    heatmaps = points_map({(20, 30): 200, (21, 30): 150, (20, 31): 100})
    assert decode_one(decode, heatmaps)[0] == pytest.approx(keypoint, abs=1e-3)


@pytest.mark.parametrize('recipe, kernel', [('mspn_2stg_coco_256x192', 5), ('mspn_2stg_mpii_256x256', 9)])
def test_the_blur_of_a_recipe(recipe, kernel):
    heatmaps = np.random.default_rng(5).normal(0, 60, (1, 9, 64, 64)).astype(np.float32)
    config = load_recipe(recipe)
    ours, _ = build_decoder(config)(heatmaps, IDENTITY_CENTER, IDENTITY_SCALE)
    by_kernel = {each: decode_mspn(heatmaps, IDENTITY_CENTER, IDENTITY_SCALE, blur_kernel=each,
                                   input_size=tuple(config.MODEL.IMAGE_SIZE))[0] for each in (5, 9)}
    assert [each for each, keypoints in by_kernel.items() if np.array_equal(ours, keypoints)] == [kernel]


@pytest.mark.parametrize('recipe', ['mspn_2stg_coco_256x192', 'simplepose_r50_coco_256x192',
                                    'hrnet_w32_coco_256x192'])
def test_the_way_back_of_a_recipe(recipe):
    """In a crop that has not the aspect of the input MSPN stretches each axis by itself, the others both alike."""
    center, scale = CENTER, np.array([[1.2, 2.0]], np.float32)
    keypoints = model_of(load_recipe(recipe)).codec.place(load_recipe(recipe))(np.array([[[9.6, 12.8]]]), center, scale)
    y = 240.25 - 200 + 12.8 * 400 / 256 if recipe.startswith('mspn') else 240.25 - 160 + 12.8 * 240 / 192
    np.testing.assert_allclose(keypoints[0, 0], (320.5 - 120 + 9.6 * 240 / 192, y), atol=1e-3)
