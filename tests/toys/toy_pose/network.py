"""Images (N, 3, H, W) -> heatmaps (N, K, H/4, W/4)."""
from mindspore import nn

from src.models.common.blocks import BatchNorm, conv, initialise_parameters, uniform_fan_in


class ToyPose(nn.Cell):
    def __init__(self, *, num_keypoints: int, channels: int, seed: int = 1):
        super().__init__()
        self.conv1 = conv(3, channels, 3, stride=2)
        self.bn1 = BatchNorm(channels)
        self.relu = nn.ReLU()
        self.final_layer = conv(channels, num_keypoints, 3, stride=2, bias=True)
        initialise_parameters(self, seed, lambda rng, name, shape, fan_in: uniform_fan_in(rng, shape, fan_in))

    def construct(self, images):
        return self.final_layer(self.relu(self.bn1(self.conv1(images))))

    def training_outputs(self, images):
        return self.construct(images)
