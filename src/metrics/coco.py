"""COCO keypoint AP and AR, by the official evaluator (pycocotools)."""
import contextlib
import io
from typing import TYPE_CHECKING, Dict, List, Union

import numpy as np

from ..data.oks_truth import OKSTruth
from ..data.skeletons import Skeleton
from ..system.files import JsonFile, as_json_file
from .oks_matching import THRESHOLDS, match_sizes, pair_up, precision_and_recall
from .records import PoseArrays, check_image_ids, read_records

if TYPE_CHECKING:
    from pycocotools.cocoeval import COCOeval

PERSON_CATEGORY = 1
# Smallest and largest area of people in square pixels, by what the names of the numbers end in.
AREA_RANGES = {'': (0.0, 1e5 ** 2), ' (M)': (32.0 ** 2, 96.0 ** 2), ' (L)': (96.0 ** 2, 1e5 ** 2)}
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


def coco_numbers(truth: OKSTruth, found: PoseArrays, skeleton: Skeleton) -> Dict[str, float]:
    """Return the ten numbers, computed for all pictures at once; see `evaluate_coco`.

    Args:
        found: on pictures of the truth only.
    """
    pairs = pair_up(truth, found, np.array(skeleton.oks_sigmas))
    similarity, numbers = pairs.similarity(truth), {}
    at_50, at_75 = (int(np.argmin(np.abs(THRESHOLDS - value))) for value in (0.5, 0.75))
    for size, area_range in AREA_RANGES.items():
        of_size, matching = match_sizes(truth, pairs, similarity, area_range)
        for kind, table in zip(('AP', 'AR'), precision_and_recall(of_size, pairs, matching)):
            numbers[f'{kind}{size}'] = float(table.mean())
            if not size:
                numbers[f'{kind}50'], numbers[f'{kind}75'] = float(table[at_50].mean()), float(table[at_75].mean())
    return {name: numbers[name] for name in METRIC_NAMES}


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
