"""Set up a run from a resolved configuration: its start weights, its precision and its training step."""
import fnmatch
import os
import re
from typing import Mapping

import numpy as np
from easydict import EasyDict
from mindspore import nn

from ..checkpoints.configuration import warn_of_other_flavour
from ..checkpoints.load import adopt_source, load_weights, read_weights
from ..checkpoints.names import named_parameters
from ..checkpoints.zoo_table import read_zoo
from ..models.common.blocks import freeze_weights, recompute_blocks, set_precision, synchronise_batch_norm
from ..models.common.normalise import build_normaliser
from ..models.registry import build_configured_network, model_of
from ..system.command_line import say
from ..system.device import Processes
from ..system.errors import PoseError
from .optimizers import TorchAdam
from .step import LossGraph, TrainStep


def choose_precision(config: EasyDict, processes: Processes, *, is_explicit: bool) -> None:
    """Set TRAIN.AMP_LEVEL to O0 on a CPU, where float16 is slower, unless the user asked for another level."""
    if processes.target == 'CPU' and not is_explicit:
        config.TRAIN.AMP_LEVEL = 'O0'
    if config.TRAIN.AMP_LEVEL == 'O1':
        say('note: precision O1 is O2 here: all in float16 but BatchNorm and the loss')


def choose_steps_ahead(config: EasyDict, processes: Processes) -> int:
    """Return TRAIN.STEPS_AHEAD; if it is left open, 1 on Ascend and GPU, and 0 on a CPU, which computes a step while it
    is launched."""
    wanted = config.TRAIN.STEPS_AHEAD
    return wanted if wanted >= 0 else int(processes.target != 'CPU')


def build_started_network(config: EasyDict, overrides: Mapping[str, str]) -> nn.Cell:
    """Return the network, with the weights of MODEL.PRETRAINED if the configuration asks for it, and print which.

    If the weights are from another project, settings of `config` such as the pixel means may be changed to fit them.

    Args:
        overrides: the settings that the user gave; if MODEL.PRETRAINED is among them, it has to be a file or the name
            of published weights.

    Raises:
        PoseError: the file is missing, damaged or does not fit.
    """
    path, model = config.MODEL.PRETRAINED, model_of(config)
    if config.MODEL.INIT_WEIGHTS and path and not os.path.isfile(path) and path in read_zoo():
        from ..checkpoints.zoo import fetch_start
        path = fetch_start(path)
    elif config.MODEL.INIT_WEIGHTS and 'MODEL.PRETRAINED' not in overrides and not os.path.isfile(path):
        usual = model.usual_start(config)
        if os.path.isfile(usual):
            say(f'start file: {usual}, since it is there (--pretrained false starts from random weights)')
            path = usual
    if not config.MODEL.INIT_WEIGHTS or not path:
        hint = f' (the published results start from {model.start})' if config.MODEL.INIT_WEIGHTS else ''
        say(f'start: random weights{hint}')
        return build_configured_network(config)
    if 'MODEL.PRETRAINED' not in overrides and not os.path.isfile(path):
        say(f'start: random weights, since {path} is not there (choose another with --pretrained_path)')
        return build_configured_network(config)
    state, carried = read_weights(path)
    warn_of_other_flavour(config, carried, path)
    adopt_source(config, carried, state, overrides, path)
    network = build_configured_network(config)
    conversion = load_weights(network, state, config, path, is_start=True, may_be_partial=True)
    rest = f'; initial weights: {", ".join(conversion.initial_parts)}' if conversion.initial else ''
    say(f'start: {len(conversion.weights)} of {len(named_parameters(network))} parameters from {path} '
        f'({conversion.source.name}){rest}')
    if conversion.other_head:
        say(f'note: {conversion.other_head}')
    return network


def _freeze(network: nn.Cell, wanted: str, trunk: str) -> None:
    """Freeze the parameters that TRAIN.FREEZE names, and print how many are left to train."""
    patterns = [each for each in wanted.replace(',', ' ').split() if each]
    if not patterns:
        return
    every = list(named_parameters(network))
    frozen = {name for name in every for pattern in patterns
              if (re.fullmatch(trunk, name) if pattern == 'trunk' else fnmatch.fnmatchcase(name, pattern))}
    unused = [pattern for pattern in patterns if pattern != 'trunk' and not fnmatch.filter(every, pattern)]
    if unused:
        raise PoseError(f'TRAIN.FREEZE: no parameter is called {unused[0]}; known are trunk and names such as '
                        f'{every[0]} and {every[-1]}')
    freeze_weights(network, frozen)
    left = len(network.trainable_params())
    if not left:
        raise PoseError(f'TRAIN.FREEZE={wanted} leaves nothing to train')
    say(f'frozen: {len(frozen)} of {len(every)} parameters ({wanted}); {left} are trained')


def build_train_step(config: EasyDict, network: nn.Cell, rates: np.ndarray, processes: Processes, *,
                     first_step: int = 0) -> TrainStep:
    """Return the training step of a resolved configuration; this sets `network` to the precision TRAIN.AMP_LEVEL."""
    train, model = config.TRAIN, model_of(config)
    _freeze(network, train.FREEZE, model.trunk)
    if train.RECOMPUTE and not recompute_blocks(network):
        raise PoseError(f'TRAIN.RECOMPUTE: {config.MODEL.NAME} has no blocks that could be computed again')
    set_precision(network, train.AMP_LEVEL)
    if train.SYNC_BN:
        synchronise_batch_norm(network, processes.size)
    graph = LossGraph(build_normaliser(config), network, model.targets(config), model.loss(config))
    optimizer = TorchAdam(network.trainable_params(), rates, weight_decay=train.WEIGHT_DECAY, first_step=first_step)
    return TrainStep(graph, optimizer, accumulate=train.ACCUMULATE,
                     loss_scale=0.0 if train.AMP_LEVEL == 'O0' else train.LOSS_SCALE,
                     loss_scale_window=train.LOSS_SCALE_WINDOW, clip_norm=train.CLIP_NORM, ema_decay=train.EMA_DECAY,
                     network=network, num_processes=processes.size)
