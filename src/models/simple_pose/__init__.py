"""SimplePoseNet, on ResNet and on MobileNetV2."""
