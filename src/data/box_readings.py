"""Recognises boxes that are not [x, y, width, height] in pixels by where they would lie in their pictures."""
from typing import Callable, Dict

import numpy as np

from ..system.errors import PoseError

# Boxes of detectors, and boxes drawn by hand, may reach a little beyond the picture.
TOLERANCE_PIXELS, TOLERANCE_OF_SIDE = 3.0, 0.05
SMALLEST_PERSON = 2.0
# Shares of boxes that lie in their pictures. Below ENOUGH, something is wrong in any case. From ENOUGH to NEARLY_ALL it
# is only if another format fits practically all boxes, which does not happen by chance. From NEARLY_ALL on, nothing is.
ENOUGH, NEARLY_ALL = 0.5, 0.97
FITS_MOST, FITS_ALL = 0.9, 0.99
A_FEW, SEVERAL = 3, 8


def _corners(boxes: np.ndarray) -> np.ndarray:
    """[x1, y1, x2, y2] -> [x, y, width, height]."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _centers(boxes: np.ndarray) -> np.ndarray:
    """[center x, center y, width, height] -> [x, y, width, height]."""
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], axis=1)


# Other formats of boxes (N, 4) -> the function that converts them to [x, y, width, height].
READINGS: Dict[str, Callable[[np.ndarray], np.ndarray]] = {
    '[x1, y1, x2, y2], two corners': _corners,
    '[center x, center y, width, height]': _centers,
}


def lie_in_pictures(boxes_xywh: np.ndarray, picture_sizes: np.ndarray) -> np.ndarray:
    """Return the mask (N,) of boxes (N, 4) that are at least two pixels wide and high and reach hardly beyond their
    pictures, whose (width, height) are (N, 2)."""
    beyond = np.maximum(TOLERANCE_PIXELS, TOLERANCE_OF_SIDE * picture_sizes)
    return ((boxes_xywh[:, 2:] >= SMALLEST_PERSON) & (boxes_xywh[:, :2] >= -beyond)
            & (boxes_xywh[:, :2] + boxes_xywh[:, 2:] <= picture_sizes + beyond)).all(axis=1)


def check_boxes(boxes_xywh: np.ndarray, picture_sizes: np.ndarray, where: str) -> str:
    """Check that boxes are [x, y, width, height] in pixels of their pictures.

    Args:
        boxes_xywh: (N, 4), finite.
        picture_sizes: (N, 2), (width, height).
        where: names the boxes in messages.

    Returns:
        A remark if some boxes look odd but no other format fits better; else ''.

    Raises:
        PoseError: most reach beyond their pictures or are under two pixels, or another format fits much better.
    """
    sizes = picture_sizes.astype(np.float64)
    as_given = lie_in_pictures(boxes_xywh, sizes).mean()
    if as_given >= NEARLY_ALL:
        return ''
    readings = {f'{name}, in pixels': read(boxes_xywh) for name, read in READINGS.items()}
    # Then they are relative to the sides of the picture, from 0 to 1 and perhaps a little beyond.
    are_shares = np.abs(boxes_xywh).max() <= 2
    if are_shares:
        sides = np.tile(sizes, (1, 2))
        readings = {'[x, y, width, height] from 0 to 1': boxes_xywh * sides,
                    **{f'{name}, from 0 to 1': read(boxes_xywh * sides) for name, read in READINGS.items()}}
    shares = {name: lie_in_pictures(boxes, sizes).mean() for name, boxes in readings.items()}
    best = max(shares, key=shares.get)
    misfits = round((1 - as_given) * len(sizes))
    # One or two boxes drawn by hand may well reach beyond a picture.
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
