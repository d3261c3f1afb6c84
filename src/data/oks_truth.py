"""Annotation files in COCO's format → the ground truth of an OKS evaluator: all people, including those it ignores."""
from dataclasses import dataclass, replace
from typing import Optional, Tuple, Union

import numpy as np

from ..system.errors import PoseError
from ..system.files import JsonFile
from .annotation_checks import AnnotationFile, as_annotation_file
from .coco import evaluated_people
from .people import read_field
from .skeletons import Skeleton

# CrowdPose's files have no areas; its evaluator takes this share of the area of the box.
CROWDPOSE_AREA_OF_BOX = 0.53
CROWDPOSE_RULES = ('official', 'recount')


@dataclass(frozen=True)
class OKSTruth:
    """P annotated people, of K keypoints each, on I pictures in ascending order of their ids.

    Attributes:
        image_ids: (I,) int64.
        image_index: (P,) the picture of each person.
        keypoints: (P, K, 2) float64, picture pixels.
        is_labelled: (P, K) bool.
        boxes_xywh: (P, 4) float64.
        areas: (P,) float64, square pixels: the squared object scale of the OKS.
        is_ignored: (P,) bool, people who do not count: it is not an error to miss them, nor to detect them.
        is_crowd: (P,) bool, crowds, which any number of poses may match.
    """

    image_ids: np.ndarray
    image_index: np.ndarray
    keypoints: np.ndarray
    is_labelled: np.ndarray
    boxes_xywh: np.ndarray
    areas: np.ndarray
    is_ignored: np.ndarray
    is_crowd: np.ndarray

    def __len__(self) -> int:
        return len(self.image_index)

    def only(self, keypoint: int) -> 'OKSTruth':
        """Return the ground truth reduced to one keypoint; people for whom it is not labelled are ignored."""
        chosen = [keypoint]
        return replace(self, keypoints=self.keypoints[:, chosen], is_labelled=self.is_labelled[:, chosen],
                       is_ignored=self.is_ignored | ~self.is_labelled[:, keypoint])


def load_coco_truth(file: Union[str, JsonFile], skeleton: Skeleton) -> OKSTruth:
    """Load the ground truth of COCO's evaluator, with the areas of the file or, if an area is missing, that of the box.

    Raises:
        PoseError: the file is malformed; the message names it and the entry.
    """
    return _read_truth(as_annotation_file(file), skeleton, recount=False, needs_counts=False, area_of_box=None)


def load_crowdpose_truth(file: Union[str, JsonFile], skeleton: Skeleton, *, rule: str) -> Tuple[OKSTruth, np.ndarray]:
    """Load the ground truth of CrowdPose's evaluator, and the crowd index (I,) of every picture.

    Args:
        rule: both ignore crowds. 'official' also ignores people whose field `num_keypoints`, which does not count head
            and neck, is 0; 'recount' ignores people without any labelled keypoint, as a widely used toolbox does.

    Raises:
        PoseError: the file is malformed; the message names it and the entry.
    """
    if rule not in CROWDPOSE_RULES:
        raise PoseError(f'unknown rule {rule!r} of CrowdPose; known: {", ".join(CROWDPOSE_RULES)}')
    file = as_annotation_file(file)
    path, content = file.path, file.content
    truth = _read_truth(file, skeleton, recount=rule == 'recount', needs_counts=rule == 'official',
                        area_of_box=CROWDPOSE_AREA_OF_BOX)
    crowd_index = np.empty(len(content['images']))
    for number, image in enumerate(content['images']):
        crowd_index[number] = read_field(image, 'crowdIndex', (int, float), f'{path}, image {number}')
    if not np.isfinite(crowd_index).all():
        number = int(np.flatnonzero(~np.isfinite(crowd_index))[0])
        raise PoseError(f"{path}, image {number}: 'crowdIndex' should be finite, is {crowd_index[number]}")
    return truth, crowd_index[np.argsort(file.pictures.ids, kind='stable')]


def _read_truth(file: AnnotationFile, skeleton: Skeleton, *, recount: bool, needs_counts: bool,
                area_of_box: Optional[float]) -> OKSTruth:
    people = evaluated_people(file, skeleton, area_of_box=area_of_box)
    if needs_counts:
        uncounted = next((row for row in file.rows if row.count is None), None)
        if uncounted is not None:
            raise PoseError(f"{file.path}, annotation {uncounted.number} has no 'num_keypoints'")
    if not people:
        raise PoseError(f'{file.path} has no annotations of people; there is nobody to evaluate on')
    # Pictures in ascending order of their ids.
    order = np.argsort(file.pictures.ids, kind='stable')
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    keypoints = np.array([person.keypoints for person in people], np.float64)
    counts = np.array([np.count_nonzero(person.keypoints[:, 2]) if recount or person.count is None else person.count
                       for person in people])
    is_crowd = np.array([person.is_crowd for person in people])
    return OKSTruth(file.pictures.ids[order], place[[person.picture for person in people]], keypoints[:, :, :2],
                    keypoints[:, :, 2] > 0, np.array([person.box_xywh for person in people], np.float64),
                    np.array([person.area for person in people], np.float64), is_crowd | (counts == 0), is_crowd)
