"""Results → the file that a benchmark's server or evaluation program takes."""
from typing import List

import numpy as np

from ..data.mpii import MPII_FIRST_PIXEL
from ..system.files import whole_file, write_json


def check_submission_path(path: str, protocol: str) -> None:
    """Prove that the name of a submission fits the protocol, and that such a file can be made here.

    Raises:
        ValueError: MPII's should end in .mat, all others in .json.
        ImportError: a MATLAB file is wanted and SciPy is missing.
    """
    ending = '.mat' if protocol == 'mpii' else '.json'
    if not path.endswith(ending):
        raise ValueError(f'--submission {path}: the submission of {protocol} should end in {ending}')
    if protocol == 'mpii':
        try:
            import scipy.io  # noqa: F401
        except ImportError:
            raise ImportError(f'{path} is a MATLAB file, which needs SciPy: pip install scipy') from None


def write_submission(path: str, protocol: str, results: List[dict]) -> None:
    """Write results as the protocol's server takes them, whole or not at all.

    COCO, OCHuman and CrowdPose: a JSON list of image_id, category_id, keypoints (x, y, score of each) and score. MPII:
    a MATLAB file with `preds` (N, 16, 2), 1-based pixels, in the order of the annotation file, as the published
    releases write it.

    Args:
        results: records in COCO's result format.

    Raises:
        ValueError: the name does not fit the protocol.
        ImportError: a MATLAB file is wanted and SciPy is missing.
        OSError: the file cannot be written.
    """
    check_submission_path(path, protocol)
    if protocol != 'mpii':
        kept = ('image_id', 'category_id', 'keypoints', 'score')
        write_json(path, [{key: record[key] for key in kept} for record in results])
        return
    from scipy.io import savemat
    keypoints = np.array([record['keypoints'] for record in results], np.float64).reshape(len(results), -1, 3)
    try:
        with whole_file(path) as temporary:
            savemat(temporary, {'preds': keypoints[:, :, :2] + MPII_FIRST_PIXEL})
    except OSError as error:
        raise OSError(f'cannot write {path}: {error.strerror or error}') from error
