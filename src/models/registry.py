"""The networks, and the names by which they are built."""
from functools import partial
from typing import Callable, Dict, NamedTuple, Tuple

from mindspore import nn

from .common.normalise import PixelNormaliser
from .hrnet.network import HRNet
from .mipnet.network import MIPNetHRNet, MIPNetResNet
from .mspn.network import MSPN
from .simple_pose.network import SimplePoseMobileNet, SimplePoseNet

NETWORKS = {
    **{f'mspn_{stages}stg': partial(MSPN, num_stages=stages) for stages in (1, 2, 3, 4)},
    **{f'simplepose_r{layers}': partial(SimplePoseNet, num_layers=layers) for layers in (18, 34, 50, 101, 152)},
    'simplepose_mobilenetv2': SimplePoseMobileNet,
    **{f'hrnet_w{width}': partial(HRNet, width=width) for width in (32, 48)},
    **{f'mipnet_hrnet_w{width}': partial(MIPNetHRNet, width=width) for width in (32, 48)},
    **{f'mipnet_r{layers}': partial(MIPNetResNet, num_layers=layers) for layers in (50, 101, 152)},
}


def build_network(name: str, *, num_keypoints: int, input_shape: Tuple[int, int], **options) -> nn.Cell:
    """Return the named network with its published widths.

    Args:
        name: 'mspn_1stg' to 'mspn_4stg'; 'simplepose_r18', r34, r50, r101, r152, 'simplepose_mobilenetv2';
            'hrnet_w32', w48; 'mipnet_hrnet_w32', w48; 'mipnet_r50', r101, r152.
        num_keypoints: K, the channels of the heatmaps.
        input_shape: (H, W) of the input, both divisible by 32.
        options: further keyword arguments of the network's class, e.g. `stem_channels` or `seed`.

    Returns:
        A cell that maps images (N, 3, H, W) float32 to heatmaps (N, K, H/4, W/4); MIPNet also takes codes (N, 2).

    Raises:
        ValueError: the name is unknown (the message lists the known ones) or an argument is out of range.
    """
    if name not in NETWORKS:
        raise ValueError(f'unknown network {name!r}; known: {", ".join(NETWORKS)}')
    return NETWORKS[name](num_keypoints=num_keypoints, input_shape=input_shape, **options)


class _Configured(NamedTuple):
    """What a configuration says of its network: the name, how it is built, and all but what every network takes."""

    name: str
    build: Callable[..., nn.Cell]
    options: dict


def _mspn(config) -> _Configured:
    section = config.MSPN
    return _Configured(f'mspn_{section.STAGE_NUM}stg', MSPN, {
        'num_stages': section.STAGE_NUM, 'stem_channels': config.MODEL.STEM_CHANNELS,
        'stem_pool': config.MODEL.STEM_POOL,
        'upsample_channels': section.UPSAMPLE_CHANNEL_NUM, 'planes': section.PLANES, 'blocks': section.BLOCKS,
        'head_scale': section.HEAD_SCALE})


def _pose_resnet(config) -> _Configured:
    section = config.POSE_RESNET
    return _Configured(f'simplepose_r{section.NUM_LAYERS}', SimplePoseNet, {
        'num_layers': section.NUM_LAYERS, 'stem_channels': config.MODEL.STEM_CHANNELS,
        'stem_pool': config.MODEL.STEM_POOL,
        'num_deconv_filters': section.NUM_DECONV_FILTERS, 'num_deconv_kernels': section.NUM_DECONV_KERNELS,
        'deconv_with_bias': section.DECONV_WITH_BIAS, 'final_conv_kernel': section.FINAL_CONV_KERNEL})


def _pose_mobilenet(config) -> _Configured:
    section = config.POSE_MOBILENET
    name = 'simplepose_mobilenetv2' + ('' if section.WIDTH == 1 else f'_{section.WIDTH:g}')
    return _Configured(name, SimplePoseMobileNet, {
        'width': section.WIDTH, 'last_channels': section.LAST_CHANNELS,
        'num_deconv_filters': section.NUM_DECONV_FILTERS})


def _hrnet(config) -> _Configured:
    section = config.HRNET
    return _Configured(f'hrnet_w{section.WIDTH}', HRNet, {
        'width': section.WIDTH, 'stem_channels': config.MODEL.STEM_CHANNELS, 'modules': section.MODULES,
        'blocks': section.BLOCKS})


def _mipnet(config) -> _Configured:
    baseline = CONFIGURED[config.MIPNET.BACKBONE](config)
    options = {**baseline.options, 'se_modules': config.MIPNET.SE_MODULES,
               'num_instances': config.MIPNET.NUM_INSTANCES}
    return _Configured(f'mipnet_{baseline.name.replace("simplepose_", "")}',
                       MIPNetHRNet if config.MIPNET.BACKBONE == 'hrnet' else MIPNetResNet, options)


# MODEL.NAME -> what the configuration says
CONFIGURED: Dict[str, Callable[..., _Configured]] = {
    'mspn': _mspn, 'pose_resnet': _pose_resnet, 'pose_mobilenet': _pose_mobilenet, 'hrnet': _hrnet, 'mipnet': _mipnet}


def network_name(config) -> str:
    """Return the name of the configured network; that of a published one is known to `build_network`."""
    return CONFIGURED[config.MODEL.NAME](config).name


def build_configured_network(config) -> nn.Cell:
    """Return the network of a resolved configuration, with fresh weights drawn from its seed."""
    width, height = config.MODEL.IMAGE_SIZE
    configured = CONFIGURED[config.MODEL.NAME](config)
    return configured.build(num_keypoints=config.MODEL.NUM_JOINTS, input_shape=(height, width),
                            seed=config.GENERAL.SEED, **configured.options)


def build_normaliser(config) -> PixelNormaliser:
    """Return the pixel normalisation of a resolved configuration."""
    return PixelNormaliser(config.DATASET.MEANS, config.DATASET.STDS, color_rgb=config.DATASET.COLOR_RGB,
                           normalise_before_scaling=config.DATASET.NORMALISE_BEFORE_SCALING)
