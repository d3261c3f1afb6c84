"""The command line of eval.py: its flags, the checkpoints that it names, and checks that the data exists.

Nothing here imports MindSpore: a launch in the background makes these checks first, and they should be quick.
"""
import argparse
import os
from typing import List, Mapping, Optional, Sequence

from easydict import EasyDict

from ..checkpoints.configuration import resolve_test_config
from ..checkpoints.entries import CONFIG_KEY, read_ckpt
from ..checkpoints.zoo_table import find_weights
from ..config import DEFAULT_RECIPE, from_json, load_recipe, resolve
from ..data.locate_pictures import check_picture_folder
from ..datasets.annotation_files import find_annotation_file, find_detection_file
from ..flags import EVAL_FLAGS, add_config_flags, read_overrides
from ..system.errors import PoseError
from ..system.printing import ArgumentParser
from .load_model import add_source_flags


def parse_arguments(words: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Return the parsed command line; a wrong one ends the program with a message."""
    parser = ArgumentParser(prog='eval.py', allow_abbrev=False, description='Evaluate a checkpoint, or several as an '
                            'ensemble: python eval.py --ckpt_path CKPT … [--data_url …] [--det_file_url … | '
                            '--use_gt_bbox].')
    add_source_flags(parser, 'checkpoint (default: TEST.MODEL_FILE of --recipe)')
    parser.add_argument('--use_gt_bbox', action='store_true', help='take the boxes from the annotation file')
    parser.add_argument('--save_path', default='./results.json', help='where the results go (default: %(default)s)')
    parser.add_argument('--submission', metavar='PATH', help="also write the results as the benchmark's server takes "
                        'them: .json, for MPII .mat')
    parser.add_argument('--report', metavar='HTML', help='also write what the poses get wrong, and where, as one HTML '
                        'page')
    add_config_flags(parser, EVAL_FLAGS, default_recipe='the one inside the checkpoint')
    return parser.parse_args(words)


def find_checkpoints(arguments: argparse.Namespace) -> List[str]:
    """Return the given checkpoints, or the one that the recipe names, if any."""
    if arguments.ckpt_path or arguments.model_file:
        return arguments.ckpt_path
    config = load_recipe(arguments.recipe or DEFAULT_RECIPE)
    path = resolve(config, read_overrides(arguments, EVAL_FLAGS, config)).TEST.MODEL_FILE
    return [path] if path else []


def choose_boxes(arguments: argparse.Namespace, config: EasyDict, overrides: Mapping[str, str]) -> None:
    """Set TEST.USE_GT_BBOX according to the command line.

    Raises:
        PoseError: the command line asks both for detections and for the boxes of the annotation file.
    """
    names_detections = 'TEST.COCO_BBOX_FILE' in overrides
    asks_for_truth = arguments.use_gt_bbox or ('TEST.USE_GT_BBOX' in overrides and config.TEST.USE_GT_BBOX)
    if names_detections and asks_for_truth:
        raise PoseError('give --det_file_url or --use_gt_bbox, not both (TEST.COCO_BBOX_FILE, TEST.USE_GT_BBOX)')
    config.TEST.USE_GT_BBOX = arguments.use_gt_bbox or (config.TEST.USE_GT_BBOX and not names_detections)


def check_arguments(words: Sequence[str]) -> None:
    """Check a command line: recipe and settings, and that the files to read and the folder of pictures exist.

    If no recipe is named, the one inside the checkpoint is taken. Other files, such as exported ones, cannot be read
    without more packages: only their existence is checked, and of published weights only the name.

    Raises:
        PoseError: something is wrong or missing; the message is the one that eval.py would print.
    """
    arguments = parse_arguments(words)
    if arguments.weights:
        for name in arguments.weights:
            find_weights(name)
        return
    paths = [arguments.model_file] if arguments.model_file else find_checkpoints(arguments)
    if not paths:
        raise PoseError('give the checkpoint with --ckpt_path, or an exported model with --model_file')
    for path in paths:
        if not os.path.isfile(path):
            raise PoseError(f'the checkpoint {path} does not exist')
    carried = None
    if not arguments.recipe:
        if not paths[0].endswith('.ckpt'):
            return
        texts = read_ckpt(paths[0])[1]
        carried = from_json(texts[CONFIG_KEY], paths[0]) if CONFIG_KEY in texts else None
    config, overrides = resolve_test_config(arguments.recipe, carried, paths[0],
                                            lambda recipe: read_overrides(arguments, EVAL_FLAGS, recipe),
                                            tell=lambda _: None)
    choose_boxes(arguments, config, overrides)
    find_annotation_file(config, 'TEST', is_explicit='DATASET.TEST_JSON' in overrides)
    if not config.TEST.USE_GT_BBOX:
        find_detection_file(config, is_explicit='TEST.COCO_BBOX_FILE' in overrides)
    check_picture_folder(config.DATASET.ROOT)
