"""How long does it take, and how much memory, to read annotations of COCO train2017's size with all checks?

    python -m benchmarks.annotation_reading [FOLDER]

Makes a file of 118,288 pictures and 260,000 annotations with outlines, in a temporary folder unless one is given, and
reads it for a training and for an evaluation, each in its own process.
"""
import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from typing import Optional, Tuple

import numpy as np

from src.data.annotation_checks import AnnotationFile
from src.data.coco import check_evaluable, load_coco_people
from src.data.skeletons import COCO

PICTURES, ANNOTATIONS = 118_288, 260_000
# As in COCO: somewhat more than half of the annotations have labelled keypoints.
LABELLED_SHARE, OUTLINE_POINTS = 0.57, 22


def write_file(path: str, size: Optional[Tuple[int, int]] = None) -> None:
    """Write a made-up annotation file of pictures of (width, height), by default of various sizes."""
    rng = np.random.default_rng(0)
    sizes = (rng.integers(300, 640, (PICTURES, 2)) if size is None else np.tile(size, (PICTURES, 1))).tolist()
    images = [{'license': 1, 'file_name': f'{number:012d}.jpg', 'coco_url': f'http://images.net/{number:012d}.jpg',
               'height': height, 'width': width, 'date_captured': '2013-11-14 17:02:52', 'id': number}
              for number, (width, height) in enumerate(sizes, start=1)]
    with open(path, 'w', encoding='utf-8') as file:
        file.write('{"images": ' + json.dumps(images) + ', "annotations": [')
        for number in range(ANNOTATIONS):
            box = rng.uniform([0, 0, 30, 60], [180, 150, 120, 150]).round(2)
            outline = (box[:2] + rng.random((OUTLINE_POINTS, 2)) * box[2:]).round(2)
            is_labelled = rng.random() < LABELLED_SHARE
            places = (box[:2] + rng.random((17, 2)) * box[2:]).astype(int)
            visible = rng.integers(0, 3, 17) if is_labelled else np.zeros(17, int)
            keypoints = np.column_stack([places * (visible[:, None] > 0), visible])
            file.write(', ' * bool(number) + json.dumps({
                'segmentation': [outline.ravel().tolist()], 'num_keypoints': int((visible > 0).sum()),
                'area': float(box[2] * box[3] / 2), 'iscrowd': 0, 'keypoints': keypoints.ravel().tolist(),
                'image_id': int(rng.integers(1, PICTURES + 1)), 'bbox': box.tolist(), 'category_id': 1,
                'id': number + 1}))
        file.write('], "categories": [{"id": 1, "name": "person"}]}')


def measure(path: str, what: str) -> None:
    """Read the file for a training or an evaluation, and print seconds and peak memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    wall, cpu = time.perf_counter(), time.process_time()
    file = AnnotationFile(path)
    if what == 'training':
        print(load_coco_people(file, COCO, sample_rule='simple_pose').describe(os.path.basename(path)))
    else:
        check_evaluable(file, COCO)
        print(*file.notes or ['nothing to note'], sep='\n')
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f'{what}: {wall:.1f} s ({cpu:.1f} s of CPU), {most:.0f} MB at most ({before:.0f} MB before)', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', nargs='?', help='where the file stays (default: a temporary one)')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        path = os.path.join(arguments.folder or temporary, 'made_up_train2017.json')
        if not os.path.isfile(path):
            write_file(path)
        print(f'{path}: {os.path.getsize(path) / 1e6:.0f} MB')
        for what in ('training', 'evaluation'):
            # Separate processes, so that the peak memory of the first does not count for the second.
            process = multiprocessing.get_context('spawn').Process(target=measure, args=(path, what))
            process.start()
            process.join()


if __name__ == '__main__':
    main()
