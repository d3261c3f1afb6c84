"""The size of a picture, read from its header: so a picture that is too large is refused before memory is allocated.

OpenCV has its own limit, which covers every format but is fixed when `cv2` is first imported.
"""
import re
import struct
from typing import Optional, Tuple

_JPEG_MARKER = re.compile(rb'\xff+([^\xff\0])')
# Start-of-frame markers; 0xc4, 0xc8 and 0xcc in this range have other meanings (tables, an extension).
_JPEG_FRAMES = {bytes([marker]) for marker in range(0xc0, 0xd0)} - {b'\xc4', b'\xc8', b'\xcc'}


def claimed_size(content: bytes) -> Optional[Tuple[int, int]]:
    """Return the (width, height) in the header of a JPEG, PNG, GIF, BMP, WebP or TIFF; None if it is not found.

    For files with several frames it is the size of the canvas, with several pages that of the first one.
    """
    for start, read in ((b'\xff\xd8', _jpeg), (b'\x89PNG', _png), (b'GIF8', _gif), (b'BM', _bmp), (b'RIFF', _webp),
                        (b'II', _tiff), (b'MM', _tiff)):
        if content.startswith(start):
            try:
                return read(content)
            except struct.error:
                return None
    return None


def _jpeg(content: bytes) -> Optional[Tuple[int, int]]:
    found = _JPEG_MARKER.search(content, 2)
    # After the start-of-scan marker, 0xda, there is only compressed data.
    while found and found[1] != b'\xda':
        if found[1] in _JPEG_FRAMES:
            return struct.unpack_from('>HH', content, found.end() + 3)[::-1]
        found = _JPEG_MARKER.search(content, found.end() + struct.unpack_from('>H', content, found.end())[0])
    return None


def _png(content: bytes) -> Tuple[int, int]:
    return struct.unpack_from('>II', content, 16)


def _gif(content: bytes) -> Tuple[int, int]:
    return struct.unpack_from('<HH', content, 6)


def _bmp(content: bytes) -> Tuple[int, int]:
    if struct.unpack_from('<I', content, 14)[0] == 12:
        return struct.unpack_from('<HH', content, 18)
    width, height = struct.unpack_from('<ii', content, 18)
    # A negative height means that the rows are stored from top to bottom.
    return abs(width), abs(height)


def _webp(content: bytes) -> Optional[Tuple[int, int]]:
    kind = content[12:16]
    if kind == b'VP8X':
        return tuple(1 + int.from_bytes(content[place:place + 3], 'little') for place in (24, 27))
    if kind == b'VP8L':
        bits, = struct.unpack_from('<I', content, 21)
        return 1 + (bits & 0x3fff), 1 + (bits >> 14 & 0x3fff)
    return tuple(side & 0x3fff for side in struct.unpack_from('<HH', content, 26)) if kind == b'VP8 ' else None


def _tiff(content: bytes) -> Optional[Tuple[int, int]]:
    order = '<' if content.startswith(b'II') else '>'
    version, = struct.unpack_from(order + 'H', content, 2)
    # In BigTIFF, version 43, entries have longer counts and values.
    form, head, first = ('HHI', 'H', struct.unpack_from(order + 'I', content, 4)[0]) if version == 42 else (
        'HHQ', 'Q', struct.unpack_from(order + 'Q', content, 8)[0])
    count, = struct.unpack_from(order + head, content, first)
    start, step = first + struct.calcsize(order + head), struct.calcsize(order + form) + (4 if version == 42 else 8)
    sides = {}
    for place in range(start, start + min(count, 1000) * step, step):
        tag, kind = struct.unpack_from(order + 'HH', content, place)
        if tag in (256, 257):
            sides[tag] = struct.unpack_from(order + {3: 'H', 16: 'Q'}.get(kind, 'I'), content,
                                            place + struct.calcsize(order + form))[0]
    return (sides[256], sides[257]) if len(sides) == 2 else None
