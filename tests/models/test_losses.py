"""The losses against PyTorch, against sums written out joint by joint, and the magnitudes of an empty prediction."""
from functools import cache

import mindspore as ms
import numpy as np
import pytest
from golden_data import (
    HEATMAP_SHAPE,
    LOSS_TOLERANCE,
    MSPN_TRAINED,
    TRAINED_SHAPE,
    golden,
    heatmaps_of,
    joints_and_validity_of,
    supervised_outputs_of,
    targets_and_loss_of,
)

from src.models.common.gaussian_targets import GaussianTargets
from src.models.common.mse_loss import JointsMSELoss
from src.models.mspn.loss import JointsL2Loss
from src.models.mspn.targets import MSPNTargets

SHAPE = (8, 6)


def _through_host(tensors):
    """Return host copies of a graph's outputs.

    MindSpore 2.7 on CPU reads wrong values in a graph that gets, in tuples, tensors of the host and outputs of another
    graph side by side, as these tests would do.
    """
    return [ms.Tensor(tensor.asnumpy()) for tensor in tensors]


@pytest.mark.parametrize('name', MSPN_TRAINED)
def test_mspn_losses_equal_pytorch(name):
    outputs = [[ms.Tensor(heatmaps) for heatmaps in stage] for stage in supervised_outputs_of(name)]
    labels, validity = targets_and_loss_of(name)[0](*(ms.Tensor(array) for array in joints_and_validity_of(name)))
    labels = _through_host(labels)
    for ohkm in (0, 1):
        for coarse_to_fine in (0, 1):
            loss = JointsL2Loss(ohkm=bool(ohkm), coarse_to_fine=bool(coarse_to_fine))(outputs, labels, validity)
            reference = golden(name)[f'loss_eval_ohkm{ohkm}_ctf{coarse_to_fine}']
            assert float(loss) == pytest.approx(float(reference), rel=LOSS_TOLERANCE), (ohkm, coarse_to_fine)


def test_simple_pose_losses_equal_pytorch():
    name = 'simplepose_r50_256x192'
    heatmaps = ms.Tensor(heatmaps_of(name))
    target, weight = targets_and_loss_of(name)[0](*(ms.Tensor(array) for array in joints_and_validity_of(name)))
    for key, use_target_weight in (('loss_eval', True), ('loss_eval_noweight', False)):
        loss = JointsMSELoss(use_target_weight=use_target_weight)(heatmaps, target, weight)
        assert float(loss) == pytest.approx(float(golden(name)[key]), rel=LOSS_TOLERANCE), key


def _validity(visible, occluded, num_keypoints=17):
    """(1, K): so many 2s, so many 1s, the rest 0, shuffled."""
    values = np.zeros(num_keypoints, np.float32)
    values[:visible], values[visible:visible + occluded] = 2, 1
    return np.random.default_rng(0).permutation(values)[None]


def _empty_outputs(num_stages, shape, num_people=1):
    return [[ms.Tensor(np.zeros((num_people, 17) + shape, np.float32)) for _ in range(4)] for _ in range(num_stages)]


@cache
def _mspn_loss(ohkm, coarse_to_fine):
    """One for all tests of the same shapes: it is compiled once."""
    return JointsL2Loss(ohkm=ohkm, coarse_to_fine=coarse_to_fine)


@pytest.mark.parametrize('visible, occluded', [(17, 0), (9, 4), (5, 0), (2, 3), (0, 12), (0, 0)])
@pytest.mark.parametrize('ohkm', [True, False])
@pytest.mark.parametrize('coarse_to_fine', [True, False])
def test_mspn_loss_of_constant_labels_and_empty_predictions(visible, occluded, ohkm, coarse_to_fine):
    """A label of constant c costs c*c*(#v>1)/17 in a plain term and c*c*min(8, #v>0)/8 in a mined one."""
    constants = np.array([3., 5., 7., 11., 13.])
    labels = [ms.Tensor(np.full((1, 17) + SHAPE, constant, np.float32)) for constant in constants]
    loss = _mspn_loss(ohkm, coarse_to_fine)(
        _empty_outputs(2, SHAPE), labels, ms.Tensor(_validity(visible, occluded)))
    expected = 0
    for first in (0, 1 if coarse_to_fine else 0):
        squares = constants[first:first + 4] ** 2
        finest = min(8, visible + occluded) / 8 if ohkm else visible / 17
        expected += squares[:3].sum() / 4 * visible / 17 + squares[3] * finest
    assert float(loss) == pytest.approx(expected, rel=LOSS_TOLERANCE)


@pytest.mark.parametrize('visible, occluded', [(17, 0), (7, 3)])
def test_mspn_loss_of_real_labels_and_empty_predictions(visible, occluded):
    """377.72 * n2/17 + 216.27 for two stages and joints in the interior; a fresh network starts near it."""
    joints = np.random.default_rng(1).uniform(48, 140, (1, 17, 2)).astype(np.float32)
    labels, validity = MSPNTargets(TRAINED_SHAPE, HEATMAP_SHAPE)(ms.Tensor(joints),
                                                                 ms.Tensor(_validity(visible, occluded)))
    loss = JointsL2Loss()(_empty_outputs(2, HEATMAP_SHAPE), _through_host(labels), validity)
    assert float(loss) == pytest.approx(377.72 * visible / 17 + 216.27, abs=0.02)


def _mspn_loss_by_joint(outputs, labels, validity, topk):
    """The formula person by person and joint by joint, in float64."""
    total = 0.0
    for index, stage in enumerate(outputs):
        first = 1 if index == len(outputs) - 1 else 0
        for person in range(len(validity)):
            terms = [[np.mean((stage[unit][person, joint] - labels[unit + first][person, joint] * (v > 1)) ** 2)
                      for joint, v in enumerate(validity[person])] for unit in range(3)]
            mined = [np.mean((stage[3][person, joint] - labels[3 + first][person, joint]) ** 2) * (v > 0)
                     for joint, v in enumerate(validity[person])]
            total += (np.mean(terms, axis=1).sum() / 4 + sum(sorted(mined)[-topk:]) / topk) / len(validity)
    return total


@pytest.mark.parametrize('num_stages', [1, 3])
@pytest.mark.parametrize('topk', [8, 3])
def test_mspn_loss_equals_the_sum_over_joints(num_stages, topk):
    rng = np.random.default_rng(num_stages)
    outputs = rng.standard_normal((num_stages, 4, 3, 17) + SHAPE)
    labels = rng.standard_normal((5, 3, 17) + SHAPE)
    # People with many, few and no valid joints.
    validity = np.concatenate([_validity(9, 4), _validity(2, 1), _validity(0, 0)])
    loss = JointsL2Loss(topk=topk)([[ms.Tensor(unit.astype(np.float32)) for unit in stage] for stage in outputs],
                                   [ms.Tensor(label.astype(np.float32)) for label in labels], ms.Tensor(validity))
    assert float(loss) == pytest.approx(_mspn_loss_by_joint(outputs, labels, validity, topk), rel=LOSS_TOLERANCE)


def test_simple_pose_loss_equals_the_sum_over_joints():
    rng = np.random.default_rng(0)
    heatmaps, target = rng.standard_normal((2, 3, 17) + SHAPE)
    weight = (rng.random((3, 17)) > 0.4).astype(np.float64)
    tensors = [ms.Tensor(array.astype(np.float32)) for array in (heatmaps, target, weight)]
    by_joint = [np.mean((weight[:, joint, None, None] * (heatmaps - target)[:, joint]) ** 2) / 2 for joint in range(17)]
    assert float(JointsMSELoss()(*tensors)) == pytest.approx(np.mean(by_joint), rel=LOSS_TOLERANCE)
    unweighted = np.mean((heatmaps - target) ** 2) / 2
    assert float(JointsMSELoss(use_target_weight=False)(*tensors)) == pytest.approx(unweighted, rel=LOSS_TOLERANCE)


@pytest.mark.parametrize('num_present', [17, 9, 0])
def test_simple_pose_loss_of_empty_predictions(num_present):
    """0.002045 times the fraction of present joints, for 64x48 maps and a standard deviation of 2 cells."""
    joints = np.random.default_rng(1).uniform(48, 140, (1, 17, 2)).astype(np.float32)
    present = (_validity(num_present, 0) > 0).astype(np.float32)
    target, weight = GaussianTargets(TRAINED_SHAPE, HEATMAP_SHAPE, 2)(ms.Tensor(joints), ms.Tensor(present))
    loss = JointsMSELoss()(ms.Tensor(np.zeros((1, 17) + HEATMAP_SHAPE, np.float32)), target, weight)
    assert float(loss) == pytest.approx(0.002045 * num_present / 17, abs=6e-7)
