"""How fast does the loader make a training sample, compared with only reading its picture?

    python -m benchmarks.loader [DATA_ROOT ANNOTATION_FILE]     (default: the real samples beside the checkout)

One core does everything: reading, cropping, batching and the consuming loop. The ways of reading take turns, so that a
drifting machine speed cancels out of the ratios, and what counts is the time of the processor, so that other programs
hardly matter; the files are in the system's cache. That the samples of all ways are equal is checked first.
"""
import contextlib
import os
import statistics
import sys
import tempfile
import time
from typing import Callable, Dict, List, NamedTuple
from unittest import mock

import cv2
import numpy as np

from benchmarks.timing import machine, parser_of, print_table, use_one_core
from src.data.coco import load_coco_people
from src.data.loader import BatchPlan, TrainingBatches, iterate_batches
from src.data.locate_pictures import locate_pictures
from src.data.precut_writing import precut_samples
from src.data.samples import PersonSamples
from src.data.skeletons import COCO
from src.data.turbojpeg import usable_samplings
from src.models.common.crops import SimplePoseCrops
from src.models.mspn.crops import MSPNCrops

COCO_MINI = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../shared/data/coco-mini')
BATCH_SIZE = 32
RECIPES = (('MSPN', MSPNCrops(half_body_probability=0.3, random_extension=True)), ('SimplePoseNet', SimplePoseCrops()))


class Way(NamedTuple):
    """How samples are read; `patches` are in force meanwhile."""

    samples: PersonSamples
    patches: Dict[str, Callable]


def ways_of(samples: PersonSamples, folder: str) -> Dict[str, Way]:
    """Return the ways of reading that are possible here."""
    def nothing(*_arguments):
        return None

    whole = {'src.data.images._decode_part': nothing,
             'src.data.samples.mirrored_part': lambda picture, region: cv2.flip(picture, 1)}
    ways = {'whole pictures': Way(samples, whole),
            'rows, by OpenCV': Way(samples, {'src.data.images.decode_region': nothing})}
    if usable_samplings():
        ways['regions, by libjpeg-turbo 3'] = Way(samples, {})
    ways['people cut out once'] = Way(precut_samples(samples, folder, lambda line: None), {})
    return ways


def cpu_seconds(way: Way, epochs: int) -> float:
    """Return the time of the processor for each sample, from the first batch to the last."""
    plan, count = BatchPlan(len(way.samples), BATCH_SIZE, epochs, seed=1), 0
    with contextlib.ExitStack() as stack:
        for name, value in way.patches.items():
            stack.enter_context(mock.patch(name, value))
        start = time.process_time()
        for pixels, *_ in iterate_batches(TrainingBatches(way.samples, plan), num_workers=1):
            count += len(pixels)
    return (time.process_time() - start) / count


def read_seconds(paths: List[str]) -> float:
    start = time.process_time()
    for path in paths:
        cv2.imread(path)
    return (time.process_time() - start) / len(paths)


def check_equality(ways: Dict[str, Way]) -> None:
    """Stop if any sample of an epoch differs."""
    made = {}
    for name, way in ways.items():
        with contextlib.ExitStack() as stack:
            for place, value in way.patches.items():
                stack.enter_context(mock.patch(place, value))
            pixels = np.empty((len(way.samples), *way.samples.input_shape, 3), np.uint8)
            places = [way.samples.training_sample(index, 0, pixels[index])[0] for index in range(len(way.samples))]
        made[name] = pixels, np.array(places)
    first, *others = made.values()
    if not all(np.array_equal(one, other) for arrays in others for one, other in zip(first, arrays)):
        sys.exit('the samples differ')


def rows_of(name: str, recipe, root: str, annotation_file: str, rounds: int, epochs: int) -> list:
    people = load_coco_people(annotation_file, COCO, sample_rule=recipe.sample_rule)
    paths = locate_pictures(root, people.file_names, split_folder='train2017')
    samples = PersonSamples(people, paths, recipe, COCO, (256, 192))
    files = [os.fsdecode(paths[index]) for index in people.image_index] * epochs
    with tempfile.TemporaryDirectory() as folder:
        ways = ways_of(samples, folder)
        check_equality(ways)
        kilobytes = ways['people cut out once'].samples.precut.plan.num_bytes / len(people) / 1e3
        # The first round warms up: checksums are verified in it.
        times = [(read_seconds(files), {key: cpu_seconds(way, epochs) for key, way in ways.items()})
                 for _ in range(rounds + 1)][1:]
    rows = []
    for key in ways:
        against_read = statistics.median(read / seconds[key] for read, seconds in times)
        against_whole = statistics.median(seconds['whole pictures'] / seconds[key] for _, seconds in times)
        note = f'{key} ({kilobytes:.0f} kB each)' if 'cut out' in key else key
        rows.append((name, note, f'{against_read:.2f}', f'{against_whole:.2f}',
                     f'{1 / statistics.median(seconds[key] for _, seconds in times):.0f}',
                     f'{1 / statistics.median(read for read, _ in times):.0f}'))
    return rows


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument('root', nargs='?', default=COCO_MINI, metavar='DATA_ROOT')
    parser.add_argument('annotation_file', nargs='?', metavar='ANNOTATION_FILE')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--epochs', type=int, default=3, help='of a round')
    arguments = parser.parse_args()
    annotation_file = arguments.annotation_file or os.path.join(
        arguments.root, 'annotations/person_keypoints_train2017.json')
    if not os.path.isfile(annotation_file):
        sys.exit(f'{annotation_file} is not there; name a data root and an annotation file')
    use_one_core()
    cv2.setNumThreads(1)
    rows = [row for name, recipe in RECIPES
            for row in rows_of(name, recipe, arguments.root, annotation_file, arguments.rounds, arguments.epochs)]
    print(machine() + ', one core used, 256x192, time of the processor')
    print_table(('recipe', 'what is read', 'speed of cv2.imread alone', 'speed of whole pictures', 'samples/s',
                 'cv2.imread, pictures/s'), rows)


if __name__ == '__main__':
    main()
