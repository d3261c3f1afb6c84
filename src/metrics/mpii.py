"""PCKh of MPII (CVPR 2014): the share of keypoints whose distance to the annotated position is at most a given fraction
of the size of the head.

Protocol: the evaluation that Simple Baselines, HRNet and MSPN share. N people, 16 keypoints.
"""
from typing import Dict, List, NamedTuple

import numpy as np

from ..data.mpii import MPIITruth
from ..data.skeletons import MPII
from ..system.errors import PoseError
from .records import read_records

# Columns of the published tables -> the keypoints over which each is the mean.
COLUMNS = {'Head': ('head_top',), **{name.capitalize(): (f'left_{name}', f'right_{name}') for name in (
    'shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle')}}
THRESHOLD = 0.5
# The releases read their "Mean@0.1" at index 11 of the thresholds 0, 0.01, ...: so the published values are at 0.11.
TIGHT_THRESHOLDS = {'Mean@0.11': 11 * 0.01, 'Mean@0.10': 10 * 0.01}
METRIC_NAMES = (*COLUMNS, 'Mean', *TIGHT_THRESHOLDS)


class HeadDistances(NamedTuple):
    """How far found keypoints are from the annotated positions, in head sizes; N people, 16 keypoints.

    Attributes:
        own: (N, 16) from their own position.
        partner: (N, 16) from that of their left/right partner; infinite if they have none, or it is not visible.
        is_visible: (N, 16) whether the own position is annotated as visible.
        is_counted: (N, 16) whether it enters the mean over all keypoints.
        head_sizes: (N,) in pixels.
    """

    own: np.ndarray
    partner: np.ndarray
    is_visible: np.ndarray
    is_counted: np.ndarray
    head_sizes: np.ndarray


def measure_distances(truth: MPIITruth, results: List[dict]) -> HeadDistances:
    """Return the distances of results, one of each person in the order of `truth`.

    Raises:
        PoseError: there are more or fewer results than people.
    """
    found = _found_keypoints(truth, results)
    own = np.linalg.norm(found - truth.keypoints, axis=2) / truth.head_sizes[:, None]
    partners = MPII.flip_index
    to_partner = np.linalg.norm(found - truth.keypoints[:, partners], axis=2) / truth.head_sizes[:, None]
    has_partner = truth.is_visible[:, partners] & (partners != np.arange(len(partners)))
    return HeadDistances(own, np.where(has_partner, to_partner, np.inf), truth.is_visible, truth.is_counted,
                         truth.head_sizes)


def evaluate_mpii(truth: MPIITruth, results: List[dict]) -> Dict[str, float]:
    """Return PCKh in percent: the seven columns and the mean at 0.5, the mean at 0.11 (published as "Mean@0.1"), and
    the mean at 0.10. Columns whose keypoints nobody has are -1.

    Args:
        truth: N people.
        results: one record per person, in the same order; keypoints in 0-based pixels.

    Raises:
        PoseError: there are more or fewer results than people, or no keypoint is visible.
    """
    distances = head_distances(truth, results)
    shares = keypoint_pckh(truth, distances, THRESHOLD)
    index_of = {name: index for index, name in enumerate(MPII.keypoint_names)}
    metrics = {}
    for column, names in COLUMNS.items():
        values = shares[[index_of[name] for name in names]]
        metrics[column] = float(values[values >= 0].mean()) if (values >= 0).any() else -1.0
    metrics['Mean'] = _mean_over_keypoints(truth, distances, THRESHOLD)
    for name, threshold in TIGHT_THRESHOLDS.items():
        metrics[name] = _mean_over_keypoints(truth, distances, threshold)
    return metrics


def head_distances(truth: MPIITruth, results: List[dict]) -> np.ndarray:
    """Return the distance (N, 16) of each keypoint from its annotated position, in head sizes.

    Raises:
        PoseError: there are more or fewer results than people.
    """
    return np.linalg.norm(_found_keypoints(truth, results) - truth.keypoints, axis=2) / truth.head_sizes[:, None]


def _found_keypoints(truth: MPIITruth, results: List[dict]) -> np.ndarray:
    if len(results) != len(truth.head_sizes):
        raise PoseError(f'{len(results)} results, should be {len(truth.head_sizes)}: one of each person, in the order '
                        'of the annotation file')
    return read_records(results, MPII.num_keypoints).keypoints


def keypoint_pckh(truth: MPIITruth, distances: np.ndarray, threshold: float) -> np.ndarray:
    """Return for each keypoint the percentage (16,) of people for whom it is within the threshold; -1 if none
    has it."""
    right = ((distances <= threshold) & truth.is_visible).sum(axis=0)
    count = truth.is_visible.sum(axis=0)
    return np.where(count > 0, 100.0 * right / np.maximum(count, 1), -1.0)


def _mean_over_keypoints(truth: MPIITruth, distances: np.ndarray, threshold: float) -> float:
    if not truth.is_counted.any():
        raise PoseError('no keypoint of the ground truth is visible; there is nothing to evaluate on')
    return float(100.0 * (distances <= threshold)[truth.is_counted].mean())


def format_metrics(metrics: Dict[str, float]) -> str:
    """Return a table with the columns of the published tables."""
    lines = [' '.join(f'{name:>9}' for name in metrics), ' '.join(f'{value:9.3f}' for value in metrics.values())]
    return '\n'.join([f'PCKh, percent, at {THRESHOLD} of the head size (Mean@0.11 is what the releases print as '
                      'Mean@0.1)', *lines])
