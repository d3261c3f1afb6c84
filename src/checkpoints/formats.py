"""The published formats of pose weights: how each is recognised, and how its names become those of our networks.

Every name is first brought to one spelling: PyTorch's BatchNorm suffixes, `downsample` for the shortcut of a residual
block, no `module.` in front. Our cells keep the names of the PyTorch releases, so the releases need no rules at all.
The layouts of all weights (convolution OIHW, transposed convolution IOHW) are the same everywhere.
"""
import fnmatch
import re
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from easydict import EasyDict
from mindspore import nn

from ..models.common.resnet import LAYOUTS, BasicBlock, Bottleneck
from ..models.simple_pose.mobilenet import block_of_mindcv, block_of_torchvision
from .names import BATCH_NORM_SUFFIXES, named_parameters, pytorch_names

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
# The same of an ImageNet HRNet, whose last module also fuses into the coarser branches.
HRNET_CLASSIFIER = (r'(incre_modules|downsamp(le)?_modules|final_layer\.\d+|classifier)\..+|'
                    r'stage4\.\d+\.fuse_layers\.[1-3]\..+')
MODULATION = r'(stage|layer)[1-4]_se\..+'
# Our names of what depends on the number of keypoints alone, but for MSPN.
HEAD = r'final_layer\.(weight|bias)'
# Our names of what Simple Baselines puts behind a trunk.
POSE_HEAD = r'(deconv_layers|final_layer)\..+'
NOTHING = '$^'
COUNTER = '.num_batches_tracked'


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


def _head_of_unit(match: re.Match) -> str:
    # MMPose counts the units of all stages.
    stage, unit = divmod(int(match[1]), 4)
    return f'stage{stage}.upsample.up{unit + 1}.res_conv{int(match[2]) + 1}.{match[3]}'


def _deconvolution(match: re.Match) -> str:
    # In the releases they are every third cell of a sequence, each followed by its BatchNorm and a ReLU.
    return f'deconv_layers.{3 * int(match[1]) + (match[2] == "bn")}.{match[3]}'


def _as_start_of_mipnet(source: WeightSource) -> WeightSource:
    """Return the format of a network without modulation as a start for a MIPNet on it."""
    return replace(source, network='mipnet', optional=f'{source.optional}|{MODULATION}')


STAGE = r'backbone\.multi_stage_mspn\.(\d+)'
_BASELINES = (
    # No release has written these names but the course port; our own checkpoints have them and say what they are.
    WeightSource("MSPN, MindSpore's names", 'mspn', r'stage\d\.(down|up)sample\..+\.gamma', settings={
        **BGR, 'MODEL.STEM_POOL': 'same', 'DATASET.NORMALISE_BEFORE_SCALING': True}),
    WeightSource('MSPN', 'mspn', r'stage\d\.(down|up)sample\..+', settings={**BGR, **PYTORCH}),
    WeightSource('MMPose MSPN', 'mspn', STAGE + r'\..+', (
        Rule(r'backbone\.top\.top\.0\.(.+)', r'top.conv.\1'),
        Rule(STAGE + r'\.(downsample\.layer\d\.\d+)\.(conv|bn)(\d)\.(.+)', r'stage\1.\2.conv_bn_relu\4.\3.\5'),
        Rule(STAGE + r'\.(upsample\.up\d)\.in_skip\.(.+)', r'stage\1.\2.u_skip.\3'),
        Rule(STAGE + r'\.(upsample\.up\d)\.out_(skip\d)\.(.+)', r'stage\1.\2.\3.\4'),
        Rule(STAGE + r'\.(.+)', r'stage\1.\2'),
        Rule(r'(?:keypoint_)?head\.predict_layers\.(\d+)\.conv_layers\.([01])\.(.+)', _head_of_unit)),
        reverse_stem=True, zero_biases=True, settings={**BGR, **PYTORCH}),
    WeightSource(IMAGENET, 'mspn', r'layer4\.0\.conv1\.weight', (
        Rule(r'conv1\.weight', 'top.conv.conv.weight'), Rule(r'bn1\.(.+)', r'top.conv.bn.\1'),
        Rule(r'(layer\d\.\d+)\.(conv|bn)(\d)\.(.+)', r'stage{s}.downsample.\1.conv_bn_relu\3.\2.\4'),
        Rule(r'(layer\d\.0\.downsample)\.0\.(.+)', r'stage{s}.downsample.\1.conv.\2'),
        Rule(r'(layer\d\.0\.downsample)\.1\.(.+)', r'stage{s}.downsample.\1.bn.\2')),
        unused=CLASSIFIER, optional=r'stage\d\.upsample\..+', reverse_stem=True, zero_biases=True),
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
    # Not reversed: Simple Baselines gives the blue channel to the filters of the red one, from its ImageNet start on.
    WeightSource(IMAGENET, 'pose_resnet', r'layer4\.0\.conv1\.weight', unused=CLASSIFIER,
                 optional=POSE_HEAD),
    WeightSource('MMPose MobileNetV2', 'pose_mobilenet', r'(keypoint_)?head\.deconv_layers\..+', (
        Rule(r'backbone\.(.+)', r'\1'), Rule(r'(?:keypoint_)?head\.((?:deconv_layers|final_layer)\..+)', r'\1')),
        settings=RGB),
    WeightSource('SimplePoseNet on MobileNetV2', 'pose_mobilenet', r'deconv_layers\.\d\..+', settings=RGB),
    # Starts: a network without MobileNetV2's last convolution (conv2) has no use for that either.
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
    WeightSource('ImageNet HRNet', 'hrnet', r'(incre_modules|downsamp(le)?_modules)\..+', unused=HRNET_CLASSIFIER,
                 optional=r'final_layer\..+', settings=RGB),
    WeightSource('MindPose HRNet', 'hrnet', r'head\.head\.(weight|bias)', (
        Rule(r'backbone\.(.+)', r'\1'), Rule(r'head\.head\.(.+)', r'final_layer.\1')),
        # The 0.255 of blue is MindPose's own.
        settings={**RGB, 'DATASET.STDS': [0.229, 0.224, 0.255]}),
    WeightSource('MMPose HRNet', 'hrnet', r'backbone\.stage4\..+', (
        Rule(r'backbone\.(.+)', r'\1'), Rule(r'(?:keypoint_)?head\.(final_layer\..+)', r'\1')), settings=RGB),
    WeightSource('HRNet', 'hrnet', r'stage4\.\d+\..+', settings=RGB),
)
SOURCES = (
    *_BASELINES,
    WeightSource('MIPNet on HRNet', 'mipnet', r'stage[1-4]_se\..+', settings=RGB),
    WeightSource('MIPNet on ResNet', 'mipnet', r'layer[1-4]_se\..+', settings={**RGB_ON_BGR, **PYTORCH}),
    *(_as_start_of_mipnet(source) for source in _BASELINES if source.network in ('pose_resnet', 'hrnet')),
)


class Row(NamedTuple):
    """A line of the account: `target` is '' for what was left over, and `note` says why or what was done."""

    source: str
    target: str
    shape: Tuple[int, ...]
    note: str = ''


@dataclass(frozen=True)
class Conversion:
    """Weights under our names.

    Attributes:
        source: the format.
        weights: {our parameter name: float32 array}, in the network's order.
        rows: at least one for every name of the file.
        zero_biases: number of the weights that are biases which the file has not, and are zero.
        initial: names of the parameters that keep their initial values.
        other_head: '' or what is to be said of a head for another number of keypoints, which was left out.
    """

    source: WeightSource
    weights: Dict[str, np.ndarray]
    rows: List[Row]
    zero_biases: int
    initial: List[str]
    other_head: str = ''

    @property
    def initial_parts(self) -> List[str]:
        """The parts of the network that `initial` belongs to, e.g. 'stage0.upsample'."""
        return list(dict.fromkeys(re.match(r'(stage\d\.)?\w+', name)[0] for name in self.initial))


class ConversionError(ValueError):
    """Weights do not fit; `rows` is the account as far as it goes."""

    def __init__(self, message: str, rows: Sequence[Row] = ()):
        super().__init__(message)
        self.rows = rows


def _strip(names: Sequence[str]) -> Dict[str, str]:
    """Return {name: the same without the words that stand in front of all}."""
    prefix = ''
    # Wrappers for several devices, and MindSpore's cells around a network, put one word in front of everything.
    words = ('module', 'network', '_backbone', 'model')
    while names:
        word = next((word for word in words if all(name.startswith(f'{prefix}{word}.') for name in names)), None)
        if word is None:
            break
        prefix += f'{word}.'
    return {name: name[len(prefix):] for name in names}


def plain_names(names: Sequence[str]) -> Dict[str, str]:
    """Return {name: the same in PyTorch's spelling}."""
    plain = {}
    for name, stripped in _strip(names).items():
        stem, _, suffix = stripped.rpartition('.')
        stem = re.sub(r'\.down_sample(_layer)?(?=\.|$)', '.downsample', stem)
        plain[name] = f'{stem}.{BATCH_NORM_SUFFIXES.get(suffix, suffix)}' if stem else suffix
    return plain


def recognise(names: Sequence[str], network: str) -> Optional[WeightSource]:
    """Return the format of a file with these names, among those that fit MODEL.NAME `network`, or None."""
    spellings = {*_strip(names).values(), *plain_names(names).values()}
    return next((source for source in SOURCES if source.network == network
                 and any(re.fullmatch(source.mark, name) for name in spellings)), None)


def adopt_settings(config: EasyDict, names: Sequence[str], overrides: Mapping[str, str]) -> List[str]:
    """Put into `config` what these weights need, unless the user has said otherwise; return what was changed."""
    source = recognise(names, config.MODEL.NAME)
    changed = []
    for key, value in (source.settings if source else {}).items():
        section, name = key.split('.')
        if key not in overrides and config[section][name] != value:
            config[section][name] = deepcopy(value)
            changed.append(f'{key}={value}')
    return changed


def convert_weights(state: Mapping[str, np.ndarray], network: nn.Cell, network_kind: str, where: str, *,
                    is_start: bool = False, ignore: Sequence[str] = (), first_stage_only: bool = False) -> Conversion:
    """Give the weights of a file the names of `network`, and account for every one.

    Args:
        state: {name: array}, as in the file, without an optimiser's entries.
        network_kind: MODEL.NAME.
        where: file name for messages.
        is_start: training begins from these weights: a head for another number of keypoints is left out.
        ignore: shell patterns of names that may be left over.
        first_stage_only: put an ImageNet trunk into the first stage of an MSPN only, instead of into all.

    Raises:
        ConversionError: the format is unknown, or names or shapes do not fit; all kinds of problems are named.
    """
    source = recognise(list(state), network_kind)
    does_not_fit = f'{where} does not fit the network ({type(network).__name__})'
    if source is None:
        raise ConversionError(f'{does_not_fit}: {_describe_unknown(list(state), network_kind)}')
    if first_stage_only and (source.name != IMAGENET or network_kind != 'mspn'):
        raise ConversionError(f'first_stage_only is for an ImageNet trunk in an MSPN; {where} is of the format '
                              f'{source.name}, the network {type(network).__name__}')
    parameters = named_parameters(network)
    stages = network.num_stages if network_kind == 'mspn' and not first_stage_only else 1
    matched = _match(state, network, source, stages, ignore, is_start=is_start)
    weights = matched.weights
    zero_biases = _add_biases(parameters, weights) if source.zero_biases else 0
    optional = f'{source.optional}|stage[1-9]\\..+' if first_stage_only else source.optional
    absent = [name for name in parameters if name not in weights]
    accounted = {row.target for row in matched.rows}.union(matched.other_heads)
    missing = [name for name in absent if not re.fullmatch(optional, name) and name not in accounted]
    not_finite = [name for name, value in weights.items() if not np.isfinite(value).all()]
    problems = [f'{len(names)} {kind}, e.g. {"; ".join(names[:3])}' for kind, names in
                (('missing', missing), ('unexpected', matched.unexpected), ('of another shape', matched.mis_shaped),
                 ('named twice', matched.twice), ('with NaN or infinity', not_finite)) if names]
    if problems:
        needs_hint = missing or matched.mis_shaped or matched.unexpected
        hint = _describe_trunk(state, network_kind) if needs_hint else ''
        raise ConversionError(f'{does_not_fit}, read as {source.name}: ' + '. '.join(problems) + hint, matched.rows)
    in_order = {name: weights[name] for name in parameters if name in weights}
    other_head = next((f'the head of {where} is {note}' for note in matched.other_heads.values()), '')
    return Conversion(source, in_order, matched.rows, zero_biases, absent, other_head)


class _Matched(NamedTuple):
    """What of a file has a place in a network, and what stands in the way of the rest.

    Attributes:
        other_heads: {our name: note} of what is for another number of keypoints.
    """

    weights: Dict[str, np.ndarray]
    rows: List[Row]
    unexpected: List[str]
    mis_shaped: List[str]
    twice: List[str]
    other_heads: Dict[str, str]


def _match(state: Mapping[str, np.ndarray], network: nn.Cell, source: WeightSource, stages: int,
           ignore: Sequence[str], *, is_start: bool) -> _Matched:
    parameters = named_parameters(network)
    ours = {plain: name for name, plain in pytorch_names(network).items()}
    matched = _Matched({}, [], [], [], [], {})
    rows = matched.rows
    for name, plain in plain_names(list(state)).items():
        value = np.asarray(state[name])
        targets = [ours[each] for each in _rename(plain, source.rules, stages) if each in ours]
        if not targets and re.fullmatch(source.unused, plain):
            rows.append(Row(name, '', value.shape, 'not needed'))
        elif not targets and any(fnmatch.fnmatchcase(name, pattern) for pattern in ignore):
            rows.append(Row(name, '', value.shape, 'ignored'))
        elif not targets:
            rows.append(Row(name, '', value.shape, 'UNEXPECTED'))
            matched.unexpected.append(name)
        elif plain.endswith(COUNTER):
            # PyTorch's BatchNorm counts its batches; nothing reads that here.
            rows.append(Row(name, '', value.shape, 'not needed'))
            continue
        for target in targets:
            shape = tuple(parameters[target].shape)
            if is_start and re.fullmatch(HEAD, target) and value.shape != shape and value.shape[1:] == shape[1:]:
                note = f'for {value.shape[0]} keypoints, not {shape[0]}: ours keeps its initial weights'
                rows.append(Row(name, '', value.shape, note))
                matched.other_heads[target] = note
                continue
            if value.shape != shape:
                rows.append(Row(name, target, value.shape, f'SHOULD BE {"x".join(map(str, shape))}'))
                matched.mis_shaped.append(f'{name} is {value.shape}, should be {shape}')
                continue
            if target in matched.weights:
                matched.twice.append(target)
            is_stem = source.reverse_stem and value.ndim == 4 and shape[1] == 3
            with np.errstate(over='ignore'):
                matched.weights[target] = np.ascontiguousarray(value[:, ::-1] if is_stem else value, np.float32)
            rows.append(Row(name, target, shape, 'input channels reversed: RGB -> BGR' if is_stem else ''))
    return matched


def _rename(name: str, rules: Sequence[Rule], stages: int) -> List[str]:
    """Return what the rules make of a name, for every stage where they say so; a counter gets that of its BatchNorm."""
    if name.endswith(COUNTER):
        name = f'{name[:-len(COUNTER)]}.running_mean'
    for pattern, replacement in rules:
        if re.fullmatch(pattern, name):
            name = re.sub(f'^(?:{pattern})$', replacement, name)
            break
    return list(dict.fromkeys(name.replace('{s}', str(stage)) for stage in range(stages)))


def _add_biases(parameters: Mapping, weights: Dict[str, np.ndarray]) -> int:
    """Add a zero bias to every convolution that is there without one; return how many."""
    names = [name for name in parameters if name.endswith('.conv.bias') and name not in weights
             and re.sub(r'bias$', 'weight', name) in weights]
    weights.update({name: np.zeros(parameters[name].shape, np.float32) for name in names})
    return len(names)


def _describe_unknown(names: Sequence[str], network_kind: str) -> str:
    known = ', '.join(source.name for source in SOURCES if source.network == network_kind)
    others = [source.name for source in SOURCES if recognise(names, source.network) is source]
    return (f'it is of no known format ({known}); its names begin with {", ".join(names[:3]) or "nothing"}.'
            + (f' It looks like {others[0]}: another recipe?' if others else ''))


def _describe_trunk(state: Mapping[str, np.ndarray], network_kind: str) -> str:
    """Return a sentence on the ResNet or HRNet that a file holds and the setting that it needs, or ''."""
    width = next((value.shape[0] for name, value in state.items()
                  if re.search(r'(?:^|\.)stage4\.0\.branches\.0\.0\.conv1\.weight$', name) and np.ndim(value)), None)
    if width is not None:
        return f'. It is an HRNet of width {width}; a network of it needs HRNET.WIDTH={width}'
    found = {match.groups() for match in (re.search(r'(?:^|\.)layer([1-4])\.(\d+)\.conv([1-3])\.weight$', name)
                                          for name in state) if match}
    blocks = tuple(len({block for layer, block, _ in found if layer == level}) for level in '1234')
    block = Bottleneck if any(number == '3' for *_, number in found) else BasicBlock
    depth = next((layers for layers, layout in LAYOUTS.items() if layout == (block, blocks)), None)
    if depth is None:
        return ''
    if network_kind != 'mspn':
        remedy = f'a network of it needs POSE_RESNET.NUM_LAYERS={depth}'
    elif block is Bottleneck:
        remedy = f'an MSPN of it needs MSPN.BLOCKS=[{",".join(map(str, blocks))}]'
    else:
        remedy = 'MSPN has blocks of three convolutions, as ResNet-50, 101 and 152 have'
    return f'. Its trunk is a ResNet-{depth}; {remedy}'
