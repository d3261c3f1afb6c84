"""Finding and reading pictures: every failure names the file."""
import os
import sys
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Set, Tuple, Union

import cv2
import numpy as np

from ..system.device import MAX_PIXELS, MAX_PIXELS_VARIABLE
from ..system.errors import PoseError
from ..system.files import open_regular
from ..system.printing import printable
from .decoder_warnings import SUPERFLUOUS, can_listen, decode_and_listen
from .image_headers import ShortJpeg, claimed_size, is_turned, shortened_jpeg
from .locate_pictures import check_picture_folder
from .regions import Region
from .turbojpeg import decode_region

# Endings of files that OpenCV reads as one picture.
PICTURE_ENDINGS = ('.jpg', '.jpeg', '.png', '.bmp', '.dib', '.webp', '.tif', '.tiff', '.jp2', '.jpe', '.pbm', '.pgm',
                   '.ppm', '.pnm', '.avif')
JPEG_START = b'\xff\xd8'
# Damaged pictures that the user was warned of: one warning each is enough, though they are read in every epoch.
_named: Set[str] = set()
# Memory for decoded pictures that are kept because they are needed again.
KEPT_BYTES = 1_000_000_000


@dataclass(frozen=True)
class NumberedPictures:
    """I readable pictures whose file names are image ids.

    Attributes:
        image_ids: (I,) int64.
        paths: (I,) bytes.
        sizes: (I, 2) int64, (width, height).
        read: path -> the picture, upright.
    """

    image_ids: np.ndarray
    paths: np.ndarray
    sizes: np.ndarray
    read: Callable[..., np.ndarray]

    def as_images(self) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return ids, paths and sizes, in the form of `load_coco_images`."""
        return self.image_ids, self.paths, self.sizes


def find_numbered_pictures(folder: str, say: Callable[[str], None]) -> NumberedPictures:
    """Find the pictures of a folder that are named by an image id: 42.jpg, 000000000042.jpg, 42.png.

    `say` is called with a line about each picture that cannot be used, and one about all other files.

    Raises:
        PoseError: the folder is missing or has no usable picture.
    """
    check_picture_folder(folder)
    found: Dict[int, Tuple[str, Tuple[int, int]]] = {}
    others: List[str] = []
    read = KeptPictures()
    for name in sorted(os.listdir(folder)):
        stem, extension = os.path.splitext(name)
        if extension.lower() not in (*PICTURE_ENDINGS, '.gif'):
            if not name.startswith('.') and name != 'README.md':
                others.append(name)
            continue
        # COCO 2014 writes COCO_val2014_000000000042.jpg.
        number = stem.rpartition('_')[2] if stem.startswith('COCO_') else stem
        path = os.path.join(folder, name)
        if not (number.isascii() and number.isdigit() and len(number) <= 18):
            say(f'left out: {path} is not named by an image id')
        elif int(number) in found:
            say(f'left out: {path} has the same image id as {found[int(number)][0]}')
        else:
            try:
                height, width = read(os.fsencode(path)).shape[:2]
                found[int(number)] = (path, (width, height))
            except ValueError as error:
                say(f'left out: {error}')
    if others:
        more = f' and {len(others) - 10} more' if len(others) > 10 else ''
        say(f'left out: {", ".join(others[:10])}{more} in {folder}: no pictures by their names')
    if not found:
        raise PoseError(f'{folder} holds no readable picture that is named by an image id, such as 42.jpg (data_url)')
    paths = np.array([os.fsencode(path) for path, _ in found.values()])
    return NumberedPictures(np.array(list(found), np.int64), paths,
                            np.array([size for _, size in found.values()], np.int64), read)


class KeptPictures:
    """Reads pictures as `read_picture` does and keeps them, up to `most` bytes in all, so that a picture is decoded
    once for its size, its crops and its drawing."""

    def __init__(self, most: int = KEPT_BYTES):
        self._left, self._kept = most, {}

    def __call__(self, path: bytes, *, honour_exif: bool = True) -> np.ndarray:
        picture = self._kept.get((path, honour_exif))
        if picture is None:
            picture = read_picture(path, honour_exif=honour_exif)
            # A folder is read three times in the same order, so keeping the first pictures is best.
            if picture.nbytes <= self._left:
                self._left -= picture.nbytes
                picture.flags.writeable = False
                self._kept[path, honour_exif] = picture
        return picture


def read_picture(path: Union[str, bytes], *, honour_exif: bool = True) -> np.ndarray:
    """Read a picture as (height, width, 3) uint8 BGR.

    Args:
        honour_exif: turn the picture as its EXIF orientation says.

    Raises:
        PoseError: the file is missing, not a regular file, truncated, not a picture, or has more pixels than the
            environment variable OPENCV_IO_MAX_IMAGE_PIXELS allows; the message names it. A JPEG with damaged data is
            no error: it is named in a warning on standard error.
    """
    name, content, _ = _read_content(path)
    return _decode(name, content, honour_exif)


def read_part(path: Union[str, bytes], said_size: np.ndarray, region: Region, *, honour_exif: bool) -> np.ndarray:
    """Read a picture of which no more than a region is needed, in less time than the whole takes.

    Damage is named in a warning only where the decoder stumbles over it on its way.

    Args:
        said_size: (width, height) that the annotation file states.

    Returns:
        (region.bottom or more rows, width, 3) uint8 BGR; what lies outside of the region is undefined.

    Raises:
        PoseError: see `read_picture`; or the picture is not of this size, see `check_size`.
    """
    name, content, size = _read_content(path)
    if tuple(map(int, said_size)) == size and content.startswith(JPEG_START):
        part = None if honour_exif and is_turned(content) else _decode_part(content, region, size)
        if part is not None:
            return part
    picture = _decode(name, content, honour_exif)
    check_size(picture, said_size, path, honour_exif=honour_exif)
    return picture


def _decode_part(content: bytes, region: Region, size: Tuple[int, int]) -> Optional[np.ndarray]:
    """Return at least the region of a JPEG as stored, None if that saves nothing, is not possible, or the data is
    damaged."""
    part = decode_region(content, region, size)
    # Where its warnings are not caught, the decoder would tell everybody of the rows that are left.
    if part is not None or not can_listen():
        return part
    short = shortened_jpeg(content, region.bottom)
    return None if short is None else _decode_short(short)


def _decode_short(short: ShortJpeg) -> Optional[np.ndarray]:
    """Return the picture, None if anything is damaged."""
    try:
        picture, warning = decode_and_listen(lambda: _imdecode(short.content, False))
    except cv2.error:
        return None
    is_good = picture is not None and len(picture) == short.height and (
        not warning or SUPERFLUOUS.fullmatch(warning))
    return picture if is_good else None


def _read_content(path: Union[str, bytes]) -> Tuple[str, bytes, Tuple[int, int]]:
    """Return the printable name of a picture's file, its bytes, and the (width, height) of its header, (0, 0) if
    unknown, after checking its size and its end."""
    # Made printable here, since a name that is not UTF-8 cannot be written everywhere.
    name, most = printable(os.fsdecode(path)), _max_pixels()
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            # No format needs more than 8 bytes per pixel, plus some for headers.
            if size > 8 * most + 2 ** 24:
                raise PoseError(f'the picture {name} of {size} bytes {_too_large(most)}')
            content = file.read()
    except OSError as error:
        raise PoseError(f'cannot read the picture {name}: {error.strerror or error}') from None
    if not content:
        raise PoseError(f'the picture {name} is empty')
    width, height = claimed_size(content) or (0, 0)
    if width * height > most:
        raise PoseError(f'the picture {name} of {width} x {height} pixels {_too_large(most)}')
    if _is_truncated_jpeg(content):
        raise PoseError(f'the picture {name} is truncated: its JPEG data has no end')
    return name, content, (width, height)


def _too_large(most: int) -> str:
    return (f'is larger than the bound of {most} pixels; to read it, raise {MAX_PIXELS_VARIABLE} in the '
            'environment')


def _imdecode(content: bytes, honour_exif: bool) -> Optional[np.ndarray]:
    flags = cv2.IMREAD_COLOR if honour_exif else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.imdecode(np.frombuffer(content, np.uint8), flags)


def _decode(name: str, content: bytes, honour_exif: bool) -> np.ndarray:
    try:
        if content.startswith(JPEG_START):
            picture, warning = decode_and_listen(lambda: _imdecode(content, honour_exif))
        else:
            picture, warning = _imdecode(content, honour_exif), ''
    except cv2.error as error:
        if 'CV_IO_MAX_IMAGE_PIXELS' in error.err:
            raise PoseError(f'the picture {name} {_too_large(_max_pixels())}') from None
        raise PoseError(f'{name} cannot be decoded as a picture: {error.err}') from None
    if picture is None:
        raise PoseError(f'{name} is not a picture that OpenCV can read')
    if warning and name not in _named:
        _named.add(name)
        print(f'warning: the picture {name} is damaged, and a part of it may be grey or wrong ({warning})',
              file=sys.stderr, flush=True)
    return picture


def check_size(picture: np.ndarray, said: np.ndarray, path: Union[str, bytes], *, honour_exif: bool) -> None:
    """Check that a picture has the (width, height) that its annotation file states; 0 where it states none.

    Raises:
        PoseError: the sizes differ, so the keypoints would be misplaced; the message names the file and a remedy.
    """
    (height, width), (said_width, said_height) = picture.shape[:2], map(int, said)
    if (width, height) == (said_width, said_height) or not said_width:
        return
    start = (f'the picture {printable(os.fsdecode(path))} has {width} x {height} pixels (width x height), the '
             f'annotation file says {said_width} x {said_height}')
    other = read_picture(path, honour_exif=not honour_exif).shape[1::-1]
    if other == (said_width, said_height):
        now, then = ('upright', 'stored') if honour_exif else ('stored', 'upright')
        raise PoseError(f'{start}: that is its size as {then}, and it is read {now}; its EXIF orientation turns it: '
                        f'--set DATASET.EXIF={then}')
    if (height, width) == (said_width, said_height):
        raise PoseError(f"{start}: 'width' and 'height' are swapped in the file, or the picture was turned afterwards")
    factors = said_width / width, said_height / height
    raise PoseError(f'{start}: the keypoints are those of another picture, or of this one before it was resized (by '
                    f'{1 / factors[0]:.3g} and {1 / factors[1]:.3g}); annotation file and pictures should belong '
                    'together')


def exif_rule(choice: str) -> Optional[bool]:
    """Return whether DATASET.EXIF turns pictures as their EXIF orientation says; None: as the network's
    release does."""
    return {'published': None, 'upright': True, 'stored': False}[choice]


def _max_pixels() -> int:
    """Return the limit of pixels from the variable that OpenCV also reads (OpenCV accepts units too, such as 900MB)."""
    text = os.environ.get(MAX_PIXELS_VARIABLE, '')
    return int(text) if text.isdecimal() else MAX_PIXELS


def _is_truncated_jpeg(content: bytes) -> bool:
    """Return whether a JPEG is cut off. OpenCV would fill the missing part with grey and report no error."""
    if not content.startswith(JPEG_START):
        return False
    if b'\xff\xd9' in content[-64:]:
        return False
    # An end marker before the last start-of-scan marker belongs to a thumbnail.
    return content.rfind(b'\xff\xd9') < content.rfind(b'\xff\xda')
