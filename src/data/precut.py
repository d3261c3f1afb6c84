"""People that were cut out of their pictures once, with room for augmentation: a training reads them in a fraction of
the time that decoding takes, and gets the same samples. `precut_writing.py` writes them.

A folder holds
    settings.json   what the people were cut for
    plan.npz        the region of each person, checksum of its own content, sizes of the pictures and of their files
    checksums.bin   uint32, CRC-32 of each person's pixels, in the order of the file of pixels
    pixels.bin      uint8 BGR, one region after the other; the people of a picture follow each other
While it is written, the last two end in `.part`.
"""
import os
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Optional, Tuple

import numpy as np

from ..system.errors import PoseError
from .regions import Region

SETTINGS, PLAN, CHECKSUMS, PIXELS, PART = 'settings.json', 'plan.npz', 'checksums.bin', 'pixels.bin', '.part'


@dataclass(frozen=True)
class PrecutPlan:
    """Which region of its picture is kept of each of P people.

    Attributes:
        regions: (P, 4) int32, left, top, right, bottom.
        order: (P,) the people in the order of the file.
        picture_sizes: (I, 2) int64, (width, height) of the pictures as they are read.
        file_bytes: (I,) int64, sizes of the pictures' files; 0 where nobody is on a picture.
    """

    regions: np.ndarray
    order: np.ndarray
    picture_sizes: np.ndarray
    file_bytes: np.ndarray

    @cached_property
    def ends(self) -> np.ndarray:
        """(P,) int64: where the pixels of each person end, in the order of the file."""
        left, top, right, bottom = self.regions[self.order].astype(np.int64).T
        return np.cumsum((right - left) * (bottom - top) * 3)

    @property
    def num_bytes(self) -> int:
        return int(self.ends[-1])


class PrecutPeople:
    """Finished files of P people.

    Args:
        folder: where they lie.
        plan: as it was read from there.

    Raises:
        PoseError: a file is missing or of another size than the plan says.
    """

    def __init__(self, folder: str, plan: PrecutPlan):
        self.folder, self.plan = folder, plan
        path = os.path.join(folder, PIXELS)
        try:
            self._checksums = np.fromfile(os.path.join(folder, CHECKSUMS), np.uint32)
            self._file = os.open(path, os.O_RDONLY)
            num_bytes = os.fstat(self._file).st_size
        except OSError as error:
            raise PoseError(f'cannot read {error.filename}: {error.strerror}') from None
        if num_bytes != plan.num_bytes or len(self._checksums) != len(plan.order):
            raise PoseError(f'{path} and {CHECKSUMS} are not of the size that {PLAN} says{self._remedy}')
        self._rank = np.argsort(plan.order)
        self._is_checked = np.zeros(len(plan.order), bool)

    @property
    def _remedy(self) -> str:
        return f'; remove the folder {self.folder}, it will be written again (DATASET.PRECUT)'

    def read(self, index: int, region: Region, picture_width: int) -> Optional[np.ndarray]:
        """Return the pixels of a region in their places, (region.bottom, picture_width, 3) uint8 BGR, undefined
        elsewhere; None if the region is not kept.

        All pixels of a person are checked when a process first reads them.

        Raises:
            PoseError: they are damaged or cannot be read.
        """
        kept = Region(*self.plan.regions[index].tolist())
        if not kept.contains(region):
            return None
        rank = self._rank[index]
        row_bytes, height = 3 * (kept.right - kept.left), kept.bottom - kept.top
        start = int(self.plan.ends[rank]) - row_bytes * height
        if not self._is_checked[rank]:
            if zlib.crc32(self._bytes(start, row_bytes * height)) != self._checksums[rank]:
                raise PoseError(f'the pixels of person {index} in {os.path.join(self.folder, PIXELS)} are damaged'
                                + self._remedy)
            self._is_checked[rank] = True
        rows = region.bottom - region.top
        pixels = np.frombuffer(self._bytes(start + (region.top - kept.top) * row_bytes, rows * row_bytes), np.uint8)
        picture = np.empty((region.bottom, picture_width, 3), np.uint8)
        picture[region.slices] = pixels.reshape(rows, -1, 3)[:, region.left - kept.left:region.right - kept.left]
        return picture

    def _bytes(self, start: int, count: int) -> bytes:
        path = os.path.join(self.folder, PIXELS)
        try:
            content = os.pread(self._file, count, start)
        except OSError as error:
            raise PoseError(f'cannot read {path}: {error.strerror}') from None
        if len(content) != count:
            raise PoseError(f'{path} has become shorter{self._remedy}')
        return content


def read_plan(folder: str) -> PrecutPlan:
    """Read the plan of a folder.

    Raises:
        PoseError: it is missing or damaged.
    """
    path = os.path.join(folder, PLAN)
    try:
        with np.load(path, allow_pickle=False) as stored:
            plan = PrecutPlan(*(stored[name] for name in ('regions', 'order', 'picture_sizes', 'file_bytes')))
            checksum = int(stored['checksum'])
    # NumPy and zipfile raise whatever they stumble over.
    except Exception as error:  # noqa: BLE001
        raise PoseError(f'cannot read {path}: {error}; remove the folder {folder}, it will be written again '
                        '(DATASET.PRECUT)') from None
    if checksum != plan_checksum(plan):
        raise PoseError(f'{path} is damaged; remove the folder {folder}, it will be written again (DATASET.PRECUT)')
    return plan


def plan_checksum(plan: PrecutPlan) -> int:
    """Return the CRC-32 of a plan."""
    checksum = 0
    for array in (plan.regions, plan.order, plan.picture_sizes, plan.file_bytes):
        checksum = zlib.crc32(np.ascontiguousarray(array).tobytes(), checksum)
    return checksum


def describe_size(plan: PrecutPlan) -> Tuple[str, str]:
    """Return the size of the pixels in GB, and the mean size of a person in kB, for messages."""
    return f'{plan.num_bytes / 1e9:.2f} GB', f'{plan.num_bytes / len(plan.order) / 1e3:.0f} kB'
