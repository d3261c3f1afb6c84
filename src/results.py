"""Keypoints in the picture → COCO-style results: rescoring, suppression of duplicates, records.

Protocol: each model's published one; Simple Baselines suppresses by OKS, MSPN does not.
"""
from typing import List, Optional, Tuple

import numpy as np

from src.annotations.people import People
from src.oks import oks_nms
from src.prediction import Poses
from src.skeletons import Skeleton


def person_scores(box_scores: np.ndarray, keypoint_scores: np.ndarray, threshold: Optional[float]) -> np.ndarray:
    """Return box score x mean keypoint score (P,).

    Args:
        box_scores: (P,).
        keypoint_scores: (P, K).
        threshold: only keypoint scores above it enter the mean (0 where there is none); None takes all.
    """
    if threshold is None:
        return box_scores * keypoint_scores.mean(axis=1)
    counted = keypoint_scores > threshold
    total = np.where(counted, keypoint_scores, 0).sum(axis=1)
    return box_scores * total / np.maximum(counted.sum(axis=1), 1)


def rank_poses(people: People, poses: Poses, skeleton: Skeleton, *, keypoint_threshold: Optional[float],
               nms_threshold: Optional[float]) -> Tuple[np.ndarray, np.ndarray]:
    """Return the rows of the poses that are kept, by image id and descending score, and the scores (P,) of all.

    Args:
        keypoint_threshold: of the keypoint scores that count for a person's score; None counts all.
        nms_threshold: OKS above which the lower-scored of two poses of a picture is dropped; None keeps all.
    """
    scores = person_scores(people.box_scores, poses.keypoints[:, :, 2], keypoint_threshold)
    image_ids = people.image_ids[people.image_index]
    kept = []
    order = np.argsort(image_ids, kind='stable')
    for rows in np.split(order, np.flatnonzero(np.diff(image_ids[order])) + 1):
        if nms_threshold is None:
            kept.append(rows[np.argsort(-scores[rows], kind='stable')])
        else:
            kept.append(rows[oks_nms(poses.keypoints[rows], scores[rows], poses.crop_areas[rows], nms_threshold,
                                     np.array(skeleton.oks_sigmas))])
    return np.concatenate(kept), scores


def rank_by_protocol(config, people: People, poses: Poses, skeleton: Skeleton) -> Tuple[np.ndarray, np.ndarray]:
    """Return `rank_poses` by the protocol of a resolved configuration."""
    return rank_poses(people, poses, skeleton,
                      keypoint_threshold=None if config.MODEL.NAME == 'mspn' else config.TEST.IN_VIS_THRE,
                      nms_threshold=config.TEST.OKS_THRE if config.TEST.OKS_NMS else None)


def coco_records(people: People, poses: Poses, rows: np.ndarray, scores: np.ndarray) -> List[dict]:
    """Return the poses of `rows` in COCO's result format: image_id, category_id, keypoints (x, y, score), score."""
    image_ids = people.image_ids[people.image_index]
    return [{'image_id': int(image_ids[row]), 'category_id': 1, 'keypoints': poses.keypoints[row].ravel().tolist(),
             'score': float(scores[row])} for row in rows]
