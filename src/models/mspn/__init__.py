"""MSPN, the Multi-Stage Pose Network (Li et al., "Rethinking on Multi-Stage Networks for Human Pose Estimation",
arXiv 1901.00148): 1 to 4 stages."""
import os
from functools import partial

from ...system import checks
from ...system.errors import PoseError
from ..common.gaussian import describe_refined
from ..common.gaussian_decoder import place_by_size
from ..common.refined_decoder import decode_refined
from ..record import DECODERS, PIXELS_PER_CELL, HeatmapCodec, PoseModel, common_options, heatmap_shape, input_shape
from .crops import build_crops
from .decoder import PEAK, decode_mspn


def _check(config) -> None:
    checks.choice(config, 'MSPN.STAGE_NUM', (1, 2, 3, 4))
    checks.positive(config, 'MSPN.UPSAMPLE_CHANNEL_NUM', 'MSPN.HEAD_SCALE')
    checks.counts(config, 'MSPN.PLANES', 'MSPN.BLOCKS')
    if MODEL.name == config.MODEL.NAME and config.LOSS.TOPK > config.MODEL.NUM_JOINTS:
        raise PoseError(f'LOSS.TOPK {config.LOSS.TOPK} is more than the {config.MODEL.NUM_JOINTS} keypoints')


def _build(config):
    from .network import MSPN
    section = config.MSPN
    return MSPN(num_stages=section.STAGE_NUM, stem_channels=config.MODEL.STEM_CHANNELS,
                stem_pool=config.MODEL.STEM_POOL, upsample_channels=section.UPSAMPLE_CHANNEL_NUM,
                planes=section.PLANES, blocks=section.BLOCKS, head_scale=section.HEAD_SCALE, **common_options(config))


def _targets(config):
    from .targets import MSPNTargets
    return MSPNTargets(input_shape(config), heatmap_shape(config))


def _loss(config):
    from .loss import JointsL2Loss
    return JointsL2Loss(ohkm=config.LOSS.OHKM, topk=config.LOSS.TOPK, coarse_to_fine=config.LOSS.COARSE_TO_FINE)


# An empty heatmap scores 0.5. Labels are cut off to whole cells, so a cell stands for its middle.
REFINED = {'pixels_per_cell': (float(PIXELS_PER_CELL),) * 2, 'first_cell': PIXELS_PER_CELL / 2, 'peak': PEAK,
           'empty_score': 0.5}


def _decode(config):
    if config.TEST.DECODER == 'published':
        return partial(decode_mspn, blur_kernel=config.TEST.BLUR_KERNEL)
    return partial(decode_refined, rule=config.TEST.DECODER, kernel=config.TEST.DECODER_KERNEL, **REFINED)


def _graph_decoder(config):
    if config.TEST.DECODER != 'published':
        from ..common.refined_graph_decoder import RefinedDecoder
        return RefinedDecoder(config.MODEL.NUM_JOINTS, heatmap_shape(config), rule=config.TEST.DECODER,
                              kernel=config.TEST.DECODER_KERNEL, **REFINED)
    from .graph_decoder import MSPNDecoder
    return MSPNDecoder(config.MODEL.NUM_JOINTS, heatmap_shape(config), blur_kernel=config.TEST.BLUR_KERNEL)


def _describe(config) -> dict:
    if config.TEST.DECODER == 'published':
        return {'rule': 'MSPN', 'blur_kernel': config.TEST.BLUR_KERNEL, 'pixels_per_cell': PIXELS_PER_CELL}
    return {**describe_refined(config, PIXELS_PER_CELL), 'first_cell': REFINED['first_cell'], 'peak': PEAK}


def _formats():
    from .formats import FORMATS
    return FORMATS


def _published():
    from .network import MSPN
    return {f'mspn_{stages}stg': partial(MSPN, num_stages=stages) for stages in (1, 2, 3, 4)}


def _resnet_hint(_depth: int, is_of_bottlenecks: bool, blocks) -> str:
    if is_of_bottlenecks:
        return f'an MSPN of it needs MSPN.BLOCKS=[{",".join(map(str, blocks))}]'
    return 'MSPN has blocks of three convolutions, as ResNet-50, 101 and 152 have'


MODEL = PoseModel(
    name='mspn', section='MSPN', defaults=os.path.join(os.path.dirname(__file__), 'defaults.yaml'), check=_check,
    variant=lambda config: f'mspn_{config.MSPN.STAGE_NUM}stg', build=_build, crops=build_crops, targets=_targets,
    loss=_loss,
    codec=HeatmapCodec(
        peak=PEAK, decode=_decode,
        place=lambda config: partial(place_by_size, input_size=tuple(config.MODEL.IMAGE_SIZE)),
        graph_decoder=_graph_decoder, describe=_describe, decoders=DECODERS),
    # An empty heatmap has a score, and the release counts all keypoints in the score of a person.
    keypoint_threshold=lambda config: None, draw_threshold=0.7, draw_person_threshold=0.7, shifts_flipped=False,
    formats=_formats, resnet_hint=_resnet_hint, trunk=r'(top|stage\d\.downsample)\..+', published=_published,
    folds_batch_norms=True)
