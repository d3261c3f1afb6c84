"""Object keypoint similarity (OKS) between predictions, and OKS-based NMS, hard and soft.

Protocol: COCO keypoints, as in Microsoft's Simple Baselines release; soft NMS as in the HRNet release.
"""
import numpy as np

EPSILON = np.spacing(1)
# Soft NMS keeps this many poses of a picture, as many as COCO's evaluator takes into account.
SOFT_NMS_LIMIT = 20


def oks_to_others(keypoints: np.ndarray, others: np.ndarray, area: float, other_areas: np.ndarray,
                  oks_sigmas: np.ndarray) -> np.ndarray:
    """Return the OKS (P,) of one pose with P others; all keypoints count, whatever their score.

    Args:
        keypoints: (K, 2 or more), x and y first, picture pixels.
        others: (P, K, 2 or more).
        area: area of the pose's padded crop box in square pixels.
        other_areas: (P,), those of the others.
        oks_sigmas: (K,).
    """
    variances = (2 * np.asarray(oks_sigmas)) ** 2
    squared_distance = ((others[:, :, :2] - keypoints[None, :, :2]) ** 2).sum(axis=2)
    mean_area = (area + other_areas) / 2 + EPSILON
    return np.exp(-squared_distance / variances / mean_area[:, None] / 2).mean(axis=1)


def oks_nms(keypoints: np.ndarray, scores: np.ndarray, areas: np.ndarray, threshold: float,
            oks_sigmas: np.ndarray) -> np.ndarray:
    """Return the indices that greedy NMS keeps, best score first.

    A pose is dropped if its OKS with a kept one is above `threshold`. Of equal scores the later pose comes first.

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
    """Return the indices of the at most SOFT_NMS_LIMIT poses that soft NMS keeps, in its order.

    Whenever a pose is kept, the scores of the remaining ones are multiplied by exp(-OKS² / threshold) and the poses are
    ranked again; of equal scores the one that was ranked last comes first, as in the original. These lowered scores are
    used for the ranking only: the poses keep their own scores, and only those beyond the limit are dropped.

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
