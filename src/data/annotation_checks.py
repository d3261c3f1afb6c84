"""Annotation files in COCO's format: read once and checked once, for training and evaluation alike.

Tools write such files in many ways. Variants with the same meaning are accepted: ids as "1" or 1.0, annotation ids
from 0, any category id. A contradiction is an error that names the entry, before anything is trained or predicted.
"""
import math
from collections import Counter
from functools import cached_property
from typing import Any, Dict, List, NamedTuple, Optional, Union

import numpy as np

from ..system.errors import PoseError
from ..system.files import JsonFile, without_garbage_collector
from ..system.printing import brief_json, kind_of
from .categories import (
    DEFAULT_CATEGORY,
    DEFAULT_CATEGORY_ID,
    Category,
    category_of,
    choose_category,
    list_categories,
    read_categories,
)
from .people import name_bytes, read_box, read_field, read_name, read_whole_number


class Pictures(NamedTuple):
    """The I pictures of an annotation file: ids (I,) int64, names (I,) bytes, (width, height) (I, 2) int64, and
    {id: row}."""

    ids: np.ndarray
    names: np.ndarray
    sizes: np.ndarray
    row_of: Dict[int, int]


class PersonRow(NamedTuple):
    """An annotation of the category of people; everything in it but the keypoints has been checked.

    Attributes:
        number: index among all annotations of the file.
        annotation: its entry in the file.
        picture: row of its picture in `Pictures`.
        has_keypoints: False if the field is missing, null or empty; then no other field is required.
        box_xywh: four finite numbers; None only if there are no keypoints and no valid box.
        area: square pixels; None if the file gives none, or 0.
        count: the field `num_keypoints`; None if it is missing.
        is_crowd: whether it is of a crowd.
    """

    number: int
    annotation: Dict
    picture: int
    has_keypoints: bool
    box_xywh: Optional[list]
    area: Optional[float]
    count: Optional[int]
    is_crowd: bool


class AnnotationFile(JsonFile):
    """An annotation file that is read and checked once, when its content is first used.

    Args:
        category: DATASET.CATEGORY, name or id of the category of people; '' chooses it, see `choose_category`.

    Attributes:
        notes: what the user should know about the file, apart from errors; one line each, found as far as the file has
            been read.

    Raises (when a property is used):
        PoseError: naming the file, the entry and what is expected.
    """

    # They take most of the memory of COCO's files.
    unused_keys = ('segmentation', 'coco_url', 'flickr_url', 'date_captured', 'license')

    def __init__(self, path: str, category: str = ''):
        super().__init__(path)
        self.wanted_category = category
        self.notes: List[str] = []

    def note(self, text: str) -> None:
        """Keep a line for the user, unless it is there already."""
        if text not in self.notes:
            self.notes.append(text)

    @cached_property
    def pictures(self) -> Pictures:
        pictures = _read_pictures(self.content, self.path)
        repeated = len(pictures.ids) - len(set(pictures.names.tolist()))
        if repeated:
            self.note(f'{repeated} pictures have the name of another one: each counts as a picture of its own')
        return pictures

    @cached_property
    def annotations(self) -> list:
        return read_field(self.content, 'annotations', list, self.path)

    @cached_property
    def categories(self) -> Dict[int, Category]:
        """{id: category} of the field `categories`; empty if the file does not have it."""
        return read_categories(self.content, self.path)

    @cached_property
    def category(self) -> Category:
        return choose_category(self.content, self.path, self.wanted_category)

    @property
    def category_id(self) -> int:
        """The id of the category; 1 in files of another format."""
        return self.category.id if isinstance(self.content, dict) else DEFAULT_CATEGORY_ID

    @cached_property
    def rows(self) -> List[PersonRow]:
        """The annotations of the category."""
        return _read_rows(self)

    @cached_property
    def other_categories(self) -> 'Counter[int]':
        """{category id: number of annotations} of all other categories."""
        found = Counter(category_of(each, self.path, number) for number, each in enumerate(self.annotations))
        return Counter({category: count for category, count in found.items()
                        if category not in (self.category.id, None)})

    def note_missing_areas(self) -> None:
        """Note how many people have no area of their own."""
        count = sum(row.has_keypoints and row.area is None for row in self.rows)
        if count:
            self.note(f'{count} people have no area, or one of 0: that of their boxes counts')

    def name_category(self, category: int) -> str:
        """Return a category as text, such as '3 (dog)'."""
        return str(self.categories.get(category, category))


def as_annotation_file(file: Union[str, JsonFile]) -> AnnotationFile:
    """Return an `AnnotationFile` for a path, or for a file that is open already."""
    if isinstance(file, AnnotationFile):
        return file
    checked = AnnotationFile(file if isinstance(file, str) else file.path)
    if isinstance(file, JsonFile):
        # The content is shared, so that the file is not read a second time.
        checked.__dict__['content'] = file.content
    return checked


@without_garbage_collector()
def _read_pictures(content: Any, path: str) -> Pictures:
    if not isinstance(content, dict):
        raise PoseError(f'{path} should be a COCO annotation file (an object with images and annotations), '
                        f'is {kind_of(content)}')
    images = read_field(content, 'images', list, path)
    if not images:
        raise PoseError(f'{path} lists no images')
    ids, names, sizes = [], [], []
    for number, image in enumerate(images):
        where = f'{path}, image {number}'
        ids.append(read_whole_number(image, 'id', where))
        names.append(name_bytes(read_name(image, 'file_name', where)))
        unsized = next((key for key in ('width', 'height') if image.get(key) is None), '')
        if unsized:
            raise PoseError(f'{where} has no {unsized!r}: every picture needs its width and height in pixels; '
                            'python -m src.data_tools.convert FILE OUT reads them from the pictures')
        size = read_whole_number(image, 'width', where), read_whole_number(image, 'height', where)
        if min(size) <= 0:
            key = 'width' if size[0] <= 0 else 'height'
            raise PoseError(f"{where}: {key!r} should be that of the picture in pixels, is {brief_json(image[key])}")
        sizes.append(size)
    row_of = dict(zip(ids, range(len(ids))))
    if len(row_of) < len(ids):
        twice, _ = Counter(ids).most_common(1)[0]
        numbers = [number for number, each in enumerate(ids) if each == twice]
        raise PoseError(f'{path}: the image id {twice} is there twice (images {numbers[0]} and {numbers[1]})')
    return Pictures(np.array(ids, np.int64), np.array(names), np.array(sizes, np.int64), row_of)


@without_garbage_collector()
def _read_rows(file: AnnotationFile) -> List[PersonRow]:
    path, wanted, row_of, rows = file.path, file.category.id, file.pictures.row_of, []
    for number, annotation in enumerate(file.annotations):
        category = category_of(annotation, path, number)
        if category is None and len(file.categories) > 1:
            raise PoseError(f"{path}, annotation {number} has no 'category_id', and the file has several categories: "
                            f'{list_categories(file.categories)}')
        if category not in (wanted, None):
            continue
        where = f'{path}, annotation {number}'
        image_id = read_whole_number(annotation, 'image_id', where)
        if image_id not in row_of:
            raise PoseError(f'{where}: image_id {image_id} is not among the images of the file')
        picture = row_of[image_id]
        if annotation.get('keypoints') in (None, []):
            rows.append(PersonRow(number, annotation, picture, False, _box_or_none(annotation), None, 0, False))
        else:
            rows.append(PersonRow(number, annotation, picture, True, _read_finite_box(annotation, where),
                                  _read_area(annotation, where), _read_count(annotation, where),
                                  _read_crowd(annotation, where)))
    if file.category.id != DEFAULT_CATEGORY_ID or file.category.name.lower() not in ('', DEFAULT_CATEGORY):
        file.note(f'people are the annotations of category {file.category}')
    return rows


def _read_finite_box(annotation: Dict, where: str) -> list:
    box = read_box(annotation, where)
    if not all(map(math.isfinite, box)):
        raise PoseError(f"{where}: 'bbox' should be finite numbers, is {annotation['bbox']}")
    return box


def _box_or_none(annotation: Dict) -> Optional[list]:
    try:
        box = _read_finite_box(annotation, '')
    except PoseError:
        return None
    return box if min(box[2:]) >= 0 else None


def _read_area(annotation: Dict, where: str) -> Optional[float]:
    if 'area' not in annotation:
        return None
    area = read_field(annotation, 'area', (int, float), where)
    if not math.isfinite(area):
        raise PoseError(f"{where}: 'area' should be finite, is {area}")
    if area < 0:
        raise PoseError(f"{where}: 'area' should be zero or more, is {area}")
    return area or None


def _read_crowd(annotation: Dict, where: str) -> bool:
    """Return whether an annotation is of a crowd; without the field `iscrowd` it is not."""
    value = annotation.get('iscrowd', 0)
    if not isinstance(value, (bool, int, float)) or value not in (0, 1):
        raise PoseError(f"{where}: 'iscrowd' should be 0 or 1, is {brief_json(value)}")
    return bool(value)


def _read_count(annotation: Dict, where: str) -> Optional[int]:
    if 'num_keypoints' not in annotation:
        return None
    count = read_field(annotation, 'num_keypoints', int, where)
    if count < 0:
        raise PoseError(f"{where}: 'num_keypoints' should be zero or more, is {count}")
    return count
