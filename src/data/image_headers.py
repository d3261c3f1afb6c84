"""The size of a picture, read from its header: so a picture that is too large is refused before memory is allocated,
and the rows of a JPEG that nobody needs are not decoded.

OpenCV has its own limit, which covers every format but is fixed when `cv2` is first imported.
"""
import re
import struct
from typing import Dict, Iterator, NamedTuple, Optional, Tuple

_JPEG_MARKER = re.compile(rb'\xff+([^\xff\0])')
# Start-of-frame markers; 0xc4, 0xc8 and 0xcc in this range have other meanings (tables, an extension).
_JPEG_FRAMES = {bytes([marker]) for marker in range(0xc0, 0xd0)} - {b'\xc4', b'\xc8', b'\xcc'}

_SEQUENTIAL, _START_OF_SCAN, _RESTARTS, _APPLICATION_1 = (b'\xc0', b'\xc1'), b'\xda', b'\xdd', b'\xe1'
_ORIENTATION = 274


class ShortJpeg(NamedTuple):
    """A JPEG whose header claims fewer rows than there are."""

    content: bytes
    height: int


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


def shortened_jpeg(content: bytes, rows: int) -> Optional[ShortJpeg]:
    """Return a JPEG of the same pixels in at least the first `rows` rows, and none or few more, which takes less time
    to decode: its header claims a smaller height. The decoder then finds superfluous bytes at the end.

    Returns:
        None if this saves nothing, or is not possible: other formats, JPEGs that are progressive or have restart
        markers, damaged headers.
    """
    try:
        return _shortened(content, rows) if content.startswith(b'\xff\xd8') else None
    except (struct.error, IndexError):
        return None


def is_turned(content: bytes) -> bool:
    """Whether a JPEG has an EXIF orientation other than upright, or one that cannot be read."""
    try:
        return any(marker == _APPLICATION_1 and _orientation(content, start) != 1
                   for marker, start in _jpeg_segments(content))
    except (struct.error, IndexError):
        return True


def _shortened(content: bytes, rows: int) -> Optional[ShortJpeg]:
    frame = components = None
    for marker, start in _jpeg_segments(content):
        if marker in _JPEG_FRAMES:
            if frame is not None or marker not in _SEQUENTIAL or content[start + 2] != 8:
                return None
            frame, components = start, content[start + 7]
        elif marker == _RESTARTS:
            # The bytes before the next of these markers would be told like damaged ones.
            return None
        elif marker == _START_OF_SCAN:
            # With one scan per component, their numbers of rows would be mistaken.
            if frame is None or content[start + 2] != components:
                return None
            break
    else:
        return None
    rows_per_block = 8 * max(content[frame + 9 + 3 * number] & 15 for number in range(components))
    # The colors of the last rows of blocks depend on the next ones.
    height = (-(-rows // rows_per_block) + 1) * rows_per_block
    if height >= struct.unpack_from('>H', content, frame + 3)[0]:
        return None
    return ShortJpeg(content[:frame + 3] + struct.pack('>H', height) + content[frame + 5:], height)


def _orientation(content: bytes, start: int) -> int:
    """Return the EXIF orientation in an APP1 segment, 1 to 8; 0 if it cannot be read."""
    payload = content[start + 2:start + struct.unpack_from('>H', content, start)[0]]
    if not payload.startswith(b'Exif\0\0'):
        return 1
    if payload[6:8] not in (b'II', b'MM'):
        return 0
    return _tiff_entries(payload[6:], (_ORIENTATION,)).get(_ORIENTATION, 1)


def _jpeg_segments(content: bytes) -> Iterator[Tuple[bytes, int]]:
    """Yield marker and place of the length field of the segments of a JPEG, up to the first start of scan."""
    found = _JPEG_MARKER.search(content, 2)
    while found:
        yield found[1], found.end()
        if found[1] == _START_OF_SCAN:
            return
        found = _JPEG_MARKER.search(content, found.end() + struct.unpack_from('>H', content, found.end())[0])


def _jpeg(content: bytes) -> Optional[Tuple[int, int]]:
    for marker, start in _jpeg_segments(content):
        if marker in _JPEG_FRAMES:
            return struct.unpack_from('>HH', content, start + 3)[::-1]
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
    sides = _tiff_entries(content, (256, 257))
    return (sides[256], sides[257]) if len(sides) == 2 else None


def _tiff_entries(content: bytes, wanted: Tuple[int, ...]) -> Dict[int, int]:
    """Return {tag: number} of the wanted tags of the first page that it has."""
    order = '<' if content.startswith(b'II') else '>'
    version, = struct.unpack_from(order + 'H', content, 2)
    # In BigTIFF, version 43, entries have longer counts and values.
    form, head, first = ('HHI', 'H', struct.unpack_from(order + 'I', content, 4)[0]) if version == 42 else (
        'HHQ', 'Q', struct.unpack_from(order + 'Q', content, 8)[0])
    count, = struct.unpack_from(order + head, content, first)
    start, step = first + struct.calcsize(order + head), struct.calcsize(order + form) + (4 if version == 42 else 8)
    found = {}
    for place in range(start, start + min(count, 1000) * step, step):
        tag, kind = struct.unpack_from(order + 'HH', content, place)
        if tag in wanted:
            found[tag] = struct.unpack_from(order + {3: 'H', 16: 'Q'}.get(kind, 'I'), content,
                                            place + struct.calcsize(order + form))[0]
    return found
