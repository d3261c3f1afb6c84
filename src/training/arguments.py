"""The command line of train.py: its flags, the configuration that they give, and checks that the data exists.

Nothing here imports MindSpore: a launch in the background makes these checks first, and they should be quick.
"""
import argparse
import os
from typing import Dict, NamedTuple, Optional, Sequence

from easydict import EasyDict

from ..checkpoints.zoo_table import read_zoo
from ..config import DEFAULT_RECIPE, load_recipe, resolve
from ..data.locate_pictures import check_picture_folder
from ..datasets.annotation_files import find_annotation_file, find_detection_file
from ..flags import TRAIN_FLAGS, add_config_flags, read_overrides
from ..system.command_line import say
from ..system.errors import PoseError
from ..system.printing import ArgumentParser


class Chosen(NamedTuple):
    """The name of the chosen recipe, the whole configuration, and the overrides in it."""

    recipe_name: str
    config: EasyDict
    overrides: Dict[str, str]


def parse_arguments(words: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Return the parsed command line; a wrong one ends the program with a message."""
    parser = ArgumentParser(prog='train.py', allow_abbrev=False, description='Train a pose network: python train.py '
                            '[--recipe NAME] [--data_url COCO] [--resume auto] [--set KEY=VALUE …].')
    add_config_flags(parser, TRAIN_FLAGS, default_recipe=DEFAULT_RECIPE)
    parser.add_argument('--metrics_path', help='JSON-lines file of every step (default: beside the checkpoint)')
    parser.add_argument('--resume', metavar='auto|PATH', help='continue from the newest whole state beside the '
                        'checkpoint, where there is one, or from the state PATH')
    return parser.parse_args(words)


def choose(arguments: argparse.Namespace) -> Chosen:
    """Return the configuration; if the user chose no recipe, print that the default is used.

    Raises:
        PoseError: the recipe is unknown, or a key or value is wrong.
    """
    if not arguments.recipe:
        say(f'no recipe was chosen: this trains the default, {DEFAULT_RECIPE}; another with --recipe NAME, or as the '
            'word RECIPE of the launch scripts (python train.py --list_recipes shows them)')
    recipe_name = arguments.recipe or DEFAULT_RECIPE
    recipe = load_recipe(recipe_name)
    overrides = read_overrides(arguments, TRAIN_FLAGS, recipe)
    return Chosen(recipe_name, resolve(recipe, overrides), overrides)


def check_arguments(words: Sequence[str]) -> None:
    """Check a command line: recipe and settings, and that the annotation files and the folder of pictures exist.

    Raises:
        PoseError: something is wrong or missing; the message is the one that train.py would print.
    """
    _, config, overrides = choose(parse_arguments(words))
    find_annotation_file(config, 'TRAIN', is_explicit='DATASET.TRAIN_JSON' in overrides)
    if config.TRAIN.EVAL_EPOCHS > 0:
        find_annotation_file(config, 'TEST', is_explicit='DATASET.TEST_JSON' in overrides)
        if not config.TEST.USE_GT_BBOX:
            find_detection_file(config, is_explicit='TEST.COCO_BBOX_FILE' in overrides)
    check_picture_folder(config.DATASET.ROOT)
    start = overrides.get('MODEL.PRETRAINED')
    if start and config.MODEL.INIT_WEIGHTS and not os.path.isfile(start) and start not in read_zoo():
        raise PoseError(f'the checkpoint {start} does not exist')
