"""Do all runtimes give the same AP?

    python -m benchmarks.runtime_ap CKPT DATA_ROOT [--calibration_people 64] [--set KEY=VALUE …]

DATA_ROOT is in COCO's layout. The people of its val2017 are scored in their ground-truth boxes, by the protocol of the
checkpoint's recipe. The int8 file is calibrated on people of its train2017.
"""
import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.exported_files import build_predictors, write_files
from benchmarks.timing import machine, print_table
from src.checkpoints.load import read_weights
from src.config import resolve
from src.data.coco import load_coco_people
from src.data.locate_pictures import locate_pictures
from src.data.samples import PersonSamples
from src.data.skeletons import COCO
from src.evaluation.evaluate import Evaluation
from src.models.registry import model_of
from src.system.device import Processes, set_up_device


def calibration_crops(config, count: int) -> np.ndarray:
    """Return crops (count, H, W, 3) of training people, spread over the data set."""
    crops, root = model_of(config).crops(config), config.DATASET.ROOT
    people = load_coco_people(f'{root}/annotations/person_keypoints_train2017.json', COCO,
                              sample_rule=crops.sample_rule)
    paths = locate_pictures(root, people.file_names, split_folder='train2017')
    width, height = config.MODEL.IMAGE_SIZE
    rows = np.linspace(0, len(people) - 1, min(count, len(people))).astype(int)
    return PersonSamples(people, paths, crops, COCO, (height, width)).test_samples(rows)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint')
    parser.add_argument('data_root')
    parser.add_argument('--calibration_people', type=int, default=64)
    parser.add_argument('--set', nargs='+', default=[], metavar='KEY=VALUE')
    arguments = parser.parse_args()
    set_up_device('CPU')
    weights, carried = read_weights(arguments.checkpoint)
    config = resolve(carried, {
        'DATASET.ROOT': arguments.data_root, 'TEST.USE_GT_BBOX': True,
        'DATASET.TEST_JSON': f'{arguments.data_root}/annotations/person_keypoints_val2017.json',
        **dict(item.split('=', 1) for item in arguments.set)})
    evaluation = Evaluation(config, Processes('CPU'), ['DATASET.TEST_JSON'])
    print(f'{machine()}\n{arguments.checkpoint}, {evaluation.box_report}', flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for line in write_files(Path(name), config, weights, arguments.checkpoint,
                                calibration_crops(config, arguments.calibration_people)):
            print(line, flush=True)
        predictors = build_predictors(Path(name), config, weights, arguments.checkpoint,
                                      flip_test=config.TEST.FLIP_TEST)
        for way, predictor in predictors.items():
            rows.append((way, evaluation.measure_predictor(predictor).metrics['AP']))
    print_table(('runtime', 'AP', 'difference'), [(way, f'{ap:.4f}', f'{ap - rows[0][1]:+.4f}') for way, ap in rows])


if __name__ == '__main__':
    main()
