"""OCHuman (Zhang et al., "Pose2Seg", arXiv 1803.10683): heavily occluded people, for evaluation only; scored
as COCO."""
from dataclasses import replace

from ..metrics import coco as metrics
from . import coco
from .record import Metrics


def format_metrics(numbers: Metrics) -> str:
    """Return the lines of COCO's evaluator, after a remark on what differs on OCHuman."""
    return ("OCHuman: COCO's evaluator; the areas of its files are those of boxes, so OKS is milder than on COCO "
            f'and hardly anybody is of medium size\n{metrics.format_metrics(numbers)}')


DATASET = replace(
    coco.DATASET, name='ochuman', folders=('annotations', ''),
    # OCHuman has no training set: models are trained on COCO.
    annotation_names={'TRAIN': ('person_keypoints_train2017.json',),
                      'TEST': ('ochuman_coco_format_val_range_0.00_1.00.json',)},
    format_metrics=format_metrics)
