"""ToyPose: two convolutions. A network of one's own, outside of the package (docs/adding_a_network.md)."""
import os

from src.models.common.crops import build_simple_pose_crops
from src.models.common.gaussian import GAUSSIAN_CODEC, gaussian_targets, mse_loss, scored_above
from src.models.record import PoseModel
from src.system import checks


def check(config) -> None:
    checks.positive(config, 'TOY.CHANNELS', 'TOY.SIGMA')


def build(config):
    # Here, not above: a recipe is read where there is no MindSpore.
    from .network import ToyPose
    return ToyPose(num_keypoints=config.MODEL.NUM_JOINTS, channels=config.TOY.CHANNELS, seed=config.GENERAL.SEED)


MODEL = PoseModel(
    name='toy', section='TOY', defaults=os.path.join(os.path.dirname(__file__), 'defaults.yaml'), check=check,
    variant=lambda config: f'toy_{config.TOY.CHANNELS}', build=build, crops=build_simple_pose_crops,
    targets=gaussian_targets('TOY'), loss=mse_loss, codec=GAUSSIAN_CODEC, keypoint_threshold=scored_above,
    draw_threshold=0.2)
