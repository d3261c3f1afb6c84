"""SimplePoseNet (Xiao, Wu, Wei, "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018) on ResNet, and on
MobileNetV2 as MMPose has it."""
import os
from functools import partial

from ...system import checks
from ..common.crops import build_simple_pose_crops
from ..common.gaussian import GAUSSIAN_CODEC, gaussian_targets, mse_loss, resnet_hint, scored_above
from ..record import ENCODINGS, PoseModel, common_options

FOLDER = os.path.dirname(__file__)


def _check_resnet(config) -> None:
    checks.choice(config, 'POSE_RESNET.NUM_LAYERS', (18, 34, 50, 101, 152))
    checks.choice(config, 'POSE_RESNET.TARGET_TYPE', ('gaussian',))
    checks.choice(config, 'POSE_RESNET.NUM_DECONV_LAYERS', (3,))
    checks.positive(config, 'POSE_RESNET.SIGMA')
    checks.counts(config, 'POSE_RESNET.NUM_DECONV_FILTERS')


def resnet_options(config) -> dict:
    """Return the keyword arguments of SimplePoseNet, except for those that every network takes."""
    section = config.POSE_RESNET
    return {'num_layers': section.NUM_LAYERS, 'stem_channels': config.MODEL.STEM_CHANNELS,
            'stem_pool': config.MODEL.STEM_POOL, 'num_deconv_filters': section.NUM_DECONV_FILTERS,
            'num_deconv_kernels': section.NUM_DECONV_KERNELS, 'deconv_with_bias': section.DECONV_WITH_BIAS,
            'final_conv_kernel': section.FINAL_CONV_KERNEL}


def _build_resnet(config):
    from .network import SimplePoseNet
    return SimplePoseNet(**common_options(config), **resnet_options(config))


def _resnet_formats():
    from .formats import RESNET_FORMATS
    return RESNET_FORMATS


def _published_resnets():
    from .network import SimplePoseNet
    return {f'simplepose_r{layers}': partial(SimplePoseNet, num_layers=layers) for layers in (18, 34, 50, 101, 152)}


def _check_mobilenet(config) -> None:
    checks.positive(config, 'POSE_MOBILENET.SIGMA', 'POSE_MOBILENET.WIDTH')
    checks.not_negative(config, 'POSE_MOBILENET.LAST_CHANNELS')
    checks.counts(config, 'POSE_MOBILENET.NUM_DECONV_FILTERS')
    checks.length(config, 'POSE_MOBILENET.NUM_DECONV_FILTERS', 3, 'one for each transposed convolution')


def _mobilenet_variant(config) -> str:
    width = config.POSE_MOBILENET.WIDTH
    return 'simplepose_mobilenetv2' + ('' if width == 1 else f'_{width:g}')


def _build_mobilenet(config):
    from .network import SimplePoseMobileNet
    section = config.POSE_MOBILENET
    return SimplePoseMobileNet(width=section.WIDTH, last_channels=section.LAST_CHANNELS,
                               num_deconv_filters=section.NUM_DECONV_FILTERS, **common_options(config))


def _mobilenet_formats():
    from .formats import MOBILENET_FORMATS
    return MOBILENET_FORMATS


def _published_mobilenet():
    from .network import SimplePoseMobileNet
    return {'simplepose_mobilenetv2': SimplePoseMobileNet}


POSE_RESNET = PoseModel(
    name='pose_resnet', section='POSE_RESNET', defaults=os.path.join(FOLDER, 'defaults_resnet.yaml'),
    check=_check_resnet, variant=lambda config: f'simplepose_r{config.POSE_RESNET.NUM_LAYERS}', build=_build_resnet,
    crops=build_simple_pose_crops, targets=gaussian_targets('POSE_RESNET'), loss=mse_loss, codec=GAUSSIAN_CODEC,
    encodings=ENCODINGS, learns_absence=True, keypoint_threshold=scored_above, draw_threshold=0.2,
    formats=_resnet_formats, resnet_hint=resnet_hint,
    usual_start=lambda config: f'./models/resnet{config.POSE_RESNET.NUM_LAYERS}.ckpt', published=_published_resnets,
    folds_batch_norms=True)
POSE_MOBILENET = PoseModel(
    name='pose_mobilenet', section='POSE_MOBILENET', defaults=os.path.join(FOLDER, 'defaults_mobilenet.yaml'),
    check=_check_mobilenet, variant=_mobilenet_variant, build=_build_mobilenet, crops=build_simple_pose_crops,
    targets=gaussian_targets('POSE_MOBILENET'), loss=mse_loss, codec=GAUSSIAN_CODEC, encodings=ENCODINGS,
    learns_absence=True, keypoint_threshold=scored_above, draw_threshold=0.2, formats=_mobilenet_formats,
    resnet_hint=resnet_hint, published=_published_mobilenet, folds_batch_norms=True)
