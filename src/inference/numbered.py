"""Inference on numbered pictures: pictures and drawings are named by image ids, boxes come from detection files."""
import argparse
import os
from functools import partial
from typing import Callable, List

import numpy as np

from .. import visualization
from ..config import input_shape
from ..data.boxed_pictures import load_boxed_pictures
from ..evaluation import predict
from ..evaluation.results import box_score_factors, coco_records, rank_by_protocol
from ..models.registry import model_of, num_hypotheses
from ..system.command_line import say
from ..system.device import Processes
from ..system.errors import PoseError
from ..system.files import make_folder, write_json
from .box_poses import UNCOMPILED_PEOPLE

CLASSIC_FOLDER, CLASSIC_SCORE = './infer_img', 0.7


def run_numbered(arguments: argparse.Namespace, config, source, skeleton, target: str) -> None:
    """Draw on numbered pictures in the boxes of detection files."""
    make_folder(arguments.img_save_dir)
    score_thresh = CLASSIC_SCORE if arguments.score_thresh is None else arguments.score_thresh
    pictures, samples = load_boxed_pictures(model_of(config).crops(config), input_shape(config), skeleton,
                                            arguments.data_url or CLASSIC_FOLDER, arguments.det_file_url, say)
    people = samples.people
    predictor = source.build_predictor(config, skeleton.flip_index)
    if predictor.run_uncompiled is not None and len(people) <= UNCOMPILED_PEOPLE:
        predictor = predictor._replace(run=predictor.run_uncompiled)
    poses = predict.predict_poses(predictor, samples, num_threads=config.TEST.NUM_PARALLEL_WORKERS,
                                  processes=Processes(target))
    rows, scores = rank_by_protocol(config, people, poses, skeleton)
    problems = []
    attempt(problems, lambda: write_json(
        os.path.join(arguments.img_save_dir, 'results.json'),
        coco_records(people, poses, rows, scores, with_hypothesis=num_hypotheses(config) > 1)))
    # The threshold is multiplied by the same factor as the score: that factor is meant for ranking, not for drawing.
    is_drawn = scores > score_thresh * box_score_factors(poses, config.MIPNET.DECAY_THRE)
    drawn = draw_results(arguments, config, people, poses, rows[is_drawn[rows]], scores, pictures, skeleton, problems)
    say(f'{drawn} of {len(rows)} poses score above {score_thresh:g} and are drawn'
        + (f'; pictures and results.json are in {arguments.img_save_dir}' if not problems else ''))
    if problems:
        raise PoseError(f'{len(problems)} of {len(pictures.paths) + 1} files are missing in '
                           f'{arguments.img_save_dir}, all others are there; the first: {problems[0]}') from problems[0]


def attempt(problems: List[Exception], write: Callable[[], None]) -> bool:
    """Call `write`; an error is printed and noted in `problems`, so that the other files are still written."""
    try:
        write()
        return True
    except Exception as error:  # noqa: BLE001  OpenCV may raise anything
        say(f'warning: {error}')
        problems.append(error)
        return False


def draw_results(arguments, config, people, poses, rows, scores, pictures, skeleton, problems) -> int:
    keypoint_thresh = model_of(config).draw_threshold
    if arguments.keypoint_thresh is not None:
        keypoint_thresh = arguments.keypoint_thresh

    def draw(image_id, path, chosen):
        drawing = visualization.draw_people(pictures.read(path), poses.keypoints[chosen], skeleton,
                              person_scores=scores[chosen], boxes_xywh=people.boxes_xywh[poses.people[chosen]],
                              is_further=poses.hypotheses[chosen] > 0, keypoint_score_thresh=keypoint_thresh)
        visualization.write_picture(os.path.join(arguments.img_save_dir, f'{image_id}_res.jpg'), drawing)

    # Sorted once: searching anew for every picture would take quadratic time.
    picture_of_row = people.image_index[poses.people[rows]]
    by_picture = rows[np.argsort(picture_of_row, kind='stable')]
    ends = np.cumsum(np.bincount(picture_of_row, minlength=len(pictures.paths)))
    drawn = 0
    for image_id, path, chosen in zip(pictures.image_ids, pictures.paths, np.split(by_picture, ends[:-1])):
        if attempt(problems, partial(draw, image_id, path, chosen)):
            drawn += len(chosen)
    return drawn
