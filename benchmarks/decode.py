"""How many people per second do the decoders turn from heatmaps into keypoints, on one core?

    python -m benchmarks.decode

All take turns in every round, so that what else the machine does slows down all of them.
"""
import statistics
import time

import cv2
import numpy as np

from benchmarks.timing import machine, parser_of, print_table, use_one_core
from src.config import load_recipe, resolve
from src.evaluation.predictors import build_decoder

PEOPLE, KEYPOINTS, SHAPE, ROUNDS = 64, 17, (64, 48), 25
# Name, peak of the heatmaps, recipe, settings.
DECODERS = (('MSPN, blur 5', 255, 'mspn_2stg_coco_256x192', {}),
            ('SimplePoseNet, HRNet', 1, 'simplepose_r50_coco_256x192', {}),
            ('DARK, kernel 11', 1, 'simplepose_r50_dark_coco_256x192', {}),
            ('DARK, kernel 17', 1, 'simplepose_r50_dark_coco_256x192', {'TEST.DECODER_KERNEL': 17}),
            ('UDP, kernel 11', 1, 'simplepose_r50_udp_coco_256x192', {}))


def made_up_heatmaps(peak: float) -> np.ndarray:
    """One blob per keypoint plus noise, (P, K, h, w)."""
    rng = np.random.default_rng(1)
    center = rng.random((PEOPLE, KEYPOINTS, 2)) * SHAPE
    rows, columns = (np.arange(length)[None, None] - center[:, :, axis, None] for axis, length in enumerate(SHAPE))
    blobs = np.exp(-(rows[:, :, :, None] ** 2 + columns[:, :, None] ** 2) / 8)
    return (peak * (blobs + 0.02 * rng.standard_normal(blobs.shape))).astype(np.float32)


def main() -> None:
    parser_of(__doc__).parse_args()
    use_one_core()
    cv2.setNumThreads(1)
    center, scale = np.full((PEOPLE, 2), 200.0, np.float32), np.tile(np.float32([0.9, 1.2]), (PEOPLE, 1))
    decoders = {name: (made_up_heatmaps(peak), build_decoder(resolve(load_recipe(recipe), settings)))
                for name, peak, recipe, settings in DECODERS}
    seconds = {name: [] for name in decoders}
    for number in range(ROUNDS + 1):
        for name, (maps, decode) in decoders.items():
            start = time.perf_counter()
            decode(maps, center, scale)
            # The first round warms up.
            if number:
                seconds[name].append(time.perf_counter() - start)
    rows = [(name, f'{PEOPLE / statistics.median(each):.0f}') for name, each in seconds.items()]
    print(machine() + ', one core used, 17 maps of 64x48')
    print_table(('decoder', 'people/s'), rows)


if __name__ == '__main__':
    main()
