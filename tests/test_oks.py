"""OKS between predictions and its greedy suppression, against the original's choices and the worked examples."""
import numpy as np
import pytest
from golden_data import golden

from src.oks import oks_nms, oks_to_others
from src.skeletons import COCO

SIGMAS = np.array(COCO.oks_sigmas)
AREA = 22500.0


def shifted(*offsets):
    """Offsets in x -> poses (P, 17, 3), all joints of pose p moved by offsets[p]."""
    pose = np.random.default_rng(0).uniform(0, 150, (17, 3))
    poses = np.tile(pose, (len(offsets), 1, 1))
    poses[:, :, 0] += np.array(offsets)[:, None]
    return poses


def suppress(poses, scores, threshold=0.9):
    return oks_nms(poses, np.array(scores, float), np.full(len(poses), AREA), threshold, SIGMAS).tolist()


@pytest.mark.parametrize('threshold', [0.5, 0.7, 0.9])
def test_kept_poses_equal_the_original(threshold):
    arrays = golden('oks_nms')
    kept = oks_nms(arrays['keypoints'], arrays['score'], arrays['area'], threshold, SIGMAS)
    np.testing.assert_array_equal(kept, arrays[f'keep_{threshold}'])
    assert (np.diff(arrays['score'][kept]) <= 0).all()


def test_worked_similarities():
    poses = shifted(0, 5, 10, 0.0432 * np.sqrt(AREA))
    similarity = oks_to_others(poses[0], poses[1:], AREA, np.full(3, AREA), SIGMAS)
    np.testing.assert_allclose(similarity[:2], [0.9375452807, 0.7951865334], atol=1e-10)
    assert similarity[2] == pytest.approx(0.9, abs=1e-4)


def test_worked_suppression():
    assert suppress(shifted(0, 5), [0.8, 0.9]) == [1]
    assert suppress(shifted(0, 10), [0.8, 0.9]) == [1, 0]


def test_similarity_is_that_of_the_definition():
    rng = np.random.default_rng(1)
    one, two = rng.uniform(0, 100, (2, 17, 3))
    first_area, second_area = 5000.0, 9000.0
    terms = [np.exp(-((one[joint, :2] - two[joint, :2]) ** 2).sum()
                    / (2 * (2 * SIGMAS[joint]) ** 2 * ((first_area + second_area) / 2))) for joint in range(17)]
    ours = oks_to_others(one, two[None], first_area, np.array([second_area]), SIGMAS)
    assert ours[0] == pytest.approx(np.mean(terms), abs=1e-12)
    back = oks_to_others(two, one[None], second_area, np.array([first_area]), SIGMAS)
    assert back[0] == pytest.approx(ours[0], abs=1e-15)


def test_keypoint_scores_play_no_part():
    poses = shifted(0, 5)
    poses[:, :, 2] = 0
    assert suppress(poses, [0.8, 0.9]) == [1]
    assert suppress(poses[:, :, :2], [0.8, 0.9]) == [1]


def test_similarity_at_the_threshold_is_kept():
    poses = shifted(0, 5)
    threshold = oks_to_others(poses[0], poses[1:], AREA, np.array([AREA]), SIGMAS)[0]
    assert suppress(poses, [0.9, 0.8], threshold) == [0, 1]
    assert suppress(poses, [0.9, 0.8], np.nextafter(threshold, 0)) == [0]


def test_suppressed_poses_suppress_nobody():
    """A chain 0 - 5 - 10: the middle one goes, so the last one stays."""
    assert suppress(shifted(0, 5, 10), [0.9, 0.8, 0.7]) == [0, 2]
    assert suppress(shifted(0, 5, 10), [0.8, 0.9, 0.7]) == [1]


def test_among_equal_scores_the_later_pose_comes_first():
    assert suppress(shifted(0, 1000, 2000), [0.5, 0.5, 0.5]) == [2, 1, 0]
    assert suppress(shifted(0, 1, 2000), [0.5, 0.5, 0.9]) == [2, 1]
    assert suppress(shifted(*[1000 * index for index in range(40)]), [0.5] * 40) == list(range(40))[::-1]


def test_identical_poses_leave_one():
    assert suppress(shifted(*[0] * 6), [0.1, 0.6, 0.3, 0.2, 0.5, 0.4]) == [1]


def test_one_pose_and_none():
    assert suppress(shifted(0), [0.3]) == [0]
    kept = oks_nms(np.zeros((0, 17, 3)), np.zeros(0), np.zeros(0), 0.9, SIGMAS)
    assert kept.shape == (0,) and kept.dtype == np.int64


def test_inputs_are_left_alone():
    poses, scores, areas = shifted(0, 5, 20), np.array([0.1, 0.3, 0.2]), np.full(3, AREA)
    before = [array.copy() for array in (poses, scores, areas)]
    oks_nms(poses, scores, areas, 0.5, SIGMAS)
    for array, copy in zip((poses, scores, areas), before):
        np.testing.assert_array_equal(array, copy)
