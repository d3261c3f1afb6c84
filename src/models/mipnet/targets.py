"""Label maps of several people in a crop (MIPNet, arXiv 2101.11223).

Axes: N crops of I people, K keypoints, h, w heatmap.
"""
from mindspore import nn, ops


class HypothesisTargets(nn.Cell):
    """Targets of the several people in each crop, in the order of MIPNet's outputs (arXiv 2101.11223).

    Hypothesis-major: the first people of all N crops, then the second people of all, and so on. The mean of a loss over
    these I * N rows gives every hypothesis the same weight, as published for two. The release draws at random for each
    crop which hypothesis goes into which half of the batch; a mean does not depend on that.

    Since every crop brings all its hypotheses, no batch has a single row, not even the last one of an epoch or one that
    is accumulated. BatchNorm over the instance codes cannot normalise a single row; there the release fails.

    Args:
        targets: makes the targets of one person in each crop.
    """

    def __init__(self, targets: nn.Cell):
        super().__init__()
        self.targets = targets

    def construct(self, joints, validity):
        """Make the targets.

        Args:
            joints: (N, I, K, 2) float32.
            validity: (N, I, K) float32.

        Returns:
            target (I * N, K, h, w) and target weight (I * N, K), float32.
        """
        people, hypotheses, keypoints = validity.shape
        joints = ops.reshape(ops.transpose(joints, (1, 0, 2, 3)), (hypotheses * people, keypoints, 2))
        validity = ops.reshape(ops.transpose(validity, (1, 0, 2)), (hypotheses * people, keypoints))
        return self.targets(joints, validity)
