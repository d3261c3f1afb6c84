"""The nearest other people in the same picture, whom MIPNet also learns to find in a person's box (arXiv 2101.11223).
"""
import numpy as np

from .people import People


def nearest_neighbours(people: People, count: int) -> np.ndarray:
    """Return the `count` people nearest to each person on the same picture, (P, count) int32 rows, nearest first.

    Nearness is the distance between box centers, whatever the sizes of the boxes and whether they overlap. Of two
    people at the same distance, the first in the annotation file comes first. In a picture with too few other people,
    the missing entries are the person itself.
    """
    centers = people.boxes_xywh[:, :2] + people.boxes_xywh[:, 2:] / 2
    by_picture = np.argsort(people.image_index, kind='stable')
    _, firsts, sizes = np.unique(people.image_index[by_picture], return_index=True, return_counts=True)
    neighbours = np.repeat(np.arange(len(people), dtype=np.int32)[:, None], count, axis=1)
    # All pictures with the same number of people are computed as one array.
    for size in np.unique(sizes[sizes > 1]).tolist():
        rows = by_picture[firsts[sizes == size][:, None] + np.arange(size)]
        away = centers[rows][:, :, None] - centers[rows][:, None]
        distances = (away ** 2).sum(axis=3)
        distances[:, np.arange(size), np.arange(size)] = np.inf
        found = min(count, size - 1)
        nearest = np.argsort(distances, axis=2, kind='stable')[:, :, :found]
        neighbours[rows, :found] = rows[np.arange(len(rows))[:, None, None], nearest]
    return neighbours
