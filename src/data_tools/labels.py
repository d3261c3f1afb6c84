"""`Labels`, the common result of the importers of all formats: labelled pictures, and the figures on them."""
import os
import re
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Tuple
from urllib.parse import unquote, urlsplit

import numpy as np

from ..data.images import PICTURE_ENDINGS
from ..system.errors import PoseError

# Margin of a box that is made around keypoints, as a share of their extent: the body reaches beyond the keypoints.
BOX_MARGIN = 0.15
# The margins of a side together are at least this share of the longer extent, or of the picture for a single keypoint.
SMALLEST_BOX = 0.1


class LabelledPicture(NamedTuple):
    """A picture on the disk.

    Attributes:
        path: of the file.
        size: (width, height) of the picture in the pixels of its labels; None: those of the file.
        split: 'train', 'val', or '' if the source does not say.
    """

    path: str
    size: Optional[Tuple[int, int]] = None
    split: str = ''


class Figure(NamedTuple):
    """A labelled person, animal or thing.

    Attributes:
        picture: index of its picture.
        keypoints: (K, 3) float64: x, y in picture pixels, visibility 0, 1 or 2.
        box_xywh: in picture pixels; None: a box around the keypoints is made.
        area: square pixels; None: that of the box is taken.
        is_crowd: whether it is a group of several, which evaluation ignores.
    """

    picture: int
    keypoints: np.ndarray
    box_xywh: Optional[Tuple[float, ...]] = None
    area: Optional[float] = None
    is_crowd: bool = False


@dataclass
class Labels:
    """The labels of a source.

    Attributes:
        layout: keypoint layout, with the keys of a skeleton file (`skeleton_files.skeleton_of`).
        pictures, figures: in the order of the source.
        left_out: {reason: number of entries}.
    """

    layout: Dict[str, Any]
    pictures: List[LabelledPicture] = field(default_factory=list)
    figures: List[Figure] = field(default_factory=list)
    left_out: Dict[str, int] = field(default_factory=dict)

    def leave_out(self, reason: str, count: int = 1) -> None:
        """Count entries that are not imported."""
        self.left_out[reason] = self.left_out.get(reason, 0) + count


def box_around(keypoints: np.ndarray, picture_size: Tuple[int, int]) -> Tuple[float, ...]:
    """Return the box [x, y, width, height] around the labelled keypoints (K, 3), with a margin, within the picture."""
    places = keypoints[keypoints[:, 2] > 0, :2]
    low, high = places.min(axis=0), places.max(axis=0)
    extent = (high - low).max() or max(picture_size)
    margin = np.maximum(BOX_MARGIN * (high - low), SMALLEST_BOX * extent / 2)
    low, high = np.maximum(low - margin, 0), np.minimum(high + margin, picture_size)
    return tuple(round(float(value), 2) for value in (*low, *np.maximum(high - low, 1)))


class PictureFinder:
    """Finds pictures by the names that labelling tools write: with folders, backslashes, a URL or a prefix.

    Args:
        folders: the folders to search, with their subfolders; the most likely first.
    """

    def __init__(self, folders: Iterable[str]):
        self.folders = list(dict.fromkeys(os.path.normpath(folder) for folder in folders if os.path.isdir(folder)))
        self._by_name: Optional[Dict[str, List[str]]] = None

    def find(self, name: str) -> Optional[str]:
        """Return the path of a picture, or None where there is none.

        Raises:
            PoseError: several pictures have that name.
        """
        plain = unquote(urlsplit(name).path) if '://' in name or '?' in name else name
        plain = plain.replace('\\', '/')
        while plain.startswith(('./', '../', '/')):
            plain = plain.partition('/')[2]
        for folder in self.folders:
            for each in (name, plain):
                path = os.path.join(folder, each)
                if os.path.isfile(path):
                    return path
        if self._by_name is None:
            self._by_name = self._list_all()
        base = os.path.basename(plain)
        # Label Studio puts eight hexadecimal digits before the name of an uploaded file.
        uploaded = re.fullmatch(r'[0-9a-f]{8}-(.+)', base.lower())
        found = self._by_name.get(base.lower()) or (self._by_name.get(uploaded[1]) if uploaded else None) or []
        # Among files of the same name, those whose path ends with the whole name, including its folders, are preferred.
        ends = [path for path in found if path.replace(os.sep, '/').lower().endswith('/' + plain.lower())]
        found = ends or found
        if len(found) > 1:
            raise PoseError(f'the picture {name} may be {found[0]} or {found[1]}; give the folder that is meant with '
                            '--pictures')
        return found[0] if found else None

    def _list_all(self) -> Dict[str, List[str]]:
        names: Dict[str, List[str]] = {}
        seen = set()
        for folder in self.folders:
            for place, _, files in sorted(os.walk(folder)):
                for file in sorted(files):
                    path = os.path.join(place, file)
                    if file.lower().endswith(PICTURE_ENDINGS) and os.path.realpath(path) not in seen:
                        seen.add(os.path.realpath(path))
                        names.setdefault(file.lower(), []).append(path)
        return names
