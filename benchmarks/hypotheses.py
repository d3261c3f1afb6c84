"""What does MIPNet's second hypothesis cost, if both share the layers in front of the first modulation block?

    python -m benchmarks.hypotheses [--recipe NAME] [--batch_sizes 1 8] [--rounds 15]

Graph mode on CPU, all cores, random weights, which do not change the speed. Every round runs every way once, so that a
drifting machine speed cancels out of the ratios; their median is printed, and the milliseconds of the best round.
`trunk` and `rest` are the two parts of one hypothesis on their own.
"""
import argparse
import statistics
import time
from typing import Callable, Dict, List

import numpy as np
from mindspore import Tensor, nn

from benchmarks.timing import machine, print_table
from src.config import load_recipe, resolve
from src.models.registry import build_configured_network, network_name
from src.system.device import set_up_device

BASELINE = 'one hypothesis'
TOGETHER = 'both, one trunk'


class Method(nn.Cell):
    """A method of a network as a graph of its own."""

    def __init__(self, network: nn.Cell, name: str):
        super().__init__(auto_prefix=False)
        self.network, self.name = network, name

    def construct(self, *inputs):
        if self.name == 'hypotheses':
            return self.network.hypotheses(*inputs)
        if self.name == 'trunk':
            return self.network.trunk(*inputs)
        return self.network.modulate(*inputs)


def build_ways(network: nn.Cell, images: np.ndarray) -> Dict[str, Callable[[], object]]:
    """Return {name: function that computes it for the images and copies the result to the host}."""
    images, of_code = Tensor(images), [Tensor(np.tile(code, (len(images), 1))) for code in network.codes.asnumpy()]
    together, trunk, rest = (Method(network, name) for name in ('hypotheses', 'trunk', 'modulate'))
    features = trunk(images)
    return {BASELINE: lambda: network(images, of_code[0]).asnumpy(),
            TOGETHER: lambda: together(images).asnumpy(),
            'both, one after the other': lambda: [network(images, code).asnumpy() for code in of_code],
            'trunk': lambda: [each.asnumpy() for each in trunk(images)],
            'rest': lambda: rest(features, of_code[0]).asnumpy()}


def time_ways(ways: Dict[str, Callable[[], object]], rounds: int) -> Dict[str, List[float]]:
    """Return the seconds of each way in every round, after one warm-up run."""
    for work in ways.values():
        work()
    seconds = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--recipe', default='', help='of a MIPNet; without it HRNet-W32, 256x192')
    parser.add_argument('--batch_sizes', type=int, nargs='+', default=[1, 8])
    parser.add_argument('--rounds', type=int, default=15)
    options = parser.parse_args()
    set_up_device('CPU')
    config = load_recipe(options.recipe) if options.recipe else resolve(load_recipe('base'), {'MODEL.NAME': 'mipnet'})
    network = build_configured_network(config).set_train(False)
    rows = []
    for batch_size in options.batch_sizes:
        width, height = config.MODEL.IMAGE_SIZE
        images = np.random.default_rng(1).standard_normal((batch_size, 3, height, width)).astype(np.float32)
        seconds = time_ways(build_ways(network, images), options.rounds)
        for name, times in seconds.items():
            ratios = [one / base for one, base in zip(times, seconds[BASELINE])]
            rows.append((batch_size, name, f'{min(times) * 1e3:.0f}', f'{min(times) / min(seconds[BASELINE]):.2f}',
                         f'{statistics.median(ratios):.2f}'))
    print(f'{machine()}, {network_name(config)} {height}x{width}')
    print_table(('batch', 'what', 'ms, best round', 'ratio of best rounds', 'median ratio'), rows)


if __name__ == '__main__':
    main()
