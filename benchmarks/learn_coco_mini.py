"""Does training work on real pictures? A small SimplePoseNet is overfitted to 86 people and scored on the same people.

    python -m benchmarks.learn_coco_mini [DATA_ROOT]     (default: the real samples beside the checkout)

Everything goes through train.py and eval.py, with augmentation off and ground-truth boxes.
"""
import os
import subprocess
import sys
import tempfile
import time

from benchmarks.loader import COCO_MINI
from benchmarks.timing import machine, parser_of, print_table

EPOCHS = 150
SETTINGS = ('MODEL.STEM_CHANNELS=32', 'DATASET.FLIP=false', 'DATASET.ROT_FACTOR=0', 'DATASET.SCALE_FACTOR=0',
            'TRAIN.BATCH_SIZE=16', 'TRAIN.DROP_REMAINDER=true', 'TRAIN.LR=0.002')


def run(*words: str) -> str:
    finished = subprocess.run([sys.executable, *words], stdout=subprocess.PIPE, text=True, check=True)
    return finished.stdout


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument('root', nargs='?', default=COCO_MINI, metavar='DATA_ROOT')
    root = parser.parse_args().root
    annotation_file = os.path.join(root, 'annotations/person_keypoints_train2017.json')
    if not os.path.isfile(annotation_file):
        sys.exit(f'{annotation_file} is not there; name a data root')
    with tempfile.TemporaryDirectory() as folder:
        ckpt_path = os.path.join(folder, 'pose.ckpt')
        start = time.perf_counter()
        run('train.py', '--recipe', 'simplepose_small_synthetic_160x128', '--data_url', root, '--gt_file_url',
            annotation_file, '--epoch', str(EPOCHS), '--ckpt_save_path', ckpt_path, '--set', *SETTINGS)
        minutes = (time.perf_counter() - start) / 60
        report = run('eval.py', '--ckpt_path', ckpt_path, '--gt_file_url', annotation_file, '--use_gt_bbox',
                     '--save_path', os.path.join(folder, 'results.json'), '--set', 'DATASET.TEST_SET=train2017')
    ap_line = report.strip().splitlines()[-1]
    print(machine())
    print_table(('network', 'epochs', 'training, minutes', 'on the people it learned'),
                [('SimplePoseNet, ResNet-18 of half width, 160x128', EPOCHS, f'{minutes:.1f}', ap_line)])


if __name__ == '__main__':
    main()
