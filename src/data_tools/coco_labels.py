"""COCO keypoint files as labelling tools write them → Labels.

CVAT writes `annotations/person_keypoints_<subset>.json`; Roboflow `_annotations.coco.json` beside the pictures of each
split, with an empty category 0; Label Studio `result.json` with URLs or paths as picture names; converters of LabelMe
count from 0 and leave out areas, boxes or counts; makesense.ai and others write ids as text. Therefore only the fields
that are needed are required.
"""
import math
import os
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ..data.people import read_field
from ..data.skeleton_files import read_limbs
from ..system.errors import PoseError
from ..system.files import is_number, read_json
from ..system.printing import brief, kind_of
from .labels import Figure, LabelledPicture, Labels, PictureFinder


def find_coco_files(source: str) -> List[str]:
    """Return the annotation files in a folder; if `source` is a file, return that."""
    if os.path.isfile(source):
        return [source]
    found = []
    for place, _, files in sorted(os.walk(source)):
        found += [os.path.join(place, file) for file in sorted(files) if file.lower().endswith('.json')]
    return [path for path in found if _is_coco(path)]


def _is_coco(path: str) -> bool:
    # A folder may hold other JSON files of any size, so only their beginning is read.
    with open(path, encoding='utf-8-sig', errors='replace') as file:
        start = file.read(1 << 16)
    keys = ('"images"', '"annotations"', '"categories"')
    return start.lstrip().startswith('{') and any(key in start for key in keys)


def read_coco(paths: Sequence[str], pictures: Optional[str], category: Optional[str],
              layout: Optional[Dict[str, Any]]) -> Labels:
    """Read one or several annotation files with the same keypoints.

    Args:
        pictures: folder of the pictures; None searches beside the files.
        category: name or id of the category to import; None takes the only one with keypoints.
        layout: keypoint layout with the keys of a skeleton file, if the files do not name their keypoints.

    Raises:
        PoseError: a file is malformed, has nothing to import, or lists pictures that are missing; the message names it.
    """
    labels = None
    for path in paths:
        content = read_json(path)
        if not isinstance(content, dict):
            raise PoseError(f'{path} should be a COCO annotation file (an object with images and annotations)')
        chosen = _choose_category(content, path, category)
        its_layout = layout or _layout_of(chosen, path)
        if labels is None:
            labels = Labels(its_layout)
        elif labels.layout['keypoints'] != its_layout['keypoints']:
            raise PoseError(f'{path} has other keypoints than {paths[0]}; convert them one by one')
        _add_file(labels, content, path, chosen, pictures)
    if labels is None or not labels.figures:
        told = '; '.join(f'{count} {reason}' for reason, count in labels.left_out.items()) if labels else ''
        raise PoseError(f'{", ".join(paths) or "no annotation file"}: nothing with keypoints to take over'
                        + (f' ({told})' if told else ''))
    return labels


def _choose_category(content: Dict, path: str, wanted: Optional[str]) -> Dict:
    categories = [each for each in content.get('categories') or [] if isinstance(each, dict)]
    names = ', '.join(f'{each.get("name")} ({each.get("id")})' for each in categories) or 'none'
    if wanted is not None:
        found = [each for each in categories if wanted in (str(each.get('name')), str(each.get('id')))]
        if not found:
            raise PoseError(f'{path} has no category {brief(wanted)}; its categories: {names}')
        return found[0]
    with_keypoints = [each for each in categories if each.get('keypoints')]
    if not with_keypoints:
        # No category names its keypoints: take the one whose annotations have keypoints, for use with a given layout.
        used = {str(each.get('category_id')) for each in content.get('annotations') or []
                if isinstance(each, dict) and each.get('keypoints')}
        with_keypoints = [each for each in categories if str(each.get('id')) in used] or [{'id': None, 'name': ''}]
    if len(with_keypoints) > 1:
        raise PoseError(f'{path} has several categories with keypoints: {names}; choose one with --category')
    return with_keypoints[0]


def _layout_of(category: Dict, path: str) -> Dict[str, Any]:
    names = category.get('keypoints')
    if not names:
        raise PoseError(f'{path} does not name its keypoints; write the names into a YAML file and give it with '
                        '--skeleton (docs/own_data.md)')
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise PoseError(f"{path}: 'keypoints' of its category should be a list of names, is {brief(names)}")
    return {'name': str(category.get('name') or 'own'), 'keypoints': names,
            'limbs': read_limbs(category.get('skeleton'), names)}


def _split_of(path: str) -> str:
    words = os.path.basename(path).lower(), os.path.basename(os.path.dirname(os.path.abspath(path))).lower()
    for word in words:
        if 'train' in word:
            return 'train'
        if 'val' in word or 'test' in word:
            return 'val'
    return ''


def _add_file(labels: Labels, content: Dict, path: str, category: Dict, pictures: Optional[str]) -> None:
    folder = os.path.dirname(os.path.abspath(path))
    finder = PictureFinder([pictures] if pictures else [
        folder, os.path.join(folder, 'images'), os.path.join(os.path.dirname(folder), 'images'),
        os.path.dirname(folder)])
    index_of, split, missing = {}, _split_of(path), []
    for number, image in enumerate(read_field(content, 'images', list, path)):
        where = f'{path}, image {number}'
        name = read_field(image, 'file_name', str, where)
        if 'id' not in image:
            raise PoseError(f"{where} has no 'id'")
        found = finder.find(name)
        if found is None:
            missing.append(name)
            continue
        if str(image['id']) in index_of:
            raise PoseError(f'{path}: the image id {brief(image["id"])} is there twice')
        # Compared as text, since some tools write ids as text only in images, or only in annotations.
        index_of[str(image['id'])] = len(labels.pictures)
        labels.pictures.append(LabelledPicture(found, _size_of(image), split))
    if missing:
        raise PoseError(f'{path}: {len(missing)} of {len(content["images"])} pictures are missing, e.g. {missing[0]}; '
                        f'looked in {", ".join(finder.folders)} and below; give their folder with --pictures')
    count = len(labels.layout['keypoints'])
    for number, annotation in enumerate(read_field(content, 'annotations', list, path)):
        _add_annotation(labels, annotation, f'{path}, annotation {number}', category, index_of, count)


def _size_of(image: Dict) -> Optional[Tuple[int, int]]:
    sides = [image.get('width'), image.get('height')]
    return (int(sides[0]), int(sides[1])) if all(is_number(side) and side > 0 for side in sides) else None


def _add_annotation(labels: Labels, annotation: Any, where: str, category: Dict, index_of: Dict[str, int],
                    count: int) -> None:
    if not isinstance(annotation, dict):
        raise PoseError(f'{where} should be an object, is {kind_of(annotation)}')
    if category.get('id') is not None and str(annotation.get('category_id', category['id'])) != str(category['id']):
        labels.leave_out('of other categories')
        return
    values = annotation.get('keypoints')
    if not values:
        labels.leave_out('without keypoints')
        return
    image_id = str(annotation.get('image_id'))
    if image_id not in index_of:
        raise PoseError(f'{where}: image_id {brief(annotation.get("image_id"))} is not among the images of the file')
    if not isinstance(values, list) or len(values) != 3 * count:
        told = f'{len(values)} values' if isinstance(values, list) else brief(values)
        raise PoseError(f"{where}: 'keypoints' should be {count} times x, y and visibility, is {told}")
    if not all(value is None or is_number(value) for value in values):
        odd = next(value for value in values if value is not None and not is_number(value))
        raise PoseError(f"{where}: 'keypoints' should be numbers, one is {brief(odd)}")
    table = np.array([math.nan if value is None else value for value in values], np.float64).reshape(count, 3)
    table[~np.isfinite(table).all(axis=1)] = 0
    if not set(table[:, 2]) <= {0, 1, 2}:
        raise PoseError(f'{where}: visibility should be 0, 1 or 2, is {sorted(set(table[:, 2].tolist()))}')
    if not table[:, 2].any():
        labels.leave_out('without a labelled keypoint')
        return
    box, area = annotation.get('bbox'), annotation.get('area')
    is_box = isinstance(box, list) and len(box) == 4 and all(is_number(each) and math.isfinite(each) for each in box)
    labels.figures.append(Figure(
        index_of[image_id], table, tuple(map(float, box)) if is_box and min(box[2:]) > 0 else None,
        float(area) if is_number(area) and math.isfinite(area) and area > 0 else None,
        annotation.get('iscrowd') in (1, True)))
