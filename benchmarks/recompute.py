"""How much memory and time does a training step need with and without TRAIN.RECOMPUTE?

    python -m benchmarks.recompute [RECIPE] [BATCH_SIZE]

Takes two steps on random pictures in float32 on a CPU, in a process for each setting, and reads the peak resident
memory of the process from the kernel. Loss and weights should be the same.
"""
import src.system.with_mindspore  # noqa: F401, I001  first
import argparse
import multiprocessing
import resource
import time

import numpy as np

from src.checkpoints.names import named_parameters
from src.config import load_recipe, resolve
from src.models.registry import build_configured_network
from src.system.device import join_processes
from src.training.setup import build_train_step


def measure(recipe: str, batch_size: int, recompute: bool) -> None:
    processes = join_processes('CPU', 0)
    config = resolve(load_recipe(recipe), {'TRAIN.AMP_LEVEL': 'O0', 'TRAIN.RECOMPUTE': str(recompute)})
    network = build_configured_network(config)
    step = build_train_step(config, network, np.full(10, 1e-3), processes)
    step.set_train()
    width, height = config.MODEL.IMAGE_SIZE
    rng, keypoints = np.random.default_rng(0), config.MODEL.NUM_JOINTS
    pixels = rng.integers(0, 255, (batch_size, height, width, 3), np.uint8)
    joints = rng.uniform(0, width, (batch_size, keypoints, 2)).astype(np.float32)
    validity = np.full((batch_size, keypoints), 2, np.float32)
    for _ in range(2):
        start = time.perf_counter()
        loss = step(pixels, joints, validity).loss
        seconds = time.perf_counter() - start
    weights = sum(float(np.abs(each.asnumpy().astype(np.float64)).sum())
                  for each in named_parameters(network).values())
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f'TRAIN.RECOMPUTE={recompute}: {most:.0f} MB at most, second step {seconds:.1f} s, loss {loss:.6f}, sum of '
          f'all weights {weights:.6f}', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('recipe', nargs='?', default='mspn_4stg_coco_384x288')
    parser.add_argument('batch_size', nargs='?', type=int, default=2)
    arguments = parser.parse_args()
    for recompute in (False, True):
        process = multiprocessing.get_context('spawn').Process(target=measure, args=(
            arguments.recipe, arguments.batch_size, recompute))
        process.start()
        process.join()


if __name__ == '__main__':
    main()
