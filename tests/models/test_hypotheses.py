"""Poses of several people in one box → results: scores, merging and suppression as MIPNet's release does them."""
from collections import Counter

import numpy as np
import pytest
from test_coco_metrics import people_and_poses
from tiny_mipnet import mipnet_config

from src.data.skeletons import COCO
from src.evaluation.predict import Poses
from src.evaluation.results import coco_records, rank_by_protocol, rank_poses


def boxes_and_poses(image_index, box_scores, offsets, **options):
    """People, and poses of I hypotheses in each box: offsets (I, P) in x."""
    offsets = np.array(offsets, float)
    num_hypotheses, num_people = offsets.shape
    people, _ = people_and_poses(image_index, box_scores, np.zeros(num_people), **options)
    _, poses = people_and_poses(np.tile(image_index, num_hypotheses), np.tile(box_scores, num_hypotheses),
                                offsets.ravel(), **options)
    return people, Poses(poses.keypoints, poses.crop_areas, np.tile(np.arange(num_people), num_hypotheses),
                         np.repeat(np.arange(num_hypotheses), num_people))


def rank(config, people, poses):
    rows, scores = rank_by_protocol(config, people, poses, COCO)
    return [(int(poses.hypotheses[row]), int(poses.people[row])) for row in rows], scores


def test_every_hypothesis_but_the_first_counts_half():
    people, poses = boxes_and_poses([0, 0], [0.9, 0.6], [[0, 3000], [1000, 4000], [2000, 5000]])
    order, scores = rank(mipnet_config(MIPNET__NUM_INSTANCES=3), people, poses)
    np.testing.assert_allclose(scores, 0.8 * np.array([0.9, 0.6, 0.45, 0.3, 0.45, 0.3]))
    assert order[:2] == [(0, 0), (0, 1)] and sorted(order) == [(h, p) for h in range(3) for p in range(2)]
    _, scores = rank(mipnet_config(MIPNET__DECAY_THRE=0.25), people, poses)
    np.testing.assert_allclose(scores[2:], 0.8 * np.array([0.225, 0.15, 0.225, 0.15]))


def test_a_second_hypothesis_that_repeats_the_first_vanishes():
    people, poses = boxes_and_poses([0, 0], [0.9, 0.9], [[0, 2000], [3, 1000]])
    order, _ = rank(mipnet_config(), people, poses)
    assert sorted(order) == [(0, 0), (0, 1), (1, 1)]


def test_a_second_hypothesis_may_replace_a_weaker_primary_of_another_box():
    """It is about the same person, and the box that saw it second is much surer."""
    people, poses = boxes_and_poses([0, 0], [1.0, 0.3], [[0, 1000], [1003, 2000]])
    assert rank(mipnet_config(), people, poses)[0] == [(0, 0), (1, 0), (1, 1)]


def test_pictures_do_not_meet():
    people, poses = boxes_and_poses([0, 1], [0.9, 0.9], [[0, 0], [1000, 1000]])
    order, _ = rank(mipnet_config(), people, poses)
    # Picture 3, of the second person, comes before picture 5.
    assert order == [(0, 1), (1, 1), (0, 0), (1, 0)]


def test_order_of_equal_scores():
    """Second hypotheses are laid out before the first and those before the rest; suppression takes the later of equal
    ones, an evaluator the earlier."""
    people, poses = boxes_and_poses([0, 0], [0.5, 0.5], [[0, 1000], [2000, 3000], [4000, 5000]])
    laid_out = [(1, 0), (1, 1), (0, 0), (0, 1), (2, 0), (2, 1)]
    together = {'MIPNET__NUM_INSTANCES': 3, 'MIPNET__DECAY_THRE': 1.0}
    assert rank(mipnet_config(**together, TEST__OKS_NMS=False), people, poses)[0] == laid_out
    assert rank(mipnet_config(**together), people, poses)[0] == laid_out[::-1]


def test_without_suppression_every_pose_stays():
    """As the release evaluates CrowdPose."""
    people, poses = boxes_and_poses([0, 0, 1], [0.9, 0.9, 0.9], [[0, 0, 0], [0, 0, 0]])
    assert len(rank(mipnet_config(TEST__OKS_NMS=False), people, poses)[0]) == 6
    assert len(rank(mipnet_config(), people, poses)[0]) == 2


def test_soft_suppression_keeps_twenty_of_a_picture():
    people, poses = boxes_and_poses([0] * 15, np.linspace(0.5, 1, 15), np.zeros((2, 15)))
    order, scores = rank(mipnet_config(TEST__SOFT_NMS=True), people, poses)
    assert len(order) == 20
    # They come with the scores that they had.
    np.testing.assert_allclose(scores[:15], 0.8 * people.box_scores)


def test_soft_suppression_needs_a_threshold():
    with pytest.raises(ValueError, match='TEST.SOFT_NMS needs a TEST.OKS_THRE above 0'):
        mipnet_config(TEST__SOFT_NMS=True, TEST__OKS_THRE=0)


def test_every_hypothesis_is_a_record_of_its_own():
    people, poses = boxes_and_poses([0, 1], [0.9, 0.8], [[0, 0], [1000, 1000]])
    rows, scores = rank_poses(people, poses, COCO, keypoint_threshold=0.2, nms_threshold=None, decay=0.5)
    records = coco_records(people, poses, rows, scores, with_hypothesis=True)
    assert Counter((record['image_id'], record['hypothesis']) for record in records) == Counter(
        [(5, 0), (5, 1), (3, 0), (3, 1)])
    for record, row in zip(records, rows):
        assert set(record) == {'image_id', 'category_id', 'keypoints', 'score', 'hypothesis'}
        np.testing.assert_array_equal(np.reshape(record['keypoints'], (17, 3)), poses.keypoints[row])
    assert 'hypothesis' not in coco_records(people, poses, rows, scores)[0]


@pytest.mark.parametrize('number', [0, 1])
def test_a_hypothesis_alone(number):
    """Each with its own suppression: the second ones are no longer overruled by the first."""
    people, poses = boxes_and_poses([0, 0], [0.9, 0.8], [[0, 3], [3, 3000]])
    alone = poses.of_hypothesis(number)
    order, scores = rank(mipnet_config(), people, alone)
    assert order == ([(0, 0)] if number == 0 else [(1, 0), (1, 1)])
    np.testing.assert_allclose(scores, 0.8 * people.box_scores * (0.5 if number else 1))
