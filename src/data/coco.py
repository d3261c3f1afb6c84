"""COCO keypoint annotation files → People, by the sample rules of each published model.

For COCO 2014 and 2017, and any data set in the same format, such as OCHuman and CrowdPose.
"""
import math
from collections import Counter
from typing import Dict, List, NamedTuple, Optional, Tuple, Union

import numpy as np

from ..system.errors import PoseError
from ..system.files import JsonFile
from ..system.printing import brief
from .annotation_checks import AnnotationFile, PersonRow, as_annotation_file
from .geometry import clip_boxes_to_pictures, find_unusable_boxes
from .left_out import count_left_out, nobody_left
from .people import MAX_COORDINATE, People, is_coordinate, read_field, release_memory
from .skeletons import Skeleton

# In all evaluations by OKS, only this many poses of a picture count: those with the best scores.
MAX_POSES = 20
SAMPLE_RULES = ('mspn', 'simple_pose')


def load_coco_people(file: Union[str, JsonFile], skeleton: Skeleton, *, sample_rule: str,
                     trust_counts: bool = True) -> People:
    """Load the people of an annotation file that have keypoints.

    Args:
        file: COCO keypoint annotation file: its path, or the opened file.
        skeleton: its keypoint layout.
        sample_rule: 'mspn' keeps the boxes as they are; 'simple_pose' clips them to the picture. Both then drop crowds,
            people without a labelled keypoint, and people whose box has no area.
        trust_counts: also drop people whose field `num_keypoints` is 0; False for CrowdPose, whose field does not count
            head and neck.

    Raises:
        PoseError: the file is missing, malformed or has no usable person; the message names the file and the entry.
    """
    if sample_rule not in SAMPLE_RULES:
        raise PoseError(f'unknown sample rule {sample_rule!r}; known: {", ".join(SAMPLE_RULES)}')
    file = as_annotation_file(file)
    pictures, reasons = file.pictures, Counter()
    kept: List[PersonRow] = []
    keypoints: List[list] = []
    for row in file.rows:
        found = _find_labels(row, skeleton, f'{file.path}, annotation {row.number}', trust_counts=trust_counts)
        if isinstance(found, str):
            reasons[found] += 1
        else:
            kept.append(row)
            keypoints.append(found)
    image_index = np.array([row.picture for row in kept], np.int32)
    labelled = boxes = np.array([row.box_xywh for row in kept], np.float64).reshape(-1, 4)
    if sample_rule == 'simple_pose':
        boxes = clip_boxes_to_pictures(labelled, pictures.sizes[image_index])
    has_box = ~np.any(find_unusable_boxes(boxes), axis=0)
    is_outside = ~has_box & ~np.any(find_unusable_boxes(labelled), axis=0) & (labelled[:, 2:] > 1).all(axis=1)
    reasons['with a box outside the picture'] = int(is_outside.sum())
    reasons['without area'] = int((~has_box & ~is_outside).sum())
    if trust_counts:
        file.note_missing_areas()
    left_out = count_left_out(file, +reasons)
    if not has_box.any():
        raise nobody_left(file, left_out, 'with labelled keypoints and a usable box')
    table = _pack_keypoints([each for each, is_kept in zip(keypoints, has_box.tolist()) if is_kept])
    image_index, boxes = image_index[has_box], boxes[has_box]
    people = People(
        image_ids=pictures.ids, file_names=pictures.names, picture_sizes=pictures.sizes, image_index=image_index,
        boxes_xywh=boxes, box_scores=np.ones(len(boxes)), keypoints=table, left_out=left_out,
        category_id=file.category.id, notes=tuple(file.notes))
    del file, pictures, kept, keypoints, row, found
    release_memory()
    return people


def _pack_keypoints(keypoints: List[list]) -> np.ndarray:
    array = np.array(keypoints).reshape(len(keypoints), -1, 3)
    return array.astype(np.int32 if np.issubdtype(array.dtype, np.integer) else np.float32)


def _find_labels(row: PersonRow, skeleton: Skeleton, where: str, *, trust_counts: bool) -> Union[str, list]:
    """Return the keypoints (K * 3 numbers) of a person to train on, or the reason why the published loaders
    drop them."""
    if not row.has_keypoints:
        return 'without keypoints'
    if row.is_crowd:
        return 'crowds'
    keypoints = read_keypoints(row.annotation, skeleton, where)
    if not any(keypoints[2::3]):
        return 'without a labelled keypoint'
    if trust_counts and row.count == 0:
        return 'with num_keypoints 0 though keypoints are labelled'
    return keypoints


def read_keypoints(annotation: Dict, skeleton: Skeleton, where: str) -> list:
    """Return the checked keypoints of an annotation, K * 3 numbers: x, y and visibility (0, 1 or 2) of each."""
    values = read_field(annotation, 'keypoints', list, where)
    if len(values) != 3 * skeleton.num_keypoints:
        raise PoseError(f'{where}: {len(values)} keypoint values, should be {3 * skeleton.num_keypoints} '
                        f'({skeleton.num_keypoints} of the {skeleton.name} layout, x, y, visibility each)')
    # COCO has eleven million of these numbers: a Python loop over them would take longer than reading the file.
    types = set(map(type, values))
    if not (types <= {int, float} and max(values) < MAX_COORDINATE and min(values) > -MAX_COORDINATE
            and (float not in types or all(map(math.isfinite, values)))):
        odd = next(value for value in values if not is_coordinate(value))
        raise PoseError(f"{where}: 'keypoints' should be finite numbers between -1e9 and 1e9, one is {brief(odd)}")
    if not set(values[2::3]) <= {0, 1, 2}:
        raise PoseError(f'{where}: visibility should be 0, 1 or 2, is {values[2::3]}')
    return values


class EvaluatedPerson(NamedTuple):
    """What an evaluator by OKS reads of an annotation.

    Attributes:
        picture: row of the picture.
        keypoints: (K, 3): x, y in picture pixels, visibility.
        box_xywh: four numbers.
        area: square pixels: the squared object scale of the OKS.
        count: the field `num_keypoints`; None if it is missing.
        is_crowd: whether it is a crowd, which any number of poses may match.
    """

    picture: int
    keypoints: np.ndarray
    box_xywh: list
    area: float
    count: Optional[int]
    is_crowd: bool


def evaluated_people(file: AnnotationFile, skeleton: Skeleton, *,
                     area_of_box: Optional[float] = None) -> List[EvaluatedPerson]:
    """Return all people that an evaluator by OKS reads: everybody of the category, labelled or not, and crowds.

    People without keypoints are ignored by the evaluator, like those whose keypoints are all unlabelled: to miss them
    is not an error, and poses that match their box are not wrong. Without a valid box they are not returned at all.

    Args:
        area_of_box: the share of the area of the box that is taken as the area of the person; None takes the field
            `area` or, if it is missing or 0, the area of the whole box.

    Raises:
        PoseError: naming the entry, the key and what is expected.
    """
    people = []
    for row in file.rows:
        box, by_field = row.box_xywh, area_of_box is None and row.area is not None
        if box is None:
            continue
        where = f'{file.path}, annotation {row.number}'
        keypoints = np.array(read_keypoints(row.annotation, skeleton, where)).reshape(-1, 3) if row.has_keypoints \
            else np.zeros((skeleton.num_keypoints, 3), np.int64)
        # People without labelled keypoints are compared by their box.
        if min(box[2:]) < 0 and not (by_field and keypoints[:, 2].any()):
            raise PoseError(f"{where}: 'bbox' should have a width and height of zero or more, is "
                            f"{row.annotation['bbox']}")
        area = row.area if by_field else (area_of_box or 1) * box[2] * box[3]
        people.append(EvaluatedPerson(row.picture, keypoints, box, area, row.count, row.is_crowd))
    return people


def check_evaluable(file: Union[str, JsonFile], skeleton: Skeleton, *, trust_counts: bool = True) -> None:
    """Check that the people of an annotation file can be evaluated on; other categories are not read.

    Contradictions that are perhaps intended are added to the notes of the file.

    Args:
        trust_counts: people whose field `num_keypoints` is 0 do not count; False for CrowdPose, whose field does not
            count head and neck.

    Raises:
        PoseError: naming the file, the entry and what is wrong with it.
    """
    file = as_annotation_file(file)
    if not file.annotations:
        raise PoseError(f'{file.path} has no annotations; there is nobody to evaluate on')
    if not read_field(file.content, 'categories', list, file.path):
        raise PoseError(f"{file.path}: 'categories' should have one with id 1, person")
    _check_annotation_ids(file)
    people, reasons = evaluated_people(file, skeleton), Counter()
    labelled = np.array([np.count_nonzero(person.keypoints[:, 2]) for person in people], int)
    counts = np.array([number if person.count is None or not trust_counts else person.count
                       for number, person in zip(labelled.tolist(), people)], int)
    is_crowd = np.array([person.is_crowd for person in people], bool)
    is_counted = ~is_crowd & (counts > 0)
    reasons['without keypoints'] = sum(not row.has_keypoints for row in file.rows)
    reasons['crowds'] = int(is_crowd.sum())
    reasons['with num_keypoints 0 though keypoints are labelled'] = hidden = int(((counts == 0) & (labelled > 0)
                                                                                 & ~is_crowd).sum())
    reasons['without a labelled keypoint'] = int((labelled == 0).sum()) - sum(
        not row.has_keypoints and row.box_xywh is not None for row in file.rows)
    if not (is_counted & (labelled > 0)).any():
        raise nobody_left(file, count_left_out(file, +reasons), 'with labelled keypoints to evaluate on')
    if trust_counts:
        file.note_missing_areas()
    if hidden:
        file.note(f'{hidden} people with labelled keypoints have num_keypoints 0: they do not count')
    empty = int((is_counted & (labelled == 0)).sum())
    if empty:
        file.note(f'{empty} people have num_keypoints above 0 and no labelled keypoint: poses are compared with their '
                  'boxes')
    on_picture = np.bincount(np.array([person.picture for person in people])[is_counted])
    if on_picture.max() > MAX_POSES:
        file.note(f'{(on_picture > MAX_POSES).sum()} pictures have more than {MAX_POSES} people, up to '
                  f'{on_picture.max()}: only the {MAX_POSES} best poses of a picture count, so the others are missed')


def _check_annotation_ids(file: AnnotationFile) -> None:
    """Refuse two people with the same id: perhaps files were merged, and a person is in them twice. Ids serve
    nothing else.
    """
    seen: Dict = {}
    for row in file.rows:
        key = row.annotation.get('id')
        if row.has_keypoints and isinstance(key, (int, str, float)) and seen.setdefault(key, row.number) != row.number:
            raise PoseError(f"{file.path}, annotation {row.number}: the 'id' {brief(key)} is there twice (annotation "
                            f'{seen[key]} has it as well)')


def load_coco_images(file: Union[str, JsonFile]) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the ids (I,), file names (I,) bytes and (width, height) (I, 2) of an annotation file's pictures."""
    return as_annotation_file(file).pictures[:3]
