"""The published formats of MIPNet's weights; the formats of the networks that it modulates serve as start weights."""
from dataclasses import replace

from ..common.weight_sources import PYTORCH, RGB, RGB_ON_BGR, WeightSource
from ..hrnet.formats import FORMATS as HRNET_FORMATS
from ..simple_pose.formats import RESNET_FORMATS

MODULATION = r'(stage|layer)[1-4]_se\..+'


def _as_start(source: WeightSource) -> WeightSource:
    """Return the format of a network without modulation as start weights for a MIPNet on that network."""
    return replace(source, network='mipnet', optional=f'{source.optional}|{MODULATION}')


FORMATS = (
    WeightSource('MIPNet on HRNet', 'mipnet', r'stage[1-4]_se\..+', settings=RGB),
    WeightSource('MIPNet on ResNet', 'mipnet', r'layer[1-4]_se\..+', settings={**RGB_ON_BGR, **PYTORCH}),
    *map(_as_start, (*RESNET_FORMATS, *HRNET_FORMATS)),
)
