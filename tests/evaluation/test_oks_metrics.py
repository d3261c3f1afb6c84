"""AP by OKS for all pictures at once: equal to COCO's evaluator; CrowdPose's rules; the numbers of each keypoint."""
import json

import numpy as np
import pytest
from golden_data import FULL_FOLDER
from made_up_data import write_json

from src.data.oks_truth import load_coco_truth, load_crowdpose_truth
from src.data.skeletons import COCO, CROWDPOSE
from src.metrics import crowdpose
from src.metrics.coco import run_coco_evaluator
from src.metrics.crowdpose import METRIC_NAMES, evaluate_crowdpose
from src.metrics.keypoints import format_keypoints_by_oks, keypoints_by_oks
from src.metrics.oks_matching import match, pair_up, precision_and_recall
from src.metrics.records import read_records

CROWDPOSE_VAL = FULL_FOLDER.parent / 'data' / 'crowdpose' / 'crowdpose_val.json'
PREDICTIONS = FULL_FOLDER / 'crowdpose_val_predictions.json'
needs_crowdpose = pytest.mark.skipif(not CROWDPOSE_VAL.is_file() or not PREDICTIONS.is_file(),
                                     reason='CrowdPose val and its golden numbers (../shared) are not here')


def made_up(seed: int, skeleton, images: int = 12, crowdpose_format: bool = False):
    """Pictures with up to five people and their results, some right, some near, some of nobody; many equal scores."""
    rng, count = np.random.default_rng(seed), skeleton.num_keypoints
    content = {'images': [], 'annotations': [], 'categories': [{'id': 1, 'name': 'person'}]}
    results = []
    # The ids do not ascend in the file.
    for image_id in rng.permutation(images) + 3:
        content['images'].append({'id': int(image_id), 'file_name': f'{image_id}.jpg', 'width': 640, 'height': 480,
                                  'crowdIndex': float(rng.choice([0.1, 0.2, 0.5, 0.8, 0.93, 2.5]))})
        people = int(rng.integers(0, 6))
        for _ in range(people):
            places = rng.uniform(0, 80, 2) * 3 + rng.uniform(0, 100, (count, 2))
            visibility = rng.choice([0, 1, 2], count, p=[0.3, 0.2, 0.5]) * (rng.random() < 0.85)
            low, size = places.min(axis=0), np.ptp(places, axis=0)
            annotation = {
                'id': len(content['annotations']) + 1, 'image_id': int(image_id), 'category_id': 1,
                'iscrowd': int(rng.random() < 0.15), 'bbox': [*low.tolist(), *size.tolist()],
                'area': float(size.prod() * 0.6), 'keypoints': np.column_stack([places, visibility]).ravel().tolist(),
                'num_keypoints': int((visibility > 0).sum())}
            if crowdpose_format:
                del annotation['area']
                annotation['num_keypoints'] = int((visibility[:12] > 0).sum())
            content['annotations'].append(annotation)
            for _ in range(int(rng.integers(0, 6))):
                found = places + rng.normal(0, rng.choice([1, 4, 8, 20]), (count, 2))
                results.append(record(found, round(float(rng.random()), 1), int(image_id)))
        for _ in range(int(rng.integers(0, 4))):
            results.append(record(rng.uniform(0, 400, (count, 2)), round(float(rng.random()), 1), int(image_id)))
    return content, results


def record(places, score, image_id, keypoint_score=0.9):
    keypoints = np.column_stack([places, np.full(len(places), keypoint_score)])
    return {'image_id': image_id, 'category_id': 1, 'keypoints': keypoints.ravel().tolist(), 'score': score}


def precision_table(truth, results, skeleton):
    pairs = pair_up(truth, read_records(results, skeleton.num_keypoints), np.array(skeleton.oks_sigmas))
    return precision_and_recall(truth, pairs, match(truth, pairs, pairs.similarity(truth)))


# Against COCO's evaluator

@pytest.mark.parametrize('seed', range(6))
def test_precision_and_recall_equal_those_of_coco(tmp_path, seed):
    """On crowds, people without keypoints, equal scores, more than twenty results of a picture."""
    content, results = made_up(seed, COCO)
    results += results[:1] * 25 if seed % 2 else []
    path = write_json(tmp_path / 'gt.json', content)
    evaluator = run_coco_evaluator(path, results, COCO)
    precision, recall = precision_table(load_coco_truth(path, COCO), results, COCO)
    expected = evaluator.eval['precision'][:, :, 0, 0, -1]
    assert 0.05 < expected.mean() < 0.95
    np.testing.assert_allclose(precision, expected, atol=1e-12)
    np.testing.assert_allclose(recall, evaluator.eval['recall'][:, 0, 0, -1], atol=1e-12)


def reference_of_crowdpose(content, results, path):
    """CrowdPose's numbers from COCO's evaluator: other areas, its ignore rule, AP of the parts by their pictures."""
    annotations = [{**each, 'area': 0.53 * each['bbox'][2] * each['bbox'][3]} for each in content['annotations']]
    index_of = {image['id']: image['crowdIndex'] for image in content['images']}

    def stats(chosen):
        part = {**content, 'images': [image for image in content['images'] if chosen(image['crowdIndex'])],
                'annotations': [each for each in annotations if chosen(index_of[each['image_id']])]}
        return run_coco_evaluator(write_json(path, part), [each for each in results
                                                           if chosen(index_of[each['image_id']])], CROWDPOSE).stats

    whole = stats(lambda index: True)
    parts = [stats(chosen)[0] for chosen in (lambda index: index < 0.2, lambda index: 0.2 <= index < 0.8,
                                             lambda index: index >= 0.8)]
    return [*whole[[0, 1, 2, 5, 6, 7]], *np.round(parts, 4)]


@pytest.mark.parametrize('seed', range(3))
def test_crowdpose_numbers_on_made_up_people(tmp_path, seed):
    content, results = made_up(seed, CROWDPOSE, images=30, crowdpose_format=True)
    metrics = evaluate_crowdpose(write_json(tmp_path / 'gt.json', content), results)
    assert tuple(metrics) == METRIC_NAMES
    assert list(metrics.values()) == pytest.approx(reference_of_crowdpose(content, results, tmp_path / 'p.json'),
                                                   abs=1e-9)
    assert 0.05 < metrics['AP'] < 0.95


@needs_crowdpose
def test_crowdpose_numbers_of_the_official_evaluator():
    expected = json.loads((FULL_FOLDER / 'crowdpose_val_expected.json').read_text())
    metrics = evaluate_crowdpose(str(CROWDPOSE_VAL), json.loads(PREDICTIONS.read_text()))
    assert list(metrics.values()) == pytest.approx(list(expected.values()), abs=1e-6)


# CrowdPose's rules

def crowdpose_content(*people, index=0.5):
    """(places, visibility, further fields) of people on picture 1."""
    annotations = []
    for number, (places, visibility, fields) in enumerate(people, start=1):
        visible = np.broadcast_to(visibility, 14)
        annotations.append({
            'id': number, 'image_id': 1, 'category_id': 1, 'iscrowd': 0, 'bbox': [0, 0, 100, 200],
            'num_keypoints': int((visible[:12] > 0).sum()),
            'keypoints': np.column_stack([places, visible]).ravel().tolist(), **fields})
    return {'images': [{'id': 1, 'file_name': '1.jpg', 'width': 640, 'height': 480, 'crowdIndex': index}],
            'annotations': annotations, 'categories': [{'id': 1}]}


PLACES = np.random.default_rng(0).uniform(0, 100, (14, 2))
HEAD_ONLY = np.where(np.arange(14) >= 12, 2, 0)


@pytest.fixture
def evaluate(tmp_path):
    def do(content, results, **options):
        return evaluate_crowdpose(write_json(tmp_path / 'gt.json', content), results, **options)
    return do


def test_area_is_53_hundredths_of_the_box(tmp_path):
    """The worked example: a box of 100 x 200, every joint displaced by (3, 4)."""
    truth, _ = load_crowdpose_truth(write_json(tmp_path / 'gt.json', crowdpose_content((PLACES, 2, {'area': 5}))),
                                    CROWDPOSE, rule='official')
    assert truth.areas.tolist() == [10600]
    pairs = pair_up(truth, read_records([record(PLACES + (3, 4), 1.0, 1)], 14), np.array(CROWDPOSE.oks_sigmas))
    assert pairs.similarity(truth)[0] == pytest.approx(0.9540649387, abs=1e-10)


def test_people_with_a_head_only_are_ignored_or_recounted(evaluate):
    content = crowdpose_content((PLACES, 2, {}), (PLACES + 300, HEAD_ONLY, {}))
    results = [record(PLACES, 0.5, 1), record(PLACES + 300, 0.9, 1)]
    official, recounted = evaluate(content, results), evaluate(content, results, rule='recount')
    assert official['AR'] == recounted['AR'] == 1
    missed = evaluate(content, results[:1]), evaluate(content, results[:1], rule='recount')
    assert [metrics['AR'] for metrics in missed] == [1, 0.5]


def test_recount_leaves_out_poses_without_any_score(evaluate):
    content = crowdpose_content((PLACES, 2, {}))
    results = [record(PLACES, 0.9, 1, keypoint_score=0.0)]
    assert evaluate(content, results)['AR'] == 1
    assert evaluate(content, results, rule='recount')['AR'] == 0


@pytest.mark.parametrize('index, part', [(0.0, 'easy'), (0.19, 'easy'), (0.2, 'medium'), (0.79, 'medium'),
                                         (0.8, 'hard'), (3.02, 'hard')])
def test_parts_by_crowd_index(evaluate, index, part):
    metrics = evaluate(crowdpose_content((PLACES, 2, {}), index=index), [record(PLACES, 0.9, 1)])
    assert {name: metrics[f'AP ({name})'] for name in ('easy', 'medium', 'hard')} == {
        **dict.fromkeys(('easy', 'medium', 'hard'), -1.0), part: 1.0}


def test_parts_are_rounded_and_nothing_else(evaluate):
    content, results = made_up(1, CROWDPOSE, images=30, crowdpose_format=True)
    metrics = evaluate(content, results)
    for name, value in metrics.items():
        assert (round(value, 4) == value) == (name.startswith('AP (') or value in (0.0, 1.0))


@pytest.mark.parametrize('change, message', [
    (lambda content: content['images'][0].pop('crowdIndex'), "image 0 has no 'crowdIndex'"),
    (lambda content: content['images'][0].update(crowdIndex=float('nan')), "'crowdIndex' should be finite"),
    (lambda content: content['annotations'][0].pop('num_keypoints'), "annotation 0 has no 'num_keypoints'"),
    (lambda content: content['annotations'][0].update(image_id=9), 'image_id 9 is not among the images'),
    (lambda content: content['annotations'][0].update(keypoints=[0] * 51), '51 keypoint values, should be 42'),
    (lambda content: content['annotations'][0].update(bbox=[0, 0, None, 3]), "'bbox' should be finite"),
    (lambda content: content.update(annotations=[]), 'no annotations of people')])
def test_malformed_crowdpose_files_are_named(evaluate, change, message):
    content = crowdpose_content((PLACES, 2, {}))
    change(content)
    with pytest.raises(ValueError, match='gt.json.*' + message):
        evaluate(content, [record(PLACES, 0.9, 1)])


def test_recount_needs_no_counts(evaluate):
    content = crowdpose_content((PLACES, 2, {}))
    del content['annotations'][0]['num_keypoints']
    assert evaluate(content, [record(PLACES, 0.9, 1)], rule='recount')['AP'] == pytest.approx(1)


@pytest.mark.parametrize('results, message', [
    ([], 'no result'), ([record(PLACES, 0.9, 7)], r'1 image ids of the results are not in .*gt.json, e.g. \[7\]'),
    ([record(PLACES[:5], 0.9, 1)], 'result 0: 15 keypoint values, should be 42'),
    ([record(PLACES, 0.9, 1), record(PLACES * np.inf, 0.9, 1)], 'not finite, the first is number 1'),
    ([record(PLACES, float('nan'), 1)], 'not finite'),
    ([record(PLACES, 0.9, 1), record(PLACES, 10 ** 400, 1)], 'result 1 holds 1000.*, should hold numbers'),
    ([record(PLACES, 'high', 1)], "result 0 holds 'high', should hold numbers")])
def test_results_that_cannot_be_scored(evaluate, results, message):
    with pytest.raises(ValueError, match=message), np.errstate(invalid='ignore'):
        evaluate(crowdpose_content((PLACES, 2, {})), results)


def test_unknown_rule(evaluate):
    with pytest.raises(ValueError, match="unknown rule 'paper' of CrowdPose; known: official, recount"):
        evaluate(crowdpose_content((PLACES, 2, {})), [record(PLACES, 0.9, 1)], rule='paper')


def test_printed_lines_of_crowdpose():
    lines = crowdpose.format_metrics(dict(zip(METRIC_NAMES, np.arange(9) / 10))).split('\n')
    assert len(lines) == 9
    assert lines[1] == ' Average Precision  (AP) @[ OKS=0.50      | crowd index=   all | maxDets= 20 ] = 0.1000'
    assert lines[7] == ' Average Precision  (AP) @[ OKS=0.50:0.95 | crowd index=medium | maxDets= 20 ] = 0.7000'


# Each keypoint on its own

def one_keypoint_content(content, keypoint):
    """The same people with one keypoint: what COCO's evaluator makes of it is the definition."""
    return {**content, 'annotations': [
        {**each, 'keypoints': each['keypoints'][3 * keypoint:3 * keypoint + 3],
         'num_keypoints': int(each['keypoints'][3 * keypoint + 2] > 0)} for each in content['annotations']]}


class OneKeypoint:
    """A layout of one of COCO's keypoints, as far as the evaluator wants to know it."""

    def __init__(self, keypoint):
        self.oks_sigmas, self.num_keypoints, self.name = COCO.oks_sigmas[keypoint:keypoint + 1], 1, 'one'


def test_keypoint_ap_is_that_of_a_layout_with_it_alone(tmp_path):
    content, results = made_up(2, COCO)
    path = write_json(tmp_path / 'gt.json', content)
    numbers = keypoints_by_oks(load_coco_truth(path, COCO), results, COCO, path)
    assert tuple(numbers) == COCO.keypoint_names
    for keypoint in (0, 5, 16):
        alone = [{**each, 'keypoints': each['keypoints'][3 * keypoint:3 * keypoint + 3]} for each in results]
        one = write_json(tmp_path / 'one.json', one_keypoint_content(content, keypoint))
        evaluator = run_coco_evaluator(one, alone, OneKeypoint(keypoint))
        assert numbers[COCO.keypoint_names[keypoint]].average_precision == pytest.approx(evaluator.stats[0], abs=1e-9)


def test_oks_error_of_each_keypoint_in_numbers(tmp_path):
    """One displaced knee, one missing label; a person whom nobody finds plays no part."""
    visibility = np.where(np.arange(14) == 3, 0, 2)
    path = write_json(tmp_path / 'gt.json', crowdpose_content((PLACES, visibility, {}), (PLACES + 900, 2, {})))
    truth, _ = load_crowdpose_truth(path, CROWDPOSE, rule='official')
    found = PLACES.copy()
    found[8] += (6, 8)
    numbers = keypoints_by_oks(truth, [record(found, 0.9, 1)], CROWDPOSE, path)
    term = np.exp(-100 / (2 * (2 * 0.087) ** 2 * 10600))
    assert numbers['left_knee'].oks_error == pytest.approx(1 - term)
    assert numbers['right_elbow'].oks_error == -1
    assert numbers['head'].oks_error == pytest.approx(0)
    # Half of the people have a right elbow, and it is not found; of every other keypoint one of two is.
    assert numbers['right_elbow'].average_precision == 0
    assert numbers['head'].average_precision == pytest.approx(51 / 101)
    table = format_keypoints_by_oks(numbers).split('\n')
    assert len(table) == 15 and table[0].split() == ['keypoint', 'AP', 'alone', 'OKS', 'error']
    # A term of 0.856 passes the eight thresholds up to 0.85.
    assert table[9].split() == ['left_knee', f'{0.8 * 51 / 101:.3f}', f'{1 - term:.3f}']
