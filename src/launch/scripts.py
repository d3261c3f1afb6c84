"""The launch scripts: the arguments of each, and the jobs that it runs."""
import os
import sys
import textwrap
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..system.command_line import say
from ..system.errors import PoseError
from ..system.printing import did_you_mean, printable
from .jobs import Job, job_of_many, job_of_one
from .records import ROOT
from .running import run_in_background, run_in_foreground
from .settings import VARIABLES, Settings, read_settings
from .signals import Signals
from .words import HELP, UsageError, check_file, check_folder, read_flags, read_number, read_words, split_words

# Beginnings of the lines of a log that are printed again at the end.
SPEED, SCORE = 'speed: {', 'AP '
# A script and its arguments, as they were typed.
Typed = Sequence[str]
# A short training at a low learning rate, because the weights are already trained.
FINE_TUNING = ('--epoch', '10', '--lr', '0.0001')


class Script(NamedTuple):
    """A launch script.

    Attributes:
        usage: its arguments, as --help shows them.
        help: what it does.
        run: (its name and arguments) -> exit status.
    """

    usage: str
    help: str
    run: Callable[[Typed], int]


def _command(settings: Settings, script: str, flags: Sequence[str]) -> Tuple[str, ...]:
    path = os.path.join(ROOT, script)
    if not os.path.isfile(path):
        raise PoseError(f'{path} is not there; the launch scripts belong to a checkout, not to an installed package')
    return (settings.python, '-u', path, *flags)


# The jobs

def training_of_one(settings: Settings, device: int, ckpt_dir: str, recipe: str, flags: Sequence[str]) -> Job:
    """Return the job of train.py on one device."""
    command = _command(settings, 'train.py', [*_training_flags(ckpt_dir, recipe), '--device_id', str(device),
                                              *settings.target_flags, *flags])
    return job_of_one('train', device, command, settings, ckpt_dir)


def training_of_many(settings: Settings, table: str, ckpt_dir: str, num_devices: int, recipe: str,
                     flags: Sequence[str]) -> Job:
    """Return the job of train.py on several devices."""
    command = _command(settings, 'train.py', [*_training_flags(ckpt_dir, recipe), *settings.target_flags, *flags])
    return job_of_many('train', table, num_devices, command, settings, ckpt_dir)


def evaluation_of_one(settings: Settings, device: int, checkpoint: str, flags: Sequence[str]) -> Job:
    """Return the job of eval.py on one device; without a checkpoint it takes the recipe's own (TEST.MODEL_FILE)."""
    command = _command(settings, 'eval.py', [*_source_flags(checkpoint), '--device_id', str(device),
                                             *settings.target_flags, *flags])
    return job_of_one('eval', device, command, settings, '')


def evaluation_of_many(settings: Settings, table: str, checkpoint: str, num_devices: int,
                       flags: Sequence[str]) -> Job:
    """Return the job of eval.py on several devices."""
    command = _command(settings, 'eval.py', [*_source_flags(checkpoint), *settings.target_flags, *flags])
    return job_of_many('eval', table, num_devices, command, settings, '')


def _training_flags(ckpt_dir: str, recipe: str) -> List[str]:
    if not ckpt_dir:
        raise UsageError('CKPT_DIR is empty')
    return ['--ckpt_save_path', f'{ckpt_dir}/pose.ckpt', *(['--recipe', recipe] if recipe else [])]


def _source_flags(checkpoint: str) -> List[str]:
    """Return the flags of eval.py for a checkpoint or an exported file."""
    if not checkpoint:
        return []
    if not os.path.isfile(checkpoint):
        raise PoseError(f'the checkpoint {checkpoint} is not there')
    return ['--model_file' if checkpoint.endswith(('.onnx', '.mindir')) else '--ckpt_path', checkpoint]


# Scripts that run one job each

def _run(job: Job, typed: Typed, foreground: bool) -> int:
    if foreground:
        with Signals() as signals:
            return run_in_foreground(job, signals, typed)
    return run_in_background(job, typed)


def _train_standalone(typed: Typed) -> int:
    (device, ckpt_dir, *recipe), foreground, flags = read_words(typed[1:], 2, 3)
    job = training_of_one(read_settings(), read_number('DEVICE_ID', device), ckpt_dir, ''.join(recipe), flags)
    return _run(job, typed, foreground)


def _train_distributed(typed: Typed) -> int:
    (table, ckpt_dir, devices, *recipe), foreground, flags = read_words(typed[1:], 3, 4)
    job = training_of_many(read_settings(), table, ckpt_dir, read_number('DEVICE_NUM', devices, 1), ''.join(recipe),
                           flags)
    return _run(job, typed, foreground)


def _eval(typed: Typed) -> int:
    (device, *checkpoint), foreground, flags = read_words(typed[1:], 1, 2)
    job = evaluation_of_one(read_settings(), read_number('DEVICE_ID', device), ''.join(checkpoint), flags)
    return _run(job, typed, foreground)


def _eval_distributed(typed: Typed) -> int:
    (table, checkpoint, devices), foreground, flags = read_words(typed[1:], 3, 3)
    job = evaluation_of_many(read_settings(), table, checkpoint, read_number('DEVICE_NUM', devices, 1), flags)
    return _run(job, typed, foreground)


# Scripts that run jobs in the foreground and print their lines of speed or AP again at the end

def _train_performance_1p(typed: Typed) -> int:
    flags, more = read_flags(typed[1:], {'data_path': '', 'recipe': '', 'steps': '120', 'device_id': '0',
                                         'ckpt_dir': 'ckpt_performance_1p'})
    check_folder('--data_path', flags['data_path'])
    steps = read_number('--steps', flags['steps'], 1)
    job = training_of_one(read_settings(), read_number('--device_id', flags['device_id']), flags['ckpt_dir'],
                          flags['recipe'], ['--data_url', flags['data_path'], '--max_steps', str(steps), *more])
    return _run_for_speed(job, typed)


def _train_performance_8p(typed: Typed) -> int:
    flags, more = read_flags(typed[1:], {'data_path': '', 'recipe': '', 'steps': '120', 'rank_table': 'none',
                                         'device_num': '8', 'ckpt_dir': 'ckpt_performance_8p'})
    check_folder('--data_path', flags['data_path'])
    steps = read_number('--steps', flags['steps'], 1)
    job = training_of_many(read_settings(), flags['rank_table'], flags['ckpt_dir'],
                           read_number('--device_num', flags['device_num'], 1), flags['recipe'],
                           ['--data_url', flags['data_path'], '--max_steps', str(steps), *more])
    return _run_for_speed(job, typed)


def _train_finetune_1p(typed: Typed) -> int:
    flags, more = read_flags(typed[1:], {'data_path': '', 'pth_path': '', 'recipe': '', 'det_path': '', 'freeze': '',
                                         'device_id': '0', 'ckpt_dir': 'ckpt_finetune_1p'})
    check_folder('--data_path', flags['data_path'])
    device = read_number('--device_id', flags['device_id'])
    if not flags['pth_path']:
        raise UsageError('--pth_path is missing')
    check_file('--pth_path', flags['pth_path'])
    if flags['det_path']:
        check_file('--det_path', flags['det_path'])
    settings = read_settings()
    frozen = ['--set', f'TRAIN.FREEZE={flags["freeze"]}'] if flags['freeze'] else []
    # The flags of the user come last, so they override these.
    training = training_of_one(settings, device, flags['ckpt_dir'], flags['recipe'],
                               ['--data_url', flags['data_path'], '--pretrained_path', flags['pth_path'],
                                *FINE_TUNING, *frozen, *more])
    return _train_and_evaluate(training, typed, settings, device, flags)


def _train_full_8p(typed: Typed) -> int:
    flags, more = read_flags(typed[1:], {'data_path': '', 'recipe': '', 'det_path': '', 'rank_table': 'none',
                                         'device_num': '8', 'ckpt_dir': 'ckpt_full_8p'})
    check_folder('--data_path', flags['data_path'])
    num_devices = read_number('--device_num', flags['device_num'], 1)
    if flags['det_path']:
        check_file('--det_path', flags['det_path'])
    settings = read_settings()
    training = training_of_many(settings, flags['rank_table'], flags['ckpt_dir'], num_devices, flags['recipe'],
                                ['--data_url', flags['data_path'], *more])
    return _train_and_evaluate(training, typed, settings, 0, flags)


def _boxes(flags: Dict[str, str]) -> List[str]:
    """Return the flags of eval.py for the given detections, else those in the usual place, else ground-truth boxes."""
    if flags['det_path']:
        return ['--det_file_url', flags['det_path']]
    # Imported here, because most calls need no recipe.
    from ..config import DEFAULT_RECIPE, load_recipe, resolve
    from ..datasets.annotation_files import find_detection_file
    config = resolve(load_recipe(flags['recipe'] or DEFAULT_RECIPE), {'DATASET.ROOT': flags['data_path']})
    try:
        return ['--det_file_url', find_detection_file(config, is_explicit=False)]
    except PoseError:
        return ['--use_gt_bbox']


def _train_and_evaluate(training: Job, typed: Typed, settings: Settings, device: int, flags: Dict[str, str]) -> int:
    boxes, ckpt_dir = _boxes(flags), flags['ckpt_dir']
    with Signals() as signals:
        status = run_in_foreground(training, signals, typed)
        # A training that was stopped also ends with status 0, but is not evaluated.
        if status or signals.stop_requested:
            return status
        evaluation = evaluation_of_one(settings, device, f'{ckpt_dir}/pose.ckpt', [
            '--data_url', flags['data_path'], '--save_path', f'{ckpt_dir}/results.json', *boxes])
        status = run_in_foreground(evaluation, signals, typed)
        if not status:
            _print_last_line(training, SPEED, signals)
            _print_last_line(evaluation, SCORE, signals)
        return status


def _run_for_speed(job: Job, typed: Typed) -> int:
    with Signals() as signals:
        status = run_in_foreground(job, signals, typed)
        if not status:
            _print_last_line(job, SPEED, signals)
        return status


def _print_last_line(job: Job, beginning: str, signals: Signals) -> None:
    """Print the last line of a job's log that begins with a text; a job that was stopped may have none."""
    log = job.files.first
    with open(log.path, encoding='utf-8', errors='backslashreplace') as file:
        found = [line.rstrip('\n') for line in file if line.startswith(beginning)]
    if not found and not signals.stop_requested:
        raise PoseError(f"{os.path.relpath(log.name)} has no line that begins with '{beginning}'")
    say(*found[-1:])


_FLAGS = '[-- more flags of train.py]'
SCRIPTS: Dict[str, Script] = {
    'train_standalone': Script(
        f'DEVICE_ID CKPT_DIR [RECIPE] [--foreground] {_FLAGS}',
        'Trains on one device, in the background unless --foreground. Without RECIPE it trains the default of '
        'train.py; python train.py --list_recipes shows all. The log is CKPT_DIR/logs/rank_0.txt, to which '
        'train_logX.txt (X: DEVICE_ID) of the current folder is a link, the checkpoint CKPT_DIR/pose.ckpt.',
        _train_standalone),
    'train_distributed': Script(
        f'RANK_TABLE|none CKPT_DIR DEVICE_NUM [RECIPE] [--foreground] {_FLAGS}',
        'Trains on several devices of this server, in the background unless --foreground. RANK_TABLE is for Ascend; '
        'with `none` the processes find each other without one (GPU, CPU, Ascend). The log of rank X is '
        'CKPT_DIR/logs/rank_X.txt, to which train_parallelX/log.txt of the current folder is a link, the checkpoint '
        'CKPT_DIR/pose.ckpt.', _train_distributed),
    'eval': Script(
        'DEVICE_ID [CKPT] [--foreground] [-- more flags of eval.py]',
        'Evaluates a checkpoint or an exported file (.onnx, .mindir) on one device, in the background unless '
        '--foreground. Without CKPT eval.py takes that of the recipe (TEST.MODEL_FILE). The log is eval_logX.txt (X: '
        'DEVICE_ID) of the current folder.', _eval),
    'eval_distributed': Script(
        'RANK_TABLE|none CKPT DEVICE_NUM [--foreground] [-- more flags of eval.py]',
        'Evaluates a checkpoint or an exported file on several devices, in the background unless --foreground. The log '
        'of rank X is eval_parallelX/log.txt of the current folder.', _eval_distributed),
    'train_performance_1p': Script(
        f'--data_path=COCO [--recipe=RECIPE] [--steps=120] [--device_id=0] [--ckpt_dir=DIR] {_FLAGS}',
        'Measures the speed of training on one device: some steps of train.py, whose line of figures is printed last.',
        _train_performance_1p),
    'train_performance_8p': Script(
        '--data_path=COCO [--recipe=RECIPE] [--steps=120] [--rank_table=FILE] [--device_num=8] [--ckpt_dir=DIR] '
        + _FLAGS,
        'Measures the speed of training on several devices of this server: some steps of train.py, whose line of '
        'figures is printed last.', _train_performance_8p),
    'train_full_8p': Script(
        '--data_path=COCO [--recipe=RECIPE] [--det_path=FILE] [--rank_table=FILE] [--device_num=8] [--ckpt_dir=DIR] '
        + _FLAGS,
        'Trains on several devices of this server, evaluates the checkpoint on device 0 (with the detections '
        'that are given or in their usual place, else with the boxes of the annotation file) and prints the lines of '
        'speed and AP last.', _train_full_8p),
    'train_finetune_1p': Script(
        '--data_path=COCO --pth_path=FILE [--recipe=RECIPE] [--det_path=FILE] [--freeze=trunk] [--device_id=0] '
        '[--ckpt_dir=DIR] ' + _FLAGS,
        'Fine-tunes the weights of a file on one device, ten epochs at a rate of 0.0001 unless flags of train.py say '
        'otherwise, --freeze=trunk without changing the trunk; then evaluates the checkpoint as train_full_8p does and '
        'prints the lines of speed and AP last.',
        _train_finetune_1p),
}


def _help_of(name: str) -> str:
    script = SCRIPTS[name]
    variables = '\n'.join(f'  {variable:<15}{meaning}' for variable, meaning in VARIABLES.items())
    return (f'usage: {name}.sh {script.usage}\n\n{textwrap.fill(script.help, 100)}\n\nvariables of the environment:\n'
            f'{variables}')


def main(words: Optional[Sequence[str]] = None) -> None:
    """Run the launch script that the first word names, with the other words as its arguments. A wrong argument ends the
    program with a message and status 2."""
    name, *words = (sys.argv[1:] if words is None else words) or ['--help']
    if name in HELP:
        print(f'usage: python -m src.launch SCRIPT WORD…, the same as sh scripts/SCRIPT.sh WORD…\n\n'
              f'SCRIPT is one of {", ".join(SCRIPTS)}')
    elif name == 'check':
        _check(words)
    elif name not in SCRIPTS:
        raise PoseError(f'unknown script {name}{did_you_mean(name, SCRIPTS)}; known: {", ".join(SCRIPTS)}')
    elif set(split_words(words)[0]) & set(HELP):
        print(_help_of(name))
    else:
        try:
            status = SCRIPTS[name].run([f'{name}.sh', *words])
        except UsageError as error:
            message = [f'error: {error}'] if str(error) else []
            for line in [*message, f'usage: {name}.sh {SCRIPTS[name].usage}']:
                print(printable(line, sys.stderr), file=sys.stderr)
            status = 2
        sys.exit(status)


def _check(words: Sequence[str]) -> None:
    """Check, without MindSpore, a command line of train.py or eval.py: `train` or `eval`, then the flags."""
    task = words[0] if words else ''
    if task == 'train':
        from ..training.arguments import check_arguments
    elif task == 'eval':
        from ..evaluation.arguments import check_arguments
    else:
        raise PoseError(f'check should be followed by train or eval, is by {task!r}')
    check_arguments(words[1:])
