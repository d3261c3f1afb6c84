"""Point labels of makesense.ai (CSV: label, x, y, picture, width, height) → Labels, with one figure per picture."""
import csv
import os
from typing import Dict, List, Optional

import numpy as np

from ..system.errors import PoseError
from .labels import Figure, LabelledPicture, Labels, PictureFinder


def read_points(path: str, pictures: Optional[str]) -> Labels:
    """Read a table of points; each label is a keypoint, and every picture shows one figure.

    Raises:
        PoseError: a line is malformed, a label is twice on a picture, or a picture is missing; the message names it.
    """
    rows = []
    with open(path, newline='', encoding='utf-8-sig', errors='replace') as file:
        for number, row in enumerate(csv.reader(file), start=1):
            if not row or (number == 1 and row[:1] == ['label_name']):
                continue
            try:
                rows.append((row[0], float(row[1]), float(row[2]), row[3], int(float(row[4])), int(float(row[5]))))
            except (IndexError, ValueError):
                raise PoseError(f'{path}, line {number}: should be label, x, y, picture, width, height, is '
                                f'{",".join(row)[:100]}') from None
    if not rows:
        raise PoseError(f'{path} holds no points')
    names = list(dict.fromkeys(row[0] for row in rows))
    labels = Labels({'name': 'own', 'keypoints': names})
    folder = os.path.dirname(os.path.abspath(path))
    finder = PictureFinder([pictures] if pictures else [folder, os.path.join(folder, 'images'),
                                                        os.path.dirname(folder)])
    by_picture: Dict[str, List[tuple]] = {}
    for row in rows:
        by_picture.setdefault(row[3], []).append(row)
    for name, points in by_picture.items():
        found = finder.find(name)
        if found is None:
            raise PoseError(f'{path}: the picture {name} is missing; give the folder with --pictures')
        table = np.zeros((len(names), 3))
        for label, x, y, *_ in points:
            if table[names.index(label), 2]:
                raise PoseError(f'{path}: {label} is twice on {name}; points of several figures on a picture cannot be '
                                'told apart here')
            table[names.index(label)] = x, y, 2
        labels.figures.append(Figure(len(labels.pictures), table))
        labels.pictures.append(LabelledPicture(found, (points[0][4], points[0][5])))
    return labels
