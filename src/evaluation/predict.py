"""People on pictures → heatmaps → keypoints in the pictures."""
import sys
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Callable, Deque, List, NamedTuple, Optional, Tuple

import numpy as np
from tqdm import tqdm

from ..data.geometry import PIXELS_PER_SCALE
from ..data.loader import TestBatches, iterate_test_batches
from ..data.samples import PersonSamples
from ..system.command_line import say
from ..system.device import Processes
from ..system.errors import PoseError

# Batches of heatmaps that may wait for the decoder: more would only fill the memory.
WAITING_BATCHES = 2
# Between two lines about the progress, if stderr is not a terminal and shows no progress bar.
SECONDS_BETWEEN_LINES = 30.0


@dataclass(frozen=True)
class Poses:
    """Predicted poses for P boxes: one for each box or, for networks that predict I people in a box, I poses
    (hypotheses) for each box. All P poses of the first hypothesis come first, in the order of the boxes, then all of
    the second, and so on.

    Attributes:
        keypoints: (I * P, K, 3) float64: x, y in picture pixels and keypoint score.
        crop_areas: (I * P,) float64, square pixels of the padded crop in the picture.
        people: (I * P,) int64, index of the box among the people.
        hypotheses: (I * P,) int64, number of the hypothesis, from 0.
    """

    keypoints: np.ndarray
    crop_areas: np.ndarray
    people: np.ndarray
    hypotheses: np.ndarray

    def of_hypothesis(self, number: int) -> 'Poses':
        """Return the poses of one hypothesis alone."""
        rows = self.hypotheses == number
        return Poses(self.keypoints[rows], self.crop_areas[rows], self.people[rows], self.hypotheses[rows])


class Predictor(NamedTuple):
    """Computes keypoints from crops, in whatever runtime.

    Attributes:
        run: crops (N, H, W, 3) uint8 -> arrays whose first axis is I * N: all N of the first hypothesis, then all of
            the next.
        decode: (the arrays of `run`, centers (M, 2), scales (M, 2)) -> keypoints (M, K, 2) in the picture and their
            scores (M, K), for any number M of poses.
        batch_size: N. A smaller last batch is filled up, so that a graph is compiled for one shape only.
        needs_whole_batches: the batch size is fixed, even if there are fewer people in all.
        num_hypotheses: I, the number of people predicted in a crop.
        run_uncompiled: like `run` and to the same bits, but slower and without compiling a graph first, which takes
            seconds; None if `run` compiles nothing, or there is no such way.
    """

    run: Callable[[np.ndarray], Tuple[np.ndarray, ...]]
    decode: Callable[..., Tuple[np.ndarray, np.ndarray]]
    batch_size: int
    needs_whole_batches: bool = False
    num_hypotheses: int = 1
    run_uncompiled: Optional[Callable[[np.ndarray], Tuple[np.ndarray, ...]]] = None


def describe_progress(done: int, count: int, seconds: float) -> str:
    """Return the line about the progress of a prediction, for logs without a progress bar."""
    pace = done / max(seconds, 1e-9)
    return f'{done} of {count} people, {seconds:.0f} s, {pace:.{0 if pace >= 10 else 2}f} people/s'


def first_crops(values: np.ndarray, num_hypotheses: int, count: int) -> np.ndarray:
    """Return, for each hypothesis in values (I * N, ...), those of the first `count` of the N crops."""
    return values.reshape(num_hypotheses, -1, *values.shape[1:])[:, :count].reshape(-1, *values.shape[1:])


def _gather(rows: np.ndarray, processes: Processes) -> np.ndarray:
    """Return the rows of all processes."""
    if processes.size == 1:
        return rows
    # Imported here, because exported files also run without MindSpore.
    from ..system.collectives import gather_rows
    return np.concatenate(gather_rows(rows, processes))


def predict_poses(predictor: Predictor, samples: PersonSamples, *, num_threads: int, processes: Processes) -> Poses:
    """Predict the poses in every box of `samples`. Several processes share the batches, and each returns all poses.

    Three stages run at the same time: cropping the next batches, the network on this one, decoding the one before.

    Args:
        num_threads: number of threads that read pictures and crop them.

    Raises:
        PoseError: a picture cannot be read, or poses are not finite; the message names a picture.
    """
    batch_size, hypotheses = predictor.batch_size, predictor.num_hypotheses
    if not predictor.needs_whole_batches:
        batch_size = min(batch_size, len(samples))
    source = TestBatches(samples, batch_size, num_shards=processes.size, shard=processes.rank)
    keypoints: List[np.ndarray] = [np.empty((0, samples.skeleton.num_keypoints, 3))]
    areas, places, done = [np.empty(0)], [np.empty(0, np.int64)], 0
    waiting: Deque[Future] = deque()

    started = told = time.monotonic()
    shows_bar = sys.stderr.isatty()

    def collect(most: int) -> None:
        while len(waiting) > most:
            positions, scores = waiting.popleft().result()
            keypoints.append(np.concatenate([positions, scores[..., None]], axis=2))

    with ThreadPoolExecutor(1, thread_name_prefix='decoder') as decoder, \
            tqdm(total=len(samples), unit='person', disable=not shows_bar or not processes.is_first) as bar:
        try:
            for crops, centers, scales, rows in iterate_test_batches(source, num_threads=num_threads):
                filled = np.resize(crops, (batch_size, *crops.shape[1:])) if len(rows) < batch_size else crops
                outputs = [first_crops(output, hypotheses, len(rows)) for output in predictor.run(filled)]
                waiting.append(decoder.submit(predictor.decode, *outputs, np.tile(centers, (hypotheses, 1)),
                                              np.tile(scales, (hypotheses, 1))))
                collect(WAITING_BATCHES)
                areas.append(np.tile(np.prod(scales.astype(np.float64) * PIXELS_PER_SCALE, axis=1), hypotheses))
                places.append((np.arange(hypotheses)[:, None] * len(samples) + rows).ravel())
                bar.update(len(rows) * processes.size)
                done += len(rows) * processes.size
                if processes.is_first and not shows_bar and time.monotonic() - told >= SECONDS_BETWEEN_LINES:
                    told = time.monotonic()
                    say(describe_progress(min(done, len(samples)), len(samples), told - started))
            collect(0)
        finally:
            # After an error the batches that still wait need not be decoded.
            for each in waiting:
                each.cancel()
    keypoints, areas, places = (_gather(np.concatenate(parts), processes) for parts in (keypoints, areas, places))
    order = np.argsort(places)
    numbers, people = np.divmod(places[order], max(1, len(samples)))
    poses = Poses(keypoints[order], areas[order], people, numbers)
    broken = ~np.isfinite(poses.keypoints).all(axis=(1, 2))
    if broken.any():
        # The evaluator would score a pose of NaN as a perfect one.
        raise PoseError(f'{broken.sum()} of {len(broken)} poses are not finite, the first on '
                        f'{samples.describe(poses.people[broken][:1])}; do recipe and checkpoint belong together?')
    return poses
