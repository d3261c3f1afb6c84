"""Does a run that is killed at any moment and resumed end with the same bits as an undisturbed one?

    python -m benchmarks.kill_resume [--kills 20] [--processes 1] [--seed 0]

A tiny network trains on synthetic people and saves its state after every step. Each time all processes of the run get
SIGKILL at a random moment between the first step and the end, saving included: a random fraction of the time from
a random step to the next. --resume auto then completes the run. Compared are the weights, the state (optimiser, step)
and the metrics of every step. With several processes it is scripts/train_distributed.sh that is killed and started
again.
"""
import argparse
import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Callable, List

import numpy as np

from benchmarks.timing import machine, print_table
from src.synthetic.writing import write_synthetic_coco

ROOT = Path(__file__).resolve().parent.parent
RECIPE, EPOCHS = 'simplepose_small_synthetic_160x128', 40
FLAGS = (f'--batch_size {{batch_size}} --input_shape 64 64 --epoch {EPOCHS} --num_parallel_workers 1 --resume auto '
         '--set MODEL.STEM_CHANNELS=8 POSE_RESNET.NUM_DECONV_FILTERS=[16,16,16] TRAIN.DROP_REMAINDER=false '
         'TRAIN.SAVE_STEPS=1')


class Run:
    """A training that runs in `folder`; all its processes are marked by a variable in their environment.

    Args:
        folder: the output goes to out.txt in it.
        data: root of the data set.
        num_processes: 1 for train.py itself, more for the launch script.
    """

    def __init__(self, folder: Path, data: Path, num_processes: int):
        folder.mkdir(exist_ok=True)
        self.output, self.mark = folder / 'out.txt', uuid.uuid4().hex
        # 6 people a step, the last step of an epoch with 5.
        flags = FLAGS.format(batch_size=6 // num_processes).split()
        words = [sys.executable, '-u', ROOT / 'train.py', '--recipe', RECIPE, '--device_target', 'CPU',
                 '--ckpt_save_path', 'ckpt/pose.ckpt'] if num_processes == 1 else [
            'sh', ROOT / 'scripts/train_distributed.sh', 'none', 'ckpt', str(num_processes), RECIPE, '--foreground',
            '--']
        environment = {**os.environ, 'KILL_RESUME': self.mark, 'TMPDIR': str(folder), 'DEVICE_TARGET': 'CPU',
                       'PYTHON': sys.executable}
        with open(self.output, 'wb') as file:
            self._process = subprocess.Popen([*words, '--data_url', data, *flags], cwd=folder, env=environment,
                                             stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)

    @property
    def out(self) -> str:
        return self.output.read_text()

    @property
    def is_over(self) -> bool:
        return self._process.poll() is not None

    def wait(self) -> None:
        """Wait for the end and check that the run succeeded."""
        if self._process.wait():
            sys.exit(f'a run ended with status {self._process.returncode}:\n{self.out}')

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; it has to do so during the run."""
        while True:
            # Checked in this order, so that what happens right before the end counts.
            is_over = self.is_over
            if condition():
                return
            if is_over:
                self.wait()
                sys.exit(f'a run was over too early:\n{self.out}')
            time.sleep(0.005)

    def processes(self) -> List[int]:
        """Return the ids of all living processes of the run."""
        found = []
        for entry in filter(str.isdigit, os.listdir('/proc')):
            with contextlib.suppress(OSError):
                if f'KILL_RESUME={self.mark}\0'.encode() in Path(f'/proc/{entry}/environ').read_bytes():
                    found.append(int(entry))
        return found

    def kill(self) -> None:
        """Kill all processes, also those that are just starting."""
        while self.processes():
            for number in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            self._process.poll()
        self._process.wait()


def result_of(ckpt: Path) -> dict:
    """Return the results of a finished run as {name: bytes}."""
    # Not above: it imports MindSpore, and only the trainings need that.
    from src.checkpoints.ckpt import read_checkpoint, read_entries
    weights, _ = read_checkpoint(str(ckpt / 'pose.ckpt'))
    newest = max(ckpt.glob('pose_states/step_*.ckpt'))
    state, texts = read_entries(str(newest), needs_checksum=True)
    metrics = [json.loads(line) for line in (ckpt / 'pose_metrics.jsonl').read_text().splitlines()]
    arrays = {**{f'weights of {name}': value for name, value in weights.items()}, **state}
    return {**{name: np.ascontiguousarray(value).tobytes() for name, value in arrays.items()},
            'newest state': newest.name, 'progress': texts['progress'],
            'metrics': [(row['epoch'], row['step'], row['loss'], row['lr']) for row in metrics]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--processes', type=int, default=1)
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    arguments = parser.parse_args()
    if not os.path.isdir('/proc/self'):
        sys.exit('this benchmark finds processes through /proc, which only Linux has')
    draw = random.Random(arguments.seed)
    print(f'{machine()}, {arguments.processes} process(es)', flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / 'data'
        with contextlib.redirect_stderr(io.StringIO()):
            write_synthetic_coco(str(data), num_train=9, num_val=1, seed=1, image_size=(240, 180))

        def start_until(step: int, where: str) -> Run:
            run = Run(folder / where, data, arguments.processes)
            run.wait_until(lambda: run.out.count('loss is ') >= step)
            return run

        # The graph is compiled twice, for the two batch sizes.
        run = start_until(3, 'undisturbed')
        third_step = time.perf_counter()
        run.wait_until(lambda: '\ncheckpoint: ' in run.out)
        duration = time.perf_counter() - third_step
        run.wait()
        wanted = result_of(folder / 'undisturbed' / 'ckpt')
        num_steps = len(wanted['metrics'])
        interval = duration / (num_steps - 2)
        print(f'{num_steps} steps, one every {1000 * interval:.0f} ms', flush=True)
        print_table(('kill', 'moment', 'resumed after', 'the end'), [])
        identical = 0
        for number in range(1, arguments.kills + 1):
            moment = draw.uniform(1, num_steps + 1)
            started = time.perf_counter()
            run = start_until(int(moment), 'killed')
            time.sleep(moment % 1 * interval)
            seconds = time.perf_counter() - started
            run.kill()
            run = Run(folder / 'killed', data, arguments.processes)
            run.wait()
            step = re.search(r'^resumed after step (\d+) ', run.out, re.M)
            got = result_of(folder / 'killed' / 'ckpt')
            differing = [name for name in {**wanted, **got} if wanted.get(name) != got.get(name)]
            identical += not differing
            print(f'| {number} | step {moment:.2f}, {seconds:.1f} s | step {step[1] if step else 0} | '
                  + (f'DIFFERENT: {", ".join(differing[:3])}' if differing else 'identical') + ' |', flush=True)
            shutil.rmtree(folder / 'killed')
    print(f'{identical} of {arguments.kills} identical')
    sys.exit(identical < arguments.kills)


if __name__ == '__main__':
    main()
