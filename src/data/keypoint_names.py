"""Compares the keypoint names in an annotation file in COCO's format with those of a layout.

If the names are the same but in another order, as some tools sort them, the keypoints are reordered. Other names are
refused: otherwise a network would learn, and an evaluator score, a nose as a tail.
"""
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from ..system.errors import PoseError
from ..system.printing import brief
from .annotation_checks import AnnotationFile
from .categories import Category, choose_category
from .keypoint_sides import plain_name
from .people import read_field
from .skeletons import Skeleton


def category_with_keypoints(content: Any, path: str, wanted: str = '') -> Optional[Dict]:
    """Return the file's entry of the category of people; None if it lists no keypoints.

    Args:
        wanted: DATASET.CATEGORY; see `choose_category`.

    Raises:
        PoseError: the categories are malformed, or several could be meant.
    """
    if not _has_categories(content, path):
        return None
    return _entry_with_keypoints(choose_category(content, path, wanted), path)


def _has_categories(content: Any, path: str) -> bool:
    if not isinstance(content, dict) or content.get('categories') is None:
        return False
    read_field(content, 'categories', list, path)
    return True


def _entry_with_keypoints(category: Category, path: str) -> Optional[Dict]:
    names = category.entry.get('keypoints')
    if not names:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise PoseError(f"{path}: 'keypoints' of the category {brief(category.name)} should be a list of names, is "
                        f'{brief(names)}')
    return category.entry


def names_of(category: Dict) -> List[str]:
    """Return the names of the keypoints of a category."""
    return list(category['keypoints'])


def open_annotations(path: str, skeleton: Skeleton, category: str = '') -> AnnotationFile:
    """Return an annotation file with its keypoints in the order of a layout; a note says if the order in the file is
    different.

    Args:
        category: DATASET.CATEGORY.

    Raises:
        PoseError: the file is not JSON, or has other keypoints; the message says which, and what can be done.
    """
    file = AnnotationFile(path, category)
    entry = _entry_with_keypoints(file.category, path) if _has_categories(file.content, path) else None
    if entry is not None and not _names_are_leftovers(file.content, entry, skeleton):
        places, remark = match_names(names_of(entry), skeleton, path)
        if remark:
            file.note(f'{path}: {remark}')
        if places != list(range(len(entry['keypoints']))):
            _put_in_order(file.content, entry, places)
        entry['keypoints'] = list(skeleton.keypoint_names)
    elif entry is not None:
        file.note(f'{path}: its category names {len(entry["keypoints"])} keypoints, but its annotations have the '
                  f'{skeleton.num_keypoints} of the {skeleton.name} layout; the names are left aside')
    return file


def _names_are_leftovers(content: Dict, category: Dict, skeleton: Skeleton) -> bool:
    """Whether the annotations have as many keypoints as the layout, but the category lists another number of names, so
    that these names cannot belong to the annotations."""
    if len(category['keypoints']) == skeleton.num_keypoints:
        return False
    counts = {len(values) for values in (each.get('keypoints') for each in _annotations_of(content, category))
              if isinstance(values, list) and values}
    return counts == {3 * skeleton.num_keypoints}


def _annotations_of(content: Dict, category: Dict) -> Iterator[Dict]:
    """Yield the annotations of a category, and those without a category id."""
    annotations = content.get('annotations')
    for annotation in annotations if isinstance(annotations, list) else ():
        if isinstance(annotation, dict) and str(annotation.get('category_id', category.get('id'))) == str(
                category.get('id')):
            yield annotation


def match_names(names: Sequence[str], skeleton: Skeleton, path: str) -> Tuple[List[int], str]:
    """Return the index in the file of each keypoint of a layout, and a remark; '' if all is as expected.

    Raises:
        PoseError: the file has other keypoints.
    """
    others = dict(skeleton.other_names)
    meant = [others.get(name, name) for name in names]
    kept = [name for name in meant if name]
    if list(skeleton.keypoint_names) == meant:
        return list(range(len(meant))), ''
    if set(kept) != set(skeleton.keypoint_names):
        plain = {plain_name(name): name for name in skeleton.keypoint_names}
        meant = [plain.get(plain_name(name), name) if name and name not in skeleton.keypoint_names else name
                 for name in meant]
        kept = [name for name in meant if name]
    if sorted(kept) != sorted(skeleton.keypoint_names):
        raise PoseError(f'{path}: {_difference(names, kept, skeleton)}; take the keypoints of the file as a layout of '
                        f'your own with --skeleton {path}, or say in a YAML file which name means which keypoint '
                        "('other_names', docs/own_data.md)")
    remarks = []
    if kept != list(skeleton.keypoint_names):
        remarks.append(f'its keypoints are put in the order of the {skeleton.name} layout; it begins with '
                       f'{", ".join(names[:3])}')
    renamed = [(name, ours) for name, ours in zip(names, meant) if ours and name != ours]
    if renamed:
        remarks.append(f'{renamed[0][0]} is taken for {renamed[0][1]}'
                       + (f', and {len(renamed) - 1} more names alike' if len(renamed) > 1 else ''))
    left_out = [name for name, ours in zip(names, meant) if not ours]
    if left_out:
        remarks.append(f'left out: {", ".join(left_out[:6])}'
                       + (f' and {len(left_out) - 6} more' if len(left_out) > 6 else ''))
    return [meant.index(name) for name in skeleton.keypoint_names], '; '.join(remarks)


def _difference(names: Sequence[str], meant: Sequence[str], skeleton: Skeleton) -> str:
    known = skeleton.keypoint_names
    unknown = [name for name in meant if name not in known]
    missing = [name for name in known if name not in meant]
    twice = [name for name in dict.fromkeys(meant) if meant.count(name) > 1]
    parts = [f'{what} {", ".join(some[:6])}{f" and {len(some) - 6} more" if len(some) > 6 else ""}'
             for what, some in (('it has', unknown), ('it lacks', missing), ('it has twice', twice)) if some]
    return f'its {len(names)} keypoints are not the {len(known)} of the {skeleton.name} layout: {", ".join(parts)}'


def _put_in_order(content: Dict, category: Dict, places: Sequence[int]) -> None:
    """Reorder the keypoints of all annotations of a category; malformed ones are left for the code that reads them,
    which reports them."""
    count = len(category['keypoints'])
    rows = np.ravel([[3 * place, 3 * place + 1, 3 * place + 2] for place in places]).tolist()
    for annotation in _annotations_of(content, category):
        values = annotation.get('keypoints')
        if not isinstance(values, list) or len(values) != 3 * count:
            continue
        annotation['keypoints'] = [values[row] for row in rows]
        if len(places) < count and 'num_keypoints' in annotation:
            annotation['num_keypoints'] = sum(value not in (0, None) for value in annotation['keypoints'][2::3])
