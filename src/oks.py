"""Object keypoint similarity between predictions, and the suppression of duplicates by it.

Protocol: COCO keypoints, as in Microsoft's Simple Baselines release.
"""
import numpy as np

EPSILON = np.spacing(1)


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
