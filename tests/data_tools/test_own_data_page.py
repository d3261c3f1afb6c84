"""docs/own_data.md: the commands that prepare and look over data run as they stand there; the others are run by
test_own_skeleton.py."""
import re

import cv2
import yaml
from own_data_commands import page_commands, run_command_of_page
from script_runs import ROOT

from src.data.skeleton_files import KEYS, skeleton_of


def test_the_tools_of_the_page_run_as_written(tmp_path):
    commands = [words for words in page_commands() if words[0] == '-m']
    assert [words[1].rpartition('.')[2] for words in commands] == ['animals', 'convert', 'check', 'draw', 'convert']
    for words in commands:
        assert run_command_of_page(words, tmp_path) == 0, words
    page = (tmp_path / 'own/check.html').read_text()
    assert '0 errors, 0 warnings' in page and '<img' in page
    for name in ('crops', 'label_maps'):
        assert cv2.imread(str(tmp_path / f'own/drawn/{name}.jpg')).std() > 20
    assert len(list((tmp_path / 'yolo/labels').rglob('*.txt'))) == 24
    assert len(list((tmp_path / 'own/drawn/annotations').glob('*.jpg'))) == 12


def test_the_skeleton_files_of_the_page_are_right_and_show_every_key():
    text = (ROOT / 'docs/own_data.md').read_text(encoding='utf-8')
    shown = set()
    for block in re.findall(r'```yaml\n(.*?)```', text, re.S):
        content = yaml.safe_load(block)
        assert skeleton_of(content, 'the page').num_keypoints in (7, 17)
        shown |= set(content)
    assert set(KEYS) - shown == {'lower_body'} and '`lower_body`' in text
