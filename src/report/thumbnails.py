"""Parts of pictures, enlarged or made smaller to the size of a thumbnail."""
from typing import NamedTuple, Optional, Sequence, Union

import cv2
import numpy as np

from ..data.images import read_picture
from ..system.errors import PoseError

# Without a picture, people are drawn on a plain ground of this color.
GROUND = (72, 66, 60)


class Thumbnail(NamedTuple):
    """A part of a picture in another size.

    Attributes:
        picture: (h, w, 3) uint8.
        corner: (2,) its upper left corner in the whole picture.
        scale: pixels of the thumbnail per pixel of the picture.
    """

    picture: np.ndarray
    corner: np.ndarray
    scale: float

    def places(self, places_in_picture: np.ndarray) -> np.ndarray:
        """Return places (..., 2 or more) whose x and y are those in the thumbnail; further values are kept."""
        moved = np.array(places_in_picture, np.float64)
        moved[..., :2] = (moved[..., :2] - self.corner) * self.scale
        return moved

    def box(self, box_xywh: np.ndarray) -> np.ndarray:
        """Return a box (4,) as it is in the thumbnail."""
        return np.concatenate([(box_xywh[:2] - self.corner) * self.scale, box_xywh[2:] * self.scale])


def open_or_none(path: Optional[Union[str, bytes]]) -> Optional[np.ndarray]:
    """Return a picture as its file stores it; None if there is none that can be read."""
    try:
        return read_picture(path, honour_exif=False) if path else None
    except PoseError:
        return None


def cut_out(picture: Optional[np.ndarray], places: Sequence[np.ndarray], side: int,
            size: Optional[np.ndarray] = None) -> Thumbnail:
    """Return the part of a picture that holds all places, with a margin; the whole picture without places.

    Args:
        picture: None gives a plain ground.
        places: arrays (n, 2) of positions in the picture.
        side: the longer side of the thumbnail in pixels.
        size: (width, height) of the picture, if there is none.
    """
    size = np.array(picture.shape[1::-1]) if picture is not None else np.asarray(size)
    everything = np.concatenate(places) if len(places) else np.array([[0, 0], size])
    low, high = everything.min(axis=0), everything.max(axis=0)
    margin = 0.12 * max(high - low) + 4
    low = np.clip(np.floor(low - margin), 0, size - 1).astype(int)
    high = np.clip(np.ceil(high + margin), low + 1, size).astype(int)
    scale = side / max(high - low)
    width, height = (max(1, round(each * scale)) for each in (high - low).tolist())
    if picture is None:
        return Thumbnail(np.full((height, width, 3), GROUND, np.uint8), low, scale)
    part = picture[low[1]:high[1], low[0]:high[0]]
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return Thumbnail(cv2.resize(part, (width, height), interpolation=interpolation), low, scale)


def encode(picture: np.ndarray, quality: int = 85) -> bytes:
    """Return a picture as JPEG."""
    return cv2.imencode('.jpg', picture, (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()


def box_corners(box_xywh: np.ndarray) -> np.ndarray:
    """Return the two corners (2, 2) of a box."""
    return np.stack([box_xywh[:2], box_xywh[:2] + box_xywh[2:]])
