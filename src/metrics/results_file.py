"""Result files in COCO's format, of this package or of another program → records for the evaluators."""
from collections import Counter
from typing import Any, Dict, List, Optional, Tuple

from ..data.annotation_checks import AnnotationFile
from ..data.detections import find_by_name, ids_by_name, read_picture_name
from ..data.people import read_field, read_whole_number
from ..data.skeletons import Skeleton
from ..system.errors import PoseError
from ..system.printing import brief
from .other_results import read_entries


def load_results(path: str, file: AnnotationFile, skeleton: Skeleton) -> Tuple[List[dict], List[str]]:
    """Load a file of poses: a list of {"image_id", "category_id", "keypoints": [x, y, score, …], "score"}; or what
    other programs write, see `other_results.py`.

    The picture may also be given by its name, as `image_id` or `file_name`; entries without a category are taken for
    people. What else programs write beside these is ignored.

    Args:
        file: the annotation file, whose pictures and category count.
        skeleton: its keypoints.

    Returns:
        Records with image_id, keypoints and score, and notes on what was left out, a line each.

    Raises:
        PoseError: the file is missing or malformed, or holds no pose; the message names it and the entry.
    """
    entries, notes = read_entries(path, file.pictures, skeleton)
    records: List[dict] = []
    others: Counter = Counter()
    by_name: Optional[Dict[bytes, int]] = None
    category = file.category_id
    for where, entry in entries:
        image_id: Any = read_picture_name(entry, where)
        if 'category_id' in entry and entry['category_id'] != category:
            found = read_whole_number(entry, 'category_id', where)
            if found != category:
                others[found] += 1
                continue
        if 'keypoints' not in entry and 'bbox' in entry:
            raise PoseError(f"{where} has a box and no 'keypoints': these are results of a detector, not poses")
        keypoints = read_field(entry, 'keypoints', list, where)
        if isinstance(image_id, str):
            by_name = ids_by_name(file.pictures.ids, file.pictures.names) if by_name is None else by_name
            name, image_id = image_id, find_by_name(image_id, by_name)
            if image_id is None:
                raise PoseError(f'{where}: no picture of {file.path} is called {brief(name)}')
        records.append({'image_id': image_id, 'keypoints': keypoints,
                        'score': read_field(entry, 'score', (int, float), where)})
    listed = ', '.join(f'{count} of category_id {each}' for each, count in others.most_common(5))
    if not records:
        there = f', but {listed}' if listed else ''
        raise PoseError(f'{path}: no pose of category {file.category} in it{there}')
    return records, [*notes, *([f'{path}: left out {listed}'] if listed else [])]
