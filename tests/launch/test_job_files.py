"""Where a job leaves its logs and its record, what a second job does to them, and what is checked before the background
takes a job."""
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from script_runs import ROOT, SIMPLE_POSE
from stand_in import SCRIPTS, eventually

from src.checkpoints.ckpt import save_checkpoint
from src.config import DEFAULT_RECIPE, load_recipe, resolve
from src.evaluation import arguments as evaluation
from src.launch.job_files import JobFiles, Log
from src.system.errors import PoseError
from src.training import arguments as training


def start_behind(launcher, script: str, words: str, behaviour=None, **variables) -> int:
    """Start a job in the background and return the process id that it tells."""
    status, out, err = launcher.run(script, words, behaviour, **variables)
    assert (status, err) == (0, ''), err
    return int(re.search(r'it runs in the background; .*: kill (\d+)\n$', out)[1])


def stop(launcher, pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not launcher.processes())


# Logs and record

def test_logs_of_a_training_lie_in_its_ckpt_dir(launcher):
    """The names that people know are links, which still lead there when the folders have moved together."""
    assert launcher.run('train_standalone.sh', '3 runs/a --foreground')[0] == 0
    assert launcher.run('train_distributed.sh', 'none runs/b 2')[0] == 0
    eventually(lambda: not launcher.processes())
    moved = launcher.folder.rename(launcher.folder.parent / 'moved')
    links = {'train_log3.txt': 'runs/a/logs/rank_0.txt', 'train_parallel0/log.txt': 'runs/b/logs/rank_0.txt',
             'train_parallel1/log.txt': 'runs/b/logs/rank_1.txt',
             'train_parallel0/launch.txt': 'runs/b/logs/launch.txt',
             'train_parallel0/scheduler.txt': 'runs/b/logs/scheduler.txt'}
    for name, log in links.items():
        assert (moved / name).is_symlink() and (moved / name).resolve() == moved / log
    assert (moved / 'runs' / 'b' / 'logs' / 'rank_1.txt').read_text() == 'line of 1\nthe last line\n'
    assert sorted(os.listdir(moved / 'runs' / 'a' / 'logs')) == ['rank_0.txt']


def test_logs_of_an_evaluation_stay_in_the_current_folder(launcher):
    (launcher.folder / 'pose.ckpt').touch()
    (launcher.folder / 'eval_log0.txt').write_text('of yesterday')
    assert launcher.run('eval.sh', '0 pose.ckpt --foreground')[0] == 0
    assert launcher.run('eval_distributed.sh', 'none pose.ckpt 1 --foreground')[0] == 0
    assert sorted(os.listdir(launcher.folder)) == ['eval_log0.old.txt', 'eval_log0.txt', 'eval_parallel0', 'pose.ckpt']
    assert sorted(os.listdir(launcher.folder / 'eval_parallel0')) == ['log.txt', 'scheduler.txt']
    assert launcher.text('eval_log0.txt') == 'line of one\nthe last line\n'
    assert launcher.text('eval_log0.old.txt') == 'of yesterday'
    assert not (launcher.folder / 'eval_log0.txt').is_symlink()


def test_record_of_a_job(launcher):
    table = launcher.table([0, 3])
    process = launcher.start('train_distributed.sh', f'{table} runs/a 2 --foreground -- --lr 1', {'1': 'end-on-go 3'},
                             DEVICE_TARGET='CPU', STOP_SECONDS='7')
    launcher.wait_for(0, 1)
    path = launcher.folder / 'runs' / 'a' / 'job.json'
    record = json.loads(path.read_text())
    assert (record['ended'], record['status']) == (None, None)
    launcher.go()
    assert launcher.finish(process)[0] == 3
    ended = json.loads(path.read_text())
    assert ended['status'] == 3 and ended['ended'] >= ended['started']
    assert record['typed'] == f'train_distributed.sh {table} runs/a 2 --foreground -- --lr 1'
    assert record['command'] == ' '.join([str(launcher.python), *launcher.record(0)['words']])
    assert record['folder'] == str(launcher.folder) and record['launcher'] == process.pid
    assert record['environment'] == {'DEVICE_TARGET': 'CPU', 'PYTHON': str(launcher.python), 'STOP_SECONDS': '7'}
    assert [(each['rank'], each['device']) for each in record['ranks']] == [(0, 0), (1, 3)]
    assert record['versions']['python'] == sys.version.split()[0] and record['versions']['mindspore']
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}', record['started'])
    assert launcher.record(1)['environment']['POSE_JOB_FOLDER'] == str(launcher.folder / 'runs' / 'a')


def test_files_of_earlier_jobs_are_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = Log.of('train_log0.txt', 'ckpt', 'rank_0.txt')
    for number in range(3):
        JobFiles('ckpt', {0: log}, launch=log, scheduler=None).prepare(0, [log], pytest.fail)
        for name in ('train_log0.txt', 'ckpt/config.yaml', 'ckpt/job.json', *['ckpt/logs/rank_1.txt'] * (number < 2)):
            Path(name).write_text(f'of job {number}')
    logs = tmp_path / 'ckpt' / 'logs'
    assert sorted(os.listdir(logs)) == ['earlier_1', 'earlier_2', 'rank_0.txt']
    for number in (0, 1):
        assert {path.name: path.read_text() for path in (logs / f'earlier_{number + 1}').iterdir()} == dict.fromkeys(
            ['config.yaml', 'job.json', 'rank_0.txt', 'rank_1.txt'], f'of job {number}')
    assert (logs / 'rank_0.txt').read_text() == 'of job 2'
    # A link is no log: it is replaced, and nothing is left of it.
    assert sorted(os.listdir(tmp_path)) == ['ckpt', 'train_log0.txt']


def test_files_in_the_way_of_a_link_are_kept(tmp_path, monkeypatch):
    """They may be of programs that run, as with `nohup python train.py > train_log0.txt`."""
    monkeypatch.chdir(tmp_path)
    log = Log.of('train_log0.txt', 'ckpt', 'rank_0.txt')
    for number in range(3):
        Path('train_log0.txt').unlink(missing_ok=True)
        Path('train_log0.txt').write_text(f'of program {number}')
        JobFiles('ckpt', {0: log}, launch=log, scheduler=None).prepare(0, [log], pytest.fail)
    assert {name: Path(name).read_text() for name in os.listdir(tmp_path) if name.startswith('train')} == {
        'train_log0.txt': '', 'train_log0.old.txt': 'of program 0', 'train_log0.old_2.txt': 'of program 1',
        'train_log0.old_3.txt': 'of program 2'}


def test_servers_may_share_a_ckpt_dir(launcher):
    table = launcher.table([0], [0])
    jobs = [launcher.start('train_distributed.sh', f'{table} ckpt 1', {'else': 'save 0'}, SERVER_ID=server)
            for server in '01']
    pids = [int(launcher.finish(job)[1].split()[-1]) for job in jobs]
    launcher.wait_for(0, 1)
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    eventually(lambda: not launcher.processes())
    ckpt = launcher.folder / 'ckpt'
    assert [json.loads((ckpt / name).read_text())['ranks'][0]['rank'] for name in ('job.json', 'job_1.json')] == [0, 1]
    assert sorted(os.listdir(ckpt / 'logs')) == ['launch.txt', 'launch_1.txt', 'rank_0.txt', 'rank_1.txt']


def test_where_links_cannot_be_the_log_is_named(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(1, 'Operation not permitted')

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, 'symlink', refuse)
    log = Log.of('train_log0.txt', 'ckpt', 'rank_0.txt')
    told = []
    JobFiles('ckpt', {0: log}, launch=log, scheduler=None).prepare(0, [log], told.append)
    assert told == [f'note: cannot link {tmp_path}/train_log0.txt (Operation not permitted); the log is '
                    f'{tmp_path}/ckpt/logs/rank_0.txt']
    assert os.listdir(tmp_path) == ['ckpt'] and os.path.isfile(log.path)


def test_a_record_that_cannot_be_closed_is_no_failure_of_the_job(launcher):
    process = launcher.start('train_standalone.sh', '0 ckpt --foreground', {'one': 'end-on-go 0'})
    launcher.wait_for('one')
    path = launcher.folder / 'ckpt' / 'job.json'
    path.unlink()
    (path / 'in the way').mkdir(parents=True)
    launcher.go()
    status, _, err = launcher.finish(process)
    assert status == 0 and re.fullmatch(r'note: cannot write .*/ckpt/job.json: Is a directory\n', err)


# A second job

def test_a_second_job_in_the_same_folder_leaves_the_log_of_the_first(launcher):
    first = start_behind(launcher, 'train_standalone.sh', '0 a', {'one': 'save 0'})
    launcher.wait_for('one')
    assert launcher.run('train_standalone.sh', '0 b --foreground', LAST_LINE='end of b')[0] == 0
    assert launcher.text('train_log0.txt') == 'line of one\nend of b\n'
    stop(launcher, first)
    assert launcher.text('a/logs/rank_0.txt') == (
        'line of one\nstopped on request; every process ended with status 0\n')
    assert launcher.text('b/logs/rank_0.txt') == 'line of one\nend of b\n'


@pytest.mark.parametrize('first, second, log', [
    ('train_standalone.sh 0 ckpt', 'train_standalone.sh 1 ./x/../ckpt', 'ckpt/logs/rank_0.txt'),
    ('eval.sh 0', 'eval.sh 0 --foreground', 'eval_log0.txt')])
def test_a_second_job_of_the_same_files_is_refused(launcher, first, second, log):
    (launcher.folder / 'x').mkdir()
    script, _, words = first.partition(' ')
    pid = start_behind(launcher, script, words, {'one': 'save 0'})
    launcher.wait_for('one')
    eventually(lambda: launcher.text(log) == 'line of one\n')
    before = sorted(path for path in launcher.folder.rglob('*'))
    script, _, words = second.partition(' ')
    status, out, err = launcher.run(script, words)
    assert (status, out) == (2, '')
    assert re.fullmatch(rf'error: another job runs here and writes to .*{log}; choose another (CKPT_DIR|current folder)'
                        r', or stop that job first\n', err), err
    assert sorted(path for path in launcher.folder.rglob('*')) == before and launcher.text(log) == 'line of one\n'
    stop(launcher, pid)


# Before the background

@pytest.fixture
def data(tmp_path, monkeypatch):
    """A current folder with the files that a check looks for: it opens none of them."""
    monkeypatch.chdir(tmp_path)
    for path in ('coco/annotations/person_keypoints_train2017.json', 'coco/annotations/person_keypoints_val2017.json',
                 'boxes.json', 'pose.onnx', 'weights.safetensors', 'start.ckpt', 'coco/val2017/1.jpg'):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    return tmp_path


@pytest.mark.parametrize('words', [
    '--data_url coco', f'--data_url coco --recipe {SIMPLE_POSE}', '--data_url coco --pretrained_path start.ckpt',
    '--data_url coco --set TRAIN.EVAL_EPOCHS=1 TEST.USE_GT_BBOX=true'])
def test_a_training_that_can_begin_passes(data, words):
    training.check_arguments(words.split())


@pytest.mark.parametrize('words, message', [
    ('--data_url coco --recipe mspn_2stg_coco', 'unknown recipe .* did you mean mspn_2stg_coco_256x192'),
    ('--data_url coco --lr -1', 'TRAIN.LR should be positive, is -1.0'),
    ('--data_url coco --set TRAIN.LRR=1', 'unknown config key .*did you mean TRAIN.LR'),
    ('--data_url nowhere', 'no annotation file; looked for .*nowhere'),
    ('--data_url nowhere --gt_file_url boxes.json', 'the picture folder nowhere does not exist'),
    ('--data_url coco --gt_file_url nowhere.json', 'the annotation file nowhere.json does not exist'),
    ('--data_url coco --set TRAIN.EVAL_EPOCHS=1', 'the detection file .* does not exist'),
    ('--data_url coco --pretrained_path nowhere.ckpt', 'the checkpoint nowhere.ckpt does not exist')])
def test_a_training_that_cannot_begin_is_refused(data, words, message):
    with pytest.raises(PoseError, match=message):
        training.check_arguments(words.split())


@pytest.mark.parametrize('words', [
    '--model_file pose.onnx', '--ckpt_path weights.safetensors',
    f'--ckpt_path pose.onnx --recipe {SIMPLE_POSE} --data_url coco --use_gt_bbox',
    f'--ckpt_path pose.onnx --recipe {SIMPLE_POSE} --data_url coco --det_file_url boxes.json'])
def test_an_evaluation_that_can_begin_passes(data, words):
    evaluation.check_arguments(words.split())


@pytest.mark.parametrize('words, message', [
    ('', 'give the checkpoint with --ckpt_path'),
    ('--ckpt_path nowhere.ckpt', 'the checkpoint nowhere.ckpt does not exist'),
    ('--ckpt_path start.ckpt', 'start.ckpt is damaged or no MindSpore checkpoint'),
    ('--model_file pose.onnx --recipe mspn', 'unknown recipe'),
    (f'--ckpt_path start.ckpt --recipe {SIMPLE_POSE} --data_url nowhere', 'no annotation file'),
    (f'--ckpt_path start.ckpt --recipe {SIMPLE_POSE} --data_url coco --det_file_url nowhere', 'the detection file'),
    (f'--ckpt_path start.ckpt --recipe {SIMPLE_POSE} --use_gt_bbox --det_file_url boxes.json', 'not both'),
    (f'--ckpt_path start.ckpt --recipe {SIMPLE_POSE} --use_gt_bbox --gt_file_url boxes.json --data_url nowhere',
     'the picture folder nowhere')])
def test_an_evaluation_that_cannot_begin_is_refused(data, words, message):
    with pytest.raises(PoseError, match=message):
        evaluation.check_arguments(words.split())


def test_an_unknown_flag_is_refused(data, capsys):
    with pytest.raises(SystemExit):
        evaluation.check_arguments(['--model_file', 'pose.onnx', '--batchsize', '3'])
    assert capsys.readouterr().err.startswith('error: unknown flag --batchsize; did you mean --batch_size? (eval.py ')


def test_what_is_refused_never_runs_in_the_background(launcher):
    status, out, err = launcher.run('train_distributed.sh', 'none ckpt 2 mspn_2sg -- --data_url coco', REAL_CHECK='1')
    assert (status, out) == (2, '') and re.fullmatch("error: unknown recipe 'mspn_2sg'.*\n", err)
    assert os.listdir(launcher.folder) == [] and os.listdir(launcher.records) == []


def test_the_default_recipe_is_named_before_the_training_starts(launcher):
    for name in ('coco/annotations', 'coco/train2017'):
        (launcher.folder / name).mkdir(parents=True)
    (launcher.folder / 'coco/annotations/person_keypoints_train2017.json').touch()
    status, out, err = launcher.run('train_standalone.sh', '0 ckpt -- --data_url coco', REAL_CHECK='1')
    assert (status, err) == (0, '')
    first, second, third = out.splitlines()
    assert first == (f'no recipe was chosen: this trains the default, {DEFAULT_RECIPE}; another with --recipe NAME, or '
                     'as the word RECIPE of the launch scripts (python train.py --list_recipes shows them)')
    assert second.startswith('train on device 0') and third.startswith('it runs in the background')
    eventually(lambda: not launcher.processes())


def test_neither_the_launcher_nor_its_checks_import_mindspore(data):
    """That alone takes seconds."""
    code = (f'import sys; sys.path.insert(0, {str(ROOT)!r}); from src.launch.scripts import main\n'
            "main(['check', 'train', '--data_url', 'coco'])\n"
            f"main(['check', 'eval', '--model_file', 'pose.onnx', '--recipe', {SIMPLE_POSE!r}, '--data_url', 'coco', "
            "'--use_gt_bbox'])\nassert 'mindspore' not in sys.modules")
    assert subprocess.run([sys.executable, '-c', code], stdout=subprocess.DEVNULL).returncode == 0


def test_a_python_without_the_packages_is_named(launcher):
    """An interpreter that was not meant says so in one line."""
    bare = launcher.records / 'bare'
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    done = subprocess.run(['sh', SCRIPTS / 'train_standalone.sh', '0', 'ckpt'], cwd=launcher.folder, text=True,
                          capture_output=True, env=launcher.environment(PYTHON=str(bare)))
    assert done.returncode == 2 and done.stderr.count('\n') == 1
    assert re.search(r'^error: .* has no \w+: pip install -r requirements.txt, or choose another', done.stderr)


def test_an_evaluation_is_checked_by_the_recipe_inside_the_checkpoint(data):
    """Which says where the data is, unless the command line does."""
    config = resolve(load_recipe(SIMPLE_POSE), {'DATASET.ROOT': 'coco', 'TEST.USE_GT_BBOX': 'true'})
    save_checkpoint('own.ckpt', {}, config)
    evaluation.check_arguments(['--ckpt_path', 'own.ckpt'])
    with pytest.raises(PoseError, match='no annotation file; looked for .*nowhere'):
        evaluation.check_arguments(['--ckpt_path', 'own.ckpt', '--data_url', 'nowhere'])
