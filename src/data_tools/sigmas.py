"""OKS sigmas from figures that were labelled twice, or from a file → a skeleton file.

    python -m src.data_tools.sigmas first.json second.json --output skeleton.yaml
    python -m src.data_tools.sigmas --from sigmas.yaml --skeleton own/skeleton.yaml --output skeleton.yaml

A sigma is the square root of the mean of (distance² / area) over the pairs of labels, as COCO defines it
(https://cocodataset.org/#keypoints-eval): E[d² / s²] = sigma², where s² is the area. Left and right partners share one
sigma.
"""
import argparse
import os
from dataclasses import replace
from typing import Any, Dict, List, Tuple

import numpy as np

from ..data.skeleton_files import describe, read_skeleton, skeleton_of
from ..data.skeletons import SKELETONS, Skeleton
from ..system.command_line import run_command, say
from ..system.errors import PoseError
from ..system.files import check_writable, read_json
from ..system.printing import ArgumentParser
from ..system.yaml_files import read_yaml
from .annotated_set import AnnotatedFigure, AnnotatedSet, read_annotated_set
from .convert import write_skeleton

# Two labels are of the same figure if the IoU of their boxes is at least this.
SAME_FIGURE = 0.3
# A sigma is measured from at least this many pairs; with fewer it is not changed.
FEWEST = 10


def match_figures(first: AnnotatedSet, second: AnnotatedSet) -> List[Tuple[AnnotatedFigure, AnnotatedFigure]]:
    """Return the pairs of figures that are in both files: on pictures of the same name, matched by the IoU of their
    boxes, the largest first."""
    index_of = {os.path.basename(picture.name): index for index, picture in enumerate(second.pictures)}
    of_second: Dict[int, List[AnnotatedFigure]] = {}
    for figure in _usable(second):
        of_second.setdefault(figure.picture, []).append(figure)
    candidates = []
    for figure in _usable(first):
        other_picture = index_of.get(os.path.basename(first.pictures[figure.picture].name), -1)
        for other in of_second.get(other_picture, []):
            overlap = box_overlap(figure.box, other.box)
            if overlap >= SAME_FIGURE:
                candidates.append((overlap, figure, other))
    pairs, taken = [], set()
    for _, figure, other in sorted(candidates, key=lambda each: -each[0]):
        if ('first', figure.number) not in taken and ('second', other.number) not in taken:
            taken |= {('first', figure.number), ('second', other.number)}
            pairs.append((figure, other))
    return pairs


def _usable(whole: AnnotatedSet) -> List[AnnotatedFigure]:
    return [figure for figure in whole.figures
            if figure.box is not None and min(figure.box[2:]) > 0 and not figure.is_crowd and figure.keypoints.any()]


def box_overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the intersection over union of two boxes [x, y, width, height]."""
    sides = np.minimum(one[:2] + one[2:], other[:2] + other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    return shared / (float(np.prod(one[2:]) + np.prod(other[2:])) - shared)


def estimate_sigmas(pairs: List[Tuple[AnnotatedFigure, AnnotatedFigure]], skeleton: Skeleton
                    ) -> Tuple[np.ndarray, np.ndarray]:
    """Return the sigmas (K,), NaN where there are too few pairs, and the numbers of pairs (K,); partners share both.

    The area of a figure is the geometric mean of the areas of its two boxes.
    """
    squares, counts = np.zeros(skeleton.num_keypoints), np.zeros(skeleton.num_keypoints, int)
    for figure, other in pairs:
        both = (figure.keypoints[:, 2] > 0) & (other.keypoints[:, 2] > 0)
        area = float(np.sqrt(np.prod(figure.box[2:]) * np.prod(other.box[2:])))
        distances = ((figure.keypoints[:, :2] - other.keypoints[:, :2]) ** 2).sum(axis=1)
        squares[both] += distances[both] / area
        counts[both] += 1
    partner = skeleton.flip_index
    paired = partner != np.arange(len(partner))
    squares, counts = np.where(paired, squares + squares[partner], squares), np.where(
        paired, counts + counts[partner], counts)
    return np.sqrt(np.divide(squares, counts, out=np.full(len(counts), np.nan), where=counts >= FEWEST)), counts


def read_sigmas(path: str, skeleton: Skeleton) -> Skeleton:
    """Return a layout with the sigmas of a file: a list, or numbers by name, perhaps under `oks_sigmas` or `sigmas`.

    Raises:
        PoseError: the file does not hold such numbers.
    """
    content: Any = read_json(path) if path.lower().endswith('.json') else read_yaml(path)
    if isinstance(content, dict):
        content = next((content[key] for key in ('oks_sigmas', 'sigmas') if key in content), content)
    return skeleton_of({**describe(skeleton), 'oks_sigmas': content}, path)


def parse_arguments() -> argparse.Namespace:
    parser = ArgumentParser(prog='python -m src.data_tools.sigmas', description='OKS sigmas of a keypoint layout.')
    parser.add_argument('files', nargs='*', metavar='JSON', help='two annotation files of the same pictures, by two '
                        'people')
    parser.add_argument('--from', dest='source', metavar='FILE', help='take the numbers from this file instead')
    parser.add_argument('--skeleton', metavar='NAME|FILE', help='layout (default: that of the first annotation file)')
    parser.add_argument('--output', required=True, metavar='YAML', help='skeleton file to write')
    return parser.parse_args()


def main() -> None:
    """Write the skeleton file that the command line asks for."""
    arguments = parse_arguments()
    if not arguments.output.lower().endswith(('.yaml', '.yml')):
        raise PoseError(f'--output {arguments.output} should end in .yaml')
    if (len(arguments.files) != 2) == (arguments.source is None):
        raise PoseError('give two annotation files of the same pictures, or --from FILE')
    check_writable(arguments.output)
    if arguments.source:
        name = arguments.skeleton or (arguments.files[0] if arguments.files else '')
        if not name:
            raise PoseError('--from needs the layout: --skeleton NAME|FILE')
        skeleton = SKELETONS[name] if name in SKELETONS else read_skeleton(name)
        skeleton = read_sigmas(arguments.source, skeleton)
    else:
        first, second = (read_annotated_set(path, os.path.dirname(os.path.abspath(path)), skeleton=arguments.skeleton)
                         for path in arguments.files)
        if first.skeleton.keypoint_names != second.skeleton.keypoint_names:
            raise PoseError(f'{arguments.files[1]} has other keypoints than {arguments.files[0]}')
        pairs = match_figures(first, second)
        if not pairs:
            raise PoseError(f'no figure is in both {arguments.files[0]} and {arguments.files[1]}: none of their boxes '
                            'on pictures of the same name overlap')
        sigmas, counts = estimate_sigmas(pairs, first.skeleton)
        skeleton = replace(first.skeleton, oks_sigmas=tuple(
            float(round(new, 4)) if np.isfinite(new) and new > 0 else old
            for new, old in zip(sigmas, first.skeleton.oks_sigmas)))
        say(f'{len(pairs)} figures are in both files')
        for name, new, old, count in zip(skeleton.keypoint_names, skeleton.oks_sigmas, first.skeleton.oks_sigmas,
                                         counts):
            told = f'from {count} pairs' if count >= FEWEST else f'stays, since {count} pairs are too few'
            say(f'  {name}: {new:.3f} ({told}; was {old:.3f})')
    write_skeleton(arguments.output, skeleton)
    say(f'written: {arguments.output}')


if __name__ == '__main__':
    run_command(main)
