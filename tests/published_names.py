"""The names that published weights have in their files, each written down from its own program and not from ours.

A state is {PyTorch name of the release: array}; every function returns the same network under the names of another
program, with what that program does differently undone.
"""
import re

import numpy as np
from golden_data import seeded_state

TO_MINDSPORE = {'weight': 'gamma', 'bias': 'beta', 'running_mean': 'moving_mean', 'running_var': 'moving_variance'}
CLASSIFIER = {'fc.weight': np.ones((10, 256), np.float32), 'fc.bias': np.ones(10, np.float32)}


def reversed_stem(state: dict, name: str) -> dict:
    """The same network for a program that feeds it red, green, blue."""
    return {**state, name: np.ascontiguousarray(state[name][:, ::-1])}


def without_biases(state: dict) -> dict:
    """The same network without biases before its BatchNorms: their means take them up."""
    moved = dict(state)
    for name in state:
        if name.endswith('.conv.bias'):
            mean = name.replace('.conv.bias', '.bn.running_mean')
            moved[mean] = moved[mean] - moved.pop(name)
    return moved


def with_counters(state: dict) -> dict:
    """BatchNorm's counters beside its means, as PyTorch since 0.4.1 has them."""
    result = {}
    for name, value in state.items():
        result[name] = value
        if name.endswith('running_var'):
            result[name.replace('running_var', 'num_batches_tracked')] = np.array(12, np.int64)
    return result


def mindspore_names(state: dict) -> dict:
    """BatchNorm's parameters under MindSpore's names."""
    result = {}
    for name, value in state.items():
        stem, _, suffix = name.rpartition('.')
        is_norm = f'{stem}.running_mean' in state
        result[f'{stem}.{TO_MINDSPORE[suffix]}' if is_norm else name] = value
    return result


def replaced(state: dict, *pairs) -> dict:
    """Rename by plain replacements, one after the other."""
    result = {}
    for name, value in state.items():
        for old, new in pairs:
            name = re.sub(old, new, name)
        assert name not in result
        result[name] = value
    return result


# Whole networks

def mspn_release(state: dict) -> dict:
    return with_counters(state)


def mmpose_mspn(state: dict) -> dict:
    names = replaced(
        without_biases(reversed_stem(state, 'top.conv.conv.weight')),
        (r'^top\.conv\.', 'backbone.top.top.0.'), (r'conv_bn_relu(\d)\.(conv|bn)\.', r'\2\1.'),
        (r'\.u_skip\.', '.in_skip.'), (r'\.skip(\d)\.', r'.out_skip\1.'),
        (r'^stage(\d)\.upsample\.up(\d)\.res_conv(\d)\.', r'predict \1 \2 \3 '),
        (r'^stage(\d)\.', r'backbone.multi_stage_mspn.\1.'))
    result = {}
    for name, value in names.items():
        if name.startswith('predict '):
            _, stage, unit, which, rest = name.split(' ')
            name = f'head.predict_layers.{4 * int(stage) + int(unit) - 1}.conv_layers.{int(which) - 1}.{rest}'
        result[name] = value
    return result


def deconv_names(state: dict, conv: str, norm: str) -> dict:
    return replaced(state, *((rf'^deconv_layers\.{3 * index + part}\.', form.format(i=index))
                             for index in range(3) for part, form in ((0, conv), (1, norm))))


def zoo_simple_pose(state: dict) -> dict:
    return mindspore_names(replaced(
        deconv_names(state, 'deconv_layers.deconv_{i}.deconv.', 'deconv_layers.deconv_{i}.bn.'),
        (r'\.downsample\.', '.down_sample_layer.')))


def mmpose_resnet(state: dict, head: str) -> dict:
    return replaced(reversed_stem(state, 'conv1.weight'), (r'^(conv1|bn1|layer)', r'backbone.\1'),
                    (r'^(deconv_layers|final_layer)', rf'{head}.\1'))


def mindpose(state: dict) -> dict:
    return mindspore_names(replaced(reversed_stem(state, 'conv1.weight'), (r'\.downsample\.', '.down_sample.'),
                                    (r'^(conv1|bn1|layer)', r'backbone.\1'),
                                    (r'^deconv_layers', 'head.deconv_layer'), (r'^final_layer', 'head.final_layer')))


def mmpose_hrnet(state: dict, head: str) -> dict:
    return with_counters(replaced(state, (r'^(?!final_layer)', 'backbone.'), (r'^final_layer', f'{head}.final_layer')))


def mindpose_hrnet(state: dict) -> dict:
    return mindspore_names(replaced(state, (r'\.downsample\.', '.down_sample.'), (r'^(?!final_layer)', 'backbone.'),
                                    (r'^final_layer', 'head.head')))


def mmpose_mobilenet(state: dict, head: str) -> dict:
    return with_counters(replaced(state, (r'^(conv1|conv2|layer\d)\.', r'backbone.\1.'),
                                  (r'^(deconv_layers|final_layer)', rf'{head}.\1')))


# Blocks of MobileNetV2's layers; MindCV and torchvision count them through.
MOBILENET_BLOCKS = (1, 2, 3, 4, 3, 3, 1)


def _counted(state: dict, name_of_block, stem: str, stem_norm: str, last: str, last_norm: str) -> dict:
    """MobileNetV2's trunk; `name_of_block(count, number of a convolution, whether the last of its block, 'conv' or
    'bn')`."""
    result = {}
    for name, value in state.items():
        part, _, suffix = name.rpartition('.')
        match = re.fullmatch(r'layer(\d)\.(\d)\.conv\.(\d)\.(conv|bn)', part)
        if match:
            layer, index, number = (int(each) for each in match.groups()[:3])
            count = sum(MOBILENET_BLOCKS[:layer - 1]) + index
            part = name_of_block(count, number, number == (1 if layer == 1 else 2), match[4])
        else:
            part = {'conv1.conv': stem, 'conv1.bn': stem_norm, 'conv2.conv': last, 'conv2.bn': last_norm}[part]
        result[f'{part}.{suffix}'] = value
    return result


def mindcv_mobilenet(trunk: dict) -> dict:
    """A flat sequence: stem, BatchNorm, ReLU6, 17 blocks, last convolution, BatchNorm, ReLU6."""
    names = _counted(trunk, lambda count, number, _, kind: f'features.{count + 3}.layers.{3 * number + (kind == "bn")}',
                     'features.0', 'features.1', 'features.20', 'features.21')
    return {**mindspore_names(names), 'classifier.1.weight': CLASSIFIER['fc.weight'],
            'classifier.1.bias': CLASSIFIER['fc.bias']}


def torchvision_mobilenet(trunk: dict) -> dict:
    """Convolution, BatchNorm and ReLU6 in a sequence of their own, but a linear convolution and its BatchNorm without
    one."""
    def block(count, number, is_last, kind):
        place = f'{number + (kind == "bn")}' if is_last else f'{number}.{int(kind == "bn")}'
        return f'features.{count + 1}.conv.{place}'

    return {**with_counters(_counted(trunk, block, 'features.0.0', 'features.0.1', 'features.18.0', 'features.18.1')),
            'classifier.1.weight': CLASSIFIER['fc.weight'], 'classifier.1.bias': CLASSIFIER['fc.bias']}


def mmpretrain_mobilenet(trunk: dict) -> dict:
    return {**with_counters({f'backbone.{name}': value for name, value in trunk.items()}),
            'head.fc.weight': CLASSIFIER['fc.weight'], 'head.fc.bias': CLASSIFIER['fc.bias']}


def prefixed(state: dict) -> dict:
    return {f'module.{name}': value for name, value in state.items()}


# ImageNet trunks

def trunk_of(network) -> dict:
    """The state of a SimplePoseNet without its head, under torchvision's names."""
    return {name: value for name, value in seeded_state(network).items()
            if not name.startswith(('deconv_layers.', 'final_layer.'))}


def torchvision_of_mspn(state: dict) -> dict:
    """The trunk of stage 0 as torchvision's ResNet."""
    trunk = {name: value for name, value in without_biases(reversed_stem(state, 'top.conv.conv.weight')).items()
             if name.startswith(('top.', 'stage0.downsample.'))}
    return replaced(trunk, (r'^top\.conv\.conv\.', 'conv1.'), (r'^top\.conv\.bn\.', 'bn1.'),
                    (r'^stage0\.downsample\.', ''), (r'conv_bn_relu(\d)\.(conv|bn)\.', r'\2\1.'),
                    (r'(layer\d\.0\.downsample)\.conv\.', r'\1.0.'), (r'(layer\d\.0\.downsample)\.bn\.', r'\1.1.'))


def imagenet_hrnet(state: dict, last_module: str) -> dict:
    """The classification release: a last module that fuses into every branch, and another head."""
    trunk = {name: value for name, value in state.items() if not name.startswith('final_layer.')}
    one = np.ones((1, 1, 1, 1), np.float32)
    coarser = {f'{last_module}.fuse_layers.{row}': one for row in ('1.0.0.0.weight', '1.2.0.weight', '3.1.0.0.weight')}
    statistics = {f'{last_module}.fuse_layers.2.0.1.1.{name}': np.ones(1, np.float32) for name in TO_MINDSPORE}
    head = {f'{name}.weight': one for name in ('incre_modules.0.0.conv1', 'incre_modules.3.0.downsample.0',
                                               'downsamp_modules.2.0', 'final_layer.0', 'classifier')}
    return with_counters({**trunk, **coarser, **statistics, **head, 'final_layer.0.bias': np.ones(1, np.float32)})


def mindcv_hrnet(state: dict, last_module: str) -> dict:
    counted = imagenet_hrnet(state, last_module)
    return mindspore_names(replaced({name: value for name, value in counted.items() if 'num_batches' not in name},
                                    (r'\.downsample\.', '.down_sample.'), ('^downsamp_', 'downsample_')))


def torchvision(trunk: dict) -> dict:
    return {**with_counters(trunk), **CLASSIFIER}


def model_zoo(trunk: dict) -> dict:
    return {**mindspore_names(replaced(trunk, (r'\.downsample\.', '.down_sample_layer.'))),
            'end_point.weight': CLASSIFIER['fc.weight'], 'end_point.bias': CLASSIFIER['fc.bias']}


def mindcv(trunk: dict) -> dict:
    return {**mindspore_names(replaced(trunk, (r'\.downsample\.', '.down_sample.'))),
            'classifier.weight': CLASSIFIER['fc.weight'], 'classifier.bias': CLASSIFIER['fc.bias']}
