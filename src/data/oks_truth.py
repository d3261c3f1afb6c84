"""Annotation files in COCO's format → what an evaluator by OKS compares with: everybody, also those whom it ignores."""
from dataclasses import dataclass, replace
from typing import Optional, Tuple, Union

import numpy as np

from ..system.errors import PoseError
from ..system.files import JsonFile, as_json_file
from .coco import is_person, read_evaluated_person, read_images
from .people import read_field
from .skeletons import Skeleton

# CrowdPose's files have no areas; its evaluator takes this share of the box.
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
        areas: (P,) float64, square pixels of the object scale.
        is_ignored: (P,) bool, people who do not count: to miss them is no fault, and neither is to find them.
        is_crowd: (P,) bool, people who may be found any number of times.
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
        """Return the truth of one keypoint alone: people without it are ignored."""
        chosen = [keypoint]
        return replace(self, keypoints=self.keypoints[:, chosen], is_labelled=self.is_labelled[:, chosen],
                       is_ignored=self.is_ignored | ~self.is_labelled[:, keypoint])


def load_coco_truth(file: Union[str, JsonFile], skeleton: Skeleton) -> OKSTruth:
    """Load what COCO's evaluator compares with: areas of the file, or of the boxes where it has none.

    Raises:
        PoseError: the file is malformed; the message names it and the entry.
    """
    file = as_json_file(file)
    return _read_truth(file.content, file.path, skeleton, recount=False, needs_counts=False, area_of_box=None)


def load_crowdpose_truth(file: Union[str, JsonFile], skeleton: Skeleton, *, rule: str) -> Tuple[OKSTruth, np.ndarray]:
    """Load what CrowdPose's evaluator compares with, and the crowd index (I,) of every picture.

    Args:
        rule: 'official' ignores crowds and people whose field `num_keypoints`, which leaves out head and neck, is 0;
            'recount' those without any labelled keypoint, as the evaluator of a widespread toolbox does.

    Raises:
        PoseError: the file is malformed; the message names it and the entry.
    """
    if rule not in CROWDPOSE_RULES:
        raise PoseError(f'unknown rule {rule!r} of CrowdPose; known: {", ".join(CROWDPOSE_RULES)}')
    file = as_json_file(file)
    path, content = file.path, file.content
    truth = _read_truth(content, path, skeleton, recount=rule == 'recount', needs_counts=rule == 'official',
                        area_of_box=CROWDPOSE_AREA_OF_BOX)
    crowd_index = np.empty(len(content['images']))
    for number, image in enumerate(content['images']):
        crowd_index[number] = read_field(image, 'crowdIndex', (int, float), f'{path}, image {number}')
    if not np.isfinite(crowd_index).all():
        number = int(np.flatnonzero(~np.isfinite(crowd_index))[0])
        raise PoseError(f"{path}, image {number}: 'crowdIndex' should be finite, is {crowd_index[number]}")
    return truth, crowd_index[np.argsort([image['id'] for image in content['images']], kind='stable')]


def _read_truth(content, path: str, skeleton: Skeleton, *, recount: bool, needs_counts: bool,
                area_of_box: Optional[float]) -> OKSTruth:
    image_ids = np.sort(read_images(content, path)[0])
    index_of = {image_id: index for index, image_id in enumerate(image_ids.tolist())}
    rows, tables, boxes, areas, counts, crowds = [], [], [], [], [], []
    for number, annotation in enumerate(read_field(content, 'annotations', list, path)):
        where = f'{path}, annotation {number}'
        image_id = read_field(annotation, 'image_id', int, where)
        if image_id not in index_of:
            raise PoseError(f'{where}: image_id {image_id} is not among the images of the file')
        if not is_person(annotation, where):
            continue
        person = read_evaluated_person(annotation, skeleton, where, area_of_box=area_of_box)
        if needs_counts and person.count is None:
            raise PoseError(f"{where} has no 'num_keypoints'")
        rows.append(index_of[image_id])
        tables.append(person.keypoints)
        boxes.append(person.box_xywh)
        areas.append(person.area)
        counts.append(np.count_nonzero(person.keypoints[:, 2]) if recount or person.count is None else person.count)
        crowds.append(person.is_crowd)
    if not rows:
        raise PoseError(f'{path} has no annotations of people; there is nobody to evaluate on')
    keypoints, is_crowd = np.array(tables, np.float64), np.array(crowds)
    return OKSTruth(image_ids, np.array(rows, np.int64), keypoints[:, :, :2], keypoints[:, :, 2] > 0,
                    np.array(boxes, np.float64), np.array(areas, np.float64), is_crowd | (np.array(counts) == 0),
                    is_crowd)
