"""What computes poses of crops: a network in MindSpore, or an exported file in its runtime, each with its decoder."""
from typing import Tuple

import numpy as np
from mindspore import Tensor, nn

from src.heatmaps import build_decoder, build_placer
from src.networks import build_normaliser
from src.networks.predictor import build_predictor, shifts_heatmap
from src.prediction import Predictor
from src.runtimes import ModelFile


def network_predictor(config, network: nn.Cell, flip_index: np.ndarray) -> Predictor:
    """Return a predictor that runs a network in MindSpore, by the protocol of a resolved configuration.

    Args:
        flip_index: (K,), of the flip test, where the configuration wants it.
    """
    cell = build_predictor(config, build_normaliser(config), network, flip_index)
    cell.set_train(False)

    def run(crops: np.ndarray) -> Tuple[np.ndarray, ...]:
        return (cell(Tensor(crops)).asnumpy(),)

    return Predictor(run, build_decoder(config), config.TEST.BATCH_SIZE)


def file_predictor(config, model: ModelFile, flip_index: np.ndarray) -> Predictor:
    """Return a predictor that runs an exported model, by the protocol of a resolved configuration.

    Raises:
        ValueError: the configuration asks for what is not inside the model and cannot be added outside.
    """
    if model.has_flip_test and not config.TEST.FLIP_TEST:
        raise ValueError(f'{model.path} has the flip test inside, so TEST.FLIP_TEST=false cannot be; export it without '
                         '--flip_test')
    flips_outside = config.TEST.FLIP_TEST and not model.has_flip_test
    if model.has_decoder and flips_outside:
        raise ValueError(f'{model.path} decodes inside, without the flip test: export it with --flip_test, or choose '
                         '--set TEST.FLIP_TEST=false')

    def run_flipped(crops: np.ndarray) -> Tuple[np.ndarray, ...]:
        heatmaps, = model.run(crops)
        of_mirrored, = model.run(np.ascontiguousarray(crops[:, :, ::-1]))
        mirrored = of_mirrored[:, flip_index, :, ::-1]
        if shifts_heatmap(config):
            mirrored = np.concatenate([mirrored[..., :1], mirrored[..., :-1]], axis=3)
        return ((heatmaps + mirrored) * np.float32(0.5),)

    place = build_placer(config)

    def place_decoded(keypoints: np.ndarray, scores: np.ndarray, center: np.ndarray, scale: np.ndarray):
        return place(keypoints, center, scale), scores

    return Predictor(run_flipped if flips_outside else model.run,
                     place_decoded if model.has_decoder else build_decoder(config),
                     model.batch_size or config.TEST.BATCH_SIZE, needs_whole_batches=bool(model.batch_size))
