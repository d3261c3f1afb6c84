"""Predictors, which compute poses from crops: a network in MindSpore, an exported file in its runtime, or an ensemble
of networks."""
import threading
from typing import Any, Callable, Optional, Sequence, Tuple

import numpy as np

from ..export.model_file import ModelFile
from ..models.record import pixels_per_cell
from ..models.registry import build_flip_test, model_of, num_hypotheses, shifts_heatmap
from ..system.device import operator_by_operator
from ..system.errors import PoseError
from .multi_shift import average_over_shifts
from .predict import Predictor

# Held while MindSpore runs a network: whether it compiles is a setting of the whole process.
_EXECUTION_MODE = threading.Lock()


def network_predictor(config, network: Any, flip_index: np.ndarray) -> Predictor:
    """Return a predictor that runs a network in MindSpore, by the protocol of a resolved configuration.

    Args:
        network: a MindSpore cell.
        flip_index: (K,), for the flip test, if the configuration asks for it.
    """
    # Imported here, because exported files also run without MindSpore.
    from mindspore import Tensor, get_context

    from ..models.common.flip_test import AllHypotheses
    from ..models.common.normalise import build_normaliser
    hypotheses = num_hypotheses(config)
    cell = build_flip_test(config, build_normaliser(config), AllHypotheses(network) if hypotheses > 1 else network,
                           flip_index)
    cell.set_train(False)

    def run(crops: np.ndarray) -> Tuple[np.ndarray, ...]:
        with _EXECUTION_MODE:
            return (cell(Tensor(crops)).asnumpy(),)

    def run_uncompiled(crops: np.ndarray) -> Tuple[np.ndarray, ...]:
        with _EXECUTION_MODE, operator_by_operator():
            return (cell(Tensor(crops)).asnumpy(),)

    # That both give the same bits is only known of CPUs.
    is_cpu = get_context('device_target') == 'CPU'
    return Predictor(_with_shifts(config, run), build_decoder(config), config.TEST.BATCH_SIZE,
                     num_hypotheses=hypotheses,
                     run_uncompiled=_with_shifts(config, run_uncompiled) if is_cpu else None)


def file_predictor(config, model: ModelFile, flip_index: np.ndarray) -> Predictor:
    """Return a predictor that runs an exported model, by the protocol of a resolved configuration.

    Raises:
        PoseError: the configuration does not fit what was built into the file at export.
    """
    if model.has_flip_test and not config.TEST.FLIP_TEST:
        raise PoseError(f'{model.path} has the flip test inside, so TEST.FLIP_TEST=false cannot be; export it without '
                        '--flip_test')
    flips_outside = config.TEST.FLIP_TEST and not model.has_flip_test
    if model.has_decoder and flips_outside:
        raise PoseError(f'{model.path} decodes inside, without the flip test: export it with --flip_test, or choose '
                        '--set TEST.FLIP_TEST=false')
    if model.has_decoder and config.TEST.MULTI_SHIFT:
        raise PoseError(f'{model.path} decodes inside, so TEST.MULTI_SHIFT={config.TEST.MULTI_SHIFT:g} cannot average '
                        'heatmaps; export it without --with_decode, or choose --set TEST.MULTI_SHIFT=0')

    def run_flipped(crops: np.ndarray) -> Tuple[np.ndarray, ...]:
        heatmaps, = model.run(crops)
        of_mirrored, = model.run(np.ascontiguousarray(crops[:, :, ::-1]))
        mirrored = of_mirrored[:, flip_index, :, ::-1]
        if shifts_heatmap(config):
            mirrored = np.concatenate([mirrored[..., :1], mirrored[..., :-1]], axis=3)
        return ((heatmaps + mirrored) * np.float32(0.5),)

    place = model_of(config).codec.place(config)

    def place_decoded(keypoints: np.ndarray, scores: np.ndarray, center: np.ndarray, scale: np.ndarray):
        return place(keypoints, center, scale), scores

    return Predictor(_with_shifts(config, run_flipped if flips_outside else model.run),
                     place_decoded if model.has_decoder else build_decoder(config),
                     model.batch_size or config.TEST.BATCH_SIZE, needs_whole_batches=bool(model.batch_size),
                     num_hypotheses=model.num_hypotheses)


def mean_predictor(predictors: Sequence[Predictor]) -> Predictor:
    """Return a predictor whose heatmaps are the mean over several predictors; all else is as in the first.

    Args:
        predictors: all with heatmaps of the same shape and the same peak value.
    """
    def mean_of(runs: Sequence[Callable]) -> Optional[Callable[[np.ndarray], Tuple[np.ndarray, ...]]]:
        if None in runs:
            return None
        return lambda crops: (sum(run(crops)[0] for run in runs) / np.float32(len(runs)),)

    return predictors[0]._replace(run=mean_of([each.run for each in predictors]),
                                  run_uncompiled=mean_of([each.run_uncompiled for each in predictors]))


def build_decoder(config) -> Callable[..., Tuple[np.ndarray, np.ndarray]]:
    """Return the function (heatmaps, center, scale) -> (keypoints in the picture, keypoint scores)."""
    codec = model_of(config).codec
    decode, place = codec.decode(config), codec.place(config)

    def decode_and_place(heatmaps: np.ndarray, center: np.ndarray, scale: np.ndarray):
        keypoints_in_input, scores = decode(heatmaps)
        return place(keypoints_in_input, center, scale), scores

    return decode_and_place


def _with_shifts(config, run: Callable[[np.ndarray], Tuple[np.ndarray, ...]]
                 ) -> Callable[[np.ndarray], Tuple[np.ndarray, ...]]:
    """Return `run`, or its mean over shifted crops if the configuration asks for multi-shift testing."""
    if not config.TEST.MULTI_SHIFT:
        return run
    return average_over_shifts(run, config.TEST.MULTI_SHIFT, pixels_per_cell(config))
