"""What test_distributed.py runs in one process and in several: python distributed_program.py FOLDER TASK…

A task is `function {"name": value, …}`: a function below and its arguments. Each returns arrays by name, which go to
FOLDER/<number of the task>_<rank>.npz.
"""
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Sequence

import numpy as np
from golden_data import load_seeded
from script_runs import ROOT, SIMPLE_POSE, TINY, TOY_POSE

sys.path.insert(0, str(ROOT))

from mindspore import Parameter, Tensor, nn, ops  # noqa: E402
from mindspore import dtype as mstype  # noqa: E402

from src.checkpoints.load import load_weights, read_weights  # noqa: E402
from src.checkpoints.names import named_parameters  # noqa: E402
from src.config import load_recipe, resolve  # noqa: E402
from src.data.loader import BatchPlan  # noqa: E402
from src.evaluation.evaluate import Evaluation  # noqa: E402
from src.export.folding import fold_batch_norms  # noqa: E402
from src.flags import load_plugin  # noqa: E402
from src.models.common.blocks import (
    BatchNorm,  # noqa: E402
    set_precision,
)
from src.models.registry import build_configured_network  # noqa: E402
from src.system.collectives import broadcast_parameters, gather_rows  # noqa: E402
from src.system.device import Processes, join_processes  # noqa: E402
from src.training.files import RunFiles  # noqa: E402
from src.training.optimizers import TorchAdam  # noqa: E402
from src.training.run import TrainingRun  # noqa: E402
from src.training.setup import build_train_step  # noqa: E402
from src.training.states import Progress  # noqa: E402
from src.training.step import TrainStep  # noqa: E402

TINY_KEYS = dict(item.split('=') for item in TINY[SIMPLE_POSE].split()[1:])


def tiny_config(**keys):
    """Return the configuration of a network that compiles within seconds; `keys` of the section TRAIN."""
    return resolve(load_recipe(SIMPLE_POSE), {**TINY_KEYS, 'MODEL.IMAGE_SIZE': [64, 64], 'TRAIN.AMP_LEVEL': 'O0',
                                              **{f'TRAIN.{name}': value for name, value in keys.items()}})


def toy_config(**keys):
    """Return the configuration of a network of two convolutions, which compiles at once; `keys` as above."""
    load_plugin(str(TOY_POSE))
    return resolve(load_recipe('base'), {'MODEL.NAME': 'toy', 'MODEL.IMAGE_SIZE': [64, 64],
                                         'TOY.HEATMAP_SIZE': [16, 16], 'TRAIN.AMP_LEVEL': 'O0',
                                         **{f'TRAIN.{name}': value for name, value in keys.items()}})


def values_of(parameters) -> dict:
    return {name: parameter.asnumpy().copy() for name, parameter in parameters.items()}


# A training step

def made_up_batch(num_people: int, config) -> tuple:
    """Return pixels, joints and validity of people that nobody has seen."""
    rng = np.random.default_rng(7)
    height, width = config.MODEL.IMAGE_SIZE[::-1]
    # Dark and bright people: whoever normalises them apart from each other finds other statistics.
    bright = rng.uniform(40, 255, (num_people, 1, 1, 3))
    pixels = (rng.random((num_people, height, width, 3)) * bright).astype(np.uint8)
    joints = (rng.random((num_people, config.MODEL.NUM_JOINTS, 2)) * [width, height]).astype(np.float32)
    return pixels, joints, (rng.random(joints.shape[:2]) < 0.8).astype(np.float32)


def take_step(processes: Processes, *, num_people: int, normalise_batch: bool, rows: Sequence[int] = (),
              **keys) -> dict:
    """Take one step of `num_people` people, all processes together; return the loss, Adam's first moment, which is a
    tenth of the averaged gradient, and BatchNorm's moving statistics.

    Args:
        normalise_batch: BatchNorm takes and gathers the statistics of the batch, as in training.
        rows: of the people, instead of the plan's.
        keys: of the section TRAIN.
    """
    config = toy_config(**keys)
    network = build_configured_network(config)
    # Fresh weights give nearly empty heatmaps, whatever BatchNorm does.
    load_seeded(network)
    step = build_train_step(config, network, np.full(1, 1e-3), processes)
    step.set_train()
    step.loss_graph.set_train(normalise_batch)
    plan = BatchPlan(num_people, -(-num_people // processes.size), 1, seed=1, num_shards=processes.size,
                     shard=processes.rank)
    assert plan.num_steps == 1
    rows = np.array(rows, int) if rows else plan.batch(0)[1]
    report = step(*(column[rows] for column in made_up_batch(num_people, config)), share=plan.share(0),
                  smallest_share=plan.smallest_share(0), stop=processes.rank == processes.size - 1)
    state = values_of(step.state(network))
    return {'rows': rows, 'loss': np.float64(report.loss), 'stop': np.array(report.stop),
            **{name: value for name, value in state.items()
               if name.startswith('moment1.') or name.split('.')[-1] in ('moving_mean', 'moving_variance')}}


def values_to_normalise(rank: int) -> np.ndarray:
    """Return the batch of a process, (3 or 2, 2, h, w); float16 cannot count its positions."""
    rng = np.random.default_rng(rank)
    return (rank + rng.standard_normal((3 - rank, 2, 160, 160)) * [[[[2]], [[3]]]]).astype(np.float16)


def normalise_together(processes: Processes) -> dict:
    """Return synchronised normalisation in a network of float16, and the statistics that it gathers."""
    cell = BatchNorm(2)
    set_precision(cell, 'O3')
    cell.synchronise(processes.size)
    cell.set_train(True)
    out = cell(Tensor(values_to_normalise(processes.rank))).asnumpy()
    return {'out': out, 'mean': cell.moving_mean.asnumpy(), 'variance': cell.moving_variance.asnumpy()}


class Overflowing(nn.Cell):
    """A loss of one weight, which is too large for float32 where the pixels are not 0."""

    def __init__(self):
        super().__init__()
        self.weight = Parameter(Tensor([3.0], mstype.float32), name='weight')

    def construct(self, pixels, joints, validity):
        factor = 1.0 + 3e38 * ops.mean(ops.cast(pixels, mstype.float32))
        return ops.sum(self.weight * self.weight) * factor


def overflow_on_last(processes: Processes) -> dict:
    """Take a step in mixed precision in which only the last process's gradient overflows, then one without."""
    cell = Overflowing()
    step = TrainStep(cell, TorchAdam(cell.trainable_params(), np.full(2, 0.5)), loss_scale=8.0,
                     num_processes=processes.size)
    step.set_train()
    told = []
    for is_too_large in (processes.rank == processes.size - 1, False):
        pixels = np.full((1, 2, 2, 3), is_too_large, np.uint8)
        report = step(pixels, np.zeros((1, 1, 2), np.float32), np.ones((1, 1), np.float32))
        told.append([report.skipped, report.loss_scale, cell.weight.asnumpy()[0]])
    return {'told': np.array(told)}


# What the processes tell each other

def rows_to_gather(rank: int) -> dict:
    """Return what process `rank` hands to `gather_rows`: any bits, also those of NaN, infinity and denormals."""
    rng = np.random.default_rng(rank)
    rows = {}
    for kind in ('float64', 'float32', 'int64', 'int32'):
        for where, count in (('equal', 3), ('different', (4, 1, 6)[rank]), ('some_none', (0, 2, 0)[rank]), ('none', 0)):
            for shape in ((), (5,), (3, 2)):
                bits = rng.bytes(count * int(np.prod(shape)) * np.dtype(kind).itemsize)
                rows[f'{kind}.{where}.{len(shape)}'] = np.frombuffer(bits, kind).reshape(count, *shape)
    special = np.array([np.nan, -np.nan, np.inf, -0.0, 5e-324, 1 / 3], np.float64)
    # A view with gaps, as a column of a table is.
    rows['special'] = np.stack([special, special], axis=1)[:, rank % 2]
    return rows


def gather(processes: Processes) -> dict:
    parts = {}
    for name, rows in rows_to_gather(processes.rank).items():
        for source, part in enumerate(gather_rows(rows, processes)):
            parts[f'{name}.{source}'] = part
    return parts


def parameters_to_broadcast(rank: int) -> dict:
    rng = np.random.default_rng(100 + rank)
    return {'weight': rng.standard_normal((3, 2, 5)).astype(np.float32), 'index': np.array(rank, np.int32),
            'scale': np.array(np.nan if rank == 0 else 1, np.float32), 'bias': rng.standard_normal(4, np.float32),
            'counts': rng.integers(-2 ** 31, 2 ** 31, 7, np.int64).astype(np.int32)}


def broadcast(processes: Processes) -> dict:
    parameters = {name: Parameter(Tensor(value), name=name)
                  for name, value in parameters_to_broadcast(processes.rank).items()}
    broadcast_parameters(parameters, processes)
    return values_of(parameters)


def finish_apart(processes: Processes, *, folder: str) -> dict:
    """End a run whose last process has got another weight than the others, by the last bit."""
    config = toy_config()
    network = build_configured_network(config)
    step = build_train_step(config, network, np.full(1, 1e-3), processes)
    if processes.rank == processes.size - 1:
        weight = named_parameters(network)['conv1.weight']
        values = weight.asnumpy().copy()
        values.ravel()[0] = np.nextafter(values.ravel()[0], np.float32(9))
        weight.set_data(Tensor(values))
    run = TrainingRun(config=config, processes=processes, files=RunFiles(f'{folder}/apart.ckpt'),
                      states=SimpleNamespace(), log=SimpleNamespace(), network=network, step=step,
                      progress=Progress(step=1), evaluation=None, evaluation_network=None, steps_per_epoch=1, say=print)
    try:
        run.finish()
    except RuntimeError as error:
        return {'problem': np.array(str(error))}
    return {'problem': np.array('')}


# Evaluation

def evaluate(processes: Processes, *, checkpoint: str, **keys) -> dict:
    """Return the metrics and the bytes of the results; `keys` are config keys with '__' for the dot."""
    weights, carried = read_weights(checkpoint)
    overrides = {name.replace('__', '.'): value for name, value in keys.items()}
    config = resolve(carried, overrides)
    evaluation = Evaluation(config, processes, overrides)
    network = build_configured_network(config)
    load_weights(network, weights, config, checkpoint)
    # As eval.py does.
    fold_batch_norms(network)
    metrics, results, _ = evaluation.measure(network)
    return {'metrics': np.array(list(metrics.values())), 'people': np.array(len(evaluation.people)),
            'results': np.frombuffer(json.dumps(results).encode(), np.uint8)}


TASKS = {function.__name__: function for function in (
    take_step, normalise_together, overflow_on_last, gather, broadcast, finish_apart, evaluate)}


def main() -> None:
    processes = join_processes('CPU')
    folder, *tasks = sys.argv[1:]
    for number, task in enumerate(tasks):
        name, _, arguments = task.partition(' ')
        result = TASKS[name](processes, **json.loads(arguments or '{}'))
        path = Path(folder) / f'{number}_{processes.rank}.npz'
        # Somebody waits for the file; half of it is no use.
        np.savez(path.with_suffix('.half.npz'), **result)
        path.with_suffix('.half.npz').rename(path)
    print('all tasks done', flush=True)


if __name__ == '__main__':
    main()
