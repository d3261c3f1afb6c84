"""All numbers of a report, computed once from a ground truth and poses; nothing here draws or writes."""
from dataclasses import dataclass, replace
from functools import cached_property
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
    ap_without_states,
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
    """Everything that a report shows. What takes long is computed when it is first used.

    Attributes:
        found: the poses that count; `pairs`, `similarity`, `matching`, `errors` and `people` are of these.
        numbers: the numbers of the evaluation, as eval.py prints them.
        resamples: of the bootstrap.
        boxes: None if the boxes are not known.
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
    resamples: int
    boxes: Optional[BoxNumbers]

    @property
    def poses_beyond(self) -> int:
        """Number of poses beyond the 20 best of their picture."""
        return len(self.found.scores) - len(self.pairs.scores)

    @cached_property
    def drawn(self) -> Dict[str, np.ndarray]:
        """{name of a number: its value (R,) in each resample}."""
        return resampled_numbers(self.truth, self.pairs, self.similarity, self.numbers,
                                 crowd_index=self.pictures.crowd_index, resamples=self.resamples)

    @cached_property
    def intervals(self) -> Dict[str, Optional[Interval]]:
        """{name of a number: its interval over pictures; None where it is undefined in some resamples}."""
        return {name: interval(values) for name, values in self.drawn.items()}

    @cached_property
    def keypoints(self) -> Dict[str, KeypointOKS]:
        """{name: AP alone and OKS error}, as eval.py prints them."""
        return keypoint_numbers(self.truth, self.pairs, self.matching.person[0], self.skeleton)

    @cached_property
    def precision(self) -> np.ndarray:
        """Precision (T, 101) by threshold and recall."""
        return precision_and_recall(self.truth, self.pairs, self.matching)[0]

    @cached_property
    def corrections(self) -> Dict[str, Correction]:
        """{kind of error: AP without it}."""
        return ap_by_correction(self.truth, self.found, np.array(self.skeleton.oks_sigmas), self.pairs, self.errors)

    @cached_property
    def without_states(self) -> Dict[str, float]:
        """AP without false poses, and without people who have no pose; see `ap_without_states`."""
        return ap_without_states(self.truth, self.pairs, self.people)

    @cached_property
    def conditions(self) -> List[Condition]:
        """The ways to group the people."""
        return group_people(self.truth, self.pictures.sizes)

    @cached_property
    def groups(self) -> List[List[GroupNumbers]]:
        """The numbers of the groups of each condition."""
        return [numbers_of_groups(self.truth, self.pairs, self.similarity, each, self.people, self.errors)
                for each in self.conditions]

    @cached_property
    def person_reliability(self) -> Reliability:
        """Of the scores of poses, which are right at an OKS of 0.5."""
        scored = self.people.pose_state != IGNORED
        return reliability(self.pairs.scores[scored], self.people.pose_state[scored] == RIGHT)

    @cached_property
    def keypoint_reliability(self) -> Reliability:
        """Of the scores of keypoints, which are right near their labels."""
        is_labelled = self.errors.kind != UNLABELLED
        scores = self.found.keypoint_scores[self.pairs.given[self.errors.pose]]
        return reliability(scores[is_labelled], self.errors.own[is_labelled] >= NEAR)


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
    """Match poses and people, and return their analysis.

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
    return Analysis(
        skeleton, pictures, truth, found, pairs, similarity, matching,
        find_keypoint_errors(truth, pairs, similarity, skeleton.flip_index),
        find_people_errors(truth, pairs, similarity, matching), numbers, resamples,
        None if boxes_xywh is None else _of_boxes(truth, pairs, similarity, box_images, boxes_xywh))


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
