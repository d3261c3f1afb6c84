"""YOLO-pose data sets: a YAML file with `kpt_shape`, `flip_idx` and class names, pictures in `images`, and for each of
them a text file in `labels` with a line `class cx cy w h x1 y1 v1 …` per figure, relative to the size of the
picture."""
import math
import os
import shutil
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import yaml

from ..data.images import PICTURE_ENDINGS, read_picture
from ..data.skeletons import Skeleton
from ..system.command_line import say
from ..system.errors import PoseError
from ..system.files import make_folder, write_bytes
from ..system.printing import brief
from ..system.yaml_files import read_yaml
from .labels import Figure, LabelledPicture, Labels, box_around

SPLIT_KEYS = {'train': 'train', 'val': 'val', 'test': 'val'}


def find_settings(source: str) -> Optional[str]:
    """Return the YAML file of a YOLO-pose data set, or None if there is none."""
    paths = [source] if os.path.isfile(source) else [
        os.path.join(source, name) for name in sorted(os.listdir(source))]
    for path in paths:
        if path.lower().endswith(('.yaml', '.yml')):
            try:
                content = read_yaml(path)
            except PoseError:
                # A folder may also hold YAML files that have nothing to do with it.
                if path == source:
                    raise
                continue
            if isinstance(content, dict) and 'kpt_shape' in content:
                return path
    return None


def read_yolo(source: str, category: Optional[str], layout: Optional[Dict[str, Any]]) -> Labels:
    """Read a YOLO-pose data set: its folder or its YAML file.

    Raises:
        PoseError: a file is malformed or missing; the message names it and the line.
    """
    path = find_settings(source)
    if path is None:
        raise PoseError(f'{source} holds no YAML file with kpt_shape, as YOLO-pose data sets have it')
    content = read_yaml(path)
    shape = content['kpt_shape']
    if not isinstance(shape, list) or len(shape) != 2 or type(shape[0]) is not int or shape[0] < 1 \
            or shape[1] not in (2, 3):
        raise PoseError(f"{path}: 'kpt_shape' should be [keypoints, 2 or 3], is {brief(shape)}")
    classes = content.get('names') or {}
    classes = dict(enumerate(classes)) if isinstance(classes, list) else classes
    wanted = _class_number(classes, category, path)
    labels = Labels(layout or _layout_of(content, shape[0], classes, wanted, path))
    if len(labels.layout['keypoints']) != shape[0]:
        raise PoseError(f'{path} has {shape[0]} keypoints, the skeleton file names {len(labels.layout["keypoints"])}')
    for key, split in SPLIT_KEYS.items():
        for folder in _folders(content, key, path):
            _read_folder(labels, folder, split, wanted, shape)
    if not labels.figures:
        raise PoseError(f'{path}: no label file below its folders ({", ".join(SPLIT_KEYS)}) has a figure with '
                        'keypoints')
    return labels


def _class_number(classes: Dict, category: Optional[str], path: str) -> Optional[int]:
    if category is None:
        if len(classes) > 1:
            raise PoseError(f'{path} has several classes: {", ".join(map(str, classes.values()))}; choose one with '
                            '--category')
        return next(iter(classes), None)
    found = [number for number, name in classes.items() if category in (str(name), str(number))]
    if not found:
        raise PoseError(f'{path} has no class {brief(category)}; its classes: '
                        f'{", ".join(map(str, classes.values())) or "none"}')
    return found[0]


def _layout_of(content: Dict, count: int, classes: Dict, wanted: Optional[int], path: str) -> Dict[str, Any]:
    """Return the layout, with names from `kpt_names` (if given) and left/right pairs from `flip_idx`."""
    names = content.get('kpt_names')
    if isinstance(names, dict):
        names = names.get(wanted, next(iter(names.values()), None))
    if names is not None and (not isinstance(names, list) or len(names) != count):
        raise PoseError(f"{path}: 'kpt_names' should be {count} names, is {brief(names)}")
    names = list(map(str, names)) if names else [f'keypoint_{number}' for number in range(1, count + 1)]
    layout = {'name': str(classes.get(wanted, 'own')), 'keypoints': names}
    flip = content.get('flip_idx')
    if flip is not None:
        if not isinstance(flip, list) or sorted(flip, key=str) != sorted(range(count), key=str) \
                or any(flip[flip[index]] != index for index in range(count)):
            raise PoseError(f"{path}: 'flip_idx' should say for each of the {count} keypoints, from 0, which one it "
                            f'turns into in a mirrored picture, is {brief(flip)}')
        layout['swap'] = [[names[one], names[other]] for one, other in enumerate(flip) if one < other]
    return layout


def _folders(content: Dict, key: str, path: str) -> List[str]:
    """Return the picture folders of a split: below the `path` that the file gives, or relative to the file."""
    value = content.get(key)
    folders = value if isinstance(value, list) else [value] if value else []
    beside = os.path.dirname(os.path.abspath(path))
    roots = [os.path.join(beside, str(content.get('path') or '')), beside, os.path.dirname(beside)]
    found = []
    for folder in map(str, folders):
        # Some exports write ../train/images, relative to a folder that does not exist.
        plain = folder[3:] if folder.startswith('../') else folder
        places = [os.path.normpath(os.path.join(root, each)) for root in roots for each in (folder, plain)]
        place = next(filter(os.path.isdir, places), None)
        if place is None:
            if key == 'test':
                continue
            raise PoseError(f'{path}: the folder {folder} of {key!r} does not exist; looked for {places[0]}')
        found.append(place)
    return found


def _label_path(picture: str) -> str:
    head, separator, tail = picture.rpartition(f'{os.sep}images{os.sep}')
    place = f'{head}{os.sep}labels{os.sep}{tail}' if separator else picture
    return f'{os.path.splitext(place)[0]}.txt'


def _read_folder(labels: Labels, folder: str, split: str, wanted: Optional[int], shape: Sequence[int]) -> None:
    for place, _, files in sorted(os.walk(folder)):
        for name in sorted(files):
            if not name.lower().endswith(PICTURE_ENDINGS):
                continue
            picture = os.path.join(place, name)
            height, width = read_picture(picture).shape[:2]
            labels.pictures.append(LabelledPicture(picture, (width, height), split))
            path = _label_path(picture)
            if not os.path.isfile(path):
                labels.leave_out('pictures without a label file, taken over with nobody on them')
                continue
            with open(path, encoding='utf-8-sig', errors='replace') as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        _add_line(labels, line.split(), f'{path}, line {number}', wanted, shape, (width, height))


def _add_line(labels: Labels, words: Sequence[str], where: str, wanted: Optional[int], shape: Sequence[int],
              size: Sequence[int]) -> None:
    count, dimensions = shape
    try:
        values = [float(word) for word in words]
    except ValueError:
        raise PoseError(f'{where}: should be numbers, is {brief(" ".join(words))}') from None
    if len(values) != 5 + count * dimensions or not all(map(math.isfinite, values)):
        raise PoseError(f'{where}: {len(values)} numbers, should be {5 + count * dimensions} finite ones: class, box '
                        f'and {count} keypoints of {dimensions} numbers each')
    if wanted is not None and values[0] != wanted:
        labels.leave_out('of other classes')
        return
    if max(map(abs, values[1:5])) > 1.5:
        raise PoseError(f'{where}: the box should be shares of the picture, 0 to 1, is {brief(words[1:5])}')
    scale = np.array(size, np.float64)
    center, extent = np.array(values[1:3]) * scale, np.array(values[3:5]) * scale
    table = np.array(values[5:]).reshape(count, dimensions)
    keypoints = np.zeros((count, 3))
    keypoints[:, :2] = table[:, :2] * scale
    # In data without visibility, a keypoint at 0, 0 is not labelled.
    keypoints[:, 2] = np.round(table[:, 2]).clip(0, 2) if dimensions == 3 else 2 * table.any(axis=1)
    keypoints[keypoints[:, 2] == 0] = 0
    if not keypoints[:, 2].any():
        labels.leave_out('without a labelled keypoint')
        return
    box = (*(center - extent / 2), *extent)
    labels.figures.append(Figure(len(labels.pictures) - 1, keypoints,
                                 tuple(map(float, box)) if extent.min() > 0 else None))


def write_yolo(labels: Labels, skeleton: Skeleton, out: str, splits: Sequence[str]) -> None:
    """Write a YOLO-pose data set, without crowds, which the format does not have."""
    for split in ('train', 'val'):
        make_folder(os.path.join(out, 'images', split))
        make_folder(os.path.join(out, 'labels', split))
    lines: List[List[str]] = [[] for _ in labels.pictures]
    crowds = 0
    for figure in labels.figures:
        if figure.is_crowd:
            crowds += 1
        else:
            lines[figure.picture].append(_line(figure, labels.pictures[figure.picture]))
    for index, picture in enumerate(labels.pictures):
        name = f'{index + 1:012d}'
        ending = os.path.splitext(picture.path)[1].lower()
        shutil.copyfile(picture.path, os.path.join(out, 'images', splits[index], name + ending))
        write_bytes(os.path.join(out, 'labels', splits[index], f'{name}.txt'), ''.join(lines[index]).encode())
    content = {'path': os.path.abspath(out), 'train': 'images/train', 'val': 'images/val',
               'kpt_shape': [skeleton.num_keypoints, 3], 'flip_idx': skeleton.flip_index.tolist(),
               'names': {0: skeleton.name}, 'kpt_names': {0: list(skeleton.keypoint_names)}}
    write_bytes(os.path.join(out, 'data.yaml'), yaml.safe_dump(content, sort_keys=False, allow_unicode=True,
                                                               default_flow_style=None).encode())
    if crowds:
        say(f'left out: {crowds} crowds')


def _line(figure: Figure, picture: LabelledPicture) -> str:
    height, width = read_picture(picture.path).shape[:2]
    size = np.array(picture.size or (width, height), np.float64)
    box = np.array(figure.box_xywh or box_around(figure.keypoints, tuple(size)), np.float64)
    values = [*(box[:2] + box[2:] / 2) / size, *box[2:] / size]
    words = ['0', *(f'{value:.6f}' for value in values)]
    for x, y, seen in figure.keypoints.tolist():
        words += [f'{x / size[0]:.6f}', f'{y / size[1]:.6f}', str(int(seen))]
    return ' '.join(words) + '\n'
