"""Draw how training uses a data set: annotations on pictures, augmented crops, and the label maps of a network.

    python -m src.data_tools.draw DATA OUT
    python -m src.data_tools.draw DATA OUT --recipe mspn_2stg_coco_256x192 --most 24 --set DATASET.ROT_FACTOR=20

In OUT it writes annotations/ with drawn pictures; crops.jpg with the network's input crops, one row per figure: first
the crop for evaluation, then the training crops of the first epochs; and label_maps.jpg with the label maps (target
heatmaps) of these training crops.
"""
import argparse
import os
from typing import List, Tuple

import cv2
import numpy as np
from easydict import EasyDict

from ..config import input_shape, load_recipe, resolve
from ..data.images import exif_rule, read_picture
from ..data.keypoint_names import open_annotations
from ..data.locate_pictures import locate_pictures
from ..data.photo_changes import build_photo_changes
from ..data.samples import PersonSamples
from ..data.skeletons import Skeleton
from ..datasets.annotation_files import find_annotation_file
from ..datasets.registry import configured_skeleton, dataset_of
from ..flags import add_config_flags, read_overrides
from ..models.registry import model_of
from ..system.command_line import run_command, say
from ..system.device import set_up_device
from ..system.errors import PoseError
from ..system.files import make_folder
from ..system.printing import ArgumentParser
from ..visualization import draw_people, write_picture
from .annotated_set import find_annotation_files

FLAGS = {'gt_file_url': 'DATASET.TRAIN_JSON', 'skeleton': 'DATASET.SKELETON'}
EPOCHS = 4  # augmented crops per figure
ROWS = 8  # figures per image file
_GAP = 6


def load_samples(config: EasyDict, gt_file: str, split_folder: str) -> PersonSamples:
    """Return the training samples of a configuration."""
    skeleton, crops = configured_skeleton(config), model_of(config).crops(config)
    annotations = open_annotations(gt_file, skeleton, config.DATASET.CATEGORY)
    people = dataset_of(config).people(annotations, skeleton, crops.sample_rule, True)
    say(*(f'note: {text}' for text in people.notes))
    paths = locate_pictures(config.DATASET.ROOT, people.file_names, split_folder=split_folder,
                            needed=people.image_index)
    return PersonSamples(people, paths, crops, skeleton, input_shape(config), config.GENERAL.SEED,
                         exif_rule(config.DATASET.EXIF), build_photo_changes(config))


def draw_annotations(samples: PersonSamples, folder: str, most: int) -> int:
    """Draw the people of up to `most` pictures, evenly spread over the file; return the number of pictures."""
    people = samples.people
    used = np.unique(people.image_index)
    chosen = used[np.linspace(0, len(used) - 1, min(most, len(used))).astype(int)]
    honour_exif = samples.crops.honours_exif if samples.honour_exif is None else samples.honour_exif
    for index in chosen:
        rows = np.flatnonzero(people.image_index == index)
        drawn = draw_people(read_picture(samples.paths[index], honour_exif=honour_exif),
                            people.keypoints[rows].astype(np.float64), samples.skeleton,
                            boxes_xywh=people.boxes_xywh[rows])
        write_picture(os.path.join(folder, f'{people.image_ids[index]}.jpg'), drawn)
    return len(chosen)


def sample_rows(samples: PersonSamples, most: int) -> np.ndarray:
    """Return the rows of up to `most` figures, evenly spread over the file."""
    return np.linspace(0, len(samples) - 1, min(most, len(samples))).astype(int)


def training_crops(samples: PersonSamples, rows: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the crops (P, E, H, W, 3), joints (P, E, K, 2) and validity (P, E, K) of the first E epochs. For networks
    that find several people in a box, joints and validity are those of the person of the crop."""
    shape = (len(rows), EPOCHS)
    crops = np.empty((*shape, *samples.input_shape, 3), np.uint8)
    joints = np.empty((*shape, samples.skeleton.num_keypoints, 2), np.float32)
    validity = np.empty((*shape, samples.skeleton.num_keypoints), np.float32)
    for place, row in enumerate(rows):
        for epoch in range(EPOCHS):
            its_joints, its_validity = samples.training_sample(int(row), epoch, crops[place, epoch])
            several = samples.crops.num_neighbours > 0
            joints[place, epoch] = its_joints[0] if several else its_joints
            validity[place, epoch] = its_validity[0] if several else its_validity
    return crops, joints, validity


def draw_crop(crop: np.ndarray, joints: np.ndarray, validity: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Return a crop with its keypoints (K, 2) drawn; those that training does not use are left out."""
    keypoints = np.concatenate([joints, (validity > 0)[:, None]], axis=1)
    return draw_people(crop, keypoints[None], skeleton)


def label_maps(config: EasyDict, joints: np.ndarray, validity: np.ndarray) -> np.ndarray:
    """Return the label maps (N, h, w) of crops, as the maximum over the keypoints. If a network is trained with blobs
    of several sizes, they are the finest ones."""
    from mindspore import Tensor
    count = len(joints)
    targets = model_of(config).targets(config)
    if model_of(config).crops(config).num_neighbours:
        # The first N maps are those of the person of each crop; the neighbours are filled with copies of that person.
        people = model_of(config).crops(config).num_neighbours + 1
        joints, validity = (np.repeat(each[:, None], people, axis=1) for each in (joints, validity))
    labels, _ = targets(Tensor(joints), Tensor(validity))
    finest = (labels[-1] if isinstance(labels, tuple) else labels).asnumpy()
    return finest[:count].max(axis=1)


def overlay(crop: np.ndarray, label_map: np.ndarray) -> np.ndarray:
    """Return a darkened crop with its label map (h, w) drawn over it, from dark red to white."""
    height, width = crop.shape[:2]
    share = cv2.resize(label_map / max(float(label_map.max()), 1e-9), (width, height), interpolation=cv2.INTER_LINEAR)
    heat = cv2.applyColorMap((255 * share.clip(0, 1)).astype(np.uint8), cv2.COLORMAP_HOT)
    weight = share.clip(0, 1)[..., None] ** 0.5
    return ((1 - weight) * 0.55 * crop + weight * heat).astype(np.uint8)


def sheet(rows: List[List[np.ndarray]], largest: int = 200) -> np.ndarray:
    """Return one image with the given pictures, all of the same size, in rows on a light background."""
    height, width = rows[0][0].shape[:2]
    scale = min(1.0, largest / max(height, width)) if max(height, width) > largest else 1.0
    size = round(width * scale), round(height * scale)
    extent = len(rows) * (size[1] + _GAP) + _GAP, max(map(len, rows)) * (size[0] + _GAP) + _GAP
    whole = np.full((*extent, 3), 245, np.uint8)
    for number, row in enumerate(rows):
        for place, picture in enumerate(row):
            top, left = _GAP + number * (size[1] + _GAP), _GAP + place * (size[0] + _GAP)
            whole[top:top + size[1], left:left + size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return whole


def parse_arguments() -> argparse.Namespace:
    parser = ArgumentParser(prog='python -m src.data_tools.draw', allow_abbrev=False,
                            description='Draw what a training sees of a data set.')
    parser.add_argument('data', help='folder of the data set, or an annotation file')
    parser.add_argument('out', help='folder of the drawings')
    parser.add_argument('--split', default='train', choices=('train', 'val'), help='whose annotations (default: '
                        '%(default)s)')
    parser.add_argument('--most', type=int, default=12, help='pictures that are drawn (default: %(default)s)')
    parser.add_argument('--no_label_maps', action='store_true', help='leave out what needs MindSpore')
    add_config_flags(parser, FLAGS, default_recipe='base')
    return parser.parse_args()


def configure(arguments: argparse.Namespace) -> Tuple[EasyDict, str]:
    """Return the configuration and the annotation file."""
    recipe = load_recipe(arguments.recipe or 'base')
    overrides = read_overrides(arguments, FLAGS, recipe)
    is_file, given = os.path.isfile(arguments.data), overrides.get('DATASET.TRAIN_JSON')
    folder = os.path.dirname(os.path.abspath(arguments.data)) if is_file else arguments.data
    root = os.path.dirname(folder) if is_file and os.path.basename(folder) == 'annotations' else folder
    overrides.setdefault('DATASET.ROOT', root)
    skeleton = os.path.join(root, 'skeleton.yaml')
    if os.path.isfile(skeleton) and recipe.DATASET.SKELETON == 'coco':
        overrides.setdefault('DATASET.SKELETON', skeleton)
    config = resolve(recipe, overrides)
    if is_file or given:
        return config, given or arguments.data
    try:
        files = find_annotation_files(arguments.data)
    except PoseError:
        # MPII's annotation files have another format and lie in other folders.
        kind = 'TRAIN' if arguments.split == 'train' else 'TEST'
        return config, find_annotation_file(config, kind, is_explicit=False)
    own = [path for path in files if arguments.split in os.path.basename(path)] or files
    if len(own) > 1:
        raise PoseError(f'{arguments.data} holds several annotation files: {", ".join(own)}; choose one with '
                        '--gt_file_url')
    return config, own[0]


def main() -> None:
    """Draw what the command line names."""
    arguments = parse_arguments()
    if not os.path.exists(arguments.data):
        raise PoseError(f'{arguments.data} does not exist')
    if arguments.most < 1:
        raise PoseError(f'--most should be positive, is {arguments.most}')
    config, gt_file = configure(arguments)
    samples = load_samples(config, gt_file, config.DATASET[f'{"TRAIN" if arguments.split == "train" else "TEST"}_SET'])
    say(f'data: {len(samples)} people of {gt_file}, {samples.skeleton.num_keypoints} keypoints')
    make_folder(os.path.join(arguments.out, 'annotations'))
    count = draw_annotations(samples, os.path.join(arguments.out, 'annotations'), arguments.most)
    rows = sample_rows(samples, min(arguments.most, ROWS))
    crops, joints, validity = training_crops(samples, rows)
    plain = samples.test_samples(rows)[0]
    drawn = [[plain[place], *(draw_crop(*parts, samples.skeleton) for parts in zip(
        crops[place], joints[place], validity[place]))] for place in range(len(rows))]
    write_picture(os.path.join(arguments.out, 'crops.jpg'), sheet(drawn))
    if not arguments.no_label_maps:
        set_up_device('CPU')
        maps = label_maps(config, joints.reshape(-1, *joints.shape[2:]), validity.reshape(-1, validity.shape[2]))
        maps = maps.reshape(*crops.shape[:2], *maps.shape[1:])
        write_picture(os.path.join(arguments.out, 'label_maps.jpg'), sheet([
            [overlay(crop, each) for crop, each in zip(crops[place], maps[place])] for place in range(len(rows))]))
    say(f'drawn: {count} pictures in {os.path.join(arguments.out, "annotations")}, crops.jpg'
        + ('' if arguments.no_label_maps else ' and label_maps.jpg') + f' in {arguments.out}')


if __name__ == '__main__':
    run_command(main)
