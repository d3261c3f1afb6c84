"""Samples → batches, through MindSpore's GeneratorDataset and its worker processes.

Workers make whole batches: one message per batch instead of one per sample, and the order of a run is a pure function
of its seed. What travels is the uint8 crop and the joints; normalisation and label maps happen inside the graph.
"""
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import cpu_count
from typing import Iterator, List, Tuple

import cv2
import mindspore.dataset as ds
import numpy as np

from src.samples.dataset import PersonSamples

TRAINING_COLUMNS = ('images', 'joints', 'validity', 'rows', 'problem')
PREFETCHED_BATCHES = 4
TEST_COLUMNS = ('images', 'centers', 'scales', 'rows', 'problem')


@dataclass(frozen=True)
class BatchPlan:
    """Which people form which batch of a training run.

    Attributes:
        num_samples: P.
        batch_size: of one device.
        epochs: of the whole run.
        seed: of the order; each epoch is shuffled anew.
        drop_remainder: leave out the last, smaller batch of an epoch.
        num_shards, shard: number of devices, and which of them this is. As in the MSPN release the permutation is
            filled up from its start to a multiple of the number of devices.
    """

    num_samples: int
    batch_size: int
    epochs: int
    seed: int
    drop_remainder: bool = False
    num_shards: int = 1
    shard: int = 0

    def __post_init__(self):
        if min(self.num_samples, self.batch_size) < 1 or self.epochs < 0:
            raise ValueError(f'a training run needs people and a batch size of at least 1; got {self.num_samples} '
                             f'people, batches of {self.batch_size} and {self.epochs} epochs')
        if not 0 <= self.shard < self.num_shards:
            raise ValueError(f'shard {self.shard} is not among the {self.num_shards} shards')
        if not self.steps_per_epoch:
            raise ValueError(f'{self.samples_per_shard} people do not fill one batch of {self.batch_size}; '
                             'choose a smaller batch_size or keep the remainder')

    @property
    def samples_per_shard(self) -> int:
        return -(-self.num_samples // self.num_shards)

    @property
    def steps_per_epoch(self) -> int:
        if self.drop_remainder:
            return self.samples_per_shard // self.batch_size
        return -(-self.samples_per_shard // self.batch_size)

    @property
    def num_steps(self) -> int:
        return self.steps_per_epoch * self.epochs

    @lru_cache(maxsize=2)  # noqa: B019  a permutation of COCO takes milliseconds, and a plan lives as long as its run
    def epoch_order(self, epoch: int) -> np.ndarray:
        """Return this shard's people of one epoch in their order."""
        order = np.random.default_rng((self.seed, epoch)).permutation(self.num_samples)
        order = np.resize(order, self.samples_per_shard * self.num_shards)
        return order[self.shard::self.num_shards]

    def batch(self, step: int) -> Tuple[int, np.ndarray]:
        """Return the epoch, from 0, of step `step`, from 0, and the people in its batch."""
        epoch, index = divmod(step, self.steps_per_epoch)
        order = self.epoch_order(epoch)
        return epoch, order[index * self.batch_size:(index + 1) * self.batch_size]


class _Batches:
    """Random access to batches; a failure travels as text, since an exception in a worker would reach the user as a
    page of the framework's internals."""

    def __init__(self, samples: PersonSamples):
        self.samples = samples

    def _rows(self, step: int) -> Tuple[int, np.ndarray]:
        raise NotImplementedError

    def _sample(self, row: int, epoch: int, out: np.ndarray) -> tuple:
        raise NotImplementedError

    def __getitem__(self, step: int) -> tuple:
        # Several workers share the cores; OpenCV's own threads would only get in their way.
        cv2.setNumThreads(1)
        epoch, rows = self._rows(int(step))
        images = np.empty((len(rows), *self.samples.input_shape, 3), np.uint8)
        first: List[np.ndarray] = []
        second: List[np.ndarray] = []
        problem = ''
        try:
            for place, row in enumerate(rows):
                one, other = self._sample(int(row), epoch, images[place])
                first.append(one)
                second.append(other)
        except Exception as error:  # noqa: BLE001  whatever it is, the main process raises it
            problem = str(error) or repr(error)
            first, second = [np.zeros(2)] * len(rows), [np.zeros(2)] * len(rows)
        return (images, np.array(first, np.float32), np.array(second, np.float32), rows.astype(np.int32),
                np.array(problem))


class TrainingBatches(_Batches):
    """The batches of a training run, from step `first_step` on."""

    def __init__(self, samples: PersonSamples, plan: BatchPlan, first_step: int = 0):
        super().__init__(samples)
        self.plan, self.first_step = plan, first_step

    def __len__(self) -> int:
        return self.plan.num_steps - self.first_step

    def _rows(self, step: int) -> Tuple[int, np.ndarray]:
        return self.plan.batch(self.first_step + step)

    def _sample(self, row: int, epoch: int, out: np.ndarray) -> tuple:
        return self.samples.training_sample(row, epoch, out)


class TestBatches(_Batches):
    """The batches of an evaluation, in the order of the people; the last one may be smaller."""

    __test__ = False  # not a test class, whatever pytest makes of its name

    def __init__(self, samples: PersonSamples, batch_size: int):
        super().__init__(samples)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.samples) // self.batch_size)

    def _rows(self, step: int) -> Tuple[int, np.ndarray]:
        return 0, np.arange(step * self.batch_size, min((step + 1) * self.batch_size, len(self.samples)))

    def _sample(self, row: int, epoch: int, out: np.ndarray) -> tuple:
        return self.samples.test_sample(row, out)


def iterate_batches(source: _Batches, *, num_workers: int) -> Iterator[tuple]:
    """Yield the batches of `source` in order, as tuples of NumPy arrays without the problem column.

    Args:
        num_workers: loader processes, at most one per core (MindSpore's limit); with 0 or 1 the batches are made in a
            thread of this process.

    Raises:
        ValueError: a sample could not be made; the message is the worker's.
    """
    columns = list(TRAINING_COLUMNS if isinstance(source, TrainingBatches) else TEST_COLUMNS)
    num_workers = min(max(1, num_workers), cpu_count())
    # Every worker keeps this many finished batches in shared memory; MindSpore's 16 are meant for single samples.
    ds.config.set_prefetch_size(PREFETCHED_BATCHES)
    dataset = ds.GeneratorDataset(
        source, columns, shuffle=False, num_parallel_workers=num_workers,
        python_multiprocessing=num_workers > 1)
    for *arrays, problem in dataset.create_tuple_iterator(num_epochs=1, output_numpy=True):
        if problem.item():
            raise ValueError(str(problem.item()))
        yield tuple(arrays)
