"""How long do CrowdPose's nine numbers take?

    python -m benchmarks.crowdpose_evaluator [crowdpose_val.json crowdpose_val_predictions.json]

Without arguments it takes the annotation file of CrowdPose val and 10,450 made-up predictions from the folder beside
the checkout. The time of a rule includes reading and checking the annotation file, not reading the predictions.
"""
import json
import os
import sys
import time

from benchmarks.loader import COCO_MINI
from benchmarks.timing import machine, parser_of, print_table
from src.data.oks_truth import CROWDPOSE_RULES, load_crowdpose_truth
from src.data.skeletons import CROWDPOSE
from src.metrics.crowdpose import evaluate_crowdpose

DATA = os.path.dirname(COCO_MINI)
FILES = (os.path.join(DATA, 'crowdpose', 'crowdpose_val.json'),
         os.path.join(os.path.dirname(DATA), 'golden', 'crowdpose_val_predictions.json'))
REPEATS = 5


def best_seconds(work) -> float:
    """Return the shortest of some runs."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument('files', nargs='*', metavar='JSON', help='annotation file and predictions')
    files = parser.parse_args().files or FILES
    if len(files) != 2:
        parser.error('name both files, or none')
    gt_file, results_file = files
    for path in (gt_file, results_file):
        if not os.path.isfile(path):
            sys.exit(f'{path} is not there; name both files')
    with open(results_file, encoding='utf-8') as file:
        results = json.load(file)
    rows = []
    for rule in CROWDPOSE_RULES:
        whole = best_seconds(lambda: evaluate_crowdpose(gt_file, results, rule=rule))  # noqa: B023  called at once
        reading = best_seconds(lambda: load_crowdpose_truth(gt_file, CROWDPOSE, rule=rule))  # noqa: B023
        rows.append((rule, len(results), f'{whole:.2f}', f'{reading:.2f}'))
    print(machine())
    print_table(('rule', 'predictions', 'nine numbers, seconds', 'of these reading the annotations'), rows)


if __name__ == '__main__':
    main()
