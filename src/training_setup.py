"""A resolved configuration → the start weights, the precision and the training step of a run."""
import os

import numpy as np
from easydict import EasyDict
from mindspore import nn

from src.checkpoints import load_start_weights, read_checkpoint
from src.command_line import say, warn_of_other_flavour
from src.device import Processes
from src.losses import build_loss
from src.networks import build_normaliser
from src.networks.blocks import synchronise_batch_norm
from src.networks.precision import set_precision
from src.optimizers import TorchAdam
from src.targets import build_targets
from src.training_step import LossGraph, TrainStep


def choose_precision(config: EasyDict, processes: Processes, *, is_explicit: bool) -> None:
    """Set TRAIN.AMP_LEVEL to O0 on a CPU, where float16 is slower, unless the user asked for another level."""
    if processes.target == 'CPU' and not is_explicit:
        config.TRAIN.AMP_LEVEL = 'O0'


def start_network(config: EasyDict, network: nn.Cell, *, is_explicit: bool) -> None:
    """Load MODEL.PRETRAINED into `network`, where the configuration wants it, and say so.

    Args:
        is_explicit: the user named the file; otherwise it may be missing.

    Raises:
        ValueError: the file is missing, damaged or does not fit.
    """
    path = config.MODEL.PRETRAINED
    if not config.MODEL.INIT_WEIGHTS or not path:
        hint = ' (the published results start from ImageNet weights)' if config.MODEL.INIT_WEIGHTS else ''
        say(f'start: random weights{hint}')
        return
    if not is_explicit and not os.path.isfile(path):
        say(f'start: random weights, since {path} is not there (choose another with --pretrained_path)')
        return
    weights, carried = read_checkpoint(path)
    warn_of_other_flavour(config, carried, path)
    loaded = load_start_weights(network, weights, path)
    say(f'start: {loaded} of {len(network.parameters_dict())} parameters from {path}')


def build_train_step(config: EasyDict, network: nn.Cell, rates: np.ndarray, processes: Processes, *,
                     first_step: int = 0) -> TrainStep:
    """Return the training step of a resolved configuration; `network` computes as TRAIN.AMP_LEVEL says from then on."""
    train = config.TRAIN
    set_precision(network, train.AMP_LEVEL)
    if train.SYNC_BN:
        synchronise_batch_norm(network, processes.size)
    graph = LossGraph(build_normaliser(config), network, build_targets(config), build_loss(config))
    optimizer = TorchAdam(network.trainable_params(), rates, weight_decay=train.WEIGHT_DECAY, first_step=first_step)
    return TrainStep(graph, optimizer, accumulate=train.ACCUMULATE,
                     loss_scale=0.0 if train.AMP_LEVEL == 'O0' else train.LOSS_SCALE,
                     loss_scale_window=train.LOSS_SCALE_WINDOW, clip_norm=train.CLIP_NORM, ema_decay=train.EMA_DECAY,
                     network=network, num_processes=processes.size)
