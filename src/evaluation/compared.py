"""eval.py --compare: the poses of a network against those of another one, or of a result file, on the same data."""
import argparse
import os
from copy import copy
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Union

from easydict import EasyDict

from ..checkpoints.configuration import resolve_test_config
from ..data.skeleton_files import find_skeleton
from ..report.write import Source
from ..system.command_line import say
from ..system.device import Processes
from ..system.errors import PoseError
from ..system.files import write_json
from .evaluate import Evaluation
from .load_model import MODEL_ENDINGS, NETWORK_ENDINGS, Ensemble, LoadedModel, open_files
from .settings import Settings, compare_settings, read_settings, write_settings
from .write_report import write_comparison

# What is measured on, and how: B takes over these of A.
DATA_KEYS = ('DATASET.ROOT', 'DATASET.TEST_JSON', 'DATASET.TEST_SET', 'DATASET.CATEGORY', 'DATASET.SKELETON',
             'TEST.USE_GT_BBOX', 'TEST.COCO_BBOX_FILE', 'TEST.CROWDPOSE_RULE', 'TEST.EVALUATOR')


class Poses(NamedTuple):
    """The poses of A or B.

    Attributes:
        name: where they are from, in words.
        results: COCO-style.
        settings: how they were made, or None.
        remarks: what the reader should know about them, a line each.
    """

    name: str
    results: List[dict]
    settings: Optional[Settings]
    remarks: List[str]

    @classmethod
    def of_network(cls, source: Union[LoadedModel, Ensemble], config: EasyDict, results: List[dict], path: str,
                   remarks: Sequence[str] = ()) -> 'Poses':
        """Return the results of a network, which are in the file `path`."""
        settings = Settings.of_source(source, config)
        return cls(f'{", ".join(settings.networks)} ({source.describe(config)}), results in {path}', results, settings,
                   list(remarks))

    def write(self, path: str, title: str = 'results') -> None:
        """Write the results, print where they are, and write their settings beside them.

        Raises:
            OSError: a file cannot be written.
        """
        write_json(path, self.results)
        say(f'{title}: {len(self.results)} poses in {path}')
        write_settings(path, self.settings)


class Rival:
    """B of a comparison: a network, opened and ready to be evaluated, or a result file, read already.

    Args:
        arguments: the command line of eval.py.
        evaluation: of A.
        explicit_keys: config keys that the user has set.
        read_overrides: recipe -> {config key: text} that the user has set.

    Raises:
        PoseError: B is damaged, its weights do not fit, or it has other keypoints or another data set.
    """

    def __init__(self, arguments: argparse.Namespace, evaluation: Evaluation, explicit_keys: Iterable[str],
                 read_overrides: Callable[[EasyDict], Dict[str, str]]):
        if evaluation.dataset.oks_truth is None:
            raise PoseError(f'a comparison needs an evaluation by OKS, and {evaluation.dataset.name} has another one; '
                            'leave out --compare')
        self.path, self._evaluation = arguments.compare, evaluation
        self._results_path = results_path_of_b(arguments.save_path)
        self._source: Optional[LoadedModel] = None
        self._read: Optional[Poses] = None
        if not self.path.endswith(NETWORK_ENDINGS):
            settings, reason = read_settings(self.path)
            results, notes = evaluation.open_results(self.path)
            self._read = Poses(self.path, results, settings, [*notes, *filter(None, [reason])])
            return
        self._source, self._config = _open_network(arguments, read_overrides)
        _check_keypoints(evaluation.config, self._config, self.path)
        for key in DATA_KEYS:
            section, name = key.split('.')
            self._config[section][name] = evaluation.config[section][name]
        # What is wrong with its data or weights is said now and not after the evaluation of A.
        self._own = Evaluation(self._config, evaluation.processes, explicit_keys)
        self._predictor = self._source.build_predictor(self._config, self._own.skeleton.flip_index)

    def predict(self, processes: Processes) -> Poses:
        """Return the poses of B. Those of a network are predicted by all processes and written beside A's results.

        Raises:
            OSError: its results cannot be written.
        """
        if self._source is None:
            return self._read
        say(f'B: {self._source.describe(self._config)} of {self.path}')
        results = self._own.predict(self._predictor).results
        boxes = str(self._evaluation.box_report), str(self._own.box_report)
        found = Poses.of_network(self._source, self._config, results, self._results_path,
                                 [f'A was given {boxes[0]}; B {boxes[1]}'] if boxes[0] != boxes[1] else [])
        if processes.is_first:
            found.write(self._results_path, 'results of B')
        return found


def results_path_of_b(save_path: str) -> str:
    """Return where the results of B go: 'results.json' -> 'results_B.json'."""
    stem, ending = os.path.splitext(save_path)
    return f'{stem}_B{ending}'


def _open_network(arguments: argparse.Namespace, read_overrides: Callable[[EasyDict], Dict[str, str]]) -> tuple:
    path, own = arguments.compare, copy(arguments)
    is_exported = path.endswith(MODEL_ENDINGS)
    own.ckpt_path, own.model_file = (None, path) if is_exported else ([path], None)
    if bool(arguments.model_file) != is_exported:
        # These are for A, which is of the other kind.
        own.runtime, own.precision, own.threads = None, 'f32', 0
    source, = open_files(own, own.ckpt_path)
    recipe = arguments.compare_recipe or (None if source.carried is not None else arguments.recipe)
    config, overrides = resolve_test_config(recipe, source.carried, path, read_overrides,
                                            tell=lambda line: say(f'B: {line}'))
    source.settle(config, overrides)
    return source, config


def _check_keypoints(ours: EasyDict, its: EasyDict, path: str) -> None:
    """Raise PoseError if the network of B finds other keypoints than that of A, or is for another data set."""
    first, second = (find_skeleton(each.DATASET.SKELETON) for each in (ours, its))
    if first.keypoint_names != second.keypoint_names:
        raise PoseError(f'{path} finds other keypoints ({second.name}, {second.num_keypoints}) than the network that '
                        f'it is compared with ({first.name}, {first.num_keypoints})')
    if ours.DATASET.PROTOCOL != its.DATASET.PROTOCOL:
        raise PoseError(f'{path} is for the data set {its.DATASET.PROTOCOL}, and the network that it is compared with '
                        f'for {ours.DATASET.PROTOCOL}; --set DATASET.PROTOCOL={ours.DATASET.PROTOCOL} evaluates both '
                        'on that')


def compare_poses(evaluation: Evaluation, first: Poses, second: Poses, metrics: Dict[str, float], page: str
                  ) -> List[str]:
    """Write the page of A and B, the poses of two networks on the pictures of an evaluation; return lines about it.

    Args:
        metrics: of A.

    Raises:
        OSError: the page cannot be written.
    """
    analyses, sources = [], []
    for name, each, numbers in (('A', first, metrics), ('B', second, evaluation.score(second.results))):
        say(f'{name}: {evaluation.dataset.format_summary(numbers, evaluation.config)}, {each.name}')
        analyses.append(evaluation.analyse(each.results, numbers))
        sources.append(Source(each.name, evaluation.gt_file, evaluation.dataset.name, '',
                              [*evaluation.notes, *each.remarks], None, evaluation.dataset.digits))
    return write_comparison(page, analyses, sources, compare_settings(first.settings, second.settings),
                            pictures=evaluation.config.DATASET.ROOT, split_folder=evaluation.config.DATASET.TEST_SET)
