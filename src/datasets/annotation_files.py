"""Finds annotation and detection files: the ones the user gave, or those in the usual folders."""
import os
from typing import List

from easydict import EasyDict

from ..data.detections import DETECTION_FOLDER
from ..system.errors import PoseError
from .registry import dataset_of

GT_FOLDER = './annotation/gt_json'
# Subfolders of the data set in which detection files may lie.
DETECTION_FOLDERS = ('det_json', 'person_detection_results')


def find_annotation_file(config: EasyDict, split: str, *, is_explicit: bool) -> str:
    """Return the annotation file of 'TRAIN' or 'TEST'.

    Args:
        is_explicit: whether the user named the file; if not, the data set's own files in the usual folders are also
            tried.

    Raises:
        PoseError: there is none; the message lists the paths that were tried.
    """
    given = config.DATASET[f'{split}_JSON']
    if is_explicit:
        if not os.path.isfile(given):
            raise PoseError(f'the annotation file {given} does not exist (gt_file_url, DATASET.{split}_JSON)')
        return given
    dataset = dataset_of(config)
    folders = [GT_FOLDER, *(os.path.join(config.DATASET.ROOT, name) for name in (*dataset.folders, 'gt_json'))]
    candidates: List[str] = [given] if given else []
    candidates += [os.path.join(folder, name) for name in dataset.annotation_names[split] for folder in folders]
    found = next((path for path in candidates if os.path.isfile(path)), None)
    if found is None:
        raise PoseError(f'no annotation file; looked for {", ".join(candidates)}. Give it with '
                        f'--gt_file_url (DATASET.{split}_JSON)')
    return found


def find_detection_file(config: EasyDict, *, is_explicit: bool) -> str:
    """Return the detection file for an evaluation.

    Args:
        is_explicit: whether the user named the file; if not, a file of this name in the usual folders is also tried.

    Raises:
        PoseError: it is missing.
    """
    path = config.TEST.COCO_BBOX_FILE
    if not is_explicit and not os.path.isfile(path):
        name = os.path.basename(path)
        folders = (DETECTION_FOLDER, *(os.path.join(config.DATASET.ROOT, each) for each in DETECTION_FOLDERS))
        path = next((place for place in (os.path.join(folder, name) for folder in folders) if os.path.isfile(place)),
                    path)
    if not os.path.isfile(path):
        hint = '' if is_explicit else ('. Give one with --det_file_url (TEST.COCO_BBOX_FILE), or take the ground-truth '
                                       'boxes (--use_gt_bbox, TEST.USE_GT_BBOX=true)')
        raise PoseError(f'the detection file {path!r} does not exist{hint}')
    return path
