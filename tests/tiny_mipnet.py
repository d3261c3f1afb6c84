"""A stand-in for MIPNet with what prediction and export see of it: a trunk, features modulated by a code, a head."""
from golden_data import seeded_tensor
from mindspore import Tensor, nn, ops

from src.checkpoints.names import assign_weights, named_parameters
from src.config import load_recipe, resolve
from src.models.common.graph_parts import Reshape
from src.models.mipnet.codes import instance_codes

CHANNELS = 8
RECIPE = 'simplepose_small_synthetic_160x128'


def _convolution(channels_in: int, channels_out: int, kernel_size: int, **options) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel_size, pad_mode='pad', has_bias=True, **options)


class TinyMIPNet(nn.Cell):
    """images (N, 3, H, W), codes (N, 2) -> heatmaps (N, 17, H / 4, W / 4)."""

    def __init__(self, num_instances: int = 2):
        super().__init__()
        self.num_instances, self.codes = num_instances, Tensor(instance_codes(num_instances))
        self.stem, self.relu = _convolution(3, CHANNELS, 7, stride=4, padding=(3, 0, 3, 0)), nn.ReLU()
        self.as_map, self.embedding = Reshape(2, 1, 1), _convolution(2, CHANNELS, 1, padding=0)
        self.head = _convolution(CHANNELS, 17, 3, padding=1)

    def trunk(self, images):
        return (self.relu(self.stem(images)),)

    def modulate(self, features, codes):
        return self.head(features[0] * self.embedding(self.as_map(codes)))

    def construct(self, images, codes):
        return self.modulate(self.trunk(images), codes)

    def hypotheses(self, images):
        features = (ops.concat(self.trunk(images) * self.num_instances, 0),)
        codes = ops.tile(ops.expand_dims(self.codes, 1), (1, images.shape[0], 1))                # (I, N, 2)
        return self.modulate(features, ops.reshape(codes, (-1, 2)))


def tiny_mipnet(num_instances: int = 2) -> TinyMIPNet:
    """Return one with made-up weights, in eval mode."""
    network = TinyMIPNet(num_instances)
    assign_weights(network, {name: seeded_tensor(name, parameter.shape)
                             for name, parameter in named_parameters(network).items()})
    return network.set_train(False)


def mipnet_config(**overrides):
    """Return a configuration that belongs to it, 64 x 96; `overrides` are config keys with '__' for the dot."""
    return resolve(load_recipe(RECIPE), {
        'MODEL.NAME': 'mipnet', 'MIPNET.BACKBONE': 'pose_resnet', 'MODEL.IMAGE_SIZE': [64, 96],
        **{key.replace('__', '.'): value for key, value in overrides.items()}})
