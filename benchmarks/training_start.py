"""How long does `train.py` take from the command to the first step with annotations of COCO train2017's size?

    python -m benchmarks.training_start [--recipes NAME …] [--rounds 3]

Makes an annotation file as `benchmarks.annotation_reading` does and a folder of as many pictures, all links to one,
runs one step of a training, and notes when its lines appear and the peak memory of its main process at that time. As a
peer, a process of its own only indexes the file with pycocotools. The sides take turns; figures are medians.
"""
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import List, Tuple

from benchmarks.annotation_reading import PICTURES as NUM_PICTURES
from benchmarks.annotation_reading import write_file
from benchmarks.growth import PICTURE_SIZE, PICTURES, link_pictures
from benchmarks.timing import machine, parser_of, print_table
from benchmarks.worker_memory import peak_megabytes

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ('simplepose_mobilenetv2_small_people18k_192x160', 'simplepose_r50_coco_256x192')
# Beginnings of lines of train.py, and what has been done when they appear.
MARKS = (('recipe: ', 'MindSpore is started'), ('data: ', 'annotations are read, checked, and pictures found'),
         ('epoch: 1 step: 1,', 'graph compiled, first batch loaded, first step taken'))
INDEX = 'import sys; from pycocotools.coco import COCO; COCO(sys.argv[1]); print("indexed", flush=True)'


def follow(words: List[str], marks: Tuple[str, ...]) -> List[Tuple[float, float]]:
    """Run a program; return seconds and peak MB at the first line that begins with each of the marks."""
    start, found, lines = time.perf_counter(), [], []
    with subprocess.Popen([sys.executable, *words], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as process:
        for line in process.stdout:
            lines.append(line)
            if len(found) < len(marks) and line.startswith(marks[len(found)]):
                found.append((time.perf_counter() - start, peak_megabytes(process.pid)))
    if len(found) < len(marks):
        sys.exit(f'{" ".join(words)} did not print a line that begins with {marks[len(found)]!r}:\n{"".join(lines)}')
    return found


def rows_of(recipe: str, folder: str, annotation_file: str, rounds: int):
    training = ['train.py', '--recipe', recipe, '--data_url', folder, '--gt_file_url', annotation_file,
                '--device_target', 'CPU', '--pretrained', 'false', '--batch_size', '8', '--max_steps', '1',
                '--ckpt_save_path', os.path.join(folder, 'pose.ckpt'),
                '--set', f'DATASET.TRAIN_SET={PICTURES}', 'TRAIN.EVAL_EPOCHS=0']
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(follow(training, tuple(mark for mark, _ in MARKS)))
        theirs.append(follow(['-c', INDEX, annotation_file], ('indexed',)))
    for number, (_, what) in enumerate(MARKS):
        yield (recipe, what, *medians([each[number] for each in ours]))
    yield 'pycocotools', 'annotations are indexed', *medians([each[0] for each in theirs])


def medians(found: List[Tuple[float, float]]) -> Tuple[str, str]:
    seconds, megabytes = zip(*found)
    return f'{statistics.median(seconds):.1f}', f'{statistics.median(megabytes):.0f}'


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument('--recipes', nargs='+', default=RECIPES, metavar='NAME')
    parser.add_argument('--rounds', type=int, default=3)
    arguments = parser.parse_args()
    if not os.path.exists('/proc/self/status'):
        sys.exit('this benchmark reads /proc, which only Linux has')
    with tempfile.TemporaryDirectory() as folder:
        link_pictures(folder, range(1, NUM_PICTURES + 1))
        annotation_file = os.path.join(folder, 'annotations.json')
        write_file(annotation_file, PICTURE_SIZE)
        rows = [row for recipe in arguments.recipes
                for row in rows_of(recipe, folder, annotation_file, arguments.rounds)]
    print(f'{machine()}, {NUM_PICTURES} pictures, batch 8')
    print_table(('program', 'done', 'seconds since the command', 'MB at most so far'), rows)


if __name__ == '__main__':
    main()
