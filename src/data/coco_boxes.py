"""COCO annotation files → the pictures that they list and the boxes of the people in them, with or without
keypoints."""
from typing import List, Tuple, Union

import numpy as np

from ..system.files import JsonFile
from .annotation_checks import as_annotation_file
from .geometry import find_unusable_boxes
from .people import read_box


def load_coco_boxes(file: Union[str, JsonFile]) -> List[Tuple[int, str, np.ndarray]]:
    """Return for every picture its id, its name and the boxes (P, 4) of its people, in the order of the file.

    Crowds and boxes that cannot be cropped are left out; a picture without annotations has no boxes.

    Raises:
        PoseError: the file is missing or malformed; the message names the file and the entry.
    """
    file = as_annotation_file(file)
    pictures = file.pictures
    boxes: List[list] = [[] for _ in pictures.ids]
    for row in file.rows if 'annotations' in file.content else ():
        if row.is_crowd or row.annotation.get('iscrowd') == 1:
            continue
        # For training, a person without keypoints may lack a valid box; here only boxes count, so it is an error.
        box = row.box_xywh or read_box(row.annotation, f'{file.path}, annotation {row.number}')
        boxes[row.picture].append(box)
    found = []
    for image_id, name, each in zip(pictures.ids.tolist(), pictures.names.tolist(), boxes):
        of_picture = np.array(each, np.float64).reshape(-1, 4)
        not_finite, without_area = find_unusable_boxes(of_picture)
        found.append((image_id, name.decode('utf-8', 'surrogateescape'), of_picture[~not_finite & ~without_area]))
    return found
