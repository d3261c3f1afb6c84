"""What eval.py and infer.py get their poses from: a checkpoint that MindSpore runs, or an exported model file."""
import argparse
from dataclasses import dataclass
from typing import Mapping, Optional

import numpy as np
from easydict import EasyDict

from src.device import share_of_cores
from src.networks import build_configured_network, network_name
from src.prediction import Predictor
from src.predictors import file_predictor, network_predictor
from src.runtimes import PRECISIONS, RUNTIMES, ModelFile, default_runtime, open_model_file
from src.weight_files import adopt_source, load_weights, read_weights

# Settings that an exported file has inside for good.
FIXED_KEYS = ('MODEL.NAME', 'MODEL.IMAGE_SIZE', 'MODEL.NUM_JOINTS', 'MODEL.STEM_POOL', 'MODEL.STEM_CHANNELS',
              'MSPN.STAGE_NUM', 'MSPN.UPSAMPLE_CHANNEL_NUM', 'MSPN.PLANES', 'MSPN.BLOCKS', 'POSE_RESNET.NUM_LAYERS',
              'POSE_RESNET.NUM_DECONV_FILTERS', 'POSE_RESNET.NUM_DECONV_KERNELS', 'POSE_RESNET.DECONV_WITH_BIAS',
              'POSE_RESNET.FINAL_CONV_KERNEL', 'DATASET.MEANS', 'DATASET.STDS', 'DATASET.NORMALISE_BEFORE_SCALING')
FIXED_WITH_DECODER = ('TEST.BLUR_KERNEL', 'TEST.POST_PROCESS')
FIXED_WITH_FLIP_TEST = ('TEST.SHIFT_HEATMAP',)


@dataclass(frozen=True)
class PoseSource:
    """A file with a network inside.

    Attributes:
        path: of the file.
        carried: the recipe inside, if any.
        weights: {name: array} of a checkpoint, None for a model file.
        model: the model file, None for a checkpoint.
    """

    path: str
    carried: Optional[EasyDict]
    weights: Optional[Mapping[str, np.ndarray]] = None
    model: Optional[ModelFile] = None

    def settle(self, config: EasyDict, overrides: Mapping[str, str]) -> None:
        """Bring a resolved configuration in line with the file.

        Args:
            config: changed where weights of another project need other settings.
            overrides: {config key: text} that the user has set.

        Raises:
            ValueError: the configuration contradicts what an exported file has inside.
        """
        if self.model is None:
            adopt_source(config, self.carried, self.weights, overrides, self.path)
            return
        for key in (FIXED_KEYS + FIXED_WITH_DECODER * self.model.has_decoder
                    + FIXED_WITH_FLIP_TEST * self.model.has_flip_test):
            section, name = key.split('.')
            if config[section][name] != self.model.config[section][name]:
                raise ValueError(f'{self.path} was exported with {key}={self.model.config[section][name]}; '
                                 f'{config[section][name]} needs another export')

    def describe(self, config: EasyDict) -> str:
        """Return network and runtime in words."""
        return network_name(config) + (f' in {self.model}' if self.model else '')

    def build_predictor(self, config: EasyDict, flip_index: np.ndarray) -> Predictor:
        """Return what makes poses of crops, by the protocol of a resolved configuration.

        Raises:
            ValueError: the weights do not fit, or the protocol wants what a model file cannot do.
        """
        if self.model is not None:
            return file_predictor(config, self.model, flip_index)
        network = build_configured_network(config)
        load_weights(network, self.weights, config, self.path)
        return network_predictor(config, network, flip_index)


def add_source_flags(parser: argparse.ArgumentParser, ckpt_help: str) -> None:
    """Add the flags that `open_source` reads."""
    parser.add_argument('--ckpt_path', help=ckpt_help)
    parser.add_argument('--model_file', help='file of export.py, instead of a checkpoint')
    parser.add_argument('--runtime', choices=RUNTIMES, help='default: mindspore for a checkpoint, mindir or '
                        'onnxruntime by the ending of a model file')
    parser.add_argument('--precision', default='f32', choices=PRECISIONS, help='of openvino (default: %(default)s)')
    parser.add_argument('--threads', type=int, default=0, help='of onnxruntime and openvino (default: theirs)')


def open_source(arguments: argparse.Namespace, ckpt_path: Optional[str]) -> PoseSource:
    """Return the source that a command line names.

    Args:
        arguments: with the flags of `add_source_flags`.
        ckpt_path: the checkpoint, where no model file is given.

    Raises:
        ValueError: the flags contradict each other, or the file is missing, damaged or of another kind.
        ImportError: the runtime is not installed.
    """
    if arguments.model_file:
        if arguments.ckpt_path:
            raise ValueError('give --ckpt_path or --model_file, not both')
        if arguments.runtime == 'mindspore':
            raise ValueError('the runtime mindspore runs checkpoints: --ckpt_path; for --model_file choose another')
        runtime = arguments.runtime or default_runtime(arguments.model_file)
        threads = arguments.threads or (share_of_cores() if runtime != 'mindir' else 0)
        model = open_model_file(arguments.model_file, runtime, precision=arguments.precision, threads=threads)
        return PoseSource(model.path, model.config, model=model)
    if arguments.runtime not in (None, 'mindspore'):
        raise ValueError(f'the runtime {arguments.runtime} needs --model_file, a file of export.py')
    if arguments.precision != 'f32' or arguments.threads:
        raise ValueError('--precision and --threads are for --model_file')
    if not ckpt_path:
        raise ValueError('give the checkpoint with --ckpt_path, or an exported model with --model_file')
    weights, carried = read_weights(ckpt_path)
    return PoseSource(ckpt_path, carried, weights=weights)
