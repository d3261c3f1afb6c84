"""HRNet (Sun et al., "Deep High-Resolution Representation Learning for Human Pose Estimation", arXiv 1902.09212)."""
import os
from functools import partial

from ...system import checks
from ..common.crops import build_simple_pose_crops
from ..common.gaussian import GAUSSIAN_CODEC, gaussian_targets, mse_loss, resnet_hint, scored_above
from ..record import ENCODINGS, PoseModel, common_options


def _check(config) -> None:
    checks.positive(config, 'HRNET.SIGMA', 'HRNET.WIDTH', 'HRNET.BLOCKS')
    checks.counts(config, 'HRNET.MODULES')
    checks.length(config, 'HRNET.MODULES', 3, 'one for each of the stages 2 to 4')


def network_options(config) -> dict:
    """Return the keyword arguments of HRNet, except for those that every network takes."""
    section = config.HRNET
    return {'width': section.WIDTH, 'stem_channels': config.MODEL.STEM_CHANNELS, 'modules': section.MODULES,
            'blocks': section.BLOCKS}


def _build(config):
    from .network import HRNet
    return HRNet(**common_options(config), **network_options(config))


def _formats():
    from .formats import FORMATS
    return FORMATS


def _published():
    from .network import HRNet
    return {f'hrnet_w{width}': partial(HRNet, width=width) for width in (32, 48)}


MODEL = PoseModel(
    name='hrnet', section='HRNET', defaults=os.path.join(os.path.dirname(__file__), 'defaults.yaml'), check=_check,
    variant=lambda config: f'hrnet_w{config.HRNET.WIDTH}', build=_build, crops=build_simple_pose_crops,
    targets=gaussian_targets('HRNET'), loss=mse_loss, codec=GAUSSIAN_CODEC, keypoint_threshold=scored_above,
    draw_threshold=0.2, encodings=ENCODINGS, learns_absence=True, formats=_formats, resnet_hint=resnet_hint,
    published=_published, folds_batch_norms=True)
