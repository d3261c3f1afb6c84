"""Videos that are read twice: once for the poses of all frames, which are then smoothed without lag, and once to draw
them. Only the poses of a video are kept in memory, never its pictures."""
import threading
from dataclasses import replace
from typing import Callable, Dict, Iterator, List, Optional, Sequence

from ..media.inputs import Input
from ..system.errors import PoseError
from ..tracking import PoseTracker
from ..tracking.tracker import smooth_whole
from .background import Background
from .box_poses import BoxPoser, PosesOfPicture
from .pipeline import BYTES_UNDER_WAY, FRAMES_AHEAD, BoxSource, Budget, PosedFrame, pose_frames, read_frames


def pose_frames_in_two_passes(inputs: Sequence[Input], poser: BoxPoser, boxes: BoxSource, *, tracker: PoseTracker,
                              detect_every: int = 1, on_problem: Callable[[Exception], None],
                              say: Callable[[str], None] = lambda _: None, budget: Optional[Budget] = None,
                              stop: Optional[threading.Event] = None) -> Iterator[PosedFrame]:
    """Yield the same frames as `pose_frames`, with the poses of each video smoothed over the whole video.

    Args:
        stop: an event that ends the run; if it ends the first pass, the second pass covers the frames up to there.

    Raises:
        PoseError: an input is a camera, which cannot be read twice.
    """
    if any(source.kind == 'camera' for source in inputs):
        raise PoseError('smoothing over a whole recording needs its end: for a camera choose smooth live')
    own_budget = budget or Budget(BYTES_UNDER_WAY)
    for source in inputs:
        options = {'detect_every': detect_every, 'on_problem': on_problem}
        if source.kind == 'picture':
            yield from pose_frames([source], poser, boxes, say=say, budget=budget, **options)
            continue
        numbers: List[int] = []
        poses: List[PosesOfPicture] = []
        rate = 0.0
        first_pass = pose_frames([source], poser, boxes, tracker=tracker, say=say, **options)
        for frame in first_pass:
            numbers.append(frame.number)
            poses.append(frame.poses)
            rate = frame.rate
            if stop is not None and stop.is_set():
                break
        first_pass.close()
        ends_here = stop is not None and stop.is_set()
        smooth = smooth_whole([each.ids for each in poses], [each.keypoints for each in poses], rate) if poses else []
        by_number: Dict[int, PosesOfPicture] = {
            number: each._replace(keypoints=keypoints) for number, each, keypoints in zip(numbers, poses, smooth)}
        is_over = threading.Event()
        frames = Background(read_frames([source], lambda _: None, own_budget, is_over), FRAMES_AHEAD)
        try:
            for frame in frames:
                if frame.number not in by_number or (stop is not None and stop.is_set() and not ends_here):
                    break
                yield replace(frame, poses=by_number[frame.number])
                if budget is None:
                    own_budget.give_back(frame.picture.nbytes)
        finally:
            own_budget.end(is_over)
            frames.close()
        if stop is not None and stop.is_set():
            return
