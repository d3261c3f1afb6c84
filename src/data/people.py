"""`People`, the table of annotated or detected people, and functions that read and check single fields of files.

Everything is stored in NumPy arrays: loader workers are forked, and millions of small Python objects would be copied
into each worker as soon as their reference counts change.
"""
import ctypes
import gc
import math
import sys
from dataclasses import dataclass, field, replace
from typing import Any, Mapping, Optional, Tuple

import numpy as np

from ..system.errors import PoseError
from ..system.files import MAX_INTEGER, is_number
from ..system.printing import JSON_KINDS, brief_json, kind_of

# Larger coordinates do not fit into int32, and are far outside of any picture.
MAX_COORDINATE = 1e9
# In bytes; no system opens longer names. The array of names is as wide as the longest one.
MAX_NAME = 4096


@dataclass(frozen=True)
class People:
    """P people on I pictures.

    Attributes:
        image_ids: (I,) int64.
        file_names: (I,) bytes, as the annotation file gives them.
        picture_sizes: (I, 2) int64, (width, height).
        image_index: (P,) int32, the picture of each person.
        boxes_xywh: (P, 4) float64, picture pixels.
        box_scores: (P,) float64; 1 for ground truth.
        keypoints: (P, K, 3): x, y in picture pixels and visibility 0, 1 or 2. Of integer type if the file has only
            integers, which MSPN's published rounding depends on.
        left_out: {reason: number of annotations of the file that were left out}.
        category_id: of people in the file; written into results as well.
        notes: what the user should know about the file, one line each.
    """

    image_ids: np.ndarray
    file_names: np.ndarray
    picture_sizes: np.ndarray
    image_index: np.ndarray
    boxes_xywh: np.ndarray
    box_scores: np.ndarray
    keypoints: np.ndarray
    left_out: Mapping[str, int] = field(default_factory=dict)
    category_id: int = 1
    notes: Tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.image_index)

    def describe(self, source: str) -> str:
        """Return text such as '19 of 39 people of FILE; left out: 20 without area'."""
        everybody = len(self) + sum(self.left_out.values())
        if everybody == len(self):
            return f'{len(self)} people of {source}'
        reasons = ', '.join(f'{count} {reason}' for reason, count in self.left_out.items())
        return f'{len(self)} of {everybody} people of {source}; left out: {reasons}'

    def select(self, rows: np.ndarray) -> 'People':
        """Return the people of `rows` (mask or indices) on the same pictures."""
        return replace(self, image_index=self.image_index[rows], boxes_xywh=self.boxes_xywh[rows],
                       box_scores=self.box_scores[rows], keypoints=self.keypoints[rows])


def read_field(entry: Any, key: str, kind, where: str) -> Any:
    """Return entry[key] after checking that it exists and is of `kind` (a type or a tuple of types).

    Raises:
        PoseError: naming `where` (file and entry), the key and what is expected.
    """
    if not isinstance(entry, dict):
        raise PoseError(f'{where} should be an object, is {kind_of(entry)}')
    if key not in entry:
        raise PoseError(f'{where} has no {key!r}')
    value = entry[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        name = JSON_KINDS[float if isinstance(kind, tuple) else kind]
        raise PoseError(f'{where}: {key!r} should be {name}, is {brief_json(value)}')
    if isinstance(value, int) and abs(value) >= MAX_INTEGER:
        raise PoseError(f'{where}: {key!r} is too large: {brief_json(value)}')
    return value


def whole_number(value: Any) -> Optional[int]:
    """Return a JSON value as an integer if it is a whole number (7, 7.0 or "7"), else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        value = int(value) if value.strip().isdecimal() and len(value) < 20 else None
    elif isinstance(value, float):
        value = int(value) if math.isfinite(value) and value == int(value) else None
    return value if isinstance(value, int) and abs(value) < MAX_INTEGER else None


def read_whole_number(entry: Any, key: str, where: str) -> int:
    """Return entry[key] as an integer; the file may write it as 7, 7.0 or "7".

    Raises:
        PoseError: it is missing or not a whole number.
    """
    if isinstance(entry, dict):
        number = whole_number(entry.get(key))
        if number is not None:
            return number
    return read_field(entry, key, int, where)


def read_name(entry: Any, key: str, where: str) -> str:
    """Return the file name of a picture, entry[key]; `name_bytes` gives its form on disk.

    Raises:
        PoseError: it is missing, not text, or not a possible file name.
    """
    name = read_field(entry, key, str, where)
    try:
        is_name = len(name_bytes(name)) <= MAX_NAME and '\0' not in name
    except UnicodeEncodeError:
        is_name = False
    if not is_name:
        raise PoseError(f'{where}: {key!r} should be the name of a file, is {brief_json(name)}')
    return name


def name_bytes(name: str) -> bytes:
    """Return a name from an annotation file as its bytes on disk: UTF-8, where other bytes may be written as Python
    writes them (`\\udcff`)."""
    return name.encode('utf-8', 'surrogateescape')


def read_box(entry: Any, where: str) -> list:
    """Return entry['bbox'] as four floats; NaN, infinity and null are returned as NaN.

    Raises:
        PoseError: it is missing or not a list of four numbers.
    """
    # Of any type: the error below says what is expected.
    box = entry['bbox'] if isinstance(entry, dict) and 'bbox' in entry else read_field(entry, 'bbox', list, where)
    is_of_four = isinstance(box, list) and len(box) == 4
    # The usual case first, for speed; the sum is finite only if every number is.
    if is_of_four and set(map(type, box)) == {float} and math.isfinite(sum(box)):
        return list(box)
    if not is_of_four or not all(value is None or is_number(value) for value in box):
        raise PoseError(f"{where}: 'bbox' should be [x, y, width, height], is {brief_json(box)}")
    return [float(value) if value is not None and math.isfinite(value) else math.nan for value in box]


def is_coordinate(value: Any) -> bool:
    """Whether a JSON value is a finite number that can be a coordinate in a picture."""
    return is_number(value) and abs(value) < MAX_COORDINATE


def release_memory() -> None:
    """Give freed memory back to the system, if the C library can, so that forked workers do not inherit it."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None) if sys.platform.startswith('linux') else None
    if trim is not None:
        trim(0)
