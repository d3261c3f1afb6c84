"""Run a script on one core: python -m benchmarks.pinned SCRIPT ARGUMENTS…; process n of a job gets the n-th core."""
import os
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

if __name__ == '__main__':
    if sys.argv[1:2] in ([], ['-h'], ['--help']):
        print(__doc__)
        sys.exit(2 * (len(sys.argv) == 1))
    cores = sorted(os.sched_getaffinity(0))
    # Before MindSpore starts: its threads inherit the core.
    os.sched_setaffinity(0, {cores[int(os.environ.get('RANK_ID', '0')) % len(cores)]})
    sys.argv = sys.argv[1:]
    sys.path.insert(0, str(ROOT))
    runpy.run_path(sys.argv[0], run_name='__main__')
