"""From crops to poses: network and decoder at work at the same time, in order, with bounds, and with failures told."""
import threading
import time

import numpy as np
import pytest

from src.annotations.coco import load_coco_people
from src.annotations.synthetic import write_synthetic_coco
from src.device import Processes
from src.prediction import WAITING_BATCHES, Predictor, predict_poses
from src.samples.augmentation import SimplePoseCrops
from src.samples.dataset import PersonSamples
from src.samples.pictures_on_disk import locate_pictures
from src.skeletons import COCO

PEOPLE = 24


@pytest.fixture(scope='module')
def samples(tmp_path_factory):
    root = str(tmp_path_factory.mktemp('people'))
    write_synthetic_coco(root, num_train=4, num_val=1, seed=1, image_size=(240, 180))
    people = load_coco_people(f'{root}/annotations/person_keypoints_train2017.json', COCO, sample_rule='simple_pose')
    paths = locate_pictures(root, people.file_names, split_folder='train2017')
    return PersonSamples(people.select(np.resize(np.arange(len(people)), PEOPLE)), paths, SimplePoseCrops(), COCO,
                         (64, 64))


def run(crops):
    return (crops[:, :1, :1, :1].astype(np.float32),)


def decode(values, centers, _scales):
    """Keypoints that tell the person: the crop's centre, and a value of the crop."""
    keypoints = np.tile(centers[:, None].astype(np.float64), (1, 17, 1))
    return keypoints, np.tile(values.reshape(-1, 1).astype(np.float64), (1, 17))


def predict(samples, predictor, **options):
    return predict_poses(predictor, samples, **{'num_threads': 2, 'processes': Processes('CPU'), **options})


@pytest.mark.parametrize('batch_size, needs_whole', [(1, False), (5, False), (24, False), (100, False), (100, True)])
def test_every_person_gets_the_own_pose(samples, batch_size, needs_whole):
    sizes = []

    def counted(crops):
        sizes.append(len(crops))
        return run(crops)

    poses = predict(samples, Predictor(counted, decode, batch_size, needs_whole))
    crops, centers, scales = samples.test_samples(np.arange(PEOPLE))
    np.testing.assert_array_equal(poses.keypoints[:, 0, :2], centers)
    np.testing.assert_array_equal(poses.keypoints[:, 3, 2], crops[:, 0, 0, 0])
    np.testing.assert_allclose(poses.crop_areas, np.prod(scales * 200.0, axis=1))
    # One size only, so that a graph is compiled once.
    assert set(sizes) == {batch_size if needs_whole else min(batch_size, PEOPLE)}


def test_the_network_does_not_wait_for_the_decoder_of_the_batch_before(samples):
    """While the decoder holds the first batch, the network takes the second."""
    second_began, seen = threading.Event(), []

    def counted(crops):
        seen.append(len(crops))
        if len(seen) == 2:
            second_began.set()
        return run(crops)

    def patient(*arguments):
        assert second_began.wait(20)
        return decode(*arguments)

    predict(samples, Predictor(counted, patient, 4))


def test_few_batches_wait_for_a_slow_decoder(samples):
    lock, waiting, most = threading.Lock(), [0], [0]

    def counted(crops):
        with lock:
            waiting[0] += 1
            most[0] = max(most[0], waiting[0])
        return run(crops)

    def slow(*arguments):
        time.sleep(0.02)
        with lock:
            waiting[0] -= 1
        return decode(*arguments)

    predict(samples, Predictor(counted, slow, 1))
    # Those that wait, the one in the decoder and the one in the network.
    assert 1 < most[0] <= WAITING_BATCHES + 2


def test_a_failing_decoder_ends_the_run_at_once(samples):
    runs = []

    def counted(crops):
        runs.append(len(crops))
        return run(crops)

    def fail(*_):
        raise ValueError('no such place')

    with pytest.raises(ValueError, match='no such place'):
        predict(samples, Predictor(counted, fail, 1))
    assert len(runs) <= WAITING_BATCHES + 2


def test_a_failing_network_does_not_wait_for_what_nobody_wants(samples):
    decoded = []

    def fail_at_last(crops):
        if len(decoded) or len(runs) > 2:
            raise RuntimeError('out of memory')
        runs.append(1)
        return run(crops)

    def slow(*arguments):
        time.sleep(0.2)
        decoded.append(1)
        return decode(*arguments)

    runs = []
    with pytest.raises(RuntimeError, match='out of memory'):
        predict(samples, Predictor(fail_at_last, slow, 1))
    # The one in the decoder ends; those behind it never begin.
    assert len(decoded) <= 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(('decoder', 'loader'))]


def test_poses_that_are_not_finite_are_named(samples):
    def broken(values, centers, scales):
        keypoints, scores = decode(values, centers, scales)
        keypoints[0, 3, 0] = np.nan
        return keypoints, scores

    with pytest.raises(ValueError, match=r'3 of 24 poses are not finite, the first on \d+\.jpg'):
        predict(samples, Predictor(run, broken, 8))
