"""Does folding BatchNorm into the layers before it make a checkpoint in MindSpore faster, and what changes?

    python -m benchmarks.folded [--recipes NAME …] [--batch_sizes 1 8] [--rounds 15]

Both networks have the same random weights, with BatchNorm statistics that are not 0 and 1. They alternate, in changing
order, and the median ratio of their times counts: of the wall clock, and of the processor time of all threads, which
other programs disturb less. No flip test, all cores.
"""
import src.system.with_mindspore  # noqa: F401, I001  first
import statistics
import time

import numpy as np
from mindspore import Tensor

from benchmarks.timing import machine, parser_of, print_table
from src.config import load_recipe, resolve
from src.data.skeletons import COCO
from src.evaluation.predictors import network_predictor
from src.export.folding import fold_batch_norms
from src.models.registry import build_configured_network
from src.system.device import set_up_device

RECIPES = ('simplepose_mobilenetv2_small_people18k_192x160', 'simplepose_r50_coco_256x192')


def with_statistics(network):
    """Give every BatchNorm other statistics than the initial ones."""
    rng = np.random.default_rng(1)
    for name, parameter in network.parameters_and_names():
        if name.endswith(('moving_mean', 'beta')):
            parameter.set_data(Tensor(rng.normal(0, 0.1, parameter.shape).astype(np.float32)))
        elif name.endswith(('moving_variance', 'gamma')):
            parameter.set_data(Tensor(rng.uniform(0.5, 1.5, parameter.shape).astype(np.float32)))
    return network


def times_of(run, crops: np.ndarray) -> tuple:
    """Return seconds on the wall clock and of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    run(crops)
    return time.perf_counter() - wall, time.process_time() - processor


def measure(recipe: str, batch_sizes: list, rounds: int):
    """Yield a row of the table for each batch size."""
    config = resolve(load_recipe(recipe), {'TEST.FLIP_TEST': False})
    plain, folded = (with_statistics(build_configured_network(config)) for _ in range(2))
    start = time.process_time()
    count = fold_batch_norms(folded)
    took = time.process_time() - start
    runs = [network_predictor(config, network, COCO.flip_index).run for network in (plain, folded)]
    width, height = config.MODEL.IMAGE_SIZE
    for batch_size in batch_sizes:
        crops = np.random.default_rng(2).integers(0, 256, (batch_size, height, width, 3)).astype(np.uint8)
        first = [times_of(run, crops)[1] for run in runs]
        before, after = (run(crops)[0] for run in runs)
        times = []
        for number in range(rounds):
            pair = [times_of(run, crops) for run in runs[::1 if number % 2 else -1]]
            times.append(pair if number % 2 else pair[::-1])
        ratios = [statistics.median(each[0][kind] / each[1][kind] for each in times) for kind in (0, 1)]
        yield (recipe, batch_size, *(f'{ratio:.2f}' for ratio in ratios),
               f'{np.abs(after - before).max() / np.abs(before).max():.1e}', count, f'{took:.2f}',
               ' / '.join(f'{each:.1f}' for each in first))


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument('--recipes', nargs='+', default=RECIPES)
    parser.add_argument('--batch_sizes', nargs='+', type=int, default=[1, 8])
    parser.add_argument('--rounds', type=int, default=15)
    arguments = parser.parse_args()
    set_up_device('CPU')
    print(machine(), flush=True)
    rows = [row for recipe in arguments.recipes for row in measure(recipe, arguments.batch_sizes, arguments.rounds)]
    print_table(('recipe', 'batch', 'unfolded / folded, wall', 'processor', 'largest difference / peak',
                 'layers folded', 'processor s to fold', 'of the first call, unfolded / folded'), rows)


if __name__ == '__main__':
    main()
