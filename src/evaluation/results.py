"""Keypoints in the picture → COCO-style results: rescoring, suppression of duplicates (OKS NMS), records.

Protocol: the published one of each model. Simple Baselines, HRNet and MIPNet use OKS NMS, MSPN does not, and on
CrowdPose no model does. MIPNet (arXiv 2101.11223) predicts further people in a box: their poses get a lower box score
and go through the NMS together with all other poses of the picture.
"""
from typing import List, Optional, Tuple

import numpy as np

from ..data.people import People
from ..data.skeletons import Skeleton
from ..models.registry import model_of
from .oks import oks_nms, soft_oks_nms
from .predict import Poses


def person_scores(box_scores: np.ndarray, keypoint_scores: np.ndarray, threshold: Optional[float]) -> np.ndarray:
    """Return box score x mean keypoint score (P,).

    Args:
        box_scores: (P,).
        keypoint_scores: (P, K).
        threshold: only keypoint scores above it enter the mean (0 if there are none); None takes all.
    """
    if threshold is None:
        return box_scores * keypoint_scores.mean(axis=1)
    counted = keypoint_scores > threshold
    total = np.where(counted, keypoint_scores, 0).sum(axis=1)
    return box_scores * total / np.maximum(counted.sum(axis=1), 1)


def box_score_factors(poses: Poses, decay: float) -> np.ndarray:
    """Return the factor of the box score of each pose: 1 for the first hypothesis, `decay` for the others."""
    return np.where(poses.hypotheses > 0, decay, 1.0)


def rank_poses(people: People, poses: Poses, skeleton: Skeleton, *, keypoint_threshold: Optional[float],
               nms_threshold: Optional[float], soft_nms: bool = False, decay: float = 1.0
               ) -> Tuple[np.ndarray, np.ndarray]:
    """Return the rows of the poses that are kept, by image id and descending score, and the scores (M,) of all M poses.

    Args:
        keypoint_threshold: only keypoint scores above it count for the score of a person; None counts all.
        nms_threshold: OKS above which the lower-scored of two poses of a picture is dropped; None keeps all.
        soft_nms: use soft NMS instead, see `soft_oks_nms`; the poses of a picture are then in its order.
        decay: factor of the box score for every hypothesis but the first.
    """
    box_scores = people.box_scores[poses.people] * box_score_factors(poses, decay)
    scores = person_scores(box_scores, poses.keypoints[:, :, 2], keypoint_threshold)
    image_ids, suppress = _image_ids(people, poses), soft_oks_nms if soft_nms else oks_nms
    # Second hypotheses come before the first ones, and those before the rest, as in the release. The order matters for
    # equal scores: NMS prefers the later pose, an evaluator the earlier one.
    turn = np.where(poses.hypotheses < 2, 1 - poses.hypotheses, poses.hypotheses)
    order = np.lexsort((turn, image_ids))
    kept = []
    for rows in np.split(order, np.flatnonzero(np.diff(image_ids[order])) + 1):
        if nms_threshold is None:
            kept.append(rows[np.argsort(-scores[rows], kind='stable')])
        else:
            kept.append(rows[suppress(poses.keypoints[rows], scores[rows], poses.crop_areas[rows], nms_threshold,
                                      np.array(skeleton.oks_sigmas))])
    return np.concatenate(kept), scores


def rank_by_protocol(config, people: People, poses: Poses, skeleton: Skeleton) -> Tuple[np.ndarray, np.ndarray]:
    """Return `rank_poses` by the protocol of a resolved configuration."""
    return rank_poses(people, poses, skeleton,
                      keypoint_threshold=model_of(config).keypoint_threshold(config),
                      nms_threshold=config.TEST.OKS_THRE if config.TEST.OKS_NMS else None,
                      soft_nms=config.TEST.SOFT_NMS, decay=config.MIPNET.DECAY_THRE)


def coco_records(people: People, poses: Poses, rows: np.ndarray, scores: np.ndarray, *,
                 with_hypothesis: bool = False) -> List[dict]:
    """Return the poses of `rows` in COCO's result format: image_id, category_id, keypoints (x, y, score), score.

    Args:
        with_hypothesis: also add 'hypothesis': which of the people in its box a pose is, counted from 0.
    """
    image_ids = _image_ids(people, poses)
    return [{'image_id': int(image_ids[row]), 'category_id': people.category_id,
             'keypoints': poses.keypoints[row].ravel().tolist(), 'score': float(scores[row]),
             **({'hypothesis': int(poses.hypotheses[row])} if with_hypothesis else {})}
            for row in rows]


def _image_ids(people: People, poses: Poses) -> np.ndarray:
    """Return the image id of every pose."""
    return people.image_ids[people.image_index[poses.people]]
