"""The data sets by their protocol (DATASET.PROTOCOL): how people are read, and whether a file can be evaluated on."""
from typing import Tuple

import numpy as np
from easydict import EasyDict

from ..system.files import read_json
from .coco import check_evaluable, load_coco_images, load_coco_people
from .mpii import load_mpii_people, load_mpii_truth, mat_names
from .oks_truth import load_crowdpose_truth
from .people import People
from .skeletons import Skeleton, get_skeleton

# By the protocol of an evaluation, the number that says which of two results is better.
MAIN_METRICS = {'coco': 'AP', 'ochuman': 'AP', 'crowdpose': 'AP', 'mpii': 'Mean'}


def configured_skeleton(config: EasyDict) -> Skeleton:
    """Return the keypoint layout of a resolved configuration.

    Raises:
        ValueError: it is unknown, or MODEL.NUM_JOINTS is not its number of keypoints.
    """
    skeleton = get_skeleton(config.DATASET.SKELETON)
    if skeleton.num_keypoints != config.MODEL.NUM_JOINTS:
        raise ValueError(f'keypoint_num is {config.MODEL.NUM_JOINTS}, but the {skeleton.name} layout has '
                         f'{skeleton.num_keypoints} keypoints')
    return skeleton


def load_people(config: EasyDict, path: str, *, sample_rule: str, needs_keypoints: bool = True) -> People:
    """Load the annotated people of a file.

    Args:
        sample_rule: of the network's published recipe, where data sets in COCO's format leave a choice.
        needs_keypoints: False also takes MPII's people without joints, whose boxes can be predicted on.

    Raises:
        ValueError: the file is missing, malformed or holds nobody; the message names the file and the entry.
    """
    protocol = config.DATASET.PROTOCOL
    if protocol == 'mpii':
        return load_mpii_people(path, needs_keypoints=needs_keypoints)
    return load_coco_people(path, configured_skeleton(config), sample_rule=sample_rule,
                            trust_counts=protocol != 'crowdpose')


def load_images(config: EasyDict, path: str) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the ids (I,), file names (I,) bytes and (width, height) (I, 2) of a file's pictures, for boxes of another.

    Raises:
        ValueError: the file is malformed, or the protocol knows no boxes but its own.
    """
    if config.DATASET.PROTOCOL == 'mpii':
        raise ValueError('MPII is evaluated on its annotated centres and scales (--use_gt_bbox, TEST.USE_GT_BBOX), '
                         'not on detected boxes')
    return load_coco_images(path)


def find_reason_without_score(config: EasyDict, path: str) -> str:
    """Return why results on an annotation file cannot be scored, or '' where they can.

    Raises:
        ValueError: the file should be fit for it, but is malformed; the message names the entry.
    """
    protocol = config.DATASET.PROTOCOL
    if protocol == 'mpii':
        truth = load_mpii_truth(path)
        if truth is not None and not truth.is_counted.any():
            raise ValueError(f'{path}: no keypoint of the ground truth is visible; there is nothing to evaluate on')
        if truth is not None:
            return ''
        return (f'PCKh needs the sizes of the heads, which {path} does not hold: put the MATLAB ground truth beside it '
                f"as {mat_names(path)[0]}, or give every person joints and a 'headbox' or a 'head_size'")
    content = read_json(path)
    if isinstance(content, dict) and 'annotations' not in content:
        return f'{path} lists pictures without annotations, as the files of test sets do'
    check_evaluable(path, configured_skeleton(config))
    if protocol == 'crowdpose':
        load_crowdpose_truth(path, configured_skeleton(config), rule=config.TEST.CROWDPOSE_RULE)
    return ''
