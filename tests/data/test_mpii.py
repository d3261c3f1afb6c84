"""MPII: people whose boxes give back center and scale, the MATLAB ground truth, and the PCKh table."""
import json

import numpy as np
import pytest
from golden_data import FULL_FOLDER, golden
from made_up_data import MAT_NAMES, write_json, write_mat

from src.data.geometry import center_scale_from_box, crop_matrix, transform_points
from src.data.mpii import find_mat_file, load_mpii_people, load_mpii_truth, number_pictures, read_mat_file
from src.data.skeletons import MPII
from src.metrics.mpii import METRIC_NAMES, evaluate_mpii, format_metrics, head_distances, keypoint_pckh
from src.models.common.crops import SimplePoseCrops
from src.models.mspn.crops import ON_MPII, MSPNCrops

SAMPLE = FULL_FOLDER.parent / 'data' / 'mpii' / 'test_mpii.json'
needs_sample = pytest.mark.skipif(not SAMPLE.is_file(), reason='the MPII sample (../shared) is not here')


def person(**values):
    """One good person; `...` leaves a field out."""
    joints = [[100 + 10 * joint, 200 + 5 * joint] for joint in range(16)]
    content = {'image': '000123.jpg', 'center': [170.0, 240.0], 'scale': 1.5, 'joints': joints,
               'joints_vis': [1] * 16, **values}
    return {key: value for key, value in content.items() if value is not ...}


@pytest.fixture
def load(tmp_path):
    def do(*entries, needs_keypoints=True):
        return load_mpii_people(write_json(tmp_path / 'train.json', list(entries)), needs_keypoints=needs_keypoints)
    return do


# People

def published_center_and_scale(entry):
    """Center and scale, in float64, as the loaders of Simple Baselines, HRNet and MSPN compute them, before padding."""
    center, scale = np.array(entry['center'], float), np.array([entry['scale']] * 2, float)
    center[1] = center[1] + 15 * scale[1]
    return center - 1, scale


def assert_boxes_give_back(entries, people):
    for entry, box in zip(entries, people.boxes_xywh):
        center, scale = center_scale_from_box(box)
        expected_center, expected_scale = published_center_and_scale(entry)
        np.testing.assert_array_equal(center, expected_center.astype(np.float32))
        np.testing.assert_array_equal(scale, expected_scale.astype(np.float32))
        # The crop as well: the published one pads in float64. Its corners lie where they should.
        crop = SimplePoseCrops().test_crop(box, 1.0)
        corners = expected_center + 125 * expected_scale * np.array([[-1, -1], [1, -1], [1, 1]])
        ours, published = (transform_points(corners, crop_matrix(*which, 0, (256, 256))) for which in (
            (crop.center, crop.scale), (expected_center, expected_scale * 1.25)))
        np.testing.assert_allclose(ours, published, atol=1e-3)
        np.testing.assert_allclose(published, [[0, 0], [256, 0], [256, 256]], atol=1e-3)
        of_mspn = MSPNCrops(**ON_MPII).test_crop(box, 1.0)
        np.testing.assert_allclose(of_mspn.scale, expected_scale * 1.25, rtol=1e-6)
        np.testing.assert_array_equal(of_mspn.center, center)


def test_boxes_give_back_center_and_scale(load):
    rng = np.random.default_rng(0)
    entries = [person(center=rng.uniform(0, 2000, 2).round(rng.integers(0, 5)).tolist(),
                      scale=round(float(rng.uniform(0.2, 9)), 6)) for _ in range(500)]
    assert_boxes_give_back(entries, load(*entries))


@needs_sample
def test_people_of_the_sample():
    entries = json.loads(SAMPLE.read_text())
    people = load_mpii_people(str(SAMPLE), needs_keypoints=True)
    assert_boxes_give_back(entries, people)
    assert people.image_ids.tolist() == [5808361, 52475643, 51423444, 4645041, 60754485]
    for entry, keypoints in zip(entries, people.keypoints):
        visible = np.array(entry['joints_vis']) > 0
        np.testing.assert_allclose(keypoints[visible, :2], np.array(entry['joints'])[visible] - 1, atol=1e-4)
        assert keypoints[:, 2].tolist() == (2 * visible).tolist()


def test_people_in_numbers(load):
    people = load(person(), person(image='7.jpg', joints_vis=[0] + [1] * 15), person(scale=2))
    assert people.boxes_xywh[0].tolist() == [170 - 1 - 150, 240 + 22.5 - 1 - 150, 300, 300]
    assert people.image_ids.tolist() == [123, 7] and people.image_index.tolist() == [0, 1, 0]
    assert people.file_names.tolist() == [b'000123.jpg', b'7.jpg'] and people.box_scores.tolist() == [1, 1, 1]
    # Always floating point: MSPN truncates integer keypoints, which its MPII loader does not have.
    assert people.keypoints.dtype == np.float32
    assert people.keypoints[0, 1].tolist() == [109, 204, 2] and people.keypoints[1, :2, 2].tolist() == [0, 2]


def test_everybody_is_used_even_without_a_visible_joint(load):
    assert len(load(person(), person(joints_vis=[0] * 16))) == 2
    with pytest.raises(ValueError, match='none of its 1 people has a visible joint'):
        load(person(joints_vis=[0] * 16))


def test_people_of_the_test_set_have_no_joints(load):
    people = load(person(joints=..., joints_vis=...), person(), needs_keypoints=False)
    assert not people.keypoints[0].any() and people.keypoints[1, 3, 2] == 2
    with pytest.raises(ValueError, match="train.json, person 0 has no 'joints'"):
        load(person(joints=...))


def test_pictures_without_a_number_are_counted():
    assert number_pictures(['b.jpg', '5.jpg', 'b.jpg'])[0].tolist() == [1, 2]
    assert number_pictures(['5.jpg', '05.jpg'])[0].tolist() == [1, 2]
    assert number_pictures(['x/5.jpg', '06.png'])[0].tolist() == [5, 6]


@pytest.mark.parametrize('values, message', [
    ({'image': ...}, "has no 'image'"), ({'image': 5}, "'image' should be text"),
    ({'center': ...}, "has no 'center'"), ({'center': [1]}, "'center' should be 2 finite numbers"),
    ({'center': [1, None]}, "'center' should be 2 finite numbers"),
    ({'center': [-1, -1]}, 'marks a person without a place'),
    ({'scale': ...}, "has no 'scale'"), ({'scale': -1.0}, r"'scale' should be positive .*, is -1.0"),
    ({'scale': float('nan')}, "'scale' should be positive"), ({'scale': '2'}, "'scale' should be a number"),
    ({'joints': [[1, 2]] * 15}, "'joints' should be 16 x 2 finite numbers"),
    ({'joints': [[1, 2]] * 15 + [[1]]}, "'joints' should be 16 x 2 finite numbers"),
    ({'joints': [[1, 2]] * 15 + [3]}, "'joints' should be 16 x 2 finite numbers"),
    ({'joints': [[1, float('inf')]] * 16}, "'joints' should be 16 x 2 finite numbers"),
    ({'joints_vis': ...}, "has no 'joints_vis'"), ({'joints_vis': [1] * 15}, "'joints_vis' should be 16 finite"),
    ({'joints_vis': [3] * 16}, "'joints_vis' should be 0 or 1")], ids=str)
def test_malformed_people_are_named(load, values, message):
    with pytest.raises(ValueError, match=f'train.json, person 1.*{message}'):
        load(person(), person(**values))


@pytest.mark.parametrize('content, message', [
    ({'annotations': []}, r'should be an MPII annotation file \(a list of people'), ([], 'lists no people'),
    ([5], 'person 0 should be an object, is a whole number')])
def test_files_of_another_format(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        load_mpii_people(write_json(tmp_path / 'valid.json', content), needs_keypoints=True)


# Ground truth of PCKh

def test_mat_file_lies_beside_the_json_file(tmp_path):
    for json_name, mat_name in (('valid.json', 'gt_valid.mat'), ('mpii_val.json', 'mpii_gt_val.mat')):
        assert find_mat_file(str(tmp_path / json_name)) is None
        (tmp_path / mat_name).write_bytes(b'')
        assert find_mat_file(str(tmp_path / json_name)) == str(tmp_path / mat_name)


@pytest.fixture
def truth_of(tmp_path):
    """Write valid.json and, with `mat`, gt_valid.mat of the same or other people; return what PCKh compares with."""
    def do(*entries, mat=None, **changes):
        if mat is not None:
            write_mat(str(tmp_path / 'gt_valid.mat'), mat, **changes)
        return load_mpii_truth(write_json(tmp_path / 'valid.json', list(entries)))
    return do


def test_ground_truth_of_the_mat_file(truth_of):
    pytest.importorskip('scipy')
    entries = [person(joints_vis=[0, 0] + [1] * 14), person(center=[5, 5])]
    truth = truth_of(*entries, mat=entries)
    np.testing.assert_allclose(truth.keypoints[0], np.array(entries[0]['joints']) - 1)
    assert truth.is_visible[0].tolist() == [False] * 2 + [True] * 14 and truth.is_visible[1].all()
    assert truth.head_sizes.tolist() == [30, 30]


@pytest.mark.parametrize('head', [{'headbox': [100, 100, 130, 140]}, {'headbox': [[100, 100], [130, 140]]},
                                  {'head_size': 30}])
def test_ground_truth_of_a_json_file_with_heads(truth_of, head):
    truth = truth_of(person(**head), person(**head, joints_vis=[0] * 16))
    assert truth.head_sizes == pytest.approx([30, 30]) and truth.is_visible.sum(axis=1).tolist() == [16, 0]
    assert truth.keypoints[0, 0].tolist() == [99, 199]


def test_no_ground_truth_without_heads(truth_of):
    assert truth_of(person(), person(head_size=3)) is None
    assert truth_of(person(head_size=3, joints=...)) is None


@pytest.mark.parametrize('head, message', [
    ({'headbox': [1, 2, 3]}, "'headbox' should be 4 finite numbers"), ({'headbox': 5}, "'headbox' should be a list"),
    ({'headbox': [5, 5, 5, 5]}, 'should have a size, has 0'), ({'head_size': -3}, 'should have a size, has -3'),
    ({'head_size': None}, "'head_size' should be a number")], ids=str)
def test_malformed_heads_are_named(truth_of, head, message):
    with pytest.raises(ValueError, match=f'valid.json, person 1.*{message}'):
        truth_of(person(head_size=3), person(**head))


@pytest.mark.parametrize('changes, message', [
    ({'headboxes_src': ...}, 'has no headboxes_src; it should be the ground truth of MPII'),
    ({'jnt_missing': ..., 'pos_gt_src': ...}, 'has no jnt_missing, pos_gt_src'),
    ({'headboxes_src': np.zeros((2, 2, 5))}, r'headboxes_src should be numbers of shape \(2, 2, 1\)'),
    ({'headboxes_src': np.zeros((2, 2, 1))}, r'the head of person 0 has no size'),
    ({'pos_gt_src': np.zeros((1, 16, 2))}, r'pos_gt_src should be numbers of shape \(16, 2, 2\)'),
    ({'pos_gt_src': np.full((16, 2, 1), np.nan)}, 'places that are not finite'),
    ({'dataset_joints': np.array([list(MAT_NAMES[::-1])], object)}, 'dataset_joints should name right_ankle'),
    ({'dataset_joints': np.array([list(MAT_NAMES[:5])], object)}, 'dataset_joints should name right_ankle')], ids=str)
def test_malformed_mat_files_are_named(truth_of, changes, message):
    pytest.importorskip('scipy')
    with pytest.raises(ValueError, match=f'gt_valid.mat.*{message}'):
        truth_of(person(), mat=[person()], **changes)


@pytest.mark.parametrize('content, message', [
    (b'', 'is not a MATLAB file'), (b'joints', 'is not a MATLAB file'), (b'%' * 200, 'is not a MATLAB file'),
    (b'MATLAB 7.3 MAT-file' + b' ' * 105 + b'\x00\x02IM' + b'\x00' * 50, 'is a MATLAB 7.3 file; save it')])
def test_files_that_are_no_mat_files(tmp_path, content, message):
    pytest.importorskip('scipy')
    (tmp_path / 'gt.mat').write_bytes(content)
    with pytest.raises(ValueError, match=f'gt.mat {message}'):
        read_mat_file(str(tmp_path / 'gt.mat'))
    with pytest.raises(ValueError, match='cannot read .*none.mat'):
        read_mat_file(str(tmp_path / 'none.mat'))


def test_ground_truth_of_other_people_is_refused(truth_of):
    pytest.importorskip('scipy')
    with pytest.raises(ValueError, match='holds 1 people, .*valid.json 2'):
        truth_of(person(), person(), mat=[person()])
    moved = person(joints=[[500, 500]] * 16)
    with pytest.raises(ValueError, match='are of other people, or of the same in another order'):
        truth_of(person(), mat=[moved])


# PCKh

def records_of(predictions):
    return [{'image_id': 1, 'category_id': 1, 'keypoints': np.column_stack([each, np.ones(16)]).ravel().tolist(),
             'score': 1.0} for each in predictions]


def test_table_of_the_official_evaluation(tmp_path):
    """From a copy in float32, which moves nobody across a threshold."""
    pytest.importorskip('scipy')
    from scipy.io import savemat
    arrays = golden('mpii_pckh')
    savemat(str(tmp_path / 'gt.mat'), {'dataset_joints': np.array([list(MAT_NAMES)], object), **{
        name: arrays[name].astype(float) for name in ('pos_gt_src', 'headboxes_src', 'jnt_missing')}})
    metrics = evaluate_mpii(read_mat_file(str(tmp_path / 'gt.mat')), records_of(arrays['predictions'].astype(float)))
    assert tuple(metrics) == METRIC_NAMES
    assert [metrics[name] for name in METRIC_NAMES[:9]] == pytest.approx(arrays['values'].tolist(), abs=1e-6)
    assert metrics['Mean@0.10'] < metrics['Mean@0.11']


@pytest.mark.skipif(not (FULL_FOLDER / 'mpii').is_dir(), reason='the full golden files (../shared) are not here')
def test_table_of_the_official_evaluation_whole():
    pytest.importorskip('scipy')
    with np.load(FULL_FOLDER / 'mpii' / 'mpii_pckh.npz') as stored:
        predictions, values = stored['predictions_0based'], stored['values']
    metrics = evaluate_mpii(read_mat_file(str(FULL_FOLDER / 'mpii' / 'gt_valid.mat')), records_of(predictions))
    assert list(metrics.values())[:9] == pytest.approx(values.tolist(), abs=1e-6)


@pytest.fixture
def truth(truth_of):
    """Two people with heads of size 30; the second has no left joints, no pelvis and no thorax."""
    hidden = [name.startswith('left_') or name in ('pelvis', 'thorax') for name in MPII.keypoint_names]
    return truth_of(person(head_size=30), person(head_size=30, joints_vis=[int(not each) for each in hidden]))


def test_a_distance_of_half_a_head_is_right(truth):
    """The worked example: 15 pixels at a head size of 30 score; the least further ones do not."""
    places = truth.keypoints.copy()
    places[..., 0] += 15
    assert all(value == 100 for value in list(evaluate_mpii(truth, records_of(places)).values())[:8])
    places[..., 0] += 1e-9
    assert evaluate_mpii(truth, records_of(places))['Mean'] == 0


def test_both_readings_of_the_tight_threshold(truth):
    """What is published as 0.1 is 0.11 of the head size: 3.3 pixels of 30."""
    for offset, expected in ((2.99, (100, 100)), (3.2, (100, 0)), (3.31, (0, 0))):
        metrics = evaluate_mpii(truth, records_of(truth.keypoints + (0, offset)))
        assert (metrics['Mean@0.11'], metrics['Mean@0.10']) == expected


def test_columns_and_mean_of_the_table(truth):
    """A column is the mean of left and right; the mean counts places, without pelvis and thorax."""
    places = truth.keypoints.copy()
    index = {name: number for number, name in enumerate(MPII.keypoint_names)}
    for row, name in ((0, 'left_wrist'), (0, 'right_wrist'), (0, 'pelvis'), (1, 'head_top'), (1, 'upper_neck')):
        places[row, index[name]] += 500
    metrics = evaluate_mpii(truth, records_of(places))
    assert (metrics['Wrist'], metrics['Head'], metrics['Knee']) == (25, 50, 100)
    assert metrics['Mean'] == pytest.approx(100 * (14 + 8 - 4) / (14 + 8))
    shares = keypoint_pckh(truth, head_distances(truth, records_of(places)), 0.5)
    assert (shares[index['pelvis']], shares[index['upper_neck']], shares[index['thorax']]) == (0, 50, 100)


def test_keypoints_that_nobody_has(truth_of):
    nobody_has = ('head_top', 'left_knee', 'thorax')
    truth = truth_of(person(head_size=30, joints_vis=[int(name not in nobody_has) for name in MPII.keypoint_names]))
    metrics = evaluate_mpii(truth, records_of(truth.keypoints))
    assert (metrics['Head'], metrics['Knee'], metrics['Mean']) == (-1, 100, 100)
    nobody = truth_of(person(head_size=30, joints_vis=[0] * 16))
    with pytest.raises(ValueError, match='no keypoint of the ground truth is visible'):
        evaluate_mpii(nobody, records_of(nobody.keypoints))


def test_results_of_another_number_of_people(truth):
    with pytest.raises(ValueError, match='1 results, should be 2: one of each person'):
        evaluate_mpii(truth, records_of(truth.keypoints[:1]))


def test_printed_table():
    lines = format_metrics(dict(zip(METRIC_NAMES, np.arange(10) * 1.5))).split('\n')
    assert lines[1].split() == [*METRIC_NAMES] and lines[2].split()[7:] == ['10.500', '12.000', '13.500']
    assert 'Mean@0.11 is what the releases print as Mean@0.1' in lines[0]
