"""COCO keypoint AP and AR: by array operations, or by the official evaluator (pycocotools)."""
import contextlib
import io
from typing import TYPE_CHECKING, Dict, List, Union

import numpy as np

from ..data.annotation_checks import AnnotationFile, as_annotation_file
from ..data.coco import evaluated_people
from ..data.oks_truth import OKSTruth, load_coco_truth
from ..data.skeletons import Skeleton
from ..system.files import JsonFile
from .oks_matching import THRESHOLDS, match_sizes, pair_up, precision_and_recall
from .records import PoseArrays, check_image_ids, read_records

if TYPE_CHECKING:
    from pycocotools.cocoeval import COCOeval

PERSON_CATEGORY = 1
# Suffix in the names of the numbers -> smallest and largest area of the people, in square pixels.
AREA_RANGES = {'': (0.0, 1e5 ** 2), ' (M)': (32.0 ** 2, 96.0 ** 2), ' (L)': (96.0 ** 2, 1e5 ** 2)}
METRIC_NAMES = ('AP', 'AP50', 'AP75', 'AP (M)', 'AP (L)', 'AR', 'AR50', 'AR75', 'AR (M)', 'AR (L)')


def evaluate_coco(gt_file: Union[str, JsonFile], results: List[dict], skeleton: Skeleton, *,
                  evaluator: str = 'own') -> Dict[str, float]:
    """Return the ten COCO keypoint numbers, 0 to 1 (-1 if nobody has that size), in the usual order.

    Args:
        gt_file: COCO keypoint annotation file: its path, or the opened file.
        results: records with image_id, keypoints and score; other fields are ignored.
        evaluator: 'own' computes all pictures at once; 'pycocotools' runs the official code. The numbers are the same.

    Raises:
        PoseError: there are no results, or one is of an image that the annotation file does not have or is not finite.
    """
    found = read_records(results, skeleton.num_keypoints)
    if evaluator == 'pycocotools':
        return dict(zip(METRIC_NAMES, run_coco_evaluator(gt_file, results, skeleton).stats.tolist()))
    file = as_annotation_file(gt_file)
    check_image_ids(results, file.pictures.row_of, file.path)
    return coco_numbers(load_coco_truth(file, skeleton), found, skeleton)


def coco_numbers(truth: OKSTruth, found: PoseArrays, skeleton: Skeleton) -> Dict[str, float]:
    """Return the ten numbers, computed for all pictures at once; see `evaluate_coco`.

    Args:
        found: poses, only on pictures of the ground truth.
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
    """Return the official evaluator after its run, with its tables per threshold; what it prints is suppressed."""
    # Imported here, since pycocotools is needed for nothing else.
    from pycocotools.coco import COCO as COCOAnnotations  # noqa: N811  our COCO is the skeleton
    from pycocotools.cocoeval import COCOeval
    file = as_annotation_file(gt_file)
    check_image_ids(results, file.pictures.row_of, file.path)
    with contextlib.redirect_stdout(io.StringIO()):
        annotations = COCOAnnotations()
        annotations.dataset = _as_evaluator_reads(file, skeleton)
        annotations.createIndex()
        kept = ('image_id', 'keypoints', 'score')
        detections = annotations.loadRes([{'category_id': PERSON_CATEGORY, **{key: record[key] for key in kept}}
                                          for record in results])
        evaluator = COCOeval(annotations, detections, 'keypoints')
        evaluator.params.kpt_oks_sigmas = np.array(skeleton.oks_sigmas)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


def _as_evaluator_reads(file: AnnotationFile, skeleton: Skeleton) -> dict:
    """Return only the people of the file, with only the fields that COCO's evaluator reads, and with new ids from 1.

    Otherwise the evaluator would average over all categories of the file and never match an annotation whose id is 0.
    """
    ids = file.pictures.ids.tolist()
    people = [{'id': number, 'image_id': ids[person.picture], 'category_id': PERSON_CATEGORY,
               'keypoints': person.keypoints.ravel().tolist(), 'bbox': person.box_xywh, 'area': person.area,
               'iscrowd': int(person.is_crowd),
               'num_keypoints': (int(np.count_nonzero(person.keypoints[:, 2])) if person.count is None
                                 else person.count)}
              for number, person in enumerate(evaluated_people(file, skeleton), start=1)]
    return {'images': [{'id': each} for each in ids], 'annotations': people,
            'categories': [{'id': PERSON_CATEGORY, 'name': 'person'}]}


def format_metrics(metrics: Dict[str, float]) -> str:
    """Return the ten lines as COCO's evaluator prints them."""
    lines = []
    for name, value in metrics.items():
        kind = 'Average Precision  (AP)' if name.startswith('AP') else 'Average Recall     (AR)'
        iou = {'50': '0.50     ', '75': '0.75     '}.get(name[2:4], '0.50:0.95')
        area = {'(M)': 'medium', '(L)': ' large'}.get(name[-3:], '   all')
        lines.append(f' {kind} @[ IoU={iou} | area={area} | maxDets= 20 ] = {value:.3f}')
    return '\n'.join(lines)
