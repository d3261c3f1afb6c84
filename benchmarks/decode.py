"""How many people per second do the decoders turn from heatmaps into keypoints, on one core: in NumPy, and inside an
ONNX file in ONNX Runtime?

    python -m benchmarks.decode

All take turns in every round, and what counts is the time that the processor spends on them, without that of other
programs.
"""
import src.system.with_mindspore  # noqa: F401, I001  first
import statistics
import time
from typing import Callable, Tuple

import cv2
import numpy as np
import onnxruntime

from benchmarks.timing import machine, parser_of, print_table, use_one_core
from src.config import load_recipe, resolve
from src.evaluation.predictors import build_decoder
from src.export.onnx_cells import follow
from src.export.onnx_graph import OnnxGraph, Value
from src.models.registry import model_of

PEOPLE, KEYPOINTS, SHAPE, ROUNDS = 64, 17, (64, 48), 15
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


def decoders_of(config, maps: np.ndarray) -> Tuple[Callable, Callable]:
    """Return two functions without arguments that decode the maps: in NumPy, and in ONNX Runtime."""
    decode, center, scale = (build_decoder(config), np.full((PEOPLE, 2), 200.0, np.float32),
                             np.tile(np.float32([0.9, 1.2]), (PEOPLE, 1)))
    graph = OnnxGraph(17)
    keypoints, scores = follow(model_of(config).codec.graph_decoder(config), Value(graph, 'heatmaps'))
    content = graph.model([('heatmaps', np.float32, maps.shape)], [
        ('keypoints', keypoints, (*maps.shape[:2], 2)), ('scores', scores, maps.shape[:2])], {})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options)
    return lambda: decode(maps, center, scale), lambda: session.run(None, {'heatmaps': maps})


def main() -> None:
    parser_of(__doc__).parse_args()
    use_one_core()
    cv2.setNumThreads(1)
    works = {name: decoders_of(resolve(load_recipe(recipe), settings), made_up_heatmaps(peak))
             for name, peak, recipe, settings in DECODERS}
    seconds = {name: ([], []) for name in works}
    for number in range(ROUNDS + 1):
        for name, pair in works.items():
            for work, taken in zip(pair, seconds[name]):
                start = time.thread_time()
                work()
                # The first round warms up.
                if number:
                    taken.append(time.thread_time() - start)
    print(machine() + f', ONNX Runtime {onnxruntime.__version__}, one core used, 17 maps of 64x48')
    print_table(('decoder', 'NumPy, people/s', 'ONNX Runtime, people/s'), [
        (name, *(f'{PEOPLE / statistics.median(each):.0f}' for each in pair)) for name, pair in seconds.items()])


if __name__ == '__main__':
    main()
