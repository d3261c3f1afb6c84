"""Converting weights of published formats to our networks: recognising the format and renaming the weights.

The formats are defined in the folders of their networks; `models/common/weight_sources.py` describes what a format
consists of. A file that already has the names of our network needs no format.
"""
import fnmatch
import re
from copy import deepcopy
from dataclasses import dataclass
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from easydict import EasyDict
from mindspore import nn

from ..models.common.resnet import LAYOUTS, BasicBlock, Bottleneck
from ..models.common.weight_sources import Rule, WeightSource
from ..models.registry import MODELS
from ..system.errors import PoseError
from .names import BATCH_NORM_SUFFIXES, named_parameters, pytorch_names

# Pattern of our names for the head, whose shape depends on the number of keypoints (in all networks but MSPN).
HEAD = r'final_layer\.(weight|bias)'
COUNTER = '.num_batches_tracked'


class Row(NamedTuple):
    """A row of the conversion report. `target` is '' if the weight was left out, `note` says why or what was done."""

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
        rows: the conversion report, with at least one row for every name of the file.
        zero_biases: number of biases in `weights` that the file does not have; they are zero.
        initial: names of the parameters that keep their initial values.
        other_head: a note if the head is for another number of keypoints and was left out, else ''.
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


class ConversionError(PoseError):
    """Weights do not fit; `rows` is the conversion report up to the failure."""

    def __init__(self, message: str, rows: Sequence[Row] = ()):
        super().__init__(message)
        self.rows = rows


def _strip(names: Sequence[str]) -> Dict[str, str]:
    """Return {name: name without the prefixes that all names share}."""
    prefix = ''
    # Such a prefix comes from a wrapper for several devices or from a MindSpore cell around the network.
    words = ('module', 'network', '_backbone', 'model')
    while names:
        word = next((word for word in words if all(name.startswith(f'{prefix}{word}.') for name in names)), None)
        if word is None:
            break
        prefix += f'{word}.'
    return {name: name[len(prefix):] for name in names}


def plain_names(names: Sequence[str]) -> Dict[str, str]:
    """Return {name: name in PyTorch's spelling}."""
    plain = {}
    for name, stripped in _strip(names).items():
        stem, _, suffix = stripped.rpartition('.')
        stem = re.sub(r'\.down_sample(_layer)?(?=\.|$)', '.downsample', stem)
        plain[name] = f'{stem}.{BATCH_NORM_SUFFIXES.get(suffix, suffix)}' if stem else suffix
    return plain


def recognise(names: Sequence[str], network: str) -> Optional[WeightSource]:
    """Return the format of a file with these names, among those that fit MODEL.NAME `network`, or None."""
    spellings = {*_strip(names).values(), *plain_names(names).values()}
    return next((source for source in MODELS[network].formats()
                 if any(re.fullmatch(source.mark, name) for name in spellings)), None)


def _own_names(names: Sequence[str], network: nn.Cell, network_kind: str, *, may_be_partial: bool
               ) -> Optional[WeightSource]:
    """Return the format of files with the network's own names, MindSpore's or PyTorch's, or None for another file."""
    plain = {name for name in plain_names(names).values() if not name.endswith(COUNTER)}
    own = set(pytorch_names(network).values())
    is_own = own <= plain or (may_be_partial and plain <= own)
    return WeightSource('our own names', network_kind, '') if own and plain and is_own else None


def adopt_settings(config: EasyDict, names: Sequence[str], overrides: Mapping[str, str]) -> List[str]:
    """Change the settings of `config` that these weights need, except those of the user; return what was changed."""
    source = recognise(names, config.MODEL.NAME)
    changed = []
    for key, value in (source.settings if source else {}).items():
        section, name = key.split('.')
        if key not in overrides and config[section][name] != value:
            config[section][name] = deepcopy(value)
            changed.append(f'{key}={value}')
    return changed


def convert_weights(state: Mapping[str, np.ndarray], network: nn.Cell, network_kind: str, where: str, *,
                    is_start: bool = False, may_be_partial: bool = False, ignore: Sequence[str] = (),
                    first_stage_only: bool = False) -> Conversion:
    """Rename the weights of a file to the names of `network`, and report on each of them.

    Args:
        state: {name: array}, as in the file, without entries of an optimiser.
        network_kind: MODEL.NAME.
        where: file name for messages.
        is_start: training starts from these weights: a head for another number of keypoints is left out.
        may_be_partial: the file may lack parameters, which keep their initial values; all that it has must fit.
        ignore: shell patterns of names in the file that may be left out.
        first_stage_only: load an ImageNet backbone into the first stage of an MSPN only, instead of into all stages.

    Raises:
        ConversionError: the format is unknown, or names or shapes do not fit; the message lists all kinds of problems.
    """
    source = (recognise(list(state), network_kind)
              or _own_names(list(state), network, network_kind, may_be_partial=may_be_partial))
    does_not_fit = f'{where} does not fit the network ({type(network).__name__})'
    if source is None:
        raise ConversionError(f'{does_not_fit}: {_describe_unknown(list(state), network_kind)}')
    if first_stage_only and not any('{s}' in str(rule.replacement) for rule in source.rules):
        raise ConversionError(f'first_stage_only is for an ImageNet trunk in an MSPN; {where} is of the format '
                              f'{source.name}, the network {type(network).__name__}')
    parameters = named_parameters(network)
    stages = 1 if first_stage_only else getattr(network, 'num_stages', 1)
    matched = _match(state, network, source, stages, ignore, is_start=is_start)
    weights = matched.weights
    zero_biases = _add_biases(parameters, weights) if source.zero_biases else 0
    optional = f'{source.optional}|stage[1-9]\\..+' if first_stage_only else source.optional
    absent = [name for name in parameters if name not in weights]
    accounted = {row.target for row in matched.rows}.union(matched.other_heads)
    missing = [name for name in absent if not re.fullmatch(optional, name) and name not in accounted]
    not_finite = [name for name, value in weights.items() if not np.isfinite(value).all()]
    kinds = (('missing', missing), ('unexpected', matched.unexpected), ('of another shape', matched.mis_shaped),
             ('named twice', matched.twice), ('with NaN or infinity', not_finite))
    # Start weights may be incomplete; but weights that fit nowhere show that the file is for another network.
    is_partial_start = may_be_partial and weights and not any(names for kind, names in kinds if kind != 'missing')
    problems = [f'{len(names)} {kind}, e.g. {"; ".join(names[:3])}' for kind, names in kinds if names]
    if problems and not is_partial_start:
        needs_hint = missing or matched.mis_shaped or matched.unexpected
        hint = _describe_trunk(state, network, network_kind) if needs_hint else ''
        raise ConversionError(f'{does_not_fit}, read as {source.name}: ' + '. '.join(problems) + hint, matched.rows)
    in_order = {name: weights[name] for name in parameters if name in weights}
    other_head = next((f'the head of {where} is {note}' for note in matched.other_heads.values()), '')
    return Conversion(source, in_order, matched.rows, zero_biases, absent, other_head)


class _Matched(NamedTuple):
    """The weights of a file that fit a network, and the problems with the others.

    Attributes:
        other_heads: {our name: note} of head weights for another number of keypoints.
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
            # PyTorch's BatchNorm counts its batches; that counter is not used here.
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
    """Return the names that the rules give for a name, one per stage if a rule has {s}. The counter of a BatchNorm gets
    the name of its running mean."""
    if name.endswith(COUNTER):
        name = f'{name[:-len(COUNTER)]}.running_mean'
    for pattern, replacement in rules:
        if re.fullmatch(pattern, name):
            name = re.sub(f'^(?:{pattern})$', replacement, name)
            break
    return list(dict.fromkeys(name.replace('{s}', str(stage)) for stage in range(stages)))


def _add_biases(parameters: Mapping, weights: Dict[str, np.ndarray]) -> int:
    """Add a zero bias for every convolution of which the file has only the weight; return how many."""
    names = [name for name in parameters if name.endswith('.conv.bias') and name not in weights
             and re.sub(r'bias$', 'weight', name) in weights]
    weights.update({name: np.zeros(parameters[name].shape, np.float32) for name in names})
    return len(names)


def _describe_unknown(names: Sequence[str], network_kind: str) -> str:
    known = ', '.join([*(source.name for source in MODELS[network_kind].formats()), 'our own names'])
    others = [source.name for source in (recognise(names, name) for name in MODELS) if source is not None]
    return (f'it is of no known format ({known}); its names begin with {", ".join(names[:3]) or "nothing"}.'
            + (f' It looks like {others[0]}: another recipe?' if others else ''))


def _layout_of(names: Sequence[str]) -> Tuple[type, Tuple[int, ...]]:
    """Return the block type of a ResNet with these names, and the number of blocks in each layer."""
    found = {match.groups() for match in (re.search(r'(?:^|\.)layer([1-4])\.(\d+)\.conv([1-3])\.weight$', name)
                                          for name in names) if match}
    blocks = tuple(len({block for layer, block, _ in found if layer == level}) for level in '1234')
    return Bottleneck if any(number == '3' for *_, number in found) else BasicBlock, blocks


def _describe_trunk(state: Mapping[str, np.ndarray], network: nn.Cell, network_kind: str) -> str:
    """Return a sentence on the ResNet or HRNet that a file holds and the setting that it needs, or ''."""
    width = next((value.shape[0] for name, value in state.items()
                  if re.search(r'(?:^|\.)stage4\.0\.branches\.0\.0\.conv1\.weight$', name) and np.ndim(value)), None)
    if width is not None:
        return f'. It is an HRNet of width {width}; a network of it needs HRNET.WIDTH={width}'
    block, blocks = _layout_of(list(state))
    depth = next((layers for layers, layout in LAYOUTS.items() if layout == (block, blocks)), None)
    # If the network already has that backbone, the problem is another one.
    if depth is None or _layout_of(list(pytorch_names(network).values())) == (block, blocks):
        return ''
    remedy = MODELS[network_kind].resnet_hint(depth, block is Bottleneck, blocks)
    return f'. Its trunk is a ResNet-{depth}' + (f'; {remedy}' if remedy else '')
