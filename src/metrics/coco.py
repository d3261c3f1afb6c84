"""COCO keypoint AP and AR, by the official evaluator (pycocotools)."""
import contextlib
import io
from typing import TYPE_CHECKING, Dict, List, Union

import numpy as np

from ..data.skeletons import Skeleton
from ..system.files import JsonFile, as_json_file
from .records import check_image_ids, read_records

if TYPE_CHECKING:
    from pycocotools.cocoeval import COCOeval

PERSON_CATEGORY = 1
METRIC_NAMES = ('AP', 'AP50', 'AP75', 'AP (M)', 'AP (L)', 'AR', 'AR50', 'AR75', 'AR (M)', 'AR (L)')


def evaluate_coco(gt_file: Union[str, JsonFile], results: List[dict], skeleton: Skeleton) -> Dict[str, float]:
    """Return the ten COCO keypoint numbers, 0 to 1 (-1 where nothing falls into a size), in their usual order.

    Args:
        gt_file: COCO keypoint annotation file, its path or the file as it was read before.
        results: records of image_id, category_id, keypoints and score; other entries are ignored.

    Raises:
        PoseError: there are no results, one names an image that the annotation file does not have, or is not finite.
    """
    read_records(results, skeleton.num_keypoints)
    evaluator = run_coco_evaluator(gt_file, results, skeleton)
    return dict(zip(METRIC_NAMES, evaluator.stats.tolist()))


def run_coco_evaluator(gt_file: Union[str, JsonFile], results: List[dict], skeleton: Skeleton) -> 'COCOeval':
    """Return the finished evaluator, for its per-threshold tables; its printing is held back."""
    # Whoever only wants poses needs no evaluator.
    from pycocotools.coco import COCO as COCOAnnotations  # noqa: N811  our COCO is the skeleton
    from pycocotools.cocoeval import COCOeval
    gt_file = as_json_file(gt_file)
    with contextlib.redirect_stdout(io.StringIO()):
        annotations = COCOAnnotations()
        # The evaluator writes into the annotations.
        annotations.dataset = {**gt_file.content,
                               'annotations': [dict(each) for each in gt_file.content['annotations']]}
        annotations.createIndex()
        for annotation in annotations.loadAnns(annotations.getAnnIds(catIds=[PERSON_CATEGORY])):
            # COCO's files have both; data sets in its format may lack them.
            annotation.setdefault('iscrowd', 0)
            annotation.setdefault('num_keypoints', int((np.array(annotation['keypoints'][2::3]) > 0).sum()))
            annotation.setdefault('area', annotation['bbox'][2] * annotation['bbox'][3])
        check_image_ids(results, annotations.imgs, gt_file.path)
        kept = ('image_id', 'category_id', 'keypoints', 'score')
        detections = annotations.loadRes([{key: record[key] for key in kept} for record in results])
        evaluator = COCOeval(annotations, detections, 'keypoints')
        # By default it would take the mean over all categories of the file, also of those that nobody predicts.
        evaluator.params.catIds = [PERSON_CATEGORY]
        evaluator.params.kpt_oks_sigmas = np.array(skeleton.oks_sigmas)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


def format_metrics(metrics: Dict[str, float]) -> str:
    """Return the ten lines as COCO's evaluator prints them."""
    lines = []
    for name, value in metrics.items():
        kind = 'Average Precision  (AP)' if name.startswith('AP') else 'Average Recall     (AR)'
        iou = {'50': '0.50     ', '75': '0.75     '}.get(name[2:4], '0.50:0.95')
        area = {'(M)': 'medium', '(L)': ' large'}.get(name[-3:], '   all')
        lines.append(f' {kind} @[ IoU={iou} | area={area} | maxDets= 20 ] = {value:.3f}')
    return '\n'.join(lines)
