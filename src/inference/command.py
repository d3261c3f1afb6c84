"""What `infer.py` does with pictures, videos and cameras: boxes, poses, drawings and tables, side by side."""
import argparse
import math
import os
import sys
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, Deque, List, Optional, Tuple

import cv2
import numpy as np
from tqdm import tqdm

from ..data.geometry import find_unusable_boxes
from ..data.skeletons import Skeleton
from ..detection import DETECTOR_RUNTIMES, PersonDetector
from ..media.inputs import Input, find_inputs
from ..media.tables import ResultTables, pose_record
from ..models.registry import num_hypotheses
from ..system.command_line import say
from ..system.errors import PoseError
from ..system.files import make_folder
from ..tracking import PoseTracker
from ..tracking.tracker import SMOOTHINGS
from .box_poses import BoxPoser
from .drawings import LABELS, DrawingFolder, DrawingOptions, draw_frame, person_numbers, pose_scores
from .pipeline import BYTES_UNDER_WAY, BoxSource, Budget, PosedFrame, pose_frames
from .stop_signals import stop_on_signals
from .two_passes import pose_frames_in_two_passes

# Number of drawing threads, and of drawings that may wait for the writing thread.
DRAWING_THREADS, DRAWINGS_AHEAD = 2, 6
GET_A_DETECTOR = ('--detector FILE.onnx finds people: YOLOX, RTMDet, NanoDet, YOLOv8 or YOLO11 in ONNX '
                  '(docs/inference.md)')


def add_input_flags(parser: argparse.ArgumentParser) -> None:
    """Add the inputs and the flags that go with them."""
    parser.add_argument('inputs', nargs='*', metavar='INPUT', help='pictures, folders, patterns in quotes, videos, the '
                        'number of a camera, .txt lists, COCO annotation files (.json) with their boxes; without any, '
                        'the numbered pictures of --data_url with the boxes of --det_file_url')
    group = parser.add_argument_group('with INPUT')
    group.add_argument('--detector', metavar='FILE.onnx', help='finds people: YOLOX, RTMDet, NanoDet, YOLOv8, YOLO11')
    group.add_argument('--detector_thresh', type=float, help='boxes of higher scores are people (default: by detector)')
    group.add_argument('--detect_every', type=int, default=1, metavar='N', help='look for people in every N-th '
                       'frame of a video and follow them in between (default: %(default)s)')
    group.add_argument('--box', nargs=4, type=float, action='append', metavar=('X', 'Y', 'WIDTH', 'HEIGHT'),
                       help='of a person, in pixels, on every picture; may be given several times')
    group.add_argument('--track', action='store_true', help='people of a video keep their numbers from frame to frame')
    group.add_argument('--smooth', choices=SMOOTHINGS, default='off', help='poses of a video that do not shake: live '
                       '(with a little lag), file (without, in two passes); both follow people as --track does')
    group.add_argument('--jsonl', action='store_true', help='also write frames.jsonl: a line for every frame')
    group.add_argument('--csv', action='store_true', help='also write keypoints.csv: a row for every '
                       'keypoint')
    group.add_argument('--show', action='store_true', help='show the drawings in a window; q ends')
    group.add_argument('--labels', choices=LABELS, default='number', help='beside people: their number in the results '
                       '(default), their score')
    group.add_argument('--no_boxes', action='store_true', help='draw no boxes')
    group.add_argument('--line_width', type=int, metavar='PIXELS', help='of limbs (default: by the size of people)')
    group.add_argument('--black', action='store_true', help='draw on black')
    group.add_argument('--person_colors', action='store_true', help='a color for each person, not for left and right')


def run_inputs(arguments: argparse.Namespace, config, source, skeleton: Skeleton) -> None:
    """Run everything that the command line names.

    Args:
        config: resolved configuration.
        source: a `LoadedModel` or an `Ensemble`.

    Raises:
        PoseError: an input cannot be used, or a file could not be written; all other files are written.
        KeyboardInterrupt: the run was stopped; the results up to there are written.
    """
    _check(arguments)
    inputs = find_inputs(arguments.inputs, folder=arguments.data_url)
    boxes = _box_source(arguments, inputs)
    make_folder(arguments.img_save_dir)
    folder = DrawingFolder(arguments.img_save_dir, inputs)
    options = DrawingOptions(
        arguments.score_thresh, arguments.keypoint_thresh, show_boxes=not arguments.no_boxes, labels=arguments.labels,
        line_width=arguments.line_width, is_black=arguments.black, by_person=arguments.person_colors)
    poser = BoxPoser(config, source.build_predictor(config, skeleton.flip_index), skeleton,
                     is_compiled=source.needs_mindspore)
    tables = ResultTables(arguments.img_save_dir, skeleton.keypoint_names, with_lines=arguments.jsonl,
                          with_csv=arguments.csv)
    run = _Run(folder, tables, options, skeleton, with_hypothesis=num_hypotheses(config) > 1, shows=arguments.show)
    tracker = None
    if arguments.track or arguments.smooth != 'off':
        tracker = PoseTracker(skeleton.oks_sigmas, smooth=arguments.smooth)
    with stop_on_signals() as stop:
        run.go(inputs, poser, boxes, arguments.detect_every, tracker, stop)
    run.conclude(arguments.img_save_dir, inputs, was_stopped=stop.is_set())


def _check(arguments: argparse.Namespace) -> None:
    if arguments.box and arguments.detector:
        raise PoseError('give --box or --detector, not both')
    if arguments.det_file_url:
        raise PoseError('--det_file_url is for the numbered pictures of --data_url; with INPUT give --box, --detector '
                        'or a COCO annotation file as INPUT')
    if arguments.data_url and not any(word.endswith(('.json', '.txt')) for word in arguments.inputs):
        raise PoseError('--data_url is for an annotation file as INPUT, or for numbered pictures without INPUT')
    for flag in ('detect_every', 'line_width'):
        value = getattr(arguments, flag)
        if value is not None and value < 1:
            raise PoseError(f'--{flag} should be 1 or more, is {value}')
    if arguments.box and np.any(find_unusable_boxes(np.array(arguments.box))):
        raise PoseError(f'--box should be left, top, width and height in pixels, the last two above 0, is '
                        f'{" and ".join(" ".join(f"{value:g}" for value in box) for box in arguments.box)}')
    if arguments.smooth == 'file' and any(word.isdigit() and not os.path.exists(word) for word in arguments.inputs):
        raise PoseError('--smooth file needs the end of a recording: for a camera choose --smooth live')
    if arguments.show and not _has_display():
        raise PoseError('--show needs a display and an OpenCV with windows (pip install opencv-python in place of '
                        'opencv-python-headless); the drawings are files all the same without it')


def _has_display() -> bool:
    has_screen = sys.platform != 'linux' or bool(os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY'))
    gui = next((line for line in cv2.getBuildInformation().splitlines() if line.strip().startswith('GUI:')), 'NONE')
    return has_screen and 'NONE' not in gui


def _box_source(arguments: argparse.Namespace, inputs: List[Input]) -> BoxSource:
    if (arguments.box or arguments.detector) and any(each.boxes_xywh is not None for each in inputs):
        raise PoseError('an annotation file as INPUT has its own boxes: give it without --box and --detector, or give '
                        'the folder of its pictures as INPUT')
    if arguments.box:
        say(f'boxes: {len(arguments.box)} by hand')
        return BoxSource(boxes_xywh=np.array(arguments.box, np.float64))
    if arguments.detector:
        runtime = arguments.runtime if arguments.runtime in DETECTOR_RUNTIMES else ''
        detector = PersonDetector(arguments.detector, runtime=runtime, threads=arguments.threads,
                                  threshold=arguments.detector_thresh)
        say(f'boxes: {detector}, people above {detector.threshold:g}')
        return BoxSource(detector)
    if all(each.boxes_xywh is not None for each in inputs):
        say(f'boxes: {sum(len(each.boxes_xywh) for each in inputs)} of the annotation file')
    else:
        say(f'boxes: the whole picture is taken for one person; {GET_A_DETECTOR}')
    return BoxSource()


class _Run:
    """The frames of a run on their way to files."""

    def __init__(self, folder: DrawingFolder, tables: ResultTables, options: DrawingOptions, skeleton: Skeleton, *,
                 with_hypothesis: bool, shows: bool):
        self._folder, self._tables, self._options, self._skeleton = folder, tables, options, skeleton
        self._with_hypothesis, self._shows = with_hypothesis, shows
        self._under_way: Deque[Tuple[Future, Future]] = deque()
        self._budget = Budget(BYTES_UNDER_WAY)
        self.problems: List[Exception] = []
        self._broken: List[Input] = []
        self.num_frames = self.num_people = self.num_drawn = 0
        self._best = -math.inf

    def go(self, inputs: List[Input], poser: BoxPoser, boxes: BoxSource, detect_every: int,
           tracker: Optional[PoseTracker], stop) -> None:
        """Pose, draw and write all frames until their end or until `stop` is set."""
        start = time.perf_counter()
        has_ids = all(each.image_id is not None for each in inputs)
        bar = tqdm(total=sum(each.kind == 'picture' for each in inputs), unit='frame', disable=not sys.stderr.isatty())
        options = {'detect_every': detect_every, 'tracker': tracker, 'on_problem': self._note, 'say': say,
                   'budget': self._budget}
        is_twice = tracker is not None and tracker.smooth == 'file'
        if is_twice:
            frames = pose_frames_in_two_passes(inputs, poser, boxes, stop=stop, **options)
        else:
            frames = pose_frames(inputs, poser, boxes, **options)
        with ThreadPoolExecutor(DRAWING_THREADS, 'drawing') as drawers, ThreadPoolExecutor(1, 'writer') as writer, bar:
            try:
                for frame in frames:
                    self.num_frames += 1
                    if frame.number == 0 and frame.rate is not None:
                        bar.total += frame.num_frames or 0
                    self._tabulate(frame, frame.source.image_id if has_ids else self.num_frames)
                    # Handed on at once: a picture that waits here would take the room of the next one.
                    drawing = drawers.submit(draw_frame, frame, self._options, self._skeleton)
                    self._under_way.append((drawing, writer.submit(self._write, frame, drawing)))
                    self._collect(0 if self._shows else DRAWINGS_AHEAD, stop)
                    bar.update()
                    bar.set_postfix_str(f'{self.num_people / (time.perf_counter() - start):.1f} people/s')
                    if stop.is_set() and not is_twice:
                        break
            finally:
                frames.close()
                self._collect(0, stop)
                self._attempt(writer.submit(self._folder.end_video).result)
                self._attempt(self._tables.close)
        self.seconds = time.perf_counter() - start

    def _note(self, error: Exception) -> None:
        say(f'warning: {error}')
        self.problems.append(error)

    def _attempt(self, work: Callable[[], None]) -> None:
        """Call `work`, which writes to disk; note its error, so that the other files are still written."""
        try:
            work()
        except (OSError, PoseError) as error:
            # A full disk is reported once, not for every frame.
            if str(error) not in map(str, self.problems):
                self._note(error)

    def _tabulate(self, frame: PosedFrame, image_id: int) -> None:
        poses, number = frame.poses, None if frame.rate is None else frame.number
        own = pose_scores(poses)
        self.num_people += len(own)
        self.num_drawn += int((own > self._options.score_thresh).sum())
        self._best = max([self._best, *own.tolist()])
        records = [pose_record(image_id, frame.source.name, number, int(person), poses.keypoints[row],
                               poses.scores[row], poses.boxes_xywh[row],
                               box_score=round(float(poses.box_scores[row]), 5),
                               **({'hypothesis': int(poses.hypotheses[row])} if self._with_hypothesis else {}))
                   for row, person in enumerate(person_numbers(poses))]
        self._attempt(lambda: self._tables.add(frame.source.name, number, image_id, records))

    def _collect(self, most: int, stop) -> None:
        """Write and show finished drawings until at most `most` are waiting."""
        while len(self._under_way) > most:
            drawing, written = self._under_way.popleft()
            self._attempt(written.result)
            if self._shows:
                cv2.imshow('poses', drawing.result())
                if cv2.waitKey(1) & 0xff in (ord('q'), 27):
                    stop.set()

    def _write(self, frame: PosedFrame, drawing: Future) -> None:
        try:
            if frame.source not in self._broken:
                self._folder.write(frame, drawing.result())
        except OSError:
            # The rest of a video would have a gap.
            if frame.rate is not None:
                self._broken.append(frame.source)
                self._folder.end_video()
            raise
        finally:
            if frame.source.kind != 'camera':
                self._budget.give_back(frame.picture.nbytes)

    def conclude(self, place: str, inputs: List[Input], *, was_stopped: bool) -> None:
        """Print a summary of the run.

        Raises:
            PoseError: a file could not be written.
            KeyboardInterrupt: it was stopped before the end of files.
        """
        if not self.num_frames and self.problems:
            raise self.problems[0]
        rate = self.num_people / max(self.seconds, 1e-9)
        told = f'{self.num_drawn} of {self.num_people} poses on {self.num_frames} frames are drawn'
        say(f'{told}, {rate:.1f} people/s; drawings and results.json are in {place}'
            + (f': {", ".join(map(os.path.basename, self._folder.written[:3]))}'
               + (' …' if len(self._folder.written) > 3 else '')))
        if not self.num_drawn:
            self._say_why_nobody()
        if was_stopped:
            say(f'stopped after {self.num_frames} frames; everything up to there is whole')
            if any(each.kind != 'camera' for each in inputs):
                raise KeyboardInterrupt
        if self.problems:
            raise PoseError(f'{len(self.problems)} of {len(inputs)} inputs or files failed, all others are in {place}; '
                            f'the first: {self.problems[0]}') from self.problems[0]

    def _say_why_nobody(self) -> None:
        if not self.num_people:
            say('no box was found: --detector_thresh 0.1 lets in less sure ones, --box X Y WIDTH HEIGHT gives one')
            return
        lower = suggested_threshold(self._best)
        say(f'nobody scores above {self._options.score_thresh:g}; the highest score is {self._best:.3f}, and '
            f'--score_thresh {lower:g} draws it')


def suggested_threshold(best: float) -> float:
    """Return a number with two decimals below a score."""
    lower = math.floor(best * 100) / 100
    return lower if lower < best else round(lower - 0.01, 2)
