"""COCO keypoint AP and AR, by the official evaluator (pycocotools)."""
import contextlib
import io
from typing import TYPE_CHECKING, Dict, List, Union

import numpy as np

from ..data.annotation_checks import AnnotationFile, as_annotation_file
from ..data.coco import evaluated_people
from ..data.skeletons import Skeleton
from ..system.files import JsonFile
from .records import check_image_ids, read_records

if TYPE_CHECKING:
    from pycocotools.cocoeval import COCOeval

PERSON_CATEGORY = 1
METRIC_NAMES = ('AP', 'AP50', 'AP75', 'AP (M)', 'AP (L)', 'AR', 'AR50', 'AR75', 'AR (M)', 'AR (L)')


def evaluate_coco(gt_file: Union[str, JsonFile], results: List[dict], skeleton: Skeleton) -> Dict[str, float]:
    """Return the ten COCO keypoint numbers, 0 to 1 (-1 where nothing falls into a size), in their usual order.

    Args:
        gt_file: COCO keypoint annotation file, its path or the file as it was read before.
        results: records of image_id, keypoints and score; other entries are ignored.

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
    """Return the people alone, in the fields that COCO's evaluator reads.

    It would take the mean over all categories of the file, and never match an annotation whose id is 0.
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
