"""Drawn pictures as files."""
import os

import cv2
import numpy as np

from ..system.errors import PoseError
from ..system.files import write_bytes

_ENCODER_OPTIONS = {
    '.jpg': (cv2.IMWRITE_JPEG_QUALITY, 95), '.jpeg': (cv2.IMWRITE_JPEG_QUALITY, 95), '.png': ()}


def write_picture(path: str, picture_bgr: np.ndarray) -> None:
    """Write a (H, W, 3) uint8 picture as .jpg, .jpeg or .png; the file is complete or does not exist.

    Raises:
        PoseError: the extension is unknown, or the array is not a picture.
        OSError: the folder is missing or cannot be written.
    """
    extension = os.path.splitext(path)[1].lower()
    if extension not in _ENCODER_OPTIONS:
        raise PoseError(f'cannot write {path}: extension {extension!r} is not one of {", ".join(_ENCODER_OPTIONS)}')
    check_picture(picture_bgr)
    if picture_bgr.size == 0:
        raise PoseError(f'cannot write {path}: the picture has no pixels, its shape is {picture_bgr.shape}')
    done, encoded = cv2.imencode(extension, picture_bgr, _ENCODER_OPTIONS[extension])
    if not done:
        raise PoseError(f'cannot write {path}: a picture of shape {picture_bgr.shape} does not fit {extension}')
    write_bytes(path, encoded.tobytes())


def check_picture(picture: np.ndarray) -> None:
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise PoseError(
            f'a picture must be (H, W, 3) uint8 in BGR order, got shape {picture.shape} {picture.dtype}; turn a '
            'grayscale picture into one with cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)')
