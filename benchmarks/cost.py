"""What a network costs for each image: parameters, multiply-adds, memory traffic, and what accelerators could reach.

    python -m benchmarks.cost [--recipe NAME ...]

Counted, not timed: the network runs once, operator by operator, on one empty image. The last columns are upper bounds
from the vendors' peak figures, for inference in 16 bits: no implementation is faster, and real ones are several times
slower. They show which of both, arithmetic or memory, limits a network.
"""
import argparse
from typing import List, NamedTuple

import mindspore as ms
import numpy as np
from easydict import EasyDict
from mindspore import Tensor, nn

from benchmarks.timing import parser_of, print_table
from src.config import input_shape, load_recipe
from src.models.common.blocks import BatchNorm
from src.models.registry import build_configured_network, num_hypotheses
from src.system.device import set_up_device

RECIPES = ('simplepose_mobilenetv2_small_people18k_192x160', 'simplepose_mobilenetv2_coco_256x192',
           'simplepose_r50_coco_256x192', 'simplepose_r152_coco_384x288', 'mspn_1stg_coco_256x192',
           'mspn_2stg_coco_256x192', 'mspn_4stg_coco_384x288', 'hrnet_w32_coco_256x192', 'hrnet_w48_coco_384x288',
           'mipnet_hrnet_w48_ochuman_384x288')
# Bytes of a number in 16 bits.
BYTES = 2
# name -> (peak operations a second with 16-bit numbers, bytes a second of its memory), by the vendors' data sheets.
ACCELERATORS = {'Ascend 910': (256e12, 1.2e12), 'H200': (989e12, 4.8e12)}


class Cost(NamedTuple):
    """For one image.

    Attributes:
        parameters: numbers that training changes.
        multiply_adds: of convolutions and dense layers.
        values: numbers that the operators write; BatchNorm and ReLU behind a convolution are parts of it.
    """

    parameters: int
    multiply_adds: int
    values: int

    def bound(self, peak: float, bandwidth: float) -> float:
        """Return the most images a second: every multiply-add is two operations, every value is written and read."""
        return 1 / max(2 * self.multiply_adds / peak, 2 * BYTES * self.values / bandwidth)

    @property
    def operations_per_byte(self) -> float:
        return 2 * self.multiply_adds / (2 * BYTES * self.values)


def cost_of(config: EasyDict) -> Cost:
    """Count what the network of a configuration does for one image (and one hypothesis, of several)."""
    network = build_configured_network(config).set_train(False)
    parameters = sum(parameter.size for parameter in network.trainable_params())
    counted = {'multiply_adds': 0, 'values': 0}

    def count(cell: nn.Cell, inputs, output) -> None:
        values = output.size
        if isinstance(cell, (nn.Conv2d, nn.Dense)):
            # The weights of one output channel are applied for every value of it.
            counted['multiply_adds'] += values * cell.weight.size // cell.weight.shape[0]
        elif isinstance(cell, nn.Conv2dTranspose):
            # Every input value is multiplied with the weights of its channel.
            counted['multiply_adds'] += inputs[0].size * cell.weight.size // cell.weight.shape[0]
        if not isinstance(cell, (BatchNorm, nn.ReLU, nn.ReLU6)):
            counted['values'] += values

    for _, cell in network.cells_and_names():
        if not list(cell.cells()):
            cell.register_forward_hook(count)
    images = [Tensor(np.zeros((1, 3, *input_shape(config)), np.float32))]
    if num_hypotheses(config) > 1:
        images.append(Tensor(np.zeros((1, num_hypotheses(config)), np.float32)))
    network(*images)
    return Cost(parameters, **counted)


def table(recipes: List[str]) -> List[tuple]:
    rows = []
    for recipe in recipes:
        cost = cost_of(load_recipe(recipe))
        rows.append((recipe, f'{cost.parameters / 1e6:.1f}', f'{cost.multiply_adds / 1e9:.2f}',
                     f'{BYTES * cost.values / 1e6:.0f}', f'{cost.operations_per_byte:.0f}',
                     *(f'{cost.bound(*figures):.0f}' for figures in ACCELERATORS.values())))
    return rows


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument('--recipe', nargs='+', default=list(RECIPES), metavar='NAME')
    arguments: argparse.Namespace = parser.parse_args()
    set_up_device('CPU')
    ms.set_context(mode=ms.PYNATIVE_MODE)
    print_table(('recipe', 'million parameters', 'GMAC', 'MB written', 'operations per byte',
                 *(f'images/s at most, {name}' for name in ACCELERATORS)), table(arguments.recipe))
    for name, (peak, bandwidth) in ACCELERATORS.items():
        print(f'{name}: {peak / 1e12:.0f} TFLOPS, {bandwidth / 1e12:.1f} TB/s; arithmetic limits it above '
              f'{peak / bandwidth:.0f} operations per byte')


if __name__ == '__main__':
    main()
