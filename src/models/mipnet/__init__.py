"""MIPNet (Khirodkar et al., "Multi-Instance Pose Networks: Rethinking Top-Down Pose Estimation", ICCV 2021,
arXiv 2101.11223) on HRNet and on SimplePoseNet."""
import os
from functools import partial

from ...system import checks
from .. import hrnet, simple_pose
from ..common.gaussian import GAUSSIAN_CODEC, gaussian_targets, mse_loss, resnet_hint, scored_above
from ..record import ENCODINGS, PoseModel, common_options
from .codes import instance_codes
from .crops import build_crops

# MIPNET.BACKBONE -> the network that is modulated, and what builds it.
BASELINES = {'hrnet': (hrnet.MODEL, hrnet.network_options),
             'pose_resnet': (simple_pose.POSE_RESNET, simple_pose.resnet_options)}


def _check(config) -> None:
    checks.choice(config, 'MIPNET.BACKBONE', tuple(BASELINES))
    checks.choice(config, 'MIPNET.NUM_INSTANCES', (2, 3, 4))
    checks.share(config, 'MIPNET.DECAY_THRE')
    checks.length(config, 'MIPNET.SE_MODULES', 4, 'one for each place')


def _baseline(config):
    return BASELINES[config.MIPNET.BACKBONE]


def _variant(config) -> str:
    baseline, _ = _baseline(config)
    return f'mipnet_{baseline.variant(config).replace("simplepose_", "")}'


def _build(config):
    from .network import MIPNetHRNet, MIPNetResNet
    _, options = _baseline(config)
    network = MIPNetHRNet if config.MIPNET.BACKBONE == 'hrnet' else MIPNetResNet
    return network(se_modules=config.MIPNET.SE_MODULES, num_instances=config.MIPNET.NUM_INSTANCES,
                   **common_options(config), **options(config))


def _targets(config):
    from .targets import HypothesisTargets
    return HypothesisTargets(gaussian_targets(_baseline(config)[0].section)(config))


def _formats():
    from .formats import FORMATS
    return FORMATS


def _published():
    from .network import MIPNetHRNet, MIPNetResNet
    return {**{f'mipnet_hrnet_w{width}': partial(MIPNetHRNet, width=width) for width in (32, 48)},
            **{f'mipnet_r{layers}': partial(MIPNetResNet, num_layers=layers) for layers in (50, 101, 152)}}


MODEL = PoseModel(
    name='mipnet', section='MIPNET', defaults=os.path.join(os.path.dirname(__file__), 'defaults.yaml'), check=_check,
    variant=_variant, build=_build, crops=build_crops, targets=_targets, loss=mse_loss, codec=GAUSSIAN_CODEC,
    keypoint_threshold=scored_above, draw_threshold=0.2, encodings=ENCODINGS, formats=_formats,
    start='the weights of the same network without modulation, trained on people',
    hypotheses=lambda config: config.MIPNET.NUM_INSTANCES,
    codes=lambda config: instance_codes(config.MIPNET.NUM_INSTANCES),
    heatmap_section=lambda config: _baseline(config)[0].section,
    # An exported file does not fix DECAY_THRE: it is applied outside of the network, when poses are ranked.
    test_keys=('DECAY_THRE',), resnet_hint=resnet_hint, published=_published, folds_batch_norms=True)
