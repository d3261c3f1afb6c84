"""The data sets beside COCO: layouts, files, people, scores of true poses, submissions, and the scripts on them."""
import json
import re
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from golden_data import FULL_FOLDER
from made_up_data import write_data_sets, write_json, write_mat
from script_runs import MSPN, SIMPLE_POSE, TOY, TOY_POSE, run_script

from src.config import load_recipe, resolve
from src.data.skeletons import COCO, CROWDPOSE, MPII, SKELETONS
from src.datasets.annotation_files import find_annotation_file
from src.datasets.registry import DATASETS, configured_skeleton, dataset_of
from src.evaluation.evaluate import Evaluation
from src.evaluation.predict import Predictor
from src.synthetic.writing import write_synthetic_ochuman
from src.system.device import Processes
from src.system.files import JsonFile

SHARED = FULL_FOLDER.parent / 'data'
CROWDPOSE_VAL = SHARED / 'crowdpose' / 'crowdpose_val.json'
NUM_JOINTS = {'coco': 17, 'ochuman': 17, 'crowdpose': 14, 'mpii': 16}


def settings_of(protocol: str, root: str) -> dict:
    return {'DATASET.PROTOCOL': protocol, 'DATASET.SKELETON': 'coco' if protocol == 'ochuman' else protocol,
            'MODEL.NUM_JOINTS': NUM_JOINTS[protocol], 'DATASET.ROOT': root, 'TEST.USE_GT_BBOX': True}


def config_of(protocol: str, root: str, recipe: str = SIMPLE_POSE, **changes):
    return resolve(load_recipe(recipe), {**settings_of(protocol, root), **changes})


def people_of(protocol: str, path: str, rule: str):
    config = config_of(protocol, '')
    return dataset_of(config).people(JsonFile(path), configured_skeleton(config), rule, True)


@pytest.fixture(scope='module')
def roots(tmp_path_factory):
    return write_data_sets(tmp_path_factory.mktemp('data_sets'))


# Layouts

@pytest.mark.parametrize('skeleton', SKELETONS.values(), ids=SKELETONS)
def test_layouts_are_consistent(skeleton):
    assert len(skeleton.oks_sigmas) == skeleton.num_keypoints == len(set(skeleton.keypoint_names))
    np.testing.assert_array_equal(skeleton.flip_index[skeleton.flip_index], np.arange(skeleton.num_keypoints))
    assert len(skeleton.link_index) == len(skeleton.links) and set(skeleton.link_index.ravel()) == set(
        range(skeleton.num_keypoints))
    np.testing.assert_array_equal(np.array(skeleton.oks_sigmas)[skeleton.flip_index], skeleton.oks_sigmas)
    assert skeleton.is_above_hips.sum() < skeleton.num_keypoints


# As the files and evaluators of the data sets number them; l and r are left and right.
PUBLISHED_ORDER = {
    'coco': 'nose l_eye r_eye l_ear r_ear l_shoulder r_shoulder l_elbow r_elbow l_wrist r_wrist l_hip r_hip l_knee '
            'r_knee l_ankle r_ankle',
    'crowdpose': 'l_shoulder r_shoulder l_elbow r_elbow l_wrist r_wrist l_hip r_hip l_knee r_knee l_ankle r_ankle head '
                 'neck',
    'mpii': 'r_ankle r_knee r_hip l_hip l_knee l_ankle pelvis thorax upper_neck head_top r_wrist r_elbow r_shoulder '
            'l_shoulder l_elbow l_wrist'}
# In thousandths, of left and right alike.
PUBLISHED_SIGMAS = {'nose': 26, 'eye': 25, 'ear': 35, 'shoulder': 79, 'elbow': 72, 'wrist': 62, 'hip': 107, 'knee': 87,
                    'ankle': 89, 'head': 79, 'neck': 79}


@pytest.mark.parametrize('name', PUBLISHED_ORDER)
def test_published_order_of_keypoints(name):
    words = PUBLISHED_ORDER[name].split()
    in_full = [{'l_': 'left_', 'r_': 'right_'}.get(word[:2], word[:2]) + word[2:] for word in words]
    assert list(SKELETONS[name].keypoint_names) == in_full


@pytest.mark.parametrize('skeleton', [COCO, CROWDPOSE], ids=['coco', 'crowdpose'])
def test_published_oks_sigmas(skeleton):
    expected = [PUBLISHED_SIGMAS[name.split('_')[-1]] / 1000 for name in skeleton.keypoint_names]
    assert list(skeleton.oks_sigmas) == expected


def test_published_limbs_of_coco():
    """COCO's own pairs, counted from 1."""
    pairs = [(16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9), (8, 10),
             (9, 11), (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7)]
    assert {frozenset(link) for link in (COCO.link_index + 1).tolist()} == {frozenset(pair) for pair in pairs}
    assert len(COCO.links) == len(pairs)


@pytest.mark.parametrize('skeleton, pairs', [
    (COCO, [(1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)]),
    (CROWDPOSE, [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11)]),
    (MPII, [(0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)])], ids=['coco', 'crowdpose', 'mpii'])
def test_published_flip_pairs(skeleton, pairs):
    swapped = np.arange(skeleton.num_keypoints)
    for left, right in pairs:
        swapped[[left, right]] = right, left
    np.testing.assert_array_equal(skeleton.flip_index, swapped)


# Files

@pytest.mark.parametrize('protocol, split, path', [
    ('coco', 'TEST', 'annotations/person_keypoints_val2017.json'), ('crowdpose', 'TRAIN', 'json/crowdpose_train.json'),
    ('crowdpose', 'TEST', 'annotations/mmpose_crowdpose_val.json'), ('mpii', 'TRAIN', 'annot/train.json'),
    ('mpii', 'TEST', 'annot/valid.json'), ('mpii', 'TEST', 'annotations/mpii_val.json'),
    ('ochuman', 'TEST', 'ochuman_coco_format_val_range_0.00_1.00.json')])
def test_own_names_of_the_data_sets_are_found(tmp_path, monkeypatch, protocol, split, path):
    monkeypatch.chdir(tmp_path)
    config = config_of(protocol, 'root')
    with pytest.raises(ValueError, match=f'no annotation file; looked for .*{re.escape(path)}'):
        find_annotation_file(config, split, is_explicit=False)
    write_json(tmp_path / 'root' / path, {})
    assert find_annotation_file(config, split, is_explicit=False) == str(Path('root') / path)


# People

@pytest.mark.skipif(not CROWDPOSE_VAL.is_file(), reason='CrowdPose val (../shared) is not here')
@pytest.mark.parametrize('rule', ['mspn', 'simple_pose'])
def test_people_of_crowdpose_val(rule):
    people = people_of('crowdpose', str(CROWDPOSE_VAL), rule)
    assert len(people) == 7962 and len(people.image_ids) == 2000 and people.keypoints.shape[1:] == (14, 3)


def test_crowdpose_counts_labels_of_head_and_neck(tmp_path, roots):
    """The field num_keypoints leaves them out; whoever trusts it loses people, as COCO's rule does on purpose."""
    content = json.loads(Path(f'{roots["crowdpose"]}/json/crowdpose_val.json').read_text())
    content['annotations'][0].update(num_keypoints=0, keypoints=[0] * 36 + [90, 50, 2, 90, 70, 2])
    content['annotations'][1].update(num_keypoints=0, keypoints=[0] * 42)
    content['annotations'][2].update(iscrowd=1)
    path = write_json(tmp_path / 'gt.json', content)
    people = people_of('crowdpose', path, 'mspn')
    assert len(people) == len(content['annotations']) - 2
    assert people.keypoints[0, :, 2].tolist() == [0] * 12 + [2, 2]


def test_mpii_knows_no_detected_boxes(roots):
    with pytest.raises(ValueError, match='MPII is evaluated on its annotated centers and scales .*USE_GT_BBOX'):
        Evaluation(config_of('mpii', roots['mpii'], **{'TEST.USE_GT_BBOX': False}), Processes('CPU'))


# Scores of true poses

def true_predictor(evaluation: Evaluation, noise: float = 0.0) -> Predictor:
    """Finds everybody where the annotation says, recognised by the place of the crop."""
    recipe, people = evaluation.samples.crops, evaluation.people
    centers = np.array([recipe.test_crop(box, evaluation.samples.aspect).center for box in people.boxes_xywh])

    def decode(_, crop_centers, scales):
        rows = [np.linalg.norm(centers - center, axis=1).argmin() for center in crop_centers]
        return people.keypoints[rows, :, :2].astype(float) + noise, np.full((len(rows), people.keypoints.shape[1]), 0.8)

    return Predictor(lambda crops: (np.zeros((len(crops), 1)),), decode, 2)


def shuffled_entries(root: str) -> list:
    """MPII's people in an order in which those of a picture do not follow each other."""
    entries = json.loads(Path(f'{root}/annot/valid.json').read_text())
    return entries[1::2] + entries[::2][::-1]


def test_true_poses_of_mpii(roots, tmp_path):
    """In the order of the annotation file, whatever pictures its people are on."""
    pytest.importorskip('scipy')
    entries = shuffled_entries(roots['mpii'])
    path = write_json(tmp_path / 'valid.json', entries)
    write_mat(str(tmp_path / 'gt_valid.mat'), entries)
    config = config_of('mpii', roots['mpii'], **{'DATASET.TEST_JSON': path})
    evaluation = Evaluation(config, Processes('CPU'), ['DATASET.TEST_JSON'])
    metrics, results, _ = evaluation.measure_predictor(true_predictor(evaluation))
    assert metrics['Mean'] == metrics['Mean@0.10'] == 100
    assert [record['image_id'] for record in results] == [int(entry['image'][:-4]) for entry in entries]
    # A head is 30 pixels large.
    metrics, results, _ = evaluation.measure_predictor(true_predictor(evaluation, noise=2.25))
    assert (metrics['Mean'], metrics['Mean@0.11'], metrics['Mean@0.10']) == (100, 100, 0)
    assert dataset_of(config).format_summary(metrics, config) == 'PCKh@0.5 mean 100.000'
    assert 'right_ankle     100.000' in evaluation.keypoint_table(results)
    assert dataset_of(config).format_metrics(metrics).split('\n')[1].split()[0] == 'Head'


@pytest.mark.parametrize('rule', ['official', 'recount'])
def test_true_poses_of_crowdpose(roots, rule):
    config = config_of('crowdpose', roots['crowdpose'], **{'TEST.CROWDPOSE_RULE': rule})
    evaluation = Evaluation(config, Processes('CPU'))
    metrics, results, _ = evaluation.measure_predictor(true_predictor(evaluation))
    assert [round(value, 4) for value in metrics.values()] == [1] * 9 and len(results) == len(evaluation.people)
    assert dataset_of(config).format_summary(metrics, config) == f'AP 1.0000 by the {rule} rule'
    assert 'left_shoulder     1.000      0.000' in evaluation.keypoint_table(results)
    assert 'crowd index=  hard' in dataset_of(config).format_metrics(metrics)


def test_true_poses_of_ochuman(roots, tmp_path):
    """COCO's evaluator on COCO's format."""
    coco_root = Path(roots['mpii']).parent / 'coco'
    content = json.loads((coco_root / 'annotations/person_keypoints_val2017.json').read_text())
    for each in content['annotations']:
        each['area'] = each['bbox'][2] * each['bbox'][3]
    config = config_of('ochuman', str(coco_root), **{'DATASET.TEST_JSON': write_json(tmp_path / 'gt.json', content)})
    evaluation = Evaluation(config, Processes('CPU'), ['DATASET.TEST_JSON'])
    metrics, results, _ = evaluation.measure_predictor(true_predictor(evaluation))
    assert len(metrics) == 10 and metrics['AP'] == pytest.approx(1)
    assert 'the areas of its files are those of boxes' in dataset_of(config).format_metrics(metrics)
    assert evaluation.keypoint_table(results).count('\n') == COCO.num_keypoints


# Files without a score

def test_files_of_test_sets_are_predicted_without_a_score(roots, tmp_path):
    root = Path(roots['mpii']).parent / 'coco'
    content = json.loads((root / 'annotations/person_keypoints_val2017.json').read_text())
    path = write_json(tmp_path / 'image_info_test-dev2017.json', {'images': content['images'], 'categories': []})
    boxes = str(root / 'annotations/val2017_detections.json')
    config = config_of('coco', str(root), **{'DATASET.TEST_JSON': path, 'TEST.USE_GT_BBOX': False,
                                             'TEST.COCO_BBOX_FILE': boxes})
    keys = ['DATASET.TEST_JSON', 'TEST.COCO_BBOX_FILE']
    evaluation = Evaluation(config, Processes('CPU'), keys, must_score=False)
    assert 'lists pictures without annotations' in evaluation.reason_without_score
    metrics, results, _ = evaluation.measure_predictor(Predictor(
        lambda crops: (crops,), lambda crops, *_: (np.zeros((len(crops), 17, 2)), np.ones((len(crops), 17))), 2))
    assert metrics == {} and len(results) > 0
    with pytest.raises(ValueError, match='nothing to score by: .* lists pictures without annotations'):
        Evaluation(config, Processes('CPU'), keys)
    with pytest.raises(ValueError, match="has no 'annotations'"):
        Evaluation(resolve(config, {'TEST.USE_GT_BBOX': True}), Processes('CPU'), keys, must_score=False)


def test_mpii_without_head_sizes_cannot_be_scored(roots, tmp_path):
    entries = shuffled_entries(roots['mpii'])
    path = write_json(tmp_path / 'valid.json', entries)
    reason = DATASETS['mpii'].reason_without_score(JsonFile(path), MPII, config_of('mpii', ''))
    assert 'PCKh needs the sizes of the heads' in reason and 'gt_valid.mat' in reason
    with pytest.raises(ValueError, match='does not say how large the heads are'):
        DATASETS['mpii'].evaluate(JsonFile(path), [], MPII, config_of('mpii', ''))


@pytest.mark.parametrize('protocol, key, value, message', [
    ('coco', 'iscrowd', None, "annotation 1: 'iscrowd' should be 0 or 1, is null"),
    ('ochuman', 'num_keypoints', 'all', "annotation 1: 'num_keypoints' should be a whole number, is 'all'"),
    ('crowdpose', 'iscrowd', None, "annotation 1: 'iscrowd' should be 0 or 1, is null"),
    ('crowdpose', 'num_keypoints', None, "annotation 1: 'num_keypoints' should be a whole number, is null"),
    ('crowdpose', 'bbox', [1, 2, 3, -4], "annotation 1: 'bbox' should have a width and height of zero or more, is"),
    ('mpii', 'joints_vis', [2] * 16, "person 1: 'joints_vis' should be 0 or 1"),
    ('mpii', 'head_size', None, "person 1: 'head_size' should be a number, is null")])
@pytest.mark.parametrize('with_boxes_of_the_file', [True, False])
def test_what_the_evaluator_touches_is_read_before_the_first_prediction(roots, tmp_path, protocol, key, value, message,
                                                                        with_boxes_of_the_file):
    """Whatever the boxes are of, and in eval.py as in training."""
    root = {**roots, 'coco': str(tmp_path.parent), 'ochuman': ''}[protocol]
    names = {'mpii': 'mpii/annot/valid.json', 'crowdpose': 'crowdpose/json/crowdpose_val.json'}
    content = json.loads((Path(roots['mpii']).parent / names.get(
        protocol, 'coco/annotations/person_keypoints_val2017.json')).read_text())
    entries = content if protocol == 'mpii' else content['annotations']
    for entry in entries if protocol == 'mpii' else ():
        entry['head_size'] = 20.0
    entries[1][key] = value
    path = write_json(tmp_path / 'truth.json', content)
    config = config_of(protocol, root, **{'DATASET.TEST_JSON': path, 'TEST.USE_GT_BBOX': with_boxes_of_the_file})
    for must_score in (True, False):
        with pytest.raises(ValueError, match=re.escape(f'{path}, {message}')):
            Evaluation(config, Processes('CPU'), ['DATASET.TEST_JSON'], must_score=must_score)


def test_mpii_without_a_visible_joint_is_no_truth(roots, tmp_path):
    entries = json.loads(Path(f'{roots["mpii"]}/annot/valid.json').read_text())
    for entry in entries:
        entry.update(head_size=20.0, joints_vis=[int(name in ('pelvis', 'thorax')) for name in MPII.keypoint_names])
    path = write_json(tmp_path / 'valid.json', entries)
    with pytest.raises(ValueError, match='valid.json: no keypoint of the ground truth is visible; there is nothing'):
        DATASETS['mpii'].reason_without_score(JsonFile(path), MPII, config_of('mpii', ''))


# Submissions

RESULTS = [{'image_id': 5, 'category_id': 1, 'keypoints': [1.5, 2.25, 0.5] * 16, 'score': 0.3, 'hypothesis': 0},
           {'image_id': 3, 'category_id': 1, 'keypoints': [7.0, 8.0, 0.5] * 16, 'score': 0.4, 'hypothesis': 1}]


@pytest.mark.parametrize('protocol', ['coco', 'ochuman', 'crowdpose'])
def test_submission_in_the_format_of_coco(tmp_path, protocol):
    path = tmp_path / 'submission.json'
    DATASETS[protocol].write_submission(str(path), RESULTS)
    written = json.loads(path.read_text())
    assert [set(record) for record in written] == [{'image_id', 'category_id', 'keypoints', 'score'}] * 2
    assert written[1]['keypoints'] == RESULTS[1]['keypoints'] and written[0]['score'] == 0.3


def test_submission_of_mpii(tmp_path):
    """1-based, in the order of the people; nothing else is left in the folder."""
    loadmat = pytest.importorskip('scipy.io').loadmat
    path = tmp_path / 'pred.mat'
    DATASETS['mpii'].write_submission(str(path), RESULTS)
    preds = loadmat(path)['preds']
    assert preds.shape == (2, 16, 2) and preds[0, 3].tolist() == [2.5, 3.25] and preds[1, 0].tolist() == [8, 9]
    assert [each.name for each in tmp_path.iterdir()] == ['pred.mat']


@pytest.mark.parametrize('protocol, name', [('mpii', 'pred.json'), ('coco', 'results.mat'), ('crowdpose', 'results')])
def test_submission_of_another_kind(tmp_path, protocol, name):
    with pytest.raises(ValueError, match=f'{name}: the submission of {protocol} should end in .(mat|json)'):
        DATASETS[protocol].check_submission_path(str(tmp_path / name))


def test_a_submission_that_needs_scipy_says_so_before_the_work(monkeypatch):
    monkeypatch.setitem(sys.modules, 'scipy.io', None)
    with pytest.raises(ImportError, match='pred.mat is a MATLAB file, which needs SciPy: pip install scipy'):
        DATASETS['mpii'].check_submission_path('pred.mat')
    DATASETS['coco'].check_submission_path('submission.json')


# The scripts

def run(script: str, arguments: str, capfd) -> str:
    capfd.readouterr()
    status = run_script(script, arguments)
    out, err = capfd.readouterr()
    assert status == 0, err
    return out


def flags_of(protocol: str, root: str) -> str:
    return ' '.join(f'{key}={value}' for key, value in settings_of(protocol, root).items())


def train_evaluate_and_draw(protocol, root, pictures, boxes, folder, capfd, *, names='', submission=''):
    """Train one epoch, evaluate, and draw; return what eval.py printed."""
    checkpoint = folder / 'pose.ckpt'
    run('train', f'--recipe {SIMPLE_POSE} {TOY} {flags_of(protocol, root)} DATASET.TRAIN_SET=images '
                 f'DATASET.TEST_SET=images TRAIN.DROP_REMAINDER=false LOSS.TOPK=4 --epoch 1 '
                 f'--batch_size 8 --ckpt_save_path {checkpoint} {names}', capfd)
    toy = f'--plugin {TOY_POSE} --ckpt_path {checkpoint}'
    out = run('eval', f'{toy} --save_path {folder}/results.json {names} {submission}', capfd)
    run('infer', f'{toy} --data_url {pictures} --det_file_url {boxes} --img_save_dir {folder}/drawn '
                 '--score_thresh -9 --keypoint_thresh -9', capfd)
    records = json.loads((folder / 'drawn' / 'results.json').read_text())
    assert records and {len(record['keypoints']) for record in records} == {3 * NUM_JOINTS[protocol]}
    drawn = next((folder / 'drawn').glob('*_res.jpg'))
    image_id = int(drawn.name.split('_')[0])
    original = cv2.imread(str(next(path for path in Path(pictures).glob('*.jpg') if int(path.stem) == image_id)))
    assert np.abs(cv2.imread(str(drawn)).astype(int) - original).max() > 60
    return out


@pytest.mark.parametrize('protocol', ['crowdpose', 'mpii'])
def test_train_evaluate_and_infer_on_made_up_data(protocol, roots, tmp_path, capfd):
    pytest.importorskip('scipy')
    root = roots[protocol]
    pictures = tmp_path / 'pictures'
    pictures.mkdir()
    shutil.copy(f'{root}/images/101.jpg', pictures)
    boxes = write_json(tmp_path / 'boxes.json', [
        {'image_id': 101, 'category_id': 1, 'bbox': [20, 10, 80, 160], 'score': 0.9}])
    ending = 'mat' if protocol == 'mpii' else 'json'
    out = train_evaluate_and_draw(protocol, root, pictures, boxes, tmp_path, capfd,
                                  submission=f'--submission {tmp_path}/submission.{ending}')
    people = len(json.loads((tmp_path / 'results.json').read_text()))
    last = out.strip().splitlines()[-1]
    number = r'AP -?\d\.\d{4} by the official rule' if protocol == 'crowdpose' else r'PCKh@0.5 mean \d+\.\d{3}'
    assert re.match(f'{number} with {people} of {people} ground-truth boxes on 3 pictures', last)
    assert 'left_elbow' in out and ('crowd index=  hard' in out or 'Mean@0.11' in out)
    assert (tmp_path / f'submission.{ending}').is_file()


@pytest.mark.parametrize('protocol', ['crowdpose', 'mpii'])
def test_train_evaluate_and_infer_on_the_samples(protocol, tmp_path, capfd):
    folder = SHARED / protocol
    if not folder.is_dir():
        pytest.skip('the CrowdPose and MPII samples (../shared) are not here')
    gt_file = folder / f'test_{protocol}.json'
    boxes = folder / 'test_crowdpose_det_AP_40.json'
    if protocol == 'mpii':
        boxes = write_json(tmp_path / 'boxes.json', [
            {'image_id': 52475643, 'category_id': 1, 'bbox': [140, 70, 350, 350], 'score': 0.9}])
    out = train_evaluate_and_draw(
        protocol, str(folder), folder, boxes, tmp_path, capfd,
        names=f'--gt_file_url {gt_file}', submission=f'--submission {tmp_path}/p.mat' if protocol == 'mpii' else '')
    if protocol == 'crowdpose':
        assert 'AP (hard)' not in out and 'crowd index=medium' in out
        out = run('eval', f'--plugin {TOY_POSE} --ckpt_path {tmp_path}/pose.ckpt --save_path {tmp_path}/results.json '
                          f'--gt_file_url {gt_file} --det_file_url {boxes}', capfd)
        assert re.search(r'AP -?\d\.\d{4} by the official rule with \d+ of \d+ detected boxes of', out)
    else:
        assert 'no score: PCKh needs the sizes of the heads' in out and 'PCKh@0.5' not in out
        assert (tmp_path / 'p.mat').is_file()


def test_train_evaluate_and_infer_on_synthetic_people_in_the_format_of_ochuman(tmp_path, capfd):
    write_synthetic_ochuman(f'{tmp_path}/set', num_val=2, seed=1)
    gt_file = f'{tmp_path}/set/annotations/ochuman_coco_format_val_range_0.00_1.00.json'
    boxes = write_json(tmp_path / 'boxes.json', [
        {**{key: person[key] for key in ('image_id', 'category_id', 'bbox')}, 'score': 0.9}
        for person in json.loads(Path(gt_file).read_text())['annotations']])
    out = train_evaluate_and_draw('ochuman', f'{tmp_path}/set', f'{tmp_path}/set/images', boxes, tmp_path, capfd,
                                  names=f'--gt_file_url {gt_file}')
    assert "OCHuman: COCO's evaluator; the areas of its files are those of boxes" in out
    assert re.search(r'^AP -?\d\.\d{4} with 4 of 4 ground-truth boxes on 2 pictures$', out, re.M)


def test_training_evaluates_by_the_number_of_mpii(roots, tmp_path, capfd):
    """The best checkpoint is that of the highest mean PCKh, and the curve's panel bears its name."""
    pytest.importorskip('scipy')
    out = run('train', f'--recipe {SIMPLE_POSE} {TOY} {flags_of("mpii", roots["mpii"])} '
                       f'TRAIN.EVAL_EPOCHS=1 TRAIN.DROP_REMAINDER=false --epoch 2 --batch_size 8 '
                       f'--ckpt_save_path {tmp_path}/pose.ckpt', capfd)
    told = [float(value) for value in re.findall(r'^epoch: \d Mean: (\d+\.\d{4}) with ground-truth boxes', out, re.M)]
    rows = [json.loads(line) for line in (tmp_path / 'pose_metrics.jsonl').read_text().splitlines()]
    means = [row['Mean'] for row in rows if 'Mean' in row]
    assert len(told) == 2 and told == pytest.approx(means, abs=1e-4) and (tmp_path / 'pose_best.ckpt').is_file()


def test_detections_are_found_on_pictures_of_the_file(roots, tmp_path):
    """CrowdPose with a detection file: boxes name image ids, and others are left out and counted."""
    content = json.loads(Path(f'{roots["crowdpose"]}/json/crowdpose_val.json').read_text())
    boxes = [{'image_id': image['id'], 'category_id': 1, 'bbox': [10, 10, 80, 150], 'score': 0.9}
             for image in content['images']]
    others = [{**boxes[0], 'image_id': 7777}, {**boxes[0], 'category_id': 2}, {**boxes[0], 'score': 0.25}]
    path = write_json(tmp_path / 'boxes.json', [*boxes, *others])
    settings = {'TEST.USE_GT_BBOX': False, 'TEST.COCO_BBOX_FILE': path}
    for least, count in ((0.0, 4), (0.25, 4), (0.3, 3)):
        config = config_of('crowdpose', roots['crowdpose'], **settings, **{'TEST.IMAGE_THRE': least})
        evaluation = Evaluation(config, Processes('CPU'), ['TEST.COCO_BBOX_FILE'])
        assert len(evaluation.people) == count and '1 on unknown images' in str(evaluation.box_report)
        assert '1 of another category' in str(evaluation.box_report)


@pytest.mark.parametrize('recipe, smaller', [(MSPN, 0), (SIMPLE_POSE, 1)])
def test_ground_truth_boxes_are_those_of_the_network(roots, recipe, smaller):
    """MSPN evaluates on boxes as they are, Simple Baselines on clipped ones, which lose a pixel."""
    evaluation = Evaluation(config_of('crowdpose', roots['crowdpose'], recipe), Processes('CPU'))
    annotations = json.loads(Path(evaluation.gt_file).read_text())['annotations']
    sizes = np.array([each['bbox'][2:] for each in annotations])
    np.testing.assert_allclose(evaluation.people.boxes_xywh[:, 2:], sizes - smaller)
    assert (evaluation.people.box_scores == 1).all()
