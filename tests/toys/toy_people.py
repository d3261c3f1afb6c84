"""A data set of one's own with five keypoints, in COCO's format (docs/adding_a_dataset.md)."""
from dataclasses import replace

from src.data.skeletons import Skeleton
from src.datasets import coco

SKELETON = Skeleton(
    name='toy_people',
    keypoint_names=('nose', 'left_wrist', 'right_wrist', 'left_ankle', 'right_ankle'),
    links=(('nose', 'left_wrist'), ('nose', 'right_wrist'), ('nose', 'left_ankle'), ('nose', 'right_ankle')),
    oks_sigmas=(0.026, 0.062, 0.062, 0.089, 0.089),
    upper_body=('nose', 'left_wrist', 'right_wrist'))

DATASET = replace(
    coco.DATASET, name='toy_people', skeleton='toy_people', folders=('labels',),
    annotation_names={'TRAIN': ('train.json',), 'TEST': ('val.json',)})
