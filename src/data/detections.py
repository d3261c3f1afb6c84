"""Detection JSON files → People without keypoints, with a report of what could not be used.

Format: a list of {"image_id": int, "category_id": int, "bbox": [x, y, width, height], "score": float}. The name of the
picture may stand in place of its id, as `image_id` or `file_name`.
"""
import glob
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from ..system.errors import PoseError
from ..system.files import read_json
from ..system.printing import brief_json, kind_of
from .box_readings import check_boxes
from .geometry import find_outside_boxes, find_unusable_boxes
from .people import People, name_bytes, read_box, read_field, read_name, read_whole_number, whole_number

PERSON_CATEGORY = 1
# Where inference looks for boxes.
DETECTION_FOLDER = './annotation/det_json'
# Boxes on the pictures of COCO's benchmark, used by recipes for evaluation.
EVALUATION_FILES = ('minival_2014_det.json', 'COCO_val2017_detections_AP_H_56_person.json')
# The id of a picture that is given by its name, until the name has been looked up.
UNKNOWN = -1
# The forms in which a picture may be named: the whole name, its last part, and that without its ending.
NAME_FORMS = (bytes, os.path.basename, lambda name: os.path.splitext(os.path.basename(name))[0])


@dataclass(frozen=True)
class Detections:
    """D boxes of people in the order of their files.

    Attributes:
        image_ids: (D,) int64; UNKNOWN where a box names its picture, see `names`.
        boxes_xywh: (D, 4) float64.
        scores: (D,) float64.
        other_categories: number of boxes that were left out because of their category.
        repeated: number of boxes that were left out as duplicates, see `_distinct`.
        without_score: number of boxes that give no score; theirs is 1.
        names: {row: name of its picture} of boxes that give a name and no id.
    """

    image_ids: np.ndarray
    boxes_xywh: np.ndarray
    scores: np.ndarray
    other_categories: int
    repeated: int
    without_score: int
    names: Dict[int, str]

    def on(self, image_ids: np.ndarray, file_names: np.ndarray) -> 'Detections':
        """Return the detections with names replaced by ids, where a name is found among these pictures.

        Args:
            image_ids: (I,).
            file_names: (I,) bytes. A box may name the whole of one, its last part, or that without the ending.
        """
        if not self.names:
            return self
        by_name = ids_by_name(image_ids, file_names)
        ids, unknown = self.image_ids.copy(), {}
        for row, name in self.names.items():
            found = find_by_name(name, by_name)
            if found is None:
                unknown[row] = name
            else:
                ids[row] = found
        return replace(self, image_ids=ids, names=unknown)


def ids_by_name(image_ids: np.ndarray, file_names: np.ndarray) -> Dict[bytes, int]:
    """Return {name: id} of pictures, in all forms of their names (I,) bytes that mean only one."""
    by_name: Dict[bytes, int] = {}
    for form in NAME_FORMS:
        forms = list(map(form, file_names.tolist()))
        counts = Counter(forms)
        by_name.update({each: image_id for each, image_id in zip(forms, image_ids.tolist())
                        if counts[each] == 1 and each not in by_name})
    return by_name


def find_by_name(name: str, by_name: Mapping[bytes, int]) -> Optional[int]:
    """Return the id of the picture with a name, in any of its forms; None if there is none."""
    return next((by_name[each] for each in (form(name_bytes(name)) for form in NAME_FORMS) if each in by_name), None)


def load_detections(paths: Sequence[str], *, people_only: bool, category: int = PERSON_CATEGORY) -> Detections:
    """Load one or several detection files. Duplicates are left out, see `_distinct`.

    Args:
        people_only: drop boxes of other categories than `category` and count them.
        category: the category id of people.

    Raises:
        PoseError: a file is missing, is malformed or holds no box; the message names the file and the entry.
    """
    image_ids: List[int] = []
    boxes: List[list] = []
    scores: List[float] = []
    names: Dict[int, str] = {}
    kinds: List[tuple] = []
    others: Counter = Counter()
    without_score = 0
    for path in paths:
        content = read_json(path)
        if not isinstance(content, list):
            hint = "; its 'annotations' may be such a list" if isinstance(content, dict) and isinstance(
                content.get('annotations'), list) else ''
            raise PoseError(f'{path} should be a list of boxes with image_id, category_id, bbox [x, y, width, height] '
                            f'and score, is {kind_of(content)}{hint}')
        for number, entry in enumerate(content):
            where = f'{path}, box {number}'
            image_id = read_picture_name(entry, where)
            found = entry.get('category_id', category)
            if people_only and found != category:
                found = read_whole_number(entry, 'category_id', where)
                if found != category:
                    others[found] += 1
                    continue
            if isinstance(image_id, str):
                names[len(image_ids)] = image_id
            image_ids.append(UNKNOWN if isinstance(image_id, str) else image_id)
            boxes.append(read_box(entry, where))
            without_score += 'score' not in entry
            score = read_field(entry, 'score', (int, float), where) if 'score' in entry else 1.0
            if not np.isfinite(score):
                raise PoseError(f"{where}: 'score' should be a finite number, is {score}")
            scores.append(score)
            kinds.append((path, brief_json(found), score))
    if not image_ids:
        there = ', '.join(f'{count} of category_id {each}' for each, count in others.most_common(5))
        raise PoseError(f'{", ".join(paths)}: no box of a person (category_id {category}) in it'
                        + (f', but {there}. Boxes without a category_id are taken for people' if there else ''))
    kept = _distinct([names.get(row, image_id) for row, image_id in enumerate(image_ids)], boxes, kinds)
    return Detections(np.array(image_ids, np.int64)[kept], np.array(boxes, np.float64)[kept],
                      np.array(scores, np.float64)[kept], sum(others.values()), len(image_ids) - len(kept),
                      without_score, {place: names[row] for place, row in enumerate(kept.tolist()) if row in names})


def read_picture_name(entry: Any, where: str) -> Union[int, str]:
    """Return the id of the picture that an entry is of, or its name.

    Raises:
        PoseError: the entry gives neither.
    """
    if isinstance(entry, dict):
        key = 'image_id' if 'image_id' in entry else 'file_name'
        number = whole_number(entry.get(key))
        if number is not None:
            return number
        if isinstance(entry.get(key), str):
            return read_name(entry, key, where)
    return read_field(entry, 'image_id', int, where)


def _distinct(pictures: list, boxes: List[list], kinds: List[tuple]) -> np.ndarray:
    """Return the rows of the boxes that are kept; duplicates are left out.

    Two boxes with equal coordinates on the same picture are duplicates if they come from different files: the one with
    the better score is kept. Within one file they are duplicates only if score and category are equal too.

    Args:
        kinds: (file, category, score) of each box.
    """
    best: Dict[tuple, List[int]] = {}
    for row, (picture, box) in enumerate(zip(pictures, boxes)):
        there = best.setdefault((picture, *box), [])
        if not there or (kinds[row][0] == kinds[there[0]][0] and kinds[row] not in [kinds[each] for each in there]):
            there.append(row)
        elif kinds[row][2] > max(kinds[each][2] for each in there):
            there[:] = [row]
    return np.array(sorted(row for rows in best.values() for row in rows))


@dataclass(frozen=True)
class BoxReport:
    """How many boxes of an evaluation or inference were used or left out, and why.

    Every number counts boxes, unless its name says pictures.

    Attributes:
        left_out: {reason: count} of annotations that were not used, see `People.left_out`.
        odd: a remark on boxes that are used but look odd, or ''.
    """

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
    repeated: int = 0
    without_score: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    odd: str = ''

    @classmethod
    def of_ground_truth(cls, people: People) -> 'BoxReport':
        """Return the report of boxes that come from the annotation file itself."""
        with_box = len(np.unique(people.image_index))
        return cls('ground-truth boxes', len(people) + sum(people.left_out.values()), len(people),
                   left_out=people.left_out, pictures=len(people.image_ids),
                   pictures_without_box=len(people.image_ids) - with_box)

    def __str__(self) -> str:
        dropped = [(self.other_categories, 'of another category'), (self.on_unknown_images, 'on unknown images'),
                   (self.below_score, 'below the score threshold'), (self.not_finite, 'with NaN or infinity'),
                   (self.without_area, 'without area'), (self.repeated, 'there twice'),
                   *((count, reason) for reason, count in self.left_out.items())]
        parts = [f'{count} {reason}' for count, reason in dropped if count]
        text = f'{self.used} of {self.given} {self.source} on {self.pictures} pictures'
        if parts:
            text += '; left out: ' + ', '.join(parts)
        if self.outside_but_used:
            text += f'; {self.outside_but_used} lie outside their picture'
        if self.odd:
            text += f'; {self.odd}'
        if self.without_score:
            text += f'; {self.without_score} have no score and count 1'
        if self.pictures_without_box:
            text += f'; {self.pictures_without_box} pictures have no box'
        return text


def detected_people(detections: Detections, images: Tuple[np.ndarray, np.ndarray, np.ndarray], num_keypoints: int, *,
                    min_score: float = 0.0, source: str = 'detected boxes', category: int = PERSON_CATEGORY
                    ) -> Tuple[People, BoxReport]:
    """Assign detections to the pictures of an annotation file.

    Args:
        images: ids (I,), file names (I,) and (width, height) (I, 2), as `load_coco_images` gives them.
        min_score: boxes with a lower score are dropped.
        category: the category id of people in the annotation file.

    Raises:
        PoseError: no box lies on any of the images or can be used, or the boxes are not [x, y, width, height] in
            pixels.
    """
    image_ids, file_names, picture_sizes = images
    detections = detections.on(image_ids, file_names)
    index_of = {image_id: index for index, image_id in enumerate(image_ids.tolist())}
    image_index = np.array([index_of.get(image_id, -1) for image_id in detections.image_ids.tolist()], np.int32)
    image_index[list(detections.names)] = -1
    known = image_index >= 0
    if not known.any():
        if detections.names:
            named = brief_json(list(detections.names.values())[:3])
            raise PoseError(f'none of the {len(image_index)} boxes lies on one of the {len(image_ids)} images: the '
                            f'boxes name pictures such as {named}, the images are '
                            f'{[os.fsdecode(name) for name in file_names[:3].tolist()]} and so on')
        raise PoseError(
            f'none of the {len(image_index)} boxes lies on one of the {len(image_ids)} images: the boxes name image '
            f'ids such as {detections.image_ids[:3].tolist()}, the images are {image_ids[:3].tolist()} and so on')
    below_score = known & (detections.scores < min_score)
    not_finite, without_area = find_unusable_boxes(detections.boxes_xywh)
    # A box with several faults is counted once, under the first.
    not_finite &= known & ~below_score
    without_area &= known & ~below_score
    kept = np.flatnonzero(known & ~below_score & ~not_finite & ~without_area)
    if not kept.size:
        raise PoseError(f'none of the {len(image_index)} boxes can be used: {(~known).sum()} on unknown images, '
                        f'{below_score.sum()} below score {min_score}, {not_finite.sum()} with NaN or infinity, '
                        f'{without_area.sum()} without area')
    boxes, image_index = detections.boxes_xywh[kept], image_index[kept]
    odd = check_boxes(boxes, picture_sizes[image_index], source)
    largest = detections.scores[kept].max()
    if largest > 1:
        odd = '; '.join(filter(None, (odd, f'scores reach {largest:g}, where 0 to 1 is usual')))
    people = People(image_ids, file_names, picture_sizes, image_index, boxes, detections.scores[kept],
                    np.zeros((len(kept), num_keypoints, 3), np.float32), category_id=category)
    report = BoxReport(
        source=source, given=len(known) + detections.other_categories + detections.repeated, used=len(kept),
        repeated=detections.repeated, without_score=detections.without_score, odd=odd,
        other_categories=detections.other_categories, on_unknown_images=int((~known).sum()),
        below_score=int(below_score.sum()), not_finite=int(not_finite.sum()), without_area=int(without_area.sum()),
        outside_but_used=int(find_outside_boxes(boxes, picture_sizes[image_index]).sum()),
        pictures=len(image_ids), pictures_without_box=len(image_ids) - len(np.unique(image_index)))
    return people, report


def find_inference_boxes(given: Optional[str], say: Callable[[str], None] = lambda line: None) -> List[str]:
    """Return the detection files for inference: the given one, or all in `annotation/det_json`. Those of COCO's
    benchmark are ignored if there are others.

    Args:
        say: is called with a line about the files that are ignored.

    Raises:
        PoseError: there is no detection file.
    """
    if given is not None:
        if not os.path.isfile(given):
            raise PoseError(f'the detection file {given} does not exist (det_file_url)')
        return [given]
    paths = sorted(glob.glob(os.path.join(DETECTION_FOLDER, '*.json')))
    if not paths:
        raise PoseError(f'no detection JSON in {DETECTION_FOLDER}; put one there or give it with --det_file_url')
    own = [path for path in paths if os.path.basename(path) not in EVALUATION_FILES]
    if own and len(own) < len(paths):
        say(f'left aside: {", ".join(path for path in paths if path not in own)}, boxes of an evaluation (take them '
            'with --det_file_url)')
    return own or paths
