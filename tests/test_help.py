"""`--help` of everything that can be called prints help and does nothing else."""
import os
import runpy
import subprocess
import sys
from unittest import mock

import pytest
from script_runs import ROOT, run_script

BENCHMARKS = sorted(path.stem for path in ROOT.glob('benchmarks/[!_]*.py')
                    if "__name__ == '__main__'" in path.read_text(encoding='utf-8'))
MODULES = ['src.checkpoints.zoo', 'src.synthetic', 'src.synthetic.animals', 'src.launch', 'src.launch.rank_tables',
           'src.training.curves', 'src.evaluation.report',
           *(f'src.data_tools.{name}' for name in ('check', 'convert', 'draw', 'sigmas')),
           *(f'benchmarks.{name}' for name in BENCHMARKS)]
# These build on MindSpore's cells.
NEED_MINDSPORE = {f'benchmarks.{name}' for name in (
    'cost', 'decode', 'folded', 'hypotheses', 'imagenet_start', 'inference', 'recompute', 'runtime_ap', 'targets',
    'whole_path')}
SCRIPTS = sorted(path.name for path in ROOT.glob('scripts/*.sh') if not path.stem.endswith('_functions'))
# It hands its words to a root script.
EXPORT = 'run_export.sh'


def test_every_module_that_can_be_called_is_here():
    callable_ones = {'.'.join(path.relative_to(ROOT).with_suffix('').parts).replace('.__main__', '')
                     for folder in ('src', 'benchmarks') for path in (ROOT / folder).rglob('*.py')
                     if "__name__ == '__main__'" in path.read_text(encoding='utf-8')}
    assert callable_ones == set(MODULES)


@pytest.mark.filterwarnings('ignore:.*found in sys.modules:RuntimeWarning')
@pytest.mark.parametrize('module', MODULES)
def test_help_of_modules(module, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with mock.patch.object(sys, 'argv', [module, '--help']), pytest.raises(SystemExit) as end:
        runpy.run_module(module, run_name='__main__')
        sys.exit(0)
    assert not end.value.code
    out, err = capsys.readouterr()
    assert len(out.split()) > 5 and err == '' and os.listdir(tmp_path) == []


def test_help_imports_no_mindspore():
    """Which alone takes seconds."""
    code = ('import contextlib, io, runpy, sys\n'
            'for module in sys.argv[1:]:\n'
            "    sys.argv = [module, '--help']\n"
            '    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n'
            "        runpy.run_module(module, run_name='__main__')\n"
            "    assert 'mindspore' not in sys.modules, module\n")
    modules = sorted(set(MODULES) - NEED_MINDSPORE)
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code, *modules], cwd=ROOT, capture_output=True,
                          text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


@pytest.mark.parametrize('script', ['train', 'eval', 'infer', 'demo', 'export', 'param_convert'])
def test_help_of_root_scripts(script, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_script(script, '--help') == 0
    assert capsys.readouterr().out.startswith(f'usage: {script}.py ') and os.listdir(tmp_path) == []


def test_help_of_the_export_by_its_later_name():
    done = subprocess.run(['sh', ROOT / 'scripts' / EXPORT, '--help'], env={**os.environ, 'PYTHON': 'echo'}, text=True,
                          capture_output=True)
    path, word = done.stdout.split()
    assert os.path.samefile(path, ROOT / 'export.py') and word == '--help'


@pytest.mark.parametrize('name', [name for name in SCRIPTS if name != EXPORT])
def test_help_of_scripts(name, tmp_path):
    path = ROOT / 'scripts' / name
    shell = 'bash' if 'bash' in path.read_text(encoding='utf-8').splitlines()[0] else 'sh'
    before = sorted(os.listdir(ROOT))
    done = subprocess.run([shell, path, '--help'], cwd=tmp_path, capture_output=True, text=True, timeout=60,
                          env={**os.environ, 'PYTHON': sys.executable})
    assert (done.returncode, done.stderr) == (0, '') and len(done.stdout.split()) > 10
    assert os.listdir(tmp_path) == [] and sorted(os.listdir(ROOT)) == before


@pytest.mark.parametrize('words', ['0 ckpt --help', '-h', '--help -- --help'])
def test_help_stands_anywhere_in_front_of_the_flags_of_the_job(words, tmp_path):
    done = subprocess.run(['sh', ROOT / 'scripts' / 'train_standalone.sh', *words.split()], cwd=tmp_path, text=True,
                          capture_output=True, env={**os.environ, 'PYTHON': sys.executable})
    assert done.returncode == 0 and os.listdir(tmp_path) == []
    assert done.stdout.startswith('usage: train_standalone.sh DEVICE_ID CKPT_DIR') and 'STOP_SECONDS' in done.stdout
