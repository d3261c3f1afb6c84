"""Parts of the records that all networks with Simple Baselines' Gaussian heatmaps share."""
from functools import partial

from ..record import PIXELS_PER_CELL, HeatmapCodec
from .gaussian_decoder import decode_gaussian, place_by_affine_map


def _decode(config):
    return partial(decode_gaussian, quarter_offset=config.TEST.POST_PROCESS)


def _place(config):
    return partial(place_by_affine_map, input_size=tuple(config.MODEL.IMAGE_SIZE))


def _graph_decoder(config):
    from .gaussian_graph_decoder import build_gaussian_graph_decoder
    return build_gaussian_graph_decoder(config)


def _describe(config) -> dict:
    return {'rule': 'Simple Baselines', 'quarter_offset': config.TEST.POST_PROCESS, 'pixels_per_cell': PIXELS_PER_CELL}


GAUSSIAN_CODEC = HeatmapCodec(peak=1.0, decode=_decode, place=_place, graph_decoder=_graph_decoder, describe=_describe)


def gaussian_targets(section: str):
    """Return a function config -> targets that takes the Gaussian's SIGMA from this section of the configuration."""
    def targets(config):
        from .gaussian_targets import build_gaussian_targets
        return build_gaussian_targets(config, config[section].SIGMA)
    return targets


def mse_loss(config):
    """Return the loss of a resolved configuration."""
    from .mse_loss import JointsMSELoss
    return JointsMSELoss(use_target_weight=config.LOSS.USE_TARGET_WEIGHT)


def scored_above(config) -> float:
    """Return the keypoint score above which a keypoint counts for its person."""
    return config.TEST.IN_VIS_THRE


def resnet_hint(depth: int, _is_of_bottlenecks: bool, _blocks) -> str:
    """Return the setting that a ResNet of another depth needs, for the error message."""
    return f'a network of it needs POSE_RESNET.NUM_LAYERS={depth}'
