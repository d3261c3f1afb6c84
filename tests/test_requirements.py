"""The requirement files, the versions that passed the tests, and the environments that are made from both."""
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from script_runs import ROOT

TESTED = ROOT / 'requirements-tested.txt'
# A stand-in that makes environments of itself and writes down what pip was asked for.
PYTHON = '''#!/bin/sh
case "$*" in
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    *"pip install"*) echo "$*" >> "$PIP_LOG" ;;
    --version) echo "Python 3.11.0" ;;
esac
'''


def lines_of(path: Path) -> list:
    return [line for line in path.read_text(encoding='utf-8').splitlines() if line and not line.startswith('#')]


def pinned_versions() -> dict:
    """{name: version} of the file."""
    pins = map(Requirement, lines_of(TESTED))
    return {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in pins}


def test_every_tested_version_is_exact():
    """For the Python that tested and newer ones; constraints may carry nothing else."""
    for line in lines_of(TESTED):
        assert re.fullmatch(r'[A-Za-z0-9._-]+==[\w.+!]+; python_version >= "3\.\d+"', line), line
    assert len(pinned_versions()) == len(lines_of(TESTED))
    assert len({line.partition(';')[2] for line in lines_of(TESTED)}) == 1


@pytest.mark.parametrize('file', ['requirements.txt', 'requirements-extra.txt', 'requirements-deploy.txt',
                                  'requirements-serve.txt', 'requirements-tools.txt'])
def test_every_required_package_was_tested_within_its_bounds(file):
    environment = {'python_version': re.search(r'python_version >= "(.*)"', TESTED.read_text())[1]}
    requirements = [Requirement(line) for line in lines_of(ROOT / file) if not line.startswith('-r ')]
    assert requirements
    for requirement in requirements:
        if requirement.marker is None or requirement.marker.evaluate(environment):
            version = pinned_versions()[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), f'{requirement}: {version}'


def test_what_mindspore_itself_needs_is_among_them():
    assert {'scipy', 'protobuf', 'asttokens', 'psutil', 'pillow', 'dill'} <= set(pinned_versions())


def test_the_versions_of_an_environment_are_written_down():
    written = subprocess.run(['bash', 'scripts/write_tested.sh', sys.executable], cwd=ROOT, text=True, timeout=60,
                             capture_output=True, check=True).stdout.splitlines()
    python = f'{sys.version_info[0]}.{sys.version_info[1]}'
    assert f'pytest=={pytest.__version__}; python_version >= "{python}"' in written
    assert not [line for line in written if line.startswith(('pip=', 'setuptools='))]
    assert [line for line in written if line.startswith('#')][1:] == [
        line for line in TESTED.read_text(encoding='utf-8').splitlines() if line.startswith('#')][1:]


@pytest.fixture
def checkout(tmp_path):
    """A copy of what makes environments, and the stand-in."""
    (tmp_path / 'scripts').mkdir()
    for path in (*ROOT.glob('requirements*.txt'), *ROOT.glob('scripts/*.sh')):
        shutil.copy(path, tmp_path / path.relative_to(ROOT))
    python = tmp_path / 'python'
    python.write_text(PYTHON)
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return tmp_path


def make(checkout, script: str, **variables) -> list:
    """Run a script and return what pip was asked for."""
    log = checkout / 'pip.log'
    log.write_text('')
    done = subprocess.run(['bash', *script.split()], cwd=checkout, capture_output=True, text=True, timeout=60,
                          env={**os.environ, 'PYTHON': str(checkout / 'python'), 'PIP_LOG': str(log), **variables})
    assert done.returncode == 0, done.stderr
    return [line.partition('--disable-pip-version-check ')[2] for line in log.read_text().splitlines()]


def test_tests_run_with_the_tested_versions(checkout):
    assert make(checkout, 'scripts/test.sh', MINDSPORE='') == ['-c requirements-tested.txt -r requirements-dev.txt']
    assert (checkout / '.venv-test').is_dir()
    assert make(checkout, 'scripts/test.sh', MINDSPORE='') == []


def test_another_mindspore_brings_its_numpy(checkout):
    """The stand-in says yes to everything; here no to whether that version is there."""
    python = checkout / 'python'
    python.write_text(PYTHON.replace('esac', '    *importlib.metadata*) exit 1 ;;\nesac'))
    assert make(checkout, 'scripts/test.sh', MINDSPORE='2.7.0') == [
        '-c requirements-tested.txt -r requirements-dev.txt', 'mindspore==2.7.0 numpy<2']


def test_the_newest_versions_can_be_tested(checkout):
    assert make(checkout, 'scripts/test.sh', NEWEST='1', MINDSPORE='') == ['-r requirements-dev.txt']
    assert (checkout / '.venv-newest').is_dir() and not (checkout / '.venv-test').exists()


def test_other_tested_versions_make_another_environment(checkout):
    script = 'scripts/make_environment.sh env -c requirements-tested.txt requirements.txt'
    expected = ['-c requirements-tested.txt -r requirements.txt']
    assert make(checkout, script) == expected and make(checkout, script) == []
    file = checkout / 'requirements-tested.txt'
    file.write_text(file.read_text().replace('tqdm==', 'tqdm==1'))
    assert make(checkout, script) == expected and make(checkout, script) == []


def test_the_installed_library_has_every_folder_and_every_recipe():
    """`pip install .` gives the folder `src` another name; a room that pyproject.toml leaves out would be missing."""
    tomllib = pytest.importorskip('tomllib')
    settings = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))['tool']['setuptools']
    folders = {path.parent.relative_to(ROOT / 'src') for path in (ROOT / 'src').rglob('__init__.py')}
    assert settings['package-dir'] == {'mindspore_pose': 'src', 'mindspore_pose.weights': 'weights'}
    assert sorted(settings['packages']) == sorted(['mindspore_pose.weights', *(
        '.'.join(['mindspore_pose', *folder.parts]) for folder in folders)])
    endings = {path.suffix for path in (ROOT / 'weights').iterdir()} - {'.md', '.png'}
    assert {f'*{ending}' for ending in endings} <= set(settings['package-data']['*'])
    data = {path.relative_to(ROOT / 'src').parent for path in (ROOT / 'src').rglob('*.yaml')}
    assert data - folders == {Path('recipes')} and 'recipes/*.yaml' in settings['package-data']['mindspore_pose']
    dynamic = settings['dynamic']
    named = [name for each in (dynamic['dependencies'], *dynamic['optional-dependencies'].values())
             for name in each['file']]
    assert all((ROOT / name).is_file() for name in named)
