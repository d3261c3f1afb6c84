"""People per second and milliseconds per frame from files to drawings and JSON, against a loop of one person per call.

    python -m benchmarks.whole_path PICTURES_FOLDER --detector DETECTOR.onnx [--rounds 3]

The same pictures, detector and network (random weights of the bundled network's recipe, ONNX Runtime, no flip test) go
through `run_inputs`, as in `infer.py`, and a plain loop: read, detect, one call of the network per person, draw,
write. Rounds alternate, so that a drifting machine speed cancels out of the ratio, whose median is printed.
"""
import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from src import PoseEstimator
from src.config import load_recipe, resolve
from src.data.images import read_picture
from src.data.skeletons import COCO
from src.evaluation.load_model import LoadedModel
from src.export.model_file import open_model_file
from src.inference.bundled import RECIPE
from src.inference.command import run_inputs
from src.media.inputs import find_inputs
from src.system.files import write_json
from src.visualization import draw_people, write_picture

from .exported_files import write_files
from .timing import machine, print_table


def run_loop(estimator: PoseEstimator, paths, folder: str) -> int:
    """Return the number of people."""
    records, count = [], 0
    for path in paths:
        picture = read_picture(path)
        boxes, scores = estimator.detector(picture)
        found = [estimator(picture, box[None]).keypoints[0] for box in boxes]
        count += len(found)
        keypoints = np.array(found).reshape(-1, COCO.num_keypoints, 3)
        write_picture(os.path.join(folder, os.path.basename(path)),
                      draw_people(picture, keypoints, COCO, boxes_xywh=boxes, legend=True))
        records += [{'file_name': os.path.basename(path), 'keypoints': each.ravel().tolist()} for each in keypoints]
    write_json(os.path.join(folder, 'results.json'), records)
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('pictures')
    parser.add_argument('--detector', required=True)
    parser.add_argument('--rounds', type=int, default=3)
    arguments = parser.parse_args()
    print(machine() + '\n')
    place = Path(tempfile.mkdtemp())
    config = resolve(load_recipe(RECIPE), {'TEST.FLIP_TEST': 'false'})
    height, width = config.MODEL.IMAGE_SIZE[::-1]
    write_files(place, config, None, 'random weights', np.zeros((4, height, width, 3), np.uint8))
    path = str(place / 'pose.onnx')
    paths = [each.path for each in find_inputs([arguments.pictures])]
    estimator = PoseEstimator(path, detector=arguments.detector, settings={'TEST.FLIP_TEST': 'false'})
    options = SimpleNamespace(
        inputs=[arguments.pictures], data_url=None, det_file_url=None, img_save_dir=str(place / 'ours'), box=None,
        detector=arguments.detector, detector_thresh=None, detect_every=1, jsonl=False, csv=False, show=False,
        labels='number', no_boxes=False, line_width=None, black=False, person_colors=False, track=False, smooth='off',
        runtime=None, threads=0,
        score_thresh=-1.0, keypoint_thresh=-1.0)
    source = LoadedModel(path, config, model=open_model_file(path))
    seconds, count = {'loop': [], 'infer.py': []}, 0
    for _ in range(arguments.rounds):
        shutil.rmtree(place / 'loop', ignore_errors=True)
        (place / 'loop').mkdir()
        start = time.perf_counter()
        count = run_loop(estimator, paths, str(place / 'loop'))
        seconds['loop'].append(time.perf_counter() - start)
        start = time.perf_counter()
        run_inputs(options, config, source, COCO)
        seconds['infer.py'].append(time.perf_counter() - start)
    ratio = statistics.median(loop / ours for loop, ours in zip(seconds['loop'], seconds['infer.py']))
    print(f'\n{len(paths)} pictures, {count} people; infer.py is {ratio:.2f} times as fast (median of '
          f'{arguments.rounds} rounds)\n')
    print_table(('way', 'people/s', 'ms per frame'), [
        (name, f'{count / min(each):.1f}', f'{1000 * min(each) / len(paths):.0f}') for name, each in seconds.items()])
    shutil.rmtree(place)


if __name__ == '__main__':
    main()
