"""Frames with poses -> drawings, written as pictures and videos to one folder under the names of their inputs."""
import os
from dataclasses import dataclass
from typing import Dict, List, Optional, Set, Tuple

import numpy as np

from ..data.skeletons import Skeleton
from ..media.inputs import Input
from ..media.videos import VideoFile
from ..system.errors import PoseError
from ..visualization import draw_people, write_picture
from .box_poses import PosesOfPicture
from .pipeline import PosedFrame

LABELS = ('number', 'score', 'both', 'none')
# Formats that `write_picture` writes; drawings of pictures in other formats get the last of these.
WRITTEN_ENDINGS = ('.jpg', '.jpeg', '.png')


@dataclass(frozen=True)
class DrawingOptions:
    """Which poses are drawn, and how.

    Attributes:
        score_thresh: people with a higher mean keypoint score are drawn.
        keypoint_thresh: keypoints with a higher score are drawn.
        show_boxes, by_person, line_width: as of `draw_people`.
        labels: one of LABELS.
        is_black: draw on black instead of on the picture.
    """

    score_thresh: float
    keypoint_thresh: float
    show_boxes: bool = True
    labels: str = 'number'
    line_width: Optional[int] = None
    is_black: bool = False
    by_person: bool = False


def pose_scores(poses: PosesOfPicture) -> np.ndarray:
    """Return the scores (P,) of the poses without the box scores."""
    return poses.scores / np.maximum(poses.box_scores, 1e-9)


def person_numbers(poses: PosesOfPicture) -> np.ndarray:
    """Return the numbers (P,) of the people: their track ids in a video, or else numbers from 1."""
    return np.arange(1, len(poses.scores) + 1) if poses.ids is None else poses.ids


def draw_frame(frame: PosedFrame, options: DrawingOptions, skeleton: Skeleton) -> np.ndarray:
    """Return the drawing of a frame, (H, W, 3) uint8; people keep the numbers that they have in the results."""
    rows = np.flatnonzero(pose_scores(frame.poses) > options.score_thresh)
    canvas = np.zeros_like(frame.picture) if options.is_black else frame.picture
    if not len(rows):
        return canvas
    poses, numbers = frame.poses.select(rows), person_numbers(frame.poses)[rows]
    words = {'number': '{0}', 'score': '{1:.2f}', 'both': '{0}: {1:.2f}', 'none': ''}[options.labels]
    return draw_people(canvas, poses.keypoints, skeleton, person_scores=poses.scores, boxes_xywh=poses.boxes_xywh,
                       is_further=poses.hypotheses > 0, keypoint_score_thresh=options.keypoint_thresh,
                       labels=[words.format(number, score) for number, score in zip(numbers, poses.scores)],
                       numbers=numbers - 1, show_boxes=options.show_boxes, by_person=options.by_person,
                       line_width=options.line_width, legend=True)


class DrawingFolder:
    """A folder that gets a drawing of every picture and every video; the inputs themselves are never overwritten.

    Args:
        folder: an existing folder.
        inputs: all inputs that will be drawn.

    Raises:
        PoseError: an input lies where its drawing would go.
    """

    def __init__(self, folder: str, inputs: List[Input]):
        self._folder = folder
        self._inputs = {os.path.realpath(each.path) for each in inputs if each.kind != 'camera'}
        self._taken: Set[str] = set()
        self._paths: Dict[Input, str] = {}
        self._video: Optional[Tuple[Input, VideoFile]] = None
        self._last: Optional[Tuple[int, np.ndarray]] = None
        self.written: List[str] = []
        for each in inputs:
            if os.path.realpath(self.path_of(each)) in self._inputs:
                raise PoseError(f'the drawing of {each.path} would overwrite it: give another folder with '
                                '--img_save_dir')

    def path_of(self, source: Input) -> str:
        """Return where the drawing of an input goes; inputs of the same name in several folders get a number."""
        key = (source.kind, source.path, source.image_id)
        if key not in self._paths:
            stem, ending = os.path.splitext(source.name)
            if source.kind != 'picture':
                ending = '.mp4'
            elif ending.lower() not in WRITTEN_ENDINGS:
                ending = WRITTEN_ENDINGS[-1]
            name, number = stem + ending, 1
            while name.lower() in self._taken:
                number += 1
                name = f'{stem}_{number}{ending}'
            self._taken.add(name.lower())
            self._paths[key] = os.path.join(self._folder, name)
        return self._paths[key]

    def write(self, frame: PosedFrame, drawing: np.ndarray) -> None:
        """Write the drawing of a frame. Frames of a video have to come in order, those of another input after its end.

        Raises:
            OSError: it cannot be written.
        """
        if frame.rate is None:
            write_picture(self.path_of(frame.source), drawing)
            self.written.append(self.path_of(frame.source))
            return
        if self._video is None or self._video[0] is not frame.source:
            self.end_video()
            self._video = frame.source, VideoFile(self.path_of(frame.source), frame.rate)
        # A frame that could not be decoded, or that was skipped on a camera, repeats the drawing before it, so that
        # the video keeps its timing.
        if self._last is not None:
            for _ in range(self._last[0] + 1, frame.number):
                self._video[1].write(self._last[1])
        self._video[1].write(drawing)
        self._last = frame.number, drawing

    def end_video(self) -> None:
        """Complete the video that is being written, if there is one."""
        video, self._video, self._last = self._video, None, None
        if video is not None and video[1].close():
            self.written.append(video[1].path)
