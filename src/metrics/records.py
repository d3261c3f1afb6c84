"""Records in COCO's result format → arrays; records that an evaluator could not handle are errors."""
from dataclasses import dataclass
from typing import Iterable, List

import numpy as np

from ..system.errors import PoseError
from ..system.files import is_number
from ..system.printing import brief


@dataclass(frozen=True)
class PoseArrays:
    """D found poses.

    Attributes:
        image_ids: (D,) int64.
        keypoints: (D, K, 2) float64, picture pixels.
        keypoint_scores: (D, K).
        scores: (D,) float64.
    """

    image_ids: np.ndarray
    keypoints: np.ndarray
    keypoint_scores: np.ndarray
    scores: np.ndarray


def check_image_ids(results: List[dict], known: Iterable[int], gt_file: str) -> None:
    """Check that there are results, and that all of them are of pictures in the annotation file.

    Raises:
        PoseError: naming some of the unknown image ids.
    """
    if not results:
        raise PoseError('there is no result to evaluate')
    unknown = sorted({record['image_id'] for record in results} - set(known))
    if unknown:
        raise PoseError(f'{len(unknown)} image ids of the results are not in {gt_file}, e.g. {unknown[:3]}')


def read_records(results: List[dict], num_keypoints: int) -> PoseArrays:
    """Return result records (image_id, keypoints as x, y, score, and score) as arrays.

    Raises:
        PoseError: a record has a wrong number of keypoints, or a number that is not finite; the message names it.
    """
    for number, record in enumerate(results):
        if len(record['keypoints']) != 3 * num_keypoints:
            raise PoseError(f"result {number}: {len(record['keypoints'])} keypoint values, should be "
                            f'{3 * num_keypoints} ({num_keypoints} keypoints, x, y, score each)')
    try:
        keypoints = np.array([record['keypoints'] for record in results], np.float64).reshape(-1, num_keypoints, 3)
        scores = np.array([record['score'] for record in results], np.float64)
    except (TypeError, ValueError, OverflowError):
        for number, record in enumerate(results):
            odd = [value for value in (*record['keypoints'], record['score']) if not is_number(value)]
            if odd:
                raise PoseError(f'result {number} holds {brief(odd[0])}, should hold numbers') from None
        raise
    broken = ~(np.isfinite(keypoints).all(axis=(1, 2)) & np.isfinite(scores))
    if broken.any():
        raise PoseError(f'{broken.sum()} results hold numbers that are not finite, the first is number '
                        f'{np.flatnonzero(broken)[0]}')
    return PoseArrays(np.array([record['image_id'] for record in results], np.int64), keypoints[:, :, :2],
                 keypoints[:, :, 2], scores)
