"""Errors by kind: hand-made cases with known answers, and made-up sets against a slow reading of the definition."""
import numpy as np
import pytest
from test_oks_metrics import made_up

from src.data.oks_truth import OKSTruth, load_coco_truth
from src.data.skeletons import COCO
from src.metrics.coco import coco_numbers
from src.metrics.keypoint_errors import (
    GOOD,
    INVERSION,
    JITTER,
    KINDS,
    MISS,
    SWAP,
    UNLABELLED,
    correct_keypoints,
    find_keypoint_errors,
)
from src.metrics.oks_matching import match, pair_up
from src.metrics.people_errors import (
    BACKGROUND,
    CORRECTIONS,
    DUPLICATE,
    FOUND,
    INEXACT,
    MISSED,
    RIGHT,
    ap_by_correction,
    ap_without_states,
    find_people_errors,
    optimal_scores,
)
from src.metrics.records import PoseArrays, read_records
from src.system.files import write_json

SIGMAS = np.array(COCO.oks_sigmas)
AREA = 1e4
# So far from each other that no keypoint is near another one.
LABELS = np.stack([np.arange(17) * 1000.0, np.zeros(17)], axis=1)


def away(keypoint: int, similarity: float) -> float:
    """The distance from its label at which a keypoint has a similarity."""
    return float(np.sqrt(-2 * np.log(similarity) * (2 * SIGMAS[keypoint]) ** 2 * AREA))


def truth_of(*people, labelled=None, ignored=()):
    """People (17, 2) on one picture, all labelled."""
    count = len(people)
    labelled = np.ones((count, 17), bool) if labelled is None else labelled
    return OKSTruth(np.array([7]), np.zeros(count, int), np.array(people), labelled,
                    np.array([[*each.min(axis=0), *np.ptp(each, axis=0)] for each in people]), np.full(count, AREA),
                    np.isin(np.arange(count), ignored), np.zeros(count, bool))


def poses_of(*poses, scores=None):
    count = len(poses)
    return PoseArrays(np.full(count, 7), np.array(poses, float).reshape(count, 17, 2), np.ones((count, 17)),
                      np.linspace(0.9, 0.5, count) if scores is None else np.array(scores))


def analyse(truth, found):
    pairs = pair_up(truth, found, SIGMAS)
    similarity = pairs.similarity(truth)
    errors = find_keypoint_errors(truth, pairs, similarity, COCO.flip_index)
    return pairs, errors, find_people_errors(truth, pairs, similarity, match(truth, pairs, similarity))


def test_each_kind_of_keypoint_error():
    neighbour = LABELS + [0, 5000]
    pose = LABELS.copy()
    pose[0, 1] += away(0, 0.9)
    pose[7, 1] -= away(7, 0.7)
    pose[5] = LABELS[6] + [0, away(5, 0.6)]
    pose[9] = neighbour[9]
    pose[12] = neighbour[11] + [away(12, 0.55), 0]
    pose[13] += [0, 700]
    labelled = np.ones((2, 17), bool)
    labelled[0, 15] = False
    _, errors, _ = analyse(truth_of(LABELS, neighbour, labelled=labelled), poses_of(pose))
    expected = np.full(17, GOOD)
    expected[[7, 5, 9, 12, 13, 15]] = JITTER, INVERSION, SWAP, SWAP, MISS, UNLABELLED
    assert errors.kind.tolist() == [expected.tolist()]
    np.testing.assert_allclose(errors.best[0, [0, 7, 5, 9, 12]], [0.9, 0.7, 0.6, 1, 0.55])
    assert errors.other[0].tolist() == [1 if each in (9, 12) else -1 for each in range(17)]
    assert dict(zip(KINDS, errors.counts())) == {'good': 11, 'jitter': 1, 'inversion': 1, 'swap': 2, 'miss': 1}


@pytest.mark.parametrize(('similarity', 'kind'), [(0.86, GOOD), (0.850001, GOOD), (0.849999, JITTER),
                                                  (0.500001, JITTER), (0.499999, MISS), (0.1, MISS)])
def test_limits_between_good_jitter_and_miss(similarity, kind):
    pose = LABELS + [0, 1] * np.array([[away(each, similarity)] for each in range(17)])
    _, errors, _ = analyse(truth_of(LABELS), poses_of(pose))
    assert (errors.kind == kind).all() and errors.kind.shape == (1, 17)


def test_the_most_similar_label_decides_even_where_its_own_is_near():
    """Eyes of a small face: found between both, nearer to the wrong one."""
    labels = LABELS.copy()
    gap = away(1, 0.4)
    labels[2] = labels[1] + [gap, 0]
    pose = labels.copy()
    pose[1] = labels[1] + [0.6 * gap, 0]
    pose[2] = labels[2] - [0.4 * gap, 0]
    _, errors, _ = analyse(truth_of(labels), poses_of(pose))
    assert errors.own[0, 1] > 0.5
    assert errors.kind[0, 1] == INVERSION and errors.kind[0, 2] in (GOOD, JITTER)


def test_of_equal_similarities_its_own_label_counts():
    """Both people have the same nose, and the nose has no partner."""
    neighbour = LABELS + [0, 5000]
    neighbour[0] = LABELS[0]
    _, errors, _ = analyse(truth_of(LABELS, neighbour), poses_of(LABELS))
    assert errors.kind[0, 0] == GOOD


def slow_kinds(truth, pose, person, flip):
    """The definition, label by label."""
    found = []
    for keypoint in range(len(flip)):
        if not truth.is_labelled[person, keypoint]:
            found.append(UNLABELLED)
            continue
        best, kind = -1.0, None
        others = [each for each in range(len(truth)) if each != person
                  and truth.image_index[each] == truth.image_index[person]]
        for whose, which, name in [(person, keypoint, 'own'), *((each, keypoint, SWAP) for each in others),
                                   (person, flip[keypoint], INVERSION),
                                   *((each, flip[keypoint], SWAP) for each in others)]:
            if truth.is_labelled[whose, which]:
                squared = ((pose[keypoint] - truth.keypoints[whose, which]) ** 2).sum()
                value = np.exp(-squared / (2 * (2 * SIGMAS[keypoint]) ** 2 * truth.areas[whose]))
                if value > best + 1e-15:
                    best, kind = value, name
        found.append(MISS if best < 0.5 else (GOOD if best >= 0.85 else JITTER) if kind == 'own' else kind)
    return found


@pytest.mark.parametrize('seed', range(6))
def test_kinds_are_those_of_the_definition(tmp_path, seed):
    content, results = made_up(seed, COCO, images=14)
    write_json(str(tmp_path / 'gt.json'), content)
    truth = load_coco_truth(str(tmp_path / 'gt.json'), COCO)
    pairs, errors, _ = analyse(truth, read_records(results, 17))
    assert len(errors.pose) > 3
    for row, (pose, person) in enumerate(zip(errors.pose, errors.person)):
        assert errors.kind[row].tolist() == slow_kinds(truth, pairs.keypoints[pose], person, COCO.flip_index.tolist())
    assert not truth.is_ignored[errors.person].any() and (errors.oks >= 0.1).all()
    assert len(set(errors.pose.tolist())) == len(set(errors.person.tolist())) == len(errors.pose)


# What a correction gains

def gains(truth, found):
    pairs, errors, _ = analyse(truth, found)
    return ap_by_correction(truth, found, SIGMAS, pairs, errors)


def test_corrected_keypoints_have_the_similarity_of_the_paper():
    neighbour = LABELS + [0, 5000]
    pose = LABELS.copy()
    pose[7, 1] -= away(7, 0.7)
    pose[5] = LABELS[6] + [0, away(5, 0.6)]
    pose[9] = neighbour[9] + [away(9, 0.8), 0]
    pose[13] += [0, 700]
    truth = truth_of(LABELS, neighbour)
    pairs, errors, _ = analyse(truth, poses_of(pose))
    moved = correct_keypoints(truth, pairs, errors, [JITTER, INVERSION, SWAP, MISS])
    np.testing.assert_allclose(moved.terms[0, [7, 5, 9, 13]], [0.85, 0.6, 0.8, 0.5], atol=1e-6)
    assert moved.terms[0, 13] >= 0.5 and moved.terms[0, 7] >= 0.85
    only = correct_keypoints(truth, pairs, errors, [JITTER])
    np.testing.assert_allclose(only.keypoints[0, 13], pose[13])
    np.testing.assert_allclose(only.keypoints[0, 7], LABELS[7] - [0, away(7, 0.85)], rtol=1e-6)


def test_ap_without_misses():
    """Nine perfect keypoints and eight misses are an OKS of 9/17, over one threshold; with 0.5 for each miss it is
    13/17, over six."""
    pose = LABELS.copy()
    pose[9:] += [0, 2000]
    found = gains(truth_of(LABELS), poses_of(pose))
    assert found['miss'].alone == pytest.approx(0.6) and found['miss'].one_after_another == pytest.approx(0.6)
    assert all(found[each].alone == pytest.approx(0.1) for each in ('swap', 'inversion', 'jitter', 'score'))
    assert found['background'].alone == pytest.approx(0.1) and found['missed'].alone == pytest.approx(1)
    assert found['missed'].one_after_another == pytest.approx(1)
    assert list(found) == list(CORRECTIONS)


def test_ap_without_background_and_without_missed_people():
    far = LABELS + [0, 90000]
    found = gains(truth_of(LABELS), poses_of(far, LABELS))
    assert found['score'].alone == pytest.approx(1) and found['background'].alone == pytest.approx(1)
    assert found['missed'].alone == pytest.approx(0.5) and found['jitter'].alone == pytest.approx(0.5)
    found = gains(truth_of(LABELS, far), poses_of(LABELS))
    assert found['background'].alone == pytest.approx(51 / 101) and found['missed'].alone == pytest.approx(1)


def test_ap_with_optimal_scores():
    """A pose with an OKS of about 0.62 has a better score than the perfect one."""
    inexact = LABELS + [0, 1] * np.array([[away(each, 0.62)] for each in range(17)])
    truth, found = truth_of(LABELS), poses_of(inexact, LABELS)
    pairs, errors, people = analyse(truth, found)
    assert people.misranked.tolist() == [[0, 0, 1]]
    assert people.pose_state.tolist() == [RIGHT, DUPLICATE]
    numbers = gains(truth, found)
    assert numbers['jitter'].alone == pytest.approx((8 + 0.5 * 2) / 10)
    assert numbers['miss'].alone == pytest.approx((3 + 0.5 * 7) / 10)
    assert numbers['score'].alone == pytest.approx(1)
    best = optimal_scores(truth, pairs, pairs.similarity(truth))
    assert best[1] == pytest.approx(1) and best[0] < 0.62


def test_optimal_scores_are_the_oks_with_people_who_count():
    truth = truth_of(LABELS, LABELS + [0, 20000], ignored=[1])
    pairs, _, _ = analyse(truth, poses_of(LABELS + [0, 20000], LABELS))
    np.testing.assert_allclose(optimal_scores(truth, pairs, pairs.similarity(truth)), [0, 1], atol=1e-9)


def test_soft_nms_lowers_the_scores_of_poses_like_a_better_one():
    """By exp(-OKS² / 0.5), with the OKS of both by the mean of the areas around their keypoints."""
    labels = np.random.default_rng(0).uniform(0, 100, (17, 2))
    near = labels + [1.5, 0]
    truth = truth_of(labels)
    pairs, _, _ = analyse(truth, poses_of(near, labels))
    similarity = pairs.similarity(truth)
    area = np.ptp(labels[:, 0]) * np.ptp(labels[:, 1])
    oks = np.exp(-1.5 ** 2 / (2 * (2 * SIGMAS) ** 2 * area)).mean()
    np.testing.assert_allclose(optimal_scores(truth, pairs, similarity),
                               [similarity[0] * np.exp(-oks ** 2 / 0.5), 1], rtol=1e-6)


def test_better_scores_bring_back_a_pose_beyond_the_twenty_best():
    far = [LABELS + [0, 20000 + 3000 * number] for number in range(20)]
    found = poses_of(*far, LABELS)
    numbers = gains(truth_of(LABELS), found)
    assert numbers['score'].alone == pytest.approx(1) and numbers['background'].alone == 0


@pytest.mark.parametrize('seed', range(4))
def test_corrections_on_made_up_sets(tmp_path, seed):
    """Nothing corrected is the AP of the evaluator; everything corrected is 1."""
    content, results = made_up(seed, COCO, images=8)
    write_json(str(tmp_path / 'gt.json'), content)
    truth, found = load_coco_truth(str(tmp_path / 'gt.json'), COCO), read_records(results, 17)
    pairs, errors, _ = analyse(truth, found)
    numbers = ap_by_correction(truth, found, SIGMAS, pairs, errors)
    ap = coco_numbers(truth, found, COCO)['AP']
    nothing = correct_keypoints(truth, pairs, errors, [])
    assert nothing.terms.tolist() == pairs.terms.tolist()
    assert numbers['missed'].one_after_another == pytest.approx(1)
    assert numbers['background'].alone >= ap and numbers['missed'].alone >= ap
    steps = [each.one_after_another for each in numbers.values()]
    assert steps[-1] >= steps[-2] >= steps[-3]


# Whole people

def test_states_of_poses_and_people():
    inexact = LABELS + [0, 20000] + [0, 1] * np.array([[away(each, 0.3)] for each in range(17)])
    truth = truth_of(LABELS, LABELS + [0, 20000], LABELS + [0, 40000], LABELS + [0, 60000], ignored=[3])
    found = poses_of(LABELS, LABELS + [0, 1], inexact, LABELS + [0, 80000], LABELS + [0, 60000])
    _, _, people = analyse(truth, found)
    assert people.pose_state.tolist() == [RIGHT, DUPLICATE, INEXACT, BACKGROUND, 1]
    assert people.person_state.tolist() == [FOUND, INEXACT, MISSED, 1]
    assert people.nearest.tolist()[:3] == [0, 0, 1]


def without_states(truth, found):
    pairs, _, people = analyse(truth, found)
    return ap_without_states(truth, pairs, people)


def test_ap_without_false_poses_and_without_people_who_have_none():
    """An inexact pose is neither false nor makes its person missed, though it is both at an OKS of 0.5."""
    far = LABELS + [0, 90000]
    assert without_states(truth_of(LABELS), poses_of(far, LABELS)) == pytest.approx({'false pose': 1, 'no pose': 0.5})
    assert without_states(truth_of(LABELS), poses_of(LABELS, LABELS + [0, 1])) == pytest.approx(
        {'false pose': 1, 'no pose': 1})
    assert without_states(truth_of(LABELS, far), poses_of(LABELS)) == pytest.approx(
        {'false pose': 51 / 101, 'no pose': 1})
    inexact = far + [0, 1] * np.array([[away(each, 0.3)] for each in range(17)])
    assert without_states(truth_of(LABELS, far), poses_of(inexact, LABELS)) == pytest.approx(
        {'false pose': 0.5 * 51 / 101, 'no pose': 0.5 * 51 / 101})


def test_a_picture_without_people_and_no_poses_at_all():
    truth = truth_of(LABELS)
    nobody = PoseArrays(np.zeros(0, int), np.zeros((0, 17, 2)), np.zeros((0, 17)), np.zeros(0))
    _, errors, people = analyse(truth, nobody)
    assert errors.kind.shape == (0, 17) and people.person_state.tolist() == [MISSED]
    numbers = gains(truth, nobody)
    assert numbers['background'].alone == 0 and numbers['missed'].alone == -1
