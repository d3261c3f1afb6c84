"""Draw poses on pictures: python infer.py --ckpt_path CKPT [--score_thresh 0.7] [--det_file_url …] [--data_url …]."""
import argparse
import os

import numpy as np

from src.annotations.detections import detected_people, load_detections
from src.annotations.files import find_inference_boxes
from src.command_line import resolve_test_config, run_command, say
from src.config import TEST_FLAGS, add_config_flags, input_shape, read_overrides
from src.device import Processes, set_up_device
from src.files import make_folder, write_json
from src.heatmaps import build_decoder
from src.networks import build_configured_network, build_normaliser, network_name
from src.pictures import draw_people, write_picture
from src.prediction import build_predictor, predict_poses
from src.results import coco_records, rank_by_protocol
from src.samples.augmentation import build_crop_recipe
from src.samples.dataset import PersonSamples
from src.samples.pictures_on_disk import find_numbered_pictures, read_picture
from src.skeletons import get_skeleton
from src.weight_files import adopt_source, load_weights, read_weights

# The pictures and boxes of an inference are its own, never those that the checkpoint was trained on.
INFER_FLAGS = {flag: key for flag, key in TEST_FLAGS.items() if flag not in ('data_url', 'gt_file_url', 'det_file_url')}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument('--ckpt_path', required=True, help='checkpoint')
    parser.add_argument('--score_thresh', type=float, default=0.7, help='people above are drawn (default: %(default)s)')
    parser.add_argument('--keypoint_thresh', type=float, help='keypoints above are drawn')
    parser.add_argument('--data_url', default='./infer_img', help='folder of pictures (default: %(default)s)')
    parser.add_argument('--det_file_url', help='detection JSON (default: all in annotation/det_json)')
    parser.add_argument('--img_save_dir', default='./res_img', help='output folder (default: %(default)s)')
    add_config_flags(parser, INFER_FLAGS, default_recipe='the one inside the checkpoint')
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    weights, carried = read_weights(arguments.ckpt_path)
    config, overrides = resolve_test_config(arguments.recipe, carried, arguments.ckpt_path,
                                            lambda recipe: read_overrides(arguments, INFER_FLAGS, recipe))
    adopt_source(config, carried, weights, overrides, arguments.ckpt_path)
    target = set_up_device(config.DEVICE.TARGET, config.DEVICE.ID)
    say(f'network: {network_name(config)}, device: {target}')
    make_folder(arguments.img_save_dir)

    skeleton = get_skeleton(config.DATASET.SKELETON)
    detections = load_detections(find_inference_boxes(arguments.det_file_url), people_only=False)
    pictures = find_numbered_pictures(arguments.data_url, say)
    name_unmatched(detections.image_ids, pictures.image_ids)
    people, report = detected_people(detections, pictures.as_images(), skeleton.num_keypoints, min_score=-np.inf)
    say(f'boxes: {report}')
    # A photograph is looked at upright, whatever the protocol of a benchmark says of its own pictures.
    samples = PersonSamples(people, pictures.paths, build_crop_recipe(config), skeleton, input_shape(config),
                            honour_exif=True)

    network = build_configured_network(config)
    load_weights(network, weights, config, arguments.ckpt_path)
    predictor = build_predictor(config, build_normaliser(config), network, skeleton.flip_index)
    poses = predict_poses(predictor, samples, build_decoder(config), batch_size=config.TEST.BATCH_SIZE,
                          num_workers=config.TEST.NUM_PARALLEL_WORKERS, processes=Processes(target))
    rows, scores = rank_by_protocol(config, people, poses, skeleton)
    write_json(os.path.join(arguments.img_save_dir, 'results.json'), coco_records(people, poses, rows, scores))
    drawn = draw_results(arguments, config, people, poses, rows[scores[rows] > arguments.score_thresh], scores,
                         pictures, skeleton)
    say(f'{drawn} of {len(rows)} poses score above {arguments.score_thresh:g} and are drawn; pictures and results.json '
        f'are in {arguments.img_save_dir}')


def name_unmatched(box_image_ids: np.ndarray, picture_ids: np.ndarray) -> None:
    for ids, others, what in ((box_image_ids, picture_ids, 'boxes without a picture: image ids'),
                              (picture_ids, box_image_ids, 'pictures without a box: image ids')):
        unmatched = sorted(set(ids.tolist()) - set(others.tolist()))
        if unmatched:
            more = f' and {len(unmatched) - 20} more' if len(unmatched) > 20 else ''
            say(f'{what} {", ".join(map(str, unmatched[:20]))}{more}')


def draw_results(arguments, config, people, poses, rows, scores, pictures, skeleton) -> int:
    # MSPN's scores are 0.5 where there is nothing.
    keypoint_thresh = 0.7 if config.MODEL.NAME == 'mspn' else 0.2
    if arguments.keypoint_thresh is not None:
        keypoint_thresh = arguments.keypoint_thresh
    for index, (image_id, path) in enumerate(zip(pictures.image_ids, pictures.paths)):
        chosen = rows[people.image_index[rows] == index]
        drawing = draw_people(read_picture(path.decode()), poses.keypoints[chosen],
                              skeleton, person_scores=scores[chosen], boxes_xywh=people.boxes_xywh[chosen],
                              keypoint_score_thresh=keypoint_thresh)
        write_picture(os.path.join(arguments.img_save_dir, f'{image_id}_res.jpg'), drawing)
    return len(rows)


if __name__ == '__main__':
    run_command(main)
