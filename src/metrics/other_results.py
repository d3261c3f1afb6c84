"""Results of other programs → entries in COCO's result format.

- MMPose: the list of its evaluation, with keypoints as [x, y, score, …] or [[x, y, score], …]; and a folder with one
  file per picture of its inferencer (instances with `keypoints` and `keypoint_scores`).
- Detectron2 and Ultralytics: their list in COCO's format; Ultralytics names pictures by their stem.
- Ultralytics: the folder `labels` of text files, one line per person in shares of the picture's size.
- OpenPose: the folder of --write_json, with 25 or 18 keypoints (BODY_25, COCO).
"""
import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from ..data.annotation_checks import Pictures
from ..data.detections import find_by_name, ids_by_name
from ..data.skeletons import Skeleton
from ..system.errors import PoseError
from ..system.files import is_number, open_regular, read_json
from ..system.printing import brief, kind_of

OPENPOSE_ENDING = '_keypoints.json'
_ARMS = 'right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist'
_LEGS = 'right_hip right_knee right_ankle left_hip left_knee left_ankle'
_FACE = 'right_eye left_eye right_ear left_ear'
# {number of keypoints: their names in OpenPose's order; '-' for those that no layout here has}.
OPENPOSE_NAMES = {25: f'nose neck {_ARMS} - {_LEGS} {_FACE} - - - - - -'.split(),
                  18: f'nose neck {_ARMS} {_LEGS} {_FACE}'.split()}


class Entries(NamedTuple):
    """Entries in COCO's result format, each with the place it comes from; and notes, a line each."""

    entries: List[Tuple[str, dict]]
    notes: List[str]


def read_entries(path: str, pictures: Pictures, skeleton: Skeleton) -> Entries:
    """Read a result file, or a folder of one file per picture.

    Args:
        pictures: of the annotation file; the files of a folder are named as they are.
        skeleton: its keypoints.

    Raises:
        PoseError: it is missing, malformed or of no known format; the message names the file and the entry.
    """
    if os.path.isdir(path):
        return _of_folder(path, pictures, skeleton)
    content = read_json(path)
    if isinstance(content, dict) and isinstance(content.get('annotations'), list):
        raise PoseError(f"{path} should be a list of poses, is a dict; its 'annotations' may be such a list, or it is "
                        'an annotation file')
    if isinstance(content, dict) and ('instance_info' in content or 'people' in content):
        raise PoseError(f'{path} is the result for one picture or video of MMPose or OpenPose; name the folder of such '
                        'files, one per picture')
    if not isinstance(content, list):
        raise PoseError(f'{path} should be a list of poses with image_id, category_id, keypoints [x, y, score, …] and '
                        f'score, is {kind_of(content)}')
    return Entries([(f'{path}, pose {number}', _flat(entry)) for number, entry in enumerate(content)], [])


def _flat(entry: Any) -> Any:
    """Return an entry whose keypoints are [x, y, score, …]; MMPose also writes [[x, y, score], …]."""
    keypoints = entry.get('keypoints') if isinstance(entry, dict) else None
    if isinstance(keypoints, list) and keypoints and all(isinstance(each, list) and len(each) == 3
                                                         for each in keypoints):
        return {**entry, 'keypoints': [value for point in keypoints for value in point]}
    return entry


def _of_folder(folder: str, pictures: Pictures, skeleton: Skeleton) -> Entries:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise PoseError(f'cannot read the folder {folder}: {error.strerror or error}') from None
    texts, tables = ([name for name in names if name.endswith(ending)] for ending in ('.txt', '.json'))
    if bool(texts) == bool(tables):
        raise PoseError(f'{folder} should hold one .json file per picture (OpenPose, MMPose) or one .txt file '
                        f'(Ultralytics), has {len(tables)} and {len(texts)}')
    by_name = ids_by_name(pictures.ids, pictures.names)
    entries: List[Tuple[str, dict]] = []
    unknown: List[str] = []
    notes: Dict[str, None] = {}
    for name in texts or tables:
        path = os.path.join(folder, name)
        is_openpose = name.endswith(OPENPOSE_ENDING)
        stem = name[:-len(OPENPOSE_ENDING)] if is_openpose else os.path.splitext(name)[0]
        image_id = find_by_name(stem, by_name)
        if image_id is None:
            unknown.append(name)
            continue
        if texts:
            found, note = _ultralytics(path, pictures.sizes[pictures.row_of[image_id]], skeleton)
        else:
            found, note = (_openpose if is_openpose else _mmpose)(path, read_json(path), skeleton)
        notes.update({note: None} if note else {})
        entries += [(where, {'image_id': image_id, **entry}) for where, entry in found]
    if not entries:
        raise PoseError(f'{folder}: no pose in its {len(names)} files' + (
            f'; {len(unknown)} are of no picture of the annotation file, such as {unknown[0]}' if unknown else ''))
    if unknown:
        notes[f'{folder}: left out {len(unknown)} files of pictures that the annotation file does not have, such as '
              f'{unknown[0]}'] = None
    return Entries(entries, list(notes))


Found = Tuple[List[Tuple[str, dict]], str]


def _ultralytics(path: str, size: np.ndarray, skeleton: Skeleton) -> Found:
    """Read the poses of a text file: class, box (4), keypoints (K times x, y and perhaps a score), and perhaps the
    score of the person and a tracking id, which come last."""
    count, found, note = skeleton.num_keypoints, [], ''
    with open_regular(path) as file:
        lines = file.read().decode('utf-8', 'replace').splitlines()
    for number, line in enumerate(lines, start=1):
        where = f'{path}, line {number}'
        try:
            values = [float(word) for word in line.split()]
        except ValueError:
            raise PoseError(f'{where} should hold numbers, is {brief(line)}') from None
        if not values:
            continue
        per_keypoint = next((each for each in (3, 2) if 0 <= len(values) - 5 - each * count <= 2), 0)
        if not per_keypoint:
            raise PoseError(f'{where} has {len(values)} numbers; of {count} keypoints it should have {5 + 3 * count} '
                            '(class, box, x y score of each keypoint), and perhaps the score and an id of the person')
        if int(values[0]) != 0:
            continue
        points = np.array(values[5:5 + per_keypoint * count]).reshape(count, per_keypoint)
        rest = values[5 + per_keypoint * count:]
        scores = points[:, 2] if per_keypoint == 3 else (points > 0).any(axis=1).astype(float)
        if not rest:
            note = ('persons without a score of their own (--save_conf was not given): theirs is the mean of their '
                    'keypoint scores')
        found.append((where, _entry(points[:, :2] * size, scores, rest[0] if rest else None)))
    return found, note


def _openpose(path: str, content: Any, skeleton: Skeleton) -> Found:
    people = content.get('people') if isinstance(content, dict) else None
    if not isinstance(people, list):
        raise PoseError(f"{path} should have a list 'people', as OpenPose writes it")
    found = []
    for number, person in enumerate(people):
        where = f'{path}, person {number}'
        values = person.get('pose_keypoints_2d') if isinstance(person, dict) else None
        points = _numbers(values, where, 'pose_keypoints_2d', 3).reshape(-1, 3)
        names = OPENPOSE_NAMES.get(len(points))
        if names is None:
            raise PoseError(f'{where}: pose_keypoints_2d has {len(points)} keypoints; OpenPose has 25 (BODY_25) or 18')
        rows = [names.index(name) if name in names else -1 for name in skeleton.keypoint_names]
        if rows.count(-1) > len(rows) // 2:
            raise PoseError(f"{where}: OpenPose's keypoints are not those of the layout {skeleton.name}")
        if np.abs(points[:, :2]).max(initial=0) <= 1 and points.any():
            raise PoseError(f'{where}: all places are within 0 and 1; run OpenPose without --keypoint_scale')
        ours = np.concatenate([points, np.zeros((1, 3))])[rows]
        found.append((where, _entry(ours[:, :2], ours[:, 2], None)))
    return found, 'OpenPose gives persons no score: theirs is the mean of the scores of all keypoints'


def _mmpose(path: str, content: Any, skeleton: Skeleton) -> Found:
    """Read what MMPose's inferencer writes for a picture: a list of instances, or a dictionary with them."""
    if isinstance(content, dict):
        content = content.get('instance_info', content.get('predictions'))
    # A list inside a list where several pictures were asked for at once.
    while isinstance(content, list) and len(content) == 1 and isinstance(content[0], list):
        content = content[0]
    if not isinstance(content, list):
        raise PoseError(f"{path} should be a list of instances with 'keypoints' and 'keypoint_scores', as MMPose's "
                        'inferencer writes it')
    found = []
    for number, instance in enumerate(content):
        where = f'{path}, instance {number}'
        if not isinstance(instance, dict):
            raise PoseError(f'{where} should be an object, is {brief(instance)}')
        points = _numbers(instance.get('keypoints'), where, 'keypoints', 2).reshape(-1, 2)
        scores = _numbers(instance.get('keypoint_scores'), where, 'keypoint_scores', 1).reshape(-1)
        if len(points) != len(scores):
            raise PoseError(f'{where} has {len(points)} keypoints and {len(scores)} keypoint_scores')
        box_score = instance.get('bbox_score')
        found.append((where, _entry(points, scores, None if not is_number(box_score) else
                                    float(box_score) * float(scores.mean()))))
    return found, ''


def _numbers(values: Any, where: str, key: str, each: int) -> np.ndarray:
    """Return finite numbers, `each` of every keypoint."""
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    if array.ndim == 0 or array.size == 0 or array.size % each or not np.isfinite(array).all():
        raise PoseError(f'{where}: {key!r} should be a list of numbers, is {brief(values)}')
    return array


def _entry(points: np.ndarray, scores: np.ndarray, score: Optional[float]) -> dict:
    """Return an entry of keypoints (K, 2) in pixels with their scores (K,)."""
    keypoints = np.concatenate([points, scores[:, None]], axis=1)
    return {'keypoints': keypoints.reshape(-1).tolist(), 'score': float(scores.mean() if score is None else score)}
