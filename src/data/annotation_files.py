"""Where annotation files lie: what the user gave, or the places where this package and the data sets put them."""
import glob
import os
from typing import List, Optional

from easydict import EasyDict

GT_FOLDER = './annotation/gt_json'
DETECTION_FOLDER = './annotation/det_json'
# The data sets' own names of their files, and the folders below their root, by protocol and split.
# Never COCO's own val2014 file: most of its pictures are in the usual training list of 2014.
OWN_NAMES = {
    'coco': {'TRAIN': ('person_keypoints_train2017.json',), 'TEST': ('person_keypoints_val2017.json',)},
    # OCHuman is for evaluation only: models are trained on COCO.
    'ochuman': {'TRAIN': ('person_keypoints_train2017.json',),
                'TEST': ('ochuman_coco_format_val_range_0.00_1.00.json',)},
    'crowdpose': {'TRAIN': ('crowdpose_train.json', 'mmpose_crowdpose_train.json'),
                  'TEST': ('crowdpose_val.json', 'mmpose_crowdpose_val.json')},
    'mpii': {'TRAIN': ('train.json', 'mpii_train.json'), 'TEST': ('valid.json', 'mpii_val.json')},
}
OWN_FOLDERS = {'coco': ('annotations',), 'ochuman': ('annotations', ''), 'crowdpose': ('json', 'annotations'),
               'mpii': ('annot', 'annotations')}


def find_annotation_file(config: EasyDict, split: str, *, is_explicit: bool) -> str:
    """Return the annotation file of 'TRAIN' or 'TEST'.

    Args:
        is_explicit: the user named the file; otherwise the data set's own files in the usual folders do as well.

    Raises:
        ValueError: there is none; the message lists where it was looked.
    """
    given = config.DATASET[f'{split}_JSON']
    if is_explicit:
        if not os.path.isfile(given):
            raise ValueError(f'the annotation file {given} does not exist (gt_file_url, DATASET.{split}_JSON)')
        return given
    protocol = config.DATASET.PROTOCOL
    folders = [GT_FOLDER, *(os.path.join(config.DATASET.ROOT, name) for name in OWN_FOLDERS[protocol])]
    candidates: List[str] = [given] if given else []
    candidates += [os.path.join(folder, name) for name in OWN_NAMES[protocol][split] for folder in folders]
    found = next((path for path in candidates if os.path.isfile(path)), None)
    if found is None:
        raise ValueError(f'no annotation file; looked for {", ".join(candidates)}. Give it with '
                         f'--gt_file_url (DATASET.{split}_JSON)')
    return found


def find_detection_file(config: EasyDict, *, is_explicit: bool) -> str:
    """Return the detection file of an evaluation.

    Raises:
        ValueError: it is missing.
    """
    path = config.TEST.COCO_BBOX_FILE
    if not os.path.isfile(path):
        hint = '' if is_explicit else ('. Give one with --det_file_url (TEST.COCO_BBOX_FILE), or take the ground-truth '
                                       'boxes (--use_gt_bbox, TEST.USE_GT_BBOX=true)')
        raise ValueError(f'the detection file {path!r} does not exist{hint}')
    return path


def find_inference_boxes(given: Optional[str]) -> List[str]:
    """Return the detection files of an inference: the given one, or all in `annotation/det_json`.

    Raises:
        ValueError: there is none.
    """
    if given is not None:
        if not os.path.isfile(given):
            raise ValueError(f'the detection file {given} does not exist (det_file_url)')
        return [given]
    paths = sorted(glob.glob(os.path.join(DETECTION_FOLDER, '*.json')))
    if not paths:
        raise ValueError(f'no detection JSON in {DETECTION_FOLDER}; put one there or give it with --det_file_url')
    return paths
