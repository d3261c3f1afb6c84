"""The store of annotated or detected people, and the reading of JSON files with errors that name what is wrong.

Everything is kept in NumPy arrays: loader workers are forked, and millions of small Python objects would be copied
into each of them as soon as their reference counts are touched.
"""
import ctypes
import gc
import json
import math
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

# What fits int64; COCO's ids of crowds have twelve digits.
MAX_INTEGER = 2 ** 63


@dataclass(frozen=True)
class People:
    """P people on I pictures.

    Attributes:
        image_ids: (I,) int64.
        file_names: (I,) bytes, as the annotation gives them.
        picture_sizes: (I, 2) int64, (width, height).
        image_index: (P,) int32, the picture of each person.
        boxes_xywh: (P, 4) float64, picture pixels.
        box_scores: (P,) float64; 1 for ground truth.
        keypoints: (P, K, 3): x, y in picture pixels and visibility 0, 1 or 2. Integer where the file has integers
            only, which MSPN's published rounding depends on.
        without_area: number of labelled people who were left out because nothing of their box can be cropped.
    """

    image_ids: np.ndarray
    file_names: np.ndarray
    picture_sizes: np.ndarray
    image_index: np.ndarray
    boxes_xywh: np.ndarray
    box_scores: np.ndarray
    keypoints: np.ndarray
    without_area: int = 0

    def __len__(self) -> int:
        return len(self.image_index)

    def select(self, rows: np.ndarray) -> 'People':
        """Return the people of `rows` (mask or indices) on the same pictures."""
        return replace(self, image_index=self.image_index[rows], boxes_xywh=self.boxes_xywh[rows],
                       box_scores=self.box_scores[rows], keypoints=self.keypoints[rows])


def read_json(path: str) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: the file is missing, unreadable or not JSON; the message names it and the place.
    """
    try:
        with open(path, encoding='utf-8') as file:
            return json.load(file)
    except OSError as error:
        raise ValueError(f'cannot read {path}: {error.strerror or error}') from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f'{path} is not a JSON file: {error}') from None


def read_field(entry: Any, key: str, kind, where: str) -> Any:
    """Return entry[key] after checking that it is there and of `kind` (a type or a tuple of types).

    Raises:
        ValueError: naming `where` (file and entry), the key and what would be right.
    """
    if not isinstance(entry, dict):
        raise ValueError(f'{where} should be an object, is {type(entry).__name__}')
    if key not in entry:
        raise ValueError(f'{where} has no {key!r}')
    value = entry[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        names = ' or '.join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
        raise ValueError(f'{where}: {key!r} should be {names}, is {value!r}'[:300])
    if isinstance(value, int) and abs(value) >= MAX_INTEGER:
        raise ValueError(f'{where}: {key!r} is too large: {value}'[:300])
    return value


def read_box(entry: Any, where: str) -> list:
    """Return entry['bbox'] as four floats; NaN, infinity and null come back as NaN.

    Raises:
        ValueError: it is missing or not a list of four numbers.
    """
    box = read_field(entry, 'bbox', list, where)
    if len(box) != 4 or not all(value is None or is_number(value) for value in box):
        raise ValueError(f"{where}: 'bbox' should be [x, y, width, height], is {box!r}"[:300])
    return [float(value) if value is not None and math.isfinite(value) else math.nan for value in box]


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number that fits the arrays; NaN and infinity are."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isinstance(value, float) or abs(value) < MAX_INTEGER


def release_memory() -> None:
    """Give freed memory back to the system where the C library can, so that forked workers do not inherit it."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None) if sys.platform.startswith('linux') else None
    if trim is not None:
        trim(0)
