"""From crops to poses: network and decoder at work at the same time, in order, with bounds, and with failures told."""
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import mindspore as ms
import numpy as np
import pytest
from golden_data import load_seeded, operator_by_operator
from mindspore import Tensor, nn, ops
from script_runs import MSPN, SIMPLE_POSE, TINY
from tiny_mipnet import mipnet_config, tiny_mipnet

from src.config import load_recipe, resolve
from src.data.coco import load_coco_people
from src.data.locate_pictures import locate_pictures
from src.data.samples import PersonSamples
from src.data.skeletons import COCO
from src.evaluation.load_model import LoadedModel
from src.evaluation.predict import WAITING_BATCHES, Predictor, predict_poses
from src.evaluation.predictors import file_predictor, network_predictor
from src.export.example_crops import random_crops
from src.models import registry
from src.models.common.crops import SimplePoseCrops
from src.models.common.flip_test import FlipTest
from src.models.common.normalise import build_normaliser
from src.models.mipnet.codes import instance_codes
from src.models.registry import build_configured_network, model_of
from src.synthetic.writing import write_synthetic_coco
from src.system.device import Processes

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
    """Keypoints that tell the person: the crop's center, and a value of the crop."""
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


# Several hypotheses

def run_three(crops):
    """Of each crop a value for each of three hypotheses, all crops of the first hypothesis first."""
    of_crop = crops[:, :1, :1, :1].astype(np.float32)
    return (np.concatenate([of_crop, of_crop + 1000, of_crop + 2000]),)


def assert_three_hypotheses(poses, samples):
    crops, centers, scales = samples.test_samples(np.arange(PEOPLE))
    np.testing.assert_array_equal(poses.hypotheses, np.repeat([0, 1, 2], PEOPLE))
    np.testing.assert_array_equal(poses.people, np.tile(np.arange(PEOPLE), 3))
    np.testing.assert_array_equal(poses.keypoints[:, 5, :2], np.tile(centers, (3, 1)))
    np.testing.assert_array_equal(poses.keypoints[:, 5, 2], crops[poses.people, 0, 0, 0] + 1000 * poses.hypotheses)
    np.testing.assert_allclose(poses.crop_areas, np.tile(np.prod(scales * 200.0, axis=1), 3))


@pytest.mark.parametrize('batch_size, needs_whole', [(1, False), (5, False), (24, False), (100, True)])
def test_every_hypothesis_gets_the_own_pose(samples, batch_size, needs_whole):
    poses = predict(samples, Predictor(run_three, decode, batch_size, needs_whole, num_hypotheses=3))
    assert_three_hypotheses(poses, samples)
    second = poses.of_hypothesis(1)
    assert len(second.keypoints) == len(second.crop_areas) == PEOPLE and (second.hypotheses == 1).all()
    np.testing.assert_array_equal(second.keypoints, poses.keypoints[PEOPLE:2 * PEOPLE])
    np.testing.assert_array_equal(second.people, np.arange(PEOPLE))


@pytest.mark.parametrize('size', [2, 3])
def test_processes_share_the_hypotheses(samples, size):
    """Threads play the processes; 24 people in batches of 5 make an odd number of batches, the last one smaller."""
    barrier, sent = threading.Barrier(size, timeout=60), {}

    def gather(rows, processes):
        sent[processes.rank] = rows
        barrier.wait()
        together = [sent[rank] for rank in range(size)]
        barrier.wait()
        return together

    predictor = Predictor(run_three, decode, 5, num_hypotheses=3)
    with mock.patch('src.system.collectives.gather_rows', gather), ThreadPoolExecutor(size) as pool:
        for poses in pool.map(lambda rank: predict(samples, predictor, processes=Processes('CPU', rank, size)),
                              range(size)):
            assert_three_hypotheses(poses, samples)


def test_a_broken_pose_of_a_further_hypothesis_is_named(samples):
    def broken(values, centers, scales):
        keypoints, scores = decode(values, centers, scales)
        keypoints[-1, 3, 0] = np.nan
        return keypoints, scores

    with pytest.raises(ValueError, match=r'1 of 72 poses are not finite, the first on \d+\.jpg'):
        predict(samples, Predictor(run_three, broken, 24, num_hypotheses=3))


# The flip test

class Thirds(nn.Cell):
    """images (N, 3, H, W) -> heatmaps (N, 17, H / 4, W / 4) that no mirroring leaves as they are."""

    def construct(self, images):
        cells = images[:, :, ::4, ::4] * Tensor(np.float32([1, 0.5, 0.25]).reshape(1, 3, 1, 1))
        return ops.concat((cells,) * 6, 1)[:, :17] * Tensor(np.arange(1, 18, dtype=np.float32).reshape(1, 17, 1, 1))


@pytest.mark.parametrize('recipe, shifts', [
    ('mspn_2stg_coco_256x192', False), ('simplepose_r50_coco_256x192', True), ('hrnet_w32_coco_256x192', True)])
@pytest.mark.parametrize('where', ['in the network', 'outside of a file'])
def test_flip_test_of_each_network(recipe, shifts, where):
    """Of all networks MSPN alone leaves the mirrored heatmaps where they are, whatever TEST.SHIFT_HEATMAP says."""
    config, network = load_recipe(recipe), Thirds()
    crops = np.random.default_rng(0).integers(0, 256, (2, 32, 24, 3), np.uint8)
    with operator_by_operator():
        plain, mirrored = (network(build_normaliser(config)(ms.Tensor(each))).asnumpy()
                           for each in (crops, np.ascontiguousarray(crops[:, :, ::-1])))
        pairs = [0, *(number - 1 if number % 2 == 0 else number + 1 for number in range(1, 17))]
        back = mirrored[:, pairs, :, ::-1]
        if shifts:
            # A cell to the right; the first column stays.
            back = back[..., [0, *range(5)]]
        if where == 'in the network':
            ours, = network_predictor(config, network, COCO.flip_index).run(crops)
        else:
            file = SimpleNamespace(
                has_flip_test=False, has_decoder=False, batch_size=0, num_hypotheses=1,
                run=lambda some: (network(build_normaliser(config)(ms.Tensor(some))).asnumpy(),))
            ours, = file_predictor(config, file, COCO.flip_index).run(crops)
    np.testing.assert_allclose(ours, (plain + back) / 2, rtol=1e-5, atol=1e-5)
    assert config.TEST.SHIFT_HEATMAP and np.abs(plain - back).max() > 1


def test_multi_shift_by_the_cells_of_udp():
    """Crops that move by a cell of UDP give heatmaps that move back by one cell."""
    config = resolve(load_recipe('simplepose_r50_udp_coco_256x192'), {
        'MODEL.IMAGE_SIZE': [64, 64], 'TEST.FLIP_TEST': False, 'TEST.MULTI_SHIFT': 63 / 15})
    shifts = iter([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)])

    def run_shifted(crops):
        right, down = next(shifts)
        heatmaps = np.zeros((1, 17, 16, 16), np.float32)
        heatmaps[:, :, 6 + down, 9 + right] = 1
        return (heatmaps,)

    file = SimpleNamespace(has_flip_test=False, has_decoder=False, batch_size=0, num_hypotheses=1, run=run_shifted)
    heatmaps, = file_predictor(config, file, COCO.flip_index).run(np.zeros((1, 64, 64, 3), np.uint8))
    np.testing.assert_allclose(heatmaps[:, :, 6, 9], 1, atol=1e-6)
    np.testing.assert_allclose(heatmaps.sum(axis=(2, 3)), 1, atol=1e-5)


@pytest.mark.parametrize('num_instances', [2, 3, 4])
@pytest.mark.parametrize('flip_test', [True, False])
def test_all_hypotheses_of_a_network_are_those_of_its_codes(flip_test, num_instances):
    """In the flip test the mirrored crop is seen with the same code."""
    config = mipnet_config(TEST__FLIP_TEST=flip_test, MIPNET__NUM_INSTANCES=num_instances)
    network, crops = tiny_mipnet(num_instances), random_crops(config, 3)
    predictor = network_predictor(config, network, COCO.flip_index)
    assert predictor.num_hypotheses == num_instances
    heatmaps, = predictor.run(crops)
    single = FlipTest(build_normaliser(config), network, COCO.flip_index if flip_test else None,
                              shift_heatmap=True).set_train(False)
    for number, code in enumerate(instance_codes(num_instances)):
        expected = single(ms.Tensor(crops), ms.Tensor(np.tile(code, (3, 1)))).asnumpy()
        ours = heatmaps[3 * number:3 * number + 3]
        assert np.abs(ours - expected).max() <= 1e-5 * np.abs(expected).max()
        assert number == 0 or np.abs(ours - heatmaps[:3]).max() > 0.1 * np.abs(expected).max()


@pytest.mark.parametrize('recipe', [SIMPLE_POSE, MSPN])
def test_a_checkpoint_that_is_only_run_has_its_batch_norms_folded(recipe):
    """Its heatmaps differ by rounding alone, and its weights stay what they were. A network from elsewhere, whose cells
    may be in another order, is run as it is."""
    config = resolve(load_recipe(recipe), {**dict(item.split('=') for item in TINY[recipe].split()[1:]),
                                           'MODEL.IMAGE_SIZE': '64 96'})
    network, crops = build_configured_network(config), random_crops(config, 2)
    load_seeded(network)
    weights = {parameter.name: parameter.asnumpy().copy() for parameter in network.get_parameters()}
    source = LoadedModel('a.ckpt', None, weights={name: values.copy() for name, values in weights.items()})
    plain, = network_predictor(config, network, COCO.flip_index).run_uncompiled(crops)
    folded, = source.build_predictor(config, COCO.flip_index).run_uncompiled(crops)
    assert 0 < np.abs(folded - plain).max() <= 1e-5 * np.abs(plain).max()
    assert all(np.array_equal(source.weights[name], values) for name, values in weights.items())
    model = replace(model_of(config), folds_batch_norms=False)
    with mock.patch.dict(registry.MODELS, {model.name: model}):
        unfolded, = source.build_predictor(config, COCO.flip_index).run_uncompiled(crops)
    np.testing.assert_array_equal(unfolded, plain)


def test_a_graph_and_its_operators_one_by_one_give_the_same_bits():
    config = resolve(load_recipe('simplepose_small_synthetic_160x128'), {'MODEL.IMAGE_SIZE': [64, 64]})
    crops, predictor = random_crops(config, 2), network_predictor(config, Thirds(), COCO.flip_index)
    mode = ms.get_context('mode')
    np.testing.assert_array_equal(predictor.run_uncompiled(crops)[0], predictor.run(crops)[0])
    assert ms.get_context('mode') == mode
