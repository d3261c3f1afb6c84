"""Has anything become slow? Pairs of ours against a fixed amount of work, in one run, against stored bounds.

    python -m benchmarks.regressions [--rounds 5]

For before a release, by hand: about two minutes on an idle machine, one core. Both sides of a pair alternate, and what
counts is the median ratio of their times, so the speed of the machine hardly matters. The exit status is 1 if a ratio
is above its bound. A bound is about one and a half times the ratio that was measured when it was written down; a folded
network just has to be the faster one.
"""
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Callable, Dict, NamedTuple
from unittest import mock

import cv2
import numpy as np

from benchmarks.annotation_reading import write_file
from benchmarks.coco_evaluator import evaluators, make_files
from benchmarks.timing import machine, parser_of, print_table, use_one_core
from src.config import load_recipe
from src.data.annotation_checks import AnnotationFile
from src.data.coco import load_coco_people
from src.data.loader import BatchPlan, TrainingBatches
from src.data.locate_pictures import locate_pictures
from src.data.samples import PersonSamples
from src.data.skeletons import COCO
from src.inference.bundled import NAME, RECIPE
from src.models.common import refined_decoder
from src.models.common.crops import SimplePoseCrops
from src.models.mspn import decoder
from src.synthetic.writing import write_synthetic_coco
from src.system.files import read_json

ROOT = Path(__file__).resolve().parent.parent


class Pair(NamedTuple):
    """Two things that are timed in turns, and the largest ratio of their times that is accepted."""

    ours: Callable[[], object]
    peer: Callable[[], object]
    bound: float


def evaluation(folder: str) -> Pair:
    files = make_files(folder, np.random.default_rng(0), 500, 10500)
    both = evaluators()
    return Pair(partial(both['this package'], *files), partial(both['pycocotools'], *files), 0.3)


def annotations(folder: str) -> Pair:
    path = os.path.join(folder, 'annotations.json')
    with mock.patch('benchmarks.annotation_reading.PICTURES', 6000), \
            mock.patch('benchmarks.annotation_reading.ANNOTATIONS', 13000):
        write_file(path)
    return Pair(lambda: load_coco_people(AnnotationFile(path), COCO, sample_rule='simple_pose'),
                lambda: read_json(path), 2.6)


def mspn_decoder(_folder: str) -> Pair:
    # Here, because it needs MindSpore and ONNX Runtime.
    from benchmarks.decode import made_up_heatmaps
    maps = made_up_heatmaps(decoder.PEAK)
    whole = maps.reshape(-1, *maps.shape[2:])
    return Pair(lambda: decoder.decode_mspn(maps),
                lambda: decoder._maxima_of_all_cells(whole, 5), 0.4)


def dark_decoder(_folder: str) -> Pair:
    from benchmarks.decode import made_up_heatmaps
    maps = made_up_heatmaps(1.0)
    maps = maps.reshape(-1, *maps.shape[2:])
    return Pair(lambda: refined_decoder.find_refined_cells(maps, rule='dark', kernel=11),
                lambda: refined_decoder._blurred(maps, 11), 0.55)


def loader(folder: str) -> Pair:
    """Samples in this thread, against reading their pictures."""
    write_synthetic_coco(folder, num_train=60, num_val=1, seed=1)
    people = load_coco_people(os.path.join(folder, 'annotations/person_keypoints_train2017.json'), COCO,
                              sample_rule='simple_pose')
    paths = locate_pictures(folder, people.file_names, split_folder='train2017')
    samples = PersonSamples(people, paths, SimplePoseCrops(), COCO, (256, 192))
    batches = TrainingBatches(samples, BatchPlan(len(samples), 32, 1, seed=1))
    pixels = np.empty(batches.largest_shape, np.uint8)
    pictures = [os.fsdecode(paths[index]) for index in people.image_index[:len(batches) * 32]]
    return Pair(lambda: [batches.make(number, pixels) for number in range(len(batches))],
                lambda: [cv2.imread(path) for path in pictures], 3.2)


def run_python(*words: str) -> None:
    subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, check=True)


def start_of_help(_folder: str) -> Pair:
    """What a user waits for before anything is said, against importing what everything needs."""
    return Pair(partial(run_python, 'infer.py', '--help'), partial(run_python, '-c', 'import numpy, cv2, yaml'), 4.1)


def one_picture(folder: str) -> Pair:
    """A checkpoint's first pose, which needs no compilation."""
    return Pair(partial(run_python, 'infer.py', 'docs/people.jpg', '--ckpt_path', f'weights/{NAME}.safetensors',
                        '--recipe', RECIPE, '--device_target', 'CPU', '--img_save_dir', folder),
                partial(run_python, '-c', 'import src, mindspore'), 2.6)


def folded_network(_folder: str) -> Pair:
    """The bundled network as `eval.py` and `infer.py` load it, against the same with its BatchNorms."""
    # Here, because they need MindSpore.
    from src.checkpoints.load import load_weights, read_weights
    from src.evaluation.load_model import LoadedModel
    from src.evaluation.predictors import network_predictor
    from src.models.registry import build_empty_network
    from src.system.device import set_up_device
    set_up_device('CPU')
    path, config = str(ROOT / f'weights/{NAME}.safetensors'), load_recipe(RECIPE)
    network, weights = build_empty_network(config), read_weights(path)[0]
    load_weights(network, weights, config, path)
    plain = network_predictor(config, network, COCO.flip_index).run_uncompiled
    folded = LoadedModel(path, None, weights=weights).build_predictor(config, COCO.flip_index).run_uncompiled
    width, height = config.MODEL.IMAGE_SIZE
    crops = np.zeros((1, height, width, 3), np.uint8)
    return Pair(lambda: [folded(crops) for _ in range(5)], lambda: [plain(crops) for _ in range(5)], 1.0)


PAIRS: Dict[str, Callable[[str], Pair]] = {
    "COCO's numbers / pycocotools": evaluation, 'reading annotations with checks / JSON alone': annotations,
    "MSPN's decoder / blurring whole maps": mspn_decoder, "DARK's decoder / blurring whole maps": dark_decoder,
    'training samples / cv2.imread': loader,
    'infer.py --help / import numpy, cv2, yaml': start_of_help,
    'infer.py with a checkpoint / import mindspore': one_picture,
    'MindSpore, BatchNorm folded / not folded': folded_network}


def seconds_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument('--rounds', type=int, default=5)
    arguments = parser.parse_args()
    use_one_core()
    cv2.setNumThreads(1)
    rows, is_slow = [], False
    for name, make in PAIRS.items():
        with tempfile.TemporaryDirectory() as folder:
            pair = make(folder)
            times = [(seconds_of(pair.ours), seconds_of(pair.peer)) for _ in range(arguments.rounds + 1)][1:]
        ratio = statistics.median(ours / peer for ours, peer in times)
        is_slow |= ratio > pair.bound
        rows.append((name, f'{statistics.median(ours for ours, _ in times):.3f}', f'{ratio:.2f}', pair.bound,
                     'TOO SLOW' if ratio > pair.bound else 'ok'))
    print(machine() + ', one core used')
    print_table(('ours / peer', 'ours, seconds', 'ratio', 'at most', ''), rows)
    if is_slow:
        sys.exit(1)


if __name__ == '__main__':
    main()
