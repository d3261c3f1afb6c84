"""Recipes, flags and overrides → one resolved configuration, with every key and value checked.

A configuration is a tree of two levels, an EasyDict, e.g. `config.TRAIN.LR`. All keys and their defaults are in
`recipes/base.yaml`; those of a network's own section are in the folder of that network.
"""
import functools
import json
import os
from copy import deepcopy
from typing import Any, Collection, Dict, List, Tuple

from easydict import EasyDict

from .data.skeleton_files import as_text, find_skeleton, is_skeleton_file, read_skeleton
from .datasets.registry import DATASETS
from .models.record import DECODERS, ENCODINGS, PIXELS_PER_CELL, is_udp
from .models.registry import MODELS, heatmap_section, model_of, shifts_heatmap
from .system import checks
from .system.errors import PoseError
from .system.files import MAX_INTEGER, parse_json
from .system.printing import brief, did_you_mean, kind_of
from .system.yaml_files import format_yaml, read_comments, read_yaml

RECIPE_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'recipes')
DEFAULT_RECIPE = 'mspn_2stg_course_coco_256x192'
CHOICES = {
    'MODEL.STEM_POOL': ('symmetric', 'same'),
    'DATASET.ENCODING': ENCODINGS,
    'DATASET.EXIF': ('published', 'upright', 'stored'),
    'TEST.DECODER': DECODERS,
    'TEST.EVALUATOR': ('own', 'pycocotools'),
    'TEST.CROWDPOSE_RULE': ('official', 'recount'),
    'TRAIN.SCHEDULE': ('step', 'linear', 'cosine'),
    'TRAIN.AMP_LEVEL': ('O0', 'O1', 'O2', 'O3'),
}
POSITIVE = (
    'MODEL.NUM_JOINTS', 'MODEL.STEM_CHANNELS', 'LOSS.TOPK', 'TRAIN.BATCH_SIZE', 'TRAIN.LR', 'TEST.BATCH_SIZE',
    'TRAIN.ACCUMULATE', 'TRAIN.KEEP_STATES', 'TRAIN.LOSS_SCALE_WINDOW', 'TRAIN.MAX_SKIPPED_STEPS')
NOT_NEGATIVE = (
    'TRAIN.MIN_LR', 'TRAIN.WARMUP_STEPS', 'TRAIN.WEIGHT_DECAY', 'TRAIN.NUM_PARALLEL_WORKERS',
    'TEST.NUM_PARALLEL_WORKERS', 'DATASET.ROT_FACTOR', 'DEVICE.ID', 'GENERAL.SEED', 'TRAIN.BEGIN_EPOCH',
    'TRAIN.END_EPOCH', 'TRAIN.MAX_STEPS', 'TRAIN.CLIP_NORM', 'TRAIN.SAVE_MINUTES', 'TRAIN.SAVE_STEPS',
    'TRAIN.EARLY_STOP', 'TRAIN.SAVE_EPOCHS', 'TRAIN.KEEP_CHECKPOINTS', 'TRAIN.PRINT_STEP', 'TEST.MULTI_SHIFT')
SHARES = ('DATASET.HALF_BODY_PROBABILITY', 'DATASET.SCALE_FACTOR', 'DATASET.CUT_OFF_PROBABILITY',
          'DATASET.COVER_PROBABILITY', 'DATASET.COLOR_JITTER', 'TEST.OKS_THRE')


def recipe_names() -> List[str]:
    """Return the names of the shipped recipes."""
    return sorted(name[:-len('.yaml')] for name in os.listdir(RECIPE_FOLDER)
                  if name.endswith('.yaml') and name != 'base.yaml')


def heatmap_size_key(config: EasyDict) -> str:
    """Return the key of the heatmap size of the configured network."""
    return f'{heatmap_section(config)}.HEATMAP_SIZE'


def input_shape(config: EasyDict) -> tuple:
    """Return (H, W) of the network input."""
    return config.MODEL.IMAGE_SIZE[1], config.MODEL.IMAGE_SIZE[0]


def key_comments() -> Dict[str, str]:
    """Return {key: the comment beside its default}, '' if there is none."""
    comments = read_comments(os.path.join(RECIPE_FOLDER, 'base.yaml'))
    for model in MODELS.values():
        comments.update({f'{model.section}.{name}': text for name, text in read_comments(model.defaults).items()})
    return comments


def load_recipe(name: str) -> EasyDict:
    """Return the resolved configuration of a shipped recipe, or of a YAML file given by its path.

    Raises:
        PoseError: the recipe is unknown (the message lists the known ones) or a key or value is wrong.
    """
    config = _load_tree(name, [])
    _check(config)
    return config


def _load_tree(name: str, seen: List[str]) -> EasyDict:
    path = name if name.endswith('.yaml') else os.path.join(RECIPE_FOLDER, name + '.yaml')
    if not os.path.isfile(path):
        similar = did_you_mean(name, recipe_names()) or ';'
        raise PoseError(f'unknown recipe {brief(name)}{similar} --list_recipes shows all, the path of a .yaml file '
                        'does as well')
    if path in seen:
        raise PoseError(f'recipe {brief(name)} builds on itself')
    if name == 'base':
        # It copies every section and list.
        return EasyDict(_read_defaults(path, tuple((model.section, model.defaults) for model in MODELS.values())))
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise PoseError(f'{path} should hold sections such as TRAIN, holds {kind_of(content)}')
    base = content.pop('BASE', 'base')
    if not isinstance(base, str):
        raise PoseError(f'{path}: BASE should be the name of a recipe, is {brief(base)}')
    config = _load_tree(base, seen + [path])
    for section, values in content.items():
        if not isinstance(section, str) or not isinstance(values, dict):
            raise PoseError(f'{path}: {_as_key(section)} should be a section of keys, is {brief(values)}')
        for key, value in values.items():
            set_value(config, f'{_as_key(section)}.{_as_key(key)}', value, where=path)
    _take_skeleton(config, [f'{section}.{key}' for section, values in content.items() for key in values])
    return config


@functools.lru_cache(maxsize=4)
def _read_defaults(path: str, networks: Tuple[Tuple[str, str], ...]) -> Dict[str, Any]:
    """Return the sections of base.yaml and those of the networks, given as (section, file): read once, because every
    recipe begins with them."""
    return {**read_yaml(path), **{section: read_yaml(defaults) for section, defaults in networks}}


def _take_skeleton(config: EasyDict, keys: Collection[str]) -> None:
    """Replace a file name in DATASET.SKELETON, if it is among the `keys` just set, by the layout that the
    file describes.

    So checkpoints and exports that store the configuration do not need the file. MODEL.NUM_JOINTS is set to the number
    of keypoints, and LOSS.TOPK is limited to it, unless these are among the `keys` as well.
    """
    if 'DATASET.SKELETON' in keys and is_skeleton_file(config.DATASET.SKELETON):
        skeleton = read_skeleton(config.DATASET.SKELETON)
        config.DATASET.SKELETON = as_text(skeleton)
        if 'MODEL.NUM_JOINTS' not in keys:
            config.MODEL.NUM_JOINTS = skeleton.num_keypoints
        if 'LOSS.TOPK' not in keys:
            config.LOSS.TOPK = min(config.LOSS.TOPK, skeleton.num_keypoints)


def _as_key(key: Any) -> str:
    """Return a key of a YAML file as text; a value of another type becomes text that matches no known key."""
    return key[:100] if isinstance(key, str) else brief(key)


def set_value(config: EasyDict, key: str, value: Any, *, where: str = '') -> None:
    """Set `key` ('SECTION.NAME') to `value`, which may be text from a command line.

    Raises:
        PoseError: the key is unknown, or the type of the value is not that of the default; the message names both.
    """
    prefix = f'{where}: ' if where else ''
    section, _, name = key.partition('.')
    if section not in config or name not in config[section]:
        known = [f'{section}.{each}' for each in config[section]] if section in config else list(config)
        similar = did_you_mean(key, [f'{part}.{each}' for part, values in config.items() for each in values])
        raise PoseError(f'{prefix}unknown config key {brief(key)}{similar or ";"} known here: {", ".join(known)}')
    try:
        config[section][name] = parse_value(value, like=config[section][name])
    except ValueError as error:
        raise PoseError(f'{prefix}{key}: {error}') from None


def parse_value(value: Any, like: Any) -> Any:
    """Return `value`, a YAML value or text, converted to the type of `like`.

    Raises:
        PoseError: it cannot be converted.
    """
    if isinstance(value, int) and abs(value) >= MAX_INTEGER:
        raise PoseError(f'should be below 2**63, is {brief(value)}')
    if isinstance(like, list):
        if isinstance(value, str):
            value = value.strip().strip('[]()').replace(',', ' ').split()
        if not isinstance(value, (list, tuple)):
            raise PoseError(f'should be a list such as {like}, is {brief(value)}')
        # All lists of the tree hold numbers; for an empty list, floats are assumed.
        return [parse_value(each, like[0] if like else 0.0) for each in value]
    if isinstance(like, bool):
        word = str(value).strip().lower()
        if word not in ('true', 'yes', 'on', '1', 'false', 'no', 'off', '0'):
            raise PoseError(f'should be true or false, is {brief(value)}')
        return word in ('true', 'yes', 'on', '1')
    if isinstance(like, (int, float)):
        kind, what = (int, 'a whole number') if isinstance(like, int) else (float, 'a number')
        try:
            if isinstance(value, bool) or (kind is int and isinstance(value, float) and value != int(value)):
                raise ValueError
            number = kind(value)
        except (TypeError, ValueError, OverflowError):
            raise PoseError(f'should be {what}, is {brief(value)}') from None
        if kind is int and abs(number) >= MAX_INTEGER:
            raise PoseError(f'should be below 2**63, is {brief(value)}')
        if number != number or number in (float('inf'), float('-inf')):
            raise PoseError(f'should be finite, is {brief(value)}')
        return number
    if isinstance(value, (list, dict)):
        raise PoseError(f'should be text, is {brief(value)}')
    return '' if value is None else str(value)


def resolve(recipe: EasyDict, overrides: Dict[str, Any]) -> EasyDict:
    """Return a copy of `recipe` with `overrides` ({key: value or text}) applied and everything checked.

    A heatmap is a quarter of the input: where only the input size is overridden, the heatmap size follows.
    """
    config = deepcopy(recipe)
    for key, value in overrides.items():
        set_value(config, key, value)
    _take_skeleton(config, overrides)
    _check_networks(config)
    size_key = heatmap_size_key(config)
    if 'MODEL.IMAGE_SIZE' in overrides and size_key not in overrides:
        set_value(config, size_key, [side // PIXELS_PER_CELL for side in config.MODEL.IMAGE_SIZE])
    _check(config)
    return config


def _check(config: EasyDict) -> None:
    _check_networks(config)
    for key, choices in CHOICES.items():
        checks.choice(config, key, choices)
    _check_sizes(config)
    checks.positive(config, *POSITIVE)
    checks.not_negative(config, *NOT_NEGATIVE)
    checks.share(config, *SHARES)
    checks.counts(config, 'TRAIN.LR_STEP')
    for key in ('DATASET.MEANS', 'DATASET.STDS'):
        checks.length(config, key, 3, 'one for each channel')
    _check_dataset(config)
    _check_test(config)
    _check_decoding(config)
    _check_training(config)


def _check_networks(config: EasyDict) -> None:
    if config.MODEL.NAME not in MODELS:
        raise PoseError(f'MODEL.NAME should be one of {", ".join(MODELS)}, is {config.MODEL.NAME!r}')
    # All networks are checked, since a recipe may also set keys of networks that it does not use.
    for model in MODELS.values():
        model.check(config)


def _check_sizes(config: EasyDict) -> None:
    size, key = config.MODEL.IMAGE_SIZE, heatmap_size_key(config)
    if len(size) != 2 or any(side <= 0 or side % 32 for side in size):
        raise PoseError(f'MODEL.IMAGE_SIZE should be [width, height] in positive multiples of 32, is {size}')
    if checks.value_of(config, key) != [side // PIXELS_PER_CELL for side in size]:
        raise PoseError(f'{key} should be a quarter of MODEL.IMAGE_SIZE {size}, is {checks.value_of(config, key)}')


def _check_dataset(config: EasyDict) -> None:
    checks.choice(config, 'DATASET.PROTOCOL', tuple(DATASETS))
    dataset, needed = config.DATASET, DATASETS[config.DATASET.PROTOCOL].skeleton
    # The other data sets accept any keypoint layout.
    if needed and needed != dataset.SKELETON:
        raise PoseError(f'DATASET.PROTOCOL {dataset.PROTOCOL} needs DATASET.SKELETON {needed}, not '
                        f'{shown_value(dataset.SKELETON)}')
    if dataset.SKELETON.startswith('{'):
        find_skeleton(dataset.SKELETON)
    if dataset.ABSENT_AS_EMPTY and not model_of(config).learns_absence:
        able = ', '.join(name for name, model in MODELS.items() if model.learns_absence)
        raise PoseError(f'DATASET.ABSENT_AS_EMPTY is not for {config.MODEL.NAME}; it is for {able}')
    if dataset.SCALE_FACTOR == 1:
        raise PoseError('DATASET.SCALE_FACTOR should be below 1, or crops shrink to nothing')
    if min(dataset.STDS) <= 0:
        raise PoseError(f'DATASET.STDS should be positive, is {dataset.STDS}')


def _check_test(config: EasyDict) -> None:
    test = config.TEST
    if min(config.MODEL.IMAGE_SIZE) <= test.MULTI_SHIFT:
        raise PoseError(f'TEST.MULTI_SHIFT should be below the sides of MODEL.IMAGE_SIZE {config.MODEL.IMAGE_SIZE}, '
                        f'is {test.MULTI_SHIFT}')
    if test.SOFT_NMS and not test.OKS_THRE:
        raise PoseError('TEST.SOFT_NMS needs a TEST.OKS_THRE above 0')
    if test.BLUR_KERNEL < 3 or test.BLUR_KERNEL % 2 == 0:
        raise PoseError(f'TEST.BLUR_KERNEL should be odd and at least 3, is {test.BLUR_KERNEL}')


def _check_decoding(config: EasyDict) -> None:
    """Check that the network knows the way from joints to heatmaps and back, and that its parts fit each other."""
    model, encoding, decoder, kernel = (model_of(config), config.DATASET.ENCODING, config.TEST.DECODER,
                                        config.TEST.DECODER_KERNEL)
    for key, value, known in (('DATASET.ENCODING', encoding, model.encodings),
                              ('TEST.DECODER', decoder, model.codec.decoders)):
        if value not in known:
            raise PoseError(f'{key}={value} is not for {model.name}; it has {", ".join(known)}')
    if not 3 <= kernel <= 99 or kernel % 2 == 0:
        raise PoseError(f'TEST.DECODER_KERNEL should be odd, from 3 to 99, is {kernel}')
    if is_udp(config) and shifts_heatmap(config):
        raise PoseError('DATASET.ENCODING=udp needs TEST.SHIFT_HEATMAP=false: its mirrored heatmaps lie on each other '
                        'without a shift')
    if decoder != 'published' and not config.TEST.POST_PROCESS:
        raise PoseError(f'TEST.POST_PROCESS=false leaves each peak at its cell, TEST.DECODER={decoder} moves it; set '
                        'TEST.DECODER=published, or TEST.POST_PROCESS=true')


def _check_training(config: EasyDict) -> None:
    train = config.TRAIN
    if not 0 <= train.EMA_DECAY < 1:
        raise PoseError(f'TRAIN.EMA_DECAY should be from 0 (off) to below 1, is {train.EMA_DECAY}')
    if train.LOSS_SCALE <= 1:
        raise PoseError(f'TRAIN.LOSS_SCALE should be above 1, is {train.LOSS_SCALE}')
    for key in ('EVAL_EPOCHS', 'STEPS_AHEAD'):
        if train[key] < -1:
            raise PoseError(f'TRAIN.{key} should be -1, zero or more, is {train[key]}')
    if train.EARLY_STOP and train.EVAL_EPOCHS <= 0:
        raise PoseError('TRAIN.EARLY_STOP counts evaluations during training; set TRAIN.EVAL_EPOCHS as well')
    if train.BEGIN_EPOCH > train.END_EPOCH:
        raise PoseError(f'TRAIN.BEGIN_EPOCH {train.BEGIN_EPOCH} should not be above TRAIN.END_EPOCH '
                        f'{train.END_EPOCH}')


def differing_keys(one: EasyDict, other: EasyDict) -> List[str]:
    """Return the keys ('SECTION.NAME') whose values differ between two resolved configurations."""
    return [f'{section}.{name}' for section, values in one.items() for name, value in values.items()
            if value != other[section][name]]


def shown_value(value: Any) -> Any:
    """Return a value as shown in messages: a layout is shown as its name."""
    return find_skeleton(value).name if isinstance(value, str) and value.startswith('{') else value


def to_json(config: EasyDict) -> str:
    """Return the tree as one line of JSON."""
    return json.dumps(config)


def to_yaml(config: EasyDict) -> str:
    """Return the tree as the YAML text of a recipe with every key."""
    return format_yaml(json.loads(to_json(config)))


def from_json(text: str, where: str) -> EasyDict:
    """Return the tree from the text of `to_json`; keys that the text does not have get their defaults.

    Raises:
        PoseError: the text is damaged, or holds a wrong key or value.
    """
    config = _load_tree('base', [])
    try:
        content = parse_json(text)
        items = [(f'{section}.{name}', value) for section, values in content.items() for name, value in values.items()]
    except (ValueError, AttributeError):
        raise PoseError(f'{where}: its configuration is damaged') from None
    for key, value in items:
        set_value(config, key, value, where=where)
    _check(config)
    return config
