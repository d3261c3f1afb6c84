"""Object keypoint similarity between predictions, and the suppression of duplicates by it, hard or soft.

Protocol: COCO keypoints, as in Microsoft's Simple Baselines release; soft suppression as in the HRNet release.
"""
import numpy as np

EPSILON = np.spacing(1)
# Soft suppression keeps so many poses of a picture, as many as COCO's evaluator looks at.
SOFT_NMS_LIMIT = 20


def oks_to_others(keypoints: np.ndarray, others: np.ndarray, area: float, other_areas: np.ndarray,
                  oks_sigmas: np.ndarray) -> np.ndarray:
    """Return the similarity (P,) of one pose to P others; all keypoints count, whatever their score.

    Args:
        keypoints: (K, 2 or more), x and y first, picture pixels.
        others: (P, K, 2 or more).
        area: of the pose's padded crop box in square pixels; `other_areas` (P,) likewise.
        oks_sigmas: (K,).
    """
    variances = (2 * np.asarray(oks_sigmas)) ** 2
    squared_distance = ((others[:, :, :2] - keypoints[None, :, :2]) ** 2).sum(axis=2)
    mean_area = (area + other_areas) / 2 + EPSILON
    return np.exp(-squared_distance / variances / mean_area[:, None] / 2).mean(axis=1)


def oks_nms(keypoints: np.ndarray, scores: np.ndarray, areas: np.ndarray, threshold: float,
            oks_sigmas: np.ndarray) -> np.ndarray:
    """Return the indices that greedy suppression keeps, best score first.

    A pose is dropped when its similarity to a kept one is above `threshold`. Among equal scores the later pose comes
    first.

    Args:
        keypoints: (P, K, 2 or more) picture pixels.
        scores, areas: (P,).
    """
    order = np.argsort(scores, kind='stable')[::-1]
    kept = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(best)
        similarity = oks_to_others(keypoints[best], keypoints[rest], areas[best], areas[rest], oks_sigmas)
        order = rest[similarity <= threshold]
    return np.array(kept, np.int64)


def soft_oks_nms(keypoints: np.ndarray, scores: np.ndarray, areas: np.ndarray, threshold: float,
                 oks_sigmas: np.ndarray) -> np.ndarray:
    """Return the indices of the SOFT_NMS_LIMIT best poses, in the order of scores that fall by similarity.

    Whenever a pose is kept, the scores of those behind it are multiplied by exp(-OKS² / threshold) and ranked anew; of
    equal ones that which was the last in the ranking before comes first, as in the original. That happens in here only:
    the poses keep their scores, so all that goes are the poses beyond the limit.

    Args:
        keypoints: (P, K, 2 or more) picture pixels.
        scores, areas: (P,).
        threshold: above 0.
    """
    order = np.argsort(scores, kind='stable')[::-1]
    falling = np.asarray(scores, np.float64)[order]
    kept = []
    while order.size and len(kept) < SOFT_NMS_LIMIT:
        best, order = order[0], order[1:]
        kept.append(best)
        similarity = oks_to_others(keypoints[best], keypoints[order], areas[best], areas[order], oks_sigmas)
        falling = falling[1:] * np.exp(-similarity ** 2 / threshold)
        again = np.argsort(falling, kind='stable')[::-1]
        order, falling = order[again], falling[again]
    return np.array(kept, np.int64)
