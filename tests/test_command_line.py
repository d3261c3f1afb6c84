"""What the root scripts print, and that a log which cannot be written does not end a run."""
import os
import subprocess
import sys

import pytest
from script_runs import ROOT

from src.command_line import say, warn_of_other_flavour
from src.config import load_recipe

SAY_ON = '''
import sys
from src.command_line import run_command, say
def main():
    for number in range(3):
        say(f'line {number}')
    sys.stderr.write('the end')
run_command(main)
'''
ENVIRONMENT = {**os.environ, 'PYTHONPATH': str(ROOT)}


def test_lines_come_at_once_and_in_order(capfd):
    for number in range(3):
        say(f'line {number}')
        assert capfd.readouterr().out == f'line {number}\n'


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full')
def test_a_log_on_a_full_disk_costs_lines_and_not_the_run():
    with open('/dev/full', 'w') as full:
        done = subprocess.run([sys.executable, '-c', SAY_ON], stdout=full, stderr=subprocess.PIPE, text=True,
                              env=ENVIRONMENT, timeout=60)
    assert done.stderr.startswith('the end') and 'Traceback' not in done.stderr


def test_a_pipe_whose_reader_has_gone_does_not_end_the_run():
    """As with `python train.py | head`."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([sys.executable, '-c', SAY_ON], stdout=writer, stderr=subprocess.PIPE, text=True,
                              env=ENVIRONMENT, timeout=60)
    finally:
        os.close(writer)
    assert done.returncode == 0 and done.stderr == 'the end'


def test_a_checkpoint_for_another_number_of_people_in_a_box_is_not_taken_silently(capsys):
    """Their weights have the same names; of a network that sees one person only there is nothing to say."""
    three = load_recipe('mipnet_hrnet_w32_3inst_coco_256x192')
    two, one = load_recipe('mipnet_hrnet_w32_coco_256x192'), load_recipe('hrnet_w32_coco_256x192')
    for carried in (one, three):
        warn_of_other_flavour(three, carried, 'a.ckpt')
    assert capsys.readouterr().out == ''
    warn_of_other_flavour(three, two, 'a.ckpt')
    assert capsys.readouterr().out.startswith('warning: a.ckpt was made for 2 people in a box, not 3')
