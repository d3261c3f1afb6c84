"""Label maps: equal to those of the published loaders, the borders included."""
import mindspore as ms
import numpy as np
import pytest
from golden_data import (
    HEATMAP_SHAPE,
    LABEL_TOLERANCE,
    MSPN_TRAINED,
    TRAINED_SHAPE,
    golden,
    joints_and_validity_of,
    targets_and_loss_of,
)

from src.models.common.gaussian_targets import GaussianTargets
from src.models.mspn.targets import MSPN_KERNELS, MSPNTargets

# Right of the peak, by kernel.
CENTER_ROWS = {
    15: [255, 236.820, 189.693, 131.051, 78.088, 40.131, 17.788, 6.801, 0],
    11: [255, 225.037, 154.665, 82.786, 34.510, 11.204, 0],
    9: [255, 216.75, 127.5, 55.25, 17, 0],
    7: [255, 198.333, 99.167, 28.333, 0],
    5: [255, 170, 42.5, 0],
}
SUMS = {15: 10750.9, 11: 6339.1, 9: 4642.1, 7: 3223.7, 5: 1813.3}
GAUSSIAN_ROWS = {2: [1, 0.882497, 0.606531, 0.324652, 0.135335, 0.043937, 0.011109, 0],
                 3: [1, 0.945959, 0.800737, 0.606531, 0.411112, 0.249352, 0.135335, 0.065729, 0.028566, 0.011109, 0]}
GAUSSIAN_SUMS = {2: 25.0813, 3: 56.3830}
SHAPES_BY_SIGMA = {2: (TRAINED_SHAPE, HEATMAP_SHAPE), 3: ((384, 288), (96, 72))}


def _labels(joints, validity=None):
    """[(x, y), ...] -> {kernel: (K, h, w)} of one person."""
    joints = np.array([joints], np.float32)
    validity = np.ones(joints.shape[:2], np.float32) * (2 if validity is None else np.array([validity], np.float32))
    labels, returned = MSPNTargets(TRAINED_SHAPE, HEATMAP_SHAPE)(ms.Tensor(joints), ms.Tensor(validity))
    np.testing.assert_array_equal(returned.asnumpy(), validity)
    return {kernel: label.asnumpy()[0] for kernel, label in zip(MSPN_KERNELS, labels)}


def _gaussian(joints, validity=None, heatmap_sigma=2):
    """[(x, y), ...] -> target (K, h, w) and weight (K,) of one person."""
    joints = np.array([joints], np.float32)
    validity = np.ones(joints.shape[:2], np.float32) if validity is None else np.array([validity], np.float32)
    cell = GaussianTargets(*SHAPES_BY_SIGMA[heatmap_sigma], heatmap_sigma)
    target, weight = cell(ms.Tensor(joints), ms.Tensor(validity))
    return target.asnumpy()[0], weight.asnumpy()[0]


def test_an_absent_joint_has_an_empty_map_that_counts():
    """Beside a labelled and an unlabelled one, and one beyond the map."""
    target, weight = _gaussian([(40, 40), (40, 40), (40, 40), (900, 40)], [1, 0, -1, 1])
    assert weight.tolist() == [1, 0, 1, 0]
    assert target[0].max() == 1 and not target[1:].any()


def _peaks(maps):
    """(..., h, w) -> indices of the first maximum of each map."""
    return maps.reshape(maps.shape[:-2] + (-1,)).argmax(-1)


@pytest.mark.parametrize('name', MSPN_TRAINED)
def test_mspn_labels_equal_the_original(name):
    reference = golden(name)['labels']
    joints, validity = joints_and_validity_of(name)
    labels, _ = targets_and_loss_of(name)[0](ms.Tensor(joints), ms.Tensor(validity))
    ours = np.stack([label.asnumpy() for label in labels], axis=1)
    assert ours.shape == reference.shape
    assert np.abs(ours - reference).max() <= LABEL_TOLERANCE * 255
    np.testing.assert_array_equal(_peaks(ours), _peaks(reference))


def test_gaussian_targets_equal_the_original():
    name = 'simplepose_r50_256x192'
    reference = golden(name)
    target, weight = targets_and_loss_of(name)[0](*(ms.Tensor(array) for array in joints_and_validity_of(name)))
    assert np.abs(target.asnumpy() - reference['target']).max() <= LABEL_TOLERANCE
    np.testing.assert_array_equal(_peaks(target.asnumpy()), _peaks(reference['target']))
    np.testing.assert_array_equal(weight.asnumpy(), reference['target_weight'][..., 0])


def test_mspn_label_of_an_interior_joint():
    labels = _labels([(100.3, 77.9)])
    for kernel, row in CENTER_ROWS.items():
        label = labels[kernel][0]
        assert np.unravel_index(label.argmax(), label.shape) == (19, 25)
        np.testing.assert_allclose(label[19, 25:25 + len(row)], row, atol=6e-4)
        np.testing.assert_allclose(label[19, 25 - len(row) + 1:26][::-1], row, atol=6e-4)
        np.testing.assert_allclose(label[19:19 + len(row), 25], row, atol=6e-4)
        assert np.count_nonzero(label) == kernel * kernel
        assert label.sum() == pytest.approx(SUMS[kernel], abs=0.06)


def test_mspn_mean_squares_of_an_interior_label():
    labels = _labels([(100.3, 77.9)])
    for kernel, mean_square in {15: 449.49, 11: 265.95, 9: 196.62, 7: 136.24, 5: 80.03}.items():
        assert np.mean(labels[kernel].astype(np.float64) ** 2) == pytest.approx(mean_square, abs=6e-3)


def test_mspn_labels_at_the_border():
    """The blur reflects at the border, and then the map's maximum is set to 255: in column 1 the peak moves."""
    in_column = _labels([(2, 100), (6, 100), (10, 100)])[7]
    row = in_column[:, 25]
    np.testing.assert_allclose(row[0, :5], [255, 198.333, 99.167, 28.333, 0], atol=6e-4)
    np.testing.assert_allclose(row[1, :6], [255, 227.68, 145.71, 63.75, 18.21, 0], atol=6e-3)
    np.testing.assert_allclose(row[2, :4], [198.333, 226.667, 255, 198.333], atol=6e-3)
    # The same at the right and, with rows for columns, at the bottom.
    mirrored = _labels([(189, 100), (185, 100)])[7][:, 25]
    np.testing.assert_allclose(mirrored[:, ::-1], row[:2], atol=1e-4)
    upright = _labels([(100, 253), (100, 249)])[7][:, :, 25]
    np.testing.assert_allclose(upright[:, ::-1][:, :5], row[:2, :5], atol=1e-4)


def test_mspn_cells_are_truncated():
    cells = {(100.3, 77.9): (25, 19), (103.99, 79.99): (25, 19), (104, 80): (26, 20), (48, 255): (12, 63)}
    labels = _labels(list(cells))[15]
    for label, (column, row) in zip(labels, cells.values()):
        assert np.unravel_index(label.argmax(), label.shape) == (row, column)


def test_mspn_joints_without_validity_have_empty_labels():
    labels = _labels([(100, 77)] * 3, validity=[0, 1, 2])
    for label in labels.values():
        assert np.all(label[0] == 0)
        assert label[1].max() == 255
        np.testing.assert_array_equal(label[1], label[2])


@pytest.mark.parametrize('heatmap_sigma', [2, 3])
def test_gaussian_target_of_an_interior_joint(heatmap_sigma):
    target, weight = _gaussian([(100.3, 77.9), (101.9, 78.0)], heatmap_sigma=heatmap_sigma)
    row = GAUSSIAN_ROWS[heatmap_sigma]
    for joint_target, (column, line) in zip(target, [(25, 19), (25, 20)]):
        assert joint_target[line, column] == 1
        np.testing.assert_allclose(joint_target[line, column:column + len(row)], row, atol=1e-6)
        np.testing.assert_allclose(joint_target[line:line + len(row), column], row, atol=1e-6)
        assert np.count_nonzero(joint_target) == (6 * heatmap_sigma + 1) ** 2
        assert joint_target.sum() == pytest.approx(GAUSSIAN_SUMS[heatmap_sigma], abs=1e-4)
    assert weight.tolist() == [1, 1]


def test_gaussian_cells_are_truncated_towards_zero():
    """Cell 0 is wider than the others; patches reach in from outside, and one that ends just before cell 0 counts."""
    target, weight = _gaussian([(-2.1, 100), (-26, 100), (-30, 100), (-34, 100)])
    row = GAUSSIAN_ROWS[2]
    np.testing.assert_allclose(target[0, 25, :8], row, atol=1e-6)                # -2.1 -> cell 0
    np.testing.assert_allclose(target[1, 25, :2], [row[6], 0], atol=1e-6)       # -26 -> cell -6
    assert np.all(target[2] == 0)                                               # -30 -> cell -7: mu + r + 1 = 0
    assert np.all(target[3] == 0)                                               # -34 -> cell -8
    assert weight.tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize('axis', [0, 1])
def test_gaussian_targets_beyond_the_far_border(axis):
    side = HEATMAP_SHAPE[::-1][axis]
    # mu = side + 5 leaves one cell inside, mu = side + 6 none.
    joints = [(100, 100), (100, 100)]
    for index, mu in enumerate((side + 5, side + 6)):
        joints[index] = (4 * mu, 100) if axis == 0 else (100, 4 * mu)
    target, weight = _gaussian(joints)
    assert weight.tolist() == [1, 0]
    assert target[0].max() == pytest.approx(0.011109, abs=1e-6)
    line = target[0][25] if axis == 0 else target[0][:, 25]
    assert np.flatnonzero(line).tolist() == [side - 1]
    assert np.all(target[1] == 0)


def test_gaussian_joints_without_validity_have_no_target():
    target, weight = _gaussian([(100, 77)] * 2, validity=[0, 1])
    assert weight.tolist() == [0, 1]
    assert np.all(target[0] == 0) and target[1].max() == 1
