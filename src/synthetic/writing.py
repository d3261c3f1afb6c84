"""Made-up data sets of people in the layout of COCO 2017 or of OCHuman, so that a first training needs no download.

    python -m src.synthetic --root DIR --num_train 1200 --num_val 300 --seed 1
    python -m src.synthetic --root DIR --pairs 0.8      # people who overlap, and single people
    python -m src.synthetic --root DIR --ochuman        # overlapping people to evaluate on

As in COCO, visibility 2 is seen, 1 is hidden but inside the picture, and 0 is not labelled: outside the picture, or
the nose and eyes of a person seen from behind. Boxes, areas and outlines are those of whole people, as if nobody stood
in front of them.
"""
import os
from dataclasses import dataclass
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import cv2
from tqdm import tqdm

from ..data.skeletons import COCO
from ..system.command_line import say
from ..system.errors import PoseError
from ..system.files import read_json, write_bytes, write_json
from ..system.printing import ArgumentParser
from .pictures import DEFAULT_IMAGE_SIZE, make_picture

MIN_IMAGE_SIDE = 160
MARKER_NAME = 'synthetic.json'
# Part of the marker: data sets of an older version are painted again. Raise it when the pictures change.
PAINTER_VERSION = 3
PAIRS_VERSION = 4  # the same for data sets with pairs


class Layout(NamedTuple):
    """Where a data set keeps its files, below its root; {split} and {index} stand for the split and the picture.

    Attributes:
        annotation_file: COCO format.
        picture_folder: of a split.
        picture_name: inside that folder.
        area_of_box: an annotation's area is that of its box, as in OCHuman, instead of its silhouette's.
    """

    annotation_file: str
    picture_folder: str
    picture_name: str
    area_of_box: bool


COCO_LAYOUT = Layout('annotations/person_keypoints_{split}.json', '{split}', '{index:012d}.jpg', False)
OCHUMAN_LAYOUT = Layout('annotations/ochuman_coco_format_{split}_range_0.00_1.00.json', 'images', '{index:06d}.jpg',
                        True)
DETECTION_FILE = 'annotations/val2017_detections.json'


class Split(NamedTuple):
    """Pictures to paint; painted_as and pair_share are the arguments split and pair_share of make_picture."""

    name: str
    count: int
    painted_as: str
    pair_share: Optional[float]
    with_detections: bool = False


@dataclass(frozen=True)
class SyntheticSet:
    """A data set on disk: pictures and people by split, and whether it already existed."""

    root: str
    num_pictures: Dict[str, int]
    num_people: Dict[str, int]
    reused: bool


def write_synthetic_coco(root: str, *, num_train: int, num_val: int, seed: int,
                         image_size: Tuple[int, int] = DEFAULT_IMAGE_SIZE, pair_share: Optional[float] = None
                         ) -> SyntheticSet:
    """Write pictures and annotations in the layout of COCO 2017, plus annotations/val2017_detections.json.

    A complete set that was made with the same arguments is kept as it is.

    Args:
        root: folder of the data set; made when missing.
        num_train: pictures in train2017.
        num_val: pictures in val2017; with a pair_share the same number also in each of moderate2017 and singles2017.
        seed: 0 or more; picture i of a split depends only on the seed, the split, i, the image size and the pair_share.
        image_size: (W, H) in pixels.
        pair_share: None paints one to three people a picture, most of them apart. With a number, 0 to 1, this share of
            train2017 shows pairs, one in front of the other, and the rest one person. val2017 has pairs only, which
            overlap heavily, more than those of train2017; there are two more splits, moderate2017 with pairs that
            overlap less heavily and singles2017 with single people.

    Raises:
        PoseError: a count below 1, a negative seed, a picture too small for people or a share outside 0 to 1.
        FileExistsError: root holds annotations that this function did not write.
        OSError: root cannot be written.
    """
    if pair_share is not None and not 0 <= pair_share <= 1:
        raise PoseError(f'pair_share should be between 0 and 1, not {pair_share}')
    crowded = pair_share is not None
    splits = [Split('train2017', num_train, 'train2017', pair_share),
              Split('val2017', num_val, 'val2017', 1.0 if crowded else None, with_detections=True)]
    arguments = {'num_train': num_train, 'num_val': num_val}
    if crowded:
        splits += [Split('moderate2017', num_val, 'moderate2017', 1.0),
                   Split('singles2017', num_val, 'singles2017', 0.0)]
        arguments.update(pair_share=pair_share, pairs_version=PAIRS_VERSION)
    return _write_set(root, COCO_LAYOUT, splits, arguments, seed, image_size)


def write_synthetic_ochuman(root: str, *, num_val: int, seed: int, image_size: Tuple[int, int] = DEFAULT_IMAGE_SIZE
                            ) -> SyntheticSet:
    """Write pairs, one in front of the other, in the layout of OCHuman, which has no split to train on.

    They are the people of val2017 that write_synthetic_coco paints with a pair_share. As in OCHuman's files an
    annotation's area is that of its box. Arguments and errors are those of write_synthetic_coco.
    """
    return _write_set(root, OCHUMAN_LAYOUT, [Split('val', num_val, 'val2017', 1.0)],
                      {'layout': 'ochuman', 'num_val': num_val, 'pairs_version': PAIRS_VERSION}, seed, image_size)


def _write_set(root: str, layout: Layout, splits: Sequence[Split], arguments: Dict[str, Any], seed: int,
               image_size: Tuple[int, int]) -> SyntheticSet:
    """Write all splits unless they exist; `arguments` are further entries of the marker."""
    _check_arguments(splits, seed, image_size)
    arguments = {'painter_version': PAINTER_VERSION, **arguments, 'seed': seed, 'image_size': list(image_size)}
    counts = {split.name: split.count for split in splits}
    marker = _load_marker(root)
    if marker is not None and marker.get('arguments') == arguments and marker['complete'] and all(
            os.path.isfile(path) for split in splits for path in _files_of(root, layout, split)):
        say(f'{root} already holds this synthetic data set; it is used as it is')
        return SyntheticSet(root, counts, marker['num_people'], reused=True)
    if marker is None and any(os.path.exists(_annotation_path(root, layout, split)) for split in splits):
        raise FileExistsError(f'{root} holds annotations that are not synthetic; choose another folder')
    try:
        os.makedirs(os.path.join(root, 'annotations'), exist_ok=True)
        write_json(os.path.join(root, MARKER_NAME), {'arguments': arguments, 'complete': False})
        num_people = {split.name: _write_split(root, layout, split, seed, image_size) for split in splits}
        write_json(os.path.join(root, MARKER_NAME),
                   {'arguments': arguments, 'complete': True, 'num_people': num_people})
    except OSError as error:
        raise OSError(f'cannot write the synthetic data set to {root!r}: {error}') from error
    return SyntheticSet(root, counts, num_people, reused=False)


def _check_arguments(splits: Sequence[Split], seed: int, image_size: Tuple[int, int]) -> None:
    for split in splits:
        if split.count < 1:
            raise PoseError(f'{split.name} needs at least 1 picture, not {split.count}')
    if seed < 0:
        raise PoseError(f'seed must be 0 or more, not {seed}')
    if min(image_size) < MIN_IMAGE_SIDE:
        raise PoseError(f'image_size {tuple(image_size)} is too small: people need {MIN_IMAGE_SIDE} pixels each way')


def _load_marker(root: str) -> Optional[Dict[str, Any]]:
    """The note that is left in the folder of a synthetic data set, or None."""
    path = os.path.join(root, MARKER_NAME)
    if not os.path.isfile(path):
        return None
    marker = read_json(path)
    if not isinstance(marker, dict) or 'complete' not in marker:
        raise PoseError(f'{path} is not the note of a synthetic data set; choose another folder')
    return marker


def _files_of(root: str, layout: Layout, split: Split) -> List[str]:
    """All paths of a split, those of its pictures last."""
    paths = [_annotation_path(root, layout, split)]
    if split.with_detections:
        paths.append(os.path.join(root, DETECTION_FILE))
    return paths + [_picture_path(root, layout, split, index) for index in range(1, split.count + 1)]


def _annotation_path(root: str, layout: Layout, split: Split) -> str:
    return os.path.join(root, layout.annotation_file.format(split=split.name))


def _picture_path(root: str, layout: Layout, split: Split, index: int) -> str:
    return os.path.join(root, layout.picture_folder.format(split=split.name), layout.picture_name.format(index=index))


def _write_split(root: str, layout: Layout, split: Split, seed: int, image_size: Tuple[int, int]) -> int:
    """Write the pictures and annotations of a split; return the number of its people."""
    os.makedirs(os.path.dirname(_picture_path(root, layout, split, 1)), exist_ok=True)
    images, annotations, detections = [], [], []
    for index in tqdm(range(1, split.count + 1), desc=f'painting {split.name}', unit='picture'):
        picture = make_picture(seed, split.painted_as, index, image_size, pair_share=split.pair_share)
        path = _picture_path(root, layout, split, index)
        _, encoded = cv2.imencode('.jpg', picture.image, (cv2.IMWRITE_JPEG_QUALITY, picture.jpeg_quality))
        write_bytes(path, encoded.tobytes())
        images.append({'id': index, 'file_name': os.path.basename(path), 'width': image_size[0],
                       'height': image_size[1]})
        for annotation in picture.annotations:
            if layout.area_of_box:
                annotation = {**annotation, 'area': annotation['bbox'][2] * annotation['bbox'][3]}
            annotations.append({'id': len(annotations) + 1, 'image_id': index, **annotation})
        detections += [{'image_id': index, **detection} for detection in picture.detections]
    write_json(_annotation_path(root, layout, split), {
        'info': {'description': f'Synthetic people, {split.name}, seed {seed}'}, 'images': images,
        'annotations': annotations, 'categories': [_category()]})
    if split.with_detections:
        write_json(os.path.join(root, DETECTION_FILE), detections)
    return len(annotations)


def _category() -> Dict[str, Any]:
    return {'id': 1, 'name': 'person', 'supercategory': 'person', 'keypoints': list(COCO.keypoint_names),
            'skeleton': (COCO.link_index + 1).tolist()}


def main() -> None:
    """Write the data set named on the command line and print where."""
    parser = ArgumentParser(description='Paint a small data set of people in the layout of COCO 2017.')
    parser.add_argument('--root', required=True, help='folder of the data set')
    parser.add_argument('--num_train', type=int, default=1200, help='pictures in train2017 (default: %(default)s)')
    parser.add_argument('--num_val', type=int, default=300, help='pictures in val2017 (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=1, help='another seed paints other people (default: %(default)s)')
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument('--pairs', type=float, metavar='SHARE',
                      help='people who overlap: this share, 0 to 1, of the pictures of train2017 shows two, one in '
                      'front of the other, the others show one; val2017 and moderate2017 have pairs, singles2017 '
                      'single people')
    kind.add_argument('--ochuman', action='store_true',
                      help='the pairs of val2017 in the layout of OCHuman, nothing to train on')
    chosen = parser.parse_args()
    layout = OCHUMAN_LAYOUT if chosen.ochuman else COCO_LAYOUT
    try:
        if chosen.ochuman:
            made = write_synthetic_ochuman(chosen.root, num_val=chosen.num_val, seed=chosen.seed)
        else:
            made = write_synthetic_coco(chosen.root, num_train=chosen.num_train, num_val=chosen.num_val,
                                        seed=chosen.seed, pair_share=chosen.pairs)
    except (PoseError, OSError) as error:
        parser.error(str(error))
    for split, count in made.num_pictures.items():
        say(f'{split}: {count} pictures of {made.num_people[split]} people in '
            f'{os.path.join(made.root, layout.picture_folder.format(split=split))}, annotations in '
            f'{os.path.join(made.root, layout.annotation_file.format(split=split))}')
    if not chosen.ochuman:
        say(f'detections for val2017: {os.path.join(made.root, DETECTION_FILE)}')
