"""How much memory does a loader worker need with annotations of COCO train's size?

    python -m benchmarks.worker_memory

Makes an annotation file of 150,000 people on 64,000 pictures in a temporary folder, all pictures being one small file,
and reads the peak resident memory of the worker processes from the kernel while they load batches.
"""
import json
import os
import sys
import tempfile

import cv2
import numpy as np
import psutil

from benchmarks.timing import machine, parser_of, print_table
from src.data.coco import load_coco_people
from src.data.loader import BatchPlan, TrainingBatches, iterate_batches
from src.data.samples import PersonSamples
from src.data.skeletons import COCO
from src.models.mspn.crops import MSPNCrops

PEOPLE, PICTURES, WORKERS, BATCHES = 150_000, 64_000, 2, 40


def write_annotations(path: str) -> None:
    rng = np.random.default_rng(1)
    images = [{'id': index + 1, 'file_name': f'COCO_train2014_{index + 1:012d}.jpg', 'width': 640, 'height': 480}
              for index in range(PICTURES)]
    annotations = []
    for index in range(PEOPLE):
        keypoints = np.column_stack([rng.integers(0, 480, (17, 2)), rng.integers(1, 3, 17)])
        annotations.append({
            'id': index + 1, 'image_id': int(rng.integers(PICTURES)) + 1, 'category_id': 1, 'iscrowd': 0,
            'bbox': [100.0, 50.0, 200.0, 300.0], 'area': 30000.0, 'num_keypoints': 17,
            'keypoints': keypoints.ravel().tolist(),
            # Outlines are the largest part of COCO's annotation file.
            'segmentation': [(rng.random(60) * 400).round(2).tolist()]})
    with open(path, 'w', encoding='utf-8') as file:
        json.dump({'images': images, 'annotations': annotations}, file)


def peak_megabytes(pid: int, field: str = 'VmHWM') -> float:
    with open(f'/proc/{pid}/status', encoding='utf-8') as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field)) / 1024


def main() -> None:
    parser_of(__doc__).parse_args()
    if not os.path.exists('/proc/self/status'):
        sys.exit('this benchmark reads /proc, which only Linux has')
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'annotations.json')
        write_annotations(path)
        megabytes = os.path.getsize(path) / 1e6
        people = load_coco_people(path, COCO, sample_rule='mspn')
        picture = os.path.join(folder, 'picture.jpg')
        cv2.imwrite(picture, np.random.default_rng(1).integers(0, 255, (480, 640, 3), np.uint8))
        samples = PersonSamples(people, np.full(PICTURES, picture.encode()), MSPNCrops(), COCO, (256, 192))
        plan = BatchPlan(len(people), 32, 1, seed=1)
        peaks = {}
        for number, _ in enumerate(iterate_batches(TrainingBatches(samples, plan), num_workers=WORKERS)):
            for child in psutil.Process().children():
                peaks[child.pid] = peak_megabytes(child.pid)
            if number == BATCHES:
                break
        print(machine() + f', {len(people)} people, annotation file of {megabytes:.0f} MB')
        loaders = sorted(peaks.values())[-WORKERS:]
        print_table(('process', 'peak resident memory, MB'),
                    [(f'worker {number}', f'{peak:.0f}') for number, peak in enumerate(loaders, 1)]
                    + [('main process, while it reads the JSON', f'{peak_megabytes(os.getpid()):.0f}')])


if __name__ == '__main__':
    main()
