"""MPII Human Pose (Andriluka et al., CVPR 2014), scored by PCKh; crops follow the annotated centers and scales."""
from typing import List

import numpy as np

from ..data.mpii import MPII_FIRST_PIXEL, MPIITruth, load_mpii_people, load_mpii_truth, mat_names
from ..data.skeletons import Skeleton
from ..metrics import mpii as metrics
from ..metrics.keypoints import format_keypoints_by_pckh
from ..system.errors import MissingPackageError, PoseError
from ..system.files import JsonFile, atomic_file
from .record import Metrics, PoseDataset


def people(file: JsonFile, _skeleton: Skeleton, _sample_rule: str, needs_keypoints: bool):
    """Return all people of the file."""
    return load_mpii_people(file, needs_keypoints=needs_keypoints)


def images(_file: JsonFile):
    """Refuse: boxes from elsewhere are not used on MPII."""
    raise PoseError('MPII is evaluated on its annotated centers and scales (--use_gt_bbox, TEST.USE_GT_BBOX), '
                    'not on detected boxes')


def reason_without_score(file: JsonFile, _skeleton: Skeleton, _config) -> str:
    """Return why results cannot be scored, or '' if they can."""
    truth = load_mpii_truth(file)
    if truth is not None and not truth.is_counted.any():
        raise PoseError(f'{file.path}: no keypoint of the ground truth is visible; there is nothing to evaluate on')
    if truth is not None:
        return ''
    return (f'PCKh needs the sizes of the heads, which {file.path} does not hold: put the MATLAB ground truth beside '
            f"it as {mat_names(file.path)[0]}, or give every person joints and a 'headbox' or a 'head_size'")


def _truth(file: JsonFile) -> MPIITruth:
    truth = load_mpii_truth(file)
    if truth is None:
        raise PoseError(f'{file.path} does not say how large the heads are, without which there is no PCKh')
    return truth


def evaluate(file: JsonFile, results: List[dict], _skeleton: Skeleton, _config) -> Metrics:
    """Return the ten numbers in percent. There must be one result per person, in the order of the file."""
    return metrics.evaluate_mpii(_truth(file), results)


def format_summary(numbers: Metrics, _config) -> str:
    """Return the mean PCKh as text."""
    return f'PCKh@0.5 mean {numbers["Mean"]:.3f}'


def keypoint_table(file: JsonFile, results: List[dict], skeleton: Skeleton, _config) -> str:
    """Return a table with the PCKh of each keypoint."""
    truth = _truth(file)
    shares = metrics.keypoint_pckh(truth, metrics.head_distances(truth, results), metrics.THRESHOLD)
    return format_keypoints_by_pckh(dict(zip(skeleton.keypoint_names, shares.tolist())))


def check_submission(path: str) -> None:
    """Raise ImportError if no MATLAB file can be written."""
    try:
        import scipy.io  # noqa: F401
    except ImportError:
        raise MissingPackageError(f'{path} is a MATLAB file, which needs SciPy: pip install scipy') from None


def write_submission(path: str, results: List[dict]) -> None:
    """Write a MATLAB file as the published releases do: `preds` (N, 16, 2) in 1-based pixels, in the order of the
    annotation file."""
    check_submission(path)
    from scipy.io import savemat
    keypoints = np.array([record['keypoints'] for record in results], np.float64).reshape(len(results), -1, 3)
    try:
        with atomic_file(path) as temporary:
            savemat(temporary, {'preds': keypoints[:, :, :2] + MPII_FIRST_PIXEL})
    except OSError as error:
        raise OSError(f'cannot write {path}: {error.strerror or error}') from error


DATASET = PoseDataset(
    name='mpii', skeleton='mpii', folders=('annot', 'annotations'),
    annotation_names={'TRAIN': ('train.json', 'mpii_train.json'), 'TEST': ('valid.json', 'mpii_val.json')},
    people=people, images=images, reason_without_score=reason_without_score, evaluate=evaluate, main_metric='Mean',
    format_metrics=metrics.format_metrics, format_summary=format_summary, keypoint_table=keypoint_table,
    distances=lambda file, results: metrics.measure_distances(_truth(file), results), one_pose_each=True,
    submission_ending='.mat', check_submission=check_submission, write_submission=write_submission)
