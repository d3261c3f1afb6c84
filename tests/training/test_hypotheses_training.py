"""What MIPNet learns from a batch: targets of every hypothesis, the published loss, steps that keep a crop together.

The network is a stand-in with MIPNet's ways: features of the image, modulated by an embedding of the instance code that
BatchNorm normalises over the rows of the batch.
"""
from functools import cache

import numpy as np
import pytest
from golden_data import LOSS_TOLERANCE
from mindspore import Parameter, Tensor, nn, ops

from src.config import load_recipe, resolve
from src.data.loader import BatchPlan
from src.models.common.gaussian_targets import GaussianTargets
from src.models.common.mse_loss import JointsMSELoss
from src.models.mipnet.codes import instance_codes
from src.models.mipnet.crops import MIPNetCrops
from src.models.mipnet.targets import HypothesisTargets
from src.models.registry import model_of
from src.training.optimizers import TorchAdam
from src.training.step import LossGraph, TrainStep

INPUT_SHAPE, HEATMAP_SHAPE = (64, 48), (16, 12)
NUM_PEOPLE, NUM_KEYPOINTS, HEATMAP_SIGMA = 5, 6, 2
RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((NUM_PEOPLE, 3, *HEATMAP_SHAPE)).astype(np.float32)
# The embedding begins small, as in MIPNet: where BatchNorm's epsilon is nothing beside it, its size has no gradient.
WEIGHTS = {'embed': 0.005 * RNG.standard_normal((2, 4)), 'excite': RNG.standard_normal((4, 3)),
           'head': RNG.standard_normal((3, NUM_KEYPOINTS))}


def joints_and_validity(num_instances, seed=1, num_people=NUM_PEOPLE):
    """(N, I, K, 2) all over the input, and (N, I, K), a third of them 0."""
    rng = np.random.default_rng(seed)
    shape = (num_people, num_instances, NUM_KEYPOINTS)
    joints = rng.uniform(0, 1, (*shape, 2)) * INPUT_SHAPE[::-1]
    return joints.astype(np.float32), (rng.random(shape) > 0.33).astype(np.float32)


class StandIn(nn.Cell):
    """Heatmaps of images that are the features already."""

    def __init__(self, num_instances):
        super().__init__()
        for name, value in WEIGHTS.items():
            setattr(self, name, Parameter(Tensor(value.astype(np.float32)), name=name))
        self.num_instances, self.codes = num_instances, Tensor(instance_codes(num_instances))

    def modulate(self, images, codes):
        hidden = ops.matmul(codes, self.embed)
        away = hidden - ops.mean(hidden, 0, True)
        hidden = ops.relu(away / ops.sqrt(ops.mean(away * away, 0, True) + 1e-5))
        scale = ops.sigmoid(ops.matmul(hidden, self.excite))
        features = images * ops.reshape(scale, scale.shape + (1, 1))
        pixels = ops.reshape(ops.transpose(features, (0, 2, 3, 1)), (-1, 3))
        heatmaps = ops.reshape(ops.matmul(pixels, self.head), (images.shape[0], *HEATMAP_SHAPE, NUM_KEYPOINTS))
        return ops.transpose(heatmaps, (0, 3, 1, 2))

    def training_outputs(self, images):
        codes = ops.reshape(ops.tile(ops.expand_dims(self.codes, 1), (1, images.shape[0], 1)), (-1, 2))
        return self.modulate(ops.tile(images, (self.num_instances, 1, 1, 1)), codes)


def heatmaps_by_hand(images, codes):
    """The stand-in in NumPy, in float64."""
    away = codes @ WEIGHTS['embed']
    away = away - away.mean(axis=0)
    hidden = np.maximum(away / np.sqrt((away ** 2).mean(axis=0) + 1e-5), 0)
    scale = 1 / (1 + np.exp(-hidden @ WEIGHTS['excite']))
    return np.einsum('ncyx,nc,ck->nkyx', images, scale, WEIGHTS['head'])


class Identity(nn.Cell):
    """The images are normalised already."""

    def construct(self, images):
        return images


@cache
def single_targets():
    return GaussianTargets(INPUT_SHAPE, HEATMAP_SHAPE, HEATMAP_SIGMA)


def loss_graph(num_instances):
    return LossGraph(Identity(), StandIn(num_instances), HypothesisTargets(single_targets()), JointsMSELoss())


def loss_of(graph, joints, validity):
    return float(graph(Tensor(IMAGES), Tensor(joints), Tensor(validity)))


def targets_by_person(joints, validity):
    """(N, I, ...) -> target (N, I, K, h, w) and weight (N, I, K), made for one person of all crops after the other."""
    made = [single_targets()(Tensor(joints[:, place]), Tensor(validity[:, place])) for place in range(joints.shape[1])]
    return [np.stack([part.asnumpy() for part in parts], axis=1) for parts in zip(*made)]


def row_loss(heatmaps, target, weight):
    """L(row, T) of the release: half the squared error, all joints in the denominator."""
    total = 0.0
    for joint in range(NUM_KEYPOINTS):
        total += 0.5 * ((weight[joint] * heatmaps[joint] - weight[joint] * target[joint]) ** 2).sum()
    return total / (NUM_KEYPOINTS * HEATMAP_SHAPE[0] * HEATMAP_SHAPE[1])


# Targets

@pytest.mark.parametrize('num_instances', [2, 3, 4])
def test_targets_are_hypothesis_major(num_instances):
    joints, validity = joints_and_validity(num_instances)
    target, weight = HypothesisTargets(single_targets())(Tensor(joints), Tensor(validity))
    assert target.shape == (num_instances * NUM_PEOPLE, NUM_KEYPOINTS, *HEATMAP_SHAPE)
    assert weight.shape == (num_instances * NUM_PEOPLE, NUM_KEYPOINTS)
    expected, expected_weight = targets_by_person(joints, validity)
    for hypothesis in range(num_instances):
        rows = slice(hypothesis * NUM_PEOPLE, (hypothesis + 1) * NUM_PEOPLE)
        np.testing.assert_array_equal(target.asnumpy()[rows], expected[:, hypothesis])
        np.testing.assert_array_equal(weight.asnumpy()[rows], expected_weight[:, hypothesis])


@pytest.mark.parametrize('left, is_same', [(None, True), (3, True), (4, False)])
def test_both_hypotheses_learn_the_same_person_unless_four_joints_of_another_are_there(left, is_same):
    """`None` is somebody alone on the picture."""
    first = np.array([(5 + 6 * joint, 20, 2) for joint in range(NUM_KEYPOINTS)])
    second = np.array([(30, 10 + 6 * joint if joint < (left or 0) else -9, 1) for joint in range(NUM_KEYPOINTS)])
    joints, validity = MIPNetCrops.place_keypoints(np.stack([first, first if left is None else second]),
                                                   np.eye(2, 3), INPUT_SHAPE)
    target, weight = HypothesisTargets(single_targets())(*(Tensor(array[None].astype(np.float32))
                                                           for array in (joints, validity)))
    for array in (target.asnumpy(), weight.asnumpy()):
        assert array[0].any() and np.array_equal(array[0], array[1]) == is_same


@pytest.mark.parametrize('backbone, sigma', [('hrnet', 2.5), ('pose_resnet', 1.5)])
def test_configured_targets_and_loss(backbone, sigma):
    """The width of the targets is that of the modulated network's section."""
    size = [INPUT_SHAPE[1] // 32 * 32, INPUT_SHAPE[0]]
    config = resolve(load_recipe('base'), {'MODEL.NAME': 'mipnet', 'MIPNET.BACKBONE': backbone,
                                           'MODEL.IMAGE_SIZE': size, f'{backbone.upper()}.SIGMA': sigma})
    targets = model_of(config).targets(config)
    assert isinstance(targets, HypothesisTargets)
    target, _ = targets(Tensor(np.full((1, 2, 1, 2), 16, np.float32)), Tensor(np.ones((1, 2, 1), np.float32)))
    np.testing.assert_allclose(target.asnumpy()[:, 0, 4, 5], np.exp(-0.5 / sigma ** 2), rtol=1e-6)
    assert isinstance(model_of(config).loss(config), JointsMSELoss)


# The loss

def test_loss_of_one_labelled_joint_and_an_empty_prediction():
    joints = np.full((1, 2, NUM_KEYPOINTS, 2), 24, np.float32)
    validity = np.zeros((1, 2, NUM_KEYPOINTS), np.float32)
    validity[:, :, 1] = 1
    target, weight = HypothesisTargets(single_targets())(Tensor(joints), Tensor(validity))
    empty = Tensor(np.zeros(target.shape, np.float32))
    square = (targets_by_person(joints, validity)[0][0, 0, 1].astype(np.float64) ** 2).sum()
    assert square > 10
    assert float(JointsMSELoss()(empty, target, weight)) == pytest.approx(
        0.5 * square / (NUM_KEYPOINTS * HEATMAP_SHAPE[0] * HEATMAP_SHAPE[1]), rel=LOSS_TOLERANCE)


def published_loss_of_two(joints, validity, seed):
    """The release's step, row by row: a random code for each crop in the first half of a doubled batch, the other
    code in the second half, and in each row the loss against the person that its code asks for."""
    drawn = (np.random.default_rng(seed).random(NUM_PEOPLE) > 0.5).astype(np.float64)
    lambdas, crops = np.concatenate([drawn, 1 - drawn]), np.tile(np.arange(NUM_PEOPLE), 2)
    heatmaps = heatmaps_by_hand(IMAGES[crops], np.stack([lambdas, 1 - lambdas], axis=1))
    target, weight = targets_by_person(joints, validity)
    total = 0.0
    for row, (value, crop) in enumerate(zip(lambdas, crops)):
        total += (value * row_loss(heatmaps[row], target[crop, 0], weight[crop, 0])
                  + (1 - value) * row_loss(heatmaps[row], target[crop, 1], weight[crop, 1]))
    return drawn, total / (2 * NUM_PEOPLE)


def test_loss_of_two_equals_the_published_one_whatever_codes_are_drawn():
    """Every crop is there with both codes, so neither the mean nor BatchNorm sees which half a code is in."""
    joints, validity = joints_and_validity(2)
    ours, draws = loss_of(loss_graph(2), joints, validity), set()
    for seed in range(6):
        drawn, expected = published_loss_of_two(joints, validity, seed)
        assert ours == pytest.approx(expected, rel=LOSS_TOLERANCE)
        draws.add(tuple(drawn))
    assert len(draws) > 3


@pytest.mark.parametrize('num_instances', [3, 4])
def test_loss_of_more_people_holds_every_one_of_them(num_instances):
    """The mean over people and crops, in one step over one batch with all codes.

    The release does otherwise. With four people each step has a single code, which BatchNorm takes away; so it is with
    three on three devices, where each gets one code. And with three the loss of the third person is left out.
    """
    joints, validity = joints_and_validity(num_instances)
    graph = loss_graph(num_instances)
    ours = loss_of(graph, joints, validity)
    codes = np.repeat(instance_codes(num_instances), NUM_PEOPLE, axis=0)
    heatmaps = heatmaps_by_hand(np.tile(IMAGES, (num_instances, 1, 1, 1)), codes)
    heatmaps = heatmaps.reshape(num_instances, NUM_PEOPLE, *heatmaps.shape[1:])
    target, weight = targets_by_person(joints, validity)
    losses = [[row_loss(heatmaps[person, crop], target[crop, person], weight[crop, person])
               for crop in range(NUM_PEOPLE)] for person in range(num_instances)]
    assert ours == pytest.approx(np.mean(losses), rel=LOSS_TOLERANCE)
    for person in range(num_instances):
        without = validity.copy()
        without[:, person] = 0
        others = np.sum(np.delete(losses, person, axis=0)) / (num_instances * NUM_PEOPLE)
        assert loss_of(graph, joints, without) == pytest.approx(others, rel=LOSS_TOLERANCE)


# Steps

def make_step(num_instances, **options):
    graph = loss_graph(num_instances)
    step = TrainStep(graph, TorchAdam(graph.trainable_params(), np.full(5, 0.01)), network=graph.network, **options)
    step.set_train()
    return step


def moments(step):
    return {each.name: moment.asnumpy() for each, moment in zip(step.optimizer.parameters, step.optimizer.moment1)}


@pytest.mark.parametrize('num_instances, accumulate', [(2, 5), (4, 2)])
def test_accumulated_batches_keep_the_people_of_a_crop_together(num_instances, accumulate):
    """Parts of one crop each, and of 3 and 2: every part has all codes, so nothing differs from the whole."""
    batch = IMAGES, *joints_and_validity(num_instances)
    whole, parts = make_step(num_instances), make_step(num_instances, accumulate=accumulate)
    expected = whole(*batch).loss
    assert parts(*batch).loss == pytest.approx(expected, rel=1e-5)
    for name, moment in moments(whole).items():
        np.testing.assert_allclose(moments(parts)[name], moment, rtol=1e-4, atol=1e-5 * np.abs(moment).max())


def test_shares_of_devices_make_the_loss_of_the_whole_batch():
    """Also where one device has a crop more: every crop brings as many rows."""
    joints, validity = joints_and_validity(2)
    graph, total = loss_graph(2), 0.0
    for shard in range(2):
        plan = BatchPlan(NUM_PEOPLE, 3, 1, seed=1, num_shards=2, shard=shard)
        rows = plan.batch(0)[1]
        total += plan.share(0) * float(graph(*(Tensor(array[rows]) for array in (IMAGES, joints, validity)))) / 2
    assert total == pytest.approx(loss_of(graph, joints, validity), rel=LOSS_TOLERANCE)


@pytest.mark.parametrize('num_instances', [2, 3])
def test_a_batch_of_one_crop_teaches_the_embedding_of_the_codes(num_instances):
    step = make_step(num_instances)
    report = step(IMAGES[:1], *joints_and_validity(num_instances, num_people=1))
    assert np.isfinite(report.loss)
    for name, moment in moments(step).items():
        assert np.isfinite(moment).all() and np.abs(moment).max() > 1e-6, name
