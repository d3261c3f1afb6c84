"""The networks, and the names by which they are built."""
from functools import partial
from typing import Tuple

from mindspore import nn

from src.networks.mspn import MSPN
from src.networks.preprocessing import PixelNormaliser
from src.networks.simple_pose import SimplePoseNet

NETWORKS = {
    **{f'mspn_{stages}stg': partial(MSPN, num_stages=stages) for stages in (1, 2, 3, 4)},
    **{f'simplepose_r{layers}': partial(SimplePoseNet, num_layers=layers) for layers in (18, 34, 50, 101, 152)},
}


def build_network(name: str, *, num_keypoints: int, input_shape: Tuple[int, int], **options) -> nn.Cell:
    """Return the named network with its published widths.

    Args:
        name: 'mspn_1stg' to 'mspn_4stg' or 'simplepose_r18', r34, r50, r101, r152.
        num_keypoints: K, the channels of the heatmaps.
        input_shape: (H, W) of the input, both divisible by 32.
        options: further keyword arguments of the network's class, e.g. `stem_pool` or `seed`.

    Returns:
        A cell that maps images (N, 3, H, W) float32 to heatmaps (N, K, H/4, W/4).

    Raises:
        ValueError: the name is unknown (the message lists the known ones) or an argument is out of range.
    """
    if name not in NETWORKS:
        raise ValueError(f'unknown network {name!r}; known: {", ".join(NETWORKS)}')
    return NETWORKS[name](num_keypoints=num_keypoints, input_shape=input_shape, **options)


def network_name(config) -> str:
    """Return the name under which `build_network` knows the configured network."""
    if config.MODEL.NAME == 'mspn':
        return f'mspn_{config.MSPN.STAGE_NUM}stg'
    return f'simplepose_r{config.POSE_RESNET.NUM_LAYERS}'


def build_configured_network(config) -> nn.Cell:
    """Return the network of a resolved configuration, with fresh weights drawn from its seed."""
    width, height = config.MODEL.IMAGE_SIZE
    options = {'stem_pool': config.MODEL.STEM_POOL, 'stem_channels': config.MODEL.STEM_CHANNELS,
               'seed': config.GENERAL.SEED}
    if config.MODEL.NAME == 'mspn':
        options.update(upsample_channels=config.MSPN.UPSAMPLE_CHANNEL_NUM, planes=config.MSPN.PLANES,
                       blocks=config.MSPN.BLOCKS, head_scale=config.MSPN.HEAD_SCALE)
    else:
        options.update(num_deconv_filters=config.POSE_RESNET.NUM_DECONV_FILTERS,
                       num_deconv_kernels=config.POSE_RESNET.NUM_DECONV_KERNELS,
                       deconv_with_bias=config.POSE_RESNET.DECONV_WITH_BIAS,
                       final_conv_kernel=config.POSE_RESNET.FINAL_CONV_KERNEL)
    return build_network(network_name(config), num_keypoints=config.MODEL.NUM_JOINTS, input_shape=(height, width),
                         **options)


def build_normaliser(config) -> PixelNormaliser:
    """Return the pixel normalisation of a resolved configuration."""
    return PixelNormaliser(config.DATASET.MEANS, config.DATASET.STDS,
                           normalise_before_scaling=config.DATASET.NORMALISE_BEFORE_SCALING)
