"""Inputs of an inference: pictures, folders, patterns, videos, cameras, lists and COCO annotation files."""
import glob
import os
import re
from dataclasses import dataclass
from typing import List, Optional, Sequence

import numpy as np

from ..data.coco_boxes import load_coco_boxes
from ..data.images import PICTURE_ENDINGS
from ..data.locate_pictures import split_of
from ..system.errors import PoseError
from ..system.files import open_regular

VIDEO_ENDINGS = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv', '.flv', '.ts', '.mts',
                 '.3gp', '.ogv', '.gif')
# Ending of a file that lists inputs, one per line.
LIST_ENDING = '.txt'
MAX_LIST_BYTES = 100_000_000


@dataclass(frozen=True, eq=False)
class Input:
    """A picture, a video or a camera.

    Attributes:
        kind: 'picture', 'video' or 'camera'.
        path: of the file; for a camera its number as text.
        image_id: from the annotation file, or from a name that is a number.
        boxes_xywh: (P, 4) of the people on it, from an annotation file; None if a detector has to find them.
    """

    kind: str
    path: str
    image_id: Optional[int] = None
    boxes_xywh: Optional[np.ndarray] = None

    @property
    def name(self) -> str:
        """The name of the file, without its folder."""
        return f'camera_{self.path}' if self.kind == 'camera' else os.path.basename(self.path)


def find_inputs(words: Sequence[str], *, folder: Optional[str] = None) -> List[Input]:
    """Return the inputs that the words of a command line name, in that order; the files of a folder or pattern are
    sorted by the numbers in their names.

    Args:
        words: files, folders, patterns such as `holiday/*.jpg`, .txt lists of those, COCO annotation files (.json)
            and numbers of cameras.
        folder: of the pictures that an annotation file names; by default that of the file itself, or that of its split
            in COCO's layout.

    Raises:
        PoseError: an input is missing or holds no picture or video; the message names it.
    """
    found: List[Input] = []
    for word in words:
        found += _find(word, folder, within='')
    # A file that is named twice, as with `*.jpg photo.jpg`, is taken once.
    unique = list({(each.kind, os.path.abspath(each.path), each.image_id): each for each in found}.values())
    return _numbered_by_name(unique)


def _find(word: str, folder: Optional[str], within: str) -> List[Input]:
    where = f' (line of {within})' if within else ''
    if not word:
        raise PoseError(f'an input has an empty name{where}')
    if os.path.isdir(word):
        return _in_folder(word)
    if os.path.exists(word):
        ending = os.path.splitext(word)[1].lower()
        if ending == LIST_ENDING and not within:
            return _in_list(word, folder)
        if ending == '.json':
            return _in_annotation_file(word, folder)
        return [Input('video' if ending in VIDEO_ENDINGS else 'picture', word)]
    if word.isascii() and word.isdigit() and len(word) < 4:
        return [Input('camera', str(int(word)))]
    if glob.has_magic(word):
        matches = sorted(glob.glob(word, recursive=True), key=_by_number)
        found = [Input('video' if path.lower().endswith(VIDEO_ENDINGS) else 'picture', path) for path in matches
                 if path.lower().endswith(PICTURE_ENDINGS + VIDEO_ENDINGS)]
        if not found:
            what = f'{len(matches)} files, none of which is a picture or a video by its name' if matches else 'no file'
            raise PoseError(f'the pattern {word} matches {what}{where}')
        return found
    raise PoseError(f'{word} does not exist{where}; give a picture, a video, a folder, a pattern in quotes, a .txt '
                    'list, a COCO annotation file (.json) or the number of a camera')


def _by_number(path: str) -> List:
    """Sort key: frame_9 comes before frame_10."""
    return [(int(part), '') if part.isascii() and part.isdigit() else (-1, part) for part in re.split(r'(\d+)', path)]


def _in_folder(folder: str) -> List[Input]:
    names = sorted(os.listdir(folder), key=_by_number)
    found = [Input('video' if name.lower().endswith(VIDEO_ENDINGS) else 'picture', os.path.join(folder, name))
             for name in names if name.lower().endswith(PICTURE_ENDINGS + VIDEO_ENDINGS) and not name.startswith('.')]
    if not found:
        what = f'{len(names)} files, none of which is a picture or a video by its name' if names else 'nothing'
        raise PoseError(f'the folder {folder} holds {what}')
    return found


def _in_list(path: str, folder: Optional[str]) -> List[Input]:
    try:
        with open_regular(path, 'r', encoding='utf-8') as file:
            text = file.read(MAX_LIST_BYTES)
    except UnicodeDecodeError as error:
        raise PoseError(f'the list {path} is no text in UTF-8: {error}') from None
    except OSError as error:
        raise PoseError(f'cannot read the list {path}: {error.strerror or error}') from None
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        word = line.strip()
        if word and not word.startswith('#'):
            # A path is relative to the folder of the list, or else to the current folder.
            beside = os.path.join(os.path.dirname(path), word)
            found += _find(beside if os.path.exists(beside) else word, folder, f'{path}, line {number}')
    if not found:
        raise PoseError(f'the list {path} names no picture; it should have the path of one on each line')
    return found


def _in_annotation_file(path: str, folder: Optional[str]) -> List[Input]:
    folders = [folder]
    if folder is None:
        beside = os.path.dirname(path)
        folders = [beside]
        if split_of(path):
            # COCO's layout: annotations/person_keypoints_val2017.json and val2017/.
            folders.append(os.path.normpath(os.path.join(beside, os.pardir, split_of(path))))
    found = []
    for image_id, name, boxes in load_coco_boxes(path):
        place = next((each for within in folders for each in (
            os.path.join(within, name), os.path.join(within, os.path.basename(name))) if os.path.exists(each)), None)
        if place is None:
            raise PoseError(f'{path} names the picture {name}, which is not in '
                            f'{" or ".join(within or "." for within in folders)}; give its folder with --data_url')
        found.append(Input('picture', place, image_id, boxes))
    return found


def _numbered_by_name(inputs: List[Input]) -> List[Input]:
    """If all pictures are named by numbers, as COCO's are, take these numbers as their image ids."""
    if any(each.kind != 'picture' or each.image_id is not None for each in inputs):
        return inputs
    stems = [os.path.splitext(each.name)[0].rpartition('_' if each.name.startswith('COCO_') else '\0')[2]
             for each in inputs]
    if not all(stem.isascii() and stem.isdigit() and len(stem) <= 18 for stem in stems):
        return inputs
    ids = [int(stem) for stem in stems]
    return inputs if len(set(ids)) < len(ids) else [
        Input(each.kind, each.path, number, each.boxes_xywh) for each, number in zip(inputs, ids)]
