"""Inputs -> frames -> boxes -> poses: reading and detection run ahead, a batch may hold people of several frames.

    reading (thread) -> detection (thread) -> poses (the caller's thread) -> drawing and encoding (`drawings.py`)
"""
import threading
from dataclasses import dataclass, replace
from typing import Callable, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from ..data.images import read_picture
from ..media.inputs import PICTURE_ENDINGS, Input
from ..media.videos import Video
from ..system.errors import PoseError
from ..tracking import PoseTracker
from .background import Background, Ended
from .box_poses import BoxPoser, PosesOfPicture

# Frames that may wait between two steps, and bytes of all pictures in memory: a photo of 100 megapixels takes 300 MB.
FRAMES_AHEAD = 4
BYTES_UNDER_WAY = 600_000_000
# Most frames whose people may share a batch.
FRAMES_IN_BATCH = 16
# The box around the last pose is enlarged by this share of its size to contain the person a few frames later.
FOLLOWED_MARGIN = 0.25
# People are followed only while the mean keypoint score of their pose is above this.
FOLLOWED_SCORE = 0.3


class BoxSource:
    """Where the boxes of a picture come from: given ones, a detector, or the picture's edges.

    Args:
        detector: picture -> boxes (P, 4) and scores (P,).
        boxes_xywh: (P, 4), the same for every picture.
    """

    def __init__(self, detector: Optional[Callable] = None, boxes_xywh: Optional[np.ndarray] = None):
        self.detector, self.boxes_xywh = detector, boxes_xywh

    @property
    def detects(self) -> bool:
        """Whether boxes come from a detector."""
        return self.boxes_xywh is None and self.detector is not None

    def boxes_on(self, picture: np.ndarray, own_boxes: Optional[np.ndarray] = None) -> Tuple[np.ndarray, np.ndarray]:
        """Return boxes (P, 4) and scores (P,); boxes of the picture itself (`own_boxes`) take precedence."""
        given = own_boxes if own_boxes is not None else self.boxes_xywh
        if given is not None:
            return given, np.ones(len(given))
        if self.detector is not None:
            boxes, scores = self.detector(picture)
            return np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(scores, np.float64).reshape(-1)
        return np.array([[0, 0, picture.shape[1], picture.shape[0]]], np.float64), np.ones(1)


@dataclass(frozen=True)
class PosedFrame:
    """A frame and the people on it.

    Attributes:
        source: where it comes from.
        number: of the frame in its video, from 0; 0 for a picture.
        picture: (H, W, 3) uint8, blue, green, red.
        poses: of the people.
        rate: frames per second; None for a picture.
        num_frames: of its video, where that is known.
        boxes_xywh, box_scores: (P, 4) and (P,) of the boxes, until there are poses.
    """

    source: Input
    number: int
    picture: np.ndarray
    poses: Optional[PosesOfPicture] = None
    rate: Optional[float] = None
    num_frames: Optional[int] = None
    boxes_xywh: Optional[np.ndarray] = None
    box_scores: Optional[np.ndarray] = None


class Budget:
    """A limit on the bytes of the pictures in memory: more have to wait, but a single picture may exceed the limit."""

    def __init__(self, limit: int):
        self._limit, self._used, self._changed = limit, 0, threading.Condition()

    def take(self, size: int, is_over: threading.Event) -> None:
        """Wait for room, or until `is_over` is set."""
        with self._changed:
            self._changed.wait_for(lambda: is_over.is_set() or not self._used or self._used + size <= self._limit)
            self._used += size

    def give_back(self, size: int) -> None:
        with self._changed:
            self._used -= size
            self._changed.notify_all()

    def end(self, is_over: threading.Event) -> None:
        """Set the event, and wake all waiting threads."""
        with self._changed:
            is_over.set()
            self._changed.notify_all()


def read_frames(inputs: Sequence[Input], on_problem: Callable[[Exception], None], budget: Budget,
                is_over: threading.Event, say: Callable[[str], None] = lambda _: None) -> Iterator[PosedFrame]:
    """Yield the frames of all inputs; each is read once.

    Args:
        on_problem: called with the error of an input that cannot be read; the other inputs are still read.
        is_over: set when no more frames are wanted.
    """
    for source in inputs:
        try:
            if source.kind == 'picture':
                picture = _read_picture_or_video(source)
                if isinstance(picture, Video):
                    yield from _frames_of(replace(source, kind='video'), picture, budget, is_over, say)
                    continue
                budget.take(picture.nbytes, is_over)
                yield PosedFrame(source, 0, picture)
            else:
                video = Video(source.path, is_camera=source.kind == 'camera')
                yield from _frames_of(source, video, budget, is_over, say)
        except (PoseError, OSError) as error:
            on_problem(error)


def _read_picture_or_video(source: Input):
    """Read a file whose ending does not tell whether it is a picture or a video."""
    try:
        return read_picture(source.path)
    except PoseError as error:
        if source.path.lower().endswith(PICTURE_ENDINGS):
            raise
        try:
            return Video(source.path)
        except PoseError:
            raise PoseError(f'{source.path} is neither a picture nor a video that OpenCV can read: {error}') from None


def _frames_of(source: Input, video: Video, budget: Budget, is_over: threading.Event, say) -> Iterator[PosedFrame]:
    try:
        kind = 'camera' if video.is_camera else f'video of {video.num_frames or "an unknown number of"} frames'
        say(f'{source.name}: {kind}, {video.rate:g} frames per second'
            + ('' if video.is_rate_known else ' (it does not say)') + ('' if video.is_camera else '; its sound is left '
                                                                       'out'))
        last = -1
        for number, picture in video:
            if number > last + 1:
                say(f'{source.name}: frames {last + 1} to {number - 1} cannot be decoded')
            last = number
            if not video.is_camera:
                budget.take(picture.nbytes, is_over)
            yield PosedFrame(source, number, picture, rate=video.rate, num_frames=video.num_frames)
        if video.num_frames and last + 1 < video.num_frames:
            say(f'{source.name}: it ends after {last + 1} of {video.num_frames} frames')
        if last < 0:
            raise PoseError(f'{source.path} holds no frame that can be decoded')
    finally:
        video.close()


def _with_boxes(frames: Iterator[PosedFrame], boxes: BoxSource) -> Iterator[PosedFrame]:
    for frame in frames:
        found, scores = boxes.boxes_on(frame.picture, frame.source.boxes_xywh)
        yield replace(frame, boxes_xywh=found, box_scores=scores)


def pose_frames(inputs: Sequence[Input], poser: BoxPoser, boxes: BoxSource, *, detect_every: int = 1,
                tracker: Optional[PoseTracker] = None, on_problem: Callable[[Exception], None],
                say: Callable[[str], None] = lambda _: None,
                budget: Optional[Budget] = None) -> Iterator[PosedFrame]:
    """Yield the frames of all inputs in order, with the poses on them.

    Args:
        detect_every: frames of a video from one detection to the next; people are followed in between.
        tracker: see `PoseEstimator.frames`; it is reset for every video.
        budget: if given, the caller has to give back the bytes of each frame when done; otherwise it happens here.
    """
    if detect_every < 1:
        raise PoseError(f'detect_every should be 1 or more, is {detect_every}')
    own_budget = budget or Budget(BYTES_UNDER_WAY)
    is_live = any(source.kind == 'camera' for source in inputs)
    follows = detect_every > 1 and boxes.detects
    is_over = threading.Event()
    frames = Background(read_frames(inputs, on_problem, own_budget, is_over, say), FRAMES_AHEAD, newest_only=is_live)
    stages = [frames]
    if not follows:
        stages.append(Background(_with_boxes(iter(frames), boxes), FRAMES_AHEAD))
    try:
        if follows:
            posed = _follow(frames, poser, boxes, detect_every)
        else:
            posed = _in_batches(stages[-1], poser, 1 if is_live else FRAMES_IN_BATCH)
        for frame in posed if tracker is None else _tracked(posed, tracker):
            yield frame
            if budget is None and frame.source.kind != 'camera':
                own_budget.give_back(frame.picture.nbytes)
    finally:
        own_budget.end(is_over)
        for stage in stages[::-1]:
            stage.close()


def _tracked(frames: Iterator[PosedFrame], tracker: PoseTracker) -> Iterator[PosedFrame]:
    """Give the people of videos their ids; the tracker is reset for every video."""
    source = None
    for frame in frames:
        if frame.source.kind != 'picture':
            if frame.source is not source:
                tracker.reset()
            source = frame.source
            found = tracker.update(frame.poses.keypoints, frame.poses.boxes_xywh, frame.number / frame.rate)
            frame = replace(frame, poses=frame.poses._replace(ids=found.ids, keypoints=found.keypoints))
        yield frame


def _in_batches(frames: Background, poser: BoxPoser, most: int) -> Iterator[PosedFrame]:
    """Gather the waiting frames, up to a batch of people, and process them without waiting for more."""
    waiting: List[PosedFrame] = []
    is_over = False
    while not is_over:
        try:
            frame = frames.get(wait=not waiting)
        except Ended:
            frame, is_over = None, True
        if frame is not None:
            waiting.append(frame)
            if len(waiting) < most and sum(len(each.boxes_xywh) for each in waiting) < poser.batch_size:
                continue
        if waiting:
            yield from _posed(waiting, poser)
            waiting = []


def _posed(frames: List[PosedFrame], poser: BoxPoser) -> List[PosedFrame]:
    poses = poser.by_protocol([each.picture for each in frames], [each.boxes_xywh for each in frames],
                              [each.box_scores for each in frames])
    return [replace(frame, poses=each) for frame, each in zip(frames, poses)]


def _follow(frames: Background, poser: BoxPoser, boxes: BoxSource, detect_every: int) -> Iterator[PosedFrame]:
    """Detect on every n-th frame of a video and on pictures; in between the boxes are those around the last poses."""
    last, source, since = None, None, 0
    for frame in frames:
        if frame.source is not source or frame.source.kind == 'picture':
            last, source = None, frame.source
        if last is None or not len(last[0]) or since >= detect_every:
            found, since = boxes.boxes_on(frame.picture, frame.source.boxes_xywh), 1
        else:
            found, since = last, since + 1
        frame, = _posed([replace(frame, boxes_xywh=found[0], box_scores=found[1])], poser)
        last = followed_boxes(frame.poses, frame.picture.shape[:2])
        yield frame


def followed_boxes(poses: PosesOfPicture, picture_shape: Tuple[int, int]) -> Tuple[np.ndarray, np.ndarray]:
    """Return boxes (P, 4) for the next frame, and scores (P,), of the people whose poses score high enough."""
    boxes, scores = [], []
    for keypoints, box_score, hypothesis in zip(poses.keypoints, poses.box_scores, poses.hypotheses):
        if hypothesis or keypoints[:, 2].mean() <= FOLLOWED_SCORE:
            continue
        # A threshold of half the mean score leaves out joints that are not visible; some joints always remain.
        sure = keypoints[keypoints[:, 2] >= 0.5 * keypoints[:, 2].mean(), :2]
        low, high = sure.min(axis=0), sure.max(axis=0)
        margin = FOLLOWED_MARGIN / 2 * max(high - low)
        low = np.clip(low - margin, 0, None)
        high = np.minimum(high + margin, [picture_shape[1], picture_shape[0]])
        if (high - low >= 2).all():
            boxes.append([*low, *(high - low)])
            scores.append(box_score)
    return np.array(boxes, np.float64).reshape(-1, 4), np.array(scores, np.float64)
