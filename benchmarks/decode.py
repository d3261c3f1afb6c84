"""How many people per second do the decoders turn from heatmaps into keypoints, on one core: in NumPy, and inside an
ONNX file in ONNX Runtime?

    python -m benchmarks.decode

All take turns in every round, and what counts is the time that the processor spends on them, without that of other
programs. The share is that of the decoder in NumPy beside the network that is bundled with the package, in ONNX Runtime
with flip test: the smallest network there is, so that of an evaluation with any other the share is smaller.
"""
import src.system.with_mindspore  # noqa: F401, I001  first
import os
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
from src.inference.bundled import FOLDER, NAME
from src.models.registry import model_of

PEOPLE, KEYPOINTS, SHAPE, ROUNDS = 64, 17, (64, 48), 15
# Name, peak of the heatmaps, recipe, settings.
DECODERS = (('MSPN, blur 5', 255, 'mspn_2stg_coco_256x192', {}),
            ('MSPN, blur 9', 255, 'mspn_2stg_coco_256x192', {'TEST.BLUR_KERNEL': 9}),
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


def session_of(model) -> onnxruntime.InferenceSession:
    """Return a session with one thread, of a path or of the content of a file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options)


def decoders_of(config, maps: np.ndarray) -> Tuple[Callable, Callable]:
    """Return two functions without arguments that decode the maps: in NumPy, and in ONNX Runtime."""
    decode, center, scale = (build_decoder(config), np.full((PEOPLE, 2), 200.0, np.float32),
                             np.tile(np.float32([0.9, 1.2]), (PEOPLE, 1)))
    graph = OnnxGraph(17)
    keypoints, scores = follow(model_of(config).codec.graph_decoder(config), Value(graph, 'heatmaps'))
    content = graph.model([('heatmaps', np.float32, maps.shape)], [
        ('keypoints', keypoints, (*maps.shape[:2], 2)), ('scores', scores, maps.shape[:2])], {})
    session = session_of(content)
    return lambda: decode(maps, center, scale), lambda: session.run(None, {'heatmaps': maps})


def network_of(batch_size: int = 8) -> Callable[[], None]:
    """Return a function that runs the bundled network on PEOPLE crops and on the mirrored ones."""
    session = session_of(os.path.join(FOLDER, f'{NAME}.onnx'))
    taken = session.get_inputs()[0]
    images = np.random.default_rng(2).standard_normal((batch_size, *taken.shape[1:])).astype(np.float32)

    def run() -> None:
        for _ in range(2 * PEOPLE // batch_size):
            session.run(None, {taken.name: images})

    return run


def main() -> None:
    parser_of(__doc__).parse_args()
    use_one_core()
    cv2.setNumThreads(1)
    works = {name: decoders_of(resolve(load_recipe(recipe), settings), made_up_heatmaps(peak))
             for name, peak, recipe, settings in DECODERS}
    seconds, network, of_network = {name: ([], []) for name in works}, network_of(), []
    for number in range(ROUNDS + 1):
        if number % 5 == 1:
            start = time.thread_time()
            network()
            of_network.append(time.thread_time() - start)
        for name, pair in works.items():
            for work, taken in zip(pair, seconds[name]):
                start = time.thread_time()
                work()
                # The first round warms up.
                if number:
                    taken.append(time.thread_time() - start)
    print(machine() + f', ONNX Runtime {onnxruntime.__version__}, one core used, 17 maps of 64x48')
    forward, rows = statistics.median(of_network), []
    for name, pair in seconds.items():
        ours, inside = map(statistics.median, pair)
        rows.append((name, f'{PEOPLE / ours:.0f}', f'{100 * ours / (ours + forward):.1f} %', f'{PEOPLE / inside:.0f}'))
    print_table(('decoder', 'NumPy, people/s', 'share of an evaluation', 'ONNX Runtime, people/s'), rows)


if __name__ == '__main__':
    main()
