"""Evaluate a checkpoint: python eval.py --ckpt_path CKPT [--data_url …] [--det_file_url … | --use_gt_bbox]."""
import argparse

from src.annotations.coco import check_evaluable, load_coco_images, load_coco_people
from src.annotations.detections import BoxReport, detected_people, load_detections
from src.annotations.files import find_annotation_file, find_detection_file
from src.checkpoints import load_weights, read_checkpoint
from src.command_line import resolve_test_config, run_command, say
from src.config import (
    DEFAULT_RECIPE,
    TEST_FLAGS,
    add_config_flags,
    input_shape,
    load_recipe,
    read_overrides,
    resolve,
)
from src.device import set_up_device
from src.files import check_writable, write_json
from src.heatmaps import build_decoder
from src.metrics.coco import evaluate_coco, format_metrics
from src.networks import build_configured_network, build_normaliser, network_name
from src.prediction import build_predictor, predict_poses
from src.results import coco_records, rank_by_protocol
from src.samples.augmentation import build_crop_recipe
from src.samples.dataset import PersonSamples
from src.samples.pictures_on_disk import locate_pictures
from src.skeletons import get_skeleton


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


def load_people(config, overrides, gt_file, skeleton):
    if config.TEST.USE_GT_BBOX:
        people = load_coco_people(gt_file, skeleton, sample_rule=build_crop_recipe(config).sample_rule)
        return people, BoxReport.of_ground_truth(people)
    det_file = find_detection_file(config, is_explicit='TEST.COCO_BBOX_FILE' in overrides)
    return detected_people(load_detections([det_file], people_only=True), load_coco_images(gt_file),
                           skeleton.num_keypoints, min_score=config.TEST.IMAGE_THRE,
                           source=f'detected boxes of {det_file}')


def main() -> None:
    arguments = parse_arguments()
    ckpt_path = arguments.ckpt_path or find_model_file(arguments)
    weights, carried = read_checkpoint(ckpt_path)
    config, overrides = resolve_test_config(arguments.recipe, carried, ckpt_path,
                                            lambda recipe: read_overrides(arguments, TEST_FLAGS, recipe))
    names_detections = 'TEST.COCO_BBOX_FILE' in overrides
    if names_detections and arguments.use_gt_bbox:
        raise ValueError('give --det_file_url or --use_gt_bbox, not both')
    config.TEST.USE_GT_BBOX = arguments.use_gt_bbox or (config.TEST.USE_GT_BBOX and not names_detections)
    target = set_up_device(config.DEVICE.TARGET, config.DEVICE.ID)
    say(f'network: {network_name(config)}, device: {target}')
    check_writable(arguments.save_path)

    skeleton = get_skeleton(config.DATASET.SKELETON)
    gt_file = find_annotation_file(config, 'TEST', is_explicit='DATASET.TEST_JSON' in overrides)
    check_evaluable(gt_file, skeleton)
    people, report = load_people(config, overrides, gt_file, skeleton)
    say(f'ground truth: {gt_file}\nboxes: {report}')
    paths = locate_pictures(config.DATASET.ROOT, people.file_names, split_folder=config.DATASET.TEST_SET)
    samples = PersonSamples(people, paths, build_crop_recipe(config), skeleton, input_shape(config))

    network = build_configured_network(config)
    load_weights(network, weights, ckpt_path)
    predictor = build_predictor(config, build_normaliser(config), network, skeleton.flip_index)
    poses = predict_poses(predictor, samples, build_decoder(config), batch_size=config.TEST.BATCH_SIZE,
                          num_workers=config.TEST.NUM_PARALLEL_WORKERS)
    rows, scores = rank_by_protocol(config, people, poses, skeleton)
    results = coco_records(people, poses, rows, scores)
    write_json(arguments.save_path, results)
    say(f'results: {len(results)} poses in {arguments.save_path}')
    metrics = evaluate_coco(gt_file, results, skeleton)
    say(format_metrics(metrics))
    say(f'AP {metrics["AP"]:.4f} with {report}')


if __name__ == '__main__':
    run_command(main)
