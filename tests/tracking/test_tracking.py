"""People keep their numbers through crossings and while they are hidden; filters calm poses and hardly delay them."""
import sys

import numpy as np
import pytest

from benchmarks.moving_people import (
    RATE,
    Scene,
    crossing,
    errors_of,
    identity_switches,
    jitter,
    lag_in_frames,
    walking,
)
from src.data.skeletons import COCO
from src.system.errors import MissingPackageError, PoseError
from src.tracking import PoseTracker
from src.tracking.filters import OneEuroFilter, without_lag
from src.tracking.tracker import smooth_whole


def followed(scene: Scene, noise: float, **options):
    tracker, ids, keypoints, who = PoseTracker(COCO.oks_sigmas, **options), [], [], []
    for frame, (found, boxes, people) in enumerate(scene.observed(noise)):
        each = tracker.update(found, boxes, frame / RATE)
        ids.append(each.ids)
        keypoints.append(each.keypoints)
        who.append(people)
    return ids, keypoints, who


@pytest.mark.parametrize('noise', [0.0, 3.0, 8.0])
def test_people_who_cross_or_are_hidden_keep_their_numbers(noise):
    scene = crossing()
    ids, _, who = followed(scene, noise)
    assert identity_switches(ids, who) == 0
    assert {int(number) for numbers in ids for number in numbers} == {1, 2, 3}
    # Numbers by rank, as without a tracker, change all the time.
    assert identity_switches([np.arange(len(people)) for people in who], who) > 20


def test_somebody_who_stays_away_comes_back_as_another():
    truth = walking((300, 200), (0, 0), 100)[:, None]
    is_seen = np.ones((100, 1), bool)
    is_seen[30:80] = False
    ids, _, _ = followed(Scene(truth, is_seen), 1.0)
    assert {int(number) for numbers in ids for number in numbers} == {1, 2}
    ids, _, _ = followed(Scene(truth, is_seen), 1.0, kept_seconds=3.0)
    assert {int(number) for numbers in ids for number in numbers} == {1}


def test_two_people_far_apart_are_never_one():
    truth = np.concatenate([walking((100, 200), (0, 0), 10), walking((500, 200), (0, 0), 10)])[:, None]
    ids, _, _ = followed(Scene(truth, np.ones((20, 1), bool)), 1.0)
    assert [int(numbers[0]) for numbers in ids] == [1] * 10 + [2] * 10


def test_a_new_video_begins_with_number_one():
    tracker = PoseTracker(COCO.oks_sigmas)
    keypoints, boxes, _ = next(crossing().observed(0.0))
    assert sorted(tracker.update(keypoints, boxes, 0.0).ids) == [1, 2, 3]
    assert sorted(tracker.update(keypoints + 2000, boxes + 2000, 0.1).ids) == [4, 5, 6]
    tracker.reset()
    assert sorted(tracker.update(keypoints, boxes, 0.2).ids) == [1, 2, 3]


def test_nobody_is_fine():
    tracker = PoseTracker(COCO.oks_sigmas, smooth='live')
    for time in (0.0, 0.1):
        found = tracker.update(np.empty((0, 17, 3)), np.empty((0, 4)), time)
        assert found.ids.shape == (0,) and found.keypoints.shape == (0, 17, 3)


def test_live_smoothing_shakes_less_and_hardly_lags():
    scene = crossing()
    _, rough, who = followed(scene, 3.0)
    _, smooth, _ = followed(scene, 3.0, smooth='live')
    assert jitter(errors_of(scene, smooth, who)) < 0.45 * jitter(errors_of(scene, rough, who))
    assert lag_in_frames(scene, smooth, who) < 1.0
    assert np.nanstd(errors_of(scene, smooth, who)) < np.nanstd(errors_of(scene, rough, who))
    # Scores stay as they are.
    assert (smooth[5][:, :, 2] == 0.8).all()


def test_smoothing_of_a_whole_file_does_not_lag_at_all():
    scene = crossing()
    ids, rough, who = followed(scene, 3.0)
    smooth = smooth_whole(ids, rough, RATE)
    assert jitter(errors_of(scene, smooth, who)) < 0.2 * jitter(errors_of(scene, rough, who))
    assert abs(lag_in_frames(scene, smooth, who)) < 0.15
    assert np.nanstd(errors_of(scene, smooth, who)) < 0.7 * np.nanstd(errors_of(scene, rough, who))
    assert [each.shape for each in smooth] == [each.shape for each in rough]


def test_what_does_not_move_and_does_not_shake_stays():
    still = np.random.default_rng(0).random((17, 2)) * 100
    smooth = OneEuroFilter()
    for frame in range(5):
        np.testing.assert_allclose(smooth(still, 100.0, frame / RATE), still)
    whole = np.repeat(still[None], 40, axis=0)
    np.testing.assert_allclose(without_lag(whole, np.ones(40, bool), RATE), whole, atol=1e-9)


def test_one_euro_does_not_depend_on_how_near_somebody_is():
    path = walking((100, 100), (50, 0), 30) + np.random.default_rng(0).normal(0, 2, (30, 17, 2))
    near, far = OneEuroFilter(), OneEuroFilter()
    for frame, places in enumerate(path):
        np.testing.assert_allclose(near(places * 4, 800.0, frame / RATE), 4 * far(places, 200.0, frame / RATE))


def test_one_euro_by_hand():
    """The formulas of the paper for one step: 1 Hz at rest, 2 Hz for the speed, 4 Hz per body length and second."""
    smooth = OneEuroFilter(min_cutoff=1.0, beta=4.0)
    smooth(np.array([[0.0, 0.0]]), 100.0, 0.0)
    found = smooth(np.array([[10.0, 0.0]]), 100.0, 0.1)

    def share(cutoff):
        return 1 / (1 + 1 / (2 * np.pi * cutoff * 0.1))

    speed = share(2.0) * 1.0
    np.testing.assert_allclose(found, [[10 * share(1.0 + 4.0 * speed), 0]])


@pytest.mark.parametrize('count', [1, 2, 3, 5, 9])
def test_short_recordings_are_smoothed_as_far_as_they_go(count):
    places = np.random.default_rng(0).random((count, 17, 2))
    smooth = without_lag(places, np.ones(count, bool), RATE)
    assert smooth.shape == places.shape and np.isfinite(smooth).all()
    assert (smooth == places).all() == (count < 4)


def test_frames_without_a_person_stay_as_they_are():
    places = walking((100, 200), (50, 0), 40)
    is_there = np.ones(40, bool)
    is_there[10:14] = False
    places[~is_there] = -1
    smooth = without_lag(places, is_there, RATE)
    assert (smooth[~is_there] == -1).all()
    assert np.abs(smooth[is_there] - places[is_there]).max() < 6


def test_a_slow_camera_has_nothing_to_smooth():
    places = np.random.default_rng(0).random((40, 17, 2))
    np.testing.assert_array_equal(without_lag(places, np.ones(40, bool), 8.0), places)


@pytest.mark.parametrize('options, message', [({'smooth': 'much'}, 'smooth should be one of off, live, file'),
                                              ({'kept_seconds': -1}, 'kept_seconds should be zero or more')])
def test_wrong_settings_are_named(options, message):
    with pytest.raises(PoseError, match=message):
        PoseTracker(COCO.oks_sigmas, **options)
    with pytest.raises(PoseError, match='cutoff frequency'):
        without_lag(np.zeros((9, 17, 2)), np.ones(9, bool), RATE, cutoff=0)


def test_without_scipy_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'scipy.optimize', None)
    with pytest.raises(MissingPackageError, match='needs SciPy: pip install -r requirements-extra.txt'):
        PoseTracker(COCO.oks_sigmas)
