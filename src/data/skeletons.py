"""The keypoint layouts of the data sets: names, limbs, OKS constants and left/right partners.

Whatever follows from the names is computed from them, such as the flip permutation, so that a layout cannot contradict
itself. The user's own layouts are read from files (`skeleton_files.py`).
"""
from dataclasses import dataclass
from functools import cached_property
from typing import Dict, Optional, Tuple

import numpy as np

from ..system.errors import PoseError
from ..system.printing import brief
from .keypoint_sides import pair_names, plain_name


@dataclass(frozen=True)
class Skeleton:
    """One keypoint layout of K keypoints.

    Attributes:
        name: of the layout, often that of its data set.
        keypoint_names: K names.
        links: pairs of keypoint names that are drawn as a limb.
        oks_sigmas: K standard deviations of the OKS, one per keypoint, relative to the object scale.
        upper_body: names of the keypoints that MSPN's half-body augmentation counts as the upper body. HRNet's does not
            count the hips: `is_above_hips`. If empty, there is no half-body augmentation.
        swap_pairs: pairs of names that are swapped in a mirrored picture; None derives them from the names
            (`keypoint_sides.py`).
        colors: ('#rrggbb', names of the keypoints drawn in this color), where the user chose colors.
        other_names: (name in annotation files, keypoint that it means), where files use other names; '' means that the
            file's keypoint is left out.
    """

    name: str
    keypoint_names: Tuple[str, ...]
    links: Tuple[Tuple[str, str], ...]
    oks_sigmas: Tuple[float, ...]
    upper_body: Tuple[str, ...]
    swap_pairs: Optional[Tuple[Tuple[str, str], ...]] = None
    colors: Tuple[Tuple[str, Tuple[str, ...]], ...] = ()
    other_names: Tuple[Tuple[str, str], ...] = ()

    @property
    def num_keypoints(self) -> int:
        return len(self.keypoint_names)

    @cached_property
    def flip_index(self) -> np.ndarray:
        """Permutation (K,) int64: entry k is the keypoint that keypoint k becomes in a mirrored picture."""
        return np.array([self.keypoint_names.index(self.partners.get(name, name)) for name in self.keypoint_names],
                        np.int64)

    @cached_property
    def partners(self) -> Dict[str, str]:
        """{name of a keypoint: name of its left or right partner}, for those that have one."""
        pairs = pair_names(self.keypoint_names).pairs if self.swap_pairs is None else self.swap_pairs
        return {name: other for left, right in pairs for name, other in ((left, right), (right, left))}

    @cached_property
    def link_index(self) -> np.ndarray:
        """Limbs as pairs of keypoint indices, (L, 2) int64."""
        return np.array([[self.keypoint_names.index(name) for name in link] for link in self.links],
                        np.int64).reshape(-1, 2)

    @cached_property
    def is_upper_body(self) -> np.ndarray:
        """Mask (K,) bool of the keypoints in `upper_body`."""
        return np.array([name in self.upper_body for name in self.keypoint_names])

    @cached_property
    def is_above_hips(self) -> np.ndarray:
        """Mask (K,) bool of the upper body without the hips."""
        return self.is_upper_body & ~np.array([plain_name(name)[1] == 'hip' for name in self.keypoint_names])


_COCO_NAMES = (
    'nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear', 'left_shoulder', 'right_shoulder', 'left_elbow',
    'right_elbow', 'left_wrist', 'right_wrist', 'left_hip', 'right_hip', 'left_knee', 'right_knee', 'left_ankle',
    'right_ankle')

COCO = Skeleton(
    name='coco',
    keypoint_names=_COCO_NAMES,
    links=(
        ('left_ankle', 'left_knee'), ('left_knee', 'left_hip'), ('right_ankle', 'right_knee'),
        ('right_knee', 'right_hip'), ('left_hip', 'right_hip'), ('left_shoulder', 'left_hip'),
        ('right_shoulder', 'right_hip'), ('left_shoulder', 'right_shoulder'), ('left_shoulder', 'left_elbow'),
        ('right_shoulder', 'right_elbow'), ('left_elbow', 'left_wrist'), ('right_elbow', 'right_wrist'),
        ('left_eye', 'right_eye'), ('nose', 'left_eye'), ('nose', 'right_eye'), ('left_eye', 'left_ear'),
        ('right_eye', 'right_ear'), ('left_ear', 'left_shoulder'), ('right_ear', 'right_shoulder')),
    oks_sigmas=(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087,
                0.087, 0.089, 0.089),
    # MSPN counts the hips as upper body (keypoints 0 to 12); so the lower body has only both knees and both ankles.
    upper_body=_COCO_NAMES[:13],
)

_CROWDPOSE_NAMES = (
    'left_shoulder', 'right_shoulder', 'left_elbow', 'right_elbow', 'left_wrist', 'right_wrist', 'left_hip',
    'right_hip', 'left_knee', 'right_knee', 'left_ankle', 'right_ankle', 'head', 'neck')

# CrowdPose's files give the limbs of COCO's 17 keypoints, which do not fit its 14; so the limbs are defined here.
CROWDPOSE = Skeleton(
    name='crowdpose',
    keypoint_names=_CROWDPOSE_NAMES,
    links=(
        ('left_ankle', 'left_knee'), ('left_knee', 'left_hip'), ('right_ankle', 'right_knee'),
        ('right_knee', 'right_hip'), ('left_hip', 'right_hip'), ('left_shoulder', 'left_hip'),
        ('right_shoulder', 'right_hip'), ('left_shoulder', 'left_elbow'), ('right_shoulder', 'right_elbow'),
        ('left_elbow', 'left_wrist'), ('right_elbow', 'right_wrist'), ('neck', 'left_shoulder'),
        ('neck', 'right_shoulder'), ('head', 'neck')),
    oks_sigmas=(0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079),
    # MSPN was not published for CrowdPose: this is HRNet's choice, without the hips.
    upper_body=_CROWDPOSE_NAMES[:6] + _CROWDPOSE_NAMES[12:],
)

_MPII_NAMES = (
    'right_ankle', 'right_knee', 'right_hip', 'left_hip', 'left_knee', 'left_ankle', 'pelvis', 'thorax', 'upper_neck',
    'head_top', 'right_wrist', 'right_elbow', 'right_shoulder', 'left_shoulder', 'left_elbow', 'left_wrist')

MPII = Skeleton(
    name='mpii',
    keypoint_names=_MPII_NAMES,
    links=(
        ('left_ankle', 'left_knee'), ('left_knee', 'left_hip'), ('right_ankle', 'right_knee'),
        ('right_knee', 'right_hip'), ('left_hip', 'pelvis'), ('right_hip', 'pelvis'), ('pelvis', 'thorax'),
        ('thorax', 'left_shoulder'), ('thorax', 'right_shoulder'), ('left_shoulder', 'left_elbow'),
        ('right_shoulder', 'right_elbow'), ('left_elbow', 'left_wrist'), ('right_elbow', 'right_wrist'),
        ('thorax', 'upper_neck'), ('upper_neck', 'head_top')),
    # MPII is not scored by OKS. These sigmas serve OKS NMS only: joints that COCO has take COCO's, the pelvis takes
    # that of the hips, and thorax, upper neck and head top take those of neck and head in CrowdPose.
    oks_sigmas=(0.089, 0.087, 0.107, 0.107, 0.087, 0.089, 0.107, 0.079, 0.079, 0.079, 0.062, 0.072, 0.079, 0.079,
                0.072, 0.062),
    upper_body=_MPII_NAMES[7:],
)

SKELETONS = {skeleton.name: skeleton for skeleton in (COCO, CROWDPOSE, MPII)}


def register(skeleton: Skeleton) -> None:
    """Make a layout known under its name (DATASET.SKELETON).

    Raises:
        PoseError: there is another layout with this name.
    """
    if SKELETONS.get(skeleton.name, skeleton) != skeleton:
        raise PoseError(f'there is a skeleton {skeleton.name} already; give yours another name')
    SKELETONS[skeleton.name] = skeleton


def get_skeleton(name: str) -> Skeleton:
    """Return the layout of a data set.

    Raises:
        PoseError: the name is unknown; the known ones are listed.
    """
    if name not in SKELETONS:
        raise PoseError(f'unknown skeleton {brief(name)}; known: {", ".join(sorted(SKELETONS))}, and files in .yaml or '
                        '.json (docs/own_data.md)')
    return SKELETONS[name]
