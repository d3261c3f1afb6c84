"""The description of a published format of pose weights; the formats themselves are in the folders of their networks.

Every name is first brought to one spelling: PyTorch's BatchNorm suffixes, `downsample` for the shortcut of a residual
block, no `module.` in front. Our cells keep the names of the PyTorch releases, so the releases need no rules at all.
The layouts of all weights (convolution OIHW, transposed convolution IOHW) are the same everywhere.
"""
import re
from dataclasses import dataclass, field
from typing import Callable, Mapping, NamedTuple, Sequence, Union

# ImageNet's constants for channels in the order blue, green, red, as our pictures have them.
BGR = {'DATASET.COLOR_RGB': False, 'DATASET.MEANS': [0.406, 0.456, 0.485], 'DATASET.STDS': [0.225, 0.224, 0.229]}
# Simple Baselines, its MindSpore entries and MIPNet on a ResNet apply the constants of red to the blue channel.
RGB_ON_BGR = {'DATASET.COLOR_RGB': False, 'DATASET.MEANS': [0.485, 0.456, 0.406], 'DATASET.STDS': [0.229, 0.224, 0.225]}
RGB = {**RGB_ON_BGR, 'DATASET.COLOR_RGB': True, 'DATASET.NORMALISE_BEFORE_SCALING': False}
PYTORCH = {'MODEL.STEM_POOL': 'symmetric', 'DATASET.NORMALISE_BEFORE_SCALING': False}
MINDSPORE = {'MODEL.STEM_POOL': 'same', 'DATASET.NORMALISE_BEFORE_SCALING': False}
# The classifier of an ImageNet network, which a pose network does not use.
CLASSIFIER = r'(fc|end_point|classifier)\.(weight|bias)'
IMAGENET = 'ImageNet ResNet'
# Our names of the layers that Simple Baselines adds behind the trunk.
POSE_HEAD = r'(deconv_layers|final_layer)\..+'
NOTHING = '$^'


class Rule(NamedTuple):
    """A name that `pattern` matches completely becomes `replacement`; `{s}` there stands for each stage in turn."""

    pattern: str
    replacement: Union[str, Callable[[re.Match], str]]


@dataclass(frozen=True)
class WeightSource:
    """A published format.

    Attributes:
        name: as a user knows it.
        network: MODEL.NAME of the networks that it fits.
        mark: pattern of a name that only this format has, in the file's spelling (without prefixes) or in PyTorch's.
        rules: the first matching rule applies; a name that matches none is kept.
        unused: pattern of names that are ignored unless our network has them too.
        optional: pattern of our names that the file may lack; they keep their initial weights, and the file can then
            only start a training.
        reverse_stem: its first convolution expects RGB and is reversed to BGR.
        zero_biases: its convolutions have no biases where ours have.
        settings: configuration values that these weights need, such as pixel constants.
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
