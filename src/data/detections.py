"""Detection JSON files → People without keypoints, with a report of what could not be used.

Format: a list of {"image_id": int, "category_id": int, "bbox": [x, y, width, height], "score": float}.
"""
import glob
import os
from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

import numpy as np

from ..system.errors import PoseError
from ..system.files import read_json
from .geometry import find_outside_boxes, find_unusable_boxes
from .people import People, read_box, read_field

PERSON_CATEGORY = 1
# Where an inference looks for boxes.
DETECTION_FOLDER = './annotation/det_json'


@dataclass(frozen=True)
class Detections:
    """D boxes of people in the order of their files."""

    image_ids: np.ndarray
    boxes_xywh: np.ndarray
    scores: np.ndarray
    other_categories: int


def load_detections(paths: Sequence[str], *, people_only: bool) -> Detections:
    """Load one or several detection files.

    Args:
        people_only: drop boxes of other categories than 1 and count them.

    Raises:
        PoseError: a file is missing, is malformed or holds no box; the message names the file and the entry.
    """
    image_ids: List[int] = []
    boxes: List[list] = []
    scores: List[float] = []
    others = 0
    for path in paths:
        content = read_json(path)
        if not isinstance(content, list):
            raise PoseError(f'{path} should be a list of boxes with image_id, category_id, bbox [x, y, width, height] '
                            f'and score, is a {type(content).__name__}')
        for number, entry in enumerate(content):
            where = f'{path}, box {number}'
            image_id = read_field(entry, 'image_id', int, where)
            if people_only and entry.get('category_id', PERSON_CATEGORY) != PERSON_CATEGORY:
                others += 1
                continue
            image_ids.append(image_id)
            boxes.append(read_box(entry, where))
            score = read_field(entry, 'score', (int, float), where)
            if not np.isfinite(score):
                raise PoseError(f"{where}: 'score' should be a finite number, is {score}")
            scores.append(score)
    if not image_ids:
        raise PoseError(f'{", ".join(paths)}: no box of a person (category_id {PERSON_CATEGORY}) in it')
    return Detections(np.array(image_ids, np.int64), np.array(boxes, np.float64), np.array(scores, np.float64), others)


@dataclass(frozen=True)
class BoxReport:
    """What became of the boxes of an evaluation or inference; every count is of boxes unless it says pictures."""

    source: str
    given: int
    used: int
    other_categories: int = 0
    on_unknown_images: int = 0
    below_score: int = 0
    not_finite: int = 0
    without_area: int = 0
    outside_but_used: int = 0
    pictures: int = 0
    pictures_without_box: int = 0

    @classmethod
    def of_ground_truth(cls, people: People) -> 'BoxReport':
        """Return the report of boxes that come from the annotation file itself."""
        with_box = len(np.unique(people.image_index))
        return cls('ground-truth boxes', len(people) + people.without_area, len(people),
                   without_area=people.without_area, pictures=len(people.image_ids),
                   pictures_without_box=len(people.image_ids) - with_box)

    def __str__(self) -> str:
        dropped = [(self.other_categories, 'of another category'), (self.on_unknown_images, 'on unknown images'),
                   (self.below_score, 'below the score threshold'), (self.not_finite, 'with NaN or infinity'),
                   (self.without_area, 'without area')]
        parts = [f'{count} {reason}' for count, reason in dropped if count]
        text = f'{self.used} of {self.given} {self.source} on {self.pictures} pictures'
        if parts:
            text += '; left out: ' + ', '.join(parts)
        if self.outside_but_used:
            text += f'; {self.outside_but_used} lie outside their picture'
        if self.pictures_without_box:
            text += f'; {self.pictures_without_box} pictures have no box'
        return text


def detected_people(detections: Detections, images: Tuple[np.ndarray, np.ndarray, np.ndarray], num_keypoints: int, *,
                    min_score: float = 0.0, source: str = 'detected boxes') -> Tuple[People, BoxReport]:
    """Place detections on the pictures of an annotation file.

    Args:
        images: ids (I,), file names (I,) and (width, height) (I, 2), as `load_coco_images` gives them.
        min_score: boxes below are dropped.

    Raises:
        PoseError: no box lies on any of the images.
    """
    image_ids, file_names, picture_sizes = images
    index_of = {image_id: index for index, image_id in enumerate(image_ids.tolist())}
    image_index = np.array([index_of.get(image_id, -1) for image_id in detections.image_ids.tolist()], np.int32)
    known = image_index >= 0
    if not known.any():
        raise PoseError(
            f'none of the {len(image_index)} boxes lies on one of the {len(image_ids)} images: the boxes name image '
            f'ids such as {detections.image_ids[:3].tolist()}, the images are {image_ids[:3].tolist()} and so on')
    below_score = known & (detections.scores < min_score)
    not_finite, without_area = find_unusable_boxes(detections.boxes_xywh)
    # A box with several faults is counted under the first.
    not_finite &= known & ~below_score
    without_area &= known & ~below_score
    kept = np.flatnonzero(known & ~below_score & ~not_finite & ~without_area)
    if not kept.size:
        raise PoseError(f'none of the {len(image_index)} boxes can be used: {(~known).sum()} on unknown images, '
                        f'{below_score.sum()} below score {min_score}, {not_finite.sum()} with NaN or infinity, '
                        f'{without_area.sum()} without area')
    boxes, image_index = detections.boxes_xywh[kept], image_index[kept]
    people = People(image_ids, file_names, picture_sizes, image_index, boxes, detections.scores[kept],
                    np.zeros((len(kept), num_keypoints, 3), np.float32))
    report = BoxReport(
        source=source, given=len(known) + detections.other_categories, used=len(kept),
        other_categories=detections.other_categories, on_unknown_images=int((~known).sum()),
        below_score=int(below_score.sum()), not_finite=int(not_finite.sum()), without_area=int(without_area.sum()),
        outside_but_used=int(find_outside_boxes(boxes, picture_sizes[image_index]).sum()),
        pictures=len(image_ids), pictures_without_box=len(image_ids) - len(np.unique(image_index)))
    return people, report


def find_inference_boxes(given: Optional[str]) -> List[str]:
    """Return the detection files of an inference: the given one, or all in `annotation/det_json`.

    Raises:
        PoseError: there is none.
    """
    if given is not None:
        if not os.path.isfile(given):
            raise PoseError(f'the detection file {given} does not exist (det_file_url)')
        return [given]
    paths = sorted(glob.glob(os.path.join(DETECTION_FOLDER, '*.json')))
    if not paths:
        raise PoseError(f'no detection JSON in {DETECTION_FOLDER}; put one there or give it with --det_file_url')
    return paths
