"""Samples → batches: made by processes for training, by threads for evaluation.

A worker makes whole batches, so there is one message per batch instead of one per sample, and the order of a run
depends on its seed alone. Workers send uint8 crops and joints; the graph computes normalisation and label maps.
"""
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import cpu_count
from typing import Callable, Deque, Iterator, Tuple

import cv2
import numpy as np

from ..system.errors import PoseError
from .loader_processes import (
    WorkerDiedError,
    can_fork,
    fit_into_memory,
    free_memory,
    iterate_in_processes,
    largest_bytes,
    make_here,
)
from .samples import PersonSamples

# How many finished batches each process or thread keeps ready.
PREFETCHED_BATCHES = 4


@dataclass(frozen=True)
class BatchPlan:
    """Which people form which batch of a training run.

    The people of an epoch are shuffled; each step takes the next ones in this order and divides them among the devices.
    So all devices together see every person once per epoch, and in each step they see what a single device with their
    joint batch size would see. If the people left at the end are fewer than the devices, they join the last full step.

    Attributes:
        num_samples: P.
        batch_size: people per step on one device.
        epochs: number of epochs of the whole run.
        seed: of the shuffling; every epoch has another order.
        drop_remainder: leave out the people at the end of an epoch who do not fill a batch.
        num_shards, shard: number of devices, and which of them this is.
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
            raise PoseError(f'a training run needs people and a batch size of at least 1; got {self.num_samples} '
                            f'people, batches of {self.batch_size} and {self.epochs} epochs')
        if not 0 <= self.shard < self.num_shards:
            raise PoseError(f'shard {self.shard} is not among the {self.num_shards} shards')
        if self.num_samples < self.num_shards:
            raise PoseError(f'{self.num_samples} people are too few for {self.num_shards} devices')
        if not self.steps_per_epoch:
            devices = f' on {self.num_shards} devices' if self.num_shards > 1 else ''
            raise PoseError(f'{self.num_samples} people do not fill one batch of {self.batch_size}{devices}; '
                            'choose a smaller batch_size or keep the remainder')

    @property
    def joint_batch_size(self) -> int:
        """People per step on all devices together."""
        return self.batch_size * self.num_shards

    @property
    def steps_per_epoch(self) -> int:
        whole, remainder = divmod(self.num_samples, self.joint_batch_size)
        if self.drop_remainder:
            return whole
        return max(1, whole + (remainder >= self.num_shards))

    @property
    def num_steps(self) -> int:
        return self.steps_per_epoch * self.epochs

    @lru_cache(maxsize=2)  # noqa: B019  a permutation of COCO takes milliseconds, and a plan lives as long as its run
    def epoch_order(self, epoch: int) -> np.ndarray:
        """Return the people of one epoch, for all devices, in the order in which they are used."""
        return np.random.default_rng((self.seed, epoch)).permutation(self.num_samples)

    def joint_batch(self, step: int) -> Tuple[int, np.ndarray]:
        """Return the epoch of step `step` (both count from 0) and the people that all devices together see in
        this step."""
        epoch, index = divmod(step, self.steps_per_epoch)
        begin = index * self.joint_batch_size
        is_last = index == self.steps_per_epoch - 1 and not self.drop_remainder
        return epoch, self.epoch_order(epoch)[begin:None if is_last else begin + self.joint_batch_size]

    def batch(self, step: int) -> Tuple[int, np.ndarray]:
        """Return the epoch of step `step` and the people in this device's batch, at least one."""
        epoch, rows = self.joint_batch(step)
        return epoch, np.array_split(rows, self.num_shards)[self.shard]

    @property
    def largest_batch(self) -> int:
        """Return the number of people in this device's largest batch: the last one may be larger than the others."""
        return max(len(self.batch(step)[1]) for step in (0, self.steps_per_epoch - 1))

    def smallest_share(self, step: int) -> int:
        """Return the number of people in the smallest batch that any device has in step `step`."""
        return len(self.joint_batch(step)[1]) // self.num_shards

    def share(self, step: int) -> float:
        """Return the weight of this device's batch mean in the mean over devices: 1 if all devices have batches of the
        same size in this step, otherwise about 1."""
        return len(self.batch(step)[1]) * self.num_shards / len(self.joint_batch(step)[1])


class TrainingBatches:
    """The batches of a training run, starting at step `first_step`."""

    def __init__(self, samples: PersonSamples, plan: BatchPlan, first_step: int = 0):
        self.samples, self.plan, self.first_step = samples, plan, first_step

    def __len__(self) -> int:
        return self.plan.num_steps - self.first_step

    @property
    def largest_shape(self) -> Tuple[int, int, int, int]:
        """Shape (N, H, W, 3) of the crops of the largest batch."""
        return self.plan.largest_batch, *self.samples.input_shape, 3

    def make(self, number: int, pixels: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cut the people of batch `number` into the first N rows of `pixels` (N or more, H, W, 3) uint8.

        Returns:
            joints (N, K, 2) or, with neighbours, (N, I, K, 2) float32, validity (N, K) or (N, I, K) float32, and rows
            (N,) int32 of the people.

        Raises:
            PoseError: a picture cannot be read.
        """
        # Several workers share the cores; OpenCV's own threads would only get in their way.
        cv2.setNumThreads(1)
        epoch, rows = self.plan.batch(self.first_step + number)
        joints, validity = zip(*(self.samples.training_sample(int(row), epoch, pixels[place])
                                 for place, row in enumerate(rows)))
        return np.array(joints, np.float32), np.array(validity, np.float32), rows.astype(np.int32)

    def describe(self, number: int) -> str:
        """Name the pictures of batch `number`."""
        return self.samples.describe(self.plan.batch(self.first_step + number)[1])


def _raise(error: Exception) -> None:
    raise error


def iterate_batches(source: TrainingBatches, *, num_workers: int, say: Callable[[str], None] = print,
                    on_death: Callable[[WorkerDiedError], None] = _raise) -> Iterator[tuple]:
    """Yield the batches of a training in order, as tuples of NumPy arrays: pixels, joints, validity, rows.

    Args:
        num_workers: loader processes, at most one per core; with 0 or 1 the batches are made in a thread of this
            process. If there is too little memory, there are fewer processes or fewer batches ahead; a line says so.
        say: prints a line.
        on_death: is called if a loader process has died; the remaining batches are made by this process.

    Raises:
        PoseError: a sample could not be made; the message comes from the worker.
        WorkerDiedError: a loader process has died, and `on_death` is not given.
    """
    # Threads do not survive a fork. Decoding heatmaps starts OpenCV's thread pool in this process; a forked worker
    # would wait for the threads of this pool forever.
    cv2.setNumThreads(1)
    wanted = min(num_workers, cpu_count()) if can_fork() else 1
    free = free_memory()
    workers, slots = fit_into_memory(wanted, PREFETCHED_BATCHES, largest_bytes(source), free)
    if wanted > 1 and (workers, slots) != (wanted, PREFETCHED_BATCHES):
        needed = wanted * PREFETCHED_BATCHES * largest_bytes(source)
        say(f'note: {wanted} loader processes need {needed / 1e6:.0f} MB for the batches that they make ahead, and '
            f'{free / 1e6:.0f} MB of memory are free: there are '
            + (f'{workers} with {slots} each' if workers > 1 else 'none, a thread makes them'))
    made = None
    if workers > 1:
        try:
            made = iterate_in_processes(source, num_workers=workers, num_slots=slots, on_death=on_death)
        except OSError as error:
            say(f'note: no loader processes can be started ({error.strerror or error}); a thread makes the batches')
    yield from made or _iterate_in_threads(lambda step: make_here(source, step), len(source), 1, slots)


def _iterate_in_threads(make: Callable[[int], tuple], count: int, num_threads: int, ahead: int) -> Iterator[tuple]:
    """Yield make(0) to make(count - 1) in order, computed by threads; they end when the caller stops iterating."""
    with ThreadPoolExecutor(num_threads, thread_name_prefix='loader') as pool:
        waiting: Deque[Future] = deque()
        try:
            for step in range(count):
                waiting.append(pool.submit(make, step))
                if len(waiting) > max(num_threads, ahead):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()


class TestBatches:
    """Random access to the batches of an evaluation, in the order of the people; the last one may be smaller.

    Each of n devices takes every n-th batch, so a batch holds the same people whatever the number of devices.
    """

    __test__ = False  # not a test class, whatever pytest makes of its name

    def __init__(self, samples: PersonSamples, batch_size: int, *, num_shards: int = 1, shard: int = 0):
        self.samples, self.batch_size, self.num_shards, self.shard = samples, batch_size, num_shards, shard

    def __len__(self) -> int:
        of_all = -(-len(self.samples) // self.batch_size)
        return len(range(self.shard, of_all, self.num_shards))

    def __getitem__(self, step: int) -> tuple:
        first = (self.shard + step * self.num_shards) * self.batch_size
        rows = np.arange(first, min(first + self.batch_size, len(self.samples)), dtype=np.int32)
        return (*self.samples.test_samples(rows), rows)


def iterate_test_batches(source: TestBatches, *, num_threads: int) -> Iterator[tuple]:
    """Yield the batches of an evaluation in order: crops, centers, scales, rows of the people.

    Threads are enough: reading and cropping release Python's global interpreter lock, and threads need neither start-up
    time nor copies.

    Args:
        num_threads: threads that read and crop ahead; with 0 a batch is made when it is asked for.

    Raises:
        PoseError: a picture cannot be read; all batches before it have been yielded.
    """
    # Each of our threads works on its own picture; OpenCV's own threads would only get in their way.
    cv2.setNumThreads(1)
    if num_threads < 1:
        yield from map(source.__getitem__, range(len(source)))
        return
    yield from _iterate_in_threads(source.__getitem__, len(source), num_threads, PREFETCHED_BATCHES)
