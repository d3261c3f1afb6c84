"""`PoseDataset`: everything the package needs to know about a data set. Each data set is a module that defines one."""
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

import numpy as np

from ..data.oks_truth import OKSTruth
from ..data.people import People
from ..data.skeletons import Skeleton
from ..metrics.mpii import HeadDistances
from ..metrics.records import PoseArrays
from ..system.errors import PoseError
from ..system.files import JsonFile, write_json

Metrics = Dict[str, float]


def _write_json(path: str, results: List[dict]) -> None:
    """Write results in the format of COCO's server: image_id, category_id, keypoints (x, y, score of each)
    and score."""
    kept = ('image_id', 'category_id', 'keypoints', 'score')
    write_json(path, [{key: record[key] for key in kept} for record in results])


@dataclass(frozen=True)
class PoseDataset:
    """A data set and how it is scored.

    In the functions below, `config` is a resolved configuration and `file` an opened annotation file, so that each file
    is read only once.

    Attributes:
        name: its value of DATASET.PROTOCOL.
        annotation_names: 'TRAIN' and 'TEST' -> the usual names of its annotation files.
        folders: the folders below DATASET.ROOT that hold them.
        people: (file, skeleton, sample rule, whether keypoints are needed) -> the people to train on or to crop.
        images: file -> ids (I,), names (I,) bytes and (width, height) (I, 2) of its pictures, for detected boxes.
        reason_without_score: (file, skeleton, config) -> why results on a file cannot be scored, or ''; it raises
            PoseError if the file is malformed.
        evaluator: config -> name of the implementation that computes the numbers; '' if there is only one.
        evaluate: (file, results, skeleton, config) -> {name: number} in the usual order.
        main_metric: name of the number by which results are compared.
        format_metrics: metrics -> the lines that the official evaluation prints.
        digits: decimals of the numbers in these lines.
        format_summary: (metrics, config) -> the main number as short text.
        oks_truth: (file, skeleton, config) -> the ground truth of its evaluation by OKS; None if it has another one.
        distances: (file, results) -> how far keypoints are from their labels, for data sets that are scored by that.
        oks_poses: (poses, config) -> those that its evaluation counts.
        keypoint_table: (file, results, skeleton, config) -> a table of how well each single keypoint is found.
        skeleton: name of the keypoint layout that is required, or '' for any.
        one_pose_each: whether results are one pose per annotated person, in the order of the file, instead of poses
            ranked by score.
        submission_ending: ending of the file that its server or evaluation program takes.
        check_submission: path -> raises ImportError if such a file cannot be written here.
        write_submission: (path, results) -> writes the file, completely or not at all.
    """

    name: str
    annotation_names: Mapping[str, Tuple[str, ...]]
    folders: Tuple[str, ...]
    people: Callable[[JsonFile, Skeleton, str, bool], People]
    images: Callable[[JsonFile], Tuple[np.ndarray, np.ndarray, np.ndarray]]
    reason_without_score: Callable[[JsonFile, Skeleton, Any], str]
    evaluate: Callable[[JsonFile, List[dict], Skeleton, Any], Metrics]
    main_metric: str
    format_metrics: Callable[[Metrics], str]
    format_summary: Callable[[Metrics, Any], str]
    keypoint_table: Callable[[JsonFile, List[dict], Skeleton, Any], str]
    skeleton: str = ''
    one_pose_each: bool = False
    digits: int = 3
    oks_truth: Optional[Callable[[JsonFile, Skeleton, Any], OKSTruth]] = None
    distances: Optional[Callable[[JsonFile, List[dict]], HeadDistances]] = None
    oks_poses: Callable[[PoseArrays, Any], PoseArrays] = lambda found, config: found
    evaluator: Callable[[Any], str] = lambda config: ''
    submission_ending: str = '.json'
    check_submission: Callable[[str], None] = lambda path: None
    write_submission: Callable[[str, List[dict]], None] = _write_json

    def check_submission_path(self, path: str) -> None:
        """Check that the name of a submission file fits the data set, and that such a file can be written here.

        Raises:
            PoseError: the file should have another ending.
            ImportError: the package that writes it is missing.
        """
        if not path.endswith(self.submission_ending):
            raise PoseError(f'--submission {path}: the submission of {self.name} should end in '
                            f'{self.submission_ending}')
        self.check_submission(path)
