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
from .load_model import NETWORK_ENDINGS, add_source_flags

COMPARISON_PAGE = 'comparison.html'


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
                        f'page; with --compare the comparison instead (default then: {COMPARISON_PAGE})')
    parser.add_argument('--compare', metavar='FILE', help='another checkpoint, exported model or results.json: it is '
                        'evaluated on the same data, and a page says which is better, whether that is beyond chance, '
                        'who changed, and which settings differ')
    parser.add_argument('--compare_recipe', metavar='NAME', help='recipe of --compare (default: the one inside it, '
                        'else --recipe)')
    add_config_flags(parser, EVAL_FLAGS, default_recipe='the one inside the checkpoint')
    arguments = parser.parse_args(words)
    if arguments.compare and not arguments.report:
        arguments.report = COMPARISON_PAGE
    if arguments.compare_recipe and not (arguments.compare or '').endswith(NETWORK_ENDINGS):
        parser.error('--compare_recipe belongs to --compare with a network')
    return arguments


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


def check_rival(arguments: argparse.Namespace) -> None:
    """Check what can be known of --compare, if it is given, without opening it.

    Raises:
        PoseError: it is missing, or would be overwritten with the results of A.
    """
    path = arguments.compare
    if path is None:
        return
    if not os.path.exists(path):
        raise PoseError(f'--compare {path} does not exist; it should be a checkpoint, a file of export.py or a '
                        'results.json')
    if os.path.exists(arguments.save_path) and os.path.samefile(path, arguments.save_path):
        raise PoseError(f'--compare {path} is where the results of this evaluation would go; choose another place for '
                        'them with --save_path')


def check_arguments(words: Sequence[str]) -> None:
    """Check a command line: recipe and settings, and that the files to read and the folder of pictures exist.

    If no recipe is named, the one inside the checkpoint is taken. Other files, such as exported ones, cannot be read
    without more packages: only their existence is checked, and of published weights only the name.

    Raises:
        PoseError: something is wrong or missing; the message is the one that eval.py would print.
    """
    arguments = parse_arguments(words)
    check_rival(arguments)
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
