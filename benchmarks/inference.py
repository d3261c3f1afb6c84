"""From JPEG to keypoints in a JSON file: how many people per second in each runtime, and what is the network's share?

    python -m benchmarks.inference [--data_url DATA_ROOT --gt_file_url ANNOTATION_FILE] [--recipes NAME …]
        [--batch_size 8] [--rounds 3]

No flip test, all cores. Every round runs every runtime once, so that a drifting machine speed cancels out
of the ratios, whose median is printed; people/s and milliseconds are those of the best round. Weights are random: they
change the poses, not the speed. The network's time is that of its calls alone on the same batches; the share outside
is the rest of the whole time.
"""
import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.exported_files import WAYS, build_predictors, write_files
from benchmarks.timing import machine, print_table
from src.config import load_recipe, resolve
from src.data.coco import load_coco_people
from src.data.loader import TestBatches
from src.data.locate_pictures import locate_pictures
from src.data.samples import PersonSamples
from src.data.skeletons import COCO
from src.evaluation.predict import predict_poses
from src.evaluation.results import coco_records, rank_by_protocol
from src.models.registry import model_of
from src.system.device import Processes, set_up_device
from src.system.files import write_json

COCO_MINI = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../shared/data/coco-mini')
RECIPES = ('simplepose_r50_coco_256x192', 'mspn_2stg_coco_256x192')
PEOPLE = 136


def load_samples(config, root: str, annotation_file: str) -> PersonSamples:
    """Return the people of the file, repeated until there are enough."""
    crops = model_of(config).crops(config)
    people = load_coco_people(annotation_file, COCO, sample_rule=crops.sample_rule)
    paths = locate_pictures(root, people.file_names, split_folder='val2017')
    width, height = config.MODEL.IMAGE_SIZE
    return PersonSamples(people.select(np.resize(np.arange(len(people)), PEOPLE)), paths, crops, COCO, (height, width))


def run_once(config, predictor, samples: PersonSamples, path: str) -> float:
    """Return the seconds from the first picture to the JSON file."""
    start = time.perf_counter()
    poses = predict_poses(predictor, samples, num_threads=config.TEST.NUM_PARALLEL_WORKERS,
                          processes=Processes('CPU'))
    rows, scores = rank_by_protocol(config, samples.people, poses, COCO)
    write_json(path, coco_records(samples.people, poses, rows, scores))
    return time.perf_counter() - start


def network_seconds(predictor, batches: list) -> float:
    """Return the seconds of the network's calls alone."""
    start = time.perf_counter()
    for crops in batches:
        predictor.run(crops)
    return time.perf_counter() - start


def measure(recipe: str, root: str, annotation_file: str, batch_size: int, rounds: int) -> list:
    config = resolve(load_recipe(recipe), {'TEST.BATCH_SIZE': batch_size, 'TEST.FLIP_TEST': False})
    samples = load_samples(config, root, annotation_file)
    batches = [batch[0] for batch in map(TestBatches(samples, batch_size).__getitem__, range(PEOPLE // batch_size))]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for line in write_files(folder, config, None, recipe, np.concatenate(batches)[:32]):
            print(f'{recipe}: {line}', flush=True)
        predictors = build_predictors(folder, config, None, recipe, flip_test=False)
        for predictor in predictors.values():
            network_seconds(predictor, batches[:2])
        wholes, networks = {way: [] for way in WAYS}, {way: [] for way in WAYS}
        for _ in range(rounds):
            for way, predictor in predictors.items():
                wholes[way].append(run_once(config, predictor, samples, str(folder / 'results.json')))
                networks[way].append(network_seconds(predictor, batches))
    rows = []
    for way in WAYS:
        # The minimum: other load on the machine can only make a round slower.
        whole, network = min(wholes[way]), min(networks[way])
        ratio = statistics.median(base / one for base, one in zip(wholes[WAYS[0]], wholes[way]))
        rows.append((recipe, way, f'{PEOPLE / whole:.1f}', f'{ratio:.2f}', f'{1000 * network / PEOPLE:.1f}',
                     f'{100 * (1 - network / whole):.1f} %'))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--data_url', default=COCO_MINI)
    parser.add_argument('--gt_file_url', default=os.path.join(COCO_MINI, 'annotations/person_keypoints_val2017.json'))
    parser.add_argument('--recipes', nargs='+', default=RECIPES)
    parser.add_argument('--batch_size', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=3)
    arguments = parser.parse_args()
    if not os.path.isfile(arguments.gt_file_url):
        sys.exit(f'{arguments.gt_file_url} is not there; name a data root and an annotation file')
    set_up_device('CPU')
    print(machine(), flush=True)
    rows = [row for recipe in arguments.recipes
            for row in measure(recipe, arguments.data_url, arguments.gt_file_url, arguments.batch_size,
                                arguments.rounds)]
    print_table(('recipe', 'runtime', 'people/s', 'times MindSpore', 'network, ms/person', 'outside'), rows)


if __name__ == '__main__':
    main()
