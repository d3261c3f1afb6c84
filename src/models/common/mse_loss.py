"""The loss of Simple Baselines and HRNet.

Axes: N people, K keypoints, h, w heatmap.
"""
from mindspore import nn, ops


class JointsMSELoss(nn.Cell):
    """Simple Baselines' loss (ECCV 2018): half the mean squared error; joints without a label have weight 0.

    The mean runs over all keypoints; it is not divided by the number of present ones.

    Args:
        use_target_weight: if False, maps of joints without a label are trained towards zero.
    """

    def __init__(self, *, use_target_weight: bool = True):
        super().__init__()
        self.use_target_weight = use_target_weight

    def construct(self, heatmaps, target, target_weight):
        """Return the scalar loss of heatmaps and target (N, K, h, w) with weights (N, K)."""
        difference = heatmaps - target
        if self.use_target_weight:
            difference = difference * ops.reshape(target_weight, target_weight.shape + (1, 1))
        return 0.5 * ops.mean(difference * difference)
