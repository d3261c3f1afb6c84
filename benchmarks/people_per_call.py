"""People per second from JPEG to JSON with 1, 10 and 100 people on a picture, against a loop of one person per call.

    python -m benchmarks.people_per_call [MODEL_FILE] [--people 1 10 100] [--rounds 9]

The loop does what simple programs do: read the picture; for each person cut the crop, run ONNX Runtime with its
defaults, decode; write the JSON. It also runs in OpenVINO. The others are `PoseEstimator` with the same ONNX file
(default: the bundled network) and batches, in ONNX Runtime and in OpenVINO in float32 and by `precision='auto'`; and
OpenVINO's mode for throughput, which computes several requests of one or two people at the same time. No flip test.
All take turns in changing order; the ratios are the medians over the rounds, of the wall clock and of the processor
time of all threads, which other programs disturb less.
"""
import json
import os
import statistics
import tempfile
import time
from functools import partial
from typing import Callable

import cv2
import numpy as np

from benchmarks.timing import machine, parser_of, print_table
from src import PoseEstimator
from src.data.images import read_picture
from src.data.samples import cut_crop
from src.evaluation.predictors import build_decoder
from src.export.model_file import open_model_file
from src.inference.bundled import FOLDER, NAME
from src.models.registry import model_of
from src.system.device import instruction_sets_unlimited
from src.visualization import write_picture

SHAPE = (720, 1280)


def some_boxes(count: int) -> np.ndarray:
    """Return boxes (P, 4) of made-up people."""
    rng = np.random.default_rng(1)
    height = rng.uniform(100, 400, count)
    left, top = rng.uniform(0, SHAPE[1] - 200, count), rng.uniform(0, SHAPE[0] - height)
    return np.stack([left, top, height * 0.45, height], 1)


def write_poses(path: str, keypoints: np.ndarray, scores: np.ndarray) -> None:
    records = [{'keypoints': np.column_stack([each, its]).ravel().tolist()} for each, its in zip(keypoints, scores)]
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(records, file)


def batches(picture: str, boxes: np.ndarray, out: str, estimator: PoseEstimator) -> None:
    poses = estimator(read_picture(picture), boxes)
    write_poses(out, poses.keypoints[..., :2], poses.keypoints[..., 2])


class Loop:
    """One call of `run`, crops -> outputs, for each `at_once` people."""

    def __init__(self, run: Callable, config, at_once: int = 1):
        self.run, self.at_once, self.decode, self.crops = run, at_once, build_decoder(config), model_of(config).crops(
            config)
        self.size = config.MODEL.IMAGE_SIZE

    def cut(self, picture: np.ndarray, boxes: np.ndarray) -> tuple:
        width, height = self.size
        pixels = np.empty((len(boxes), height, width, 3), np.uint8)
        crops = [self.crops.test_crop(box, width / height) for box in boxes]
        for place, crop in enumerate(crops):
            cut_crop(picture, crop, pixels[place])
        return pixels, np.float32([crop.center for crop in crops]), np.float32([crop.scale for crop in crops])

    def __call__(self, picture: str, boxes: np.ndarray, out: str) -> None:
        picture, found = read_picture(picture), []
        for start in range(0, len(boxes), self.at_once):
            pixels, centers, scales = self.cut(picture, boxes[start:start + self.at_once])
            found.append(self.decode(*self.run(pixels), centers, scales))
        write_poses(out, *map(np.concatenate, zip(*found)))


class Requests(Loop):
    """OpenVINO's mode for throughput: as many requests at the same time as it thinks best."""

    def __init__(self, path: str, precision: str, model, at_once: int):
        super().__init__(None, model.config, at_once)
        import openvino
        with instruction_sets_unlimited():
            compiled = openvino.Core().compile_model(path, 'CPU', {
                'PERFORMANCE_HINT': 'THROUGHPUT', 'INFERENCE_PRECISION_HINT': precision})
            self.queue = openvino.AsyncInferQueue(compiled)
        self.prepare = model.as_input

    def __call__(self, picture: str, boxes: np.ndarray, out: str) -> None:
        picture, found = read_picture(picture), {}

        def keep(request, start_and_crops) -> None:
            start, centers, scales = start_and_crops
            found[start] = self.decode(np.array(request.get_output_tensor(0).data), centers, scales)

        self.queue.set_callback(keep)
        for start in range(0, len(boxes), self.at_once):
            pixels, centers, scales = self.cut(picture, boxes[start:start + self.at_once])
            self.queue.start_async([self.prepare(pixels)], (start, centers, scales))
        self.queue.wait_all()
        write_poses(out, *map(np.concatenate, zip(*(found[start] for start in sorted(found)))))


def ways_of(path: str) -> dict:
    """Return {name: function (picture, boxes, JSON file)}; the first is the loop that the others are compared with."""
    settings = {'TEST.FLIP_TEST': False}
    models = {runtime: open_model_file(path, runtime, precision='auto') for runtime in ('onnxruntime', 'openvino')}
    chosen = models['openvino'].precision
    ways = {'loop, ONNX Runtime': Loop(models['onnxruntime'].run, models['onnxruntime'].config),
            f'loop, OpenVINO {chosen}': Loop(models['openvino'].run, models['openvino'].config)}
    for name, options in (('PoseEstimator, defaults', {}), ('batches of 8', {'settings': {'TEST.BATCH_SIZE': 8}}),
                          ('OpenVINO f32', {'runtime': 'openvino', 'precision': 'f32'}),
                          (f'OpenVINO {chosen}', {'runtime': 'openvino'}),
                          (f'OpenVINO {chosen}, batches of 8', {
                              'runtime': 'openvino', 'settings': {'TEST.BATCH_SIZE': 8}})):
        options = {**options, 'settings': {**settings, **options.get('settings', {})}}
        ways[name] = partial(batches, estimator=PoseEstimator(path, **options))
    for at_once in (1, 2):
        ways[f'OpenVINO {chosen}, throughput mode, {at_once} a request'] = Requests(
            path, chosen, models['openvino'], at_once)
    return ways


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument('model_file', nargs='?', default=os.path.join(FOLDER, f'{NAME}.onnx'))
    parser.add_argument('--people', nargs='+', type=int, default=[1, 10, 100])
    parser.add_argument('--rounds', type=int, default=9)
    arguments = parser.parse_args()
    print(machine(), flush=True)
    ways, rows = ways_of(arguments.model_file), []
    with tempfile.TemporaryDirectory() as folder:
        picture, out = os.path.join(folder, 'picture.jpg'), os.path.join(folder, 'results.json')
        noise = np.random.default_rng(0).integers(0, 256, (45, 80, 3)).astype(np.uint8)
        write_picture(picture, cv2.resize(noise, SHAPE[::-1], interpolation=cv2.INTER_CUBIC))
        for count in arguments.people:
            boxes, times = some_boxes(count), {way: [] for way in ways}
            for number in range(arguments.rounds + 1):
                # In another order each time, since a way changes the caches for the next one.
                for way in np.random.default_rng(number).permutation(list(ways)).tolist():
                    # The threads of the way before wait for more work, and compute on doing nothing for a while.
                    time.sleep(0.1)
                    wall, processor = time.perf_counter(), time.process_time()
                    ways[way](picture, boxes, out)
                    # The first round warms up.
                    if number:
                        times[way].append((time.perf_counter() - wall, time.process_time() - processor))
            loop = times[next(iter(ways))]
            for way, taken in times.items():
                ratios = [statistics.median(one[kind] / ours[kind] for one, ours in zip(loop, taken))
                          for kind in (0, 1)]
                rows.append((count, way, *(f'{ratio:.2f}' for ratio in ratios),
                             f'{count / statistics.median(each[0] for each in taken):.1f}'))
    print_table(('people', 'way', 'times the loop, wall', 'processor', 'people/s'), rows)


if __name__ == '__main__':
    main()
