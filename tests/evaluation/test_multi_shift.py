"""Averaging over moved crops: what moves where, what happens at the border, and what it does to keypoints."""
import numpy as np
import pytest
from decoders import decode_gaussian
from test_exporting import seeded, tiny_config

from src.config import resolve
from src.data.skeletons import COCO
from src.evaluation.multi_shift import DIRECTIONS, average_over_shifts, shift_cells, shift_crops
from src.evaluation.predictors import network_predictor
from src.export.example_crops import painted_crops

HEIGHT, WIDTH = 64, 48


def crops_of(seed=0, count=2):
    return np.random.default_rng(seed).integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8)


def brightness(crops):
    """A network of one convolution: the mean of every cell's 4 x 4 pixels, per channel."""
    cells = crops.reshape(len(crops), HEIGHT // 4, 4, WIDTH // 4, 4, 3).astype(np.float32)
    return (cells.mean(axis=(2, 4)).transpose(0, 3, 1, 2),)


@pytest.mark.parametrize('x, y', [(4, 0), (-4, 0), (0, 7), (0, -7), (3, -2), (0, 0)])
def test_crops_move_by_whole_pixels_exactly(x, y):
    crops = crops_of()
    moved = shift_crops(crops, x, y)
    framed = np.pad(crops, ((0, 0), (8, 8), (8, 8), (0, 0)))
    np.testing.assert_array_equal(moved, framed[:, 8 - y:8 - y + HEIGHT, 8 - x:8 - x + WIDTH])


def test_half_a_pixel_is_interpolated():
    moved = shift_crops(crops_of(), 0.5, 0).astype(float)
    crops = crops_of().astype(float)
    assert np.abs(moved[:, :, 1:] - (crops[:, :, 1:] + crops[:, :, :-1]) / 2).max() <= 1


@pytest.mark.parametrize('axis', [0, 1])
def test_cells_move_by_parts(axis):
    maps = np.array([1, 2, 4, 8], np.float32).reshape((4, 1) if axis == 0 else (1, 4))
    for cells, expected in ((0, [1, 2, 4, 8]), (1, [0, 1, 2, 4]), (-1, [2, 4, 8, 0]), (0.25, [0.75, 1.75, 3.5, 7]),
                            (-0.25, [1.25, 2.5, 5, 6]), (1.5, [0, 0.5, 1.5, 3]), (-3.5, [4, 0, 0, 0]),
                            (3.5, [0, 0, 0, 0.5])):
        moved = shift_cells(maps, cells, axis)
        np.testing.assert_allclose(moved.ravel(), expected)
        assert moved.shape == maps.shape and moved.dtype == np.float32


def test_four_pixels_are_one_cell_exactly():
    """Every moved crop, moved back, has the cells of the crop itself, where it shows them."""
    crops = crops_of()
    expected, = brightness(crops)
    for right, down in DIRECTIONS:
        heatmaps, = brightness(shift_crops(crops, 4 * right, 4 * down))
        back = shift_cells(shift_cells(heatmaps, -right, 3), -down, 2)
        shown = shift_cells(shift_cells(np.ones_like(heatmaps), -right, 3), -down, 2) > 0
        np.testing.assert_array_equal(back[shown], expected[shown])
        assert shown.mean() == (1 if not right and not down else 1 - 4 / (HEIGHT if down else WIDTH))
    mean, = average_over_shifts(brightness, 4)(crops)
    np.testing.assert_allclose(mean, expected, rtol=1e-6)


@pytest.mark.parametrize('shift', [1, 2, 3, 4, 6.5, 8, 47])
def test_what_is_the_same_everywhere_stays_so(shift):
    """Up to the border, where fewer crops show a cell."""
    mean, = average_over_shifts(lambda crops: (np.full((len(crops), 3, 16, 12), 255, np.float32),), shift)(crops_of())
    np.testing.assert_allclose(mean, 255, rtol=1e-6)


def test_five_crops_and_only_their_own_cells_count():
    """The maps of the moved crops are wrong in the cells that come from outside of the crop; nobody sees those."""
    seen = []

    def run(crops):
        seen.append(crops.copy())
        return brightness(crops)

    crops = crops_of()
    average_over_shifts(run, 4)(crops)
    np.testing.assert_array_equal(seen[0], crops)
    for moved, (right, down) in zip(seen, DIRECTIONS):
        np.testing.assert_array_equal(moved, shift_crops(crops, 4 * right, 4 * down))
    assert len(seen) == 5


@pytest.mark.parametrize('shift', [2, 4, 5])
@pytest.mark.parametrize('x, y', [(4, 0), (0, 8), (-8, 4)])
def test_keypoints_follow_the_content(x, y, shift):
    y_of, x_of = np.mgrid[:HEIGHT, :WIDTH]
    spots = [(21, 30), (27, 37), (24, 26)]
    crop = np.stack([200 * np.exp(-((x_of - at_x) ** 2 + (y_of - at_y) ** 2) / 60) for at_x, at_y in spots], axis=2)
    crops = np.stack([crop, np.roll(crop, (y, x), (0, 1))]).astype(np.uint8)
    heatmaps, = average_over_shifts(brightness, shift)(crops)
    center, scale = np.tile([[WIDTH / 2, HEIGHT / 2]], (2, 1)), np.tile([[WIDTH / 200, HEIGHT / 200]], (2, 1))
    keypoints, _ = decode_gaussian(heatmaps, center, scale)
    np.testing.assert_allclose(keypoints[1] - keypoints[0], np.tile([x, y], (3, 1)), atol=1e-4)
    assert np.abs(keypoints[0] - spots).max() < 4


def test_the_network_is_asked_for_the_mean_with_the_flip_test_inside():
    recipe = tiny_config('simplepose_small_synthetic_160x128')
    network, crops = seeded(recipe), painted_crops(recipe, 2)
    plain = network_predictor(recipe, network, COCO.flip_index)
    shifted = network_predictor(resolve(recipe, {'TEST.MULTI_SHIFT': 4}), network, COCO.flip_index)
    ours, = shifted.run(crops)
    maps, shown = [], []
    for right, down in DIRECTIONS:
        heatmaps, = plain.run(shift_crops(crops, 4 * right, 4 * down))
        for target, values in ((maps, heatmaps), (shown, np.ones_like(heatmaps))):
            target.append(shift_cells(shift_cells(values, -right, 3), -down, 2))
    np.testing.assert_allclose(ours, sum(maps) / sum(shown), rtol=1e-4, atol=1e-5 * np.abs(ours).max())
    # In the middle all five count.
    middle = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    assert (sum(shown)[middle] == 5).all() and np.abs(ours - plain.run(crops)[0]).max() > 1e-3 * np.abs(ours).max()


def test_shifts_beyond_the_crop_are_refused():
    with pytest.raises(ValueError, match=r'TEST.MULTI_SHIFT should be below the sides of MODEL.IMAGE_SIZE \[64, 96\]'):
        resolve(tiny_config('simplepose_small_synthetic_160x128'), {'TEST.MULTI_SHIFT': 64})
