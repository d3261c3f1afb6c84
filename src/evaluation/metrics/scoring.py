"""Results → the numbers of their protocol (DATASET.PROTOCOL), and those as text."""
from typing import Dict, List

from easydict import EasyDict

from ...data.mpii import MPIITruth, load_mpii_truth
from ...data.oks_truth import OKSTruth, load_coco_truth, load_crowdpose_truth
from ...data.skeletons import get_skeleton
from ..metrics import coco, crowdpose, mpii
from .keypoints import format_keypoints_by_oks, format_keypoints_by_pckh, keypoints_by_oks


def evaluate(config: EasyDict, gt_file: str, results: List[dict]) -> Dict[str, float]:
    """Return the numbers of a protocol, {name: value} in their usual order.

    COCO and OCHuman: ten, 0 to 1. CrowdPose: nine, 0 to 1. MPII: ten, in percent.

    Args:
        config: resolved.
        results: records of image_id, category_id, keypoints (x, y, score) and score; for MPII one of each annotated
            person, in the order of the file.

    Raises:
        ValueError: results and annotation file do not fit each other, or there is nothing to score.
    """
    protocol = config.DATASET.PROTOCOL
    if protocol == 'mpii':
        return mpii.evaluate_mpii(_mpii_truth(gt_file), results)
    if protocol == 'crowdpose':
        return crowdpose.evaluate_crowdpose(gt_file, results, rule=config.TEST.CROWDPOSE_RULE)
    return coco.evaluate_coco(gt_file, results, get_skeleton(config.DATASET.SKELETON))


def format_metrics(config: EasyDict, metrics: Dict[str, float]) -> str:
    """Return the lines in which a protocol's evaluation is usually printed."""
    protocol = config.DATASET.PROTOCOL
    if protocol == 'ochuman':
        return ('OCHuman: COCO\'s evaluator; the areas of its files are those of boxes, so OKS is milder than on COCO '
                f'and hardly anybody is of medium size\n{coco.format_metrics(metrics)}')
    return {'coco': coco, 'crowdpose': crowdpose, 'mpii': mpii}[protocol].format_metrics(metrics)


def format_summary(config: EasyDict, metrics: Dict[str, float]) -> str:
    """Return the main number in a few words."""
    if config.DATASET.PROTOCOL == 'mpii':
        return f'PCKh@0.5 mean {metrics["Mean"]:.3f}'
    if config.DATASET.PROTOCOL == 'crowdpose':
        return f'AP {metrics["AP"]:.4f} by the {config.TEST.CROWDPOSE_RULE} rule'
    return f'AP {metrics["AP"]:.4f}'


def keypoint_table(config: EasyDict, gt_file: str, results: List[dict]) -> str:
    """Return a table of how well each keypoint is found on its own."""
    protocol, skeleton = config.DATASET.PROTOCOL, get_skeleton(config.DATASET.SKELETON)
    if protocol == 'mpii':
        truth = _mpii_truth(gt_file)
        shares = mpii.keypoint_pckh(truth, mpii.head_distances(truth, results), mpii.THRESHOLD)
        return format_keypoints_by_pckh(dict(zip(skeleton.keypoint_names, shares.tolist())))
    return format_keypoints_by_oks(keypoints_by_oks(_oks_truth(config, gt_file), results, skeleton, gt_file))


def _oks_truth(config: EasyDict, gt_file: str) -> OKSTruth:
    skeleton = get_skeleton(config.DATASET.SKELETON)
    if config.DATASET.PROTOCOL == 'crowdpose':
        return load_crowdpose_truth(gt_file, skeleton, rule=config.TEST.CROWDPOSE_RULE)[0]
    return load_coco_truth(gt_file, skeleton)


def _mpii_truth(gt_file: str) -> MPIITruth:
    truth = load_mpii_truth(gt_file)
    if truth is None:
        raise ValueError(f'{gt_file} does not say how large the heads are, without which there is no PCKh')
    return truth
