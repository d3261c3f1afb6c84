"""How do time and memory grow with the number of pictures: reading, checks, evaluation, report, start of the loader?

    python -m benchmarks.growth [--pictures 1000 10000 100000] [--plot growth.png]

Made-up annotations of 2.5 people a picture, and as many poses. Each work runs in a process of its own on one core. What
grows linearly costs the same for each further picture: the last two columns compare this cost between the two largest
numbers of pictures with that between the two before. A plot needs matplotlib.
"""
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Callable, Dict, Iterable, List, Optional

import cv2
import numpy as np

from benchmarks.coco_evaluator import make_files, ours
from benchmarks.timing import machine, parser_of, print_table, use_one_core
from benchmarks.worker_memory import peak_megabytes
from src.data.annotation_checks import AnnotationFile
from src.data.coco import check_evaluable, load_coco_people
from src.data.loader import BatchPlan, TrainingBatches, iterate_batches
from src.data.locate_pictures import locate_pictures
from src.data.samples import PersonSamples
from src.data.skeletons import COCO
from src.models.common.crops import SimplePoseCrops
from src.system.files import read_json

TRUTH, RESULTS, PICTURES = 'truth.json', 'results.json', 'train2017'
PICTURE_SIZE = 640, 480
POSES_A_PICTURE = 2.5


def make_folder(folder: str, num_pictures: int) -> None:
    """Write annotations, poses and a folder of pictures, all of which are links to one."""
    make_files(folder, np.random.default_rng(0), num_pictures, int(POSES_A_PICTURE * num_pictures))
    link_pictures(folder, range(num_pictures))


def link_pictures(folder: str, numbers: Iterable[int]) -> None:
    """Write a picture of `PICTURE_SIZE`, and links to it in `PICTURES`, named by these numbers as in COCO."""
    os.mkdir(os.path.join(folder, PICTURES))
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    cv2.imwrite(os.path.join(folder, 'one.jpg'), cv2.resize(noise, PICTURE_SIZE, interpolation=cv2.INTER_CUBIC))
    for number in numbers:
        os.symlink('../one.jpg', os.path.join(folder, PICTURES, f'{number:012d}.jpg'))


def start_loader(folder: str) -> None:
    """Everything from the annotation file to the first batch of two processes."""
    people = load_coco_people(os.path.join(folder, TRUTH), COCO, sample_rule='simple_pose')
    paths = locate_pictures(folder, people.file_names, split_folder=PICTURES, needed=people.image_index)
    samples = PersonSamples(people, paths, SimplePoseCrops(), COCO, (256, 192))
    batches = iterate_batches(TrainingBatches(samples, BatchPlan(len(samples), 8, 1, seed=1)), num_workers=2)
    next(batches)
    batches.close()


def write_report(folder: str) -> None:
    from src.evaluation.report import main as report
    sys.argv[1:] = ['--gt', os.path.join(folder, TRUTH), '--results', os.path.join(folder, RESULTS), '--images',
                    os.path.join(folder, PICTURES), '--report', os.path.join(folder, 'report.html')]
    with contextlib.redirect_stdout(io.StringIO()):
        report()


WORKS: Dict[str, Callable[[str], object]] = {
    'JSON alone': lambda folder: read_json(os.path.join(folder, TRUTH)),
    'people for a training, checked': lambda folder: load_coco_people(
        os.path.join(folder, TRUTH), COCO, sample_rule='simple_pose'),
    'checks for an evaluation': lambda folder: check_evaluable(AnnotationFile(os.path.join(folder, TRUTH)), COCO),
    'evaluation': lambda folder: ours(os.path.join(folder, TRUTH), os.path.join(folder, RESULTS)),
    'report': write_report,
    'start of the loader': start_loader}


def measured(work: str, folder: str) -> dict:
    """Run a work in a process of its own; return seconds of the processor and peak MB."""
    return json.loads(subprocess.run([sys.executable, '-m', 'benchmarks.growth', '--work', work, folder], check=True,
                                     stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def do_work(work: str, folder: str) -> None:
    before = time.process_time()
    WORKS[work](folder)
    # Not from `resource`, where the peak of the process that started this one counts as well.
    print(json.dumps({'seconds': time.process_time() - before, 'megabytes': peak_megabytes(os.getpid())}))


def further(values: List[float], counts: List[int]) -> str:
    """Return the cost of a further picture between the last two numbers, divided by that between the two before."""
    if len(values) < 3:
        return ''
    steps = [(values[place] - values[place - 1]) / (counts[place] - counts[place - 1]) for place in (-2, -1)]
    return f'{steps[1] / steps[0]:.2f}' if steps[0] > 0 else ''


def draw(path: str, counts: List[int], found: Dict[str, List[dict]]) -> None:
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.4), layout='constrained')
    for name, values in found.items():
        for axis, key in zip(axes, ('seconds', 'megabytes')):
            axis.plot(counts, [each[key] for each in values], marker='o', markersize=4, linewidth=1.4, label=name)
    start = found['JSON alone'][0]['seconds'] / 2
    axes[0].plot([counts[0], counts[-1]], [start, start * counts[-1] / counts[0]], color='0.5', linestyle='--',
                 linewidth=1, label='slope of linear growth')
    axes[0].set(xscale='log', yscale='log')
    axes[1].set(ylim=0)
    axes[1].xaxis.set_major_formatter(lambda value, _: f'{value:,.0f}')
    axes[1].yaxis.set_major_formatter(lambda value, _: f'{value:,.0f}')
    for axis, title in zip(axes, ('Time of the processor, s (logarithmic)', 'Peak memory, MB')):
        axis.set_title(title, fontsize=9.5, loc='left')
        axis.set_xlabel('pictures', fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3, linewidth=0.6)
        axis.spines[['top', 'right']].set_visible(False)
    figure.legend(*axes[0].get_legend_handles_labels(), loc='outside right center', fontsize=8, frameon=False)
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument('--pictures', type=int, nargs='+', default=[1000, 10_000, 100_000])
    parser.add_argument('--plot', metavar='FILE')
    parser.add_argument('--work', choices=WORKS, help='do nothing but this, in the folder')
    parser.add_argument('folder', nargs='?', help='for the made-up files (default: a temporary one)')
    arguments = parser.parse_args()
    use_one_core()
    if arguments.work:
        do_work(arguments.work, arguments.folder)
        return
    found: Dict[str, List[dict]] = {name: [] for name in WORKS}
    for count in arguments.pictures:
        with tempfile.TemporaryDirectory() as temporary:
            folder: Optional[str] = arguments.folder and os.path.join(arguments.folder, str(count))
            if folder is None or not os.path.isdir(folder):
                folder = folder or os.path.join(temporary, str(count))
                os.makedirs(folder)
                make_folder(folder, count)
            for name in WORKS:
                found[name].append(measured(name, folder))
                print(f'{count} pictures, {name}: {found[name][-1]}', file=sys.stderr, flush=True)
    print(f'{machine()}, one core used, time of the processor')
    columns = [f'{count:,} pictures: s, MB' for count in arguments.pictures]
    print_table(('work', *columns, 'a further picture: time', 'memory'), [
        (name, *(f'{each["seconds"]:.2f}, {each["megabytes"]:.0f}' for each in values),
         *(further([each[key] for each in values], arguments.pictures) for key in ('seconds', 'megabytes')))
        for name, values in found.items()])
    if arguments.plot:
        draw(arguments.plot, arguments.pictures, found)


if __name__ == '__main__':
    main()
