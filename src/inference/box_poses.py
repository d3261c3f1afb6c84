"""Boxes on pictures in memory -> poses, with the scores and the suppression of the network's protocol."""
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..config import input_shape
from ..data.geometry import PIXELS_PER_SCALE
from ..data.people import People
from ..data.samples import cut_crop
from ..data.skeletons import Skeleton
from ..evaluation.predict import Poses, Predictor, first_crops
from ..evaluation.results import box_score_factors, person_scores, rank_by_protocol
from ..models.registry import model_of
from ..system.errors import PoseError

# MindSpore compiles a graph for each batch size; only two are used: the full one, and this one for few people.
SMALL_BATCH = 4
# So many people are computed without compiling: more of them would take longer than the compilation.
UNCOMPILED_PEOPLE = 16


class PosesOfPicture(NamedTuple):
    """The poses of P people on a picture.

    Attributes:
        keypoints: (P, K, 3) float64: x, y in picture pixels, and the score of the keypoint.
        scores: (P,) float64, person scores: box score times the mean of the keypoint scores that the network's
            protocol counts.
        boxes_xywh: (P, 4) float64, what was cropped.
        box_scores: (P,) float64, of the boxes; 1 for boxes without a detector.
        hypotheses: (P,) int64, from 0: which of the people in a box it is, for networks that predict several.
        ids: (P,) int64, of the people over the frames of a video; None without tracking.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    boxes_xywh: np.ndarray
    box_scores: Optional[np.ndarray] = None
    hypotheses: Optional[np.ndarray] = None
    ids: Optional[np.ndarray] = None

    def select(self, rows: np.ndarray) -> 'PosesOfPicture':
        """Return the poses of `rows` (mask or indices)."""
        return PosesOfPicture(*(None if each is None else each[rows] for each in self))


class BoxPoser:
    """Predicts poses in boxes of pictures in memory.

    Args:
        config: resolved configuration.
        predictor: of crops.
        skeleton: layout of the keypoints.
        is_compiled: whether each new batch size costs a compilation.
    """

    def __init__(self, config, predictor: Predictor, skeleton: Skeleton, *, is_compiled: bool):
        self.config, self.skeleton, self._predictor, self._is_compiled = config, skeleton, predictor, is_compiled
        self._crops, self._shape = model_of(config).crops(config), input_shape(config)
        self._uncompiled_people = 0

    @property
    def batch_size(self) -> int:
        return self._predictor.batch_size

    def predict(self, pictures: Sequence[np.ndarray], owners: np.ndarray, boxes_xywh: np.ndarray) -> Poses:
        """Return the poses of all hypotheses in P boxes (P, 4) of the pictures `owners` (P,)."""
        height, width = self._shape
        hypotheses, found, scales_of_all = self._predictor.num_hypotheses, [], []
        for start in range(0, len(boxes_xywh), self.batch_size):
            rows = range(start, min(start + self.batch_size, len(boxes_xywh)))
            run, size = self._way_for(len(rows))
            crops = np.empty((size, height, width, 3), np.uint8)
            centers, scales = np.empty((len(rows), 2), np.float32), np.empty((len(rows), 2), np.float32)
            for place, row in enumerate(rows):
                crop = self._crops.test_crop(boxes_xywh[row], width / height)
                cut_crop(pictures[owners[row]], crop, crops[place])
                centers[place], scales[place] = crop.center, crop.scale
            crops[len(rows):] = crops[0]
            outputs = [first_crops(each, hypotheses, len(rows)) for each in run(crops)]
            positions, scores = self._predictor.decode(*outputs, np.tile(centers, (hypotheses, 1)),
                                                       np.tile(scales, (hypotheses, 1)))
            keypoints = np.concatenate([positions, scores[..., None]], axis=2)
            found.append(keypoints.reshape(hypotheses, len(rows), *keypoints.shape[1:]))
            scales_of_all.append(scales)
        count = len(boxes_xywh)
        keypoints = np.concatenate(found, axis=1).reshape(-1, self.skeleton.num_keypoints, 3) if found else np.empty(
            (0, self.skeleton.num_keypoints, 3))
        if not np.isfinite(keypoints).all():
            raise PoseError('there are poses that are not finite; do recipe and weights belong together?')
        scales = np.concatenate([np.empty((0, 2)), *scales_of_all]).astype(np.float64)
        areas = np.prod(scales * PIXELS_PER_SCALE, axis=1)
        return Poses(keypoints, np.tile(areas, hypotheses), np.tile(np.arange(count), hypotheses),
                     np.repeat(np.arange(hypotheses), count))

    def _way_for(self, count: int) -> Tuple[Callable, int]:
        """Return the function that runs the next `count` crops, and the size of the batch that they are filled up to.
        """
        predictor = self._predictor
        if predictor.needs_whole_batches:
            return predictor.run, self.batch_size
        if not self._is_compiled:
            return predictor.run, count
        if predictor.run_uncompiled is not None and self._uncompiled_people + count <= UNCOMPILED_PEOPLE:
            self._uncompiled_people += count
            return predictor.run_uncompiled, count
        return predictor.run, min(SMALL_BATCH, self.batch_size) if count <= SMALL_BATCH else self.batch_size

    def in_order_of_boxes(self, pictures: Sequence[np.ndarray], boxes: Sequence[np.ndarray],
                          box_scores: Sequence[np.ndarray]) -> List[PosesOfPicture]:
        """Return for every picture one pose per box, of the person the box belongs to, without suppression."""
        owners, all_boxes, all_scores = _joined(boxes, box_scores)
        poses = self.predict(pictures, owners, all_boxes).of_hypothesis(0)
        scores = person_scores(all_scores, poses.keypoints[:, :, 2], model_of(self.config).keypoint_threshold(
            self.config)) if len(owners) else np.empty(0)
        whole = PosesOfPicture(poses.keypoints, scores, all_boxes, all_scores, poses.hypotheses)
        return [whole.select(owners == number) for number in range(len(pictures))]

    def by_protocol(self, pictures: Sequence[np.ndarray], boxes: Sequence[np.ndarray],
                    box_scores: Sequence[np.ndarray]) -> List[PosesOfPicture]:
        """Return the people of every picture, highest score first, with duplicates suppressed as in the network's
        protocol; all people that the network predicts in a box are included."""
        owners, all_boxes, all_scores = _joined(boxes, box_scores)
        poses = self.predict(pictures, owners, all_boxes)
        if not len(owners):
            nobody = PosesOfPicture(poses.keypoints, np.empty(0), all_boxes, all_scores, poses.hypotheses)
            return [nobody] * len(pictures)
        sizes = np.array([(each.shape[1], each.shape[0]) for each in pictures], np.int64)
        people = People(np.arange(len(pictures)), np.array([b''] * len(pictures)), sizes, owners.astype(np.int32),
                        all_boxes, all_scores, np.zeros((len(owners), self.skeleton.num_keypoints, 3), np.float32))
        rows, scores = rank_by_protocol(self.config, people, poses, self.skeleton)
        decay = box_score_factors(poses, self.config.MIPNET.DECAY_THRE)
        whole = PosesOfPicture(poses.keypoints, scores, all_boxes[poses.people], all_scores[poses.people] * decay,
                               poses.hypotheses)
        return [whole.select(rows[owners[poses.people[rows]] == number]) for number in range(len(pictures))]


def _joined(boxes: Sequence[np.ndarray], box_scores: Sequence[np.ndarray]
            ) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Join the boxes of several pictures: return picture index (P,), box (P, 4) and score (P,)."""
    owners = np.repeat(np.arange(len(boxes)), [len(each) for each in boxes])
    return (owners, np.concatenate([np.empty((0, 4)), *boxes]), np.concatenate([np.empty(0), *box_scores]))
