"""Evaluate a checkpoint, or several as an ensemble: python eval.py --ckpt_path CKPT … [--data_url …]
[--det_file_url … | --use_gt_bbox]."""
import src.system.with_mindspore  # noqa: F401, I001  first
import argparse
from typing import List

from src.config import DEFAULT_RECIPE, load_recipe, resolve
from src.data.skeleton_files import sigma_notes
from src.datasets.record import PoseDataset
from src.datasets.registry import dataset_of
from src.evaluation.evaluate import Evaluation, Predicted
from src.evaluation.load_model import add_source_flags, open_source
from src.flags import TEST_FLAGS, add_config_flags, read_overrides
from src.system.collectives import wait_for_all
from src.system.command_line import run_command, say
from src.system.device import Processes, join_processes, launched_by
from src.system.errors import PoseError
from src.system.files import check_writable, write_json
from src.system.printing import ArgumentParser


def parse_arguments() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, allow_abbrev=False)
    add_source_flags(parser, 'checkpoint (default: TEST.MODEL_FILE of --recipe)')
    parser.add_argument('--use_gt_bbox', action='store_true', help='take the boxes from the annotation file')
    parser.add_argument('--save_path', default='./results.json', help='where the results go (default: %(default)s)')
    parser.add_argument('--submission', metavar='PATH', help="also write the results as the benchmark's server takes "
                        'them: .json, for MPII .mat')
    add_config_flags(parser, TEST_FLAGS, default_recipe='the one inside the checkpoint')
    return parser.parse_args()


def find_checkpoints(arguments) -> List[str]:
    """Return the given checkpoints, or the one that the recipe names, if any."""
    if arguments.ckpt_path or arguments.model_file:
        return arguments.ckpt_path
    config = load_recipe(arguments.recipe or DEFAULT_RECIPE)
    path = resolve(config, read_overrides(arguments, TEST_FLAGS, config)).TEST.MODEL_FILE
    return [path] if path else []


def write_results(arguments, dataset: PoseDataset, results: List[dict]) -> List[str]:
    """Write results and submission; return what could not be written, which must not keep the score from anybody."""
    problems = []
    try:
        write_json(arguments.save_path, results)
        say(f'results: {len(results)} poses in {arguments.save_path}')
    except OSError as error:
        problems.append(str(error))
    try:
        if arguments.submission:
            dataset.write_submission(arguments.submission, results)
            say(f'submission: {arguments.submission}')
    except OSError as error:
        problems.append(str(error))
    return problems


def say_scores(config, evaluation: Evaluation, predicted: Predicted, processes: Processes) -> None:
    metrics, dataset = evaluation.score(predicted.results), evaluation.dataset
    say(*dataset.format_metrics(metrics).split('\n'))
    if processes.is_first:
        say(*evaluation.keypoint_table(predicted.results).split('\n'))
    for name, alone in evaluation.measure_alone(predicted.poses):
        say(f'{name} alone: {dataset.format_summary(alone, config)}')
    say(f'{dataset.format_summary(metrics, config)} with {evaluation.box_report}')


def main() -> None:
    arguments = parse_arguments()
    # Several processes join before the first tensor is made, as Ascend wants it.
    joined = join_processes(' '.join(arguments.device_target or ['auto'])) if launched_by() else None
    source, config, overrides = open_source(arguments, find_checkpoints(arguments),
                                            lambda recipe: read_overrides(arguments, TEST_FLAGS, recipe))
    names_detections = 'TEST.COCO_BBOX_FILE' in overrides
    asks_for_truth = arguments.use_gt_bbox or ('TEST.USE_GT_BBOX' in overrides and config.TEST.USE_GT_BBOX)
    if names_detections and asks_for_truth:
        raise PoseError('give --det_file_url or --use_gt_bbox, not both (TEST.COCO_BBOX_FILE, TEST.USE_GT_BBOX)')
    config.TEST.USE_GT_BBOX = arguments.use_gt_bbox or (config.TEST.USE_GT_BBOX and not names_detections)
    processes = joined or join_processes(config.DEVICE.TARGET, config.DEVICE.ID)
    say(f'network: {source.describe(config)}, device: {processes}')
    if arguments.submission:
        dataset_of(config).check_submission_path(arguments.submission)
    for path in filter(None, (arguments.save_path, arguments.submission)):
        if processes.is_first:
            check_writable(path)

    evaluation = Evaluation(config, processes, overrides, must_score=False)
    say(f'ground truth: {evaluation.gt_file}', f'boxes: {evaluation.box_report}', *sigma_notes(evaluation.skeleton))
    predicted = evaluation.predict(source.build_predictor(config, evaluation.skeleton.flip_index))
    problems = write_results(arguments, evaluation.dataset, predicted.results) if processes.is_first else []
    # A process that fails ends the whole job: none may fail in scoring before the results are on the disk.
    wait_for_all(processes)
    if evaluation.reason_without_score:
        say(f'no score: {evaluation.reason_without_score}')
    else:
        try:
            say_scores(config, evaluation, predicted, processes)
        except Exception as error:  # noqa: BLE001  the evaluators of others raise whatever they stumble over
            where = '; '.join(problems) or f'the results are in {arguments.save_path}'
            raise PoseError(f'scoring failed: {type(error).__name__}: {error}; {where}') from error
    if problems:
        raise OSError('; '.join(problems))


if __name__ == '__main__':
    run_command(main)
