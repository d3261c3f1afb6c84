"""How many people per second do the decoders turn from heatmaps into keypoints, on one core?

    python -m benchmarks.decode
"""
import cv2
import numpy as np

from benchmarks.timing import machine, median_seconds, parser_of, print_table, use_one_core
from src.config import load_recipe
from src.evaluation.predictors import build_decoder

PEOPLE, KEYPOINTS, SHAPE = 64, 17, (64, 48)


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
    rows = []
    for name, peak, recipe in (('MSPN, blur 5', 255, 'mspn_2stg_coco_256x192'),
                               ('SimplePoseNet', 1, 'simplepose_r50_coco_256x192')):
        maps, decode = made_up_heatmaps(peak), build_decoder(load_recipe(recipe))
        seconds = median_seconds(lambda: decode(maps, center, scale), 15)  # noqa: B023  used at once
        rows.append((name, f'{PEOPLE / seconds:.0f}'))
    print(machine() + ', one core used, 17 maps of 64x48')
    print_table(('decoder', 'people/s'), rows)


if __name__ == '__main__':
    main()
