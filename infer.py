"""Draw poses on pictures: python infer.py --ckpt_path CKPT … [--score_thresh 0.7] [--det_file_url …] [--data_url …]."""
import argparse
import os
from functools import partial

import numpy as np

from src.config import input_shape
from src.data.boxed_pictures import load_boxed_pictures
from src.data.images import read_picture
from src.datasets.registry import configured_skeleton
from src.evaluation.load_model import add_source_flags, open_source
from src.evaluation.predict import predict_poses
from src.evaluation.results import box_score_factors, coco_records, rank_by_protocol
from src.flags import TEST_FLAGS, add_config_flags, read_overrides
from src.models.registry import model_of, num_hypotheses
from src.system.command_line import run_command, say
from src.system.device import Processes, set_up_device
from src.system.errors import PoseError
from src.system.files import make_folder, write_json
from src.system.printing import ArgumentParser
from src.visualization import draw_people, write_picture

# The pictures and boxes of an inference are its own, never those that the checkpoint was trained on.
INFER_FLAGS = {flag: key for flag, key in TEST_FLAGS.items() if flag not in ('data_url', 'gt_file_url', 'det_file_url')}


def parse_arguments() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, allow_abbrev=False)
    add_source_flags(parser, 'checkpoint')
    parser.add_argument('--score_thresh', type=float, default=0.7, help='people above are drawn, further people of a '
                        'box above MIPNET.DECAY_THRE times that (default: %(default)s)')
    parser.add_argument('--keypoint_thresh', type=float, help='keypoints above are drawn')
    parser.add_argument('--data_url', default='./infer_img', help='folder of pictures (default: %(default)s)')
    parser.add_argument('--det_file_url', help='detection JSON (default: all in annotation/det_json)')
    parser.add_argument('--img_save_dir', default='./res_img', help='output folder (default: %(default)s)')
    add_config_flags(parser, INFER_FLAGS, default_recipe='the one inside the checkpoint')
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    source, config, _ = open_source(arguments, arguments.ckpt_path,
                                    lambda recipe: read_overrides(arguments, INFER_FLAGS, recipe))
    target = set_up_device(config.DEVICE.TARGET, config.DEVICE.ID) if source.needs_mindspore else 'CPU'
    say(f'network: {source.describe(config)}, device: {target}')
    make_folder(arguments.img_save_dir)

    skeleton = configured_skeleton(config)
    pictures, samples = load_boxed_pictures(model_of(config).crops(config), input_shape(config), skeleton,
                                            arguments.data_url, arguments.det_file_url, say)
    people = samples.people
    poses = predict_poses(source.build_predictor(config, skeleton.flip_index), samples,
                          num_threads=config.TEST.NUM_PARALLEL_WORKERS, processes=Processes(target))
    rows, scores = rank_by_protocol(config, people, poses, skeleton)
    problems = []
    attempt(problems, lambda: write_json(
        os.path.join(arguments.img_save_dir, 'results.json'),
        coco_records(people, poses, rows, scores, with_hypothesis=num_hypotheses(config) > 1)))
    # What lowers the scores of further people ranks them; it does not make their poses worse to look at.
    is_drawn = scores > arguments.score_thresh * box_score_factors(poses, config.MIPNET.DECAY_THRE)
    drawn = draw_results(arguments, config, people, poses, rows[is_drawn[rows]], scores, pictures, skeleton, problems)
    say(f'{drawn} of {len(rows)} poses score above {arguments.score_thresh:g} and are drawn'
        + (f'; pictures and results.json are in {arguments.img_save_dir}' if not problems else ''))
    if problems:
        raise PoseError(f'{len(problems)} of {len(pictures.paths) + 1} files are missing in '
                           f'{arguments.img_save_dir}, all others are there; the first: {problems[0]}') from problems[0]


def attempt(problems, write) -> bool:
    """Call `write`; a failure must not cost the other files, and is told and noted in `problems`."""
    try:
        write()
        return True
    except Exception as error:  # noqa: BLE001  whatever a picture makes OpenCV stumble over
        say(f'warning: {error}')
        problems.append(error)
        return False


def draw_results(arguments, config, people, poses, rows, scores, pictures, skeleton, problems) -> int:
    keypoint_thresh = model_of(config).draw_threshold
    if arguments.keypoint_thresh is not None:
        keypoint_thresh = arguments.keypoint_thresh

    def draw(image_id, path, chosen):
        drawing = draw_people(read_picture(path), poses.keypoints[chosen], skeleton,
                              person_scores=scores[chosen], boxes_xywh=people.boxes_xywh[poses.people[chosen]],
                              is_further=poses.hypotheses[chosen] > 0, keypoint_score_thresh=keypoint_thresh)
        write_picture(os.path.join(arguments.img_save_dir, f'{image_id}_res.jpg'), drawing)

    # Sorted once: a search for every picture would take the square of their number.
    picture_of_row = people.image_index[poses.people[rows]]
    by_picture = rows[np.argsort(picture_of_row, kind='stable')]
    ends = np.cumsum(np.bincount(picture_of_row, minlength=len(pictures.paths)))
    drawn = 0
    for image_id, path, chosen in zip(pictures.image_ids, pictures.paths, np.split(by_picture, ends[:-1])):
        if attempt(problems, partial(draw, image_id, path, chosen)):
            drawn += len(chosen)
    return drawn


if __name__ == '__main__':
    run_command(main)
