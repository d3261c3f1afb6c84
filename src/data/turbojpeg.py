"""Decoding only a region of a JPEG, where libjpeg-turbo 3 is installed as the shared library `libturbojpeg`.

OpenCV has libjpeg-turbo inside, but decodes whole rows. The library is used for those kinds of JPEGs only of which a
made-up one comes out as OpenCV decodes it, pixel by pixel.
"""
import ctypes
import os
import sys
import threading
from functools import lru_cache
from typing import Dict, FrozenSet, Iterator, Optional, Tuple

import cv2
import numpy as np

from .regions import Region

# The path of the library where it is not in a usual place; `none`: it is not to be used.
LIBRARY_VARIABLE = 'POSE_TURBOJPEG'
LIBRARY_NAMES = {'linux': ('libturbojpeg.so.0',), 'darwin': ('libturbojpeg.0.dylib', 'libturbojpeg.dylib'),
                 'win32': ('turbojpeg.dll', 'libturbojpeg.dll')}
# From turbojpeg.h.
_DECOMPRESS, _BGR = 1, 1
_STOP_ON_WARNING, _SAMPLING, _WIDTH, _HEIGHT, _PRECISION, _COLOR_SPACE, _ARITHMETIC, _PROGRESSIVE = (
    0, 4, 5, 6, 7, 8, 14, 12)
_YCBCR, _GREY = 1, 2
# Of the blocks in which each way of subsampling the colors is decoded: 4:4:4, 4:2:2, 4:2:0, grey, 4:4:0, 4:1:1, 4:4:1.
_BLOCK_WIDTHS: Dict[int, int] = {0: 8, 1: 16, 2: 16, 3: 8, 4: 8, 5: 32, 6: 8}


class _Rectangle(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ('x', 'y', 'w', 'h')]


class _Decoder:
    """A decoder of the library; each thread needs its own."""

    def __init__(self, library: ctypes.CDLL):
        self._library, self._handle = library, library.tj3Init(_DECOMPRESS)
        if not self._handle:
            raise OSError('the library makes no decoder')
        # Damaged data is left to OpenCV, whose warnings are known.
        library.tj3Set(self._handle, _STOP_ON_WARNING, 1)

    def __del__(self):
        if getattr(self, '_handle', None):
            self._library.tj3Destroy(self._handle)

    def read_header(self, content: bytes) -> Optional[Tuple[int, Tuple[int, int]]]:
        """Return the kind of subsampling and (width, height); None if the header is damaged or of a rare kind."""
        if self._library.tj3DecompressHeader(self._handle, content, len(content)):
            return None
        sampling, width, height, precision, space, is_arithmetic, is_progressive = (
            self._library.tj3Get(self._handle, number) for number in (
                _SAMPLING, _WIDTH, _HEIGHT, _PRECISION, _COLOR_SPACE, _ARITHMETIC, _PROGRESSIVE))
        is_usual = precision == 8 and space in (_YCBCR, _GREY) and not is_arithmetic and not is_progressive
        return (sampling, (width, height)) if is_usual and sampling in _BLOCK_WIDTHS else None

    def decode(self, content: bytes, region: Region, sampling: int, picture_size: Tuple[int, int]
               ) -> Optional[np.ndarray]:
        """Return (region.bottom, width, 3) uint8 BGR of the picture whose header was read last, undefined outside of
        the region; None if the data is damaged."""
        width, height = picture_size
        block = _BLOCK_WIDTHS[sampling]
        # Whole blocks, and one more on either side, since the colors at their edges depend on it.
        left, right = max(0, region.left // block - 1) * block, min(width, region.right + block)
        picture = np.empty((min(region.bottom, height), width, 3), np.uint8)
        row_bytes = 3 * width
        if self._library.tj3SetCroppingRegion(
                self._handle, _Rectangle(left, region.top, right - left, len(picture) - region.top)):
            return None
        place = picture.ctypes.data + region.top * row_bytes + 3 * left
        return None if self._library.tj3Decompress8(
            self._handle, content, len(content), place, row_bytes, _BGR) else picture


_OF_THREAD = threading.local()


def decode_region(content: bytes, region: Region, picture_size: Tuple[int, int]) -> Optional[np.ndarray]:
    """Decode a region of a JPEG as OpenCV does without turning it.

    Args:
        picture_size: (width, height) that its header has to state.

    Returns:
        (region.bottom, width, 3) uint8 BGR, undefined outside of the region; None if there is no library, or the
        picture should be left to OpenCV.
    """
    samplings = usable_samplings()
    if not samplings:
        return None
    decoder, picture = _decoder(), None
    header = decoder.read_header(content)
    if header is not None and header[0] in samplings and header[1] == picture_size:
        picture = decoder.decode(content, region, *header)
    if picture is None:
        # After damaged data, the library refuses good data as well.
        del _OF_THREAD.decoder
    return picture


def _decoder() -> _Decoder:
    if not hasattr(_OF_THREAD, 'decoder'):
        _OF_THREAD.decoder = _Decoder(_library())
    return _OF_THREAD.decoder


@lru_cache(maxsize=1)
def usable_samplings() -> FrozenSet[int]:
    """Return the kinds of subsampling that the library decodes as OpenCV does; empty without the library."""
    if _library() is None:
        return frozenset()
    right, wrong = set(), set()
    for content in _made_up_jpegs():
        header = _decoder().read_header(content)
        if header is not None:
            region = Region(39, 21, 77, 55)
            part = _decoder().decode(content, region, *header)
            whole = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
            is_equal = part is not None and np.array_equal(part[region.slices], whole[region.slices])
            (right if is_equal else wrong).add(header[0])
    return frozenset(right - wrong)


def _made_up_jpegs() -> Iterator[bytes]:
    pixels = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (75, 101, 3), np.uint8), (3, 3), 0.6)
    yield cv2.imencode('.jpg', pixels)[1].tobytes()
    yield cv2.imencode('.jpg', pixels[..., 0])[1].tobytes()
    for kind in ('444', '422', '440', '411'):
        # OpenCV below 4.7 cannot choose; other pictures are then left to it.
        factor = getattr(cv2, f'IMWRITE_JPEG_SAMPLING_FACTOR_{kind}', None)
        if factor is not None:
            yield cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor])[1].tobytes()


@lru_cache(maxsize=1)
def _library() -> Optional[ctypes.CDLL]:
    """Return the library, version 3 or later, with the types of its functions; None if it is not found."""
    named = os.environ.get(LIBRARY_VARIABLE, '')
    names = (named,) if named else LIBRARY_NAMES.get(sys.platform, ())
    # Anaconda has libraries of its own.
    for path in (*names, *(os.path.join(sys.prefix, 'lib', name) for name in names if not named)):
        try:
            library = ctypes.CDLL(path)
            handle, size = ctypes.c_void_p, ctypes.c_size_t
            for function, result, arguments in (
                    ('tj3Init', handle, [ctypes.c_int]), ('tj3Destroy', None, [handle]),
                    ('tj3Get', ctypes.c_int, [handle, ctypes.c_int]),
                    ('tj3Set', ctypes.c_int, [handle, ctypes.c_int, ctypes.c_int]),
                    ('tj3DecompressHeader', ctypes.c_int, [handle, ctypes.c_char_p, size]),
                    ('tj3SetCroppingRegion', ctypes.c_int, [handle, _Rectangle]),
                    ('tj3Decompress8', ctypes.c_int, [handle, ctypes.c_char_p, size, handle, ctypes.c_int,
                                                      ctypes.c_int])):
                found = getattr(library, function)
                found.restype, found.argtypes = result, arguments
            return library
        except (OSError, AttributeError):
            # Not there, or libjpeg-turbo 2, which cannot decode regions.
            continue
    return None
