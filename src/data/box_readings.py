"""Boxes that are not [x, y, width, height] in pixels: told by where they would lie in their pictures."""
from typing import Callable, Dict

import numpy as np

from ..system.errors import PoseError

# A detector's box may reach a little beyond the picture, and so does one that somebody has drawn by hand.
TOLERANCE_PIXELS, TOLERANCE_OF_SIDE = 3.0, 0.05
SMALLEST_PERSON = 2.0
# Where fewer boxes than the first share lie in their pictures something is wrong in any case. Up to the second it is if
# a few do not and another reading fits practically all, which does not happen by chance.
ENOUGH, NEARLY_ALL = 0.5, 0.97
FITS_MOST, FITS_ALL = 0.9, 0.99
A_FEW, SEVERAL = 3, 8


def _corners(boxes: np.ndarray) -> np.ndarray:
    """[x1, y1, x2, y2] -> [x, y, width, height]."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _centers(boxes: np.ndarray) -> np.ndarray:
    """[center x, center y, width, height] -> [x, y, width, height]."""
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], axis=1)


# What boxes (N, 4) may be -> the [x, y, width, height] that they mean.
READINGS: Dict[str, Callable[[np.ndarray], np.ndarray]] = {
    '[x1, y1, x2, y2], two corners': _corners,
    '[center x, center y, width, height]': _centers,
}


def lie_in_pictures(boxes_xywh: np.ndarray, picture_sizes: np.ndarray) -> np.ndarray:
    """Return the mask (N,) of boxes (N, 4) of at least two pixels that reach hardly beyond their pictures, of
    (width, height) (N, 2)."""
    beyond = np.maximum(TOLERANCE_PIXELS, TOLERANCE_OF_SIDE * picture_sizes)
    return ((boxes_xywh[:, 2:] >= SMALLEST_PERSON) & (boxes_xywh[:, :2] >= -beyond)
            & (boxes_xywh[:, :2] + boxes_xywh[:, 2:] <= picture_sizes + beyond)).all(axis=1)


def check_boxes(boxes_xywh: np.ndarray, picture_sizes: np.ndarray, where: str) -> str:
    """Prove that boxes are [x, y, width, height] in pixels of their pictures.

    Args:
        boxes_xywh: (N, 4), finite.
        picture_sizes: (N, 2), (width, height).
        where: names the boxes in messages.

    Returns:
        What is odd about them without a better reading, or ''.

    Raises:
        PoseError: most reach beyond their pictures or are under two pixels, or another reading fits much better.
    """
    sizes = picture_sizes.astype(np.float64)
    as_given = lie_in_pictures(boxes_xywh, sizes).mean()
    if as_given >= NEARLY_ALL:
        return ''
    readings = {f'{name}, in pixels': read(boxes_xywh) for name, read in READINGS.items()}
    # Shares of the sides, which may reach a little beyond 1.
    are_shares = np.abs(boxes_xywh).max() <= 2
    if are_shares:
        sides = np.tile(sizes, (1, 2))
        readings = {'[x, y, width, height] from 0 to 1': boxes_xywh * sides,
                    **{f'{name}, from 0 to 1': read(boxes_xywh * sides) for name, read in READINGS.items()}}
    shares = {name: lie_in_pictures(boxes, sizes).mean() for name, boxes in readings.items()}
    best = max(shares, key=shares.get)
    misfits = round((1 - as_given) * len(sizes))
    # One or two boxes that somebody has drawn may well reach beyond a picture.
    if shares[best] >= (FITS_MOST if as_given < ENOUGH else FITS_ALL) and (are_shares or misfits >= A_FEW):
        likely = [name for name, share in shares.items() if share >= shares[best] - 0.02]
        raise PoseError(f'{where}: {_count(as_given, len(sizes))} boxes reach beyond their pictures or are under two '
                        f'pixels as [x, y, width, height] in pixels; they look like {" or ".join(likely)}; first '
                        f'box: {np.round(boxes_xywh[0], 4).tolist()} on a picture of '
                        f'{picture_sizes[0][0]} x {picture_sizes[0][1]}. Convert them')
    if as_given < ENOUGH and len(sizes) >= SEVERAL:
        raise PoseError(f'{where}: {_count(as_given, len(sizes))} boxes reach beyond their pictures or are under two '
                        'pixels, and no usual form of boxes fits: were they found on pictures of another size?')
    if as_given >= ENOUGH:
        return ''
    return f'{_count(as_given, len(sizes))} reach beyond their pictures or are under two pixels'


def _count(share: float, count: int) -> str:
    return f'{count - round(share * count)} of {count}'
