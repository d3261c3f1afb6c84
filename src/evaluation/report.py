"""The report of a result file in COCO's format, of this package or of any other program, as one HTML page.

    python -m src.evaluation.report --gt person_keypoints_val2017.json --results results.json --images val2017
    python -m src.evaluation.report --gt GT --results RESULTS --boxes detections.json --report report.html
    python -m src.evaluation.report --gt GT --compare a.json b.json --report comparison.html
"""
import argparse
import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..config import DEFAULT_RECIPE, load_recipe
from ..data.annotation_checks import AnnotationFile
from ..data.detections import detected_people, load_detections
from ..data.keypoint_names import open_annotations
from ..data.locate_pictures import split_of
from ..data.skeleton_files import choose_skeleton, sigma_notes
from ..data.skeletons import Skeleton
from ..datasets.record import PoseDataset
from ..datasets.registry import DATASETS
from ..metrics.bootstrap import RESAMPLES
from ..metrics.results_file import load_results
from ..report.write import Source
from ..system.command_line import run_command, say
from ..system.errors import PoseError
from ..system.files import read_json
from ..system.printing import ArgumentParser
from .load_model import NETWORK_ENDINGS
from .settings import compare_settings, read_settings
from .write_report import MOST_CASES, Boxes, analyse_results, check_report_path, write_comparison, write_report

PROTOCOLS = tuple(name for name, dataset in DATASETS.items() if dataset.oks_truth is not None)


def parse_arguments(words: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Return the parsed command line; a wrong one ends the program with a message."""
    parser = ArgumentParser(prog='python -m src.evaluation.report', allow_abbrev=False,
                            description='Write what the poses of a result file get wrong, as one HTML page.')
    parser.add_argument('--gt', required=True, metavar='FILE', help="annotation file in COCO's format")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('--results', metavar='FILE', help="poses in COCO's result format, or what MMPose, "
                      'Detectron2, Ultralytics or OpenPose wrote')
    what.add_argument('--compare', nargs=2, metavar='FILE', help='two such files: is their difference beyond chance?')
    parser.add_argument('--images', default='', metavar='FOLDER', help='the pictures, for the gallery')
    parser.add_argument('--report', default='report.html', metavar='HTML', help='the page (default: %(default)s)')
    parser.add_argument('--boxes', metavar='FILE', help='detections that the network was given: who had no box?')
    parser.add_argument('--gt_box_results', metavar='FILE', help='results of the same network on ground-truth boxes')
    parser.add_argument('--protocol', choices=PROTOCOLS, default='coco', help='evaluation (default: %(default)s)')
    parser.add_argument('--crowdpose_rule', choices=('official', 'recount'), default='official',
                        help='who is ignored on CrowdPose (default: %(default)s)')
    parser.add_argument('--skeleton', metavar='NAME|FILE', help='keypoints (default: those of the annotation file)')
    parser.add_argument('--category', default='', metavar='NAME|ID', help='category of the people')
    parser.add_argument('--resamples', type=int, default=RESAMPLES, help='draws of pictures for the intervals '
                        '(default: %(default)s)')
    parser.add_argument('--most_cases', type=int, default=MOST_CASES, help='cases of each kind that are shown '
                        '(default: %(default)s)')
    return parser.parse_args(words)


def _open(arguments: argparse.Namespace, dataset: PoseDataset) -> tuple:
    skeleton = choose_skeleton(read_json(arguments.gt), arguments.gt, arguments.skeleton or dataset.skeleton,
                               arguments.category)
    return open_annotations(arguments.gt, skeleton, arguments.category), skeleton


def _boxes(arguments: argparse.Namespace, file: Any, skeleton: Skeleton, dataset: PoseDataset) -> Optional[Boxes]:
    if not arguments.boxes:
        return None
    people, report = detected_people(
        load_detections([arguments.boxes], people_only=True, category=file.category_id), dataset.images(file),
        skeleton.num_keypoints, category=file.category_id, source=f'boxes of {arguments.boxes}')
    say(f'boxes: {report}')
    return Boxes.of_people(people, str(report))


class Evaluated(NamedTuple):
    """What results are evaluated by, and notes about it."""

    file: AnnotationFile
    skeleton: Skeleton
    dataset: PoseDataset
    config: Any
    notes: List[str]

    def open_results(self, path: str) -> Tuple[List[dict], Dict[str, float], List[str]]:
        """Return the results of a file, the numbers of their evaluation, and notes; print these."""
        results, notes = load_results(path, self.file, self.skeleton)
        say(*(f'note: {each}' for each in notes))
        numbers = self.dataset.evaluate(self.file, results, self.skeleton, self.config)
        return results, numbers, notes

    def analyse(self, results: List[dict], numbers: Dict[str, float], resamples: int, boxes: Optional[Boxes] = None):
        """Return the analysis of results."""
        return analyse_results(self.file, results, self.skeleton, self.dataset, self.config, numbers=numbers,
                               boxes=boxes, resamples=resamples)


def _report(arguments: argparse.Namespace, evaluated: Evaluated) -> None:
    dataset = evaluated.dataset
    results, numbers, notes = evaluated.open_results(arguments.results)
    boxes = _boxes(arguments, evaluated.file, evaluated.skeleton, dataset)
    say(*dataset.format_metrics(numbers).split('\n'), dataset.format_summary(numbers, evaluated.config))
    with_truth_boxes = None
    if arguments.gt_box_results:
        _, others, more = evaluated.open_results(arguments.gt_box_results)
        with_truth_boxes, notes = others['AP'], notes + more
        say(f'AP of {arguments.gt_box_results}: {with_truth_boxes:.4f}')
    source = Source(arguments.results, arguments.gt, dataset.name, boxes.description if boxes else '',
                    evaluated.notes + notes, with_truth_boxes, dataset.digits)
    say(*write_report(arguments.report, evaluated.analyse(results, numbers, arguments.resamples, boxes), source,
                      pictures=arguments.images, split_folder=split_of(arguments.gt),
                      most_cases=arguments.most_cases))


def _compare(arguments: argparse.Namespace, evaluated: Evaluated) -> None:
    if arguments.boxes or arguments.gt_box_results:
        raise PoseError('--boxes and --gt_box_results belong to --results, not to --compare')
    for path in arguments.compare:
        if path.endswith(NETWORK_ENDINGS):
            raise PoseError(f'{path} is a network, not results; eval.py evaluates and compares two: python eval.py '
                            f'--ckpt_path {arguments.compare[0]} --compare {arguments.compare[1]}')
    sources, analyses = [], []
    for path in arguments.compare:
        results, numbers, notes = evaluated.open_results(path)
        say(f'{path}: {evaluated.dataset.format_summary(numbers, evaluated.config)}')
        analyses.append(evaluated.analyse(results, numbers, arguments.resamples))
        sources.append(Source(path, arguments.gt, evaluated.dataset.name, '', evaluated.notes + notes, None,
                              evaluated.dataset.digits))
    (first, no_first), (second, no_second) = map(read_settings, arguments.compare)
    say(*write_comparison(arguments.report, analyses, sources, compare_settings(first, second, (no_first, no_second)),
                          pictures=arguments.images, split_folder=split_of(arguments.gt),
                          most_cases=arguments.most_cases))


def main() -> None:
    """Write the report that the command line names."""
    arguments = parse_arguments()
    for name, least in (('resamples', 2), ('most_cases', 0)):
        if getattr(arguments, name) < least:
            raise PoseError(f'--{name} should be {least} or more, is {getattr(arguments, name)}')
    check_report_path(arguments.report)
    if arguments.images and not os.path.isdir(arguments.images):
        raise PoseError(f'the folder {arguments.images} does not exist (--images)')
    dataset, config = DATASETS[arguments.protocol], load_recipe(DEFAULT_RECIPE)
    config.TEST.CROWDPOSE_RULE = arguments.crowdpose_rule
    file, skeleton = _open(arguments, dataset)
    reason = dataset.reason_without_score(file, skeleton, config)
    if reason:
        raise PoseError(f'nothing to score by: {reason}')
    notes = [*file.notes, *sigma_notes(skeleton)]
    say(*(f'note: {each}' for each in notes))
    evaluated = Evaluated(file, skeleton, dataset, config, notes)
    if arguments.compare:
        _compare(arguments, evaluated)
    else:
        _report(arguments, evaluated)


if __name__ == '__main__':
    run_command(main)
