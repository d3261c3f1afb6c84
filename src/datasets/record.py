"""What the package knows of a data set: a record. A data set is a file with such a record."""
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Tuple

import numpy as np

from ..data.people import People
from ..data.skeletons import Skeleton
from ..system.errors import PoseError
from ..system.files import JsonFile, write_json

Metrics = Dict[str, float]


def _write_json(path: str, results: List[dict]) -> None:
    """Write results as COCO's server takes them: image_id, category_id, keypoints (x, y, score of each) and score."""
    kept = ('image_id', 'category_id', 'keypoints', 'score')
    write_json(path, [{key: record[key] for key in kept} for record in results])


@dataclass(frozen=True)
class PoseDataset:
    """A data set and how it is scored. `config` is a resolved configuration; annotation files come opened, so that each
    is read once.

    Attributes:
        name: DATASET.PROTOCOL.
        annotation_names: 'TRAIN' and 'TEST' -> its own names of the annotation files.
        folders: where below DATASET.ROOT they lie.
        people: (file, skeleton, sample rule, whether keypoints are needed) -> the people to train on or to crop.
        images: file -> ids (I,), names (I,) bytes and (width, height) (I, 2) of its pictures, for boxes from elsewhere.
        reason_without_score: (file, skeleton, config) -> why results on a file cannot be scored, or ''; it raises
            PoseError for a file that should be fit for it and is malformed.
        evaluator: config -> what computes the numbers, in words; '' where there is no choice.
        evaluate: (file, results, skeleton, config) -> {name: number} in their usual order.
        main_metric: the number that says which of two results is better.
        format_metrics: metrics -> the lines in which the evaluation is usually printed.
        format_summary: (metrics, config) -> the main number in a few words.
        keypoint_table: (file, results, skeleton, config) -> a table of how well each keypoint is found on its own.
        skeleton: name of the keypoint layout that it must have, or '' for any.
        one_pose_each: results are one of each annotated person, in the order of the file, instead of ranked ones.
        submission_ending: of the file that its server or evaluation program takes.
        check_submission: raises ImportError where such a file cannot be made here.
        write_submission: (path, results) -> writes it, whole or not at all.
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
    evaluator: Callable[[Any], str] = lambda config: ''
    submission_ending: str = '.json'
    check_submission: Callable[[str], None] = lambda path: None
    write_submission: Callable[[str, List[dict]], None] = _write_json

    def check_submission_path(self, path: str) -> None:
        """Prove that the name of a submission fits the data set, and that such a file can be made here.

        Raises:
            PoseError: it should have another ending.
            ImportError: a package is missing that writes it.
        """
        if not path.endswith(self.submission_ending):
            raise PoseError(f'--submission {path}: the submission of {self.name} should end in '
                            f'{self.submission_ending}')
        self.check_submission(path)
