"""Reads an annotation file in COCO's format for check.py and sigmas.py: faults in it are listed and do not end the
reading."""
import hashlib
import os
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Sequence, Tuple

import cv2
import numpy as np

from ..data.image_headers import claimed_size
from ..data.images import PICTURE_ENDINGS
from ..data.keypoint_names import category_with_keypoints, match_names, names_of
from ..data.skeleton_files import choose_skeleton
from ..data.skeletons import Skeleton
from ..system.errors import PoseError
from ..system.files import is_number, read_json
from ..system.printing import brief
from .labels import PictureFinder

# Width and height of the small grey picture by which pictures with the same content are found.
_SMALL = 16


@dataclass
class AnnotatedPicture:
    """A picture of an annotation file.

    Attributes:
        image_id: as in the file.
        name: its file name in the annotation file.
        size: (width, height) that the annotation file states; None if it states none.
        path: on disk; '' if the picture is missing.
        real_size: (width, height) of the stored pixels, before any EXIF rotation; None until it is opened.
        fingerprint: 256 bits that describe its content; empty until it is opened.
    """

    image_id: Any
    name: str
    size: Optional[Tuple[float, float]]
    path: str = ''
    real_size: Optional[Tuple[int, int]] = None
    fingerprint: bytes = b''


@dataclass(frozen=True)
class AnnotatedFigure:
    """A labelled figure (person, animal or thing) of an annotation file.

    Attributes:
        number: index of its annotation, from 0.
        picture: index of its picture.
        keypoints: (K, 3), in the order of the layout; all 0 if nothing is labelled.
        box: [x, y, width, height], or None.
        has_area, is_crowd: by its fields `area` and `iscrowd`.
    """

    number: int
    picture: int
    keypoints: np.ndarray
    box: Optional[np.ndarray]
    has_area: bool
    is_crowd: bool


@dataclass
class AnnotatedSet:
    """The content of an annotation file.

    Attributes:
        path: of the file.
        skeleton: its keypoint layout.
        pictures, figures: in the order of the file.
        odd: {kind of fault: the entries that have it, as text}.
        folders: where its pictures were searched.
        unlisted: pictures in the same folders that the file does not list.
    """

    path: str
    skeleton: Skeleton
    pictures: List[AnnotatedPicture] = field(default_factory=list)
    figures: List[AnnotatedFigure] = field(default_factory=list)
    odd: Dict[str, List[str]] = field(default_factory=dict)
    folders: List[str] = field(default_factory=list)
    unlisted: List[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return os.path.splitext(os.path.basename(self.path))[0]

    def note(self, kind: str, entry: str) -> None:
        """Add a faulty entry to `odd`."""
        self.odd.setdefault(kind, []).append(entry)


def find_annotation_files(data: str) -> List[str]:
    """Return the annotation files in the folder of a data set; if `data` is a file, return that.

    Raises:
        PoseError: there is none.
    """
    if os.path.isfile(data):
        return [data]
    folders = [os.path.join(data, name) for name in ('annotations', 'annotation/gt_json', 'json', '')]
    for folder in folders:
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        found = [os.path.join(folder, name) for name in names
                 if name.lower().endswith('.json') and _begins_with_object(os.path.join(folder, name))]
        # COCO's folder also holds boxes and captions of the same pictures.
        chosen = [path for path in found if 'keypoints' in os.path.basename(path)] or found
        if chosen:
            return chosen
    raise PoseError(f'{data} holds no annotation file; looked for .json in {", ".join(folders)}')


def _begins_with_object(path: str) -> bool:
    with open(path, encoding='utf-8-sig', errors='replace') as file:
        return file.read(64).lstrip().startswith('{')


def read_annotated_set(path: str, data: str, *, pictures: Optional[str] = None, skeleton: Optional[str] = None
                       ) -> AnnotatedSet:
    """Read an annotation file.

    Args:
        data: folder of the data set, which also contains the pictures.
        pictures: folder of the pictures, if they are elsewhere.
        skeleton: name or file of the layout; None derives it, see `choose_skeleton`.

    Raises:
        PoseError: the file is not a COCO annotation file.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get('images'), list):
        raise PoseError(f'{path} should be a COCO annotation file (an object with images and annotations)')
    whole = AnnotatedSet(path, choose_skeleton(content, path, skeleton))
    index_of = _read_pictures(whole, content['images'], data, pictures)
    try:
        category = category_with_keypoints(content, path) or {}
        places, remark = match_names(names_of(category), whole.skeleton, path) if category else (None, '')
        if remark:
            whole.note('order or spelling of the keypoints', remark)
    except PoseError as error:
        whole.note('keypoint names', str(error))
        category, places = {}, None
    annotations = content.get('annotations')
    if not isinstance(annotations, list):
        whole.note('no annotations', f"{path} has no 'annotations'")
        annotations = []
    known = {str(each.get('id')) for each in content.get('categories') or [] if isinstance(each, dict)}
    seen = set()
    for number, annotation in enumerate(annotations):
        if not isinstance(annotation, dict):
            whole.note('malformed annotations', f'annotation {number} is no object')
            continue
        if 'id' in annotation and str(annotation['id']) in seen:
            whole.note('annotation ids that are there twice', f'annotation {number}: id {brief(annotation["id"])}')
        seen.add(str(annotation.get('id')))
        _read_figure(whole, annotation, number, index_of, category, known, places)
    return whole


def _read_pictures(whole: AnnotatedSet, images: Sequence[Any], data: str, pictures: Optional[str]) -> Dict[str, int]:
    folder = os.path.dirname(os.path.abspath(whole.path))
    root = data if os.path.isdir(data) else os.path.dirname(folder)
    split = next((name for name in ('train2017', 'val2017', 'train2014', 'val2014', 'train', 'val', 'test')
                  if name in whole.name), '')
    near = [os.path.join(root, split), os.path.join(root, 'images', split)] if split else []
    finder = PictureFinder([pictures] if pictures else [*near, os.path.join(root, 'images'), root, folder])
    whole.folders = finder.folders
    index_of: Dict[str, int] = {}
    for number, image in enumerate(images):
        name = image.get('file_name') if isinstance(image, dict) else None
        if not isinstance(name, str) or 'id' not in image:
            whole.note('malformed images', f'image {number} should have id and file_name')
            continue
        if str(image['id']) in index_of:
            whole.note('image ids that are there twice', f'image {number}: id {brief(image["id"])}')
            continue
        sides = [image.get('width'), image.get('height')]
        size = tuple(sides) if all(is_number(side) and side > 0 for side in sides) else None
        if size is None:
            whole.note('images without width and height', f'image {number} ({name})')
        picture = AnnotatedPicture(image['id'], name, size)
        try:
            picture.path = finder.find(name) or ''
        except PoseError as error:
            whole.note('pictures whose name is in several folders', str(error))
        index_of[str(image['id'])] = len(whole.pictures)
        whole.pictures.append(picture)
    _list_unlisted(whole)
    return index_of


def _list_unlisted(whole: AnnotatedSet) -> None:
    """List the pictures that lie in the same folders as those of the file, but are not in the file."""
    used = {os.path.realpath(picture.path) for picture in whole.pictures if picture.path}
    for folder in sorted({os.path.dirname(path) for path in used}):
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            if name.lower().endswith(PICTURE_ENDINGS) and path not in used:
                whole.unlisted.append(path)


def _read_figure(whole: AnnotatedSet, annotation: Dict, number: int, index_of: Dict[str, int], category: Dict,
                 known: set, places: Optional[List[int]]) -> None:
    where, own = f'annotation {number}', annotation.get('category_id')
    if own is not None and known and str(own) not in known:
        whole.note('category_id that the file does not list', f'{where}: {brief(own)}')
        return
    if own is not None and category and str(own) != str(category.get('id')):
        return
    if isinstance(own, (str, bool)) or (own is None and 'category_id' in annotation):
        whole.note('category_id that is no number', f'{where}: {brief(own)}')
    if str(annotation.get('image_id')) not in index_of:
        whole.note('annotations of pictures that the file does not list',
                   f'{where}: {brief(annotation.get("image_id"))}')
        return
    values, count = annotation.get('keypoints'), whole.skeleton.num_keypoints
    width = len(places and category['keypoints'] or ()) or count
    table = np.zeros((count, 3))
    if values:
        if not isinstance(values, list) or len(values) != 3 * width or not all(map(is_number, values)):
            whole.note('malformed keypoints', f'{where}: should be {3 * width} numbers')
            return
        table = np.array(values, np.float64).reshape(width, 3)
        table = table[places] if places else table
        if not np.isfinite(table).all():
            whole.note('keypoints that are not finite', where)
            table[~np.isfinite(table).all(axis=1)] = 0
        if not set(table[:, 2]) <= {0, 1, 2}:
            whole.note('visibility other than 0, 1 and 2', f'{where}: {sorted(set(table[:, 2].tolist()))}')
    labelled = int((table[:, 2] > 0).sum())
    if 'num_keypoints' in annotation and annotation['num_keypoints'] != labelled and width == count:
        whole.note('num_keypoints other than the labelled ones', f'{where}: {brief(annotation["num_keypoints"])}, '
                                                                 f'labelled are {labelled}')
    box, area = annotation.get('bbox'), annotation.get('area')
    is_box = isinstance(box, list) and len(box) == 4 and all(is_number(each) and np.isfinite(each) for each in box)
    if not is_box or min(box[2:]) <= 0:
        whole.note('people without a box, or with one of no area' if labelled else 'boxes of no area', f'{where}')
    whole.figures.append(AnnotatedFigure(
        number, index_of[str(annotation['image_id'])], table, np.array(box, np.float64) if is_box else None,
        is_number(area) and area > 0, annotation.get('iscrowd') in (1, True)))


def open_picture(whole: AnnotatedSet, picture: AnnotatedPicture) -> None:
    """Set the real size and the fingerprint of a picture; if it cannot be read, note that."""
    try:
        with open(picture.path, 'rb') as file:
            content = file.read()
        small = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8) if content else None
    except (OSError, cv2.error) as error:
        whole.note('pictures that cannot be read', f'{picture.name}: {error}'[:200])
        return
    if small is None:
        whole.note('pictures that cannot be read', picture.name)
        return
    picture.real_size = claimed_size(content) or tuple(reversed(cv2.imdecode(
        np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION).shape[:2]))
    grey = cv2.resize(small, (_SMALL + 1, _SMALL), interpolation=cv2.INTER_AREA).astype(int)
    # A bit says whether a pixel is darker than the next one, which hardly changes with compression. For a picture of
    # one color this says nothing, so the hash of the file is taken.
    is_plain = grey.std() < 2
    picture.fingerprint = hashlib.sha256(content).digest() if is_plain else np.packbits(
        grey[:, 1:] > grey[:, :-1]).tobytes()
