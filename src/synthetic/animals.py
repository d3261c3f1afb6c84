"""Painted animals with eight keypoints, as a labelling tool exports them: data to try docs/own_data.md with.

    python -m src.synthetic.animals --root export --num 200

The files are those of CVAT's export "COCO Keypoints": annotations/person_keypoints_default.json, whose category has the
names and limbs, and pictures in images/default. Every keypoint is seen; the animal's left side is the far one where it
looks to the right.
"""
import os
from typing import Any, Dict, List, Tuple

import cv2
import numpy as np

from ..system.command_line import run_command, say
from ..system.errors import PoseError
from ..system.files import make_folder, write_bytes, write_json
from ..system.printing import ArgumentParser
from .canvas import Canvas, capsule, ellipse, sample_colour, shaded
from .scenery import paint_background, photograph

KEYPOINTS = ('nose', 'poll', 'withers', 'croup', 'left_front_paw', 'right_front_paw', 'left_hind_paw', 'right_hind_paw')
LIMBS = (('nose', 'poll'), ('poll', 'withers'), ('withers', 'croup'), ('withers', 'left_front_paw'),
         ('withers', 'right_front_paw'), ('croup', 'left_hind_paw'), ('croup', 'right_hind_paw'))
ANNOTATION_FILE = 'annotations/person_keypoints_default.json'
PICTURE_FOLDER = 'images/default'
MIN_SIDE = 96


def paint_animal(rng: np.random.Generator, image_size: Tuple[int, int]) -> Tuple[np.ndarray, np.ndarray, List[float]]:
    """Paint one animal, seen from its side.

    Args:
        image_size: (W, H).

    Returns:
        The picture (H, W, 3) uint8 BGR, the keypoints (8, 2) in its pixels and the box [x, y, width, height].
    """
    width, height = image_size
    looks_right = rng.random() < 0.5
    length = rng.uniform(0.42, 0.62) * min(width, 1.4 * height)
    fur = sample_colour(rng, (0.3, 0.8), (0.35, 0.95))
    canvas = Canvas(paint_background(rng, image_size, fur))
    places = _pose(rng, length)
    shapes = _shapes(places, length, fur)
    extent = np.concatenate([outline for outline, _ in shapes])
    low, high = extent.min(axis=0), extent.max(axis=0)
    room = np.array(image_size) - 1 - (high - low)
    shift = rng.uniform(0.05, 0.95, 2) * np.maximum(room, 0) - low

    def placed(points: np.ndarray) -> np.ndarray:
        points = points + shift
        return points if looks_right else np.stack([width - 1 - points[:, 0], points[:, 1]], axis=1)

    for outline, colour in shapes:
        canvas.fill(placed(outline), colour)
    named = dict(places)
    # The legs on our side are the right ones of an animal that looks to the right.
    near, far = ('right', 'left') if looks_right else ('left', 'right')
    for part in ('front', 'hind'):
        named[f'{near}_{part}_paw'], named[f'{far}_{part}_paw'] = named[f'near_{part}'], named[f'far_{part}']
    keypoints = placed(np.array([named[name] for name in KEYPOINTS]))
    (left, top), (right, bottom) = placed(extent).min(axis=0), placed(extent).max(axis=0)
    box = [round(float(value), 2) for value in (left, top, right - left, bottom - top)]
    return photograph(rng, canvas.picture()), keypoints, box


def _pose(rng: np.random.Generator, length: float) -> Dict[str, np.ndarray]:
    """Return the places of an animal that looks to the right, by name, in pixels around its withers."""
    withers = np.zeros(2)
    croup = withers + length * np.array([-0.62, rng.uniform(-0.04, 0.06)])
    poll = withers + length * rng.uniform(0.28, 0.36) * _direction(rng.uniform(-75, 5))
    nose = poll + length * rng.uniform(0.20, 0.26) * _direction(rng.uniform(-15, 50))
    places = {'withers': withers, 'croup': croup, 'poll': poll, 'nose': nose}
    for part, top in (('front', withers), ('hind', croup)):
        stride = rng.uniform(-22, 22)
        for side, angle in (('near', stride), ('far', -stride + rng.uniform(-8, 8))):
            places[f'{side}_{part}'] = top + length * rng.uniform(0.50, 0.56) * _direction(90 + angle)
    places['tail'] = croup + length * 0.3 * _direction(rng.uniform(130, 215))
    return places


def _direction(degrees: float) -> np.ndarray:
    return np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])


def _shapes(places: Dict[str, np.ndarray], length: float, fur: Tuple[float, ...]) -> List[tuple]:
    """Return the outlines and colours of an animal, from far to near."""
    dark, light = shaded(fur, 0.62), shaded(fur, 1.25)
    shapes = [(capsule(places[top], places[f'far_{part}'], 0.085 * length, 0.04 * length), dark)
              for part, top in (('front', 'withers'), ('hind', 'croup'))]
    shapes.append((capsule(places['croup'], places['tail'], 0.045 * length, 0.02 * length), dark))
    belly = np.array([0, 0.07 * length])
    shapes.append((capsule(places['croup'] + belly, places['withers'] + belly, 0.15 * length, 0.16 * length), fur))
    shapes.append((capsule(places['withers'], places['poll'], 0.12 * length, 0.08 * length), fur))
    shapes.append((capsule(places['poll'], places['nose'], 0.095 * length, 0.05 * length), light))
    ear = places['poll'] + length * np.array([-0.03, -0.11])
    shapes.append((capsule(places['poll'], ear, 0.045 * length, 0.015 * length), dark))
    eye = 0.6 * places['poll'] + 0.4 * places['nose'] + length * np.array([0, -0.035])
    shapes.append((ellipse(eye, (0.017 * length, 0.017 * length), np.array([0.0, -1.0])), (20, 20, 20)))
    shapes.append((ellipse(places['nose'], (0.03 * length, 0.03 * length), np.array([0.0, -1.0])), (30, 25, 25)))
    for part, top in (('front', 'withers'), ('hind', 'croup')):
        shapes.append((capsule(places[top] + belly, places[f'near_{part}'], 0.09 * length, 0.045 * length), fur))
        shapes.append((capsule(places[f'near_{part}'], places[f'near_{part}'] + [0.05 * length, 0], 0.045 * length,
                               0.03 * length), light))
    return shapes


def write_animals(root: str, *, num: int, seed: int, image_size: Tuple[int, int]) -> None:
    """Write pictures of one animal each, and their annotations; picture i depends on seed, i and the size alone.

    Raises:
        PoseError: the number, the seed or the size cannot be.
        OSError: root cannot be written.
    """
    if num < 1 or seed < 0 or min(image_size) < MIN_SIDE:
        raise PoseError(f'--num should be positive, --seed 0 or more and --size at least {MIN_SIDE} {MIN_SIDE}; they '
                        f'are {num}, {seed} and {image_size[0]} {image_size[1]}')
    make_folder(os.path.join(root, PICTURE_FOLDER))
    make_folder(os.path.join(root, 'annotations'))
    images, annotations = [], []
    for number in range(1, num + 1):
        picture, keypoints, box = paint_animal(np.random.default_rng((seed, number)), image_size)
        name = f'frame_{number:06d}.jpg'
        write_bytes(os.path.join(root, PICTURE_FOLDER, name), cv2.imencode('.jpg', picture)[1].tobytes())
        images.append({'id': number, 'width': image_size[0], 'height': image_size[1], 'file_name': name, 'license': 0,
                       'flickr_url': '', 'coco_url': '', 'date_captured': 0})
        annotations.append(_annotation(number, keypoints, box))
    write_json(os.path.join(root, ANNOTATION_FILE), {
        'licenses': [{'name': '', 'id': 0, 'url': ''}], 'info': {'description': f'Painted animals, seed {seed}'},
        'categories': [{'id': 1, 'name': 'dog', 'supercategory': '', 'keypoints': list(KEYPOINTS),
                        'skeleton': [[KEYPOINTS.index(end) + 1 for end in limb] for limb in LIMBS]}],
        'images': images, 'annotations': annotations})


def _annotation(number: int, keypoints: np.ndarray, box: List[float]) -> Dict[str, Any]:
    flat = [value for x, y in keypoints.tolist() for value in (round(x, 2), round(y, 2), 2)]
    return {'id': number, 'image_id': number, 'category_id': 1, 'segmentation': [], 'area': round(box[2] * box[3], 2),
            'bbox': box, 'iscrowd': 0, 'attributes': {'occluded': False}, 'keypoints': flat,
            'num_keypoints': len(KEYPOINTS)}


def main() -> None:
    """Write the animals that the command line asks for and say where they lie."""
    parser = ArgumentParser(prog='python -m src.synthetic.animals',
                            description='Paint animals with eight keypoints, as a labelling tool exports them.')
    parser.add_argument('--root', required=True, help='folder of the export')
    parser.add_argument('--num', type=int, default=200, help='pictures, of an animal each (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=1, help='another seed paints others (default: %(default)s)')
    parser.add_argument('--size', type=int, nargs=2, default=(320, 240), metavar=('WIDTH', 'HEIGHT'),
                        help='of a picture (default: 320 240)')
    chosen = parser.parse_args()
    write_animals(chosen.root, num=chosen.num, seed=chosen.seed, image_size=tuple(chosen.size))
    say(f'{chosen.num} pictures of an animal each in {os.path.join(chosen.root, PICTURE_FOLDER)}, annotations in '
        f'{os.path.join(chosen.root, ANNOTATION_FILE)}')


if __name__ == '__main__':
    run_command(main)
