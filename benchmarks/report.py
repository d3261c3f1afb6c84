"""Time, memory and size of the report of a large result file, on one core, pictures included.

    python -m benchmarks.report [--pictures 5000] [--poses 105000] [--resamples 200]

The command `python -m src.evaluation.report` runs in a process of its own on made-up annotations, poses and pictures.
"""
import os
import resource
import subprocess
import sys
import tempfile
import time

import cv2
import numpy as np

from benchmarks.coco_evaluator import make_files
from benchmarks.timing import machine, parser_of, print_table, use_one_core
from src.system.files import read_json


def make_pictures(folder: str, names: list, rng) -> None:
    """Write one picture of noise and give it all names: the report opens those of its cases only."""
    noise = cv2.resize(rng.integers(0, 255, (30, 40, 3), np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC)
    first, *others = (os.path.join(folder, name) for name in names)
    cv2.imwrite(first, noise)
    for other in others:
        os.link(first, other)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument('--pictures', type=int, default=5000)
    parser.add_argument('--poses', type=int, default=105000)
    parser.add_argument('--resamples', type=int, default=200)
    arguments = parser.parse_args()
    use_one_core()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        truth_file, results_file = make_files(folder, rng, arguments.pictures, arguments.poses)
        pictures = os.path.join(folder, 'pictures')
        os.mkdir(pictures)
        make_pictures(pictures, [image['file_name'] for image in read_json(truth_file)['images']], rng)
        page = os.path.join(folder, 'report.html')
        start = time.perf_counter()
        subprocess.run([sys.executable, '-m', 'src.evaluation.report', '--gt', truth_file, '--results', results_file,
                        '--images', pictures, '--report', page, '--resamples', str(arguments.resamples)], check=True)
        elapsed, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        print_table(('pictures', 'poses', 'seconds', 'of these computing', 'peak MB', 'page MB'), [(
            arguments.pictures, arguments.poses, f'{elapsed:.1f}', f'{used.ru_utime + used.ru_stime:.1f}',
            used.ru_maxrss // 1024, f'{os.path.getsize(page) / 1e6:.1f}')])


if __name__ == '__main__':
    main()
