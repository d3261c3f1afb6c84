"""What the scripts print, and that output which cannot be written does not end a run."""
import contextlib
import os
import pty
import subprocess
import sys
import time

import pytest
from lost_streams import LOST, lost_streams
from script_runs import ROOT, SIMPLE_POSE, TINY

from src.checkpoints.ckpt import read_checkpoint
from src.checkpoints.configuration import warn_of_other_flavour
from src.config import load_recipe
from src.system.command_line import say

# Prints in every way, long enough to fill buffers, while a file is open that a library's output could land in.
PRINTS_AND_WRITES = '''
import os, sys, time, warnings
from tqdm import tqdm
from src.system.command_line import run_command, say
from src.system.errors import PoseError
def main():
    with open('checkpoint', 'wb') as file:
        file.write(b'weights')
        file.flush()
        bar = tqdm(range(100), disable=len(sys.argv) < 3 or not sys.stderr.isatty(), mininterval=0)
        for number in bar:
            if number == 5 and len(sys.argv) > 2:
                while not os.path.exists('go'):
                    time.sleep(0.01)
            say(f'line {number}')
            print(f'printed {number}')
            for descriptor in (1, 2):
                try:
                    os.write(descriptor, b'from outside Python\\n')
                except OSError:
                    pass
            sys.stderr.write(1000 * 'x' + '\\n')
            warnings.warn(f'warning {number}')
        sys.stdout.isatty()
        file.write(b' and more')
    exec(sys.argv[1])
run_command(main)
'''
ENVIRONMENT = {**os.environ, 'PYTHONPATH': str(ROOT)}


def test_lines_come_at_once_and_in_order(capfd):
    for number in range(3):
        say(f'line {number}')
        assert capfd.readouterr().out == f'line {number}\n'


@pytest.mark.parametrize('ending, status', [('pass', 0), ('raise PoseError("wrong")', 2), ('raise KeyError("bug")', 1),
                                            ('raise ValueError("bug")', 1),
                                            ('raise KeyboardInterrupt', 1), ('sys.exit("told")', 1)])
@LOST
def test_lost_output_ends_no_work_and_changes_no_status(way, ending, status, tmp_path):
    """As with `python train.py >&-` or `python train.py | head`, with all that prints."""
    with lost_streams(way) as streams:
        done = subprocess.run([sys.executable, '-c', PRINTS_AND_WRITES, ending], cwd=tmp_path, env=ENVIRONMENT,
                              timeout=60, **streams)
    assert done.returncode == status
    assert (tmp_path / 'checkpoint').read_bytes() == b'weights and more'


@pytest.mark.parametrize('way', ['all closed', 'reader gone'])
def test_what_is_not_lost_is_printed(way, tmp_path):
    """One of the streams is lost, and of the other nothing."""
    for number, name in enumerate(('stdout', 'stderr'), 1):
        with lost_streams(way) as streams, open(tmp_path / name, 'wb') as file:
            kept = {**streams, name: file}
            if 'preexec_fn' in streams:
                kept['preexec_fn'] = lambda other=3 - number: os.close(other)
            subprocess.run([sys.executable, '-c', PRINTS_AND_WRITES, 'raise PoseError("wrong")'], cwd=tmp_path,
                           env=ENVIRONMENT, timeout=60, check=False, **kept)
    lines = [line for number in range(100) for line in (f'line {number}', f'printed {number}', 'from outside Python')]
    assert (tmp_path / 'stdout').read_text().splitlines() == lines
    assert (tmp_path / 'stderr').read_text().endswith('\nerror: wrong\n')


def test_a_terminal_that_is_closed_does_not_end_the_run(tmp_path):
    """As with `nohup python train.py` in a window that is closed: the progress bar has begun on a terminal."""
    terminal, its_program = pty.openpty()
    with contextlib.closing(open(its_program, 'wb')) as streams:
        process = subprocess.Popen([sys.executable, '-c', PRINTS_AND_WRITES, 'pass', 'waits'], cwd=tmp_path,
                                   env=ENVIRONMENT, stdout=streams, stderr=streams)
    while not (tmp_path / 'checkpoint').exists():
        assert process.poll() is None
        time.sleep(0.01)
    assert os.read(terminal, 1)
    os.close(terminal)
    (tmp_path / 'go').touch()
    assert process.wait(60) == 0
    assert (tmp_path / 'checkpoint').read_bytes() == b'weights and more'


def test_whole_runs_without_any_stream(tmp_path):
    """From data to a checkpoint, with all that the libraries open and print."""
    for words in ('-m src.synthetic --root data --num_train 2 --num_val 1',
                  f'{ROOT}/train.py --recipe {SIMPLE_POSE} --data_url data --batch_size 1 --epoch 0 '
                  f'--ckpt_save_path pose.ckpt {TINY[SIMPLE_POSE]}'):
        with lost_streams('all closed') as streams:
            done = subprocess.run([sys.executable, *words.split()], cwd=tmp_path, env=ENVIRONMENT, timeout=120,
                                  **streams)
        assert done.returncode == 0, words
    assert read_checkpoint(str(tmp_path / 'pose.ckpt'))


def test_every_program_bears_lost_output():
    """What has a command line hands it to run_command, and imports src, which opens closed descriptors."""
    programs = [path for path in (*ROOT.glob('*.py'), *(ROOT / 'src').rglob('*.py'))
                if "__name__ == '__main__'" in path.read_text()]
    assert len(programs) >= 8
    for path in programs:
        assert path.read_text().endswith("\n    run_command(main)\n"), path


def test_a_checkpoint_for_another_number_of_people_in_a_box_is_not_taken_silently(capsys):
    """Their weights have the same names; of a network that sees one person only there is nothing to say."""
    three = load_recipe('mipnet_hrnet_w32_3inst_coco_256x192')
    two, one = load_recipe('mipnet_hrnet_w32_coco_256x192'), load_recipe('hrnet_w32_coco_256x192')
    for carried in (one, three):
        warn_of_other_flavour(three, carried, 'a.ckpt')
    assert capsys.readouterr().out == ''
    warn_of_other_flavour(three, two, 'a.ckpt')
    assert capsys.readouterr().out.startswith('warning: a.ckpt was made for 2 people in a box, not 3')
