"""Parts of the records that all networks with Simple Baselines' Gaussian heatmaps share."""
from functools import partial

from ..record import DECODERS, PIXELS_PER_CELL, HeatmapCodec, is_udp, pixels_per_cell
from .gaussian_decoder import decode_gaussian, place_by_affine_map, place_by_size
from .refined_decoder import decode_refined


def _decode(config):
    if config.TEST.DECODER == 'published':
        return partial(decode_gaussian, quarter_offset=config.TEST.POST_PROCESS,
                       pixels_per_cell=pixels_per_cell(config))
    return partial(decode_refined, rule=config.TEST.DECODER, kernel=config.TEST.DECODER_KERNEL,
                   pixels_per_cell=pixels_per_cell(config))


def _place(config):
    width, height = config.MODEL.IMAGE_SIZE
    if is_udp(config):
        return partial(place_by_size, input_size=(width - 1, height - 1))
    return partial(place_by_affine_map, input_size=(width, height))


def _graph_decoder(config):
    if config.TEST.DECODER == 'published':
        from .gaussian_graph_decoder import build_gaussian_graph_decoder
        return build_gaussian_graph_decoder(config)
    from .refined_graph_decoder import build_refined_graph_decoder
    return build_refined_graph_decoder(config)


def _describe(config) -> dict:
    cell = list(pixels_per_cell(config)) if is_udp(config) else PIXELS_PER_CELL
    if config.TEST.DECODER == 'published':
        return {'rule': 'Simple Baselines', 'quarter_offset': config.TEST.POST_PROCESS, 'pixels_per_cell': cell}
    return describe_refined(config, cell)


def describe_refined(config, cell) -> dict:
    """Return the description of a refined maximum for the metadata of a file; `cell` is its 'pixels_per_cell'."""
    return {'rule': config.TEST.DECODER.upper(), 'blur_kernel': config.TEST.DECODER_KERNEL, 'pixels_per_cell': cell}


GAUSSIAN_CODEC = HeatmapCodec(peak=1.0, decode=_decode, place=_place, graph_decoder=_graph_decoder, describe=_describe,
                              decoders=DECODERS)


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
