"""What the page of demo.py does with an uploaded picture or video; the page itself is `demo_page.py`."""
import contextlib
import itertools
import os
import shutil
import tempfile
import time
from collections import OrderedDict, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..checkpoints.zoo_table import PublishedWeights, read_zoo
from ..config import load_recipe
from ..data.images import PICTURE_ENDINGS
from ..detection import DETECTOR_RUNTIMES, PersonDetector
from ..evaluation.load_model import MODEL_ENDINGS
from ..export.runtimes import default_runtime
from ..media.inputs import VIDEO_ENDINGS, Input
from ..media.tables import ResultTables, pose_record
from ..media.videos import VideoFile
from ..models.registry import model_of, num_hypotheses
from ..system.errors import PoseError
from ..tracking import PoseTracker
from ..visualization import write_picture
from .bundled import bundled_weights
from .drawings import DrawingOptions, draw_frame, person_numbers, pose_scores
from .estimator import PoseEstimator
from .pipeline import PosedFrame

BUNDLED, WHOLE_PICTURE, AUTOMATIC = 'bundled small network', 'none: the whole picture is one person', 'automatic'
# Detectors are run with this threshold, and their boxes are filtered by that of the page.
LOWEST_THRESHOLD = 0.05
# Networks that are kept in memory, and results that are kept on the disk for their downloads.
KEPT_ESTIMATORS, KEPT_RESULTS = 2, 50
TRACKINGS = ('off', 'numbers', 'smooth live', 'smooth file')


class Thresholds(NamedTuple):
    """The thresholds of a network: of people and of keypoints."""

    person: float
    keypoint: float


@dataclass(frozen=True)
class Choices:
    """What the user of the page has chosen beside the file.

    Attributes:
        weights: one of `PoseDemo.weights`.
        detector: one of `PoseDemo.detectors`.
        runtime: AUTOMATIC, or a runtime of exported files.
        detector_threshold: boxes of higher scores are people.
        drawing: which poses are drawn, and how.
        tracking: one of TRACKINGS, for videos.
        detect_every: in a video the detector looks at every n-th frame.
    """

    weights: str
    detector: str
    drawing: DrawingOptions
    runtime: str = AUTOMATIC
    detector_threshold: float = 0.3
    tracking: str = 'off'
    detect_every: int = 1


class Outcome(NamedTuple):
    """What the page shows.

    Attributes:
        headline: the number of people, in one line.
        notes: further lines.
        picture, video: path of the drawing; one of them is None.
        columns, rows: of the table.
        results: path of results.json.
        frame: of a picture, to draw it again with other options; None for a video.
        weights, runtime: that it was made with.
    """

    headline: str
    notes: List[str]
    picture: Optional[str]
    video: Optional[str]
    columns: Tuple[str, ...]
    rows: List[list]
    results: str
    frame: Optional[PosedFrame]
    weights: str
    runtime: str


PICTURE_COLUMNS = ('person', 'drawn', 'score', 'box score', 'box: left, top, width, height')
VIDEO_COLUMNS = ('person', 'frames', 'first frame', 'last frame', 'mean score')


class PoseDemo:
    """Runs networks on uploaded files, one file after the other, whoever asks.

    Args:
        paths: checkpoints and exported files to choose from; the first one is the default.
        published: names of published weights to choose from before all others.
        detectors: paths of detectors to choose from.
        folder: for the results; it has to exist.
        recipe: of checkpoints without a recipe inside.
        device: of MindSpore.
        max_frames: of a video; the rest is left out.

    Raises:
        PoseError: a file is missing or a name unknown.
    """

    def __init__(self, paths: Sequence[str] = (), published: Sequence[str] = (), detectors: Sequence[str] = (), *,
                 folder: str, recipe: Optional[str] = None, device: str = 'auto', max_frames: int = 600):
        self._folder, self._recipe, self._device, self.max_frames = folder, recipe, device, max_frames
        self._paths = _by_name(paths)
        self._detector_paths = _by_name(detectors)
        zoo = read_zoo()
        unknown = next((name for name in published if name not in zoo), None)
        if unknown is not None:
            raise PoseError(f'no published weights are called {unknown}; all: python -m src.checkpoints.zoo list')
        self._published: Dict[str, PublishedWeights] = {
            _title(zoo[name]): zoo[name] for name in [*published, *zoo]
            if not zoo[name].is_start and zoo[name].has_recipe}
        first = [_title(zoo[name]) for name in published]
        self.weights = list(dict.fromkeys([*self._paths, *first, *self._bundled(), *self._published]))
        self.detectors = [*self._detector_paths, WHOLE_PICTURE]
        self.runtimes = [AUTOMATIC, *DETECTOR_RUNTIMES]
        self._estimators: OrderedDict[Tuple[str, str], PoseEstimator] = OrderedDict()
        self._opened: Dict[Tuple[str, str], PersonDetector] = {}
        self._defaults: Dict[str, float] = {}
        # Networks are made and run in a single thread, as MindSpore's settings are those of a thread.
        self._worker = ThreadPoolExecutor(1, 'networks')

    @staticmethod
    def _bundled() -> List[str]:
        with contextlib.suppress(PoseError):
            bundled_weights()
            return [BUNDLED]
        return []

    def thresholds(self, weights: str) -> Thresholds:
        """Return the default thresholds of a network; published weights are not downloaded for that."""
        if weights in self._published and self._published[weights].recipe:
            config = load_recipe(self._published[weights].recipe)
        else:
            config = self._worker.submit(self._estimator, weights, AUTOMATIC).result().config
        model = model_of(config)
        return Thresholds(model.draw_person_threshold, model.draw_threshold)

    def detector_threshold(self, detector: str) -> float:
        """Return the default threshold of a detector."""
        if detector == WHOLE_PICTURE:
            return 0.3
        if detector not in self._defaults:
            self._defaults[detector] = PersonDetector(self._detector_paths[detector]).threshold
        return self._defaults[detector]

    def _estimator(self, weights: str, runtime: str) -> PoseEstimator:
        key = weights, runtime
        if key not in self._estimators:
            if weights not in self.weights:
                raise PoseError('choose weights from the list')
            options = {'recipe': self._recipe, 'device': self._device}
            path = self._paths.get(weights)
            if weights in self._published:
                options['weights'], options['recipe'] = self._published[weights].name, None
            elif weights == BUNDLED:
                path, options['recipe'] = bundled_weights()
            is_exported = path is not None and path.endswith(MODEL_ENDINGS)
            if is_exported and runtime != AUTOMATIC and default_runtime(path) != 'mindir':
                options['runtime'] = runtime
            self._estimators[key] = PoseEstimator(path, **options)
        self._estimators.move_to_end(key)
        while len(self._estimators) > KEPT_ESTIMATORS:
            self._estimators.popitem(last=False)
        return self._estimators[key]

    def _detector(self, detector: str, runtime: str, threshold: float) -> Optional[Callable]:
        if detector not in self.detectors:
            raise PoseError('choose a detector from the list')
        if detector == WHOLE_PICTURE:
            return None
        key = detector, '' if runtime == AUTOMATIC else runtime
        if key not in self._opened:
            self._opened[key] = PersonDetector(self._detector_paths[detector], runtime=key[1],
                                               threshold=LOWEST_THRESHOLD)

        def detect(picture: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
            boxes, scores = self._opened[key](picture)
            return boxes[scores > threshold], scores[scores > threshold]

        return detect

    def run(self, path: Optional[str], choices: Choices) -> Outcome:
        """Return the poses of people on an uploaded picture or in an uploaded video.

        Raises:
            PoseError: nothing was uploaded, the file is neither, or the choices do not fit; the message is for the
                user of the page.
            ImportError: a package that was asked for is not installed.
        """
        if not path:
            raise PoseError('choose a picture or a video first')
        name = os.path.basename(path)
        # By the ending and not by `find_inputs`: it would follow the lists of paths in a text file.
        ending = os.path.splitext(name)[1].lower()
        if ending not in PICTURE_ENDINGS + VIDEO_ENDINGS:
            raise PoseError(f'{name} is neither a picture nor a video by its name: pictures end in '
                            f'{", ".join(PICTURE_ENDINGS[:4])} …, videos in {", ".join(VIDEO_ENDINGS[:4])} …')
        source = Input('video' if ending in VIDEO_ENDINGS else 'picture', path)
        try:
            return self._worker.submit(self._run, source, choices).result()
        except (PoseError, OSError) as error:
            # The folder of the upload means nothing to the user.
            raise PoseError(str(error).replace(path, name)) from error

    def _run(self, source: Input, choices: Choices) -> Outcome:
        start = time.perf_counter()
        estimator = self._estimator(choices.weights, choices.runtime)
        estimator.detector = self._detector(choices.detector, choices.runtime, choices.detector_threshold)
        tracker = None
        if source.kind == 'video' and choices.tracking != 'off':
            smooth = {'smooth live': 'live', 'smooth file': 'file'}.get(choices.tracking, 'off')
            tracker = PoseTracker(estimator.skeleton.oks_sigmas, smooth=smooth)
        folder = self._new_folder()
        tables = ResultTables(folder, estimator.keypoint_names)
        frames = estimator.frames(source, detect_every=choices.detect_every, tracker=tracker)
        with contextlib.closing(frames):
            first = next(frames)
            if first.rate is None:
                _tabulate(tables, first, 1, estimator)
                tables.close()
                outcome = self._draw(first, choices, estimator, folder)
            else:
                outcome = self._draw_video(itertools.chain([first], frames), first, choices, estimator, tables, folder)
        return outcome._replace(notes=[*outcome.notes, f'{time.perf_counter() - start:.1f} s, {choices.weights}'])

    def _new_folder(self) -> str:
        folders = sorted(os.scandir(self._folder), key=lambda each: each.stat().st_mtime)
        for each in folders[:max(0, len(folders) + 1 - KEPT_RESULTS)]:
            shutil.rmtree(each.path, ignore_errors=True)
        return tempfile.mkdtemp(prefix='result_', dir=self._folder)

    def redraw(self, outcome: Outcome, choices: Choices) -> Outcome:
        """Return the outcome of a picture with other drawing options, without running the network again."""
        estimator = self._worker.submit(self._estimator, outcome.weights, outcome.runtime).result()
        again = self._draw(outcome.frame, choices, estimator, os.path.dirname(outcome.results))
        return again._replace(weights=outcome.weights, runtime=outcome.runtime)

    def _draw(self, frame: PosedFrame, choices: Choices, estimator: PoseEstimator, folder: str) -> Outcome:
        drawing = draw_frame(frame, choices.drawing, estimator.skeleton)
        stem = os.path.splitext(frame.source.name)[0]
        # A new name: the browser may keep the old picture.
        handle, path = tempfile.mkstemp('.jpg', f'{stem[:60]}_poses_', folder)
        os.close(handle)
        write_picture(path, drawing)
        own = pose_scores(frame.poses)
        is_drawn = own > choices.drawing.score_thresh
        rows = [[int(person), 'yes' if is_drawn[row] else 'no', f'{own[row]:.3f}', f'{frame.poses.box_scores[row]:.3f}',
                 ', '.join(f'{value:.0f}' for value in frame.poses.boxes_xywh[row])]
                for row, person in enumerate(person_numbers(frame.poses))]
        notes = []
        if not rows:
            notes = ['the detector found no box; a lower threshold of boxes lets in less sure ones']
        elif not is_drawn.any():
            notes = [f'nobody is above the threshold of people; the highest score is {own.max():.3f}']
        elif not is_drawn.all():
            notes = [f'{(~is_drawn).sum()} more below the threshold of people']
        return Outcome(_people(int(is_drawn.sum())), notes, path, None, PICTURE_COLUMNS, rows,
                       os.path.join(folder, 'results.json'), frame, choices.weights, choices.runtime)

    def _draw_video(self, frames, first: PosedFrame, choices: Choices, estimator: PoseEstimator, tables: ResultTables,
                    folder: str) -> Outcome:
        stem = os.path.splitext(first.source.name)[0]
        # A format that browsers play.
        video = VideoFile(os.path.join(folder, f'{stem[:60]}_poses.webm'), first.rate)
        seen: Dict[int, List[Tuple[int, float]]] = defaultdict(list)
        most = count = 0
        is_followed = choices.tracking != 'off'
        notes = [] if is_followed else ['people are numbered anew in every frame; “Follow people” keeps their numbers']
        for frame in frames:
            if count == self.max_frames:
                notes.append(f'only the first {self.max_frames} frames were taken')
                break
            count += 1
            _tabulate(tables, frame, count, estimator)
            video.write(draw_frame(frame, choices.drawing, estimator.skeleton))
            own = pose_scores(frame.poses)
            drawn = own > choices.drawing.score_thresh
            most = max(most, int(drawn.sum()))
            for person, score in zip(person_numbers(frame.poses)[drawn], own[drawn]):
                seen[int(person)].append((frame.number, float(score)))
        video.close()
        tables.close()
        rows = [[person, len(each), each[0][0], each[-1][0], f'{np.mean([score for _, score in each]):.3f}']
                for person, each in sorted(seen.items())]
        told = _people(len(rows)) if is_followed else f'{_people(most)} at once'
        return Outcome(f'{told}, {count} frames', notes, None, video.path, VIDEO_COLUMNS, rows, tables.path, None,
                       choices.weights, choices.runtime)


def _people(number: int) -> str:
    return 'nobody' if not number else '1 person' if number == 1 else f'{number} people'


def _tabulate(tables: ResultTables, frame: PosedFrame, image_id: int, estimator: PoseEstimator) -> None:
    poses, number = frame.poses, None if frame.rate is None else frame.number
    with_hypothesis = num_hypotheses(estimator.config) > 1
    tables.add(frame.source.name, number, image_id, [
        pose_record(image_id, frame.source.name, number, int(person), poses.keypoints[row], poses.scores[row],
                    poses.boxes_xywh[row], box_score=round(float(poses.box_scores[row]), 5),
                    **({'hypothesis': int(poses.hypotheses[row])} if with_hypothesis else {}))
        for row, person in enumerate(person_numbers(poses))])


def _title(weights: PublishedWeights) -> str:
    return f'{weights.name} ({", ".join(filter(None, (weights.project, weights.measure)))})'


def _by_name(paths: Sequence[str]) -> Dict[str, str]:
    """Return {name: path} of files; those of the same name keep their folders.

    Raises:
        PoseError: one does not exist.
    """
    missing = next((path for path in paths if not os.path.isfile(path)), None)
    if missing is not None:
        raise PoseError(f'the file {missing} does not exist')
    names = [os.path.basename(path) for path in paths]
    return {path if names.count(name) > 1 else name: path for path, name in zip(paths, names)}
