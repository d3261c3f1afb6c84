"""Break the package on purpose, one rule at a time, and see whether the tests notice.

    python tests/mutations/run.py [--only NAME …] [--jobs N]

A copy of the working tree is broken, never the tree itself. The named tests first run on the whole copy; each fault of
the table then has to make its own test fail. The exit status is 0 only if every fault is caught.
"""
import argparse
import contextlib
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence

ROOT = Path(__file__).resolve().parent.parent.parent
# Run as a script, this folder is the first on the path and its parent is not on it.
OTHER_PATHS = sys.path[1:]
sys.path.insert(0, str(ROOT / 'tests'))

from mutations.mutation import Mutation  # noqa: E402
from mutations.table import MUTATIONS  # noqa: E402

# Seconds: of one test with a fault, and of all the named tests together without one.
TIME_LIMIT, TIME_LIMIT_OF_ALL = 180, 1800
# Of pytest, and our own for tests that were killed: they may have been slow only, so that proves nothing.
PASSED, FAILED, NO_END = 0, 1, 100
# What takes seconds to import and stays the same: the processes of the tests inherit it.
INHERITED = ('cv2', 'mindspore', 'mindspore.dataset', 'onnx', 'onnxruntime', 'pycocotools.cocoeval', 'pytest',
             'safetensors.numpy', 'scipy.io', 'tqdm', 'yaml')


def copy_tree(folder: Path) -> Path:
    """Copy what git knows or would add into `folder`/tree, with the workplace's reference material beside it."""
    names = subprocess.run(['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'], cwd=ROOT,
                           capture_output=True, check=True).stdout.decode().split('\0')
    tree = folder / 'tree'
    for name in filter(None, names):
        # A file that was deleted but not yet from git's list is not there.
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    shared = ROOT.parent / 'shared'
    if shared.is_dir():
        (folder / 'shared').symlink_to(shared)
    return tree


def import_once() -> None:
    """Import what the processes of the tests inherit; of the package itself nothing stays."""
    # Byte code of the text before would be taken for that of a fault of the same length, written in the same second.
    sys.dont_write_bytecode, os.environ['PYTHONDONTWRITEBYTECODE'] = True, '1'
    sys.path.insert(0, str(ROOT))
    # It prepares the environment, before MindSpore.
    importlib.import_module('src')
    for name in INHERITED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition('.')[0] == 'src']:
        del sys.modules[name]


class Run:
    """A process that runs tests in a copy of the tree, and its group of processes.

    Args:
        tests: what pytest is told to run.
        seconds: after which it is killed.
        options: of pytest.
    """

    def __init__(self, tree: Path, tests: Sequence[str], seconds: float, *options: str):
        self.log, self.began, self.seconds = tree.parent / 'log.txt', time.monotonic(), seconds
        sys.stdout.flush()
        self.number = os.fork()
        if not self.number:
            self._run(tree, [*options, *tests])

    def _run(self, tree: Path, words: Sequence[str]) -> None:
        status = 70
        try:
            os.setsid()
            os.dup2(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
            os.dup2(1, 2)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.chdir(tree)
            os.environ['PYTHONPATH'] = str(tree)
            sys.path[:] = [str(tree), *OTHER_PATHS]
            import pytest
            status = pytest.main(['-q', '-p', 'no:cacheprovider', '-rsfE', '--tb=line', *words])
        finally:
            sys.stdout.flush()
            os._exit(int(status))

    def poll(self) -> int:
        """Return pytest's status, or -1 while it runs."""
        number, status = os.waitpid(self.number, os.WNOHANG)
        if number:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() - self.began < self.seconds:
            return -1
        os.killpg(self.number, signal.SIGKILL)
        os.waitpid(self.number, 0)
        return NO_END

    @property
    def output(self) -> str:
        return self.log.read_text(encoding='utf-8', errors='replace').strip()


def find_unfit_tests(tree: Path, mutations: Sequence[Mutation]) -> List[str]:
    """Run every named test without a fault and return what pytest says of those that fail or are skipped."""
    run = Run(tree, sorted({each.test for each in mutations}), TIME_LIMIT_OF_ALL)
    while (status := run.poll()) < 0:
        time.sleep(0.1)
    print(f'without a fault: {run.output.splitlines()[-1]}', flush=True)
    return re.findall(r'^(?:FAILED|ERROR|SKIPPED) .*$', run.output, re.M) or (
        [] if status == PASSED else [f'they ended with {status}: {run.output[-2000:]}'])


class Broken(NamedTuple):
    """A copy of the tree with a fault, and the run of the test that should notice."""

    mutation: Mutation
    tree: Path
    whole: str
    run: Run


def break_tree(tree: Path, mutation: Mutation) -> Broken:
    """Put a fault into a copy of the tree and start its test."""
    path = tree / mutation.file
    whole = path.read_text(encoding='utf-8')
    path.write_text(whole.replace(mutation.text, mutation.replacement), encoding='utf-8')
    return Broken(mutation, tree, whole, Run(tree, [mutation.test], TIME_LIMIT, '-x'))


def judge(broken: Broken, status: int) -> str:
    """Repair the tree and return '' if the fault was caught, or else what was."""
    (broken.tree / broken.mutation.file).write_text(broken.whole, encoding='utf-8')
    if status == FAILED:
        return ''
    if status == PASSED:
        return f'NOT CAUGHT by {broken.mutation.test}'
    if status == NO_END:
        return f'NO END of {broken.mutation.test} within {TIME_LIMIT} s'
    # A tree that cannot even be imported proves nothing.
    return f'BROKEN: pytest ended with {status}: {broken.run.output[-500:]}'


def judge_all(trees: List[Path], mutations: Sequence[Mutation]) -> List[str]:
    """Try faults on as many trees at a time as there are, tell of each, and return the names of those not caught."""
    survivors: List[str] = []
    busy: Dict[int, Broken] = {}
    waiting = list(mutations)

    def tell(name: str, seconds: float, verdict: str) -> None:
        print(f'{name:<44} {seconds:5.1f} s  {verdict or "caught"}', flush=True)
        if verdict:
            survivors.append(name)

    while waiting or busy:
        while waiting and len(busy) < len(trees):
            mutation = waiting.pop(0)
            place = next(each for each in range(len(trees)) if each not in busy)
            count = (trees[place] / mutation.file).read_text(encoding='utf-8').count(mutation.text)
            if count == 1:
                busy[place] = break_tree(trees[place], mutation)
            else:
                tell(mutation.name, 0.0, f'STALE: its text occurs {count} times in {mutation.file}')
        for place, broken in list(busy.items()):
            status = broken.run.poll()
            if status >= 0:
                del busy[place]
                tell(broken.mutation.name, time.monotonic() - broken.run.began, judge(broken, status))
        time.sleep(0.02)
    return survivors


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--only', nargs='+', metavar='NAME', help='these mutations instead of all')
    parser.add_argument('--jobs', type=int, default=1, metavar='N', help='so many at a time (default: %(default)s)')
    arguments = parser.parse_args()
    unknown = set(arguments.only or ()) - {each.name for each in MUTATIONS}
    if unknown:
        parser.error(f'unknown: {", ".join(sorted(unknown))}')
    chosen = [each for each in MUTATIONS if not arguments.only or each.name in arguments.only]

    began = time.monotonic()
    import_once()
    with tempfile.TemporaryDirectory(prefix='mutations') as folder:
        trees = []
        for number in range(max(1, arguments.jobs)):
            (Path(folder) / str(number)).mkdir()
            trees.append(copy_tree(Path(folder) / str(number)))
        unfit = find_unfit_tests(trees[0], chosen)
        for line in unfit:
            print(f'  {line}', flush=True)
        survivors = judge_all(trees, chosen)
    print(f'{len(chosen) - len(survivors)} of {len(chosen)} caught in {(time.monotonic() - began) / 60:.1f} min'
          + (f'; not: {", ".join(survivors)}' if survivors else '')
          + (f'; {len(unfit)} named tests fail or are skipped without a fault' if unfit else ''))
    return 1 if survivors or unfit else 0


if __name__ == '__main__':
    sys.exit(main())
