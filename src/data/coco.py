"""COCO keypoint annotation files → People, by the sample rules of each published model.

Layouts of COCO 2014 and 2017 and of any data set in the same format: OCHuman, CrowdPose.
"""
import math
from collections import Counter
from typing import Dict, NamedTuple, Optional, Tuple, Union

import numpy as np

from ..system.errors import PoseError
from ..system.files import JsonFile, as_json_file
from ..system.printing import brief
from .geometry import clip_box_to_picture, find_unusable_boxes
from .people import (
    MAX_COORDINATE,
    People,
    is_coordinate,
    name_bytes,
    read_box,
    read_field,
    read_name,
    release_memory,
)
from .skeletons import Skeleton

SAMPLE_RULES = ('mspn', 'simple_pose')


def load_coco_people(file: Union[str, JsonFile], skeleton: Skeleton, *, sample_rule: str,
                     trust_counts: bool = True) -> People:
    """Load the people of an annotation file that have keypoints.

    Args:
        file: COCO keypoint annotation file, its path or the file as it was read before.
        skeleton: its keypoint layout.
        sample_rule: 'mspn' keeps every non-crowd person with a labelled keypoint and its box as it is;
            'simple_pose' clips the box to the picture and drops people whose clipped box has no area.
        trust_counts: also drop people whose field `num_keypoints` is 0. CrowdPose's leaves out head and neck.

    Raises:
        PoseError: the file is missing, malformed or holds nobody; the message names the file and the entry.
    """
    if sample_rule not in SAMPLE_RULES:
        raise PoseError(f'unknown sample rule {sample_rule!r}; known: {", ".join(SAMPLE_RULES)}')
    file = as_json_file(file)
    path, content = file.path, file.content
    image_ids, file_names, picture_sizes = read_images(content, path)
    index_of = {image_id: index for index, image_id in enumerate(image_ids.tolist())}
    annotations = read_field(content, 'annotations', list, path)
    image_index, boxes, keypoints, without_area = [], [], [], 0
    for number, annotation in enumerate(annotations):
        where = f'{path}, annotation {number}'
        image_id = read_field(annotation, 'image_id', int, where)
        if image_id not in index_of:
            raise PoseError(f'{where}: image_id {image_id} is not among the images of the file')
        person = _read_person(annotation, skeleton, sample_rule, picture_sizes[index_of[image_id]], where)
        if person is not None and trust_counts and read_count(annotation, where) == 0:
            person = None
        if person is not None and np.any(find_unusable_boxes(person[0][None])):
            without_area += 1
        elif person is not None:
            image_index.append(index_of[image_id])
            boxes.append(person[0])
            keypoints.append(person[1])
    if not image_index:
        raise PoseError(f'{path}: none of its {len(annotations)} annotations is a person with labelled keypoints and '
                        'a box inside its picture')
    people = People(
        image_ids=image_ids, file_names=file_names, picture_sizes=picture_sizes,
        image_index=np.array(image_index, np.int32), boxes_xywh=np.array(boxes, np.float64),
        box_scores=np.ones(len(boxes)), keypoints=_pack_keypoints(keypoints, skeleton.num_keypoints),
        without_area=without_area)
    del file, content, annotations, annotation, boxes, keypoints
    release_memory()
    return people


def _pack_keypoints(keypoints: list, num_keypoints: int) -> np.ndarray:
    array = np.stack(keypoints).reshape(len(keypoints), num_keypoints, 3)
    return array.astype(np.int32 if np.issubdtype(array.dtype, np.integer) else np.float32)


def _read_person(annotation: Dict, skeleton: Skeleton, sample_rule: str, picture_size, where: str):
    """Return (box (4,), keypoints (K * 3,)), or None for somebody whom the published loaders leave out."""
    if not is_person(annotation, where) or read_crowd(annotation, where) or annotation.get('keypoints') in (None, []):
        return None
    keypoints = read_keypoints(annotation, skeleton, where)
    if not (keypoints[2::3] > 0).any():
        return None
    box = np.array(_read_finite_box(annotation, where))
    if sample_rule == 'simple_pose':
        clipped = clip_box_to_picture(box, tuple(picture_size))
        box = clipped if read_area(annotation, where) > 0 else np.zeros(4)
    return box, keypoints


def read_keypoints(annotation: Dict, skeleton: Skeleton, where: str) -> np.ndarray:
    """Return the checked keypoints (K * 3,) of an annotation: x, y, visibility 0, 1 or 2 of each."""
    values = read_field(annotation, 'keypoints', list, where)
    if len(values) != 3 * skeleton.num_keypoints:
        raise PoseError(f'{where}: {len(values)} keypoint values, should be {3 * skeleton.num_keypoints} '
                        f'({skeleton.num_keypoints} of the {skeleton.name} layout, x, y, visibility each)')
    # COCO has eleven million of them: a loop over single values would take longer than reading the file.
    if not (set(map(type, values)) <= {int, float} and max(map(abs, values)) < MAX_COORDINATE
            and all(map(math.isfinite, values))):
        odd = next(value for value in values if not is_coordinate(value))
        raise PoseError(f"{where}: 'keypoints' should be finite numbers between -1e9 and 1e9, one is {brief(odd)}")
    if not set(values[2::3]) <= {0, 1, 2}:
        raise PoseError(f'{where}: visibility should be 0, 1 or 2, is {values[2::3]}')
    return np.array(values)


def read_area(annotation: Dict, where: str) -> float:
    """Return the area of an annotation in square pixels, or 1: data sets in COCO's format may lack it."""
    area = read_field(annotation, 'area', (int, float), where) if 'area' in annotation else 1.0
    if not np.isfinite(area):
        raise PoseError(f"{where}: 'area' should be finite, is {area}")
    return area


def is_person(annotation: Dict, where: str) -> bool:
    """Return whether an annotation is of category 1, as those without a category are taken to be."""
    return 'category_id' not in annotation or read_field(annotation, 'category_id', int, where) == 1


def read_crowd(annotation: Dict, where: str) -> bool:
    """Return whether an annotation is of a crowd; those that do not say are not."""
    value = annotation.get('iscrowd', 0)
    if not isinstance(value, (bool, int, float)) or value not in (0, 1):
        raise PoseError(f"{where}: 'iscrowd' should be 0 or 1, is {value!r}"[:300])
    return bool(value)


def read_count(annotation: Dict, where: str) -> Optional[int]:
    """Return the field `num_keypoints`, or None where there is none."""
    if 'num_keypoints' not in annotation:
        return None
    count = read_field(annotation, 'num_keypoints', int, where)
    if count < 0:
        raise PoseError(f"{where}: 'num_keypoints' should be zero or more, is {count}")
    return count


def _read_finite_box(annotation: Dict, where: str) -> list:
    box = read_box(annotation, where)
    if not all(map(math.isfinite, box)):
        raise PoseError(f"{where}: 'bbox' should be finite numbers, is {annotation['bbox']}")
    return box


class EvaluatedPerson(NamedTuple):
    """What an evaluator by OKS reads of an annotation.

    Attributes:
        keypoints: (K, 3): x, y in picture pixels, visibility.
        box_xywh: four numbers.
        area: square pixels of the object scale.
        count: the field `num_keypoints`, None where there is none.
        is_crowd: may be found any number of times.
    """

    keypoints: np.ndarray
    box_xywh: list
    area: float
    count: Optional[int]
    is_crowd: bool


def read_evaluated_person(annotation: Dict, skeleton: Skeleton, where: str, *,
                          area_of_box: Optional[float] = None) -> EvaluatedPerson:
    """Read all that an evaluator by OKS touches of a person, labelled or not, also of a crowd.

    Args:
        area_of_box: the share of the box that is taken for the area; None takes the field `area` or, where there is
            none, the whole box.

    Raises:
        PoseError: naming the key and what would be right.
    """
    keypoints = read_keypoints(annotation, skeleton, where).reshape(-1, 3)
    box, by_field = _read_finite_box(annotation, where), area_of_box is None and 'area' in annotation
    # People without labelled keypoints are compared by their box.
    if min(box[2:]) < 0 and not (by_field and keypoints[:, 2].any()):
        raise PoseError(f"{where}: 'bbox' should have a width and height of zero or more, is {annotation['bbox']}")
    area = read_area(annotation, where) if by_field else (area_of_box or 1) * box[2] * box[3]
    if area < 0:
        raise PoseError(f"{where}: 'area' should be zero or more, is {area}")
    return EvaluatedPerson(keypoints, box, area, read_count(annotation, where), read_crowd(annotation, where))


def check_evaluable(file: Union[str, JsonFile], skeleton: Skeleton) -> None:
    """Prove that the official evaluator can work with an annotation file; it checks nothing itself.

    Of entries of other categories it reads the ids, and nothing else.

    Raises:
        PoseError: naming the file, the entry and what is wrong with it.
    """
    file = as_json_file(file)
    path, content = file.path, file.content
    known = set(read_images(content, path)[0].tolist())
    categories = read_field(content, 'categories', list, path)
    if 1 not in [read_field(category, 'id', int, f'{path}, categories') for category in categories]:
        raise PoseError(f"{path}: 'categories' should have one with id 1, person")
    annotations = read_field(content, 'annotations', list, path)
    if not annotations:
        raise PoseError(f'{path} has no annotations; there is nobody to evaluate on')
    seen, num_people = set(), 0
    for number, annotation in enumerate(annotations):
        where = f'{path}, annotation {number}'
        if read_field(annotation, 'id', int, where) == 0:
            raise PoseError(f"{where}: the evaluator can never match an annotation whose 'id' is 0; count from 1")
        if annotation['id'] in seen:
            raise PoseError(f"{where}: the 'id' {annotation['id']} is there twice")
        seen.add(annotation['id'])
        if read_field(annotation, 'image_id', int, where) not in known:
            raise PoseError(f"{where}: image_id {annotation['image_id']} is not among the images of the file")
        if read_field(annotation, 'category_id', int, where) == 1:
            read_evaluated_person(annotation, skeleton, where)
            num_people += 1
    if not num_people:
        raise PoseError(f'{path} has no annotations of people (category_id 1); there is nobody to evaluate on')


def read_images(content: Dict, path: str) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the ids (I,), file names (I,) bytes and sizes (I, 2) of the pictures of an annotation file."""
    if not isinstance(content, dict):
        raise PoseError(f'{path} should be a COCO annotation file (an object with images and annotations), '
                        f'is a {type(content).__name__}')
    images = read_field(content, 'images', list, path)
    if not images:
        raise PoseError(f'{path} lists no images')
    ids, names, sizes = [], [], []
    for number, image in enumerate(images):
        where = f'{path}, image {number}'
        ids.append(read_field(image, 'id', int, where))
        names.append(name_bytes(read_name(image, 'file_name', where)))
        sizes.append((read_field(image, 'width', int, where), read_field(image, 'height', int, where)))
    if len(set(ids)) < len(ids):
        counts = Counter(ids)
        twice = next(image_id for image_id in ids if counts[image_id] > 1)
        raise PoseError(f'{path}: the image id {twice} is there twice')
    return np.array(ids, np.int64), np.array(names), np.array(sizes, np.int64)


def load_coco_images(file: Union[str, JsonFile]) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the ids (I,), file names (I,) bytes and (width, height) (I, 2) of an annotation file's pictures."""
    file = as_json_file(file)
    return read_images(file.content, file.path)
