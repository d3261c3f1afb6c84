"""The networks by MODEL.NAME. To add one, put a folder beside these and an entry below, or call `register` from
outside of the package (docs/adding_a_network.md)."""
from typing import Callable, Dict, Tuple

from ..system.errors import PoseError
from . import hrnet, mipnet, mspn, simple_pose
from .record import PoseModel

MODELS: Dict[str, PoseModel] = {model.name: model for model in (
    mspn.MODEL, simple_pose.POSE_RESNET, simple_pose.POSE_MOBILENET, hrnet.MODEL, mipnet.MODEL)}


def register(model: PoseModel) -> None:
    """Make a network known under its MODEL.NAME.

    Raises:
        PoseError: another network already has the name, or the section of the configuration.
    """
    for other in MODELS.values():
        if other != model and (other.name == model.name or other.section == model.section):
            raise PoseError(f'the network {model.name} (section {model.section}) takes the name or the section of '
                            f'{other.name} (section {other.section})')
    MODELS[model.name] = model


def model_of(config) -> PoseModel:
    """Return the record of the configured network."""
    return MODELS[config.MODEL.NAME]


def network_name(config) -> str:
    """Return the name of the configured network; `build_network` knows the names of published ones."""
    return model_of(config).variant(config)


def heatmap_section(config) -> str:
    """Return the section of the configuration that has the size of the heatmaps."""
    model = model_of(config)
    return model.heatmap_section(config) if model.heatmap_section else model.section


def num_hypotheses(config) -> int:
    """Return how many people the configured network looks for in a box."""
    return model_of(config).hypotheses(config)


def shifts_heatmap(config) -> bool:
    """Return whether the flip test of a resolved configuration shifts mirrored heatmaps by one cell."""
    return model_of(config).shifts_flipped and config.TEST.SHIFT_HEATMAP


def build_configured_network(config):
    """Return the network of a resolved configuration, with fresh weights drawn from its seed."""
    return model_of(config).build(config)


def build_empty_network(config):
    """Return the network of a resolved configuration for weights that are loaded next: until then they are zero."""
    from .common.blocks import without_initial_values
    with without_initial_values():
        return build_configured_network(config)


def build_flip_test(config, normaliser, network, flip_index):
    """Return a cell crops -> heatmaps around a network, with the flip test if the configuration sets it.

    Args:
        normaliser: pixels -> network input, or None.
        flip_index: (K,).
    """
    from .common.flip_test import FlipTest
    return FlipTest(normaliser, network, flip_index if config.TEST.FLIP_TEST else None,
                    shift_heatmap=shifts_heatmap(config))


def known_networks() -> Dict[str, Callable]:
    """Return {name: function that builds it} of the published networks."""
    return {name: build for model in MODELS.values() for name, build in model.published().items()}


def build_network(name: str, *, num_keypoints: int, input_shape: Tuple[int, int], **options):
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
        PoseError: the name is unknown (the message lists the known ones) or an argument is out of range.
    """
    known = known_networks()
    if name not in known:
        raise PoseError(f'unknown network {name!r}; known: {", ".join(known)}')
    return known[name](num_keypoints=num_keypoints, input_shape=input_shape, **options)
