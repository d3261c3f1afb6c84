"""All numbers of a report, computed once from a ground truth and poses; nothing here draws or writes."""
from dataclasses import dataclass, replace
from typing import Dict, List, Optional

import numpy as np

from ..data.annotation_checks import AnnotationFile
from ..data.oks_truth import OKSTruth
from ..data.skeletons import Skeleton
from ..metrics.bootstrap import Interval, interval, resampled_numbers
from ..metrics.calibration import Reliability, reliability
from ..metrics.conditions import Condition, GroupNumbers, box_overlap, group_people, numbers_of_groups
from ..metrics.keypoint_errors import NEAR, UNLABELLED, KeypointErrors, find_keypoint_errors
from ..metrics.keypoints import KeypointOKS, keypoint_numbers
from ..metrics.oks_matching import (
    Matching,
    Pairs,
    match,
    pair_up,
    precision_and_recall,
    with_people_of_picture,
)
from ..metrics.people_errors import (
    IGNORED,
    RIGHT,
    Correction,
    PeopleErrors,
    ap_by_correction,
    find_people_errors,
)
from ..metrics.records import PoseArrays

# From this IoU on, a given box is that of a person.
BOX_IOU = 0.5


@dataclass(frozen=True)
class Pictures:
    """The I pictures of the ground truth, in its order, and the place in the file of each of its P people.

    Attributes:
        names: (I,) bytes.
        sizes: (I, 2) width and height.
        annotations: (P,) index of each person among the annotations of the file.
        crowd_index: (I,) of CrowdPose's files, else None.
    """

    names: np.ndarray
    sizes: np.ndarray
    annotations: np.ndarray
    crowd_index: Optional[np.ndarray]


@dataclass(frozen=True)
class BoxNumbers:
    """What the boxes alone cost.

    Attributes:
        people_without_box: (P,) mask of people who count and have no box with an IoU of 0.5.
        ap_with_box: AP if these people did not count.
    """

    people_without_box: np.ndarray
    ap_with_box: float


@dataclass(frozen=True)
class Analysis:
    """Everything that a report shows.

    Attributes:
        numbers: the numbers of the evaluation, as eval.py prints them.
        intervals: {name: interval over pictures; None where the number is undefined in some resamples}.
        keypoints: {name: AP alone and OKS error}, as eval.py prints them.
        precision: (T, 101) by threshold and recall.
        corrections: {kind of error: AP without it}.
        conditions, groups: ways to group the people, and the numbers of the groups of each.
        person_reliability, keypoint_reliability: of the scores of poses and of keypoints.
        boxes: None if the boxes are not known.
        poses_beyond: number of poses beyond the 20 best of their picture.
    """

    skeleton: Skeleton
    pictures: Pictures
    truth: OKSTruth
    found: PoseArrays
    pairs: Pairs
    similarity: np.ndarray
    matching: Matching
    errors: KeypointErrors
    people: PeopleErrors
    numbers: Dict[str, float]
    intervals: Dict[str, Optional[Interval]]
    keypoints: Dict[str, KeypointOKS]
    precision: np.ndarray
    corrections: Dict[str, Correction]
    conditions: List[Condition]
    groups: List[List[GroupNumbers]]
    person_reliability: Reliability
    keypoint_reliability: Reliability
    boxes: Optional[BoxNumbers]
    poses_beyond: int


def pictures_of(file: AnnotationFile, truth: OKSTruth) -> Pictures:
    """Return the pictures and places of people, in the order of the ground truth of the same file."""
    order = np.argsort(file.pictures.ids, kind='stable')
    rows = [row.number for row in file.rows if row.box_xywh is not None]
    assert len(rows) == len(truth), 'the ground truth is of another file'
    crowd_index = np.array([image['crowdIndex'] if isinstance(image.get('crowdIndex'), (int, float)) else np.nan
                            for image in file.content['images']], np.float64)[order]
    return Pictures(file.pictures.names[order], file.pictures.sizes[order], np.array(rows, np.int64),
                    crowd_index if np.isfinite(crowd_index).all() else None)


def analyse(truth: OKSTruth, found: PoseArrays, skeleton: Skeleton, pictures: Pictures, numbers: Dict[str, float], *,
            resamples: int, box_images: Optional[np.ndarray] = None, boxes_xywh: Optional[np.ndarray] = None
            ) -> Analysis:
    """Compute all numbers of a report.

    Args:
        found: the poses that count, all on pictures of the ground truth.
        numbers: those of the evaluation.
        resamples: of the bootstrap.
        box_images, boxes_xywh: (B,) ids of the pictures and (B, 4) of the boxes that were given; None if not known.
    """
    sigmas = np.array(skeleton.oks_sigmas)
    pairs = pair_up(truth, found, sigmas)
    similarity = pairs.similarity(truth)
    matching = match(truth, pairs, similarity)
    errors = find_keypoint_errors(truth, pairs, similarity, skeleton.flip_index)
    people = find_people_errors(truth, pairs, similarity, matching)
    drawn = resampled_numbers(truth, pairs, similarity, numbers, crowd_index=pictures.crowd_index, resamples=resamples)
    conditions = group_people(truth, pictures.sizes)
    scored = people.pose_state != IGNORED
    is_labelled = errors.kind != UNLABELLED
    keypoint_scores = found.keypoint_scores[pairs.given[errors.pose]]
    return Analysis(
        skeleton, pictures, truth, found, pairs, similarity, matching, errors, people, numbers,
        {name: interval(values) for name, values in drawn.items()},
        keypoint_numbers(truth, pairs, matching.person[0], skeleton), precision_and_recall(truth, pairs, matching)[0],
        ap_by_correction(truth, found, sigmas, pairs, errors), conditions,
        [numbers_of_groups(truth, pairs, similarity, each, people, errors) for each in conditions],
        reliability(pairs.scores[scored], people.pose_state[scored] == RIGHT),
        reliability(keypoint_scores[is_labelled], errors.own[is_labelled] >= NEAR),
        None if boxes_xywh is None else _of_boxes(truth, pairs, similarity, box_images, boxes_xywh),
        len(found.scores) - len(pairs.scores))


def _of_boxes(truth: OKSTruth, pairs: Pairs, similarity: np.ndarray, box_images: np.ndarray, boxes_xywh: np.ndarray
              ) -> BoxNumbers:
    known = np.isin(box_images, truth.image_ids)
    images, boxes = np.searchsorted(truth.image_ids, box_images[known]), boxes_xywh[known]
    order = np.argsort(images, kind='stable')
    row, person = with_people_of_picture(images[order], truth)
    best = np.zeros(len(truth))
    np.maximum.at(best, person, box_overlap(boxes[order][row], truth.boxes_xywh[person]))
    without = ~truth.is_ignored & (best < BOX_IOU)
    others = replace(truth, is_ignored=truth.is_ignored | without)
    precision, _ = precision_and_recall(others, pairs, match(others, pairs, similarity))
    return BoxNumbers(without, float(precision.mean()))
