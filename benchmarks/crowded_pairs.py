"""Do two hypotheses per box help where people overlap, and what do they cost where nobody overlaps?

    python -m benchmarks.crowded_pairs FOLDER [--seeds 1 2 3]

For every seed of the initial weights, order and augmentation, a small SimplePoseNet and a small MIPNet of the same
trunk learn from the same synthetic pictures, most of them of two people one in front of the other. Both are scored in
ground-truth boxes, on held-out pairs that overlap heavily, on some that overlap less, and on single people. FOLDER/data
is painted once and used again; FOLDER/seed_N/RECIPE gets the checkpoint, the logs and the results, FOLDER/seed_N a
page for each of heavy, moderate and singles that says which kinds of errors changed (docs/report.md). Everything goes
through train.py, eval.py and python -m src.evaluation.report.
"""
import argparse
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List, Sequence

from benchmarks.timing import machine, print_table
from src.synthetic.writing import write_synthetic_coco

ONE, TWO = 'simplepose_small_pairs_160x128', 'mipnet_small_pairs_160x128'
# With only 200 held-out heavy pairs, their choice matters more than the seed: the difference was 7.5 to 11.5 points.
NUM_TRAIN, NUM_VAL, PAIR_SHARE = 6400, 800, 0.8
# The overlaps, the number of pictures and the recipes' augmentation were chosen while looking at scores of seed 1, on
# the first 200 of these held-out pictures as well as on others.
DATA_SEED = 2
# What is scored -> split of the synthetic data set: pairs that overlap heavily or less, and single people.
SPLITS = {'heavy': 'val2017', 'moderate': 'moderate2017', 'singles': 'singles2017'}


def run(log: Path, *words: str) -> str:
    """Run a script of the repository root; write its output to the log and return it."""
    with open(log, 'w', encoding='utf-8') as file:
        status = subprocess.run([sys.executable, *words], stdout=file, check=False).returncode
    if status:
        sys.exit(f'{" ".join(words)} ended with status {status}; its output is in {log}')
    return log.read_text(encoding='utf-8')


def train(data: Path, folder: Path, recipe: str, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    run(folder / 'train.log', 'train.py', '--recipe', recipe, '--data_url', str(data),
        '--ckpt_save_path', str(folder / 'pose.ckpt'), '--set', f'GENERAL.SEED={seed}')
    print(f'seed {seed}, {recipe}: trained in {time.perf_counter() - start:.0f} s', flush=True)


def annotations(data: Path, name: str) -> str:
    return str(data / f'annotations/person_keypoints_{SPLITS[name]}.json')


def score(data: Path, folder: Path, name: str) -> float:
    """Return the AP of a trained network on a split, in ground-truth boxes."""
    report = run(folder / f'eval_{name}.log', 'eval.py', '--ckpt_path', str(folder / 'pose.ckpt'),
                 '--data_url', str(data), '--gt_file_url', annotations(data, name), '--use_gt_bbox',
                 '--save_path', str(folder / f'results_{name}.json'), '--set', f'DATASET.TEST_SET={SPLITS[name]}')
    last = report.rstrip().splitlines()[-1]
    print(f'{folder}, {name}: {last}', flush=True)
    return float(re.match(r'AP (-?\d\.\d{4})', last).group(1))


def write_page(data: Path, folder: Path, name: str) -> None:
    """Write the comparison of both networks on a split as a page."""
    results = [str(folder / recipe / f'results_{name}.json') for recipe in (ONE, TWO)]
    run(folder / f'compare_{name}.log', '-m', 'src.evaluation.report', '--gt', annotations(data, name), '--compare',
        *results, '--images', str(data), '--report', str(folder / f'{name}.html'))
    print(f'comparison: {folder / name}.html', flush=True)


def compare(data: Path, folder: Path, seed: int) -> Dict[str, List[float]]:
    """Train and score both networks, and write their comparisons; return {what is scored: AP with one and with two
    hypotheses}."""
    for recipe in (ONE, TWO):
        train(data, folder / recipe, recipe, seed)
    scores = {name: [score(data, folder / recipe, name) for recipe in (ONE, TWO)] for name in SPLITS}
    for name in SPLITS:
        write_page(data, folder, name)
    return scores


def table_row(label: str, results: Sequence[Dict[str, List[float]]]) -> List[str]:
    """Return the means over runs as one row: for each of SPLITS the AP of both networks and the difference."""
    row = [label]
    for name in SPLITS:
        one, two = (sum(each[name][column] for each in results) / len(results) for column in (0, 1))
        row += [f'{one:.4f}', f'{two:.4f}', f'{two - one:+.4f}']
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=Path, help='for data, checkpoints and results')
    parser.add_argument('--seeds', type=int, nargs='+', default=[1], metavar='N', help='GENERAL.SEED of each run')
    arguments = parser.parse_args()
    data = arguments.folder / 'data'
    write_synthetic_coco(str(data), num_train=NUM_TRAIN, num_val=NUM_VAL, seed=DATA_SEED, pair_share=PAIR_SHARE)
    results = {seed: compare(data, arguments.folder / f'seed_{seed}', seed) for seed in arguments.seeds}
    rows = [table_row(str(seed), [result]) for seed, result in results.items()]
    if len(results) > 1:
        rows.append(table_row('mean', list(results.values())))
    print(machine())
    print_table(('seed', *(f'AP {name}, {what}' for name in SPLITS
                           for what in ('SimplePoseNet', 'MIPNet', 'difference'))), rows)


if __name__ == '__main__':
    main()
