"""Finds the pictures of an annotation file below a folder, and explains why a name was not found."""
import os
import unicodedata
from typing import Callable, Dict, Iterable, List, Optional, Set, Tuple
from urllib.parse import unquote

import numpy as np

from ..system.errors import PoseError

SPLIT_FOLDERS = ('train2014', 'val2014', 'test2015', 'train2017', 'val2017', 'test2017')


def check_picture_folder(path: str) -> None:
    """Raise PoseError if the picture folder of a data set is missing."""
    if not os.path.isdir(path):
        raise PoseError(f'the picture folder {path} does not exist (data_url)')


def locate_pictures(root: str, file_names: np.ndarray, *, split_folder: str, needed: Optional[np.ndarray] = None
                    ) -> np.ndarray:
    """Return the path of every picture, (I,) bytes; b'' for a picture that is not needed.

    A name is searched as the annotation file gives it, with its folders, and then without them.

    Args:
        root: folder that holds the pictures, or COCO's folders such as `train2014` and `val2017`, or a folder `images`
            with these.
        file_names: (I,) bytes.
        split_folder: the folder in which the pictures should be. Other folders are searched only if it holds none of
            them, or for names that contain their split, such as COCO_val2014_…: the usual training list of COCO 2014
            has pictures from two folders. A name that is only a number may be a different picture in another split.
        needed: rows of the pictures that are needed, since people are in them; None: all.

    Raises:
        PoseError: the folder or some of the pictures are missing, a name is in several folders, or two names lead to
            one picture; the message names them and the folders that were searched.
    """
    check_picture_folder(root)
    # Bytes throughout, since neither a name nor the locale of the process need be UTF-8.
    own = _folders(root, (split_folder, f'images/{split_folder}'))
    others = _folders(root, ('', 'images') + SPLIT_FOLDERS + tuple(f'images/{name}' for name in SPLIT_FOLDERS))
    rows = np.arange(len(file_names)) if needed is None else np.unique(needed)
    names = file_names[rows].tolist()
    listing = _Listing()
    found = [_find(name, own, others, listing) for name in names]
    inside = tuple(folder + b'/' for folder in own)
    is_split_there = (any(path is not None and path.startswith(inside) for path in found)
                      or any(os.path.basename(name) in listing[folder] for folder in own for name in names))
    for place, name in enumerate(names):
        if found[place] is None:
            base = os.path.basename(name)
            # Here the folders that the annotation file writes are ignored.
            holders = [folder for folder in own if base in listing[folder]]
            if not holders and (base.startswith(b'COCO_') or not is_split_there):
                holders = [folder for folder in others if base in listing[folder]]
            found[place] = _only(holders, base)
    missing = [name for name, path in zip(names, found) if path is None]
    looked = list(dict.fromkeys([*own, *others]))
    if missing:
        hint = _difference(missing[0], looked, listing)
        raise PoseError(f'{len(missing)} of {len(names)} pictures are missing, e.g. '
                        f'{_listed(missing[:3])}; looked in {_listed(looked)}{hint}')
    _check_distinct(names, found)
    paths = [b''] * len(file_names)
    for row, path in zip(rows.tolist(), found):
        paths[row] = path
    return np.array(paths)


def split_of(gt_file: str) -> str:
    """Return the folder of COCO that the name of an annotation file mentions, such as 'val2017', or ''."""
    return next((name for name in SPLIT_FOLDERS if name in os.path.basename(gt_file)), '')


def describe_folders(paths: np.ndarray) -> str:
    """Return text such as 'pictures: 118287 in data/train2017' for paths (I,) bytes; empty paths do not count."""
    folders: Dict[bytes, int] = {}
    for path in filter(None, paths.tolist()):
        folder = os.path.dirname(path)
        folders[folder] = folders.get(folder, 0) + 1
    most = sorted(folders, key=folders.get, reverse=True)
    more = f' and {len(most) - 3} more folders' if len(most) > 3 else ''
    return 'pictures: ' + ', '.join(f'{folders[each]} in {os.fsdecode(each)}' for each in most[:3]) + more


def other_split(paths: np.ndarray, gt_file: str) -> str:
    """Return a warning if an annotation file of one COCO split is used with the pictures of another, else ''. There a
    picture whose name is only a number may be a different one."""
    splits = [name for name in SPLIT_FOLDERS if name in os.path.basename(gt_file)]
    there = next((path for path in paths.tolist() if path and not os.path.basename(path).startswith(b'COCO_')), b'')
    folder = os.fsdecode(os.path.basename(os.path.dirname(there)))
    if not splits or folder not in SPLIT_FOLDERS or folder in splits:
        return ''
    return (f'{os.path.basename(gt_file)} is used with pictures of {folder}, where other pictures may have the same '
            'names (DATASET.TRAIN_SET and DATASET.TEST_SET name the folder)')


class _Listing(Dict[bytes, Set[bytes]]):
    """{folder: names in it}, read when first used; empty if the folder does not exist."""

    def __missing__(self, folder: bytes) -> Set[bytes]:
        self[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        return self[folder]


def _listed(names: Iterable[bytes]) -> str:
    return ', '.join(map(os.fsdecode, names))


def _folders(root: str, folders: Tuple[str, ...]) -> List[bytes]:
    paths = [os.fsencode(os.path.join(root, folder) if folder else root) for folder in folders]
    return [path for path in dict.fromkeys(paths) if os.path.isdir(path)]


def _find(name: bytes, own: List[bytes], others: List[bytes], listing: _Listing) -> Optional[bytes]:
    """Return the path of a name including its folders; None if there is no such file, or the name has no folders."""
    folder, base = os.path.split(os.path.normpath(name))
    if not folder:
        return None
    for parents in (own, others):
        paths = [os.path.join(parent, folder) for parent in parents]
        holders = [path for path in paths if base in listing[path]]
        if holders:
            return _only(list({os.path.realpath(path): path for path in holders}.values()), base)
    return None


def _only(holders: List[bytes], base: bytes) -> Optional[bytes]:
    if len(holders) > 1:
        raise PoseError(f'the picture {os.fsdecode(base)} is in several folders: {_listed(holders)}; '
                        'give the one that is meant with --data_url')
    return os.path.join(holders[0], base) if holders else None


def _check_distinct(names: List[bytes], paths: List[bytes]) -> None:
    """Refuse two names that lead to the same picture; they were different pictures with one name in several folders."""
    name_of: Dict[bytes, bytes] = {}
    for name, path in zip(names, paths):
        other = name_of.setdefault(path, name)
        if other is not name and os.path.normpath(other) != os.path.normpath(name):
            raise PoseError(f'{os.fsdecode(other)} and {os.fsdecode(name)} are two pictures of the annotation file, '
                            f'but only {os.fsdecode(path)} is there: keep their folders, or give each a name of its '
                            'own')


# How a name may differ from the one on disk, and the function that removes the difference.
CHANGES: Tuple[Tuple[str, Callable[[str], str]], ...] = (
    ('it has backslashes, which are no separators of folders here', lambda name: name.replace('\\', '/')),
    ('it has the query of a URL', lambda name: name.partition('?')[0].partition('#')[0]),
    ('it has characters as a URL spells them', unquote),
    ('it has spaces around it', str.strip),
    ('letters and their accents are put together in another way (Unicode NFC and NFD)',
     lambda name: unicodedata.normalize('NFC', name)),
    ('capital and small letters differ', str.casefold),
)


def _difference(name: bytes, folders: List[bytes], listing: _Listing) -> str:
    """Return how a missing name differs from one that is on disk, or ''."""
    wanted, reasons = os.fsdecode(name), []
    there = {os.fsdecode(each): each for folder in folders for each in listing[folder]}
    for reason, change in CHANGES:
        changed = change(wanted)
        there = {change(each): whole for each, whole in there.items()}
        if changed != wanted or reason.startswith(('letters', 'capital')):
            reasons.append(reason)
        wanted = changed
        base = os.path.basename(wanted)
        if base in there:
            return (f'. {ascii(os.fsdecode(there[base]))} is there, the annotation file writes '
                    f'{ascii(os.fsdecode(name))}: {reasons[-1] if reasons else "its folders differ"}')
    stem = os.path.splitext(os.path.basename(wanted))[0]
    same_stem = next((whole for each, whole in there.items() if os.path.splitext(each)[0] == stem), None)
    return '' if same_stem is None else (f'. {os.fsdecode(same_stem)} is there, the annotation file writes '
                                         f'{os.fsdecode(name)}: the endings differ')
