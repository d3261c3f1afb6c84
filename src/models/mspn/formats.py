"""The published formats of MSPN's weights."""
import re

from ..common.weight_sources import BGR, CLASSIFIER, IMAGENET, PYTORCH, Rule, WeightSource

STAGE = r'backbone\.multi_stage_mspn\.(\d+)'


def _head_of_unit(match: re.Match) -> str:
    # MMPose numbers the units consecutively over all stages.
    stage, unit = divmod(int(match[1]), 4)
    return f'stage{stage}.upsample.up{unit + 1}.res_conv{int(match[2]) + 1}.{match[3]}'


FORMATS = (
    # Only the course port has published files with these names; our own checkpoints use them too, with their recipe.
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
)
