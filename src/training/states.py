"""The states of a training run on disk. After a crash the run resumes from the newest state that is not damaged.

A state is a checkpoint of everything that the next step depends on (`TrainStep.state`), the configuration and the
progress. The order of the people and their augmentation depend only on the seed, the epoch and the person, so the seed
and the step number are enough to restore the random numbers and the position in the data.
"""
import glob
import json
import os
import re
import zlib
from dataclasses import asdict, dataclass, fields
from typing import Callable, Dict, List, Mapping, Optional, Tuple

import numpy as np
from easydict import EasyDict
from mindspore import Parameter, Tensor, dtype_to_nptype

from ..checkpoints.ckpt import CONFIG_KEY, read_entries, write_checkpoint
from ..config import differing_keys, from_json, shown_value, to_json
from ..system.errors import PoseError
from ..system.files import make_folder, parse_json

PROGRESS_KEY = 'progress'
# These may change when a run is resumed. END_EPOCH and BATCH_SIZE are not compared themselves, but through their
# effects: the learning rates of the steps taken, the batch size of all devices together, the people.
FREE_KEYS = (
    'DEVICE.', 'TEST.', 'MODEL.PRETRAINED', 'MODEL.INIT_WEIGHTS', 'DATASET.ROOT', 'DATASET.TRAIN_JSON',
    'DATASET.TEST_JSON', 'DATASET.TRAIN_SET', 'DATASET.TEST_SET', 'DATASET.PRECUT', 'TRAIN.NUM_PARALLEL_WORKERS',
    'TRAIN.BATCH_SIZE', 'TRAIN.END_EPOCH', 'TRAIN.BEGIN_EPOCH', 'TRAIN.CKPT_SAVE_PATH', 'TRAIN.MAX_STEPS',
    'TRAIN.SAVE_MINUTES', 'TRAIN.SAVE_STEPS', 'TRAIN.KEEP_STATES', 'TRAIN.SAVE_EPOCHS', 'TRAIN.KEEP_CHECKPOINTS',
    'TRAIN.EVAL_EPOCHS', 'TRAIN.EARLY_STOP', 'TRAIN.PRINT_STEP', 'TRAIN.RECOMPUTE', 'TRAIN.MAX_SKIPPED_STEPS',
    'TRAIN.STEPS_AHEAD', 'TRAIN.TENSORBOARD')

# These may differ between the servers of a job.
LOCAL_KEYS = ('DEVICE.', 'DATASET.ROOT', 'DATASET.TRAIN_JSON', 'DATASET.TEST_JSON', 'DATASET.PRECUT',
              'MODEL.PRETRAINED', 'TRAIN.CKPT_SAVE_PATH', 'TRAIN.NUM_PARALLEL_WORKERS', 'TEST.NUM_PARALLEL_WORKERS',
              'TEST.COCO_BBOX_FILE')


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        step: number of steps taken.
        skipped: how many of these were skipped because gradients overflowed in mixed precision.
        skipped_in_a_row: number of skipped steps in a row up to now.
        best_ap, best_epoch: best result of the evaluations during training and its epoch; None and 0 before the first.
            On MPII it is the mean PCKh instead of AP.
        evaluations_without_gain: number of evaluations since the best one.
        evaluated_step: step of the last evaluation; an evaluation that is due after a later step is still to be done.
    """

    step: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    best_ap: Optional[float] = None
    best_epoch: int = 0
    evaluations_without_gain: int = 0
    evaluated_step: int = 0


@dataclass(frozen=True)
class RunIdentity:
    """What has to be the same when a run is resumed. It is compared with the state, and each difference is named.

    Attributes:
        config: resolved configuration.
        rates: learning rate of every step.
        joint_batch_size: batch size of all devices and accumulated batches together.
        steps_per_epoch: with the same joint batch size, another number of devices can change it by one.
        data: checksum of the people and the names of their pictures.
    """

    config: EasyDict
    rates: np.ndarray
    joint_batch_size: int
    steps_per_epoch: int
    data: int

    def fingerprint(self, step: int) -> dict:
        """Return what a state saved after step `step` records about its run."""
        return {'joint_batch_size': self.joint_batch_size, 'steps_per_epoch': self.steps_per_epoch, 'data': self.data,
                'rates': zlib.crc32(np.ascontiguousarray(self.rates[:step], np.float32).tobytes())}

    def checksum(self) -> int:
        """Return a number that is equal on all processes that were started with the same settings and data."""
        settings = {key: _value(self.config, key) for section, values in self.config.items() for name in values
                    for key in [f'{section}.{name}'] if not key.startswith(LOCAL_KEYS)}
        return zlib.crc32(json.dumps([settings, self.fingerprint(len(self.rates))]).encode())

    def check(self, told: Mapping, config: EasyDict, step: int, where: str) -> None:
        """Compare with what a state records.

        Raises:
            PoseError: the state belongs to another run; the message names all differences.
        """
        differences = [f'{key} is {_value(self.config, key)}, was {_value(config, key)}'
                       + ' with other settings' * (_value(self.config, key) == _value(config, key))
                       for key in differing_keys(self.config, config) if not key.startswith(FREE_KEYS)]
        mine = self.fingerprint(step)
        if told.get('joint_batch_size') != self.joint_batch_size:
            differences.append(f'the batch of all devices together is {self.joint_batch_size}, was '
                               f'{told.get("joint_batch_size")}')
        elif told.get('steps_per_epoch') != self.steps_per_epoch:
            differences.append(f'an epoch has {self.steps_per_epoch} steps, had {told.get("steps_per_epoch")} '
                               '(number of devices)')
        if told.get('data') != self.data:
            differences.append('the people of the annotation file are others')
        if not differences and (step > len(self.rates) or told.get('rates') != mine['rates']):
            differences.append('the learning rates of the steps taken are others (number of devices, epochs, schedule)')
        if differences:
            raise PoseError(f'{where} is of another run: {"; ".join(differences)}. To start a new run from its '
                            'weights give it as --pretrained_path')


def _value(config: EasyDict, key: str):
    section, name = key.split('.')
    return shown_value(config[section][name])


class RunStates:
    """A folder of states, `step_<number>.ckpt`.

    Args:
        folder: where the states of one run are.
        identity: what identifies the run.
        keep: number of states to keep.
    """

    def __init__(self, folder: str, identity: RunIdentity, *, keep: int):
        self.folder, self.identity, self.keep = folder, identity, keep

    def paths(self, *, after: int = -1) -> List[str]:
        """Return the paths of the states of steps later than `after`, newest first."""
        matches = {path: re.fullmatch(r'step_(\d+)\.ckpt', os.path.basename(path))
                   for path in glob.glob(os.path.join(glob.escape(self.folder), 'step_*.ckpt'))}
        steps = {path: int(match[1]) for path, match in matches.items() if match}
        return sorted((path for path in steps if steps[path] > after), key=steps.get, reverse=True)

    def save(self, state: Mapping[str, Parameter], progress: Progress) -> str:
        """Write the state, and keep only the newest `keep` states.

        Raises:
            OSError: it cannot be written; all earlier states are still there.
        """
        make_folder(self.folder)
        path = os.path.join(self.folder, f'step_{progress.step:08d}.ckpt')
        text = json.dumps({**asdict(progress), 'run': self.identity.fingerprint(progress.step)})
        write_checkpoint(path, state, {CONFIG_KEY: to_json(self.identity.config), PROGRESS_KEY: text})
        for old in [each for each in self.paths() if each != path][max(0, self.keep - 1):]:
            os.remove(old)
        return path

    def remove_leftovers(self) -> None:
        """Remove the unfinished files of killed processes."""
        for leftover in glob.glob(os.path.join(glob.escape(self.folder), '.step_*.tmp*')):
            os.remove(leftover)

    def resume_newest(self, state: Mapping[str, Parameter],
                      say: Callable[[str], None]) -> Optional[Tuple[Progress, str]]:
        """Load the newest undamaged state into `state`, and warn of each damaged one.

        Returns:
            The progress and the path, or None if there is no state at all.

        Raises:
            PoseError: every state is damaged, or the newest undamaged one belongs to another run.
        """
        paths = self.paths()
        for path in paths:
            try:
                content = _read(path)
            except ValueError as error:
                say(f'warning: {error}; taking the state before it')
                continue
            return self._load(path, content, state), path
        if paths:
            raise PoseError(f'all {len(paths)} states in {self.folder} are damaged; move it away to start anew')
        return None

    def resume(self, path: str, state: Mapping[str, Parameter]) -> Progress:
        """Load the state at `path` into `state`.

        Raises:
            PoseError: it is missing, damaged, not a state, or belongs to another run; `state` is then unchanged.
        """
        return self._load(path, _read(path), state)

    def _load(self, path: str, content: tuple, state: Mapping[str, Parameter]) -> Progress:
        entries, progress, told, config = content
        self.identity.check(told, config, progress.step, path)
        missing = [name for name in state if name not in entries]
        unexpected = [name for name in entries if name not in state]
        mis_shaped = [name for name in state if name in entries and
                      (entries[name].shape != state[name].shape or
                       entries[name].dtype != dtype_to_nptype(state[name].dtype))]
        if missing or unexpected or mis_shaped:
            raise PoseError(f'{path} does not fit the run: missing {missing[:3]}, unexpected {unexpected[:3]}, of '
                            f'another shape or type {mis_shaped[:3]}')
        for name, parameter in state.items():
            # A copy, because some back ends would keep sharing the memory.
            parameter.set_data(Tensor(entries[name].copy()))
        return progress


def _read(path: str) -> Tuple[Dict[str, np.ndarray], Progress, dict, EasyDict]:
    entries, texts = read_entries(path, needs_checksum=True)
    if PROGRESS_KEY not in texts or CONFIG_KEY not in texts:
        raise PoseError(f'{path} is a checkpoint of weights, not the state of a run; give it as --pretrained_path')
    try:
        told = parse_json(texts[PROGRESS_KEY])
        progress = Progress(**{field.name: told[field.name] for field in fields(Progress)})
        run = told['run']
        counts = asdict(progress)
        best = counts.pop('best_ap')
        if not (isinstance(run, dict) and all(type(each) is int and 0 <= each < 2 ** 63 for each in counts.values())
                and (best is None or (type(best) in (int, float) and abs(best) < 2 ** 63))):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise PoseError(f'{path}: its progress is damaged') from None
    broken = [name for name, value in entries.items() if not np.isfinite(value).all()]
    if broken:
        raise PoseError(f'{path} is damaged: {len(broken)} parameters hold NaN or infinity, e.g. {broken[0]}')
    return entries, progress, run, from_json(texts[CONFIG_KEY], path)
