"""The commands of docs/own_data.md, run as they stand there inside the test's own process; with fewer animals."""
import os
import re
import runpy
import shlex
import sys
from typing import List
from unittest import mock

from script_runs import ROOT

# Commands of files that a reader has and a test has not.
OF_READERS = ('COCO.ckpt', 'first.json')


def page_commands() -> List[List[str]]:
    """Return the commands of the page, each as its words behind `python`."""
    text = (ROOT / 'docs/own_data.md').read_text(encoding='utf-8')
    lines = [line for block in re.findall(r'```bash\n(.*?)```', text, re.S)
             for line in block.replace('\\\n', ' ').splitlines() if not any(word in line for word in OF_READERS)]
    return [shlex.split(line.replace('--num 300', '--num 24'))[1:] for line in lines]


def run_command_of_page(words: List[str], folder) -> int:
    """Run a command in a folder and return its exit status."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        if words[0] == '-m':
            with mock.patch.object(sys, 'argv', words[1:]):
                runpy.run_module(words[1], run_name='__main__')
        else:
            with mock.patch.object(sys, 'argv', words):
                runpy.run_path(str(ROOT / words[0]), run_name='__main__')
    except SystemExit as end:
        return end.code or 0
    finally:
        os.chdir(before)
    return 0
