"""How results were made: the configuration of their network and of its evaluation, beside the results; and the settings
in which two networks differ."""
import json
import os
from typing import NamedTuple, Optional, Sequence, Tuple

from easydict import EasyDict

from ..config import differing_keys, from_json, key_comments, shown_value
from ..models.registry import MODELS, heatmap_section, model_of
from ..report.comparison_page import DifferingSettings, SettingRow
from ..system.checks import value_of
from ..system.errors import PoseError
from ..system.files import read_json, sha256_of, write_json
from .load_model import Ensemble, LoadedModel

ENDING = '_settings.json'
# Settings of training, which say nothing of a network whose file carries no configuration.
OF_TRAINING = (
    'GENERAL.', 'LOSS.', 'TRAIN.', 'MODEL.INIT_WEIGHTS', 'MODEL.PRETRAINED', 'DATASET.TRAIN_JSON', 'DATASET.TRAIN_SET',
    'DATASET.FLIP', 'DATASET.ROT_FACTOR', 'DATASET.SCALE_FACTOR', 'DATASET.HALF_BODY_PROBABILITY',
    'DATASET.RANDOM_EXTENSION', 'DATASET.CUT_OFF_PROBABILITY', 'DATASET.COVER_PROBABILITY', 'DATASET.ABSENT_AS_EMPTY',
    'DATASET.COLOR_JITTER')
# Settings that change no number: devices, places, and what is printed and kept.
WITHOUT_EFFECT = (
    'DEVICE.', 'DATASET.ROOT', 'DATASET.PRECUT', 'TRAIN.CKPT_SAVE_PATH', 'TRAIN.NUM_PARALLEL_WORKERS',
    'TRAIN.PRINT_STEP', 'TRAIN.STEPS_AHEAD', 'TRAIN.SAVE_MINUTES', 'TRAIN.SAVE_STEPS', 'TRAIN.SAVE_EPOCHS',
    'TRAIN.KEEP_STATES', 'TRAIN.KEEP_CHECKPOINTS', 'TRAIN.TENSORBOARD', 'TRAIN.RECOMPUTE', 'TEST.MODEL_FILE',
    'TEST.NUM_PARALLEL_WORKERS', 'TEST.EVALUATOR')


class Settings(NamedTuple):
    """How poses were made.

    Attributes:
        config: resolved configuration; of an ensemble that of the first network.
        networks: the files of the network, or of those of an ensemble.
        is_carried: whether the file of the network carries its configuration. If not, that of a recipe was taken, and
            the settings of training in it are not those of this network.
    """

    config: EasyDict
    networks: Tuple[str, ...]
    is_carried: bool

    @classmethod
    def of_source(cls, source, config: EasyDict) -> 'Settings':
        """Return those of a source of poses, a `LoadedModel` or an `Ensemble`, with its resolved configuration."""
        members: Sequence[LoadedModel] = source.members if isinstance(source, Ensemble) else (source,)
        return cls(config, tuple(member.path for member in members), members[0].carried is not None)


def settings_path(results_path: str) -> str:
    """Return the path of the settings of a result file: 'a/results.json' -> 'a/results_settings.json'."""
    return os.path.splitext(results_path)[0] + ENDING


def write_settings(results_path: str, settings: Settings) -> None:
    """Write settings beside the results that were made with them, which are on the disk already.

    Raises:
        OSError: they cannot be written.
    """
    write_json(settings_path(results_path), {
        'results_sha256': sha256_of(results_path), 'networks': list(settings.networks),
        'carries_configuration': settings.is_carried, 'configuration': settings.config})


def read_settings(results_path: str) -> Tuple[Optional[Settings], str]:
    """Return the settings beside a result file, or None and a line that says why there are none."""
    path = settings_path(results_path)
    if not os.path.isfile(path):
        return None, (f'{results_path} carries no settings: eval.py writes them beside its results, and there is no '
                      f'{os.path.basename(path)}')
    try:
        content = read_json(path)
        if not isinstance(content, dict) or 'configuration' not in content:
            raise PoseError(f"{path} should be an object with the key 'configuration'")
        if content.get('results_sha256') != sha256_of(results_path):
            return None, f'{path} is of other results than {results_path}, so its settings are not shown'
        networks = content.get('networks')
        return Settings(from_json(json.dumps(content['configuration']), path),
                        tuple(map(str, networks if isinstance(networks, list) else ())),
                        content.get('carries_configuration') is True), ''
    except (PoseError, OSError) as error:
        return None, f'the settings of {results_path} are not shown: {error}'


def compare_settings(first: Optional[Settings], second: Optional[Settings], reasons: Sequence[str] = ()
                     ) -> DifferingSettings:
    """Return the settings in which A and B differ.

    Args:
        reasons: why there are none of A or of B, a line each.
    """
    notes = list(filter(None, reasons))
    notes += [f'{name} is the mean of {len(each.networks)} networks; its settings are those of the first, '
              f'{each.networks[0]}.' for name, each in zip('AB', (first, second)) if each and len(each.networks) > 1]
    if not first or not second:
        return DifferingSettings(None, notes)
    unknown = [f'{name}{f" ({each.networks[0]})" if each.networks else ""}'
               for name, each in zip('AB', (first, second)) if not each.is_carried]
    if unknown:
        notes.append(f'The file of {" and of ".join(unknown)} carries no configuration: shown are the settings of the '
                     'recipe by which it was evaluated, and none of training.')
    left_out = (*WITHOUT_EFFECT, *OF_TRAINING * bool(unknown))
    comments = key_comments()
    rows = [SettingRow(key, _shown(first.config, key), _shown(second.config, key), comments.get(key, ''))
            for key in differing_keys(first.config, second.config)
            if not key.startswith(left_out) and not comments.get(key, '').startswith('unused')]
    return DifferingSettings([row for row in rows if row.first != row.second], notes)


def _shown(config: EasyDict, key: str) -> str:
    """Return a value as --set takes it; a dash if the key is of another network."""
    of_networks = {model.section for model in MODELS.values()}
    section = key.split('.')[0]
    if section in of_networks and section not in (model_of(config).section, heatmap_section(config)):
        return '–'
    value = shown_value(value_of(config, key))
    return str(value).lower() if isinstance(value, bool) else str(value) or 'none'
