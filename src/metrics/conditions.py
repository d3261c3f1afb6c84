"""Numbers of groups of people: by size, crowding, truncation and number of labelled keypoints.

Axes: P annotated people, D kept poses, G groups.
"""
from dataclasses import replace
from typing import List, NamedTuple, Optional, Tuple

import numpy as np

from ..data.oks_truth import OKSTruth
from .keypoint_errors import BELONGS, KeypointErrors
from .oks_matching import (
    Matching,
    Pairs,
    match,
    precision_and_recall,
    with_people_of_picture,
)
from .people_errors import FOUND, PeopleErrors

# Areas in square pixels: limits of COCO's medium and large people.
SIZES = ((0.0, 'small, below 32²'), (32.0 ** 2, 'medium, 32² to 96²'), (96.0 ** 2, 'large, above 96²'))
OVERLAPS = ((0.0, 'none'), (1e-9, 'below 0.1'), (0.1, '0.1 to 0.3'), (0.3, '0.3 to 0.5'), (0.5, '0.5 and more'))
# A box that ends this near to the border of the picture, in pixels, belongs to somebody who may be cut off.
AT_BORDER = 1.0
# The limits of Ronchi and Perona for 17 keypoints; other layouts take the same shares.
LABELLED_OF_17 = (5, 10, 15, 17)


class Condition(NamedTuple):
    """A way to group the people.

    Attributes:
        name: such as 'Size of the person'.
        measure: what the names of the groups tell.
        groups: G names.
        group_of: (P,) index of the group of each person.
    """

    name: str
    measure: str
    groups: Tuple[str, ...]
    group_of: np.ndarray


class GroupNumbers(NamedTuple):
    """Numbers of a group; -1 where nobody counts.

    Attributes:
        people: number of people who count.
        ap, ar: other people are ignored. A pose without a match counts if the person whom it is most similar to is of
            the group; poses on background belong to no group.
        found: share of the people who are found at an OKS of 0.5.
        oks: mean OKS of the people to whom a pose belongs.
        lost: its share of all that the OKS of everybody lacks to 1; people without a pose lack all of it.
        kinds: (5,) keypoints of each kind in `keypoint_errors.KINDS`.
    """

    people: int
    ap: float
    ar: float
    found: float
    oks: float
    lost: float
    kinds: np.ndarray


def overlap_with_others(truth: OKSTruth) -> np.ndarray:
    """Return the highest IoU (P,) of each person's box with that of another person in the picture, 0 without others.
    Boxes of crowds do not count, since they hold many people."""
    order = np.argsort(truth.image_index, kind='stable')
    row, other = with_people_of_picture(truth.image_index[order], truth)
    person = order[row]
    is_pair = (person != other) & ~truth.is_crowd[other]
    person, other = person[is_pair], other[is_pair]
    overlap = np.zeros(len(truth))
    np.maximum.at(overlap, person, box_overlap(truth.boxes_xywh[person], truth.boxes_xywh[other]))
    return overlap


def box_overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the IoU (N,) of boxes and other boxes, (N, 4) as x, y, width, height."""
    low = np.maximum(boxes[:, :2], others[:, :2])
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], others[:, :2] + others[:, 2:])
    shared = np.maximum(high - low, 0).prod(axis=1)
    union = boxes[:, 2:].prod(axis=1) + others[:, 2:].prod(axis=1) - shared
    return shared / np.maximum(union, 1e-12)


def group_people(truth: OKSTruth, picture_sizes: np.ndarray) -> List[Condition]:
    """Return the ways to group the people.

    Args:
        picture_sizes: (I, 2) width and height of the pictures of the ground truth.
    """
    corners = truth.boxes_xywh[:, :2], truth.boxes_xywh[:, :2] + truth.boxes_xywh[:, 2:]
    sizes = picture_sizes[truth.image_index]
    at_border = (corners[0] <= AT_BORDER).any(axis=1) | (corners[1] >= sizes - AT_BORDER).any(axis=1)
    labelled, count = truth.is_labelled.sum(axis=1), truth.is_labelled.shape[1]
    most = sorted({max(1, round(count * limit / 17)) for limit in LABELLED_OF_17})
    names = [f'{low + 1} to {high}' if low + 1 < high else str(high) for low, high in zip([0, *most], most)]
    # COCO counts an area of exactly 96² both as medium and as large; here each person is in one group.
    return [
        Condition('Size of the person', 'area in square pixels', tuple(name for _, name in SIZES),
                  _at_least(truth.areas, SIZES)),
        Condition('Crowding', 'IoU of the box with another one', tuple(name for _, name in OVERLAPS),
                  _at_least(overlap_with_others(truth), OVERLAPS)),
        Condition('Truncation', 'box', ('inside the picture', 'at its border, perhaps cut off'), at_border.astype(int)),
        Condition('Labelled keypoints', 'labelled keypoints', tuple(names),
                  np.searchsorted(most, np.maximum(labelled, 1))),
    ]


def _at_least(values: np.ndarray, limits) -> np.ndarray:
    return np.maximum(np.searchsorted([low for low, _ in limits], values, side='right') - 1, 0)


def numbers_of_groups(truth: OKSTruth, pairs: Pairs, similarity: np.ndarray, condition: Condition,
                      people: PeopleErrors, errors: KeypointErrors) -> List[GroupNumbers]:
    """Return the numbers of each group of a condition."""
    found = []
    lacking = np.where(truth.is_ignored, 0.0, 1.0)
    lacking[errors.person] -= errors.oks
    for group in range(len(condition.groups)):
        is_in = condition.group_of == group
        of_group = replace(truth, is_ignored=truth.is_ignored | ~is_in)
        counted = ~of_group.is_ignored
        if not counted.any():
            found.append(GroupNumbers(0, -1.0, -1.0, -1.0, -1.0, -1.0, np.zeros(5, int)))
            continue
        matching = match(of_group, pairs, similarity)
        is_near = (people.nearest_oks >= BELONGS) & is_in[people.nearest]
        matching = Matching(matching.person, matching.is_ignored | ((matching.person < 0) & ~is_near))
        precision, recall = precision_and_recall(of_group, pairs, matching)
        rows = counted[errors.person]
        oks: Optional[float] = float(errors.oks[rows].mean()) if rows.any() else -1.0
        lost = float(lacking[counted].sum() / max(lacking.sum(), 1e-12))
        found.append(GroupNumbers(int(counted.sum()), float(precision.mean()), float(recall.mean()),
                                  float((people.person_state[counted] == FOUND).mean()), oks, lost,
                                  errors.counts(rows)))
    return found
