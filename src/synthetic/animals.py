"""Painted animals with eight keypoints, as a labelling tool exports them: data to try docs/own_data.md with.

    python -m src.synthetic.animals --root export --num 200

The files are those of CVAT's export "COCO Keypoints": annotations/person_keypoints_default.json, whose category has the
names and limbs, and pictures in images/default. The animals sit and look at the camera, so that their left is on the
right of the picture; every keypoint is visible.
"""
import os
from typing import Any, Dict, List, Tuple

import cv2
import numpy as np

from ..system.command_line import run_command, say
from ..system.errors import PoseError
from ..system.files import make_folder, write_bytes, write_json
from ..system.printing import ArgumentParser
from .canvas import Canvas, capsule, ellipse, sample_color, shaded
from .scenery import paint_background, photograph

KEYPOINTS = ('nose', 'left_ear', 'right_ear', 'chest', 'left_front_paw', 'right_front_paw', 'left_hind_paw',
             'right_hind_paw')
LIMBS = (('nose', 'left_ear'), ('nose', 'right_ear'), ('nose', 'chest'), ('chest', 'left_front_paw'),
         ('chest', 'right_front_paw'), ('chest', 'left_hind_paw'), ('chest', 'right_hind_paw'))
ANNOTATION_FILE = 'annotations/person_keypoints_default.json'
PICTURE_FOLDER = 'images/default'
MIN_SIDE = 96


def paint_animal(rng: np.random.Generator, image_size: Tuple[int, int]) -> Tuple[np.ndarray, np.ndarray, List[float]]:
    """Paint one animal that sits and looks at the camera.

    Args:
        image_size: (W, H).

    Returns:
        The picture (H, W, 3) uint8 BGR, the keypoints (8, 2) in its pixels and the box [x, y, width, height].
    """
    width, height = image_size
    fur = sample_color(rng, (0.3, 0.8), (0.35, 0.95))
    canvas = Canvas(paint_background(rng, image_size, fur))
    places = _pose(rng)
    shapes = _shapes(places, fur)
    angle = np.deg2rad(rng.uniform(-12, 12))
    size = rng.uniform(0.5, 0.8) * min(height, 1.2 * width)
    turn = size * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    extent = np.concatenate([outline for outline, _ in shapes]) @ turn
    low, high = extent.min(axis=0), extent.max(axis=0)
    shift = rng.uniform(0.05, 0.95, 2) * np.maximum(np.array(image_size) - 1 - (high - low), 0) - low
    for outline, color in shapes:
        canvas.fill(outline @ turn + shift, color)
    keypoints = np.array([places[name] for name in KEYPOINTS]) @ turn + shift
    box = [round(float(value), 2) for value in (*(low + shift), *(high - low))]
    return photograph(rng, canvas.picture()), keypoints, box


def _pose(rng: np.random.Generator) -> Dict[str, np.ndarray]:
    """Return {name: point} of an animal of height 1, relative to its chest; the animal's left has positive x."""
    def near(x: float, y: float, spread: float) -> np.ndarray:
        return np.array([x, y]) + rng.uniform(-spread, spread, 2)

    places = {'chest': np.zeros(2), 'head': near(0, -0.30, 0.06)}
    places['nose'] = places['head'] + near(0, 0.06, 0.03)
    for side, sign in (('left', 1), ('right', -1)):
        # Each ear independently pricked up or hanging.
        ear = np.deg2rad(rng.uniform(-75, 20))
        tip = np.array([sign * (0.11 + 0.13 * np.cos(ear)), -0.08 + 0.13 * np.sin(ear)])
        places[f'{side}_ear'] = places['head'] + tip
        places[f'{side}_front_paw'] = near(sign * 0.10, 0.46, 0.05)
        places[f'{side}_hind_paw'] = near(sign * 0.29, 0.42, 0.05)
    return places


def _shapes(places: Dict[str, np.ndarray], fur: Tuple[float, ...]) -> List[tuple]:
    """Return the outlines and colors of an animal's parts, from far to near."""
    dark, light, up = shaded(fur, 0.62), shaded(fur, 1.3), np.array([0.0, -1.0])
    head, sides = places['head'], (('left', 1), ('right', -1))
    shapes = [(capsule(np.array([sign * 0.16, 0.22]), places[f'{side}_hind_paw'], 0.13, 0.05), dark)
              for side, sign in sides]
    shapes.append((capsule(np.array([0, 0.02]), np.array([0, 0.26]), 0.17, 0.2), fur))
    shapes.append((capsule(np.array([0, 0.0]), head, 0.12, 0.1), shaded(fur, 0.85)))
    shapes.append((ellipse(np.array([0, 0.06]), (0.09, 0.14), up), light))
    for side, sign in sides:
        shapes.append((capsule(np.array([sign * 0.08, 0.08]), places[f'{side}_front_paw'], 0.06, 0.045), fur))
        shapes.append((ellipse(places[f'{side}_front_paw'], (0.06, 0.035), up), light))
        shapes.append((ellipse(places[f'{side}_hind_paw'], (0.07, 0.035), up), light))
        shapes.append((capsule(head + [sign * 0.09, -0.06], places[f'{side}_ear'], 0.06, 0.025), dark))
    shapes.append((ellipse(head, (0.15, 0.14), up), fur))
    shapes.append((ellipse(places['nose'], (0.08, 0.06), up), light))
    shapes += [(ellipse(head + [sign * 0.06, -0.03], (0.017, 0.02), up), (20, 20, 20)) for _, sign in sides]
    shapes.append((ellipse(places['nose'], (0.026, 0.02), up), (30, 25, 25)))
    return shapes


def write_animals(root: str, *, num: int, seed: int, image_size: Tuple[int, int]) -> None:
    """Write pictures of one animal each, and their annotations; picture i depends on seed, i and the size alone.

    Raises:
        PoseError: the number, the seed or the size is not valid.
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
    """Write the animals that the command line asks for and print where."""
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
