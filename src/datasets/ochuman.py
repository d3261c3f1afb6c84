"""OCHuman (Zhang et al., "Pose2Seg", arXiv 1803.10683): heavily occluded people, to evaluate on; scored as COCO."""
from dataclasses import replace

from ..metrics import coco as metrics
from . import coco
from .record import Metrics


def format_metrics(numbers: Metrics) -> str:
    """Return COCO's lines, and what is to be known of them here."""
    return ("OCHuman: COCO's evaluator; the areas of its files are those of boxes, so OKS is milder than on COCO "
            f'and hardly anybody is of medium size\n{metrics.format_metrics(numbers)}')


DATASET = replace(
    coco.DATASET, name='ochuman', folders=('annotations', ''),
    # For evaluation only: models are trained on COCO.
    annotation_names={'TRAIN': ('person_keypoints_train2017.json',),
                      'TEST': ('ochuman_coco_format_val_range_0.00_1.00.json',)},
    format_metrics=format_metrics)
