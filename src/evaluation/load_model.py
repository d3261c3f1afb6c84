"""Sources of poses: a checkpoint that MindSpore runs, an ensemble of several checkpoints, or an exported model file.

An exported ONNX file also runs without MindSpore, so modules that need MindSpore are imported inside functions.
"""
import argparse
import os
from copy import deepcopy
from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from easydict import EasyDict

from ..checkpoints.configuration import resolve_test_config
from ..checkpoints.zoo_table import ENDINGS, find_weights
from ..data.skeleton_files import find_skeleton
from ..export.model_file import ModelFile, open_model_file
from ..export.runtimes import PRECISIONS, RUNTIMES, quickest_runtime
from ..models.record import is_udp
from ..models.registry import build_empty_network, heatmap_section, model_of, network_name, num_hypotheses
from ..system.command_line import say
from ..system.device import share_of_cores
from ..system.errors import PoseError
from .predict import Predictor
from .predictors import file_predictor, mean_predictor, network_predictor

# Files of export.py, and all files with a network inside.
MODEL_ENDINGS = ('.onnx', '.mindir')
NETWORK_ENDINGS = (*ENDINGS, *MODEL_ENDINGS)
# Names of the checkpoints in the course that this package comes from; the newly trained one first.
USUAL_CHECKPOINTS = ('./mspn_new.ckpt', './mspn.ckpt')
# Settings that are built into an exported file and cannot be changed.
FIXED_KEYS = ('MODEL.NAME', 'MODEL.IMAGE_SIZE', 'MODEL.NUM_JOINTS', 'MODEL.STEM_POOL', 'MODEL.STEM_CHANNELS',
              'DATASET.ENCODING', 'DATASET.COLOR_RGB', 'DATASET.MEANS', 'DATASET.STDS',
              'DATASET.NORMALISE_BEFORE_SCALING')
FIXED_WITH_DECODER = ('TEST.BLUR_KERNEL', 'TEST.POST_PROCESS', 'TEST.DECODER', 'TEST.DECODER_KERNEL')
FIXED_WITH_FLIP_TEST = ('TEST.SHIFT_HEATMAP',)


def usual_checkpoint() -> Optional[str]:
    """Return the first of USUAL_CHECKPOINTS that exists, or None."""
    return next((path for path in USUAL_CHECKPOINTS if os.path.isfile(path)), None)


def network_keys(config: EasyDict) -> Tuple[str, ...]:
    """Return the keys of the network's own sections, which determine what it computes."""
    model = model_of(config)
    sections = dict.fromkeys((model.section, heatmap_section(config)))
    return tuple(f'{section}.{name}' for section in sections for name in config[section] if name not in model.test_keys)


def _keypoints(skeleton: str) -> str:
    """Return the name of a known skeleton, or the keypoint names of a custom one, given as JSON: nothing else in it
    changes the heatmaps."""
    return ', '.join(find_skeleton(skeleton).keypoint_names) if skeleton.startswith('{') else skeleton


@dataclass(frozen=True)
class LoadedModel:
    """A file with a network inside.

    Attributes:
        path: path of the file.
        carried: the recipe inside the file, if any.
        weights: {name: array} of a checkpoint, None for a model file.
        model: the model file, None for a checkpoint.
    """

    path: str
    carried: Optional[EasyDict]
    weights: Optional[Mapping[str, np.ndarray]] = None
    model: Optional[ModelFile] = None

    @property
    def needs_mindspore(self) -> bool:
        return self.model is None or self.model.runtime == 'mindir'

    def settle(self, config: EasyDict, overrides: Mapping[str, str]) -> None:
        """Make a resolved configuration agree with the file.

        Args:
            config: changed if weights of another project need other settings.
            overrides: {config key: text} that the user has set.

        Raises:
            PoseError: the configuration contradicts the settings built into an exported file.
        """
        if self.model is None:
            from ..checkpoints.load import adopt_source
            adopt_source(config, self.carried, self.weights, overrides, self.path)
            return
        for key in (FIXED_KEYS + network_keys(self.model.config) + FIXED_WITH_DECODER * self.model.has_decoder
                    + FIXED_WITH_FLIP_TEST * self.model.has_flip_test):
            section, name = key.split('.')
            if config[section][name] != self.model.config[section][name]:
                raise PoseError(f'{self.path} was exported with {key}={self.model.config[section][name]}; '
                                f'{config[section][name]} needs another export')

    def describe(self, config: EasyDict) -> str:
        """Return the names of the network and, for a model file, its runtime."""
        return network_name(config) + (f' in {self.model}' if self.model else '')

    def build_predictor(self, config: EasyDict, flip_index: np.ndarray) -> Predictor:
        """Return the predictor, by the protocol of a resolved configuration.

        Raises:
            PoseError: the weights do not fit, or the model file cannot follow the protocol.
        """
        if self.model is not None:
            return file_predictor(config, self.model, flip_index)
        from ..checkpoints.load import load_weights
        from ..export.folding import fold_batch_norms
        network = build_empty_network(config)
        load_weights(network, self.weights, config, self.path)
        if model_of(config).folds_batch_norms:
            fold_batch_norms(network)
        return network_predictor(config, network, flip_index)


@dataclass(frozen=True)
class Ensemble:
    """Several checkpoints of networks that were trained separately; their heatmaps are averaged.

    Attributes:
        members: the networks, each from a checkpoint.
        configs: the resolved configuration of each, which determines its network and pixel normalisation.

    Raises:
        PoseError: their heatmaps cannot be averaged; the message names two files and what differs.
    """

    members: Sequence[LoadedModel]
    configs: Sequence[EasyDict]

    needs_mindspore = True

    def __post_init__(self):
        first = self.configs[0]
        for member, config in zip(self.members, self.configs):
            facts = [('MODEL.IMAGE_SIZE', first.MODEL.IMAGE_SIZE, config.MODEL.IMAGE_SIZE, ''),
                     ('MODEL.NUM_JOINTS', first.MODEL.NUM_JOINTS, config.MODEL.NUM_JOINTS, ''),
                     ('DATASET.SKELETON', *(_keypoints(each.DATASET.SKELETON) for each in (first, config)), ''),
                     ('UDP (DATASET.ENCODING)', is_udp(first), is_udp(config), ''),
                     ('the number of people in a box', num_hypotheses(first), num_hypotheses(config),
                      ' (MODEL.NAME, MIPNET.NUM_INSTANCES)')]
            peaks = [model_of(each).codec.peak for each in (first, config)]
            if peaks[0] != peaks[1]:
                facts.append(('MODEL.NAME', first.MODEL.NAME, config.MODEL.NAME,
                              f'; heatmaps of the one reach {peaks[0]:g}, those of the other {peaks[1]:g}'))
            for key, ours, its, remark in facts:
                if ours != its:
                    raise PoseError(f'the heatmaps of {self.members[0].path} and {member.path} cannot be averaged: '
                                    f'{key} is {ours} in the one and {its} in the other{remark}')

    def describe(self, _config: EasyDict) -> str:
        """Return the names of the networks."""
        return 'mean of ' + ', '.join(member.describe(own) for member, own in zip(self.members, self.configs))

    def build_predictor(self, config: EasyDict, flip_index: np.ndarray) -> Predictor:
        """Return the predictor, by the protocol (section TEST) of a resolved configuration.

        Raises:
            PoseError: the weights of a member do not fit.
        """
        predictors = []
        for member, own in zip(self.members, self.configs):
            by_protocol = deepcopy(own)
            by_protocol.TEST = config.TEST
            predictors.append(member.build_predictor(by_protocol, flip_index))
        return mean_predictor(predictors)


class OpenedSource(NamedTuple):
    """A source of poses, its resolved configuration, and the overrides in that, {config key: text}."""

    source: Union[LoadedModel, Ensemble]
    config: EasyDict
    overrides: Dict[str, str]


def add_source_flags(parser: argparse.ArgumentParser, ckpt_help: str, *, precision: str = 'f32') -> None:
    """Add the flags that `open_source` reads.

    Args:
        precision: default of --precision.
    """
    parser.add_argument('--ckpt_path', nargs='+', metavar='CKPT', help=f'{ckpt_help}; of several the heatmaps are '
                        'averaged')
    parser.add_argument('--weights', nargs='+', metavar='NAME', help='published weights by name, downloaded if needed '
                        '(python -m src.checkpoints.zoo list), instead of a checkpoint')
    parser.add_argument('--model_file', help='file of export.py, instead of a checkpoint')
    parser.add_argument('--runtime', choices=RUNTIMES, help='default: mindspore for a checkpoint, mindir or '
                        'onnxruntime by the ending of a model file; openvino for an ONNX file where it is installed '
                        'and --precision auto takes bf16')
    parser.add_argument('--precision', default=precision, choices=PRECISIONS, help='of openvino; auto is bf16 where '
                        'the processor computes faster in it (default: %(default)s)')
    parser.add_argument('--threads', type=int, default=0, help='of onnxruntime and openvino (default: theirs)')


def fetch_named_weights(arguments: argparse.Namespace) -> None:
    """Put the checkpoints of the weights that a command line names, if any, into its `ckpt_path`; they are downloaded
    and converted if needed.

    Raises:
        PoseError: a name is unknown, its weights cannot be had, or the command line names a file as well.
    """
    if arguments.weights:
        if arguments.ckpt_path or arguments.model_file:
            raise PoseError('give --weights, --ckpt_path or --model_file, only one of them')
        from ..checkpoints.zoo import fetch_checkpoint
        # A misspelled name is said before anything is downloaded.
        for name in arguments.weights:
            find_weights(name)
        arguments.ckpt_path = [fetch_checkpoint(name) for name in arguments.weights]
        arguments.weights = None


def open_source(arguments: argparse.Namespace, ckpt_paths: Optional[Sequence[str]],
                read_overrides: Callable[[EasyDict], Dict[str, str]]) -> OpenedSource:
    """Return the source that a command line names, and the configuration for it.

    Args:
        arguments: with the flags of `add_source_flags` and `--recipe`.
        ckpt_paths: the checkpoint, or those of an ensemble, if no model file is given. The protocol is that of the
            first.
        read_overrides: recipe -> {config key: text} that the user has set.

    Raises:
        PoseError: the flags contradict each other, or a file is missing, damaged, of another kind, or does not fit the
            flags or the other files.
        ImportError: the runtime is not installed.
    """
    sources = open_files(arguments, ckpt_paths)
    configs, overrides = [], []
    for source in sources:
        config, its_overrides = resolve_test_config(arguments.recipe, source.carried, source.path, read_overrides)
        source.settle(config, its_overrides)
        configs.append(config)
        overrides.append(its_overrides)
    whole = sources[0] if len(sources) == 1 else Ensemble(sources, configs)
    return OpenedSource(whole, configs[0], overrides[0])


def open_files(arguments: argparse.Namespace, ckpt_paths: Optional[Sequence[str]]) -> List[LoadedModel]:
    """Return the model file, or the checkpoints, that a command line names.

    Raises:
        PoseError, ImportError: see `open_source`.
    """
    if arguments.model_file:
        if arguments.ckpt_path:
            raise PoseError('give --ckpt_path or --model_file, not both')
        if arguments.runtime == 'mindspore':
            raise PoseError('the runtime mindspore runs checkpoints: --ckpt_path; for --model_file choose another')
        runtime = arguments.runtime or quickest_runtime(arguments.model_file, arguments.precision)
        threads = arguments.threads or (share_of_cores() if runtime != 'mindir' else 0)
        model = open_model_file(arguments.model_file, runtime, precision=arguments.precision, threads=threads)
        if arguments.precision == 'auto' and model.precision == 'bf16':
            say('precision: bf16, in which this processor computes faster; --precision f32 is exact')
        return [LoadedModel(model.path, model.config, model=model)]
    if arguments.runtime not in (None, 'mindspore'):
        raise PoseError(f'the runtime {arguments.runtime} needs --model_file, a file of export.py')
    if arguments.precision == 'bf16' or arguments.threads:
        raise PoseError('--precision and --threads are for --model_file')
    if not ckpt_paths:
        there = usual_checkpoint()
        if there is None:
            raise PoseError('give the checkpoint with --ckpt_path, or an exported model with --model_file (without '
                            f'either {" or ".join(USUAL_CHECKPOINTS)} is taken, and neither is here)')
        say(f'checkpoint: {there}, since none is given (choose another with --ckpt_path)')
        ckpt_paths = [there]
    from ..checkpoints.load import read_weights
    sources = []
    for path in ckpt_paths:
        weights, carried = read_weights(path)
        sources.append(LoadedModel(path, carried, weights=weights))
    return sources
