"""Compares this package's vectorised COCO evaluator with pycocotools and, if installed, faster-coco-eval: times on the
same files in interleaved rounds on one core, and whether the ten numbers are equal.

    python -m benchmarks.coco_evaluator [--pictures 5000] [--poses 105000] [--rounds 3] [--cases 0]

A time is that of the processor, which other programs on the machine change little, from the files to the numbers:
reading the annotations, checking, matching, accumulating. With --cases N the numbers of N small made-up sets are
compared first, each with crowds, ignored people, equal scores and pictures without people; the largest differences are
printed.
"""
import argparse
import contextlib
import io
import json
import os
import resource
import statistics
import tempfile
import time

import numpy as np

from benchmarks.timing import machine, print_table, use_one_core
from src.data.oks_truth import load_coco_truth
from src.data.skeletons import COCO
from src.metrics.coco import METRIC_NAMES, coco_numbers, run_coco_evaluator
from src.metrics.records import read_records
from src.system.files import read_json


def make_files(folder: str, rng, num_pictures: int, num_poses: int, people_most: int = 5) -> tuple:
    """Write annotations and results, with true and false positive poses; return the two paths."""
    pictures = [{'id': 7 * number + 3, 'file_name': f'{number:012d}.jpg', 'width': 640, 'height': 480}
                for number in range(num_pictures)]
    people, results = [], []
    for picture in pictures:
        own = []
        for _ in range(int(rng.integers(0, people_most + 1))):
            low, size = rng.uniform(0, 300, 2), rng.uniform(10, 250, 2)
            places = low + rng.random((17, 2)) * size
            visible = (rng.random(17) < 0.7) * 2 * (rng.random() < 0.9)
            own.append((places, size))
            people.append({
                'id': len(people) + 1, 'image_id': picture['id'], 'category_id': 1, 'iscrowd': int(rng.random() < 0.05),
                'bbox': [*low, *size], 'area': float(size.prod() * 0.6), 'num_keypoints': int((visible > 0).sum()),
                'keypoints': np.column_stack([places, visible]).ravel().tolist()})
        for _ in range(int(rng.poisson(num_poses / num_pictures))):
            places = rng.uniform(0, 400, (17, 2))
            if own and rng.random() < 0.6:
                truth, size = own[rng.integers(len(own))]
                places = truth + rng.normal(0, rng.choice([0.01, 0.03, 0.1]), (17, 2)) * size.max()
            results.append({'image_id': picture['id'], 'category_id': 1, 'score': round(float(rng.random()), 2),
                            'keypoints': np.column_stack([places, np.ones(17)]).round(2).ravel().tolist()})
    paths = os.path.join(folder, 'truth.json'), os.path.join(folder, 'results.json')
    for path, content in zip(paths, ({'images': pictures, 'annotations': people,
                                      'categories': [{'id': 1, 'name': 'person'}]}, results)):
        with open(path, 'w', encoding='utf-8') as file:
            json.dump(content, file)
    return paths


def ours(truth_file: str, results_file: str) -> list:
    found = read_records(read_json(results_file), 17)
    return list(coco_numbers(load_coco_truth(truth_file, COCO), found, COCO).values())


def by_coco_api(annotations_class, evaluator_class, truth_file: str, results_file: str) -> list:
    with contextlib.redirect_stdout(io.StringIO()):
        annotations = annotations_class(truth_file)
        evaluator = evaluator_class(annotations, annotations.loadRes(results_file), 'keypoints')
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return list(evaluator.stats)[:10]


def evaluators() -> dict:
    """Return {name: function of the two files}."""
    from pycocotools.coco import COCO as COCOAnnotations  # noqa: N811
    from pycocotools.cocoeval import COCOeval
    found = {'this package': ours,
             'pycocotools': lambda *files: by_coco_api(COCOAnnotations, COCOeval, *files)}
    with contextlib.suppress(ImportError):
        from faster_coco_eval import COCO as FasterAnnotations  # noqa: N811
        from faster_coco_eval import COCOeval_faster
        found['faster-coco-eval'] = lambda *files: by_coco_api(FasterAnnotations, COCOeval_faster, *files)
    return found


def compare_small_sets(folder: str, count: int) -> dict:
    """Return {name of an evaluator: largest difference of its numbers from those of pycocotools in many small sets}."""
    others = {name: evaluate for name, evaluate in evaluators().items() if name != 'pycocotools'}
    worst = dict.fromkeys(others, 0.0)
    for seed in range(count):
        truth_file, results_file = make_files(folder, np.random.default_rng(seed), 4, 40)
        with open(results_file, encoding='utf-8') as file:
            results = json.load(file)
        with open(truth_file, encoding='utf-8') as file:
            if not results or not json.load(file)['annotations']:
                continue
        expected = run_coco_evaluator(truth_file, results, COCO).stats
        for name, evaluate in others.items():
            difference = np.abs(np.array(evaluate(truth_file, results_file)) - expected).max()
            worst[name] = max(worst[name], float(difference))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--pictures', type=int, default=5000)
    parser.add_argument('--poses', type=int, default=105000)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--cases', type=int, default=0)
    arguments = parser.parse_args()
    use_one_core()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        if arguments.cases:
            for name, difference in compare_small_sets(folder, arguments.cases).items():
                print(f'largest difference in {arguments.cases} small sets, {name}: {difference:.1e}')
        files = make_files(folder, np.random.default_rng(0), arguments.pictures, arguments.poses)
        seconds, numbers, peaks = {}, {}, {}
        for _ in range(arguments.rounds):
            for name, evaluate in evaluators().items():
                # In its own process, so that its peak memory can be measured.
                reader, writer = os.pipe()
                child = os.fork()
                if not child:
                    start = time.process_time()
                    values = evaluate(*files)
                    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
                    os.write(writer, json.dumps([values, peak, time.process_time() - start]).encode())
                    os._exit(0)
                os.close(writer)
                with open(reader, encoding='utf-8') as pipe:
                    numbers[name], peaks[name], elapsed = json.load(pipe)
                os.waitpid(child, 0)
                seconds.setdefault(name, []).append(elapsed)
    base = statistics.median(seconds['pycocotools'])
    rows = [(name, f'{statistics.median(times):.2f}', f'{statistics.median(times) / base:.2f}', peaks[name],
             f'{np.abs(np.array(numbers[name]) - numbers["pycocotools"]).max():.0e}', f'{numbers[name][0]:.4f}')
            for name, times in seconds.items()]
    print_table(('evaluator', 'processor seconds', 'of pycocotools', 'peak MB',
                 f'largest difference of {len(METRIC_NAMES)} numbers', 'AP'), rows)


if __name__ == '__main__':
    main()
