"""Finding and reading pictures: every failure names the file."""
import os
from dataclasses import dataclass
from typing import Callable, Dict, Iterable, List, Set, Tuple, Union

import cv2
import numpy as np

from ..system.device import MAX_PIXELS, MAX_PIXELS_VARIABLE
from ..system.errors import PoseError
from ..system.files import open_regular
from ..system.printing import printable
from .image_headers import claimed_size

SPLIT_FOLDERS = ('train2014', 'val2014', 'test2015', 'train2017', 'val2017', 'test2017')

# Of decoded pictures that are looked at again.
KEPT_BYTES = 1_000_000_000


def locate_pictures(root: str, file_names: np.ndarray, *, split_folder: str) -> np.ndarray:
    """Return the path of every picture, (I,) bytes.

    Args:
        root: folder that holds the pictures, or COCO's folders such as `train2014` and `val2017`, or `images` with
            those.
        file_names: (I,) bytes.
        split_folder: where the pictures should be. Other folders are searched where it holds none of them, and for
            names that carry their split, such as COCO_val2014_…: the usual training list of COCO 2014 has pictures
            of two folders. A bare number may mean another picture in another split.

    Raises:
        PoseError: the folder or some of the pictures are missing, or a name is in several folders; the message
            names them and where it was looked.
    """
    if not os.path.isdir(root):
        raise PoseError(f'the picture folder {root} does not exist (data_url)')
    # Bytes throughout: a name need not be UTF-8, nor need the locale of the process.
    own = _list_folders(root, (split_folder, f'images/{split_folder}'))
    others = _list_folders(root, ('', 'images') + SPLIT_FOLDERS + tuple(f'images/{name}' for name in SPLIT_FOLDERS))
    paths: List[bytes] = []
    missing: List[bytes] = []
    # Some annotation files write `val2014/COCO_val2014_….jpg`; the folder is found by its content instead.
    bases = list(map(os.path.basename, file_names.tolist()))
    is_split_there = any(base in names for names in own.values() for base in bases)
    for base in bases:
        holders = [folder for folder, names in own.items() if base in names]
        if not holders and (base.startswith(b'COCO_') or not is_split_there):
            holders = [folder for folder, names in others.items() if base in names]
        if not holders:
            missing.append(base)
        elif len(holders) > 1:
            raise PoseError(f'the picture {os.fsdecode(base)} is in several folders: {_listed(holders)}; '
                            'give the one that is meant with --data_url')
        else:
            paths.append(os.path.join(holders[0], base))
    if missing:
        raise PoseError(f'{len(missing)} of {len(file_names)} pictures are missing, e.g. {_listed(missing[:3])}; '
                        f'looked in {_listed(dict.fromkeys([*own, *others]))}')
    return np.array(paths)


def _listed(names: Iterable[bytes]) -> str:
    return ', '.join(map(os.fsdecode, names))


def _list_folders(root: str, folders: Tuple[str, ...]) -> Dict[bytes, Set[bytes]]:
    paths = [os.fsencode(os.path.join(root, folder) if folder else root) for folder in folders]
    return {path: set(os.listdir(path)) for path in paths if os.path.isdir(path)}


@dataclass(frozen=True)
class NumberedPictures:
    """I readable pictures whose names are image ids.

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
        """Return ids, paths and sizes, as an annotation file gives them."""
        return self.image_ids, self.paths, self.sizes


def find_numbered_pictures(folder: str, say: Callable[[str], None]) -> NumberedPictures:
    """Find the pictures of a folder that are named by an image id: 42.jpg, 000000000042.jpg, 42.png.

    Pictures that cannot be used are named through `say`.

    Raises:
        PoseError: the folder is missing or has no usable picture.
    """
    if not os.path.isdir(folder):
        raise PoseError(f'the picture folder {folder} does not exist (data_url)')
    found: Dict[int, Tuple[str, Tuple[int, int]]] = {}
    read = KeptPictures()
    for name in sorted(os.listdir(folder)):
        stem, extension = os.path.splitext(name)
        if extension.lower() not in ('.jpg', '.jpeg', '.png'):
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
    if not found:
        raise PoseError(f'{folder} holds no readable picture that is named by an image id, such as 42.jpg (data_url)')
    paths = np.array([os.fsencode(path) for path, _ in found.values()])
    return NumberedPictures(np.array(list(found), np.int64), paths,
                            np.array([size for _, size in found.values()], np.int64), read)


class KeptPictures:
    """Reads pictures as `read_picture` does, and keeps them as long as they fit into `most` bytes: a picture is decoded
    once for its size, its crops and its drawing."""

    def __init__(self, most: int = KEPT_BYTES):
        self._left, self._kept = most, {}

    def __call__(self, path: bytes, *, honour_exif: bool = True) -> np.ndarray:
        picture = self._kept.get((path, honour_exif))
        if picture is None:
            picture = read_picture(path, honour_exif=honour_exif)
            # The pictures of a folder come in the same order three times: what came first stays.
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
        PoseError: the file is missing, no regular file, truncated, not a picture or one of more pixels than
            OPENCV_IO_MAX_IMAGE_PIXELS in the environment allows; the message names it.
    """
    # Spelled out here: whoever takes the message need not be able to encode bytes that are no UTF-8.
    name, most = printable(os.fsdecode(path)), _max_pixels()
    too_large = (f'is larger than the bound of {most} pixels; to read it, raise {MAX_PIXELS_VARIABLE} in the '
                 'environment')
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            # No format needs more than 8 bytes for a pixel, and a few for the rest.
            if size > 8 * most + 2 ** 24:
                raise PoseError(f'the picture {name} of {size} bytes {too_large}')
            content = file.read()
    except OSError as error:
        raise PoseError(f'cannot read the picture {name}: {error.strerror or error}') from None
    if not content:
        raise PoseError(f'the picture {name} is empty')
    width, height = claimed_size(content) or (0, 0)
    if width * height > most:
        raise PoseError(f'the picture {name} of {width} x {height} pixels {too_large}')
    if _is_truncated_jpeg(content):
        raise PoseError(f'the picture {name} is truncated: its JPEG data has no end')
    flags = cv2.IMREAD_COLOR if honour_exif else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        if 'CV_IO_MAX_IMAGE_PIXELS' in error.err:
            raise PoseError(f'the picture {name} {too_large}') from None
        raise PoseError(f'{name} cannot be decoded as a picture: {error.err}') from None
    if picture is None:
        raise PoseError(f'{name} is not a picture that OpenCV can read')
    return picture


def _max_pixels() -> int:
    """Return the bound that OpenCV reads as well, when it is first imported; it also knows units, such as 900MB."""
    text = os.environ.get(MAX_PIXELS_VARIABLE, '')
    return int(text) if text.isdecimal() else MAX_PIXELS


def _is_truncated_jpeg(content: bytes) -> bool:
    """OpenCV fills the missing part of a truncated JPEG with grey and says nothing to the program."""
    if not content.startswith(b'\xff\xd8'):
        return False
    if b'\xff\xd9' in content[-64:]:
        return False
    # An end marker before the last start of scan belongs to a thumbnail.
    return content.rfind(b'\xff\xd9') < content.rfind(b'\xff\xda')
