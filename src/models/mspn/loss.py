"""MSPN's loss, vectorised over the batch.

Axes: N people, K keypoints, h, w heatmap.
"""
from mindspore import dtype as mstype
from mindspore import nn, ops


class JointsL2Loss(nn.Cell):
    """MSPN's loss (arXiv 1901.00148): plain terms for the coarse units, online hard keypoint mining for the finest.

    The loss of a stage is the sum of the three coarse units' plain terms, each times 1/4, and the finest unit's term.
    There is no factor 1/2 and no division by the number of stages.

    Args:
        ohkm: mine hard keypoints in the finest unit; otherwise it has a plain term of weight 1.
        topk: number of keypoints mined; the divisor stays topk if fewer are valid.
        coarse_to_fine: the last stage uses the label sets one step finer than the stages before.
    """

    def __init__(self, *, ohkm: bool = True, topk: int = 8, coarse_to_fine: bool = True):
        super().__init__()
        self.ohkm, self.topk, self.coarse_to_fine = ohkm, topk, coarse_to_fine

    def _plain(self, heatmaps, labels, is_visible):
        # Only the label is masked: maps of occluded and absent joints are trained towards zero.
        difference = heatmaps - labels * is_visible
        return ops.mean(difference * difference)

    def _mined(self, heatmaps, labels, is_valid):
        difference = heatmaps - labels
        error = ops.mean(difference * difference, (2, 3)) * is_valid                             # (N, K)
        hardest, _ = ops.topk(error, self.topk)
        return ops.mean(ops.sum(hardest, 1)) / self.topk

    def construct(self, outputs, labels, validity):
        """Return the scalar loss.

        Args:
            outputs: for each stage the four heatmaps (N, K, h, w), coarse to fine.
            labels: five label sets (N, K, h, w), coarse to fine.
            validity: (N, K); 0 absent, 1 occluded, 2 visible.
        """
        is_valid = ops.cast(validity > 0, mstype.float32)
        is_visible = ops.cast(ops.reshape(validity, validity.shape + (1, 1)) > 1, mstype.float32)
        total = 0.0
        for index, heatmaps in enumerate(outputs):
            first = 1 if self.coarse_to_fine and index == len(outputs) - 1 else 0
            for unit in range(3):
                total = total + self._plain(heatmaps[unit], labels[unit + first], is_visible) / 4
            if self.ohkm:
                total = total + self._mined(heatmaps[3], labels[3 + first], is_valid)
            else:
                total = total + self._plain(heatmaps[3], labels[3 + first], is_visible)
        return total
