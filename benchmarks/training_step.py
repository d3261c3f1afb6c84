"""A training step on a CPU: this package against the same network in PyTorch (eager, and with channels last).

    pip install torch
    python -m benchmarks.training_step [--recipes simplepose_r50_coco_256x192 …] [--batch_size 8] [--rounds 5]
    python -m benchmarks.training_step --convolutions
    python -m benchmarks.training_step --depthwise --batch_size 16

Each side is a process of its own, and takes one step in turn while the others wait. All start from the same weights and
see the same crops and label maps; the losses of the first step are printed, so that one sees that the work is the same.
A step is normalisation, forward pass, loss, gradients and Adam; ours also makes the label maps. Nobody reads pictures.

With --convolutions it times single convolutions instead, in MindSpore with each setting of ONEDNN_MAX_CPU_ISA and in
PyTorch: how much of the difference is MindSpore's oneDNN. With --depthwise it takes steps of the small MobileNetV2,
with and without our gradient of depthwise convolutions.
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.timing import machine, median_seconds, parser_of, print_table

RECIPES = ('simplepose_r50_coco_256x192', 'mspn_2stg_coco_256x192', 'hrnet_w32_coco_256x192')
SIDES = ('this package', 'PyTorch', 'PyTorch, channels last')
SMALL_RECIPE, PLAIN = 'simplepose_mobilenetv2_small_people18k_192x160', "MindSpore's depthwise gradient"
# Input and output channels, kernel, stride, height and width of the input.
CONVOLUTIONS = ((64, 64, 3, 1, 64, 48), (256, 64, 1, 1, 64, 48), (128, 128, 3, 2, 64, 48), (256, 256, 1, 1, 16, 12))
INSTRUCTION_SETS = ('AVX2', 'AVX512_CORE', 'DEFAULT')


def _answer(step) -> None:
    """Take a step for each line of the standard input, and print loss and seconds; at its end print the peak memory."""
    import resource
    for _ in sys.stdin:
        start = time.perf_counter()
        loss = step()
        print(loss, time.perf_counter() - start, flush=True)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)


def run_ours(recipe: str, batch_size: int, path: str, *, is_plain: bool) -> None:
    import src.system.with_mindspore  # noqa: F401, I001
    import numpy as np
    from mindspore import Tensor
    from src.checkpoints.names import named_parameters, pytorch_names
    from src.config import input_shape, load_recipe, resolve
    from src.models.registry import build_configured_network
    from src.models.simple_pose import mobilenet
    from src.system.device import join_processes
    from src.training.setup import build_train_step
    if is_plain:
        mobilenet.MANY_CELLS = float('inf')
    config = resolve(load_recipe(recipe), {'TRAIN.AMP_LEVEL': 'O0'})
    network = build_configured_network(config)
    step = build_train_step(config, network, np.full(1000, 1e-3), join_processes('CPU', 0))
    step.set_train()
    height, width = input_shape(config)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (batch_size, height, width, 3), np.uint8)
    joints = (rng.random((batch_size, config.MODEL.NUM_JOINTS, 2)) * [width, height]).astype(np.float32)
    validity = np.full(joints.shape[:2], 2 if recipe.startswith('mspn') else 1, np.float32)
    labels, weights = step.loss_graph.targets(Tensor(joints), Tensor(validity))
    labels = [each.asnumpy() for each in (labels if isinstance(labels, tuple) else (labels,))]
    names = pytorch_names(network)
    np.savez(path, images=step.loss_graph.normaliser(Tensor(pixels)).asnumpy(), weights=weights.asnumpy(),
             **{f'label{index}': each for index, each in enumerate(labels)},
             **{f'parameter {names[name]}': each.asnumpy() for name, each in named_parameters(network).items()})
    _answer(lambda: float(step(pixels, joints, validity).loss))


def run_torch(recipe: str, path: str, channels_last: bool) -> None:
    import numpy as np
    import torch

    from benchmarks.torch_networks import NETWORKS
    layout = torch.channels_last if channels_last else torch.contiguous_format
    build, loss_of = NETWORKS[recipe]
    with np.load(path) as given:
        arrays = {name: torch.from_numpy(given[name]) for name in given.files}
    network = build()
    missing = network.load_state_dict({name[len('parameter '):]: each for name, each in arrays.items()
                                       if name.startswith('parameter ')}, strict=False)
    if missing.unexpected_keys or any(not name.endswith('num_batches_tracked') for name in missing.missing_keys):
        sys.exit(f'the network in PyTorch has other parameters: {missing}')
    network = network.to(memory_format=layout).train()
    images = arrays['images'].to(memory_format=layout)
    labels = [each for name, each in sorted(arrays.items()) if name.startswith('label')]
    labels = labels if len(labels) > 1 else labels[0]
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_of(network(images), labels, arrays['weights'])
        loss.backward()
        optimizer.step()
        return loss.item()

    _answer(step)


class Side:
    """A process that takes steps when it is told to."""

    def __init__(self, *arguments: str):
        # A process that waits must not take the cores from the one that works.
        environment = {**os.environ, 'OMP_WAIT_POLICY': 'passive'}
        if 'PyTorch' in arguments[1]:
            # The limit that this package sets for MindSpore must not slow PyTorch down.
            environment['ONEDNN_MAX_CPU_ISA'] = 'DEFAULT'
        self.process = subprocess.Popen([sys.executable, '-m', 'benchmarks.training_step', *arguments], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

    def _line(self):
        for line in self.process.stdout:
            try:
                return [float(each) for each in line.split()]
            except ValueError:
                print(line, end='')
        sys.exit('a side has ended early, see above')

    def step(self):
        """Return the loss and the seconds of a step."""
        print(file=self.process.stdin, flush=True)
        return self._line()

    def end(self) -> float:
        """Return the peak memory in MB."""
        self.process.stdin.close()
        megabytes, = self._line()
        self.process.wait()
        return megabytes


def compare(recipe: str, names: tuple, batch_size: int, rounds: int) -> list:
    """Return a row of the table for each of the named sides."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'start.npz')
        sides, losses, seconds = [], [], {name: [] for name in names}
        for name in names:
            side = Side('--side', name, '--recipes', recipe, '--batch_size', str(batch_size), '--path', path)
            loss, first = side.step()
            print(f'{recipe}: {name}: loss of the first step {loss:.6g}, which took {first:.1f} s', flush=True)
            sides.append(side)
            losses.append(loss)
        if max(losses) - min(losses) > 1e-3 * max(losses):
            sys.exit('the losses differ: the sides do not do the same work')
        for _ in range(rounds):
            for name, side in zip(names, sides):
                seconds[name].append(side.step()[1])
        peaks = [side.end() for side in sides]
    rows = []
    for name, peak in zip(names, peaks):
        ratio = statistics.median(other / ours for other, ours in zip(seconds[name], seconds[names[0]]))
        rows.append((recipe, name, f'{ratio:.2f}', f'{batch_size / statistics.median(seconds[name]):.2f}',
                     f'{peak:.0f}'))
    return rows


def convolve_in_mindspore() -> None:
    import mindspore as ms
    import numpy as np
    from mindspore import Tensor, nn
    ms.set_context(mode=ms.GRAPH_MODE)
    for inner, outer, kernel, stride, height, width in CONVOLUTIONS:
        cell = nn.Conv2d(inner, outer, kernel, stride, 'pad', kernel // 2, has_bias=False)
        x = Tensor(np.random.default_rng(0).standard_normal((8, inner, height, width)).astype(np.float32))
        print(median_seconds(lambda cell=cell, x=x: cell(x).asnumpy(), 3))


def convolve_in_torch(channels_last: bool) -> None:
    import torch
    layout = torch.channels_last if channels_last else torch.contiguous_format
    torch.set_num_threads(1)
    with torch.inference_mode():
        for inner, outer, kernel, stride, height, width in CONVOLUTIONS:
            cell = torch.nn.Conv2d(inner, outer, kernel, stride, kernel // 2, bias=False).to(memory_format=layout)
            x = torch.randn(8, inner, height, width).to(memory_format=layout)
            print(median_seconds(lambda cell=cell, x=x: cell(x), 5))


def compare_convolutions() -> None:
    """Print the speed of single convolutions, forward, one thread."""
    table = {}
    for limit in INSTRUCTION_SETS:
        table[f'MindSpore, {limit}'] = _seconds('mindspore', ONEDNN_MAX_CPU_ISA=limit)
    for name in ('torch', 'torch, channels last'):
        table[name.replace('torch', 'PyTorch')] = _seconds(name, ONEDNN_MAX_CPU_ISA='DEFAULT')
    operations = [8 * 2 * inner * outer * kernel ** 2 * (height // stride) * (width // stride)
                  for inner, outer, kernel, stride, height, width in CONVOLUTIONS]
    print_table(('convolution, batch 8', *(f'{name}, GFLOP/s' for name in table)), [
        (f'{kernel}x{kernel}, {inner} to {outer}, {height}x{width}' + (', stride 2' if stride == 2 else ''),
         *(f'{work / taken[index] / 1e9:.3g}' for taken in table.values()))
        for index, ((inner, outer, kernel, stride, height, width), work) in enumerate(zip(CONVOLUTIONS, operations))])


def _seconds(side: str, **environment: str) -> list:
    done = subprocess.run([sys.executable, '-m', 'benchmarks.training_step', '--side', side], text=True, check=True,
                          stdout=subprocess.PIPE, env={**os.environ, 'OMP_NUM_THREADS': '1', 'GLOG_v': '3',
                                                       **environment})
    return [float(line) for line in done.stdout.split()]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument('--recipes', nargs='+', default=RECIPES, choices=(*RECIPES, SMALL_RECIPE))
    parser.add_argument('--batch_size', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--convolutions', action='store_true')
    parser.add_argument('--depthwise', action='store_true')
    parser.add_argument('--side', help=argparse.SUPPRESS)
    parser.add_argument('--path', help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side in (SIDES[0], PLAIN):
        run_ours(given.recipes[0], given.batch_size, given.path, is_plain=given.side == PLAIN)
    elif given.side in SIDES:
        run_torch(given.recipes[0], given.path, given.side == SIDES[2])
    elif given.side == 'mindspore':
        convolve_in_mindspore()
    elif given.side:
        convolve_in_torch('channels' in given.side)
    else:
        print(machine())
        if given.convolutions:
            compare_convolutions()
            return
        recipes, names = ((SMALL_RECIPE,), (SIDES[0], PLAIN)) if given.depthwise else (given.recipes, SIDES)
        rows = [row for recipe in recipes for row in compare(recipe, names, given.batch_size, given.rounds)]
        print_table(('recipe', 'side', 'time of ours', 'images/s', 'peak MB'), rows)


if __name__ == '__main__':
    main()
