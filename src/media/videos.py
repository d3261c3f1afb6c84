"""Videos and cameras as frames, and drawn frames as a video that can be played however its writing ends."""
import math
import os
import shutil
import time
from typing import Iterator, Optional, Tuple

import cv2
import numpy as np

from ..system.errors import PoseError
from ..system.files import open_regular

# Every build of OpenCV can write these codecs; H.264 needs a library that most builds lack. Browsers play VP8 only.
CODECS = {'.mp4': 'mp4v', '.webm': 'VP80'}
# Frames per second of a file that gives no rate, or an impossible one.
DEFAULT_RATE = 25.0
# After a frame that cannot be decoded, at most this many further frames are tried.
MAX_BROKEN_FRAMES = 100
# Bytes kept free on the disk for the index of a video, which is written last; without it the video cannot be played.
RESERVED_BYTES = 32_000_000
SECONDS_BETWEEN_LOOKS = 0.5


class Video:
    """The frames of a video file or a camera, one after the other, upright.

    Args:
        path: of the file, or the number of a camera.
        is_camera: which of the two.

    Attributes:
        rate: frames per second.
        num_frames: as the file states it; None if it does not.

    Raises:
        PoseError: it cannot be opened; the message says why.
    """

    def __init__(self, path: str, *, is_camera: bool = False):
        self.path, self.is_camera = path, is_camera
        if not is_camera:
            _check_file(path)
        self._capture = cv2.VideoCapture(int(path) if is_camera else path)
        if not self._capture.isOpened():
            raise PoseError(f'there is no camera {path} that can be opened; it may be another program\'s, or have '
                            'another number' if is_camera else
                            f'{path} is no video that OpenCV can read, or it is damaged')
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if math.isfinite(rate) and 0.1 <= rate <= 1000 else DEFAULT_RATE
        self.is_rate_known = self.rate == rate
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.num_frames: Optional[int] = int(count) if not is_camera and 0 < count < 1e9 else None

    def __iter__(self) -> Iterator[Tuple[int, np.ndarray]]:
        """Yield the number, from 0, and the picture (H, W, 3) uint8 of every frame that can be decoded."""
        self.num_read = number = broken = 0
        while True:
            is_there, picture = self._capture.read()
            if is_there and picture is not None and picture.size:
                broken = 0
                self.num_read += 1
                yield number, picture
            else:
                broken += 1
                # A camera may need some frames to start; a file of unknown length ends at the first failure.
                is_over = not self.is_camera and (self.num_frames is None or number >= self.num_frames)
                if is_over or broken > MAX_BROKEN_FRAMES:
                    return
            number += 1

    def close(self) -> None:
        self._capture.release()


def _is_utf8(path: str) -> bool:
    """Whether OpenCV can open a path: Python's encoding of file names that are not UTF-8 is unknown to it."""
    return os.fsencode(path).decode('utf-8', 'ignore') == path


def _check_file(path: str) -> None:
    if not _is_utf8(path):
        raise PoseError(f'the video {path} should have a path in UTF-8; OpenCV opens no other')
    try:
        with open_regular(path) as file:
            if not file.read(1):
                raise PoseError(f'the video {path} is empty')
    except OSError as error:
        raise PoseError(f'cannot read the video {path}: {error.strerror or error}') from None


class VideoFile:
    """A video that is written frame by frame; `close` completes it.

    It is written under a temporary name in the same folder and gets its final name when it is complete.

    Args:
        path: ends in .mp4 (MPEG-4) or .webm (VP8, which browsers play).
        rate: frames per second.

    Raises:
        OSError: it cannot be written there.
    """

    def __init__(self, path: str, rate: float):
        self.path, self._rate = path, rate
        folder, name = os.path.split(os.path.abspath(path))
        self._ending = os.path.splitext(name)[1]
        self._folder, self._temporary = folder, os.path.join(folder, f'.{name}.{os.getpid()}.tmp{self._ending}')
        self._writer, self._size, self._looked = None, None, -math.inf
        self.num_frames = 0

    def write(self, picture: np.ndarray) -> None:
        """Add a frame; it is fitted to the size of the first one.

        Raises:
            OSError: the disk is nearly full; the frames written before can be played.
        """
        # The codec halves the color resolution and would cut off an odd last row or column.
        picture = cv2.copyMakeBorder(picture, 0, picture.shape[0] % 2, 0, picture.shape[1] % 2, cv2.BORDER_REPLICATE)
        if self._writer is None:
            self._open((picture.shape[1], picture.shape[0]))
        if time.monotonic() - self._looked > SECONDS_BETWEEN_LOOKS:
            self._looked = time.monotonic()
            if shutil.disk_usage(self._folder).free < RESERVED_BYTES:
                raise OSError(f'{self.path} ends after {self.num_frames} frames: fewer than '
                              f'{RESERVED_BYTES // 1_000_000} MB are free on its disk')
        if (picture.shape[1], picture.shape[0]) != self._size:
            picture = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
        self._writer.write(picture)
        self.num_frames += 1

    def _open(self, size: Tuple[int, int]) -> None:
        if not _is_utf8(self._temporary):
            raise OSError(f'the video {self.path} needs a path in UTF-8; OpenCV writes no other')
        self._writer = cv2.VideoWriter(self._temporary, cv2.VideoWriter_fourcc(*CODECS[self._ending]), self._rate, size)
        if not self._writer.isOpened():
            raise OSError(f'cannot write the video {self.path} of {size[0]} x {size[1]} pixels')
        self._size = size

    def close(self) -> bool:
        """Complete the file and return whether it exists: without any frame no file is made."""
        if self._writer is None:
            return False
        self._writer.release()
        self._writer = None
        if not self.num_frames:
            os.remove(self._temporary)
            return False
        os.replace(self._temporary, self.path)
        return True
