"""OKS between predictions and suppression by it, hard and soft: the original's choices, the worked examples."""
import numpy as np
import pytest
from golden_data import golden

from src.data.skeletons import COCO
from src.evaluation.oks import SOFT_NMS_LIMIT, oks_nms, oks_to_others, soft_oks_nms

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


# Soft suppression

def suppress_softly(poses, scores, threshold=0.9):
    return soft_oks_nms(poses, np.array(scores, float), np.full(len(poses), AREA), threshold, SIGMAS).tolist()


def soft_by_the_definition(poses, scores, threshold):
    """One pose after the other, in lists."""
    waiting = [[score, index] for index, score in enumerate(scores)]
    kept = []
    while waiting and len(kept) < 20:
        # Among equal scores the last one counts.
        best = max(range(len(waiting)), key=lambda place: (waiting[place][0], place))
        _, index = waiting.pop(best)
        kept.append(index)
        waiting.sort(key=lambda each: each[0])
        for each in waiting:
            similarity = oks_to_others(poses[index], poses[each[1]][None], AREA, np.array([AREA]), SIGMAS)[0]
            each[0] *= np.exp(-similarity * similarity / threshold)
        waiting.sort(key=lambda each: each[0])
    return kept


def test_scores_fall_as_in_the_worked_example():
    """OKS 0.95 at threshold 0.9: the factor is 0.3668589718, so a stranger overtakes 0.8 from 0.2935 on."""
    offset = np.linspace(4, 5, 2001)
    similarities = np.array([oks_to_others(poses[0], poses[1:], AREA, np.array([AREA]), SIGMAS)[0]
                             for poses in (shifted(0, each) for each in offset)])
    beside = offset[np.abs(similarities - 0.95).argmin()]
    assert similarities[np.abs(similarities - 0.95).argmin()] == pytest.approx(0.95, abs=1e-4)
    fallen = 0.8 * 0.3668589718
    assert suppress_softly(shifted(0, beside, 3000), [0.9, 0.8, fallen - 1e-4]) == [0, 1, 2]
    assert suppress_softly(shifted(0, beside, 3000), [0.9, 0.8, fallen + 1e-4]) == [0, 2, 1]


@pytest.mark.parametrize('threshold', [0.5, 0.9])
def test_soft_suppression_is_that_of_the_definition(threshold):
    rng = np.random.default_rng(3)
    poses = shifted(*rng.uniform(0, 60, 30))
    scores = rng.uniform(0.1, 1, 30)
    kept = suppress_softly(poses, scores, threshold)
    assert kept == soft_by_the_definition(poses, scores, threshold)
    assert len(kept) == SOFT_NMS_LIMIT and sorted(kept) != sorted(np.argsort(scores)[:-21:-1].tolist())


def test_soft_suppression_drops_nobody_among_few():
    assert suppress_softly(shifted(*[0] * 20), np.linspace(0.1, 1, 20)) == list(range(20))[::-1]
    # Every ranking turns equal scores round.
    assert suppress_softly(shifted(0, 0, 0, 0), [0.5, 0.5, 0.5, 0.5]) == [3, 0, 2, 1]
    assert suppress_softly(shifted(0), [0.3]) == [0]
    kept = soft_oks_nms(np.zeros((0, 17, 3)), np.zeros(0), np.zeros(0), 0.9, SIGMAS)
    assert kept.shape == (0,) and kept.dtype == np.int64


def test_soft_suppression_leaves_its_input_alone():
    poses, scores, areas = shifted(0, 5, 20), np.array([0.1, 0.3, 0.2]), np.full(3, AREA)
    before = [array.copy() for array in (poses, scores, areas)]
    soft_oks_nms(poses, scores, areas, 0.5, SIGMAS)
    for array, copy in zip((poses, scores, areas), before):
        np.testing.assert_array_equal(array, copy)
