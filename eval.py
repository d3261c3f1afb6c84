"""Evaluate a checkpoint, or several as an ensemble: python eval.py --ckpt_path CKPT … [--data_url …]
[--det_file_url … | --use_gt_bbox]."""
import src.system.with_mindspore  # noqa: F401, I001  first
from typing import Dict, List

from src.data.skeleton_files import sigma_notes
from src.datasets.record import PoseDataset
from src.datasets.registry import dataset_of
from src.evaluation.arguments import check_rival, choose_boxes, find_checkpoints, parse_arguments
from src.evaluation.compared import Poses, Rival, compare_poses
from src.evaluation.evaluate import Evaluation, Predicted
from src.evaluation.load_model import fetch_named_weights, open_source
from src.evaluation.write_report import check_can_report, check_report_path
from src.flags import EVAL_FLAGS, read_overrides
from src.system.collectives import wait_for_all
from src.system.command_line import run_command, say
from src.system.device import Processes, join_processes, launched_by
from src.system.errors import PoseError
from src.system.files import check_writable


def write_results(arguments, dataset: PoseDataset, poses: Poses) -> List[str]:
    """Write results, their settings, and submission; return the errors instead of raising them, so that the score is
    still printed."""
    problems = []
    try:
        poses.write(arguments.save_path)
    except OSError as error:
        problems.append(str(error))
    try:
        if arguments.submission:
            dataset.write_submission(arguments.submission, poses.results)
            say(f'submission: {arguments.submission}')
    except OSError as error:
        problems.append(str(error))
    return problems


def say_scores(config, evaluation: Evaluation, predicted: Predicted, processes: Processes) -> Dict[str, float]:
    """Print the scores; return the metrics."""
    metrics, dataset = evaluation.score(predicted.results), evaluation.dataset
    if dataset.evaluator(config):
        say(f'evaluator: {dataset.evaluator(config)}')
    say(*dataset.format_metrics(metrics).split('\n'))
    if processes.is_first:
        say(*evaluation.keypoint_table(predicted.results).split('\n'))
    for name, alone in evaluation.measure_alone(predicted.poses):
        say(f'{name} alone: {dataset.format_summary(alone, config)}')
    say(f'{dataset.format_summary(metrics, config)} with {evaluation.box_report}')
    return metrics


def main() -> None:
    arguments = parse_arguments()
    # Several processes connect before the first tensor is made, as Ascend requires.
    joined = join_processes(' '.join(arguments.device_target or ['auto'])) if launched_by() else None
    fetch_named_weights(arguments)
    check_rival(arguments)

    def read_flags(recipe):
        return read_overrides(arguments, EVAL_FLAGS, recipe)

    source, config, overrides = open_source(arguments, find_checkpoints(arguments), read_flags)
    choose_boxes(arguments, config, overrides)
    processes = joined or join_processes(config.DEVICE.TARGET, config.DEVICE.ID)
    say(f'network: {source.describe(config)}, device: {processes}')
    if arguments.submission:
        dataset_of(config).check_submission_path(arguments.submission)
    for path in filter(None, (arguments.save_path, arguments.submission)):
        if processes.is_first:
            check_writable(path)
    if arguments.report:
        check_can_report(dataset_of(config))
        check_report_path(arguments.report)

    evaluation = Evaluation(config, processes, overrides, must_score=bool(arguments.compare))
    say(f'ground truth: {evaluation.gt_file}', f'boxes: {evaluation.box_report}', *evaluation.notes,
        *sigma_notes(evaluation.skeleton))
    rival = Rival(arguments, evaluation, overrides, read_flags) if arguments.compare else None
    predicted = evaluation.predict(source.build_predictor(config, evaluation.skeleton.flip_index))
    poses = Poses.of_network(source, config, predicted.results, arguments.save_path)
    problems = write_results(arguments, evaluation.dataset, poses) if processes.is_first else []
    # A process that fails ends the whole job, so no scoring starts before the results are on the disk.
    wait_for_all(processes)
    if evaluation.reason_without_score:
        say(f'no score{" and no report" * bool(arguments.report)}: {evaluation.reason_without_score}')
    else:
        try:
            metrics = say_scores(config, evaluation, predicted, processes)
        except Exception as error:  # noqa: BLE001  the evaluators of others raise whatever they stumble over
            where = '; '.join(problems) or f'the results are in {arguments.save_path}'
            raise PoseError(f'scoring failed: {type(error).__name__}: {error}; {where}') from error
        if rival:
            others = rival.predict(processes)
            if processes.is_first:
                say(*compare_poses(evaluation, poses, others, metrics, arguments.report))
        elif arguments.report and processes.is_first:
            say(*evaluation.write_report(arguments.report, predicted.results, metrics, arguments.save_path))
    if problems:
        raise OSError('; '.join(problems))


if __name__ == '__main__':
    run_command(main)
