"""Which people form which batch, and that worker processes change nothing but the speed."""
import dataclasses
import os
import subprocess
import sys
import threading
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from src.data.coco import load_coco_people
from src.data.images import read_picture
from src.data.loader import BatchPlan, TestBatches, TrainingBatches, iterate_batches, iterate_test_batches
from src.data.locate_pictures import locate_pictures
from src.data.samples import PersonSamples
from src.data.skeletons import COCO
from src.models.common.crops import SimplePoseCrops
from src.models.mspn.crops import MSPNCrops
from src.synthetic.writing import write_synthetic_coco

INPUT_SHAPE = (64, 48)


def plan_of(num_samples=23, batch_size=4, epochs=3, seed=1, **options):
    return BatchPlan(num_samples, batch_size, epochs, seed, **options)


def epoch_rows(plan, epoch):
    """The people of all batches of an epoch, in order."""
    first = epoch * plan.steps_per_epoch
    batches = [plan.batch(step) for step in range(first, first + plan.steps_per_epoch)]
    assert all(number == epoch for number, _ in batches)
    return np.concatenate([rows for _, rows in batches])


# The plan

def test_every_epoch_is_a_permutation_of_its_own():
    plan = plan_of()
    epochs = [epoch_rows(plan, epoch).tolist() for epoch in range(3)]
    assert all(sorted(rows) == list(range(23)) for rows in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0] and epochs[0] != list(range(23))


def test_the_seed_decides_the_order():
    one, same, other = (epoch_rows(plan_of(seed=seed), 0).tolist() for seed in (1, 1, 2))
    assert one == same != other


def test_the_order_depends_on_neither_batch_size_nor_length_of_the_run():
    orders = [epoch_rows(plan_of(batch_size=size, epochs=epochs), 1).tolist()
              for size, epochs in ((1, 2), (4, 3), (23, 9), (100, 9))]
    assert all(order == orders[0] for order in orders)


@pytest.mark.parametrize('num_samples, batch_size, drop, sizes', [
    (23, 4, False, [4] * 5 + [3]), (23, 4, True, [4] * 5), (24, 4, False, [4] * 6), (24, 4, True, [4] * 6),
    (3, 8, False, [3]), (1, 1, False, [1]), (8, 8, True, [8])])
def test_remainder_is_kept_or_dropped(num_samples, batch_size, drop, sizes):
    plan = plan_of(num_samples, batch_size, drop_remainder=drop)
    assert plan.steps_per_epoch == len(sizes) and plan.num_steps == 3 * len(sizes)
    assert [len(plan.batch(step)[1]) for step in range(plan.num_steps)] == sizes * 3
    assert len(set(epoch_rows(plan, 1).tolist())) == sum(sizes)


def shards_of(num_samples, num_shards, **options):
    return [plan_of(num_samples, num_shards=num_shards, shard=shard, **options) for shard in range(num_shards)]


@pytest.mark.parametrize('num_samples, num_shards', [(24, 2), (24, 3), (23, 4), (25, 2), (3, 3), (17, 2), (9, 8)])
def test_shards_together_see_everybody_once_an_epoch(num_samples, num_shards):
    """In as many steps each, since they wait for each other, and without filling up."""
    plans = shards_of(num_samples, num_shards)
    assert len({plan.num_steps for plan in plans}) == 1
    for epoch in range(2):
        parts = [epoch_rows(plan, epoch).tolist() for plan in plans]
        assert sorted(sum(parts, [])) == list(range(num_samples))


@pytest.mark.parametrize('drop', [False, True])
@pytest.mark.parametrize('num_samples, batch_size, num_shards', [
    (23, 4, 2), (23, 2, 4), (24, 3, 4), (25, 3, 4), (31, 4, 2), (33, 4, 2), (7, 2, 3)])
def test_joint_batch_of_shards_is_the_batch_of_one_device(num_samples, batch_size, num_shards, drop):
    """R devices with batch B learn what one device with batch B*R learns, step by step.

    But for a remainder with less than one person for each device, which joins the step before it.
    """
    plans = shards_of(num_samples, num_shards, batch_size=batch_size, drop_remainder=drop)
    alone = plan_of(num_samples, batch_size=batch_size * num_shards, drop_remainder=drop)
    assert {plan.joint_batch_size for plan in plans} == {alone.joint_batch_size} == {batch_size * num_shards}
    joined = [np.concatenate([plan.batch(step)[1] for plan in plans]).tolist() for step in range(plans[0].num_steps)]
    assert joined == [plans[0].joint_batch(step)[1].tolist() for step in range(plans[0].num_steps)]
    remainder = num_samples % alone.joint_batch_size
    expected = []
    for epoch in range(alone.epochs):
        steps = range(epoch * alone.steps_per_epoch, (epoch + 1) * alone.steps_per_epoch)
        batches = [alone.batch(step)[1].tolist() for step in steps]
        if not drop and 0 < remainder < num_shards:
            batches[-2:] = [batches[-2] + batches[-1]]
        expected += batches
    assert joined == expected
    for plan in plans:
        assert [plan.batch(step)[0] for step in range(plan.num_steps)] == [
            step // plan.steps_per_epoch for step in range(plan.num_steps)]


@pytest.mark.parametrize('num_samples, steps, last', [
    (16, 2, [4, 4]), (17, 2, [5, 4]), (18, 3, [1, 1]), (19, 3, [2, 1]), (23, 3, [4, 3]), (2, 1, [1, 1]),
    (3, 1, [2, 1])])
def test_last_step_of_two_shards(num_samples, steps, last):
    """Of one person too many nobody gets a batch of nothing; two make a step of their own."""
    plans = shards_of(num_samples, 2)
    for plan, size in zip(plans, last):
        assert plan.steps_per_epoch == steps
        sizes = [len(plan.batch(step)[1]) for step in range(steps)]
        assert sizes == [4] * (steps - 1) + [size]


@pytest.mark.parametrize('num_samples', [24, 23, 25, 9])
@pytest.mark.parametrize('num_shards', [1, 2, 4])
def test_shares_make_the_mean_over_devices_that_over_people(num_samples, num_shards):
    values = np.random.default_rng(0).random(num_samples)
    plans = shards_of(num_samples, num_shards, batch_size=2)
    for step in range(plans[0].num_steps):
        means = [plan.share(step) * values[plan.batch(step)[1]].mean() for plan in plans]
        people = plans[0].joint_batch(step)[1]
        assert np.mean(means) == pytest.approx(values[people].mean(), rel=1e-12)
        # Parts of the same size leave the gradients as they are, to the last bit.
        assert len(people) % num_shards or [plan.share(step) for plan in plans] == [1.0] * num_shards


def test_a_run_without_epochs_has_no_steps():
    assert plan_of(epochs=0).num_steps == 0


@pytest.mark.parametrize('wrong, message', [
    ({'num_samples': 0}, 'got 0 people'), ({'batch_size': 0}, 'batches of 0'), ({'epochs': -1}, '-1 epochs'),
    ({'num_shards': 2, 'shard': 2}, 'shard 2 is not among the 2 shards'), ({'shard': -1}, 'shard -1'),
    ({'num_shards': 0}, 'not among the 0 shards'),
    ({'batch_size': 24, 'drop_remainder': True}, '23 people do not fill one batch of 24'),
    ({'batch_size': 12, 'drop_remainder': True, 'num_shards': 2},
     '23 people do not fill one batch of 12 on 2 devices; choose a smaller batch_size'),
    ({'num_samples': 2, 'num_shards': 3}, '2 people are too few for 3 devices')], ids=str)
def test_impossible_plans_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        plan_of(**wrong)


# The batches

@pytest.fixture(scope='module')
def samples(tmp_path_factory):
    """{recipe: samples} of a handful of made-up people."""
    root = tmp_path_factory.mktemp('data')
    write_synthetic_coco(str(root), num_train=5, num_val=1, seed=2, image_size=(200, 160))
    people = load_coco_people(str(root / 'annotations' / 'person_keypoints_train2017.json'), COCO, sample_rule='mspn')
    paths = locate_pictures(str(root), people.file_names, split_folder='train2017')
    return {name: PersonSamples(people, paths, recipe, COCO, INPUT_SHAPE, seed=5)
            for name, recipe in (('mspn', MSPNCrops()), ('simple', SimplePoseCrops()))}


@pytest.fixture
def broken(samples, tmp_path):
    """Samples of which the third picture is no picture, and its path."""
    path = tmp_path / 'broken.jpg'
    path.write_bytes(b'no picture')
    paths = samples['mspn'].paths.tolist()
    paths[2] = str(path).encode()
    return dataclasses.replace(samples['mspn'], paths=np.array(paths)), str(path)


def batches_of(source, num_workers):
    if isinstance(source, TestBatches):
        return list(iterate_test_batches(source, num_threads=num_workers))
    return list(iterate_batches(source, num_workers=num_workers))


def assert_same_batches(ours, expected):
    assert len(ours) == len(expected)
    for batch, other in zip(ours, expected):
        assert len(batch) == len(other) == 4
        for array, same in zip(batch, other):
            assert array.dtype == same.dtype
            np.testing.assert_array_equal(array, same)


@pytest.fixture(scope='module')
def training(samples):
    """A training source with a last smaller batch and what it yields in this process."""
    plan = plan_of(len(samples['mspn']), batch_size=4, epochs=2)
    source = TrainingBatches(samples['mspn'], plan)
    return source, batches_of(source, 0)


def test_training_batches_follow_the_plan(training, samples):
    source, batches = training
    assert len(batches) == len(source) == source.plan.num_steps
    for step, (images, joints, validity, rows) in enumerate(batches):
        epoch, expected = source.plan.batch(step)
        assert rows.tolist() == expected.tolist()
        count = len(expected)
        assert images.shape == (count, *INPUT_SHAPE, 3) and images.dtype == np.uint8
        assert joints.shape == (count, 17, 2) and joints.dtype == np.float32
        assert validity.shape == (count, 17) and validity.dtype == np.float32
        crop = np.empty((*INPUT_SHAPE, 3), np.uint8)
        places, valid = samples['mspn'].training_sample(int(rows[-1]), epoch, crop)
        np.testing.assert_array_equal(images[-1], crop)
        np.testing.assert_allclose(joints[-1], places, rtol=1e-6)
        np.testing.assert_array_equal(validity[-1], valid)


@pytest.mark.parametrize('num_workers', [1, 2, 4])
def test_workers_change_nothing(training, num_workers):
    source, batches = training
    assert_same_batches(batches_of(source, num_workers), batches)


BLUR_THEN_LOAD = '''
import sys
import numpy as np
import src
import cv2
from src.data.coco import load_coco_people
from src.data.loader import BatchPlan, TrainingBatches, iterate_batches
from src.models.common.crops import SimplePoseCrops
from src.data.samples import PersonSamples
from src.data.locate_pictures import locate_pictures
from src.data.skeletons import COCO
root = sys.argv[1]
people = load_coco_people(root + '/annotations/person_keypoints_train2017.json', COCO, sample_rule='mspn')
paths = locate_pictures(root, people.file_names, split_folder='train2017')
samples = PersonSamples(people, paths, SimplePoseCrops(), COCO, (256, 192))
cv2.setNumThreads(4)
for _ in range(20):
    cv2.GaussianBlur(np.zeros((2000, 2000), np.float32), (5, 5), 0)
print(len(list(iterate_batches(TrainingBatches(samples, BatchPlan(len(samples), 1, 1, 1)), num_workers=2))))
'''


def test_workers_do_not_wait_for_threads_that_they_do_not_have(samples):
    """A process that has used OpenCV's threads, as decoding heatmaps does, forks workers without them."""
    root = Path(samples['mspn'].paths[0].decode()).parent.parent
    done = subprocess.run([sys.executable, '-c', BLUR_THEN_LOAD, str(root)], capture_output=True, text=True, timeout=60,
                          env={**os.environ, 'PYTHONPATH': str(Path(__file__).resolve().parents[2])})
    assert done.returncode == 0, done.stderr
    assert done.stdout == f'{len(samples["mspn"])}\n'


def test_a_run_can_start_in_the_middle(training):
    source, batches = training
    later = TrainingBatches(source.samples, source.plan, first_step=2)
    assert len(later) == len(source) - 2
    assert_same_batches(batches_of(later, 0), batches[2:])


@pytest.mark.parametrize('name', ['mspn', 'simple'])
def test_test_batches_keep_the_order(samples, name):
    count = len(samples[name])
    source = TestBatches(samples[name], batch_size=count - 1)
    batches = batches_of(source, 1)
    assert [len(images) for images, *_ in batches] == [count - 1, 1]
    assert np.concatenate([rows for *_, rows in batches]).tolist() == list(range(count))
    for images, centers, scales, rows in batches:
        assert images.shape == (len(rows), *INPUT_SHAPE, 3) and centers.shape == scales.shape == (len(rows), 2)
        for place, row in enumerate(rows):
            # One by one: nobody gets the picture of the person before.
            crop, center, scale = samples[name].test_samples(np.array([row]))
            np.testing.assert_array_equal(images[place], crop[0])
            assert centers[place].tolist() == center[0].tolist() and scales[place].tolist() == scale[0].tolist()


@pytest.mark.parametrize('num_threads', [1, 2, 5])
def test_threads_change_nothing(samples, num_threads):
    source = TestBatches(samples['simple'], batch_size=2)
    assert_same_batches(batches_of(source, num_threads), batches_of(source, 0))


def test_a_picture_of_several_people_is_read_once(samples):
    people, read = samples['mspn'].people, mock.Mock(wraps=read_picture)
    dataclasses.replace(samples['mspn'], read=read).test_samples(np.arange(len(people)))
    assert read.call_count == len(set(people.image_index.tolist())) < len(people)


def test_nobody_reads_on_for_a_caller_that_has_gone(samples):
    """A loader that is left early ends its threads."""
    batches = iterate_test_batches(TestBatches(samples['mspn'], 1), num_threads=2)
    next(batches)
    assert any(thread.name.startswith('loader') for thread in threading.enumerate())
    batches.close()
    assert not any(thread.name.startswith('loader') for thread in threading.enumerate())


@pytest.mark.parametrize('num_shards', [2, 3, 7])
def test_shards_of_an_evaluation_take_turns_by_whole_batches(samples, num_shards):
    """A batch holds the same people whatever the number of devices; a device more than there are batches gets none."""
    source = TestBatches(samples['mspn'], batch_size=2)
    whole = batches_of(source, 0)
    shards = [TestBatches(samples['mspn'], batch_size=2, num_shards=num_shards, shard=shard)
              for shard in range(num_shards)]
    assert sum(map(len, shards)) == len(source) == len(whole)
    assert (min(map(len, shards)) == 0) == (num_shards > len(whole))
    for number, shard in enumerate(shards):
        assert_same_batches(batches_of(shard, 0), whole[number::num_shards])


@pytest.mark.parametrize('num_workers', [0, 2])
def test_an_empty_source_yields_nothing(samples, training, num_workers):
    """The framework itself would refuse it; a device without a batch and a finished run have one."""
    source, _ = training
    finished = TrainingBatches(source.samples, source.plan, first_step=source.plan.num_steps)
    idle = TestBatches(samples['mspn'], batch_size=1000, num_shards=2, shard=1)
    for empty in (finished, idle):
        assert len(empty) == 0 and batches_of(empty, num_workers) == []


def test_one_batch_for_everybody(samples):
    source = TestBatches(samples['mspn'], batch_size=1000)
    (batch,) = batches_of(source, 1)
    assert len(source) == 1 and len(batch[0]) == len(samples['mspn'])


@pytest.mark.parametrize('num_workers', [0, 1, 2])
def test_unreadable_picture_is_named(broken, num_workers):
    source, path = broken
    for batches in (TrainingBatches(source, plan_of(len(source), batch_size=3, epochs=1)), TestBatches(source, 3)):
        with pytest.raises(ValueError) as caught:
            batches_of(batches, num_workers)
        assert str(caught.value) == f'{path} is not a picture that OpenCV can read'


def test_batches_before_the_unreadable_picture_arrive(broken):
    source, _ = broken
    first = int(np.flatnonzero(source.people.image_index == 2)[0])
    seen = []
    with pytest.raises(ValueError):
        for batch in iterate_test_batches(TestBatches(source, 1), num_threads=1):
            seen.append(int(batch[3][0]))
    assert seen == list(range(first))


def test_missing_picture_is_named(samples, tmp_path):
    gone = str(tmp_path / 'gone.jpg')
    source = dataclasses.replace(samples['mspn'], paths=np.array([gone.encode()] * len(samples['mspn'].paths)))
    with pytest.raises(ValueError, match='gone.jpg') as caught:
        batches_of(TestBatches(source, 2), 1)
    assert not Path(gone).exists() and 'Traceback' not in str(caught.value)
