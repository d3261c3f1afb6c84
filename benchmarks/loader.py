"""How fast does the loader make a training sample, compared with only reading its picture?

    python -m benchmarks.loader [DATA_ROOT ANNOTATION_FILE]     (default: the real samples beside the checkout)

One core does everything: reading, cropping, batching and the consuming loop. Rounds of both kinds alternate, so that
a drifting machine speed cancels out of the ratio.
"""
import os
import statistics
import sys
import time

import cv2

from benchmarks.timing import machine, parser_of, print_table, use_one_core
from src.data.coco import load_coco_people
from src.data.loader import BatchPlan, TrainingBatches, iterate_batches
from src.data.locate_pictures import locate_pictures
from src.data.samples import PersonSamples
from src.data.skeletons import COCO
from src.models.common.crops import SimplePoseCrops
from src.models.mipnet.crops import MIPNetCrops
from src.models.mspn.crops import MSPNCrops

COCO_MINI = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../shared/data/coco-mini')
ROUNDS, EPOCHS, BATCH_SIZE = 7, 6, 32
# MIPNet's crops are SimplePoseNet's, with the keypoints of one or three neighbours.
RECIPES = (('MSPN', MSPNCrops(half_body_probability=0.3, random_extension=True)), ('SimplePoseNet', SimplePoseCrops()),
           ('MIPNet, 2 people', MIPNetCrops()), ('MIPNet, 4 people', MIPNetCrops(num_neighbours=3)))


def read_rate(paths) -> float:
    start = time.perf_counter()
    for path in paths:
        cv2.imread(path)
    return len(paths) / (time.perf_counter() - start)


def loader_rate(samples: PersonSamples) -> float:
    """Return the rate from the first batch to the last, without the start of the pipeline."""
    plan = BatchPlan(len(samples), BATCH_SIZE, EPOCHS, seed=1)
    count = 0
    for pixels, *_ in iterate_batches(TrainingBatches(samples, plan), num_workers=1):
        if not count:
            start, first = time.perf_counter(), len(pixels)
        count += len(pixels)
    return (count - first) / (time.perf_counter() - start)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument('root', nargs='?', default=COCO_MINI, metavar='DATA_ROOT')
    parser.add_argument('annotation_file', nargs='?', metavar='ANNOTATION_FILE')
    arguments = parser.parse_args()
    root = arguments.root
    annotation_file = arguments.annotation_file or os.path.join(
        root, 'annotations/person_keypoints_train2017.json')
    if not os.path.isfile(annotation_file):
        sys.exit(f'{annotation_file} is not there; name a data root and an annotation file')
    use_one_core()
    cv2.setNumThreads(1)
    rows = []
    for name, recipe in RECIPES:
        people = load_coco_people(annotation_file, COCO, sample_rule=recipe.sample_rule)
        paths = locate_pictures(root, people.file_names, split_folder='train2017')
        samples = PersonSamples(people, paths, recipe, COCO, (256, 192))
        files = [paths[index].decode() for index in people.image_index]
        read_rate(files)
        rates = [(read_rate(files * EPOCHS), loader_rate(samples)) for _ in range(ROUNDS)]
        read, loaded = (statistics.median(column) for column in zip(*rates))
        ratio = statistics.median(loader / reader for reader, loader in rates)
        rows.append((name, len(people), f'{read:.0f}', f'{loaded:.0f}', f'{ratio:.2f}'))
    print(machine() + ', one core used, 256x192')
    print_table(('recipe', 'people', 'cv2.imread, pictures/s', 'loader, samples/s', 'median ratio'), rows)


if __name__ == '__main__':
    main()
