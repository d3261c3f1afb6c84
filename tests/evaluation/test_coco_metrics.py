"""Poses → COCO-style results → the ten numbers, with the worked examples of the protocol."""
import json
import math

import numpy as np
import pytest

from src.config import load_recipe
from src.data.people import People
from src.data.skeletons import COCO, CROWDPOSE, MPII
from src.evaluation.predict import Poses
from src.evaluation.results import coco_records, person_scores, rank_by_protocol, rank_poses
from src.metrics.coco import METRIC_NAMES, evaluate_coco, format_metrics, run_coco_evaluator

SIGMAS = np.array(COCO.oks_sigmas)
AREA = 10000.0
FIRST = np.random.default_rng(0).integers(0, 100, (17, 2)).astype(float)
SECOND = FIRST + (2000, 0)


def ground_truth(*people, images=1):
    """(image_id, places (17, 2), visibility, area) of people -> COCO content."""
    annotations = []
    for number, (image_id, places, visibility, area) in enumerate(people, start=1):
        table = np.column_stack([places, np.broadcast_to(visibility, 17)])
        low, size = places.min(axis=0), np.ptp(places, axis=0)
        annotations.append({
            'id': number, 'image_id': image_id, 'category_id': 1, 'iscrowd': 0, 'area': area,
            'bbox': [*low.tolist(), *size.tolist()], 'num_keypoints': int((table[:, 2] > 0).sum()),
            'keypoints': table.ravel().tolist()})
    return {'images': [{'id': image_id, 'file_name': f'{image_id}.jpg', 'width': 4000, 'height': 4000}
                       for image_id in range(1, images + 1)],
            'annotations': annotations, 'categories': [{'id': 1, 'name': 'person'}]}


def result(places, score, image_id=1):
    keypoints = np.column_stack([places, np.full(17, 0.9)]).ravel().tolist()
    return {'image_id': image_id, 'category_id': 1, 'keypoints': keypoints, 'score': score}


def displacement_for(oks, area=AREA):
    """How far every keypoint must lie off for a similarity, by bisection."""
    low, high = 0.0, 500.0
    for _ in range(100):
        middle = (low + high) / 2
        similarity = np.exp(-middle ** 2 / (2 * (2 * SIGMAS) ** 2 * area)).mean()
        low, high = (middle, high) if similarity > oks else (low, middle)
    return np.array([low, 0])


@pytest.fixture
def evaluate(tmp_path):
    """Return a function: COCO content and results -> the ten numbers."""
    def do(content, results, evaluator=False):
        path = tmp_path / 'gt.json'
        path.write_text(json.dumps(content))
        return (run_coco_evaluator if evaluator else evaluate_coco)(str(path), results, COCO)
    return do


# The evaluator

def test_perfect_predictions(evaluate, capsys):
    content = ground_truth((1, FIRST, 2, 5000.0), (1, SECOND, 1, 50000.0), (2, FIRST, 2, 5000.0), images=3)
    metrics = evaluate(content, [result(FIRST, 0.9), result(SECOND, 0.8), result(FIRST, 0.7, image_id=2)])
    assert tuple(metrics) == METRIC_NAMES
    assert list(metrics.values()) == pytest.approx([1] * 10)
    assert capsys.readouterr().out == ''


@pytest.mark.parametrize('visibility, oks, thresholds', [
    (2, 0.8711549523, 8), (1, 0.8711549523, 8), (np.repeat([0, 2], [5, 12]), 0.9514209051, 10)])
def test_similarity_of_the_worked_example(evaluate, visibility, oks, thresholds):
    """Every joint displaced by (3, 4); keypoints without a label do not count."""
    evaluator = evaluate(ground_truth((1, FIRST, visibility, AREA)), [result(FIRST + (3, 4), 1)], evaluator=True)
    assert evaluator.ious[1, 1][0, 0] == pytest.approx(oks, abs=1e-10)
    assert evaluator.stats[0] == pytest.approx(thresholds / 10)


def test_single_terms_of_the_worked_example(evaluate):
    for joint, term in ((0, 0.6298471510), (11, 0.9730741810)):
        visibility = np.where(np.arange(17) == joint, 2, 0)
        evaluator = evaluate(ground_truth((1, FIRST, visibility, AREA)), [result(FIRST + (3, 4), 1)], evaluator=True)
        assert evaluator.ious[1, 1][0, 0] == pytest.approx(term, abs=1e-10)


def test_precision_of_the_worked_example(evaluate):
    content = ground_truth((1, FIRST, 2, AREA), (1, SECOND, 2, AREA))
    results = [result(FIRST + displacement_for(0.86), 0.9), result(SECOND + displacement_for(0.56), 0.8),
               result(FIRST - displacement_for(0.81), 0.7)]
    metrics = evaluate(content, results)
    assert metrics['AP'] == pytest.approx(0.5029702970, abs=1e-9)
    assert metrics['AP50'] == pytest.approx(1) and metrics['AP75'] == pytest.approx(51 / 101, abs=1e-9)
    assert metrics['AR'] == pytest.approx(0.5) and metrics['AR50'] == 1 and metrics['AR75'] == 0.5
    # 10,000 lies above 96 x 96: nobody is of medium size.
    assert metrics['AP (M)'] == metrics['AR (M)'] == -1
    assert metrics['AP (L)'] == pytest.approx(metrics['AP'])


def test_order_of_the_results_plays_no_part(evaluate):
    content = ground_truth((1, FIRST, 2, AREA), (1, SECOND, 2, AREA))
    results = [result(FIRST, 0.9), result(SECOND + (60, 0), 0.8), result(SECOND, 0.7)]
    assert evaluate(content, results) == evaluate(content, results[::-1])


def test_pictures_without_results_count_as_missed(evaluate):
    content = ground_truth((1, FIRST, 2, AREA), (2, FIRST, 2, AREA), images=2)
    assert evaluate(content, [result(FIRST, 0.9)])['AR'] == pytest.approx(0.5)


def test_crowds_and_people_without_keypoints_are_ignored(evaluate):
    content = ground_truth((1, FIRST, 2, AREA), (1, SECOND, 0, AREA), (2, SECOND, 2, AREA), images=2)
    content['annotations'][2]['iscrowd'] = 1
    results = [result(FIRST, 0.5), result(SECOND, 0.9), result(SECOND, 0.8, image_id=2)]
    metrics = evaluate(content, results)
    assert metrics['AR'] == 1 and metrics['AP'] == pytest.approx(1)


def test_no_more_than_twenty_results_of_a_picture_count(evaluate):
    far = [result(FIRST + (300, 300), 0.9)] * 20
    content = ground_truth((1, FIRST, 2, AREA))
    assert evaluate(content, far[:19] + [result(FIRST, 0.1)])['AR'] == 1
    assert evaluate(content, far + [result(FIRST, 0.1)])['AR'] == 0


def test_files_without_area_and_crowd_flag(evaluate):
    content = ground_truth((1, FIRST, 2, AREA))
    for annotation in content['annotations']:
        del annotation['area'], annotation['iscrowd']
    assert evaluate(content, [result(FIRST, 0.9)])['AP'] == pytest.approx(1)


def test_other_categories_count_nowhere(evaluate):
    """Nobody predicts them: a mean over categories would halve the numbers. Of theirs nothing is read but ids."""
    content = ground_truth((1, FIRST, 2, AREA), (1, SECOND, 2, AREA))
    content['categories'].append({'id': 18, 'name': 'dog'})
    content['annotations'][1]['category_id'] = 18
    assert evaluate(content, [result(FIRST, 0.9)])['AP'] == pytest.approx(1)
    for key in ('iscrowd', 'area', 'num_keypoints', 'bbox', 'keypoints'):
        for absent in (False, True):
            broken = json.loads(json.dumps(content))
            broken['annotations'][1][key] = None
            if absent:
                del broken['annotations'][1][key]
            assert evaluate(broken, [result(FIRST, 0.9)])['AP'] == pytest.approx(1)


@pytest.mark.parametrize('change', [{'keypoints': [math.nan] * 51}, {'score': math.nan}, {'keypoints': [1.0] * 48}])
def test_results_that_are_no_poses(evaluate, change):
    """The evaluator alone counts a pose of NaN as a perfect one."""
    with pytest.raises(ValueError, match=r'not finite|should be 51'):
        evaluate(ground_truth((1, FIRST, 2, AREA)), [{**result(FIRST, 0.9), **change}])


def test_further_entries_of_the_results_change_nothing(evaluate):
    """A box in the first record would change the sizes that the evaluator gives to all results."""
    content = ground_truth((1, FIRST, 2, AREA), (1, SECOND, 2, 5000.0))
    results = [result(FIRST, 0.9), result(SECOND + (300, 0), 0.8)]
    boxed = [{**record, 'bbox': [0, 0, 2, 2], 'center': [1, 1]} for record in results]
    assert evaluate(content, boxed) == evaluate(content, results)
    assert 'bbox' in boxed[0]


def test_nothing_to_evaluate(evaluate):
    with pytest.raises(ValueError, match='no result'):
        evaluate(ground_truth((1, FIRST, 2, AREA)), [])


def test_results_of_other_pictures(evaluate):
    results = [result(FIRST, 1, image_id=image_id) for image_id in (1, 77, 78)]
    with pytest.raises(ValueError, match=r'2 image ids of the results are not in .*gt.json, e.g. \[77, 78\]'):
        evaluate(ground_truth((1, FIRST, 2, AREA)), results)


def test_metrics_are_printed_as_coco_prints_them():
    lines = format_metrics(dict(zip(METRIC_NAMES, [0.7449, 0.9, 0.8, 0.7, -1.0, 0.8, 0.9, 0.8, 0.7, 0.9]))).split('\n')
    assert lines[0] == ' Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets= 20 ] = 0.745'
    assert lines[1] == ' Average Precision  (AP) @[ IoU=0.50      | area=   all | maxDets= 20 ] = 0.900'
    assert lines[4] == ' Average Precision  (AP) @[ IoU=0.50:0.95 | area= large | maxDets= 20 ] = -1.000'
    assert lines[8] == ' Average Recall     (AR) @[ IoU=0.50:0.95 | area=medium | maxDets= 20 ] = 0.700'
    assert len(lines) == 10


# Poses to results

def people_and_poses(image_index, box_scores, offsets, image_ids=(5, 3, 9), keypoint_scores=0.8, area=22500.0):
    """Poses that differ by an offset in x, on pictures 5, 3 and 9 (the last one has nobody unless asked)."""
    count = len(image_index)
    people = People(np.array(image_ids), np.array([b'x.jpg'] * len(image_ids)),
                    np.full((len(image_ids), 2), 4000, np.int32), np.array(image_index, np.int32),
                    np.tile([0.0, 0, 100, 100], (count, 1)), np.array(box_scores, float), np.zeros((count, 17, 3)))
    keypoints = np.zeros((count, 17, 3))
    keypoints[:, :, :2] = FIRST
    keypoints[:, :, 0] += np.array(offsets, float).reshape(-1, 1)
    keypoints[:, :, 2] = np.broadcast_to(keypoint_scores, (17, count)).T
    return people, Poses(keypoints, np.full(count, area), np.arange(count), np.zeros(count, np.int64))


def test_person_scores():
    keypoint_scores = np.array([[0.2, 0.5, 0.9], [0.1, 0.2, -0.3], [0.3, 0.3, 0.3], [0.1, 0.6, 0.2]])
    box_scores = np.array([0.5, 0.9, 1.0, 0.5])
    # Strictly above: 0.2 does not count, and a pose without any has score 0.
    np.testing.assert_allclose(person_scores(box_scores, keypoint_scores, 0.2), [0.35, 0, 0.3, 0.3])
    np.testing.assert_allclose(person_scores(box_scores, keypoint_scores, None), [0.5 * 1.6 / 3, 0, 0.3, 0.15],
                               atol=1e-12)
    assert person_scores(np.zeros(0), np.zeros((0, 17)), 0.2).shape == (0,)


def test_poses_by_picture_and_score():
    people, poses = people_and_poses([0, 1, 0, 1, 0], [0.5, 0.6, 0.9, 0.7, 0.5], [0, 0, 500, 500, 1000])
    rows, scores = rank_poses(people, poses, COCO, keypoint_threshold=0.2, nms_threshold=None)
    assert rows.tolist() == [3, 1, 2, 0, 4]                  # picture 3 before picture 5; ties in the given order
    np.testing.assert_allclose(scores, 0.8 * people.box_scores)
    rows, _ = rank_poses(people, poses, COCO, keypoint_threshold=0.2, nms_threshold=0.9)
    assert rows.tolist() == [3, 1, 2, 4, 0]                  # as published, the later of two equal scores comes first


def test_duplicates_are_suppressed_within_a_picture_only():
    people, poses = people_and_poses([0, 0, 0, 1], [0.5, 0.9, 0.7, 0.4], [0, 5, 15, 5])
    rows, scores = rank_poses(people, poses, COCO, keypoint_threshold=None, nms_threshold=0.9)
    assert rows.tolist() == [3, 1, 2] and len(scores) == 4
    rows, _ = rank_poses(people, poses, COCO, keypoint_threshold=None, nms_threshold=0.5)
    assert rows.tolist() == [3, 1]


@pytest.mark.parametrize('skeleton', [COCO, CROWDPOSE, MPII], ids=['coco', 'crowdpose', 'mpii'])
def test_duplicates_are_told_by_the_constants_of_the_layout(skeleton):
    """Twelve pixels of this area are much at an eye and little at a hip."""
    sigmas = np.array(skeleton.oks_sigmas)
    terms = np.exp(-144 / (2 * (2 * sigmas) ** 2 * 22500))
    wide, narrow = (np.argsort(sigmas * sign, kind='stable')[:6] for sign in (-1, 1))
    for moved in (wide, narrow):
        people, _ = people_and_poses([0, 0], [0.9, 0.8], [0, 0])
        keypoints = np.full((2, skeleton.num_keypoints, 3), 0.8)
        keypoints[1, moved, 0] += 12
        poses = Poses(keypoints, np.full(2, 22500.0), np.arange(2), np.zeros(2, np.int64))
        similarity = (terms[moved].sum() + skeleton.num_keypoints - 6) / skeleton.num_keypoints
        for threshold, count in ((similarity - 1e-6, 1), (similarity + 1e-6, 2)):
            rows, _ = rank_poses(people, poses, skeleton, keypoint_threshold=None, nms_threshold=threshold)
            assert len(rows) == count


def test_poses_without_a_sure_keypoint_stay():
    people, poses = people_and_poses([0, 1], [0.9, 0.9], [0, 0], keypoint_scores=[0.1, 0.5])
    rows, scores = rank_poses(people, poses, COCO, keypoint_threshold=0.2, nms_threshold=0.9)
    assert rows.tolist() == [1, 0] and scores.tolist() == pytest.approx([0, 0.45])


def test_protocols_of_the_two_models():
    people, poses = people_and_poses([0, 0], [1, 0.9], [0, 5], keypoint_scores=np.where(np.arange(17) < 8, 0.1, 0.5)
                                     [:, None])
    rows, scores = rank_by_protocol(load_recipe('simplepose_r50_coco_256x192'), people, poses, COCO)
    assert rows.tolist() == [0] and scores.tolist() == pytest.approx([0.5, 0.45])
    rows, scores = rank_by_protocol(load_recipe('mspn_2stg_coco_256x192'), people, poses, COCO)
    mean = (8 * 0.1 + 9 * 0.5) / 17
    assert rows.tolist() == [0, 1] and scores.tolist() == pytest.approx([mean, 0.9 * mean])


def test_nobody_at_all():
    people, poses = people_and_poses([], [], [])
    for threshold in (0.9, None):
        rows, scores = rank_poses(people, poses, COCO, keypoint_threshold=0.2, nms_threshold=threshold)
        assert len(rows) == len(scores) == 0
        assert coco_records(people, poses, rows, scores) == []


def test_result_records(evaluate):
    people, poses = people_and_poses([0, 1, 0], [0.5, 0.6, 0.9], [0, 0, 500], image_ids=(1, 2, 3))
    rows, scores = rank_poses(people, poses, COCO, keypoint_threshold=0.2, nms_threshold=None)
    records = coco_records(people, poses, rows, scores)
    assert [record['image_id'] for record in records] == [1, 1, 2]      # picture 3 has no box and no record
    assert [record['score'] for record in records] == pytest.approx([0.72, 0.4, 0.48])
    for record, row in zip(records, rows):
        assert set(record) == {'image_id', 'category_id', 'keypoints', 'score'} and record['category_id'] == 1
        np.testing.assert_array_equal(np.reshape(record['keypoints'], (17, 3)), poses.keypoints[row])
    assert json.loads(json.dumps(records)) == records
    metrics = evaluate(ground_truth((1, FIRST, 2, AREA), (2, FIRST, 2, AREA), (3, FIRST, 2, AREA), images=3), records)
    assert metrics['AR'] == pytest.approx(2 / 3)
