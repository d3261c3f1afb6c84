"""The published formats of HRNet's weights."""
from ..common.weight_sources import RGB, Rule, WeightSource

# The unused names of an ImageNet HRNet, whose last module also fuses into the coarser branches.
IMAGENET_CLASSIFIER = (r'(incre_modules|downsamp(le)?_modules|final_layer\.\d+|classifier)\..+|'
                       r'stage4\.\d+\.fuse_layers\.[1-3]\..+')


FORMATS = (
    WeightSource('ImageNet HRNet', 'hrnet', r'(incre_modules|downsamp(le)?_modules)\..+', unused=IMAGENET_CLASSIFIER,
                 optional=r'final_layer\..+', settings=RGB),
    WeightSource('MindPose HRNet', 'hrnet', r'head\.head\.(weight|bias)', (
        Rule(r'backbone\.(.+)', r'\1'), Rule(r'head\.head\.(.+)', r'final_layer.\1')),
        # The 0.255 of blue is MindPose's own.
        settings={**RGB, 'DATASET.STDS': [0.229, 0.224, 0.255]}),
    WeightSource('MMPose HRNet', 'hrnet', r'backbone\.stage4\..+', (
        Rule(r'backbone\.(.+)', r'\1'), Rule(r'(?:keypoint_)?head\.(final_layer\..+)', r'\1')), settings=RGB),
    WeightSource('HRNet', 'hrnet', r'stage4\.\d+\..+', settings=RGB),
)
