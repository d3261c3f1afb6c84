"""Does training scale? Two processes with one core each against one such process, and where a step's time goes.

    python -m benchmarks.scaling [--recipe simplepose_r50_coco_256x192] [--batch_size 8] [--steps 12] [--rounds 3]

Trains on synthetic people through train.py, so loading, logging and everything else is included. The rounds
alternate; a figure is the median over rounds of the median over steps. The breakdown comes from the same job with parts
of the step as separate graphs. The last table is a model, not a measurement.
"""
import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.timing import machine, print_table

ROOT = Path(__file__).resolve().parent.parent
# A server of eight Ascend 910 and RoCE between servers: assumed effective bandwidths of the slowest link, bytes/s.
ASSUMED_BANDWIDTH = {8: 15e9, 64: 8e9}
ASSUMED_LATENCY = 30e-6
ASSUMED_IMAGES_PER_SECOND = 500.0


def command_of(processes: int, script: str, arguments: list) -> list:
    """Return the command that runs `script` in this many pinned processes."""
    pinned = [str(ROOT / 'benchmarks' / 'pinned.py'), script, *arguments]
    if processes == 1:
        return [sys.executable, *pinned]
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    return [sys.executable, '-m', 'mindspore.parallel.cluster.run', f'--worker_num={processes}',
            f'--local_worker_num={processes}', f'--master_port={port}', '--log_dir=msrun_log', '--join=True', *pinned]


def run(processes: int, script: str, arguments: list, folder: str) -> str:
    """Run and return what rank 0 printed."""
    environment = {**os.environ, 'PATH': f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}',
                   'PYTHONPATH': str(ROOT)}
    done = subprocess.run(command_of(processes, script, arguments), cwd=folder, env=environment, capture_output=True,
                          text=True)
    out = done.stdout if processes == 1 else (Path(folder) / 'msrun_log' / 'worker_0.log').read_text()
    if done.returncode:
        sys.exit(f'{script} failed:\n{out[-3000:]}\n{done.stderr[-2000:]}')
    return out


def measure_training(arguments, folder: str, processes: int) -> dict:
    """Return the speed line of a short training."""
    out = run(processes, str(ROOT / 'train.py'), [
        '--recipe', arguments.recipe, '--data_url', f'{folder}/data', '--device_target', 'CPU', '--pretrained', 'false',
        '--gt_file_url', f'{folder}/data/annotations/person_keypoints_train2017.json',
        '--batch_size', str(arguments.batch_size), '--max_steps', str(arguments.steps), '--num_parallel_workers', '1',
        '--set', 'DATASET.TRAIN_SET=train2017', '--ckpt_save_path', f'{folder}/pose.ckpt'], folder)
    line = next(line for line in out.splitlines() if line.startswith('speed: '))
    return json.loads(line[len('speed: '):])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--recipe', default='simplepose_r50_coco_256x192')
    parser.add_argument('--batch_size', type=int, default=8)
    parser.add_argument('--steps', type=int, default=12)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--parts', action='store_true', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.parts:
        measure_parts(arguments)
        return
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit('this needs two cores')
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, '-m', 'src.synthetic', '--root', f'{folder}/data', '--num_train',
                        '60', '--num_val', '1', '--seed', '1'], cwd=ROOT, check=True, capture_output=True)
        speeds = {1: [], 2: []}
        for _ in range(arguments.rounds):
            for processes, found in speeds.items():
                found.append(measure_training(arguments, folder, processes))
        fps = {processes: statistics.median(each['fps'] for each in found) for processes, found in speeds.items()}
        print(machine())
        print(f'{arguments.recipe}, batch {arguments.batch_size} per process, one core per process, '
              f'{arguments.rounds} rounds of {arguments.steps} steps')
        print_table(('processes', 'images/s', 'step, ms', 'waiting for data'), [
            (processes, f'{fps[processes]:.2f}', f'{statistics.median(each["step_ms"] for each in found):.0f}',
             f'{statistics.median(each["data_wait_share"] for each in found):.2%}')
            for processes, found in speeds.items()])
        ratios = [two['fps'] / one['fps'] for one, two in zip(*speeds.values())]
        print(f'ratio {fps[2] / fps[1]:.2f} (rounds: {", ".join(f"{ratio:.2f}" for ratio in ratios)})\n')
        parts = ['--parts', '--recipe', arguments.recipe, '--batch_size', str(arguments.batch_size), '--steps',
                 str(max(4, arguments.steps // 2))]
        out = run(2, str(ROOT / 'benchmarks' / 'scaling.py'), parts, folder)
        measured = json.loads(next(line for line in out.splitlines() if line.startswith('{"')))
    print_parts(measured)
    print_model(measured['message_bytes'], measured['messages'], arguments.recipe)


def measure_parts(arguments) -> None:
    """In each of two processes: print medians of the parts of a step as JSON."""
    import numpy as np

    import src  # noqa: F401  prepares the environment before MindSpore starts
    from src.config import load_recipe
    from src.models.registry import build_configured_network
    from src.system.device import Processes, join_processes
    from src.training.setup import build_train_step
    processes = join_processes('CPU')
    config = load_recipe(arguments.recipe)
    config.TRAIN.AMP_LEVEL = 'O0'
    width, height = config.MODEL.IMAGE_SIZE
    rng = np.random.default_rng(processes.rank)
    batch = (rng.integers(0, 255, (arguments.batch_size, height, width, 3)).astype(np.uint8),
             rng.uniform(0, width, (arguments.batch_size, config.MODEL.NUM_JOINTS, 2)).astype(np.float32),
             np.ones((arguments.batch_size, config.MODEL.NUM_JOINTS), np.float32))
    from mindspore import Tensor, nn, ops

    class Gradients(nn.Cell):
        """Forward and backward pass alone; the sum keeps the compiler from dropping any gradient."""

        def __init__(self, step):
            super().__init__(auto_prefix=False)
            self.gradients = ops.value_and_grad(step.loss_graph, None, step.optimizer.parameters)

        def construct(self, pixels, joints, validity):
            loss, gradients = self.gradients(pixels, joints, validity)
            return ops.depend(loss, gradients)

    rates = np.full(1000, 1e-4)
    alone = build_train_step(config, build_configured_network(config), rates, Processes('CPU'))
    together = build_train_step(config, build_configured_network(config), rates, processes)
    gradients = Gradients(alone)
    gradients.set_train(True)
    for step in (alone, together):
        step.set_train()
    tensors = tuple(map(Tensor, batch))
    parts = {'forward_and_backward': lambda: gradients(*tensors).asnumpy(), 'step_alone': lambda: alone(*batch),
             'step_together': lambda: together(*batch)}
    seconds = {name: [] for name in parts}
    for count in range(arguments.steps + 2):
        for name, part in parts.items():
            # Synchronise, or the time of waiting for the slower process would count in the wrong part.
            together.update_step.sum(Tensor(np.zeros(1, np.float32))).asnumpy()
            start = time.perf_counter()
            part()
            if count >= 2:
                seconds[name].append(time.perf_counter() - start)
    if processes.is_first:
        parameters = together.optimizer.parameters
        print(json.dumps({**{name: statistics.median(values) for name, values in seconds.items()},
                          'message_bytes': int(sum(each.size for each in parameters)) * 4,
                          'messages': len(parameters)}), flush=True)


def print_parts(measured: dict) -> None:
    """Print the parts of the time of a step with two processes."""
    whole = measured['step_together']
    rows = (('forward and backward', measured['forward_and_backward']),
            ('update', measured['step_alone'] - measured['forward_and_backward']),
            ('communication and waiting for each other', whole - measured['step_alone']))
    print_table(('part of a step of two processes', 'ms', 'share'), [
        (name, f'{1000 * seconds:.0f}', f'{seconds / whole:.1%}') for name, seconds in rows])
    print(f'messages of a step: {measured["messages"]} tensors, {measured["message_bytes"] / 1e6:.1f} MB in all\n')


def print_model(message_bytes: int, messages: int, recipe: str) -> None:
    """Print what a ring all-reduce of these messages, fused into one, would cost on many devices without overlap."""
    from src.config import load_recipe
    batch = load_recipe(recipe).TRAIN.BATCH_SIZE
    compute = batch / ASSUMED_IMAGES_PER_SECOND
    print(f'MODEL, not measured: batch {batch} per device at an assumed {ASSUMED_IMAGES_PER_SECOND:.0f} images/s per '
          'device; ring all-reduce 2 (n-1)/n x bytes / bandwidth + 2 (n-1) x latency, nothing overlapped')
    rows = []
    for devices, bandwidth in ASSUMED_BANDWIDTH.items():
        # One fused message, as the reducer's fusion makes it on Ascend.
        seconds = 2 * (devices - 1) / devices * message_bytes / bandwidth + 2 * (devices - 1) * ASSUMED_LATENCY
        rows.append((devices, f'{bandwidth / 1e9:.0f}', f'{1000 * seconds:.1f}',
                     f'{compute / (compute + seconds):.1%}'))
    print_table(('devices', 'assumed bandwidth, GB/s', 'all-reduce, ms', 'efficiency'), rows)
    print(f'({messages} separate messages would add their latencies.)')


if __name__ == '__main__':
    main()
