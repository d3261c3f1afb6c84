"""What share of a training step is spent on making label maps inside the graph?

    python -m benchmarks.targets

The maps are timed as a separate graph, which takes longer than making them inside the step.
"""
import numpy as np
from mindspore import Tensor, nn

from benchmarks.timing import machine, median_seconds, parser_of, print_table
from src.config import load_recipe
from src.models.common.normalise import build_normaliser
from src.models.registry import build_configured_network, model_of
from src.system.device import set_up_device
from src.training.optimizers import TorchAdam
from src.training.step import LossGraph, TrainStep

RECIPES = ('mspn_2stg_coco_256x192', 'simplepose_r50_coco_256x192')
BATCH_SIZE = 8


class TargetsAlone(nn.Cell):
    """Label maps alone, summed so that only one number leaves the device."""

    def __init__(self, targets: nn.Cell):
        super().__init__(auto_prefix=False)
        self.targets = targets

    def construct(self, joints, validity):
        labels, _ = self.targets(joints, validity)
        if isinstance(labels, tuple):
            return sum([label.sum() for label in labels])
        return labels.sum()


def main() -> None:
    parser_of(__doc__).parse_args()
    set_up_device('CPU')
    rng = np.random.default_rng(1)
    rows = []
    for recipe in RECIPES:
        config = load_recipe(recipe)
        network = build_configured_network(config)
        model = model_of(config)
        graph = LossGraph(build_normaliser(config), network, model.targets(config), model.loss(config))
        step = TrainStep(graph, TorchAdam(network.trainable_params(), np.full(100, 1e-5)))
        step.set_train()
        pixels = rng.integers(0, 256, (BATCH_SIZE, 256, 192, 3), np.uint8)
        joints = (rng.random((BATCH_SIZE, 17, 2)) * [192, 256]).astype(np.float32)
        validity = np.ones((BATCH_SIZE, 17), np.float32)
        alone = TargetsAlone(model_of(config).targets(config))
        step_seconds = median_seconds(lambda: step(pixels, joints, validity), 5)  # noqa: B023  used at once
        alone_seconds = median_seconds(lambda: alone(Tensor(joints), Tensor(validity)).asnumpy(), 20)  # noqa: B023
        rows.append((recipe, BATCH_SIZE, f'{step_seconds * 1000:.0f}', f'{BATCH_SIZE / step_seconds:.2f}',
                     f'{alone_seconds * 1000:.2f}', f'{100 * alone_seconds / step_seconds:.2f} %'))
    print(machine())
    print_table(('recipe', 'batch', 'training step, ms', 'people/s', 'label maps, ms', 'share'), rows)


if __name__ == '__main__':
    main()
