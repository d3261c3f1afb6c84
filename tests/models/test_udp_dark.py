"""DARK and UDP: label maps, crops, flip test and decoders against MMPose's numbers, and the way from a joint and back.

The full golden files are `../shared/golden/udp_dark`; the clone has a map of each kind at 256x192.
"""
from functools import cache
from unittest import mock

import numpy as np
import pytest
from golden_data import FULL_FOLDER, LABEL_TOLERANCE, golden, operator_by_operator
from mindspore import Tensor

from src.config import load_recipe, resolve
from src.data.crops import Crop
from src.data.geometry import transform_points, udp_crop_matrix
from src.data.samples import cut_crop
from src.evaluation.multi_shift import average_over_shifts, shift_crops
from src.evaluation.predictors import build_decoder
from src.models.common import refined_decoder
from src.models.common.flip_test import MirrorBack
from src.models.common.gaussian_decoder import place_by_size
from src.models.common.gaussian_targets import GaussianTargets
from src.models.common.refined_decoder import find_refined_cells
from src.models.registry import model_of
from src.system.errors import PoseError

FOLDER = FULL_FOLDER / 'udp_dark'
needs_folder = pytest.mark.skipif(not FOLDER.is_dir(), reason='the full golden files (../shared/golden/udp_dark) are '
                                  'not here; a compact copy is tested')
RULES = [('dark', 11), ('dark', 17), ('udp', 11), ('udp', 17)]
# In cells and in pixels of the picture. In pure noise the steps are long, and so are the rounding errors.
CELL_TOLERANCE, PICTURE_TOLERANCE = {False: 1e-5, True: 1e-3}, {False: 1e-4, True: 3e-3}
SETTINGS = {'published': {}, 'dark': {'DATASET.ENCODING': 'dark', 'TEST.DECODER': 'dark'},
            'udp': {'DATASET.ENCODING': 'udp', 'TEST.DECODER': 'udp', 'TEST.SHIFT_HEATMAP': False}}


@pytest.fixture(autouse=True)
def without_compiling():
    """Compiling these few operators would take longer than all the rest."""
    with operator_by_operator():
        yield


@cache
def full(name: str) -> dict:
    with np.load(FOLDER / f'{name}.npz') as stored:
        return dict(stored)


def compact(part: str) -> dict:
    return {key[len(part) + 1:]: array for key, array in golden('udp_dark').items() if key.startswith(f'{part}_')}


def config_of(encoding: str, size: str = '256x192', **settings):
    return resolve(load_recipe(f'hrnet_w32_coco_{size}'), {**SETTINGS[encoding], **settings})


def assert_decoded(numbers: dict, size: str, rule: str, kernel: int) -> None:
    """Compare the cells, the positions in the picture and the scores of heatmaps (P, K, h, w) or (M, h, w)."""
    maps, kinds = numbers['heatmaps'].astype(np.float32), numbers['kind']
    expected, in_picture = (numbers[f'{rule}{kernel}_{unit}'] for unit in ('cells', 'image'))
    has_peak, shape = numbers['has_peak'], maps.shape[-2:]
    cells, maxima = find_refined_cells(maps.reshape(-1, *shape), rule=rule, kernel=kernel)
    people = maps if maps.ndim == 4 else maps[:, None]
    decode = build_decoder(config_of(rule, size, **{'TEST.DECODER_KERNEL': kernel}))
    keypoints, scores = decode(people, numbers['center'], numbers['scale'] / 200)
    for is_noise in (False, True):
        rows = has_peak & ((kinds == 'pure noise') == is_noise)
        assert rows.any()
        assert np.abs(cells.reshape(expected.shape) - expected)[rows].max() <= CELL_TOLERANCE[is_noise]
        assert np.abs(keypoints.reshape(in_picture.shape) - in_picture)[rows].max() <= PICTURE_TOLERANCE[is_noise]
    np.testing.assert_array_equal(maxima.reshape(kinds.shape), numbers['scores'])
    np.testing.assert_array_equal(scores.reshape(kinds.shape), numbers['scores'])
    # Undefined in MMPose: no refinement, the first cell.
    assert (cells.reshape(expected.shape)[~has_peak] == 0).all() and not has_peak.all()


@pytest.mark.parametrize('rule, kernel', RULES)
def test_decoders_equal_mmpose(rule, kernel):
    assert_decoded(compact('decode'), '256x192', rule, kernel)


@needs_folder
@pytest.mark.parametrize('rule, kernel', RULES)
@pytest.mark.parametrize('part, size', [('a', '256x192'), ('b', '384x288')])
def test_decoders_equal_mmpose_on_all_maps(part, size, rule, kernel):
    numbers = {key[2:]: array for key, array in full('udp_dark_decode').items() if key.startswith(f'{part}_')}
    assert_decoded(numbers, size, rule, kernel)


@pytest.mark.parametrize('rule', ['dark', 'udp'])
def test_maps_without_a_hill_are_not_refined(rule):
    """Nothing above 0, a value that is not a number, and a single cell above 0 whose surroundings pull the blur below
    0: no step, no warning, and the score is the maximum."""
    maps = np.zeros((4, 64, 48), np.float32)
    maps[1], maps[2, 30, 20] = -2, np.nan
    maps[3] = -1
    maps[3, 30, 20] = 0.5
    with np.errstate(all='raise'):
        cells, scores = find_refined_cells(maps, rule=rule, kernel=11)
    assert cells.tolist() == [[0, 0], [0, 0], [0, 0], [20, 30]]
    np.testing.assert_array_equal(scores, np.float32([0, -2, np.nan, 0.5]))


def test_step_of_udp_at_the_border_and_of_dark_near_it():
    """UDP leaves the map by half a cell; DARK refuses the two outermost cells and can leave it too."""
    y, x = np.mgrid[:64, :48].astype(np.float64)

    def found(at, rule):
        bell = np.exp(-((x - at) ** 2 + (y - 30.2) ** 2) / 8).astype(np.float32)[None]
        return find_refined_cells(bell, rule=rule, kernel=11)[0][0, 0]

    assert found(0, 'udp') == pytest.approx(-0.5, abs=0.01) and found(47, 'udp') == pytest.approx(47.5, abs=0.01)
    assert found(1.3, 'dark') == 1 and found(46, 'dark') == 46
    # Table 4.4 of the measurements with the published code: what is missing outside pulls inwards.
    for rule in ('dark', 'udp'):
        for at, error in ((2, 0.21), (3, 0.05), (4, 0.01), (6, 0.0)):
            assert found(at, rule) - at == pytest.approx(error, abs=6e-3), (rule, at)


def noisy_blobs(rng, peaks, margin: float = 0, shape=(64, 48)) -> np.ndarray:
    """Maps of blobs of these peaks, at least `margin` cells from the border, with a little noise."""
    rows, columns = np.mgrid[:shape[0], :shape[1]]
    center = rng.uniform(margin, np.array(shape) - margin, (len(peaks), 2))
    spread = rng.choice([3, 8, 30], (len(peaks), 1, 1))
    blobs = np.exp(-((rows - center[:, :1, None]) ** 2 + (columns - center[:, 1:, None]) ** 2) / spread)
    return (peaks[:, None, None] * blobs + rng.normal(0, 0.01, blobs.shape)).astype(np.float32)


@pytest.mark.parametrize('rule, kernel', RULES)
def test_blurring_only_around_the_maximum_gives_the_positions_of_whole_maps(rule, kernel):
    rng = np.random.default_rng(3)
    peaks = rng.choice([0, 0.02, 0.7, 1.1, 60], 400)
    maps = noisy_blobs(rng, peaks)
    cells, maxima = find_refined_cells(maps, rule=rule, kernel=kernel)
    with mock.patch.object(refined_decoder, '_blurred_around', lambda maps, rows, *_: (
            np.ones((len(rows), 5, 5)), np.zeros(len(rows), bool))):
        expected, expected_maxima = find_refined_cells(maps, rule=rule, kernel=kernel)
    # In cells; the steps in noise are long, and so are the rounding errors.
    difference = np.abs(cells - expected).max(axis=1)
    assert difference[peaks > 0.5].max() < 1e-5 and difference.max() < 1e-2
    np.testing.assert_array_equal(maxima, expected_maxima)


@pytest.mark.parametrize('rule, kernel', RULES)
def test_whole_maps_are_blurred_only_where_it_has_to_be(rule, kernel):
    """Hardly ever where there is a blob; and where values may reach an end of the range, always."""
    rng = np.random.default_rng(4)
    maps = noisy_blobs(rng, rng.choice([0.7, 1.1], 200), margin=4)
    with mock.patch.object(refined_decoder, '_scaled_around', wraps=refined_decoder._scaled_around) as scaled:
        find_refined_cells(maps, rule=rule, kernel=kernel)
        assert not scaled.called or len(scaled.call_args.args[0]) < 0.03 * len(maps)
        scaled.reset_mock()
        for factor in (100, 1e-3) if rule == 'udp' else (1e-7,):
            find_refined_cells(maps * np.float32(factor), rule=rule, kernel=kernel)
            assert len(scaled.call_args.args[0]) == len(maps)


def assert_targets(numbers: dict, cell: GaussianTargets, rule: str) -> None:
    target, weight = cell(Tensor(numbers['joints'][None]), Tensor(numbers['visible'][None]))
    assert np.abs(target.asnumpy()[0] - numbers[f'{rule}_target']).max() <= LABEL_TOLERANCE
    np.testing.assert_array_equal(weight.asnumpy()[0], numbers[f'{rule}_weight'])
    # What is cut off is exactly zero; MMPose's values below 2^-24 are stored as zero.
    drawn = target.asnumpy()[0] > 2 ** -24
    np.testing.assert_array_equal(drawn[weight.asnumpy()[0] > 0], (numbers[f'{rule}_target'] > 0)[
        weight.asnumpy()[0] > 0])


@pytest.mark.parametrize('rule', ['dark', 'udp'])
def test_targets_equal_mmpose(rule):
    assert_targets(compact('targets'), model_of(config_of(rule)).targets(config_of(rule)), rule)


@needs_folder
@pytest.mark.parametrize('rule, encoding', [('msra', 'published'), ('dark', 'dark'), ('udp', 'udp')])
@pytest.mark.parametrize('part, shapes, heatmap_sigma', [
    ('a', ((256, 192), (64, 48)), 2), ('b', ((384, 288), (96, 72)), 3)])
def test_targets_equal_mmpose_at_both_sizes(part, shapes, heatmap_sigma, rule, encoding):
    numbers = {key[2:]: array for key, array in full('udp_dark_targets').items() if key.startswith(f'{part}_')}
    assert_targets(numbers, GaussianTargets(*shapes, heatmap_sigma, encoding), rule)


def test_udp_matrices_equal_mmpose():
    numbers = compact('warp')
    for row, (center, scale, degrees, size) in enumerate(zip(*(numbers[key] for key in (
            'center', 'scale', 'rotation', 'size')))):
        matrix = udp_crop_matrix(center, scale / 200, degrees, tuple(size))
        np.testing.assert_allclose(matrix, numbers['udp_matrix'][row], rtol=1e-6, atol=3e-5)
        np.testing.assert_array_equal(matrix, Crop(center, scale / 200, degrees, udp=True).matrix(tuple(size)))
        np.testing.assert_allclose(transform_points(numbers['points_image'][row], matrix),
                                   numbers['points_crop_udp'][row], atol=3e-4)
    np.testing.assert_allclose(udp_crop_matrix(*(numbers[key][1] for key in ('center', 'scale')), 0, (1, 1))[:, :2], 0)


def test_way_back_to_the_picture_equals_mmpose():
    numbers = compact('warp')
    for row, (center, scale, grid) in enumerate(zip(*(numbers[key] for key in ('center', 'scale', 'grid')))):
        placed = place_by_size(numbers['cells'][row][None], center[None], scale[None] / 200, input_size=tuple(grid - 1))
        np.testing.assert_allclose(placed[0], numbers['cells_image_udp'][row], atol=1e-4)


@pytest.mark.parametrize('recipe', ['hrnet_w32_coco_256x192', 'mipnet_hrnet_w32_coco_256x192'])
def test_crops_of_training_and_test_are_those_of_the_encoding(recipe):
    for encoding, settings in SETTINGS.items():
        rule = model_of(config := resolve(load_recipe(recipe), settings)).crops(config)
        dice, keypoints = rule.draw_dice(np.random.default_rng(0)), np.zeros((17, 3))
        box = np.float64([10, 20, 90, 200])
        for crop in (rule.test_crop(box, 0.75), rule.train_crop(box, keypoints, np.ones(17, bool), 0.75, 640, dice)):
            assert crop.udp == (encoding == 'udp')


@needs_folder
@pytest.mark.parametrize('name', ['udp', 'biased'])
def test_crops_equal_mmpose(name):
    """With OpenCV 4.11 all are the same; OpenCV 5 interpolates without the grid of 1/32 pixel."""
    numbers = full('udp_warp')
    for row, (center, scale, degrees) in enumerate(zip(*(numbers[f'crop_{key}'] for key in (
            'center', 'scale', 'rotation')))):
        crop = np.empty((64, 48, 3), np.uint8)
        cut_crop(numbers['picture'], Crop(center, scale / np.float32(200), degrees, udp=name == 'udp'), crop)
        difference = np.abs(crop.astype(int) - numbers[f'crop_{name}'][row])
        assert difference.max() <= 4 and (difference > 1).mean() <= 0.01 and (difference > 0).mean() <= 0.15


def flipped_decoding(encoding: str, *, flip: bool) -> np.ndarray:
    """Return what is found (K, 2), in pixels of the input, in the label maps of a crop, averaged with those of the
    mirrored crop."""
    config, numbers = config_of(encoding), compact('flip')
    targets = model_of(config).targets(config)
    everywhere = Tensor(np.ones((1, 17), np.float32))
    maps = targets(Tensor(numbers['ideal_joints'][None]), everywhere)[0].asnumpy()
    if flip:
        mirrored, _ = targets(Tensor(numbers['ideal_joints_mirrored'][None]), everywhere)
        back = MirrorBack(golden('udp_dark')['flip_indices'], shift_heatmap=config.TEST.SHIFT_HEATMAP)(mirrored)
        maps = (maps + back.asnumpy()) * np.float32(0.5)
    return model_of(config).codec.decode(config)(maps)[0][0]


@pytest.mark.parametrize('encoding, name', [('published', 'msra'), ('dark', 'dark'), ('udp', 'udp')])
@pytest.mark.parametrize('flip', [False, True])
def test_flip_test_of_ideal_maps_equals_mmpose(encoding, name, flip):
    """UDP finds every joint, DARK too without the flip test; with it DARK and the published rule lie half a pixel
    right."""
    numbers = compact('flip')
    which = ('plain' if encoding == 'udp' else 'shifted') if flip else 'single'
    # MMPose's UDP says "input" for cell * w / (W - 1); pixels of the crop are cell * (w - 1) / (W - 1).
    unit = np.array([191 / 192, 255 / 256]) if encoding == 'udp' else 1
    found = flipped_decoding(encoding, flip=flip)
    np.testing.assert_allclose(found, numbers[f'ideal_{name}_{which}_input'] * unit, atol=1e-3)
    error = found - numbers['ideal_joints']
    if encoding == 'udp' or (encoding == 'dark' and not flip):
        assert np.abs(error).max() < 5e-3
    elif encoding == 'dark':
        assert error[:, 0].mean() == pytest.approx(0.5, abs=0.01) and np.abs(error[:, 1]).max() < 5e-3


@pytest.mark.parametrize('size', ['256x192', '384x288'])
def test_udp_from_a_joint_in_the_picture_and_back(size):
    """Crop, label map, decoder and the way back leave nothing of the half-pixel errors; the published rules do."""
    errors = {}
    rng, center, scale = np.random.default_rng(3), np.float32([[310, 205]]), np.float32([[0.9, 1.2]])
    joints = center + rng.uniform(-0.35, 0.35, (17, 2)) * scale * 200
    for encoding in SETTINGS:
        config = config_of(encoding, size, **({'TEST.DECODER_KERNEL': 17} if size == '384x288' else {}))
        crop = model_of(config).crops(config).test_crop(
            np.concatenate([center[0] - scale[0] * 80, scale[0] * 160]), config.MODEL.IMAGE_SIZE[0]
            / config.MODEL.IMAGE_SIZE[1])
        np.testing.assert_allclose(crop.scale, scale[0], rtol=1e-6)
        in_input = transform_points(joints, crop.matrix(tuple(config.MODEL.IMAGE_SIZE)))
        maps, _ = model_of(config).targets(config)(Tensor(in_input[None].astype(np.float32)),
                                                    Tensor(np.ones((1, 17), np.float32)))
        found, _ = build_decoder(config)(maps.asnumpy(), crop.center[None], crop.scale[None])
        errors[encoding] = np.abs(found[0] - joints).max()
    assert errors['udp'] < 2e-3 and errors['dark'] < 2e-3 and errors['published'] > 0.4


def test_multi_shift_follows_the_cells_of_udp():
    """A shift by one cell of UDP, which is more than four pixels, moves the maps back by exactly one cell."""
    cells_x, cells_y = 191 / 47, 255 / 63
    seen = []

    def run(crops):
        number = len(seen)
        seen.append(crops)
        heatmaps = np.zeros((1, 1, 64, 48), np.float32)
        right, down = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))[number]
        heatmaps[0, 0, 30 + down, 20 + right] = 1
        return (heatmaps,)

    crops = np.zeros((1, 256, 192, 3), np.uint8)
    mean, = average_over_shifts(run, cells_x, (cells_x, cells_x))(crops)
    assert mean[0, 0, 30, 20] == pytest.approx(1, abs=1e-6) and mean.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(seen[1], shift_crops(crops, cells_x, 0))
    seen.clear()
    mean, = average_over_shifts(run, cells_y, (cells_x, cells_y))(crops)
    # Down and up are a whole cell, right and left a little less.
    assert mean[0, 0, 30, 20] == pytest.approx((3 + 2 * cells_y / cells_x) / 5, abs=1e-6)


@pytest.mark.parametrize('recipe, settings, message', [
    ('hrnet_w32_coco_256x192', {'DATASET.ENCODING': 'udp'}, 'DATASET.ENCODING=udp needs TEST.SHIFT_HEATMAP=false'),
    ('hrnet_w32_coco_256x192', {'DATASET.ENCODING': 'megvii'}, 'should be one of published, dark, udp'),
    ('hrnet_w32_coco_256x192', {'TEST.DECODER': 'taylor'}, 'should be one of published, dark, udp'),
    ('hrnet_w32_coco_256x192', {'TEST.DECODER': 'dark', 'TEST.POST_PROCESS': False}, 'TEST.POST_PROCESS=false leaves'),
    ('hrnet_w32_coco_256x192', {'TEST.DECODER_KERNEL': 10}, 'should be odd, from 3 to 99, is 10'),
    ('hrnet_w32_coco_256x192', {'TEST.DECODER_KERNEL': 101}, 'should be odd, from 3 to 99, is 101'),
    ('mspn_2stg_coco_256x192', {'DATASET.ENCODING': 'udp', 'TEST.SHIFT_HEATMAP': False},
     'DATASET.ENCODING=udp is not for mspn; it has published'),
    ('mspn_2stg_coco_256x192', {'DATASET.ENCODING': 'dark'}, 'DATASET.ENCODING=dark is not for mspn')])
def test_settings_that_do_not_fit_are_refused(recipe, settings, message):
    with pytest.raises(PoseError, match=message):
        resolve(load_recipe(recipe), settings)


def test_metadata_tell_the_decoder():
    """What a reader of an exported file needs to decode its heatmaps."""
    udp, mspn = config_of('udp'), resolve(load_recipe('mspn_2stg_coco_256x192'), {'TEST.DECODER': 'dark'})
    assert model_of(udp).codec.describe(udp) == {'rule': 'UDP', 'blur_kernel': 11,
                                                 'pixels_per_cell': [191 / 47, 255 / 63]}
    assert model_of(mspn).codec.describe(mspn) == {'rule': 'DARK', 'blur_kernel': 11, 'pixels_per_cell': 4,
                                                   'first_cell': 2, 'peak': 255}


def test_mspn_with_the_decoder_of_dark():
    """Its heatmaps peak at 255, its cells stand for their middles, and an empty map scores 0.5."""
    config = resolve(load_recipe('mspn_2stg_coco_256x192'), {'TEST.DECODER': 'dark'})
    y, x = np.mgrid[:64, :48]
    bell = np.exp(-((x - 20.3) ** 2 + (y - 30.8) ** 2) / 8).astype(np.float32)
    heatmaps = np.stack([bell * 255, bell * 0])[None]
    keypoints, scores = model_of(config).codec.decode(config)(heatmaps)
    np.testing.assert_allclose(keypoints[0], [[20.3 * 4 + 2, 30.8 * 4 + 2], [2, 2]], atol=1e-3)
    np.testing.assert_allclose(scores[0], [bell.max() + 0.5, 0.5], rtol=1e-6)
