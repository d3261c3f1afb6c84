"""Comparison of an exported file with its network, before the file gets its final name.

Axes: N crops, I hypotheses, K keypoints, H, W input, h, w heatmap.
"""
from typing import Callable, Iterator, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..system.errors import PoseError
from .model_file import ModelFile

# Largest allowed difference between a float32 file and the network: heatmaps and scores relative to their largest value
# (both HEATMAP_TOLERANCE), keypoints in crop pixels.
HEATMAP_TOLERANCE, KEYPOINT_TOLERANCE = 1e-4, 1e-3
# Crops in one call of a file with a dynamic batch size.
MOST_AT_ONCE = 8


class Difference(NamedTuple):
    """The difference between a file and the network.

    Attributes:
        worst: the largest difference; of heatmaps relative to their largest value, of keypoints in crop pixels.
        compared: number of heatmap values or keypoints that were compared.
        undecided: number of keypoints that were not, because heatmap differences within the tolerance already move
            them; None for heatmaps.
    """

    worst: float
    compared: int
    undecided: Optional[int] = None

    def __str__(self) -> str:
        if self.undecided is None:
            return (f'{self.compared} heatmap values differ by at most {self.worst:.1e} of the largest '
                    f'({HEATMAP_TOLERANCE:.0e} is allowed)')
        undecided = f'; {self.undecided} more hang on differences of that size' if self.undecided else ''
        return (f'{self.compared} keypoints differ by at most {self.worst:.1e} crop pixels ({KEYPOINT_TOLERANCE:.0e} '
                f'is allowed){undecided}')


def compare(model: ModelFile, crops: np.ndarray, heatmaps: np.ndarray, decode: Callable) -> Difference:
    """Run a float32 file on crops (N, H, W, 3) uint8 and compare its outputs with the network's heatmaps for them.

    Args:
        decode: heatmaps -> (keypoints (N, K, 2) in crop pixels, scores (N, K)): the NumPy decoder.

    Raises:
        PoseError: the difference is above the tolerance.
    """
    outputs = run_in_batches(model, crops)
    if not model.has_decoder:
        worst = relative_difference(outputs[0], heatmaps)
        _demand(worst, HEATMAP_TOLERANCE, model, 'heatmaps', 'of their largest value')
        return Difference(worst, heatmaps.size)
    keypoints, scores = decode(heatmaps)
    is_decided = np.ones(scores.shape, bool)
    rng, reach = np.random.default_rng(0), np.float32(HEATMAP_TOLERANCE * np.abs(heatmaps).max())
    for _ in range(4):
        noise = rng.uniform(-reach, reach, heatmaps.shape).astype(np.float32)
        is_decided &= np.abs(decode(heatmaps + noise)[0] - keypoints).max(axis=2) < KEYPOINT_TOLERANCE
    worst = float(np.abs(outputs[0] - keypoints).max(axis=2)[is_decided].max(initial=0))
    _demand(worst, KEYPOINT_TOLERANCE, model, 'keypoints', 'crop pixels')
    _demand(relative_difference(outputs[1][is_decided], scores[is_decided]), HEATMAP_TOLERANCE, model, 'scores',
            'of the largest')
    return Difference(worst, int(is_decided.sum()), int((~is_decided).sum()))


def compare_all(files: Sequence[ModelFile], crops: Mapping[str, np.ndarray], run: Callable, decode: Callable
                ) -> Iterator[str]:
    """Compare files with the network on several kinds of crops; yield a line for each file and kind.

    Args:
        crops: {what they show: (N, H, W, 3) uint8}.
        run: the network: crops -> (heatmaps,).
        decode: see `compare`.

    Raises:
        PoseError: a difference is above the tolerance, or there was nothing to compare.
    """
    compared = [0] * len(files)
    for what, some in crops.items():
        heatmaps, = run(some)
        for number, file in enumerate(files):
            difference = compare(file, some, heatmaps, decode)
            compared[number] += difference.compared
            yield f'checked in {file.runtime} on {what}: {difference}'
    if not all(compared):
        raise PoseError('the decoder could not be checked: no keypoint of the network stands out from rounding. Is '
                        'the checkpoint trained? Nothing is kept')


def run_in_batches(model: ModelFile, crops: np.ndarray) -> Tuple[np.ndarray, ...]:
    """Return the outputs of a file for any number of crops, whatever its batch size. Their first axis is I * N: all
    crops of the first hypothesis, then all of the next."""
    size = model.batch_size or min(len(crops), MOST_AT_ONCE)
    outputs = []
    for begin in range(0, len(crops), size):
        part = crops[begin:begin + size]
        outputs.append([each.reshape(model.num_hypotheses, size, *each.shape[1:])[:, :len(part)]
                        for each in model.run(np.resize(part, (size, *part.shape[1:])))])
    return tuple(np.concatenate(parts, axis=1).reshape(-1, *parts[0].shape[2:]) for parts in zip(*outputs))


def relative_difference(values: np.ndarray, reference: np.ndarray) -> float:
    """Return the largest difference, relative to the largest absolute value of the reference."""
    if values.shape != reference.shape:
        return float('inf')
    return float(np.abs(values - reference).max(initial=0) / max(np.abs(reference).max(initial=0), 1e-30))


def _demand(difference: float, tolerance: float, model: ModelFile, what: str, unit: str) -> None:
    # Not `difference > tolerance`, which is false for NaN: NaN has to fail.
    if not difference <= tolerance:
        raise PoseError(f'the exported file does not compute in {model.runtime} what the network computes: {what} '
                        f'differ by {difference:.1e} {unit}, {tolerance:.0e} is allowed. Nothing is kept')
