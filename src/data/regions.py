"""The part of a picture that a crop is cut from, so that no more of it is decoded or mirrored.

Pictures keep their coordinates: a crop that is cut from a part is equal, bit by bit, to one cut from the whole picture.
"""
from typing import NamedTuple, Sequence, Tuple

import cv2
import numpy as np

# The interpolation takes the next pixel to the right and below; its coordinates are rounded.
MARGIN = 2


class Region(NamedTuple):
    """Whole pixels of a picture; `right` and `bottom` are the first ones outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def slices(self) -> Tuple[slice, slice]:
        """Rows and columns of the region in an array of the picture."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def mirrored(self, width: int) -> 'Region':
        """Return the region in a picture of `width` pixels that is mirrored left to right."""
        return Region(width - self.right, self.top, width - self.left, self.bottom)

    def moved(self, right: int, down: int) -> 'Region':
        """Return the region in a picture that has more pixels on the left and at the top."""
        return Region(self.left + right, self.top + down, self.right + right, self.bottom + down)

    def contains(self, other: 'Region') -> bool:
        """Whether the other region lies in this one."""
        return (self.left <= other.left and self.top <= other.top and self.right >= other.right
                and self.bottom >= other.bottom)


def region_of_crop(matrix: np.ndarray, crop_size: Sequence[int], picture_size: Sequence[int]) -> Region:
    """Return the part of a picture that a crop shows, at least one pixel.

    Args:
        matrix: (2, 3), from pixels of the picture to those of the crop.
        crop_size: (width, height).
        picture_size: (width, height).
    """
    inverse = cv2.invertAffineTransform(matrix)
    width, height = (int(side) for side in picture_size)
    sides = []
    for (along_x, along_y, start), side in zip(inverse.tolist(), (width, height)):
        across, down = along_x * (crop_size[0] - 1), along_y * (crop_size[1] - 1)
        low, high = start + min(across, 0) + min(down, 0), start + max(across, 0) + max(down, 0)
        if not abs(low) + abs(high) < 1e9:
            return Region(0, 0, width, height)
        first = min(max(int(low) - MARGIN, 0), side - 1)
        sides.append((first, min(max(int(high) + 1 + MARGIN, first + 1), side)))
    return Region(sides[0][0], sides[1][0], sides[0][1], sides[1][1])


def mirrored_part(picture: np.ndarray, region: Region) -> np.ndarray:
    """Return the mirrored picture (H, W, 3) uint8 of which only the region is filled in; the rest is undefined."""
    mirrored = np.empty_like(picture)
    place = region.mirrored(picture.shape[1])
    mirrored[place.slices] = cv2.flip(picture[region.slices], 1)
    return mirrored
