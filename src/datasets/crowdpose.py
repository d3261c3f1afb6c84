"""CrowdPose (Li et al., arXiv 1812.00324), in COCO's format, scored by its own evaluator's rules."""
from dataclasses import replace
from typing import List

from ..data.coco import load_coco_people
from ..data.oks_truth import OKSTruth, load_crowdpose_truth
from ..data.skeletons import Skeleton
from ..metrics.crowdpose import evaluate_crowdpose, format_metrics, poses_that_count
from ..metrics.keypoints import format_keypoints_by_oks, keypoints_by_oks
from ..metrics.records import PoseArrays
from ..system.files import JsonFile
from . import coco
from .record import Metrics


def people(file: JsonFile, skeleton: Skeleton, sample_rule: str, _needs_keypoints: bool):
    """Return the people with keypoints; the field `num_keypoints` is not used, since it does not count head
    and neck."""
    return load_coco_people(file, skeleton, sample_rule=sample_rule, trust_counts=False)


def reason_without_score(file: JsonFile, skeleton: Skeleton, config) -> str:
    """Return why results cannot be scored, or '' if they can."""
    reason = coco.reason_without_score(file, skeleton, config, trust_counts=False)
    if not reason:
        load_crowdpose_truth(file, skeleton, rule=config.TEST.CROWDPOSE_RULE)
    return reason


def evaluate(file: JsonFile, results: List[dict], _skeleton: Skeleton, config) -> Metrics:
    """Return the nine CrowdPose numbers, 0 to 1."""
    return evaluate_crowdpose(file, results, rule=config.TEST.CROWDPOSE_RULE)


def format_summary(metrics: Metrics, config) -> str:
    """Return AP and the rule as text."""
    return f'AP {metrics["AP"]:.4f} by the {config.TEST.CROWDPOSE_RULE} rule'


def oks_truth(file: JsonFile, skeleton: Skeleton, config) -> OKSTruth:
    """Return the ground truth of CrowdPose's evaluator."""
    return load_crowdpose_truth(file, skeleton, rule=config.TEST.CROWDPOSE_RULE)[0]


def oks_poses(found: PoseArrays, config) -> PoseArrays:
    """Return the poses that the configured rule counts."""
    return poses_that_count(found, config.TEST.CROWDPOSE_RULE)


def keypoint_table(file: JsonFile, results: List[dict], skeleton: Skeleton, config) -> str:
    """Return a table with AP and OKS error of each keypoint."""
    return format_keypoints_by_oks(keypoints_by_oks(oks_truth(file, skeleton, config), results, skeleton, file.path))


DATASET = replace(
    coco.DATASET, name='crowdpose', skeleton='crowdpose', folders=('json', 'annotations'),
    annotation_names={'TRAIN': ('crowdpose_train.json', 'mmpose_crowdpose_train.json'),
                      'TEST': ('crowdpose_val.json', 'mmpose_crowdpose_val.json')},
    people=people, reason_without_score=reason_without_score, evaluate=evaluate, format_metrics=format_metrics,
    format_summary=format_summary, oks_truth=oks_truth, oks_poses=oks_poses, keypoint_table=keypoint_table,
    digits=4)
