"""From the command to the JSON with one picture: how long does `infer.py` take, and where does the time go?

    python -m benchmarks.latency [--recipes NAME …] [--rounds 5]

Every round runs `infer.py` on one picture with the checkpoint and with its ONNX file, and as the peer a bare program
that does the least anybody would write: NumPy, OpenCV and ONNX Runtime, the same file, one person, JSON. Weights are
random. The medians are of the wall clock, and of the processor time of all threads, which other programs disturb less.
The second table holds the parts of a run with the checkpoint: of the processor time, in one process each, with a graph
and without compiling.
"""
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.timing import machine, parser_of, print_table
from src.config import input_shape, load_recipe

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ('simplepose_mobilenetv2_small_people18k_192x160', 'simplepose_r50_coco_256x192')
PICTURE = str(ROOT / 'docs/people.jpg')
WRITE = '''
import sys
from src.checkpoints.ckpt import save_checkpoint
from src.config import load_recipe
from src.models.registry import build_configured_network
from src.system.device import set_up_device
set_up_device('CPU')
config = load_recipe(sys.argv[1])
save_checkpoint(sys.argv[2], build_configured_network(config), config)
'''
BARE = '''
import json, sys
import cv2, numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
size = tuple(map(int, sys.argv[3:5]))
crop = cv2.resize(cv2.imread(sys.argv[2]), size)[:, :, ::-1].astype(np.float32) / 255
images = np.ascontiguousarray(((crop - 0.45) / 0.225).transpose(2, 0, 1)[None])
maps = session.run(None, {session.get_inputs()[0].name: images})[0][0]
cells = maps.reshape(len(maps), -1).argmax(1)
with open(sys.argv[5], 'w') as file:
    json.dump([[int(cell % maps.shape[2]), int(cell // maps.shape[2])] for cell in cells], file)
'''
STAGES = '''
import sys, time
from src import PoseEstimator
from src.data.images import read_picture
from src.evaluation.load_model import LoadedModel
from src.system import device
marks = [('Python, imports of this package', time.process_time())]
import mindspore
device.set_up_device('CPU')
marks.append(('import and start of MindSpore', time.process_time()))
build = LoadedModel.build_predictor
from src.inference import box_poses, estimator
def timed(self, *words):
    marks.append(('reading weights', time.process_time()))
    return build(self, *words)
LoadedModel.build_predictor = timed
if sys.argv[2] == 'graph':
    box_poses.UNCOMPILED_PEOPLE = 0
poses = PoseEstimator(sys.argv[1])
marks.append(('building and folding', time.process_time()))
picture = read_picture(sys.argv[3])
poses(picture)
marks.append(('first call', time.process_time()))
poses(picture)
marks.append(('second call', time.process_time()))
import json
print(json.dumps([(name, end - start) for (name, end), start in
                  zip(marks, [0, *(end for _, end in marks)])]))
'''


def run(*words: str) -> tuple:
    """Return seconds on the wall clock and of the processor, and what a program printed."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, sum(after[:2]) - sum(before[:2]), done.stdout


def totals(recipe: str, folder: str, rounds: int):
    """Yield the rows of the first table for a recipe; the files stay in the folder."""
    checkpoint, file, out = (os.path.join(folder, name) for name in ('pose.ckpt', 'pose.onnx', 'out'))
    run('-c', WRITE, recipe, checkpoint)
    run('export.py', '--ckpt_path', checkpoint, '--file_name', file, '--batch_size', 'dynamic', '--device_target',
        'CPU')
    height, width = input_shape(load_recipe(recipe))
    ways = {'infer.py --help': ('infer.py', '--help'),
            'infer.py, checkpoint': ('infer.py', PICTURE, '--ckpt_path', checkpoint, '--img_save_dir', out),
            'infer.py, ONNX': ('infer.py', PICTURE, '--model_file', file, '--img_save_dir', out),
            'bare program, ONNX': ('-c', BARE, file, PICTURE, str(width), str(height), os.path.join(folder, 'x.json'))}
    times = {way: [] for way in ways}
    for _ in range(rounds):
        for way, words in ways.items():
            times[way].append(run(*words)[:2])
    for way, taken in times.items():
        ratios = [statistics.median(ours[kind] / bare[kind] for ours, bare in zip(taken, times['bare program, ONNX']))
                  for kind in (0, 1)]
        yield (recipe, way, *(f'{each:.2f}' for each in (*ratios, *np.median(taken, axis=0))))


def parts(recipe: str, folder: str, rounds: int):
    """Yield the rows of the second table."""
    for way in ('graph', 'without compiling'):
        found = [json.loads(run('-c', STAGES, os.path.join(folder, 'pose.ckpt'), way.split()[0], PICTURE)[2])
                 for _ in range(rounds)]
        yield (recipe, way, *(f'{statistics.median(each[number][1] for each in found):.2f}'
                              for number in range(len(found[0]))))


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument('--recipes', nargs='+', default=RECIPES)
    parser.add_argument('--rounds', type=int, default=5)
    arguments = parser.parse_args()
    print(machine(), flush=True)
    rows, stages = [], []
    for recipe in arguments.recipes:
        with tempfile.TemporaryDirectory() as folder:
            rows += totals(recipe, folder, arguments.rounds)
            stages += parts(recipe, folder, arguments.rounds)
    print_table(('recipe', 'program', 'times the bare program, wall', 'processor', 'wall, s', 'processor, s'), rows)
    print()
    print_table(('recipe', 'way', 'Python and imports', 'start of MindSpore', 'reading weights',
                 'building and folding', 'first call', 'second call'), stages)


if __name__ == '__main__':
    main()
