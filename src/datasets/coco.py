"""COCO keypoints (Lin et al., arXiv 1405.0312), in the versions of 2014 and 2017, scored by the official rules."""
from typing import List

from ..data.coco import check_evaluable, load_coco_images, load_coco_people
from ..data.oks_truth import OKSTruth, load_coco_truth
from ..data.skeletons import Skeleton
from ..metrics.coco import evaluate_coco, format_metrics
from ..metrics.keypoints import format_keypoints_by_oks, keypoints_by_oks
from ..system.files import JsonFile
from .record import Metrics, PoseDataset


def people(file: JsonFile, skeleton: Skeleton, sample_rule: str, _needs_keypoints: bool):
    """Return the people with keypoints."""
    return load_coco_people(file, skeleton, sample_rule=sample_rule)


def reason_without_score(file: JsonFile, skeleton: Skeleton, _config, *, trust_counts: bool = True) -> str:
    """Return why results cannot be scored, or '' if they can."""
    if isinstance(file.content, dict) and 'annotations' not in file.content:
        return f'{file.path} lists pictures without annotations, as the files of test sets do'
    check_evaluable(file, skeleton, trust_counts=trust_counts)
    return ''


def evaluate(file: JsonFile, results: List[dict], skeleton: Skeleton, config) -> Metrics:
    """Return the ten COCO numbers, 0 to 1."""
    return evaluate_coco(file, results, skeleton, evaluator=config.TEST.EVALUATOR)


def evaluator(config) -> str:
    """Return the name of the implementation that computes the numbers."""
    return {'own': 'own (pycocotools gives the same numbers: --evaluator pycocotools)'}.get(
        config.TEST.EVALUATOR, config.TEST.EVALUATOR)


def format_summary(metrics: Metrics, _config) -> str:
    """Return AP as text."""
    return f'AP {metrics["AP"]:.4f}'


def oks_truth(file: JsonFile, skeleton: Skeleton, _config) -> OKSTruth:
    """Return the ground truth of COCO's evaluator."""
    return load_coco_truth(file, skeleton)


def keypoint_table(file: JsonFile, results: List[dict], skeleton: Skeleton, config) -> str:
    """Return a table with AP and OKS error of each keypoint."""
    return format_keypoints_by_oks(keypoints_by_oks(oks_truth(file, skeleton, config), results, skeleton, file.path))


DATASET = PoseDataset(
    name='coco', folders=('annotations',),
    # Never COCO's own val2014 file: most of its pictures are in the usual training list of 2014.
    annotation_names={'TRAIN': ('person_keypoints_train2017.json',), 'TEST': ('person_keypoints_val2017.json',)},
    people=people, images=load_coco_images, reason_without_score=reason_without_score, evaluate=evaluate,
    evaluator=evaluator, oks_truth=oks_truth,
    main_metric='AP', format_metrics=format_metrics, format_summary=format_summary, keypoint_table=keypoint_table)
