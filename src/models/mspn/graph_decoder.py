"""Heatmaps → keypoints inside the graph of an exported model: the rule of `decoder.py`.

Axes: N people, K keypoints, h, w heatmap, M = N * K maps. The keypoints are in pixels of the crop, which is the
network's input; the caller maps them to the picture.
"""
from typing import Tuple

from mindspore import nn

from ..common.graph_parts import Blur, Choose, Elementwise, Join, MapCells, Reshape
from ..record import PIXELS_PER_CELL
from .decoder import FRAME, PEAK


class MSPNDecoder(nn.Cell):
    """The MSPN release's rule: blur, then a quarter cell from the maximum towards the second maximum.

    (N, K, h, w) -> keypoints (N, K, 2), x and y in crop pixels, and scores (N, K).

    Args:
        num_keypoints: K.
        heatmap_shape: (h, w).
        blur_kernel: 5 for COCO, 9 for MPII.
    """

    # The corner of the release's zero frame: the position of a map without a maximum above 0.
    corner = -float(FRAME)

    def __init__(self, num_keypoints: int, heatmap_shape: Tuple[int, int], *, blur_kernel: int):
        super().__init__()
        self.height, self.width = heatmap_shape
        self.radius = float(blur_kernel // 2)
        self.maps, self.blur = Reshape(self.height, self.width), Blur(heatmap_shape, blur_kernel, blur_kernel // 2)
        self.blurred = MapCells(self.height + blur_kernel - 1, self.width + blur_kernel - 1)
        self.grid, self.choose, self.join = MapCells(self.height, self.width), Choose(), Join()
        self.sqrt, self.round = Elementwise('sqrt'), Elementwise('round')
        self.to_keypoints, self.to_scores = Reshape(num_keypoints, 2), Reshape(num_keypoints)

    def construct(self, heatmaps):
        maps = self.maps(heatmaps)
        blurred = self.blurred.rows(self.blur(maps))
        value, first = self.blurred.first_maximum(blurred)
        second_value, second = self.blurred.first_maximum(self.blurred.without(blurred, first))
        x, y = self._found(value, first)
        second_x, second_y = self._found(second_value, second)
        # In a map without any value above 0 the release steps to the right.
        second_x = self.choose(value > 0.0, second_x, self.corner + 1.0)
        second_y = self.choose(value > 0.0, second_y, self.corner)
        step_x, step_y = second_x - x, second_y - y
        # The two maxima never share a cell: the length is at least 1.
        length = self.sqrt(step_x * step_x + step_y * step_y)
        x = self._clip(x + step_x / length * 0.25, self.width - 1.0)
        y = self._clip(y + step_y / length * 0.25, self.height - 1.0)
        score = self.grid.at(self.grid.rows(maps), self.round(y) * self.grid.width + self.round(x))
        keypoints = self.join(x, y) * float(PIXELS_PER_CELL) + PIXELS_PER_CELL / 2.0
        return self.to_keypoints(keypoints), self.to_scores(score / PEAK + 0.5)

    def _found(self, value, number):
        x, y = self.blurred.place(number)
        return (self.choose(value > 0.0, x - self.radius, self.corner),
                self.choose(value > 0.0, y - self.radius, self.corner))

    def _clip(self, x, largest):
        return self.choose(x > largest, largest, self.choose(x < 0.0, 0.0, x))
