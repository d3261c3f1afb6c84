"""The data sets by DATASET.PROTOCOL. To add one, write a module beside these and an entry below, or a plugin outside of
the package (docs/adding_a_dataset.md)."""
from typing import Dict

from easydict import EasyDict

from ..data.skeleton_files import find_skeleton
from ..data.skeletons import Skeleton
from ..system.errors import PoseError
from . import coco, crowdpose, mpii, ochuman
from .record import PoseDataset

DATASETS: Dict[str, PoseDataset] = {dataset.name: dataset for dataset in (
    coco.DATASET, ochuman.DATASET, crowdpose.DATASET, mpii.DATASET)}


def register(dataset: PoseDataset) -> None:
    """Register a data set under its name, for DATASET.PROTOCOL.

    Raises:
        PoseError: another data set has this name.
    """
    if DATASETS.get(dataset.name, dataset) != dataset:
        raise PoseError(f'there is a data set {dataset.name} already; give yours another name')
    DATASETS[dataset.name] = dataset


def dataset_of(config: EasyDict) -> PoseDataset:
    """Return the record of the configured data set."""
    return DATASETS[config.DATASET.PROTOCOL]


def configured_skeleton(config: EasyDict) -> Skeleton:
    """Return the keypoint layout of a resolved configuration.

    Raises:
        PoseError: the layout is unknown, or MODEL.NUM_JOINTS is not its number of keypoints.
    """
    skeleton = find_skeleton(config.DATASET.SKELETON)
    if skeleton.num_keypoints != config.MODEL.NUM_JOINTS:
        raise PoseError(f'keypoint_num is {config.MODEL.NUM_JOINTS}, but the {skeleton.name} layout has '
                        f'{skeleton.num_keypoints} keypoints')
    return skeleton
