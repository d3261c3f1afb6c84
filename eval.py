"""Evaluate a checkpoint: python eval.py --ckpt_path CKPT [--data_url …] [--det_file_url … | --use_gt_bbox]."""
import argparse

from src.command_line import resolve_test_config, run_command, say
from src.config import DEFAULT_RECIPE, TEST_FLAGS, add_config_flags, load_recipe, read_overrides, resolve
from src.device import join_processes, launched_by
from src.evaluation import Evaluation
from src.files import check_writable, write_json
from src.metrics.coco import format_metrics
from src.networks import build_configured_network, network_name
from src.weight_files import adopt_source, load_weights, read_weights


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument('--ckpt_path', help='checkpoint (default: TEST.MODEL_FILE of --recipe)')
    parser.add_argument('--use_gt_bbox', action='store_true', help='take the boxes from the annotation file')
    parser.add_argument('--save_path', default='./results.json', help='where the results go (default: %(default)s)')
    add_config_flags(parser, TEST_FLAGS, default_recipe='the one inside the checkpoint')
    return parser.parse_args()


def find_model_file(arguments) -> str:
    config = load_recipe(arguments.recipe or DEFAULT_RECIPE)
    path = resolve(config, read_overrides(arguments, TEST_FLAGS, config)).TEST.MODEL_FILE
    if not path:
        raise ValueError('give the checkpoint with --ckpt_path')
    return path


def main() -> None:
    arguments = parse_arguments()
    ckpt_path = arguments.ckpt_path or find_model_file(arguments)
    # Several processes join before the first tensor is made, as Ascend wants it.
    joined = join_processes(' '.join(arguments.device_target or ['auto'])) if launched_by() else None
    weights, carried = read_weights(ckpt_path)
    config, overrides = resolve_test_config(arguments.recipe, carried, ckpt_path,
                                            lambda recipe: read_overrides(arguments, TEST_FLAGS, recipe))
    adopt_source(config, carried, weights, overrides, ckpt_path)
    names_detections = 'TEST.COCO_BBOX_FILE' in overrides
    if names_detections and arguments.use_gt_bbox:
        raise ValueError('give --det_file_url or --use_gt_bbox, not both')
    config.TEST.USE_GT_BBOX = arguments.use_gt_bbox or (config.TEST.USE_GT_BBOX and not names_detections)
    processes = joined or join_processes(config.DEVICE.TARGET, config.DEVICE.ID)
    say(f'network: {network_name(config)}, device: {processes}')
    if processes.is_first:
        check_writable(arguments.save_path)

    evaluation = Evaluation(config, processes, overrides)
    say(f'ground truth: {evaluation.gt_file}\nboxes: {evaluation.box_report}')
    network = build_configured_network(config)
    load_weights(network, weights, config, ckpt_path)
    metrics, results = evaluation.measure(network)
    if processes.is_first:
        write_json(arguments.save_path, results)
        say(f'results: {len(results)} poses in {arguments.save_path}')
    say(format_metrics(metrics))
    say(f'AP {metrics["AP"]:.4f} with {evaluation.box_report}')


if __name__ == '__main__':
    run_command(main)
