"""CrowdPose AP and AR (CVPR 2019, arXiv 1812.00324), by the rules of its official evaluator.

The official code loops over the pictures in Python; this one compares all pictures at once and gives the same numbers.
"""
from typing import Dict, List, Union

import numpy as np

from ..data.oks_truth import load_crowdpose_truth
from ..data.skeletons import CROWDPOSE
from ..system.files import JsonFile, as_json_file
from .oks_matching import THRESHOLDS, match, pair_up, precision_and_recall
from .records import PoseArrays, check_image_ids, read_records

METRIC_NAMES = ('AP', 'AP50', 'AP75', 'AR', 'AR50', 'AR75', 'AP (easy)', 'AP (medium)', 'AP (hard)')
# Limits of a picture's crowd index. The paper's text says 0.1 and 0.8, but its tables come from its evaluator.
EASY_BELOW, HARD_FROM = 0.2, 0.8


def evaluate_crowdpose(gt_file: Union[str, JsonFile], results: List[dict], *,
                       rule: str = 'official') -> Dict[str, float]:
    """Return the nine CrowdPose numbers, 0 to 1 (-1 if nobody counts), in the usual order.

    Args:
        gt_file: CrowdPose annotation file.
        results: records with image_id, keypoints (x, y, score) and score.
        rule: who is ignored, see `load_crowdpose_truth`. 'recount' also leaves out poses without any positive keypoint
            score, as the toolbox does whose evaluator it follows.

    Raises:
        PoseError: there are no results, one is of an unknown image, or the annotation file is malformed.
    """
    gt_file = as_json_file(gt_file)
    truth, crowd_index = load_crowdpose_truth(gt_file, CROWDPOSE, rule=rule)
    check_image_ids(results, truth.image_ids.tolist(), gt_file.path)
    found = read_records(results, CROWDPOSE.num_keypoints)
    found = poses_that_count(found, rule)
    pairs = pair_up(truth, found, np.array(CROWDPOSE.oks_sigmas))
    matching = match(truth, pairs, pairs.similarity(truth))
    precision, recall = precision_and_recall(truth, pairs, matching)
    at_50, at_75 = (int(np.argmin(np.abs(THRESHOLDS - value))) for value in (0.5, 0.75))
    numbers = [precision.mean(), precision[at_50].mean(), precision[at_75].mean(),
               recall.mean(), recall[at_50], recall[at_75]]
    for images in crowd_groups(crowd_index).values():
        # The official evaluator rounds these, and nothing else.
        numbers.append(round(float(precision_and_recall(truth, pairs, matching, images)[0].mean()), 4))
    return dict(zip(METRIC_NAMES, map(float, numbers)))


def poses_that_count(found: PoseArrays, rule: str) -> PoseArrays:
    """Return the poses that a rule of `evaluate_crowdpose` counts."""
    if rule != 'recount':
        return found
    kept = (found.keypoint_scores > 0).any(axis=1)
    return PoseArrays(found.image_ids[kept], found.keypoints[kept], found.keypoint_scores[kept], found.scores[kept])


def crowd_groups(crowd_index: np.ndarray) -> Dict[str, np.ndarray]:
    """Return {suffix in the names of the numbers: mask (I,) of its pictures}."""
    is_easy, is_hard = crowd_index < EASY_BELOW, crowd_index >= HARD_FROM
    return {' (easy)': is_easy, ' (medium)': ~is_easy & ~is_hard, ' (hard)': is_hard}


def format_metrics(metrics: Dict[str, float]) -> str:
    """Return nine lines, one for each number."""
    lines = []
    for name, value in metrics.items():
        kind = 'Average Precision  (AP)' if name.startswith('AP') else 'Average Recall     (AR)'
        oks = {'50': '0.50     ', '75': '0.75     '}.get(name[2:4], '0.50:0.95')
        crowd = name.partition('(')[2].rstrip(')') or 'all'
        lines.append(f' {kind} @[ OKS={oks} | crowd index={crowd:>6} | maxDets= 20 ] = {value:.4f}')
    return '\n'.join(lines)
