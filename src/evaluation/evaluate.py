"""Evaluation of a network or an exported model on annotated pictures: poses, results and metrics, on one device or
several."""
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
from easydict import EasyDict

from ..config import input_shape
from ..data.detections import BoxReport, detected_people, load_detections
from ..data.images import exif_rule
from ..data.keypoint_names import open_annotations
from ..data.locate_pictures import describe_folders, locate_pictures, other_split
from ..data.samples import PersonSamples
from ..datasets.annotation_files import find_annotation_file, find_detection_file
from ..datasets.registry import configured_skeleton, dataset_of
from ..models.record import HYPOTHESIS_NAMES
from ..models.registry import model_of, num_hypotheses
from ..system.device import Processes
from ..system.errors import PoseError
from .predict import Poses, Predictor, predict_poses
from .predictors import network_predictor
from .results import coco_records, rank_by_protocol


class Predicted(NamedTuple):
    """COCO-style results, and the poses before NMS; the same on every process."""

    results: List[dict]
    poses: Poses


class EvaluationResult(NamedTuple):
    """`Predicted` with its metrics, which are {} if the annotations allow no scoring."""

    metrics: Dict[str, float]
    results: List[dict]
    poses: Poses


class Evaluation:
    """The test set of a configuration. It is read once; any number of networks can be measured on it.

    Args:
        config: resolved configuration.
        processes: the processes that share the people; the metrics are the same as with a single process.
        explicit_keys: config keys that the user has set; their files are not looked for elsewhere.
        must_score: False also takes annotation files without ground truth, such as those of test sets.

    Attributes:
        reason_without_score: why results cannot be scored; '' if they can.
        notes: what the user should know about the files, a line each; the first says where the pictures are.

    Raises:
        PoseError: annotations, detections or pictures are missing or wrong; the message names them.
    """

    def __init__(self, config: EasyDict, processes: Processes, explicit_keys: Iterable[str] = (), *,
                 must_score: bool = True):
        self.config, self.processes = config, processes
        self.skeleton, self.dataset = configured_skeleton(config), dataset_of(config)
        self.gt_file = find_annotation_file(config, 'TEST', is_explicit='DATASET.TEST_JSON' in explicit_keys)
        # Read once, for the people, the boxes and every score.
        self._annotations = open_annotations(self.gt_file, self.skeleton, config.DATASET.CATEGORY)
        self.reason_without_score = self.dataset.reason_without_score(self._annotations, self.skeleton, config)
        if must_score and self.reason_without_score:
            raise PoseError(f'nothing to score by: {self.reason_without_score}')
        crops = model_of(config).crops(config)
        if config.TEST.USE_GT_BBOX:
            self.people = self.dataset.people(self._annotations, self.skeleton, crops.sample_rule, False)
            self.box_report = BoxReport.of_ground_truth(self.people)
        else:
            images = self.dataset.images(self._annotations)
            det_file = find_detection_file(config, is_explicit='TEST.COCO_BBOX_FILE' in explicit_keys)
            category = self._annotations.category_id
            self.people, self.box_report = detected_people(
                load_detections([det_file], people_only=True, category=category), images, self.skeleton.num_keypoints,
                min_score=config.TEST.IMAGE_THRE, category=category, source=f'detected boxes of {det_file}')
        paths = locate_pictures(config.DATASET.ROOT, self.people.file_names, split_folder=config.DATASET.TEST_SET,
                                needed=self.people.image_index)
        self.notes = [describe_folders(paths), *(f'note: {text}' for text in (
            *self._annotations.notes, other_split(paths, self.gt_file)) if text)]
        self.samples = PersonSamples(self.people, paths, crops, self.skeleton, input_shape(config),
                                     honour_exif=exif_rule(config.DATASET.EXIF))
        self._predictor: Optional[Predictor] = None
        self._network: Any = None

    def measure(self, network: Any) -> EvaluationResult:
        """Predict all poses with `network` and score them. A network that was measured before is not compiled again."""
        if network is not self._network:
            self._network = network
            self._predictor = network_predictor(self.config, network, self.skeleton.flip_index)
        network.set_train(False)
        return self.measure_predictor(self._predictor)

    def measure_predictor(self, predictor: Predictor) -> EvaluationResult:
        """Predict all poses with `predictor` and score them."""
        results, poses = self.predict(predictor)
        # Every process scores the gathered poses, so that all have the same metrics and none waits for another.
        return EvaluationResult(self.score(results), results, poses)

    def predict(self, predictor: Predictor) -> Predicted:
        """Predict all poses with `predictor`."""
        poses = predict_poses(predictor, self.samples, num_threads=self.config.TEST.NUM_PARALLEL_WORKERS,
                              processes=self.processes)
        return Predicted(self._rank(poses), poses)

    def score(self, results: List[dict]) -> Dict[str, float]:
        """Return the metrics of results, {} if the annotations allow no scoring."""
        if self.reason_without_score:
            return {}
        return self.dataset.evaluate(self._annotations, results, self.skeleton, self.config)

    def keypoint_table(self, results: List[dict]) -> str:
        """Return a table of the accuracy of each keypoint."""
        return self.dataset.keypoint_table(self._annotations, results, self.skeleton, self.config)

    def write_report(self, path: str, results: List[dict], metrics: Dict[str, float], results_file: str) -> List[str]:
        """Write the report of results and their metrics, an HTML page; return lines about it."""
        # Imported here: trainings with an evaluation need none of it.
        from ..report.write import Source
        from .write_report import Boxes, write_pckh_report, write_report
        boxes = Boxes.of_people(self.people, str(self.box_report))
        source = Source(results_file, self.gt_file, self.dataset.name, boxes.description, self.notes, None,
                        self.dataset.digits, self.config.TEST.USE_GT_BBOX)
        if self.dataset.distances is not None:
            return write_pckh_report(path, self.dataset.distances(self._annotations, results), metrics, self.skeleton,
                                     source)
        return write_report(path, self.analyse(results, metrics, boxes), source, pictures=self.config.DATASET.ROOT,
                            split_folder=self.config.DATASET.TEST_SET)

    def analyse(self, results: List[dict], metrics: Dict[str, float], boxes: Any = None) -> Any:
        """Return the `Analysis` of results and their metrics; `boxes`, if they are to be judged, are `Boxes`."""
        from .write_report import analyse_results
        return analyse_results(self._annotations, results, self.skeleton, self.dataset, self.config, numbers=metrics,
                               boxes=boxes)

    def open_results(self, path: str) -> Tuple[List[dict], List[str]]:
        """Return the results of a file, of this package or of another program, and notes, a line each.

        Raises:
            PoseError: see `load_results`.
        """
        # Here, like the report: trainings with an evaluation need none of it.
        from ..metrics.results_file import load_results
        return load_results(path, self._annotations, self.skeleton)

    def measure_alone(self, poses: Poses) -> Iterator[Tuple[str, Dict[str, float]]]:
        """Yield the name of each hypothesis ('primary', 'second' and so on) and the metrics of its poses alone; nothing
        for networks with only one hypothesis."""
        count = num_hypotheses(self.config)
        for number, name in enumerate(HYPOTHESIS_NAMES[:count] if count > 1 else ()):
            yield name, self.score(self._rank(poses.of_hypothesis(number)))

    def _rank(self, poses: Poses) -> List[dict]:
        rows, scores = rank_by_protocol(self.config, self.people, poses, self.skeleton)
        if self.dataset.one_pose_each:
            rows = np.arange(len(self.people))
        return coco_records(self.people, poses, rows, scores)
