"""Several processes on one machine, started as a user starts them: training, evaluation, faults, and going on.

The jobs are real; each costs some ten seconds, so several tests look at one job.
"""
import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import distributed_program as program
import numpy as np
import pytest
from golden_data import load_seeded
from script_runs import ROOT, SIMPLE_POSE, TINY, run_script

from src.checkpoints.ckpt import read_checkpoint, read_entries, save_checkpoint
from src.config import load_recipe
from src.data.loader import BatchPlan
from src.data.skeletons import COCO
from src.metrics.coco import evaluate_coco, format_metrics
from src.models.registry import build_configured_network
from src.synthetic.writing import write_synthetic_coco
from src.system.device import Processes
from src.training.schedules import learning_rates
from src.training.states import RunIdentity

COCO_MINI = ROOT.parent / 'shared' / 'data' / 'coco-mini'
PYTHON_FOLDER = os.path.dirname(sys.executable)
PEOPLE, BATCH_SIZE, EPOCHS = 11, 3, 24
# 3 + 3 people, then 3 + 2.
STEPS = 2 * EPOCHS
EVALUATED = (12, 24)
SETTINGS = (f'{TINY[SIMPLE_POSE]} TRAIN.DROP_REMAINDER=false TRAIN.SAVE_STEPS=1 TRAIN.EVAL_EPOCHS=12 '
            'TEST.USE_GT_BBOX=true TEST.BATCH_SIZE=4 TEST.NUM_PARALLEL_WORKERS=1')
ALONE = Processes('CPU')

pytestmark = pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='processes are found through /proc')


# Jobs

def read_file(path) -> bytes:
    """Return the bytes of a file of /proc, b'' where the process has gone."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b''


class Job:
    """A command and all its descendants, known by a word of their own in the environment, which they inherit.

    Args:
        folder: working directory; the output goes to its file out.txt.
    """

    def __init__(self, words, folder: Path, **variables: str):
        self.folder, self.mark = folder, uuid.uuid4().hex
        self.output = folder / 'out.txt'
        (folder / 'tmp').mkdir(exist_ok=True)
        # msrun runs the word `python`.
        environment = {**os.environ, 'PATH': PYTHON_FOLDER + os.pathsep + os.environ['PATH'], 'TEST_JOB': self.mark,
                       'TMPDIR': str(folder / 'tmp'), 'DEVICE_TARGET': 'CPU', 'PYTHON': sys.executable, **variables}
        with open(self.output, 'wb') as file:
            self.process = subprocess.Popen(list(map(str, words)), cwd=folder, env=environment, stdout=file,
                                            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True)

    def __enter__(self) -> 'Job':
        return self

    def __exit__(self, *_) -> None:
        self.kill()

    @property
    def out(self) -> str:
        return self.output.read_text()

    def processes(self, *variables: str) -> list:
        """Return the ids of all living processes of the job, or of those with all `variables` in the environment."""
        wanted = {f'TEST_JOB={self.mark}'.encode(), *map(str.encode, variables)}
        return [int(entry) for entry in os.listdir('/proc')
                if entry.isdigit() and wanted <= set(read_file(f'/proc/{entry}/environ').split(b'\0'))]

    def worker(self, rank: int) -> int:
        """Return the id of the Python process of a rank."""
        found = [number for number in self.processes(f'RANK_ID={rank}', 'MS_ROLE=MS_WORKER')
                 if os.path.basename(os.readlink(f'/proc/{number}/exe')).startswith('python')]
        assert len(found) == 1, found
        return found[0]

    def wait(self, seconds: float = 300) -> int:
        """Return the exit status of the command."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f'still running after {seconds} s:\n{self.out[-3000:]}')

    def wait_until(self, condition, seconds: float = 300) -> None:
        """Wait for something that happens while the job is running."""
        end = time.monotonic() + seconds
        while True:
            # In this order: what happens right before the end counts.
            status = self.process.poll()
            if condition():
                return
            assert status is None, f'ended with {status}:\n{self.out[-3000:]}'
            assert time.monotonic() < end, f'waited {seconds} s:\n{self.out[-3000:]}'
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill all processes with SIGKILL; some may be about to start others."""
        while True:
            processes = self.processes()
            for number in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            self.process.poll()
            if not processes:
                break
        self.process.wait()


def start_script(script: str, words: str, folder: Path, flags: str) -> Job:
    return Job(['sh', ROOT / 'scripts' / script, *words.split(), '--foreground', '--', *flags.split()], folder)


def start_training(folder: Path, data: Path, flags: str = '') -> Job:
    folder.mkdir(exist_ok=True)
    return start_script('train_distributed.sh', f'none ckpt 2 {SIMPLE_POSE}', folder, training_flags(data) + flags)


def training_flags(data: Path, batch_size: int = BATCH_SIZE) -> str:
    return (f'--data_url {data} --batch_size {batch_size} --input_shape 64 64 --epoch {EPOCHS} '
            f'--num_parallel_workers 1 {SETTINGS} ')


def run_program(num_processes: int, folder: Path, tasks: list) -> list:
    """Run tasks of distributed_program.py in several processes; return what they give, by task and rank."""
    folder.mkdir()
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        port = server.getsockname()[1]
    # The file msrun itself, where the environment has it.
    msrun = [f'{PYTHON_FOLDER}/msrun'] if os.path.isfile(f'{PYTHON_FOLDER}/msrun') else [
        sys.executable, '-m', 'mindspore.parallel.cluster.run']
    words = [*msrun, f'--worker_num={num_processes}', f'--local_worker_num={num_processes}', f'--master_port={port}',
             f'--log_dir={folder}/logs', '--join=True', program.__file__, folder,
             *(f'{name} {json.dumps(arguments)}' for name, arguments in tasks)]
    last = [folder / f'{len(tasks) - 1}_{rank}.npz' for rank in range(num_processes)]
    with Job(words, folder, PYTHONPATH=str(ROOT)) as job:
        # What follows, MindSpore's way out, takes seconds.
        job.wait_until(lambda: all(path.exists() for path in last))
    results = []
    for number in range(len(tasks)):
        results.append([])
        for rank in range(num_processes):
            with np.load(folder / f'{number}_{rank}.npz') as stored:
                results[-1].append(dict(stored))
    return results


def run_alone(script: str, flags: str) -> tuple:
    """Run a script in this process; return status and output."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        status = run_script(script, flags)
    return status, out.getvalue()


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    write_synthetic_coco(str(folder), num_train=9, num_val=7, seed=1, image_size=(240, 180))
    for split in ('train', 'val'):
        annotations = json.loads((folder / 'annotations' / f'person_keypoints_{split}2017.json').read_text())
        assert len(annotations['annotations']) == PEOPLE
    return folder


@pytest.fixture(scope='module', autouse=True)
def beside(request, data, tmp_path_factory):
    """{name: future} of the longest jobs, which run beside the others from the first test on if they are needed.

    A job spends most of its time waiting for its processes to find and to leave each other.
    """
    needed = {name for item in request.session.items if item.module is request.module for name in item.fixturenames}
    with ThreadPoolExecutor(2) as pool:
        jobs = {}
        if 'interrupted' in needed:
            jobs['interrupted'] = pool.submit(interrupt, tmp_path_factory.mktemp('interrupted'), data)
        if 'uninterrupted' in needed:
            jobs['uninterrupted'] = pool.submit(train_to_the_end, tmp_path_factory.mktemp('uninterrupted'), data)
        if 'fault_of_the_first' in needed:
            jobs['fault_of_the_first'] = pool.submit(fail_on_the_first, tmp_path_factory.mktemp('first'), data)
        if 'fault_of_all' in needed:
            jobs['fault_of_all'] = pool.submit(fail_on_all, tmp_path_factory.mktemp('all'))
        yield jobs


# One step, and what the processes tell each other

STEP_CASES = {
    'plain': {'num_people': 9, 'normalise_batch': False},
    'accumulated': {'num_people': 9, 'normalise_batch': False, 'ACCUMULATE': 2},
    'synchronised': {'num_people': 9, 'normalise_batch': True, 'SYNC_BN': True},
    'unsynchronised': {'num_people': 9, 'normalise_batch': True},
    'few_accumulated': {'num_people': 5, 'normalise_batch': True, 'SYNC_BN': True, 'ACCUMULATE': 3},
}


@pytest.fixture(scope='module')
def of_two(evaluation_cases, tmp_path_factory):
    """What the tasks of distributed_program.py give on two processes: {task: [of rank 0, of rank 1]}."""
    folder = tmp_path_factory.mktemp('program') / 'of_two'
    tasks = {**{name: (name, {}) for name in ('gather', 'broadcast', 'overflow_on_last', 'normalise_together')},
             'finish_apart': ('finish_apart', {'folder': str(folder)}),
             **{name: ('take_step', case) for name, case in STEP_CASES.items()},
             **{name: ('evaluate', case['arguments']) for name, case in evaluation_cases.items()
                if name != 'few_batches'}}
    return dict(zip(tasks, run_program(2, folder, list(tasks.values()))))


@pytest.fixture(scope='module')
def reference():
    """The same steps over the joint batch in this one process."""
    return {is_training: program.take_step(ALONE, num_people=9, normalise_batch=is_training)
            for is_training in (False, True)}


def deviations(got: dict, wanted: dict, *endings: str) -> dict:
    """Return the largest difference of each tensor, relative to its largest value."""
    names = [name for name in wanted if name.startswith(endings) or name.endswith(endings)]
    assert names
    return {name: np.abs(got[name].astype(np.float64) - wanted[name]).max() / np.abs(wanted[name]).max()
            for name in names}


@pytest.mark.parametrize('case', ['plain', 'accumulated'])
def test_averaged_gradient_is_that_of_the_joint_batch(of_two, reference, case):
    """The two parts, of 5 and of 4 people, differ in size; so do the parts of 3 and 2 that are accumulated."""
    wanted = reference[False]
    results = of_two[case]
    assert [len(each['rows']) for each in results] == [5, 4]
    assert sorted(np.concatenate([each['rows'] for each in results])) == list(range(9))
    for got in results:
        assert max(deviations(got, wanted, 'moment1.').values()) < 1e-5
        assert got['loss'] == pytest.approx(wanted['loss'], rel=1e-6)


def test_synchronised_normalisation_is_that_of_the_joint_batch(of_two, reference):
    wanted = reference[True]
    for got in of_two['synchronised']:
        assert max(deviations(got, wanted, 'moving_mean', 'moving_variance').values()) < 1e-5
        assert max(deviations(got, wanted, 'moment1.').values()) < 1e-5
        assert got['loss'] == pytest.approx(wanted['loss'], rel=1e-5)


def test_synchronised_normalisation_with_fewer_people_than_parts(of_two):
    """Of 3 and 2 people both processes make two parts, or one would wait for the other forever: 2 + 1 and 1 + 1."""
    first, second = of_two['few_accumulated']
    parts = [np.array_split(each['rows'], 2) for each in (first, second)]
    assert [[len(part) for part in each] for each in parts] == [[2, 1], [1, 1]]
    rows = np.concatenate([parts[0][0], parts[1][0], parts[0][1], parts[1][1]]).tolist()
    wanted = program.take_step(ALONE, num_people=5, normalise_batch=True, rows=rows, ACCUMULATE=2)
    for got in (first, second):
        assert max(deviations(got, wanted, 'moving_mean', 'moving_variance').values()) < 1e-5
        assert max(deviations(got, wanted, 'moment1.').values()) < 1e-5


def test_synchronised_normalisation_in_float16_gathers_in_float32(of_two):
    """The two parts differ in size, and float16 ends at 65504 positions."""
    joint = np.concatenate([program.values_to_normalise(rank) for rank in (0, 1)]).astype(np.float64)
    mean, variance = joint.mean(axis=(0, 2, 3)), joint.var(axis=(0, 2, 3), ddof=1)
    out = (joint - mean[:, None, None]) / np.sqrt(joint.var(axis=(0, 2, 3)) + 1e-5)[:, None, None]
    got = of_two['normalise_together']
    np.testing.assert_allclose(np.concatenate([each['out'] for each in got]), out, rtol=1e-4, atol=1e-5)
    for each in got:
        np.testing.assert_allclose(each['mean'], 0.1 * mean, rtol=1e-5)
        np.testing.assert_allclose(each['variance'], 0.9 + 0.1 * variance, rtol=1e-5)


def test_without_synchronisation_every_process_normalises_its_own_part(of_two, reference):
    wanted = reference[True]
    first, second = of_two['unsynchronised']
    for got in (first, second):
        assert max(deviations(got, wanted, 'moving_mean', 'moving_variance').values()) > 1e-2
        assert min(deviations(got, wanted, 'moment1.').values()) > 1e-2
    assert max(deviations(first, second, 'moving_mean').values()) > 1e-2
    # But the gradient is the same on both.
    assert not any(deviations(first, second, 'moment1.').values())


@pytest.mark.parametrize('case', STEP_CASES)
def test_a_request_to_stop_reaches_every_process(of_two, case):
    """The last process was asked to stop."""
    assert all(got['stop'] for got in of_two[case])


@pytest.fixture(scope='module')
def of_three(evaluation_cases, tmp_path_factory):
    """As `of_two`, on three processes."""
    tasks = {**{name: (name, {}) for name in ('gather', 'broadcast', 'overflow_on_last')},
             'few_batches': ('evaluate', evaluation_cases['few_batches']['arguments'])}
    return dict(zip(tasks, run_program(3, tmp_path_factory.mktemp('program') / 'of_three', list(tasks.values()))))


@pytest.fixture(params=['of_two', 'of_three'])
def results(request):
    return request.getfixturevalue(request.param)


def test_rows_are_gathered_bit_by_bit(results):
    for got in results['gather']:
        sent = [program.rows_to_gather(rank) for rank in range(len(results['gather']))]
        assert set(got) == {f'{name}.{source}' for source, rows in enumerate(sent) for name in rows}
        for source, rows in enumerate(sent):
            for name, wanted in rows.items():
                part = got[f'{name}.{source}']
                assert (part.dtype, part.shape, part.tobytes()) == (wanted.dtype, wanted.shape, wanted.tobytes()), name


def test_parameters_of_the_first_process_reach_all(results):
    wanted = program.parameters_to_broadcast(0)
    for got in results['broadcast']:
        assert set(got) == set(wanted)
        for name, value in wanted.items():
            assert (got[name].dtype, got[name].shape, got[name].tobytes()) == (value.dtype, value.shape,
                                                                               value.tobytes())


def test_an_overflow_on_one_process_skips_the_step_on_all(results):
    for got in results['overflow_on_last']:
        (skipped, scale, weight), (skipped_next, next_scale, next_weight) = got['told']
        assert (skipped, scale, weight) == (1, 8, 3)
        assert (skipped_next, next_scale) == (0, 4) and next_weight == pytest.approx(2.5)


def test_processes_that_drift_apart_are_noticed(of_two):
    messages = {str(got['problem']) for got in of_two['finish_apart']}
    assert len(messages) == 1
    checksums = re.fullmatch(r'the processes ended with different weights: checksums (\w{8}), (\w{8})', messages.pop())
    assert checksums[1] != checksums[2]


# Evaluation

def write_truth_near(results: list, annotation_file: Path, path: Path) -> None:
    """Write annotations whose keypoints are those of `results`, some less exactly, so that AP has something to say."""
    content = json.loads(annotation_file.read_text())
    rng = np.random.default_rng(3)
    of_image = {}
    for record in results:
        of_image.setdefault(record['image_id'], []).append(record)
    for annotation in content['annotations']:
        records = of_image.get(annotation['image_id'])
        if records:
            points = np.array(records.pop(0)['keypoints']).reshape(-1, 3)
            points[:, :2] += rng.uniform(0, 0.15) * annotation['area'] ** 0.5 * rng.standard_normal((len(points), 2))
            points[:, 2] = 2
            annotation.update(keypoints=points.ravel().tolist(), num_keypoints=len(points))
    path.write_text(json.dumps(content))


@pytest.fixture(scope='module')
def evaluation_cases(data, tmp_path_factory):
    """By name: the arguments of the task `evaluate`, and what one process alone gives for them."""
    folder = tmp_path_factory.mktemp('evaluation')
    config = program.tiny_config()
    network = build_configured_network(config)
    load_seeded(network)
    save_checkpoint(str(folder / 'pose.ckpt'), network, config)
    cases = {}
    for name, root, batch_size in (('synthetic', data, 4), ('few_batches', data, 8), ('coco_mini', COCO_MINI, 8)):
        if not root.is_dir():
            continue
        annotation_file = root / 'annotations' / 'person_keypoints_val2017.json'
        people = [each for each in json.loads(annotation_file.read_text())['annotations'] if each['num_keypoints'] > 0]
        boxes, truth, results = (folder / f'{name}_{what}.json' for what in ('boxes', 'truth', 'results'))
        boxes.write_text(json.dumps([{'image_id': each['image_id'], 'category_id': 1, 'bbox': each['bbox'],
                                      'score': 0.5 + each['id'] % 7 / 14} for each in people]))
        status, out = run_alone('eval', f'--ckpt_path {folder}/pose.ckpt --data_url {root} --det_file_url {boxes} '
                                f'--batch_size {batch_size} --num_parallel_workers 1 --save_path {results}')
        assert status == 0, out
        records = json.loads(results.read_text())
        write_truth_near(records, annotation_file, truth)
        arguments = {'checkpoint': str(folder / 'pose.ckpt'), 'DATASET__ROOT': str(root),
                     'DATASET__TEST_JSON': str(truth), 'TEST__COCO_BBOX_FILE': str(boxes),
                     'TEST__BATCH_SIZE': batch_size}
        cases[name] = {'arguments': arguments, 'people': len(people), 'results': results.read_bytes(),
                       'metrics': evaluate_coco(str(truth), records, COCO)}
    return cases


def case_of(cases: dict, name: str) -> dict:
    if name not in cases:
        pytest.skip(f'needs {COCO_MINI}, a small part of COCO that is not in the repository')
    return cases[name]


@pytest.mark.parametrize('name, job', [('synthetic', 'of_two'), ('coco_mini', 'of_two'), ('few_batches', 'of_three')])
def test_several_processes_evaluate_as_one(evaluation_cases, request, name, job):
    """The people do not fill their last batch, and two batches leave one of three processes without any."""
    case = case_of(evaluation_cases, name)
    batches = case['people'] / case['arguments']['TEST__BATCH_SIZE']
    assert batches % 1 and (batches < 2) == (name == 'few_batches')
    results = request.getfixturevalue(job)
    for got in results[name]:
        assert int(got['people']) == case['people']
        assert got['results'].tobytes() == case['results']
        assert got['metrics'].tolist() == list(case['metrics'].values())
    # Something to be wrong about.
    assert 0.1 < case['metrics']['AP'] < 0.9 and len(json.loads(case['results'])) > 5


def test_two_processes_write_the_results_of_one(evaluation_cases, tmp_path):
    case = evaluation_cases['synthetic']
    arguments = case['arguments']
    flags = (f'--data_url {arguments["DATASET__ROOT"]} --gt_file_url {arguments["DATASET__TEST_JSON"]} --det_file_url '
             f'{arguments["TEST__COCO_BBOX_FILE"]} --batch_size {arguments["TEST__BATCH_SIZE"]}')
    with start_script('eval_distributed.sh', f'none {arguments["checkpoint"]} 2', tmp_path,
                      f'{flags} --save_path {tmp_path}/out/results.json') as job:
        assert job.wait() == 0, job.out
    assert (tmp_path / 'out' / 'results.json').read_bytes() == case['results']
    assert sorted(os.listdir(tmp_path / 'out')) == ['results.json', 'results_settings.json']
    for rank in (0, 1):
        log = (tmp_path / f'eval_parallel{rank}' / 'log.txt').read_text()
        assert f'device: CPU (process {rank} of 2)' in log
        assert format_metrics(case['metrics']) in log and f'\nAP {case["metrics"]["AP"]:.4f} with ' in log
        assert (f'results: {len(json.loads(case["results"]))} poses in' in log) == (rank == 0)


# Training

def saved_steps(ckpt: Path) -> list:
    """Return the steps whose states are there."""
    return sorted(int(path.stem[len('step_'):]) for path in ckpt.glob('pose_states/step_*.ckpt'))


def arrays_of(ckpt: Path) -> dict:
    """Return everything that a finished run leaves: its weights and its last state."""
    weights, _ = read_checkpoint(str(ckpt / 'pose.ckpt'))
    state, _ = read_entries(str(ckpt / f'pose_states/step_{STEPS:08d}.ckpt'), needs_checksum=True)
    return {**{f'weights.{name}': value for name, value in weights.items()},
            **{f'state.{name}': value for name, value in state.items()}}


def metrics_of(ckpt: Path) -> list:
    """Return the rows of the metrics without the times."""
    rows = [json.loads(line) for line in (ckpt / 'pose_metrics.jsonl').read_text().splitlines()]
    return [{name: value for name, value in row.items() if not name.endswith('seconds')} for row in rows]


def train_to_the_end(folder: Path, data: Path) -> tuple:
    """Let a run of two processes go from start to end; return its folder, status and output."""
    with start_training(folder, data) as job:
        status = job.wait()
        return folder, status, job.out


@pytest.fixture(scope='module')
def uninterrupted(beside):
    """What `train_to_the_end` has seen."""
    return beside['uninterrupted'].result()


def test_two_processes_train_the_same_weights(uninterrupted):
    folder, status, out = uninterrupted
    assert status == 0, out
    logs = [(folder / f'train_parallel{rank}' / 'log.txt').read_text() for rank in (0, 1)]
    assert logs[0] in out
    checksums = []
    for rank, log in enumerate(logs):
        assert f'device: CPU (process {rank} of 2)' in log
        assert f'data: {PEOPLE} people of' in log
        steps = re.findall(r'^epoch: (\d+) step: (\d+), loss is ([\d.]+)$', log, re.M)
        assert [(int(epoch), int(step)) for epoch, step, _ in steps] == [
            (1 + step // 2, 1 + step % 2) for step in range(STEPS)]
        checksums += re.findall(rf'^weights: checksum (\w{{8}}) on process {rank} of 2$', log, re.M)
    assert len(checksums) == 2 and checksums[0] == checksums[1]
    # The loss is that of all people of the step, so both print the same, as of an evaluation.
    for pattern in ('^epoch: .*loss is.*', r'^epoch: \d+ AP: \S+ with ground-truth boxes'):
        first, second = (re.findall(pattern, log, re.M) for log in logs)
        assert first == second and len(first) in (STEPS, len(EVALUATED))


def test_only_the_first_process_writes(uninterrupted):
    folder, _, _ = uninterrupted
    found = {str(path.relative_to(folder / 'ckpt')) for path in (folder / 'ckpt').rglob('*') if path.is_file()}
    kept = {f'pose_states/step_{step:08d}.ckpt' for step in (STEPS - 2, STEPS - 1, STEPS)}
    # The curve is drawn where matplotlib is installed.
    of_the_job = {'job.json', 'config.yaml', 'logs/rank_0.txt', 'logs/rank_1.txt', 'logs/scheduler.txt'}
    assert found - {'pose_curve.png'} == {'pose.ckpt', 'pose_best.ckpt', 'pose_metrics.jsonl',
                                          'pose_states/.lock'} | kept | of_the_job
    assert len(list(folder.rglob('*.ckpt'))) == 2 + len(kept)
    rows = metrics_of(folder / 'ckpt')
    assert [(row['epoch'], row['step']) for row in rows if 'loss' in row] == [
        (1 + step // 2, 1 + step % 2) for step in range(STEPS)]
    assert [(row['epoch'], row['step']) for row in rows if 'AP' in row] == [(epoch, 2) for epoch in EVALUATED]
    assert sorted(os.listdir(folder)) == ['ckpt', 'out.txt', 'tmp', 'train_parallel0', 'train_parallel1']
    assert not os.listdir(folder / 'tmp')


def test_the_configuration_of_a_job_lies_beside_its_checkpoint(uninterrupted):
    """It is a recipe, and what the ranks ran with."""
    ckpt = uninterrupted[0] / 'ckpt'
    config = load_recipe(str(ckpt / 'config.yaml'))
    assert config == read_checkpoint(str(ckpt / 'pose.ckpt'))[1]
    assert (config.TRAIN.BATCH_SIZE, config.TRAIN.EVAL_EPOCHS, config.TRAIN.AMP_LEVEL) == (BATCH_SIZE, 12, 'O0')
    assert json.loads((ckpt / 'job.json').read_text())['status'] == 0


def test_training_gathers_the_statistics_of_batch_normalisation(uninterrupted):
    weights = {name: value for name, value in arrays_of(uninterrupted[0] / 'ckpt').items() if 'weights.' in name}
    for name, start in (('moving_mean', 0), ('moving_variance', 1)):
        moved = [np.abs(value - start).max() for key, value in weights.items() if key.endswith(name)]
        assert len(moved) == 23 and min(moved) > 1e-3


@pytest.mark.parametrize('num_shards', [2, 3, 8])
@pytest.mark.parametrize('num_samples, batch_size', [(PEOPLE, BATCH_SIZE), (8, 1), (37, 4), (41, 100), (48, 3)])
def test_the_batches_of_all_processes_are_every_person_once(num_samples, batch_size, num_shards):
    plans = [BatchPlan(num_samples, batch_size, 2, seed=5, num_shards=num_shards, shard=shard)
             for shard in range(num_shards)]
    alone = BatchPlan(num_samples, batch_size * num_shards, 2, seed=5)
    assert len({plan.num_steps for plan in plans}) == 1
    for epoch in range(2):
        steps = range(epoch * plans[0].steps_per_epoch, (epoch + 1) * plans[0].steps_per_epoch)
        batches = [[plan.batch(step)[1] for plan in plans] for step in steps]
        assert sorted(np.concatenate(sum(batches, [])).tolist()) == list(range(num_samples))
        for step, parts in zip(steps, batches):
            assert min(map(len, parts)) >= 1
            assert plans[0].joint_batch(step)[1].tolist() == np.concatenate(parts).tolist()
            # Weighted like this, the mean over processes is that over people.
            shares = [plan.share(step) for plan in plans]
            np.testing.assert_allclose(shares, np.array([len(part) for part in parts]) / np.mean(list(map(len, parts))))
        order = np.concatenate(sum(batches, []))
        assert np.array_equal(order, alone.epoch_order(epoch))


# Another number of processes

@pytest.fixture
def state_of_two(uninterrupted, tmp_path):
    """The last state but two of the run of two processes, as a run of its own."""
    (tmp_path / 'pose_states').mkdir()
    shutil.copy(uninterrupted[0] / 'ckpt' / 'pose_states' / f'step_{STEPS - 2:08d}.ckpt', tmp_path / 'pose_states')
    return tmp_path


def test_one_process_with_the_joint_batch_goes_on(state_of_two, data):
    status, out = run_alone('train', f'--recipe {SIMPLE_POSE} --ckpt_save_path {state_of_two}/pose.ckpt --resume auto '
                            + training_flags(data, 2 * BATCH_SIZE))
    assert status == 0, out
    assert f'resumed after step {STEPS - 2} from' in out
    assert re.findall(r'^epoch: (\d+) step: (\d+), loss is', out, re.M) == [(str(EPOCHS), '1'), (str(EPOCHS), '2')]
    assert saved_steps(state_of_two) == [STEPS - 2, STEPS - 1, STEPS]


def test_another_joint_batch_is_refused(state_of_two, data):
    status, out = run_alone('train', f'--recipe {SIMPLE_POSE} --ckpt_save_path {state_of_two}/pose.ckpt --resume auto '
                            + training_flags(data))
    assert status == 2
    assert re.search(rf'^error: .*step_{STEPS - 2:08d}\.ckpt is of another run: the batch of all devices together is '
                     rf'{BATCH_SIZE}, was {2 * BATCH_SIZE}\. ', out, re.M), out
    assert saved_steps(state_of_two) == [STEPS - 2] and not (state_of_two / 'pose.ckpt').exists()


@pytest.mark.parametrize('times_devices', [False, True])
def test_learning_rates_decide_whether_one_process_may_go_on(times_devices):
    config = program.tiny_config(LR_TIMES_DEVICES=times_devices)
    of_two, of_one = (RunIdentity(config, learning_rates(config.TRAIN, steps_per_epoch=2, num_devices=count), 6, 2, 0)
                      for count in (2, 1))
    if times_devices:
        with pytest.raises(ValueError, match='the learning rates of the steps taken are others'):
            of_one.check(of_two.fingerprint(5), config, 5, 'the state')
    else:
        of_one.check(of_two.fingerprint(5), config, 5, 'the state')


# Faults

def fail(folder: Path, data: Path, flags: str = '') -> tuple:
    """Start a training that cannot be; return its status, its output, the seconds and the processes that are left."""
    started = time.monotonic()
    with start_training(folder, data, flags) as job:
        return job.wait(120), job.out, time.monotonic() - started, job.processes()


def fail_on_the_first(folder: Path, data: Path) -> tuple:
    (folder / 'file').write_text('in the way of a folder')
    return (folder, *fail(folder, data, f'--metrics_path {folder}/file/metrics.jsonl'))


def fail_on_all(folder: Path) -> tuple:
    return (folder, *fail(folder, folder / 'nowhere'))


@pytest.fixture(scope='module')
def fault_of_the_first(beside):
    return beside['fault_of_the_first'].result()


@pytest.fixture(scope='module')
def fault_of_all(beside):
    return beside['fault_of_all'].result()


def test_a_fault_of_the_first_process_ends_all(fault_of_the_first):
    folder, status, out, seconds, left = fault_of_the_first
    assert status == 2 and not left and seconds < 90, out
    log = (folder / 'train_parallel0' / 'log.txt').read_text()
    assert re.findall('^error: .*', log, re.M) == [
        f'error: cannot write into the folder {folder}/file: File exists']
    assert 'Traceback' not in log
    assert re.search(r'^error: train: rank 0 ended with status 2 ', out, re.M), out
    assert 'loss is' not in (folder / 'train_parallel1' / 'log.txt').read_text()


def test_a_fault_of_all_processes_is_told(fault_of_all):
    folder, status, out, seconds, left = fault_of_all
    assert status == 2 and not left and seconds < 90, out
    # The first one to fail ends the others, also in the middle of their message.
    rank = re.search(r'^error: train: rank ([01]) ended with status 2 ', out, re.M)[1]
    log = (folder / f'train_parallel{rank}' / 'log.txt').read_text()
    errors = re.findall('^error: .*', log, re.M)
    assert len(errors) == 1 and str(folder / 'nowhere') in errors[0] and 'Traceback' not in log


# Interrupted trainings

def interrupt(folder: Path, data: Path) -> dict:
    """Disturb the same run three times, and let it end; return what was seen, by kind of disturbance."""
    seen = {'folder': folder, 'moments': []}
    moments = random.SystemRandom()

    def start_and_wait_for(step: int) -> Job:
        job = start_training(folder, data, '--resume auto')
        job.wait_until(lambda: max(saved_steps(folder / 'ckpt'), default=0) >= step)
        delay = moments.uniform(0, 0.2)
        seen['moments'].append((step, delay))
        time.sleep(delay)
        return job

    with start_and_wait_for(4) as job:
        os.kill(job.worker(1), signal.SIGKILL)
        killed = time.monotonic()
        seen['one killed'] = (job.wait(), job.out, time.monotonic() - killed, job.processes())
    with start_and_wait_for(16) as job:
        job.kill()
        assert saved_steps(folder / 'ckpt')[-1] < STEPS, 'the run was over before the kill'
    with start_and_wait_for(30) as job:
        job.process.terminate()
        seen['stopped'] = (job.wait(), job.out, saved_steps(folder / 'ckpt')[-1], job.processes())
    with start_training(folder, data, '--resume auto') as job:
        seen['ended'] = (job.wait(), job.out)
    return seen


@pytest.fixture(scope='module')
def interrupted(beside):
    """What `interrupt` has seen."""
    return beside['interrupted'].result()


def test_a_killed_worker_ends_the_job(interrupted):
    status, out, seconds, left = interrupted['one killed']
    assert status == 137 and seconds < 60 and not left
    log = interrupted['folder'] / 'train_parallel1' / 'log.txt'
    assert re.search(rf'^error: train: rank 1 was ended by signal 9 .*log: {re.escape(str(log))}$', out, re.M), out


def test_sigterm_saves_and_ends_well(interrupted):
    status, out, step, left = interrupted['stopped']
    assert status == 0 and not left, out
    assert 30 <= step < STEPS
    assert re.search(rf'^checkpoint: ckpt/pose.ckpt \(stopped after step {step} of {STEPS}; --resume auto goes on\)$',
                     out, re.M), out
    assert f'resumed after step {step} from' in interrupted['ended'][1]


def test_interrupted_run_ends_with_the_bits_of_the_uninterrupted_one(uninterrupted, interrupted):
    status, out = interrupted['ended']
    assert status == 0, out
    wanted, got = (arrays_of(folder / 'ckpt') for folder in (uninterrupted[0], interrupted['folder']))
    assert set(wanted) == set(got)
    different = [name for name in wanted if wanted[name].tobytes() != got[name].tobytes()]
    assert not different, (interrupted['moments'], different[:3])
    assert metrics_of(uninterrupted[0] / 'ckpt') == metrics_of(interrupted['folder'] / 'ckpt')
    line = re.search(r'^weights: checksum \w{8}', uninterrupted[2], re.M)[0]
    assert line in out
