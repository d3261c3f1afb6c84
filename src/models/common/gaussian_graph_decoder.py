"""Heatmaps → keypoints inside the graph of an exported model: the rule of `gaussian_decoder.py`.

Axes: N people, K keypoints, h, w heatmap. The keypoints are in pixels of the crop, which is the network's input; the
caller maps them to the picture.
"""
from typing import Tuple

from mindspore import nn

from ..record import heatmap_shape, pixels_per_cell
from .graph_parts import Choose, Elementwise, Join, MapCells, Reshape


class GaussianDecoder(nn.Cell):
    """Simple Baselines' rule: the maximum, and a quarter cell along the sign of the gradient.

    (N, K, h, w) -> keypoints (N, K, 2), x and y in crop pixels, and scores (N, K).

    Args:
        num_keypoints: K.
        heatmap_shape: (h, w).
        quarter_offset: the release's POST_PROCESS switch.
        pixels_per_cell: (x, y).
    """

    def __init__(self, num_keypoints: int, heatmap_shape: Tuple[int, int], *, quarter_offset: bool,
                 pixels_per_cell: Tuple[float, float]):
        super().__init__()
        self.height, self.width = heatmap_shape
        self.quarter_offset, self.pixels_per_cell = quarter_offset, pixels_per_cell
        self.grid, self.choose, self.join, self.sign = MapCells(*heatmap_shape), Choose(), Join(), Elementwise('sign')
        self.to_keypoints, self.to_scores = Reshape(num_keypoints, 2), Reshape(num_keypoints)

    def construct(self, heatmaps):
        rows = self.grid.rows(heatmaps)
        score, number = self.grid.first_maximum(rows)
        number = self.choose(score > 0.0, number, 0.0)
        x, y = self.grid.place(number)
        if self.quarter_offset:
            step_x = self._step(rows, number, 1.0, x, y)
            step_y = self._step(rows, number, self.grid.width, x, y)
            x, y = x + step_x, y + step_y
        pixels_x, pixels_y = self.pixels_per_cell
        return self.to_keypoints(self.join(x * pixels_x, y * pixels_y)), self.to_scores(score)

    def _step(self, rows, number, distance, x, y):
        """Return a step of a quarter cell towards the larger neighbour; 0 at the border of the map, on either axis."""
        step = self.sign(self.grid.at(rows, number + distance) - self.grid.at(rows, number - distance)) * 0.25
        for is_inside in (x > 1.0, x < self.width - 1.0, y > 1.0, y < self.height - 1.0):
            step = self.choose(is_inside, step, 0.0)
        return step


def build_gaussian_graph_decoder(config) -> nn.Cell:
    """Return the decoder of a resolved configuration."""
    return GaussianDecoder(config.MODEL.NUM_JOINTS, heatmap_shape(config), quarter_offset=config.TEST.POST_PROCESS,
                           pixels_per_cell=pixels_per_cell(config))
