"""MPII annotation files → People, and the ground truth of PCKh.

Two formats are read: the JSON list that Simple Baselines, HRNet and MSPN share (image, center, scale, joints,
joints_vis), and the MATLAB file of the validation set, the only published one with head boxes. Positions in both are
1-based pixels, those in People are 0-based.
"""
import os
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple, Union

import numpy as np

from ..system.errors import MissingPackageError, PoseError
from ..system.files import JsonFile, as_json_file
from ..system.printing import brief, kind_of
from .geometry import LARGEST_COORDINATE, PIXELS_PER_SCALE
from .people import People, is_coordinate, name_bytes, read_field, read_name, release_memory
from .skeletons import MPII

# MPII's files count pixels from 1.
MPII_FIRST_PIXEL = 1
# All published loaders move the annotated center down by this many pixels per unit of scale, so that no limbs are cut.
CENTER_SHIFT = 15
# Size of a head as a share of the diagonal of its box.
HEAD_SIZE_OF_DIAGONAL = 0.6
# Two files of the same people differ by rounding only; if joints lie further apart than this, the people differ.
SAME_PERSON_PIXELS = 5.0
# Keypoints that are left out of the mean over all keypoints.
NOT_IN_MEAN = ('pelvis', 'thorax')
# Names of the joints in the MATLAB file; None where the published evaluation does not use the name.
MAT_NAMES = ('rank', 'rkne', 'rhip', 'lhip', 'lkne', 'lank', None, None, None, 'head', 'rwri', 'relb', 'rsho', 'lsho',
             'lelb', 'lwri')


@dataclass(frozen=True)
class MPIITruth:
    """N people, in the order of their file.

    Attributes:
        keypoints: (N, 16, 2) float64, 0-based picture pixels.
        is_visible: (N, 16) bool, keypoints that are evaluated.
        head_sizes: (N,) float64, pixels: 0.6 times the diagonal of the head's box.
    """

    keypoints: np.ndarray
    is_visible: np.ndarray
    head_sizes: np.ndarray

    @property
    def is_counted(self) -> np.ndarray:
        """(N, 16) bool, visible keypoints that enter the mean over all keypoints."""
        return self.is_visible & [name not in NOT_IN_MEAN for name in MPII.keypoint_names]


def load_mpii_people(file: Union[str, JsonFile], *, needs_keypoints: bool) -> People:
    """Load all people of an MPII JSON file, each with a square box of the same center (see CENTER_SHIFT) and scale.

    Visible keypoints get visibility 2, as MSPN's loss expects; the others get 0. The id of a picture is the number that
    is its name; if the names are not distinct numbers, pictures are numbered from 1. The file does not give the sizes
    of the pictures.

    Args:
        needs_keypoints: False also accepts people without `joints`, such as those of the test set.

    Raises:
        PoseError: the file is missing, malformed or has no usable person; the message names the file and the entry.
    """
    file = as_json_file(file)
    path, entries = file.path, read_entries(file)
    names, centers, scales, keypoints = [], [], [], []
    for number, entry in enumerate(entries):
        where = f'{path}, person {number}'
        names.append(read_name(entry, 'image', where))
        center, scale = _read_center(entry, where)
        centers.append(center)
        scales.append(scale)
        keypoints.append(_read_joints(entry, where) if needs_keypoints or 'joints' in entry else np.zeros((16, 3)))
    table = np.array(keypoints, np.float32)
    if needs_keypoints and not table[:, :, 2].any():
        raise PoseError(f"{path}: none of its {len(entries)} people has a visible joint ('joints_vis')")
    image_ids, file_names, image_index = number_pictures(names)
    sides = np.array(scales) * PIXELS_PER_SCALE
    corners = np.array(centers) - sides[:, None] / 2
    people = People(
        image_ids=image_ids, file_names=file_names, picture_sizes=np.zeros((len(image_ids), 2), np.int64),
        image_index=image_index, boxes_xywh=np.column_stack([corners, sides, sides]), box_scores=np.ones(len(entries)),
        keypoints=table)
    del file, entries, keypoints
    release_memory()
    return people


def read_entries(file: JsonFile) -> List[Dict]:
    """Return the people of an MPII JSON file, unchecked.

    Raises:
        PoseError: the file is missing, not a list, or empty.
    """
    path, entries = file.path, file.content
    if not isinstance(entries, list):
        raise PoseError(f'{path} should be an MPII annotation file (a list of people with image, center, scale, '
                        f'joints and joints_vis), is {kind_of(entries)}')
    if not entries:
        raise PoseError(f'{path} lists no people')
    return entries


def number_pictures(names: List[str]) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the ids (I,) and names (I,) bytes of the pictures of P people, and each person's picture (P,)."""
    distinct = list(dict.fromkeys(names))
    index_of = {name: index for index, name in enumerate(distinct)}
    stems = [os.path.splitext(os.path.basename(name))[0] for name in distinct]
    ids = [int(stem) if stem.isascii() and stem.isdigit() and len(stem) <= 18 else -1 for stem in stems]
    if min(ids) < 0 or len(set(ids)) < len(ids):
        ids = list(range(1, len(distinct) + 1))
    return (np.array(ids, np.int64), np.array(list(map(name_bytes, distinct))),
            np.array([index_of[name] for name in names], np.int32))


def _read_center(entry: Dict, where: str) -> Tuple[np.ndarray, float]:
    """Return the center (2,) in 0-based pixels, moved down as the published loaders do, and the scale."""
    center = _read_numbers(entry, 'center', (2,), where)
    scale = read_field(entry, 'scale', (int, float), where)
    # In the published loaders a center of -1 marks a person without a position.
    if center[0] == -1:
        raise PoseError(f"{where}: 'center' is {entry['center']}, which marks a person without a place")
    if not 0 < scale < LARGEST_COORDINATE / PIXELS_PER_SCALE:
        raise PoseError(f"{where}: 'scale' should be positive (the person's height / 200 pixels), is {scale}")
    return center + [0, CENTER_SHIFT * scale] - np.array(MPII_FIRST_PIXEL), float(scale)


def _read_joints(entry: Dict, where: str) -> np.ndarray:
    """Return x, y in 0-based pixels and visibility 0 or 2, (16, 3)."""
    places = _read_numbers(entry, 'joints', (16, 2), where)
    visible = _read_numbers(entry, 'joints_vis', (16,), where)
    if not np.isin(visible, (0, 1)).all():
        raise PoseError(f"{where}: 'joints_vis' should be 0 or 1, is {entry['joints_vis']}")
    return np.column_stack([places - MPII_FIRST_PIXEL, 2 * visible])


def _read_numbers(entry: Dict, key: str, shape: Tuple[int, ...], where: str) -> np.ndarray:
    values = read_field(entry, key, list, where)
    rows = values if len(shape) == 2 else [values]
    if len(rows) != (shape[0] if len(shape) == 2 else 1) or not all(
            isinstance(row, list) and len(row) == shape[-1] and all(map(is_coordinate, row)) for row in rows):
        size = ' x '.join(map(str, shape))
        raise PoseError(f'{where}: {key!r} should be {size} finite numbers, is {brief(values)}')
    return np.array(values, np.float64)


def mat_names(path: str) -> Tuple[str, str, str]:
    """Return the possible names of the MATLAB file that belongs to an MPII JSON file (valid.json: gt_valid.mat or
    valid.mat; mpii_val.json: gt_mpii_val.mat, mpii_gt_val.mat or mpii_val.mat)."""
    stem = os.path.splitext(os.path.basename(path))[0]
    head, separator, tail = stem.rpartition('_')
    return f'gt_{stem}.mat', f'{head}{separator}gt_{tail}.mat', f'{stem}.mat'


def find_mat_file(path: str) -> Optional[str]:
    """Return the MATLAB file beside an MPII JSON file, or in the folder `gt_json` beside its folder; None if there
    is none.
    """
    own = os.path.dirname(path)
    candidates = [os.path.join(folder, name) for folder in (own, os.path.join(own, '..', 'gt_json'))
                  for name in mat_names(path)]
    return next((candidate for candidate in candidates if os.path.isfile(candidate)), None)


def load_mpii_truth(file: Union[str, JsonFile]) -> Optional[MPIITruth]:
    """Return the ground truth of PCKh, or None if the sizes of the heads are not known.

    They are in the MATLAB file beside the JSON file, or else in the JSON file itself, if every person has joints and
    either `headbox` (two corners, 1-based pixels) or `head_size` (0.6 times the diagonal of the head box, in pixels).

    Raises:
        PoseError: a file is malformed, or the two files are of different people; the message says what is wrong.
        ImportError: the MATLAB file cannot be read without SciPy.
    """
    file = as_json_file(file)
    path, entries = file.path, read_entries(file)
    mat_path = find_mat_file(path)
    if mat_path is not None:
        truth = read_mat_file(mat_path)
        _check_same_people(truth, entries, mat_path, path)
        return truth
    if not all(isinstance(entry, dict) and 'joints' in entry and ('headbox' in entry or 'head_size' in entry)
               for entry in entries):
        return None
    joints = np.array([_read_joints(entry, f'{path}, person {number}') for number, entry in enumerate(entries)])
    sizes = np.array([_read_head_size(entry, f'{path}, person {number}') for number, entry in enumerate(entries)])
    return MPIITruth(joints[:, :, :2], joints[:, :, 2] > 0, sizes)


def _read_head_size(entry: Dict, where: str) -> float:
    if 'head_size' in entry:
        size = read_field(entry, 'head_size', (int, float), where)
    else:
        corners = read_field(entry, 'headbox', list, where)
        shape = (2, 2) if corners and isinstance(corners[0], list) else (4,)
        first, last = _read_numbers(entry, 'headbox', shape, where).reshape(2, 2)
        size = HEAD_SIZE_OF_DIAGONAL * np.linalg.norm(last - first)
    if not np.isfinite(size) or size <= 0:
        raise PoseError(f'{where}: the head should have a size, has {size}')
    return float(size)


def read_mat_file(path: str) -> MPIITruth:
    """Read MPII's ground truth in MATLAB's format 5 (gt_valid.mat): dataset_joints, jnt_missing (16, N), pos_gt_src
    (16, 2, N) and headboxes_src (2, 2, N: corners x coordinates).

    Raises:
        PoseError: the file is missing or of another format, or a field is missing or has another shape.
        ImportError: SciPy is not installed.
    """
    try:
        from scipy.io import loadmat
    except ImportError:
        raise MissingPackageError(f'{path} is a MATLAB file, which needs SciPy: pip install scipy') from None
    try:
        content = loadmat(path)
    except OSError as error:
        raise PoseError(f'cannot read {path}: {error.strerror or error}') from None
    except NotImplementedError:
        raise PoseError(f'{path} is a MATLAB 7.3 file; save it as version 5 to 7 (save -v7)') from None
    except Exception as error:  # noqa: BLE001  for a damaged file SciPy may raise anything
        raise PoseError(f'{path} is not a MATLAB file that SciPy can read: {error}') from None
    missing = [name for name in ('dataset_joints', 'jnt_missing', 'pos_gt_src', 'headboxes_src') if name not in content]
    if missing:
        raise PoseError(f'{path} has no {", ".join(missing)}; it should be the ground truth of MPII, gt_valid.mat')
    places, absent, heads = (content[name] for name in ('pos_gt_src', 'jnt_missing', 'headboxes_src'))
    count = places.shape[-1]
    for name, array, shape in (('pos_gt_src', places, (16, 2, count)), ('jnt_missing', absent, (16, count)),
                               ('headboxes_src', heads, (2, 2, count))):
        if array.shape != shape or not np.issubdtype(array.dtype, np.number):
            raise PoseError(f'{path}: {name} should be numbers of shape {shape}, is {array.dtype} {array.shape}')
    _check_mat_names(content['dataset_joints'], path)
    is_visible = np.asarray(absent.T, np.float64) == 0
    keypoints = np.transpose(places, (2, 0, 1)).astype(np.float64) - MPII_FIRST_PIXEL
    sizes = HEAD_SIZE_OF_DIAGONAL * np.linalg.norm(heads[1].astype(np.float64) - heads[0], axis=0)
    if not np.isfinite(keypoints[is_visible]).all():
        raise PoseError(f'{path}: pos_gt_src holds places that are not finite, of joints that are not missing')
    has_size = np.isfinite(sizes) & (sizes > 0)
    if not has_size.all():
        raise PoseError(f'{path}: the head of person {np.flatnonzero(~has_size)[0]} has no size (headboxes_src)')
    return MPIITruth(keypoints, is_visible, sizes)


def _check_mat_names(cells: np.ndarray, path: str) -> None:
    names = [str(np.ravel(cell)[0]) if np.size(cell) else '' for cell in np.ravel(cells)]
    if len(names) != len(MAT_NAMES) or any(known and known != name for known, name in zip(MAT_NAMES, names)):
        raise PoseError(f'{path}: dataset_joints should name {", ".join(MPII.keypoint_names)} in this order '
                        f'({", ".join(filter(None, MAT_NAMES))}), is {names}')


def _check_same_people(truth: MPIITruth, entries: List[Dict], mat_path: str, path: str) -> None:
    if len(truth.head_sizes) != len(entries):
        raise PoseError(f'{mat_path} holds {len(truth.head_sizes)} people, {path} {len(entries)}: they should be the '
                        'same people in the same order')
    if not all(isinstance(entry, dict) and 'joints' in entry for entry in entries):
        return
    joints = np.array([_read_joints(entry, f'{path}, person {number}') for number, entry in enumerate(entries)])
    both = truth.is_visible & (joints[:, :, 2] > 0)
    distances = np.linalg.norm(truth.keypoints - joints[:, :, :2], axis=2)[both]
    if len(distances) and np.median(distances) > SAME_PERSON_PIXELS:
        raise PoseError(f'{mat_path} and {path} are of other people, or of the same in another order: half of their '
                        f'joints lie more than {np.median(distances):.0f} pixels apart')
