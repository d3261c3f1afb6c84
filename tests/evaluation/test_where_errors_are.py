"""Groups of people, calibration, bootstrap: hand-made cases, and agreement with the evaluator."""
from dataclasses import replace

import numpy as np
import pytest
from test_error_kinds import LABELS, SIGMAS, analyse, poses_of, truth_of
from test_oks_metrics import made_up

from src.data.oks_truth import load_coco_truth, load_crowdpose_truth
from src.data.skeletons import COCO, CROWDPOSE
from src.metrics.bootstrap import WeightedRanking, interval, picture_weights, resampled_numbers
from src.metrics.calibration import reliability
from src.metrics.coco import METRIC_NAMES, coco_numbers
from src.metrics.conditions import group_people, numbers_of_groups, overlap_with_others
from src.metrics.crowdpose import evaluate_crowdpose
from src.metrics.keypoint_errors import find_keypoint_errors
from src.metrics.oks_matching import match, pair_up, precision_and_recall
from src.metrics.people_errors import find_people_errors
from src.metrics.records import read_records
from src.system.files import write_json


def loaded(tmp_path, seed, images=10):
    content, results = made_up(seed, COCO, images=images)
    write_json(str(tmp_path / 'gt.json'), content)
    truth, found = load_coco_truth(str(tmp_path / 'gt.json'), COCO), read_records(results, 17)
    return truth, found, pair_up(truth, found, SIGMAS)


# Groups

def test_overlap_is_the_largest_iou_with_another_person_of_the_picture():
    truth = truth_of(LABELS, LABELS, LABELS, LABELS)
    truth = replace(truth, boxes_xywh=np.array([[0, 0, 10, 10], [5, 0, 10, 10], [100, 100, 10, 10], [0, 0, 10, 10.]]),
                    is_crowd=np.array([False, False, False, True]))
    np.testing.assert_allclose(overlap_with_others(truth), [1 / 3, 1 / 3, 0, 1])


def test_groups_of_people():
    labelled = np.ones((3, 17), bool)
    labelled[1, 5:] = False
    truth = truth_of(LABELS, LABELS + 50, LABELS + 90, labelled=labelled)
    truth = replace(truth, areas=np.array([1023.0, 1024.0, 9216.0]),
                    boxes_xywh=np.array([[10, 10, 20, 20], [0.5, 50, 20, 20], [70, 70, 30, 29.5]]))
    size, crowding, border, keypoints = group_people(truth, np.array([[100, 100]]))
    assert size.group_of.tolist() == [0, 1, 2] and crowding.group_of.tolist() == [0, 0, 0]
    assert border.group_of.tolist() == [0, 1, 1]
    assert [keypoints.groups[each] for each in keypoints.group_of] == ['16 to 17', '1 to 5', '16 to 17']


def test_numbers_of_a_group_ignore_other_people_and_background():
    """The large person has no pose, and the pose on background is nobody's fault, though its score is the best."""
    truth = truth_of(LABELS + [0, 20000], LABELS)
    truth = replace(truth, areas=np.array([1e4, 500.0]))
    found = poses_of(LABELS + [0, 90000], LABELS)
    pairs = pair_up(truth, found, SIGMAS)
    similarity = pairs.similarity(truth)
    _, errors, people = analyse(truth, found)
    size = group_people(truth, np.array([[99999, 99999]]))[0]
    small, medium, large = numbers_of_groups(truth, pairs, similarity, size, people, errors)
    assert (small.people, round(small.ap, 9), small.found, small.oks) == (1, 1, 1, 1)
    assert small.kinds.tolist() == [17, 0, 0, 0, 0]
    assert (large.people, large.ap, large.found, large.oks) == (1, 0, 0, -1)
    assert (medium.people, medium.ap) == (0, -1)
    assert (small.lost, medium.lost, large.lost) == (0, -1, 1)


@pytest.mark.parametrize('seed', range(3))
def test_a_group_of_everybody_has_the_ap_of_the_evaluation_without_background(tmp_path, seed):
    truth, _, pairs = loaded(tmp_path, seed)
    similarity = pairs.similarity(truth)
    matching = match(truth, pairs, similarity)
    people = find_people_errors(truth, pairs, similarity, matching)
    errors = find_keypoint_errors(truth, pairs, similarity, COCO.flip_index)
    condition = group_people(truth, np.full((len(truth.image_ids), 2), 640))[0]
    everybody = replace_group(condition, np.zeros(len(truth), int))
    numbers, = numbers_of_groups(truth, pairs, similarity, everybody, people, errors)
    precision, recall = precision_and_recall(truth, pairs, matching)
    assert numbers.ap >= precision.mean() - 1e-12 and numbers.ar == pytest.approx(recall.mean())
    assert numbers.people == (~truth.is_ignored).sum() and numbers.lost == pytest.approx(1)
    of_sizes = numbers_of_groups(truth, pairs, similarity, condition, people, errors)
    assert sum(each.lost for each in of_sizes if each.people) == pytest.approx(1)
    counted = np.concatenate([each.kinds[None] for each in of_sizes]).sum(axis=0)
    assert counted.tolist() == errors.counts().tolist() == numbers.kinds.tolist()


def replace_group(condition, group_of):
    return condition._replace(groups=('all',), group_of=group_of)


# Calibration

def test_reliability_of_scores():
    scores = np.array([0.05, 0.05, 0.95, 0.95, 1.0])
    found = reliability(scores, np.array([False, True, True, True, True]))
    assert found.counts.tolist() == [2, *[0] * 8, 3]
    np.testing.assert_allclose([found.right[0], found.right[-1]], [0.5, 1])
    assert found.expected_error == pytest.approx(2 / 5 * 0.45 + 3 / 5 * (1 - 2.9 / 3))


def test_scores_that_are_no_probabilities_have_no_expected_error():
    found = reliability(np.array([0.7, 1.3]), np.array([False, True]))
    assert found.expected_error is None and found.edges[[0, -1]].tolist() == [0.7, 1.3]
    assert reliability(np.zeros(0), np.zeros(0, bool)).expected_error is None
    assert reliability(np.array([5.0]), np.array([True])).counts.sum() == 1


# Bootstrap

@pytest.mark.parametrize('seed', range(6))
def test_weighted_numbers_are_those_of_repeated_pictures(tmp_path, seed):
    """A picture of weight two counts like two equal pictures; one of weight zero does not count."""
    truth, found, _ = loaded(tmp_path, seed)
    # Among equal scores the order of the pictures would count.
    found = replace(found, scores=found.scores + np.arange(len(found.scores)) * 1e-6)
    pairs = pair_up(truth, found, SIGMAS)
    matching = match(truth, pairs, pairs.similarity(truth))
    ranking = WeightedRanking(truth, pairs, matching)
    ones = ranking.numbers(np.ones(len(truth.image_ids)))
    precision, recall = precision_and_recall(truth, pairs, matching)
    np.testing.assert_allclose(ones[0], precision.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(ones[1], recall, atol=1e-12)
    weights = np.random.default_rng(seed).integers(0, 4, len(truth.image_ids))
    copies, poses, people = [], [], []
    for copy in range(3):
        for image in np.flatnonzero(weights > copy):
            people.append(np.flatnonzero(truth.image_index == image))
            poses.append(np.flatnonzero(found.image_ids == truth.image_ids[image]))
            copies.append((len(copies), len(people[-1]), len(poses[-1])))
    if not sum(len(each) for each in people):
        return
    rows, taken = np.concatenate(people), np.concatenate(poses)
    repeated = replace(
        truth, image_ids=np.arange(len(copies)), image_index=np.repeat(np.arange(len(copies)), [c[1] for c in copies]),
        **{name: getattr(truth, name)[rows] for name in ('keypoints', 'is_labelled', 'boxes_xywh', 'areas',
                                                         'is_ignored', 'is_crowd')})
    again = replace(found, image_ids=np.repeat(np.arange(len(copies)), [c[2] for c in copies]),
                    keypoints=found.keypoints[taken], keypoint_scores=found.keypoint_scores[taken],
                    scores=found.scores[taken])
    both = pair_up(repeated, again, SIGMAS)
    precision, recall = precision_and_recall(repeated, both, match(repeated, both, both.similarity(repeated)))
    values = ranking.numbers(weights.astype(float))
    np.testing.assert_allclose(values[0], precision.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(values[1], recall, atol=1e-12)


def test_resampled_numbers_surround_those_of_the_evaluation(tmp_path):
    truth, found, pairs = loaded(tmp_path, 3, images=40)
    numbers = coco_numbers(truth, found, COCO)
    drawn = resampled_numbers(truth, pairs, pairs.similarity(truth), numbers, resamples=60)
    assert sorted(drawn) == sorted(METRIC_NAMES) and all(len(each) == 60 for each in drawn.values())
    # Nobody is large.
    assert {name for name, value in numbers.items() if value < 0} == {'AP (L)', 'AR (L)'}
    for name, values in drawn.items():
        limits = interval(values)
        assert (limits is None) == (numbers[name] < 0), name
        assert limits is None or limits.low <= numbers[name] <= limits.high, name
    again = resampled_numbers(truth, pairs, pairs.similarity(truth), numbers, resamples=60)
    assert all((again[name] == drawn[name]).all() for name in drawn)


def test_all_pictures_alike_leave_no_doubt():
    """Every draw of equal pictures is the same set."""
    truth = truth_of(LABELS, LABELS)
    truth = replace(truth, image_ids=np.array([7, 8]), image_index=np.array([0, 1]))
    found = replace(poses_of(LABELS, LABELS), image_ids=np.array([7, 8]))
    drawn = resampled_numbers(truth, pair_up(truth, found, SIGMAS), np.ones(2), ['AP'], resamples=20)
    assert interval(drawn['AP']) == (1.0, 1.0)


def test_undefined_draws_have_no_interval():
    assert interval(np.array([0.5, -1.0])) is None and interval(np.zeros(0)) is None
    weights = np.array(list(picture_weights(5, 100)))
    assert weights.shape == (100, 5) and (weights.sum(axis=1) == 5).all()


def test_groups_of_crowdpose_are_those_of_its_evaluation(tmp_path):
    content, results = made_up(5, CROWDPOSE, images=30, crowdpose_format=True)
    write_json(str(tmp_path / 'gt.json'), content)
    truth, crowd_index = load_crowdpose_truth(str(tmp_path / 'gt.json'), CROWDPOSE, rule='official')
    numbers = evaluate_crowdpose(str(tmp_path / 'gt.json'), results)
    pairs = pair_up(truth, read_records(results, 14), np.array(CROWDPOSE.oks_sigmas))
    drawn = resampled_numbers(truth, pairs, pairs.similarity(truth), numbers, crowd_index=crowd_index, resamples=40)
    assert set(drawn) == set(numbers)
    for name, values in drawn.items():
        limits = interval(values)
        assert limits is None or limits.low <= numbers[name] + 1e-4 and numbers[name] - 1e-4 <= limits.high, name
