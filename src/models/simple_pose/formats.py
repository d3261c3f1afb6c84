"""The published formats of weights of SimplePoseNet, on ResNet and on MobileNetV2, and of start weights for both."""
import re

from ..common.weight_sources import (
    BGR,
    CLASSIFIER,
    IMAGENET,
    MINDSPORE,
    POSE_HEAD,
    PYTORCH,
    RGB,
    RGB_ON_BGR,
    Rule,
    WeightSource,
)
from .mobilenet import LAYERS

# The blocks by name, in the order in which MindCV and torchvision count them.
BLOCKS = tuple(f'layer{number}.{index}' for number, layer in enumerate(LAYERS, 1) for index in range(layer[2]))


def _deconvolution(match: re.Match) -> str:
    # In the releases the transposed convolutions are every third cell, each followed by BatchNorm and ReLU.
    return f'deconv_layers.{3 * int(match[1]) + (match[2] == "bn")}.{match[3]}'


def block_of_mindcv(match: re.Match) -> str:
    """Return our name of a part of a block from MindCV's (number of the block, number of the part, the rest)."""
    # After the three cells of the stem. A BatchNorm and, except for the last, a ReLU6 follow each convolution.
    block, part = int(match[1]) - 3, int(match[2])
    return f'{BLOCKS[block]}.conv.{part // 3}.{("conv", "bn")[part % 3]}.{match[3]}'


def block_of_torchvision(match: re.Match) -> str:
    """Return our name of a part of a block from torchvision's (number of the block, of the part, of the part of that
    or None, the rest)."""
    # After the stem. Parts with a ReLU6 are nested; the last convolution and its BatchNorm are not.
    block = int(match[1]) - 1
    last = 1 if block == 0 else 2
    part, kind = (int(match[2]), int(match[3])) if match[3] else (last, int(match[2]) - last)
    return f'{BLOCKS[block]}.conv.{part}.{("conv", "bn")[kind]}.{match[4]}'


RESNET_FORMATS = (
    WeightSource('Simple Baselines', 'pose_resnet', r'deconv_layers\.\d\..+', settings={**RGB_ON_BGR, **PYTORCH}),
    WeightSource('MindSpore model-zoo simple_pose', 'pose_resnet', r'deconv_layers\.deconv_\d\..+', (
        Rule(r'deconv_layers\.deconv_(\d)\.(deconv|bn)\.(.+)', _deconvolution),),
        settings={**RGB_ON_BGR, **MINDSPORE}),
    WeightSource('MMPose ResNet', 'pose_resnet', r'(keypoint_)?head\.deconv_layers\..+', (
        Rule(r'backbone\.(.+)', r'\1'), Rule(r'(?:keypoint_)?head\.((?:deconv_layers|final_layer)\..+)', r'\1')),
        reverse_stem=True, settings={**BGR, **PYTORCH}),
    WeightSource('MindPose SimpleBaseline', 'pose_resnet', r'head\.deconv_layer\..+', (
        Rule(r'backbone\.(.+)', r'\1'), Rule(r'head\.deconv_layer\.(.+)', r'deconv_layers.\1'),
        Rule(r'head\.(final_layer\..+)', r'\1')), reverse_stem=True,
        # The 0.255 of blue is MindPose's own.
        settings={**BGR, **MINDSPORE, 'DATASET.STDS': [0.255, 0.224, 0.229]}),
    # Not reversed: Simple Baselines loads these RGB weights unchanged and feeds BGR pictures.
    WeightSource(IMAGENET, 'pose_resnet', r'layer4\.0\.conv1\.weight', unused=CLASSIFIER,
                 optional=POSE_HEAD),
)
MOBILENET_FORMATS = (
    WeightSource('MMPose MobileNetV2', 'pose_mobilenet', r'(keypoint_)?head\.deconv_layers\..+', (
        Rule(r'backbone\.(.+)', r'\1'), Rule(r'(?:keypoint_)?head\.((?:deconv_layers|final_layer)\..+)', r'\1')),
        settings=RGB),
    WeightSource('SimplePoseNet on MobileNetV2', 'pose_mobilenet', r'deconv_layers\.\d\..+', settings=RGB),
    # Start weights: conv2, MobileNetV2's last convolution, may be unused (LAST_CHANNELS 0).
    WeightSource('MMPretrain MobileNetV2', 'pose_mobilenet', r'backbone\.layer1\.0\.conv\.0\.conv\.weight', (
        Rule(r'backbone\.(.+)', r'\1'),), unused=r'head\.fc\..+|backbone\.conv2\..+', optional=POSE_HEAD, settings=RGB),
    WeightSource('MobileNetV2 trunk', 'pose_mobilenet', r'layer1\.0\.conv\.0\.conv\.weight', unused=r'conv2\..+',
                 optional=POSE_HEAD, settings=RGB),
    WeightSource('MindCV MobileNetV2', 'pose_mobilenet', r'features\.\d+\.layers\.\d+\..+', (
        Rule(r'features\.0\.(.+)', r'conv1.conv.\1'), Rule(r'features\.1\.(.+)', r'conv1.bn.\1'),
        Rule(r'features\.20\.(.+)', r'conv2.conv.\1'), Rule(r'features\.21\.(.+)', r'conv2.bn.\1'),
        Rule(r'features\.(\d+)\.layers\.(\d+)\.(.+)', block_of_mindcv)),
        unused=r'classifier\.1\..+|features\.2[01]\..+', optional=POSE_HEAD, settings=RGB),
    WeightSource('torchvision MobileNetV2', 'pose_mobilenet', r'features\.\d+\.conv\.\d+\..+', (
        Rule(r'features\.0\.0\.(.+)', r'conv1.conv.\1'), Rule(r'features\.0\.1\.(.+)', r'conv1.bn.\1'),
        Rule(r'features\.18\.0\.(.+)', r'conv2.conv.\1'), Rule(r'features\.18\.1\.(.+)', r'conv2.bn.\1'),
        Rule(r'features\.(\d+)\.conv\.(\d+)(?:\.(\d+))?\.(\D.*)', block_of_torchvision)),
        unused=r'classifier\.1\..+|features\.18\..+', optional=POSE_HEAD, settings=RGB),
)
