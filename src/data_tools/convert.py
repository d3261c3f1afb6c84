"""Labels of other tools → a data set in COCO's layout, which train.py and eval.py can use directly; or → YOLO-pose.

    python -m src.data_tools.convert export own              # a folder or file of CVAT, Roboflow, Label Studio, ...
    python -m src.data_tools.convert own yolo --to yolo

In OUT it writes train2017 and val2017 with the pictures, upright and named by number; annotations/ with the files that
train.py looks for, and with the boxes of val2017 as detections; and skeleton.yaml.
"""
import argparse
import hashlib
import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import cv2
import numpy as np
import yaml
from tqdm import tqdm

from ..data.images import read_picture
from ..data.skeleton_files import describe, read_skeleton, skeleton_of
from ..data.skeletons import Skeleton
from ..system.command_line import run_command, say
from ..system.errors import PoseError
from ..system.files import make_folder, write_bytes, write_json
from ..system.printing import ArgumentParser
from . import coco_labels, deeplabcut_labels, point_labels, yolo_labels
from .labels import Figure, LabelledPicture, Labels, box_around

FORMATS = ('coco', 'yolo', 'deeplabcut', 'makesense')
SPLITS = ('train', 'val')


class WrittenPicture(NamedTuple):
    """A picture of the new data set: file name, (width, height), and the x and y factors from label pixels to
    its pixels.
    """

    name: str
    size: Tuple[int, int]
    factor: Tuple[float, float]


def guess_format(source: str) -> str:
    """Return the format of a source, recognised by its files.

    Raises:
        PoseError: the source is missing, or has none of FORMATS.
    """
    if not os.path.exists(source):
        raise PoseError(f'{source} does not exist')
    if yolo_labels.find_settings(source):
        return 'yolo'
    if deeplabcut_labels.find_tables(source):
        return 'deeplabcut'
    if source.lower().endswith('.csv'):
        return 'makesense'
    if coco_labels.find_coco_files(source):
        return 'coco'
    raise PoseError(f'{source} is of no known format: looked for COCO annotation files (.json), a data.yaml with '
                    "kpt_shape (YOLO-pose), CollectedData_*.csv or .h5 (DeepLabCut) and makesense.ai's points (.csv)")


def read_labels(source: str, *, kind: Optional[str] = None, pictures: Optional[str] = None,
                category: Optional[str] = None, layout: Optional[Dict[str, Any]] = None) -> Labels:
    """Read the labels of a source.

    Args:
        kind: one of FORMATS; None: it is guessed.
        pictures: folder of the pictures, if they do not lie beside the labels.
        category: name or id of the category to import.
        layout: keypoint layout with the keys of a skeleton file, for sources that do not name their keypoints.

    Raises:
        PoseError: a file is malformed, or pictures are missing; the message names them.
        ImportError: the package that reads the format is missing.
    """
    kind = kind or guess_format(source)
    if kind == 'yolo':
        return yolo_labels.read_yolo(source, category, layout)
    if kind == 'deeplabcut':
        return deeplabcut_labels.read_deeplabcut(source, pictures)
    if kind == 'makesense':
        return point_labels.read_points(source, pictures)
    files = coco_labels.find_coco_files(source)
    if not files:
        raise PoseError(f'{source} holds no COCO annotation file')
    return coco_labels.read_coco(files, pictures, category, layout)


def assign_splits(pictures: Sequence[LabelledPicture], val_share: float) -> List[str]:
    """Return 'train' or 'val' for every picture: the split of the source or, if it has none, one by a hash of
    the names.

    A split by hash puts a share of `val_share` into 'val', and at least one picture into each part if there are two.
    """
    splits = [picture.split for picture in pictures]
    if 'train' in splits and 'val' in splits:
        return [split or 'train' for split in splits]
    order = sorted(range(len(pictures)), key=lambda index: hashlib.sha256(
        os.path.basename(pictures[index].path).encode('utf-8', 'surrogateescape')).hexdigest())
    count = min(max(round(val_share * len(pictures)), 1), max(len(pictures) - 1, 1))
    chosen = set(order[:count])
    return ['val' if index in chosen else 'train' for index in range(len(pictures))]


def write_picture(picture: LabelledPicture, folder: str, number: int) -> WrittenPicture:
    """Write a picture so that its EXIF data does not rotate it: unchanged if it did not, else rotated as its labels
    assume.

    Raises:
        PoseError: it cannot be read, or its labels are for a picture with another aspect ratio.
    """
    upright = read_picture(picture.path)
    chosen, is_turned = upright, False
    with open(picture.path, 'rb') as file:
        content = file.read()
    if b'Exif' in content[:1 << 16]:
        stored = read_picture(picture.path, honour_exif=False)
        is_turned = stored.shape != upright.shape or not np.array_equal(stored, upright)
        if is_turned and picture.size is not None and picture.size != upright.shape[1::-1] \
                and picture.size == stored.shape[1::-1]:
            chosen = stored
    height, width = chosen.shape[:2]
    labelled = picture.size or (width, height)
    factor = width / labelled[0], height / labelled[1]
    if abs(factor[0] / factor[1] - 1) > 0.02:
        raise PoseError(f'{picture.path} is {width} x {height}, its labels are of a picture of {labelled[0]} x '
                        f'{labelled[1]}: it was turned or cut since it was labelled')
    ending = os.path.splitext(picture.path)[1].lower()
    name = f'{number:012d}{".jpg" if is_turned else ending}'
    if is_turned:
        content = cv2.imencode('.jpg', chosen, (cv2.IMWRITE_JPEG_QUALITY, 97))[1].tobytes()
    write_bytes(os.path.join(folder, name), content)
    return WrittenPicture(name, (width, height), factor)


def scaled(figure: Figure, written: WrittenPicture) -> Figure:
    """Return a figure in the pixels of the written picture, with a box and an area."""
    keypoints = figure.keypoints * [*written.factor, 1]
    keypoints[keypoints[:, 2] == 0] = 0
    box = box_around(keypoints, written.size) if figure.box_xywh is None else tuple(
        round(value * factor, 2) for value, factor in zip(figure.box_xywh, written.factor * 2))
    area = box[2] * box[3] if figure.area is None else figure.area * written.factor[0] * written.factor[1]
    return figure._replace(keypoints=keypoints, box_xywh=box, area=round(area, 2))


def write_coco(labels: Labels, skeleton: Skeleton, out: str, val_share: float) -> None:
    """Write a data set in COCO's layout; the annotation files are written after the pictures."""
    splits = assign_splits(labels.pictures, val_share)
    figures_of: Dict[int, List[Figure]] = {}
    for figure in labels.figures:
        figures_of.setdefault(figure.picture, []).append(figure)
    content = {split: {'info': {'description': f'{skeleton.name}, {split}'}, 'images': [], 'annotations': [],
                       'categories': [_category(skeleton)]} for split in SPLITS}
    for split in SPLITS:
        make_folder(os.path.join(out, f'{split}2017'))
    make_folder(os.path.join(out, 'annotations'))
    for index, picture in enumerate(tqdm(labels.pictures, desc='pictures', unit='picture')):
        split, number = content[splits[index]], index + 1
        written = write_picture(picture, os.path.join(out, f'{splits[index]}2017'), number)
        split['images'].append({'id': number, 'file_name': written.name, 'width': written.size[0],
                                'height': written.size[1], 'original': os.path.basename(picture.path)})
        split['annotations'] += [_annotation(scaled(figure, written), number) for figure in figures_of.get(index, [])]
    for split in SPLITS:
        for number, annotation in enumerate(content[split]['annotations'], start=1):
            annotation['id'] = number
        write_json(os.path.join(out, 'annotations', f'person_keypoints_{split}2017.json'), content[split])
    boxes = [{'image_id': each['image_id'], 'category_id': 1, 'bbox': each['bbox'], 'score': 1.0}
             for each in content['val']['annotations'] if not each['iscrowd']]
    write_json(os.path.join(out, 'annotations', 'val2017_detections.json'), boxes)
    write_skeleton(os.path.join(out, 'skeleton.yaml'), skeleton)
    for split in SPLITS:
        say(f'{split}2017: {len(content[split]["images"])} pictures, {len(content[split]["annotations"])} labelled')


def write_skeleton(path: str, skeleton: Skeleton) -> None:
    """Write a layout as a skeleton file, including everything filled in by default, so that the user can check it."""
    text = yaml.safe_dump(describe(skeleton), sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)
    write_bytes(path, f'# The keypoints: docs/own_data.md explains the keys.\n{text}'.encode())


def _category(skeleton: Skeleton) -> Dict[str, Any]:
    return {'id': 1, 'name': skeleton.name, 'supercategory': '', 'keypoints': list(skeleton.keypoint_names),
            'skeleton': (skeleton.link_index + 1).tolist()}


def _annotation(figure: Figure, image_id: int) -> Dict[str, Any]:
    table = figure.keypoints
    flat = [value for x, y, seen in table.tolist() for value in (round(x, 2), round(y, 2), int(seen))]
    return {'id': 0, 'image_id': image_id, 'category_id': 1, 'bbox': list(figure.box_xywh), 'area': figure.area,
            'iscrowd': int(figure.is_crowd), 'keypoints': flat, 'num_keypoints': int((table[:, 2] > 0).sum())}


def parse_arguments() -> argparse.Namespace:
    parser = ArgumentParser(prog='python -m src.data_tools.convert',
                            description='Turn labels of other tools into a data set that train.py takes.')
    parser.add_argument('source', help='annotation file, or folder of an export')
    parser.add_argument('out', help='folder of the new data set; it must not be there, or be empty')
    parser.add_argument('--format', choices=FORMATS, help='of the source (default: by its files)')
    parser.add_argument('--to', default='coco', choices=('coco', 'yolo'), help='layout to write (default: %(default)s)')
    parser.add_argument('--pictures', metavar='FOLDER', help='the pictures, where they do not lie beside the labels')
    parser.add_argument('--category', metavar='NAME', help='which one is taken, by name or id (default: the only one '
                        'with keypoints)')
    parser.add_argument('--skeleton', metavar='FILE', help='YAML file with the names of the keypoints, limbs and more; '
                        'needed where the source has no names')
    parser.add_argument('--val', type=float, default=0.2, metavar='SHARE', help='of the pictures, for val2017, where '
                        'the source is not split (default: %(default)s)')
    return parser.parse_args()


def main() -> None:
    """Convert what the command line names."""
    arguments = parse_arguments()
    if not 0 < arguments.val < 1:
        raise PoseError(f'--val should be a share between 0 and 1, is {arguments.val}')
    if os.path.exists(arguments.out) and (not os.path.isdir(arguments.out) or os.listdir(arguments.out)):
        raise PoseError(f'{arguments.out} is there already; choose another folder')
    given = read_skeleton(arguments.skeleton) if arguments.skeleton else None
    labels = read_labels(arguments.source, kind=arguments.format, pictures=arguments.pictures,
                         category=arguments.category, layout=describe(given) if given else None)
    skeleton = given or skeleton_of(labels.layout, arguments.source)
    if len(labels.layout['keypoints']) != skeleton.num_keypoints:
        raise PoseError(f'{arguments.skeleton} names {skeleton.num_keypoints} keypoints, {arguments.source} has '
                        f'{len(labels.layout["keypoints"])}')
    say(f'{arguments.source}: {len(labels.pictures)} pictures, {len(labels.figures)} labelled with '
        f'{skeleton.num_keypoints} keypoints', *(f'left out: {count} {reason}'
                                                 for reason, count in labels.left_out.items()))
    if arguments.to == 'yolo':
        yolo_labels.write_yolo(labels, skeleton, arguments.out, assign_splits(labels.pictures, arguments.val))
    else:
        write_coco(labels, skeleton, arguments.out, arguments.val)
    pairs = ', '.join(f'{left} and {right}' for left, right in skeleton.swap_pairs or ())
    say(f'mirrored pictures swap {pairs}' if pairs else 'mirrored pictures swap no keypoints: the names say no sides; '
        "write the pairs into 'swap' of skeleton.yaml, unless there are none",
        f'written: {arguments.out}' + ('; train with --skeleton ' + os.path.join(arguments.out, 'skeleton.yaml')
                                       + f' --data_url {arguments.out}' if arguments.to == 'coco' else ''))


if __name__ == '__main__':
    run_command(main)
