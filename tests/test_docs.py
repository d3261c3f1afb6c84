"""What the pages say exists: links, files, flags, keys, recipes and scripts."""
import contextlib
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
from script_runs import ROOT, SIMPLE_POSE, TINY

from src.checkpoints.ckpt import save_checkpoint
from src.config import key_comments, load_recipe, recipe_names, resolve
from src.models.registry import build_configured_network
from src.system.printing import ArgumentParser

PAGES = [ROOT / 'README.md', ROOT / 'README_CN.md', *sorted((ROOT / 'docs').glob('*.md')),
         *sorted(ROOT.glob('annotation/*/README.md')), ROOT / 'infer_img' / 'README.md']
LINK = re.compile(r'\]\(([^)\s]+)\)')
# Sections whose keys are looked for.
SECTIONS = sorted({key.split('.')[0] for key in key_comments()})


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors_of(path: Path) -> set:
    """The anchors that a page's headings make, as GitHub does."""
    text = re.sub(r'^```.*?^```', '', path.read_text(encoding='utf-8'), flags=re.M | re.S)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in
            re.findall(r'^#+ (.*)$', text, re.M)}


@pytest.mark.parametrize('page', PAGES, ids=ids)
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text(encoding='utf-8')):
        if link.startswith(('http:', 'https:')):
            continue
        name, _, anchor = link.partition('#')
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors_of(target), link


@pytest.mark.parametrize('page', PAGES, ids=ids)
def test_files_of_the_package_are_there(page):
    for name in re.findall(r'`((?:src|scripts|benchmarks|tests|docs)/[\w/.*-]+)`', page.read_text(encoding='utf-8')):
        assert list(ROOT.glob(name.rstrip('/'))), name


@pytest.mark.parametrize('page', PAGES, ids=ids)
def test_recipes_and_keys_are_there(page):
    text = page.read_text(encoding='utf-8')
    recipes = re.findall(r'--recipe[ =]((?:mspn|simplepose|hrnet|mipnet)_\w+)', text)
    recipes += re.findall(r'`((?:mspn|simplepose|hrnet|mipnet)_\w+_\d+x\d+)`', text)
    assert set(recipes) <= set(recipe_names())
    keys = re.findall(rf'\b((?:{"|".join(SECTIONS)})\.[A-Z_]+)\b', text)
    assert set(keys) - set(key_comments()) <= {'TOY.CHANNELS'}


def flags_of(script: str) -> set:
    """The flags of a root script."""
    seen = set()

    def parse(parser, *_):
        seen.update(parser._option_string_actions)
        raise SystemExit

    with mock.patch.object(ArgumentParser, 'parse_args', parse), mock.patch.object(sys, 'argv', [script]), \
            pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / f'{script}.py'), run_name='__main__')
    return seen


@pytest.mark.parametrize('script', ['train', 'eval', 'infer', 'demo', 'export', 'param_convert'])
def test_flags_are_there(script):
    known = flags_of(script)
    for page in PAGES:
        text = page.read_text(encoding='utf-8').replace('\\\n', ' ')
        for command in re.findall(rf'python {script}\.py ([^`\n#]*)', text):
            named = set(re.findall(r'(?<!\S)(--\w+)', command))
            assert named <= known, (page.name, command)


def test_both_readmes_say_the_same():
    english, chinese = ((ROOT / name).read_text(encoding='utf-8') for name in ('README.md', 'README_CN.md'))
    for pattern in (r'^#+ ', r'^```\w+$', r'^\| ', r'^- '):
        assert len(re.findall(pattern, english, re.M)) == len(re.findall(pattern, chinese, re.M)), pattern
    commands = [[line.partition('#')[0].strip() for block in re.findall(r'```bash\n(.*?)```', text, re.S)
                 for line in block.splitlines()] for text in (english, chinese)]
    assert commands[0] == commands[1]
    assert {link for link in LINK.findall(english) if link.startswith('docs/')} == {
        link for link in LINK.findall(chinese) if link.startswith('docs/')}
    assert len(english.splitlines()) <= 350


# What the README tells people to type, as it stands there

README = (ROOT / 'README.md').read_text(encoding='utf-8')
# Those that need no data and no weights.
CHEAP = (r'python train\.py --list_recipes', r'python -m src\.launch\.rank_tables make .*')


@pytest.mark.parametrize('pattern', CHEAP)
def test_cheap_commands_run(pattern, tmp_path):
    command = shlex.split(re.search(rf'`?({pattern}?)`', README)[1])
    if command[1] != '-m':
        command[1] = str(ROOT / command[1])
    done = subprocess.run([sys.executable, *command[1:]], cwd=tmp_path, capture_output=True, text=True, check=False,
                          env={**os.environ, 'PYTHONPATH': str(ROOT)}, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout or list(tmp_path.iterdir())


def test_the_lines_of_python_run(tmp_path, monkeypatch):
    code, = re.findall(r'```python\n(.*?)```', README, re.S)
    monkeypatch.chdir(tmp_path)
    config = resolve(load_recipe(SIMPLE_POSE), dict(item.split('=') for item in TINY[SIMPLE_POSE].split()[1:]))
    save_checkpoint('pose.ckpt', build_configured_network(config), config)
    cv2.imwrite('photo.jpg', np.full((320, 240, 3), 127, np.uint8))
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(code, 'README.md', 'exec'), {})
    assert re.fullmatch(r'\(1, 17, 3\) \[\S+\]\n', out.getvalue())
