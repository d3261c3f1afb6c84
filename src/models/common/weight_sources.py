"""What a published format of pose weights says of itself; the formats are in the folders of their networks.

Every name is first brought to one spelling: PyTorch's BatchNorm suffixes, `downsample` for the shortcut of a residual
block, no `module.` in front. Our cells keep the names of the PyTorch releases, so the releases need no rules at all.
The layouts of all weights (convolution OIHW, transposed convolution IOHW) are the same everywhere.
"""
import re
from dataclasses import dataclass, field
from typing import Callable, Mapping, NamedTuple, Sequence, Union

# ImageNet's constants for channels in the order blue, green, red, as our pictures have them.
BGR = {'DATASET.COLOR_RGB': False, 'DATASET.MEANS': [0.406, 0.456, 0.485], 'DATASET.STDS': [0.225, 0.224, 0.229]}
# Simple Baselines takes red's constants for blue, and so do its MindSpore entries and MIPNet on a ResNet.
RGB_ON_BGR = {'DATASET.COLOR_RGB': False, 'DATASET.MEANS': [0.485, 0.456, 0.406], 'DATASET.STDS': [0.229, 0.224, 0.225]}
RGB = {**RGB_ON_BGR, 'DATASET.COLOR_RGB': True, 'DATASET.NORMALISE_BEFORE_SCALING': False}
PYTORCH = {'MODEL.STEM_POOL': 'symmetric', 'DATASET.NORMALISE_BEFORE_SCALING': False}
MINDSPORE = {'MODEL.STEM_POOL': 'same', 'DATASET.NORMALISE_BEFORE_SCALING': False}
# The classifier of an ImageNet network, which a pose network has no use for.
CLASSIFIER = r'(fc|end_point|classifier)\.(weight|bias)'
IMAGENET = 'ImageNet ResNet'
# Our names of what Simple Baselines puts behind a trunk.
POSE_HEAD = r'(deconv_layers|final_layer)\..+'
NOTHING = '$^'


class Rule(NamedTuple):
    """A name that `pattern` matches as a whole becomes `replacement`, where `{s}` stands for every stage."""

    pattern: str
    replacement: Union[str, Callable[[re.Match], str]]


@dataclass(frozen=True)
class WeightSource:
    """A published format.

    Attributes:
        name: as a user knows it.
        network: MODEL.NAME of the networks that it fits.
        mark: pattern of a name that only this format has, as in the file (without prefixes) or in PyTorch's spelling.
        rules: the first that matches counts; a name that none matches stays.
        unused: pattern of names that, unless we have them too, have no place in a pose network.
        optional: pattern of our names that may keep their initial weights. Such a file is a start for training only.
        reverse_stem: its first convolution expects red, green, blue.
        zero_biases: its convolutions have no biases where ours have.
        settings: what the configuration has to say for these weights to mean what they meant.
    """

    name: str
    network: str
    mark: str
    rules: Sequence[Rule] = ()
    unused: str = NOTHING
    optional: str = NOTHING
    reverse_stem: bool = False
    zero_biases: bool = False
    settings: Mapping = field(default_factory=dict)
