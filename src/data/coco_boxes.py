"""COCO annotation files -> the pictures that they name and the boxes of the people on them, labelled or not."""
from typing import List, Tuple, Union

import numpy as np

from ..system.errors import PoseError
from ..system.files import JsonFile, as_json_file
from .coco import is_person, read_crowd, read_images
from .geometry import find_unusable_boxes
from .people import read_box, read_field


def load_coco_boxes(file: Union[str, JsonFile]) -> List[Tuple[int, str, np.ndarray]]:
    """Return the id, the name and the boxes (P, 4) of the people of every picture, in the order of the file.

    Crowds and boxes that cannot be cropped are left out; a picture without annotations has no boxes.

    Raises:
        PoseError: the file is missing or malformed; the message names the file and the entry.
    """
    file = as_json_file(file)
    path, content = file.path, file.content
    image_ids, file_names, _ = read_images(content, path)
    boxes = {image_id: [] for image_id in image_ids.tolist()}
    annotations = content.get('annotations', [])
    if not isinstance(annotations, list):
        raise PoseError(f"{path}: 'annotations' should be a list, is {type(annotations).__name__}")
    for number, annotation in enumerate(annotations):
        where = f'{path}, annotation {number}'
        image_id = read_field(annotation, 'image_id', int, where)
        if image_id not in boxes:
            raise PoseError(f'{where}: image_id {image_id} is not among the images of the file')
        if is_person(annotation, where) and not read_crowd(annotation, where):
            boxes[image_id].append(read_box(annotation, where))
    found = []
    for image_id, name in zip(image_ids.tolist(), file_names.tolist()):
        of_picture = np.array(boxes[image_id], np.float64).reshape(-1, 4)
        not_finite, without_area = find_unusable_boxes(of_picture)
        found.append((image_id, name.decode('utf-8', 'surrogateescape'), of_picture[~not_finite & ~without_area]))
    return found
