"""The flags of the scripts that set configuration keys or load plugins: their help, and the values that were given.

A plugin is a file or a folder outside of the package that defines at its top level MODEL (a PoseModel), DATASET (a
PoseDataset), SKELETON (a Skeleton), or several of them; see docs/adding_a_network.md and docs/adding_a_dataset.md.
"""
import argparse
import importlib.util
import os
import re
import sys
from typing import Any, Dict, Iterable, Optional, Sequence

from easydict import EasyDict

from .config import RECIPE_FOLDER, heatmap_size_key, key_comments, load_recipe, recipe_names
from .data import skeletons
from .datasets import registry as datasets
from .models import registry as models
from .system import checks
from .system.errors import PoseError
from .system.printing import brief

# The flags of train.py and the key that each one sets. The shapes in flags are [height, width], the sizes in the
# configuration are [width, height].
TRAIN_FLAGS = {
    'data_url': 'DATASET.ROOT', 'gt_file_url': 'DATASET.TRAIN_JSON', 'pretrained_path': 'MODEL.PRETRAINED',
    'ckpt_save_path': 'TRAIN.CKPT_SAVE_PATH', 'num_parallel_workers': 'TRAIN.NUM_PARALLEL_WORKERS',
    'device_target': 'DEVICE.TARGET', 'device_id': 'DEVICE.ID', 'lr': 'TRAIN.LR', 'min_lr': 'TRAIN.MIN_LR',
    'epoch': 'TRAIN.END_EPOCH', 'pretrained': 'MODEL.INIT_WEIGHTS', 'batch_size': 'TRAIN.BATCH_SIZE',
    'batchsize': 'TRAIN.BATCH_SIZE', 'stage_num': 'MSPN.STAGE_NUM', 'img_means': 'DATASET.MEANS',
    'img_stds': 'DATASET.STDS', 'keypoint_num': 'MODEL.NUM_JOINTS', 'input_shape': 'MODEL.IMAGE_SIZE',
    'amp_level': 'TRAIN.AMP_LEVEL', 'max_steps': 'TRAIN.MAX_STEPS',
    'output_shape': 'HEATMAP_SIZE', 'upsample_channel_num': 'MSPN.UPSAMPLE_CHANNEL_NUM', 'ohkm': 'LOSS.OHKM',
    'topk': 'LOSS.TOPK', 'coarse_to_fine': 'LOSS.COARSE_TO_FINE', 'skeleton': 'DATASET.SKELETON'}
TEST_FLAGS = {
    'data_url': 'DATASET.ROOT', 'gt_file_url': 'DATASET.TEST_JSON', 'det_file_url': 'TEST.COCO_BBOX_FILE',
    'num_parallel_workers': 'TEST.NUM_PARALLEL_WORKERS', 'device_target': 'DEVICE.TARGET', 'device_id': 'DEVICE.ID',
    'batch_size': 'TEST.BATCH_SIZE', 'skeleton': 'DATASET.SKELETON'}
EVAL_FLAGS = {**TEST_FLAGS, 'evaluator': 'TEST.EVALUATOR'}
SHAPE_FLAGS = ('input_shape', 'output_shape')
# Environment variable with the paths of plugins, separated as in PATH.
PLUGINS_VARIABLE = 'POSE_PLUGINS'
REGISTER = {'SKELETON': skeletons.register, 'DATASET': datasets.register, 'MODEL': models.register}
_loaded: Dict[str, object] = {}


class _ListRecipes(argparse.Action):
    """Prints the shipped recipes and exits."""

    def __init__(self, **options):
        super().__init__(nargs=0, **options)

    def __call__(self, parser, namespace, values, option_string=None):
        print(recipe_table())
        parser.exit()


class _LoadPlugin(argparse.Action):
    """Loads a plugin while the flags are parsed, since the recipe may use what the plugin defines."""

    def __call__(self, parser, namespace, values, option_string=None):
        load_plugin(values)


def recipe_table() -> str:
    """Return a table of the shipped recipes: name, network, input, data set, epochs and the score that others
    published for it."""
    rows = [('recipe', 'network', 'input', 'data set', 'epochs', 'published')]
    for name in recipe_names():
        config = load_recipe(name)
        width, height = config.MODEL.IMAGE_SIZE
        rows.append((name, models.network_name(config), f'{height}x{width}', config.DATASET.PROTOCOL,
                     str(config.TRAIN.END_EPOCH), _published_score(name)))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return '\n'.join('  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def _published_score(name: str) -> str:
    """Return the score at the head of a shipped recipe, such as 'AP 74.4'; '-' if none was published."""
    with open(os.path.join(RECIPE_FOLDER, f'{name}.yaml'), encoding='utf-8') as file:
        found = re.search(r'^# Published(?:,[^:]*| for [^:]*)?: (AP|PCKh@0\.5) (\d*)(\.\d+)', file.read(), re.M)
    if not found:
        return '-'
    # Some heads give AP as a share, as the releases print it.
    score = float(found[2] + found[3]) * (1 if found[2] else 100)
    return f'{found[1]} {score:.1f}'


def _kind_of(value: Any, flag: str) -> str:
    """Return the placeholder for the values of a flag in the help."""
    if flag in SHAPE_FLAGS:
        return 'HEIGHT WIDTH'
    if isinstance(value, bool):
        return 'true|false'
    if isinstance(value, (int, float)):
        return 'INTEGER' if isinstance(value, int) else 'NUMBER'
    return 'NUMBERS' if isinstance(value, list) else 'TEXT'


def add_config_flags(parser: argparse.ArgumentParser, flags: Dict[str, str], *, default_recipe: str) -> None:
    """Add `--recipe`, `--set` and the given flags to a parser; `read_overrides` returns the values that were given."""
    group = parser.add_argument_group('recipe and settings')
    group.add_argument('--recipe', metavar='NAME', help=f'recipe or path of a .yaml file (default: {default_recipe})')
    group.add_argument('--set', metavar='KEY=VALUE', nargs='+', action='extend', default=[],
                       help='any config key, e.g. TRAIN.LR=0.001')
    load_named_plugins()
    group.add_argument('--plugin', metavar='PATH', action=_LoadPlugin, help='file or folder with a network, a data set '
                       'or a keypoint layout of your own (docs/adding_a_network.md); also in POSE_PLUGINS')
    group.add_argument('--list_recipes', action=_ListRecipes, help='print the recipes and end')
    shown = load_recipe(default_recipe if default_recipe in recipe_names() else 'base')
    comments = key_comments()
    group = parser.add_argument_group('a key each', 'Whatever else there is to set is a key for --set.')
    for flag, key in flags.items():
        key = heatmap_size_key(shown) if key == 'HEATMAP_SIZE' else key
        value = checks.value_of(shown, key)
        default = list(reversed(value)) if flag in SHAPE_FLAGS else value
        told = f'{comments[key]} ({key}; default: {"none" if default == "" else default})'.replace('%', '%%')
        group.add_argument(f'--{flag}', nargs='+', metavar=(_kind_of(value, flag)), help=told)


def read_overrides(arguments: argparse.Namespace, flags: Dict[str, str], recipe: EasyDict) -> Dict[str, str]:
    """Return {config key: text} of the flags and `--set` items that were given; `--set` wins.

    Raises:
        PoseError: an item of `--set` has no '='.
    """
    overrides = {}
    for flag, key in flags.items():
        words: Optional[Sequence[str]] = getattr(arguments, flag)
        if words is None:
            continue
        if key in overrides:
            raise PoseError(f'--{flag}: {key} is set by another flag as well')
        key = heatmap_size_key(recipe) if key == 'HEATMAP_SIZE' else key
        text = ' '.join(words)
        if flag in SHAPE_FLAGS:
            text = ' '.join(reversed(text.strip('[]()').replace(',', ' ').split()))
        overrides[key] = text
    overrides.update(_split_items(arguments.set))
    if overrides.get('MODEL.PRETRAINED'):
        # If the user gives a file, its weights are loaded, even if the recipe starts from random weights.
        overrides.setdefault('MODEL.INIT_WEIGHTS', 'true')
    return overrides


def _split_items(items: Iterable[str]) -> Dict[str, str]:
    overrides = {}
    for item in items:
        key, separator, value = item.partition('=')
        if not separator:
            raise PoseError(f'--set {item}: should be KEY=VALUE, e.g. TRAIN.LR=0.001')
        overrides[key] = value
    return overrides


def load_plugin(path: str) -> None:
    """Load a plugin and register what it defines; a plugin that is loaded already is not loaded again.

    Args:
        path: of a .py file, or of a folder with an __init__.py.

    Raises:
        PoseError: there is no such file, it defines nothing to register, or one of its names is in use already.
    """
    file = os.path.join(path, '__init__.py') if os.path.isdir(path) else path
    if not os.path.isfile(file):
        raise PoseError(f'the plugin {path} should be a .py file, or a folder with an __init__.py')
    file = os.path.realpath(file)
    if file in _loaded:
        return
    stem = os.path.splitext(os.path.basename(path.rstrip('/')))[0]
    name = f'pose_plugin_{stem}_{len(_loaded)}'
    spec = importlib.util.spec_from_file_location(
        name, file, submodule_search_locations=[os.path.dirname(file)] if os.path.isdir(path) else None)
    if spec is None or spec.loader is None:
        raise PoseError(f'the plugin {path} should be a .py file, or a folder with an __init__.py')
    module = importlib.util.module_from_spec(spec)
    # The modules of a plugin folder import each other by this name.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    found = [each for each in REGISTER if hasattr(module, each)]
    if not found:
        raise PoseError(f'the plugin {path} should have {", ".join(REGISTER)} or several of them at its top level, has '
                        f'{brief(sorted(each for each in vars(module) if each.isupper()))}')
    for each in found:
        REGISTER[each](getattr(module, each))
    _loaded[file] = module


def load_named_plugins() -> None:
    """Load the plugins that the environment variable names."""
    for path in filter(None, os.environ.get(PLUGINS_VARIABLE, '').split(os.pathsep)):
        load_plugin(path)
