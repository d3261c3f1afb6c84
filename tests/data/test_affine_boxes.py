"""Boxes, centers, scales and the matrices between picture and crop: closed forms and worked examples."""
import numpy as np
import pytest

from src.data.geometry import (
    center_scale_from_box,
    clip_boxes_to_pictures,
    crop_matrix,
    find_outside_boxes,
    find_unusable_boxes,
    fit_aspect,
    picture_matrix,
    transform_points,
)

CENTER, SCALE, SIZE = np.array([320.5, 240.25], np.float32), np.array([1.2, 1.6], np.float32), (192, 256)
IMAGE_SIZE = (640, 480)
NAN, INFINITY = float('nan'), float('inf')


def closed_form(center, scale, degrees, size):
    ratio, angle = size[0] / (200 * scale[0]), np.deg2rad(degrees)
    rotation = ratio * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.hstack([rotation, (np.array(size) / 2 - rotation @ np.asarray(center, np.float64))[:, None]])


def random_crops(count=50):
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield (rng.uniform(0, 600, 2).astype(np.float32), rng.uniform(0.1, 4, 2).astype(np.float32),
               rng.uniform(-90, 90), (192, 256) if rng.random() < 0.5 else (256, 256))


@pytest.mark.parametrize('degrees, matrix', [
    (0, [[0.8, 0, -160.4], [0, 0.8, -64.2]]),
    (30, [[0.692820, 0.4, -222.148945], [-0.4, 0.692820, 89.749936]]),
    (-45, [[0.565685, -0.565685, 50.603745], [0.565685, 0.565685, -189.208102]])])
def test_worked_crop_matrices(degrees, matrix):
    # Three float32 point pairs are up to 3e-5 off the closed form.
    np.testing.assert_allclose(crop_matrix(CENTER, SCALE, degrees, SIZE), matrix, atol=3e-5)


def test_worked_picture_matrix():
    np.testing.assert_allclose(picture_matrix(CENTER, SCALE, (48, 64)), [[5, 0, 200.5], [0, 5, 80.25]], atol=3e-5)


def test_crop_matrix_equals_its_closed_form():
    for center, scale, degrees, size in random_crops():
        matrix = crop_matrix(center, scale, degrees, size)
        assert matrix.shape == (2, 3) and matrix.dtype == np.float64
        # The published float32 points of a very small box lie close together; compare where pixels go.
        corners = center + 100 * scale[0] * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [0, 0]])
        np.testing.assert_allclose(transform_points(corners, matrix),
                                   transform_points(corners, closed_form(center, scale, degrees, size)), atol=5e-3)


def test_only_the_width_of_the_scale_matters():
    other = np.array([SCALE[0], 77], np.float32)
    np.testing.assert_array_equal(crop_matrix(CENTER, SCALE, 20, SIZE), crop_matrix(CENTER, other, 20, SIZE))
    np.testing.assert_array_equal(picture_matrix(CENTER, SCALE, SIZE), picture_matrix(CENTER, other, SIZE))


def test_center_goes_to_the_middle_of_the_crop():
    for center, scale, degrees, size in random_crops():
        matrix = crop_matrix(center, scale, degrees, size)
        np.testing.assert_allclose(transform_points(center, matrix), np.array(size) / 2, atol=1e-3)


def test_positive_rotation_turns_the_content_counter_clockwise():
    matrix = crop_matrix(CENTER, SCALE, 90, SIZE)
    right_of_center, above_center = transform_points(CENTER + np.array([[50, 0], [0, -50]]), matrix)
    np.testing.assert_allclose(right_of_center, (96, 128 - 40), atol=1e-3)
    np.testing.assert_allclose(above_center, (96 - 40, 128), atol=1e-3)


def test_picture_matrix_is_the_inverse():
    points = np.random.default_rng(1).uniform(-100, 700, (20, 2))
    for center, scale, _, size in random_crops():
        there = transform_points(points, crop_matrix(center, scale, 0, size))
        np.testing.assert_allclose(transform_points(there, picture_matrix(center, scale, size)), points, atol=0.02)


def test_points_of_any_number_of_axes():
    matrix = np.array([[2.0, 0, 1], [0, 3, -1]])
    points = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    before = points.copy()
    moved = transform_points(points, matrix)
    assert moved.shape == points.shape and moved.dtype == np.float64
    np.testing.assert_array_equal(moved, points * [2, 3] + [1, -1])
    np.testing.assert_array_equal(points, before)
    np.testing.assert_array_equal(transform_points(np.zeros((0, 2)), matrix), np.zeros((0, 2)))
    np.testing.assert_array_equal(transform_points(np.array([3, 4]), matrix), [7, 11])


def test_center_and_scale_of_a_box():
    center, scale = center_scale_from_box(np.array([10.5, 20, 40, 100]))
    assert center.dtype == scale.dtype == np.float32
    assert center.tolist() == [30.5, 70] and scale.tolist() == pytest.approx([0.2, 0.5])


@pytest.mark.parametrize('scale, fitted', [((1.2, 1.6), (1.2, 1.6)), ((1.2, 0.4), (1.2, 1.6)), ((0.3, 1.6), (1.2, 1.6)),
                                           ((0.0, 1.6), (1.2, 1.6))])
def test_fit_aspect_only_ever_grows(scale, fitted):
    ours = fit_aspect(np.array(scale, np.float32), 0.75)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, fitted, rtol=1e-6)


def test_fit_aspect_contains_the_scale_and_has_the_aspect():
    for _, scale, _, size in random_crops():
        aspect = size[0] / size[1]
        before = scale.copy()
        fitted = fit_aspect(scale, aspect)
        assert (fitted >= scale * (1 - 1e-6)).all() and (np.isclose(fitted, scale, rtol=1e-6)).any()
        assert fitted[0] / fitted[1] == pytest.approx(aspect, rel=1e-6)
        np.testing.assert_allclose(fit_aspect(fitted, aspect), fitted, rtol=1e-6)
        np.testing.assert_array_equal(scale, before)


@pytest.mark.parametrize('box, clipped', [
    ((10, 20, 30, 40), (10, 20, 29, 39)),                # one pixel smaller, also well inside
    ((-10, -20, 60, 70), (0, 0, 59, 69)),                # moved, not cut: the width counts from the new corner
    ((600, 400, 100, 100), (600, 400, 39, 79)),
    ((0, 0, 640, 480), (0, 0, 639, 479)),
    ((10.5, 20.25, 30.5, 40.5), (10.5, 20.25, 29.5, 39.5)),
    ((10, 20, 0.5, 40), (10, 20, 0, 39)),
    ((700, 20, 30, 40), (700, 20, -61, 39))])            # outside: negative, which the reader drops
def test_clipping_as_simple_baselines(box, clipped):
    np.testing.assert_allclose(clip_boxes_to_pictures(np.array([box], float), np.array([IMAGE_SIZE])), [clipped])


def test_unusable_boxes():
    boxes = np.array([[1, 2, 3, 4], [NAN, 2, 3, 4], [1, 2, 3, INFINITY], [1, 2, 0, 4], [1, 2, 3, -4],
                      [1, -INFINITY, 0, 0], [-500, 2, 1e-3, 1e-3]])
    not_finite, without_area = find_unusable_boxes(boxes)
    assert not_finite.tolist() == [False, True, True, False, False, True, False]
    assert without_area.tolist() == [False, False, False, True, True, False, False]


def test_outside_boxes():
    boxes = np.array([[639.5, 479.5, 5, 5], [640, 10, 5, 5], [10, 480, 5, 5], [-5, 10, 5, 5], [-5, 10, 5.5, 5],
                      [10, -20, 5, 20], [10, 10, 5, 5], [-50, -50, 1000, 1000]], float)
    outside = find_outside_boxes(boxes, np.tile(IMAGE_SIZE, (len(boxes), 1)))
    assert outside.tolist() == [False, True, True, True, False, True, False, False]


def test_no_boxes():
    none = np.zeros((0, 4))
    assert all(len(mask) == 0 for mask in find_unusable_boxes(none))
    assert len(find_outside_boxes(none, np.zeros((0, 2)))) == 0


def test_boxes_that_float32_crops_cannot_hold_are_unusable():
    """A pose of NaN would count as a perfect one."""
    boxes = np.array([[0, 0, 1e39, 3], [1e9, 0, 5, 5], [0, 0, 1e-9, 5], [0, 0, 5, 5]], np.float64)
    not_finite, without_area = find_unusable_boxes(boxes)
    assert not_finite.tolist() == [True, True, False, False]
    assert without_area.tolist() == [False, False, True, False]
