"""Heatmaps → keypoints inside the graph of an exported model: the rules of `refined_decoder.py`.

Axes: N people, K keypoints, h, w heatmap, M = N * K maps. The keypoints are in pixels of the crop, which is the
network's input; the caller maps them to the picture.
"""
from typing import Tuple

from mindspore import Tensor, nn

from ..record import heatmap_shape, pixels_per_cell
from .graph_parts import Blur, Choose, Elementwise, Equal, Join, MapCells, Reduce, Reshape
from .refined_decoder import DARK_MARGIN, DARK_SMALLEST, UDP_EPSILON, UDP_LARGEST, UDP_SMALLEST


class RefinedDecoder(nn.Cell):
    """DARK's or UDP's rule: the maximum, moved to the top of a parabola through the logarithm of the blurred map.

    (N, K, h, w) -> keypoints (N, K, 2), x and y in crop pixels, and scores (N, K).

    Args:
        num_keypoints: K.
        heatmap_shape: (h, w).
        rule, kernel, pixels_per_cell, first_cell, peak, empty_score: see `decode_refined`.
    """

    def __init__(self, num_keypoints: int, heatmap_shape: Tuple[int, int], *, rule: str, kernel: int,
                 pixels_per_cell: Tuple[float, float], first_cell: float = 0.0, peak: float = 1.0,
                 empty_score: float = 0.0):
        super().__init__()
        self.height, self.width = heatmap_shape
        self.is_dark, self.pixels_per_cell = rule == 'dark', pixels_per_cell
        self.first_cell, self.peak, self.empty_score = first_cell, peak, empty_score
        # UDP repeats the outermost cells; DARK's neighbors two cells away are always inside where they count.
        self.reach = 2 if self.is_dark else 1
        self.maps, self.blur, self.grid = Reshape(*heatmap_shape), Blur(heatmap_shape, kernel), MapCells(*heatmap_shape)
        self.line, self.columns, self.as_row_number = MapCells(1, self.width), Reshape(self.width), Reshape(1, 1)
        self.row_numbers = Tensor([[[float(row)] for row in range(self.height)]])
        self.choose, self.equal, self.join, self.sum = Choose(), Equal(), Join(), Reduce('sum')
        self.log = Elementwise('log')
        self.to_keypoints, self.to_scores = Reshape(num_keypoints, 2), Reshape(num_keypoints)

    def construct(self, heatmaps):
        maps = self.maps(heatmaps)
        if self.peak != 1.0:
            maps = maps * (1.0 / self.peak)
        score, number = self.grid.first_maximum(self.grid.rows(maps))
        x, y = self.grid.place(self.choose(score > 0.0, number, 0.0))
        step_x, step_y = self._newton_step(self._logarithms(maps, score, x, y))
        for is_refined in self._is_refined(score, x, y):
            step_x, step_y = self.choose(is_refined, step_x, 0.0), self.choose(is_refined, step_y, 0.0)
        pixels_x, pixels_y = self.pixels_per_cell
        keypoints = self.join((x + step_x) * pixels_x, (y + step_y) * pixels_y)
        if self.first_cell:
            keypoints = keypoints + self.first_cell
        return self.to_keypoints(keypoints), self.to_scores(score + self.empty_score if self.empty_score else score)

    def _is_refined(self, score, x, y):
        conditions = [score > 0.0]
        if self.is_dark:
            conditions += [x > DARK_MARGIN - 0.5, x < self.width - DARK_MARGIN - 0.5,
                           y > DARK_MARGIN - 0.5, y < self.height - DARK_MARGIN - 0.5]
        return conditions

    def _logarithms(self, maps, score, x, y):
        """Return {(dx, dy): logarithm (M, 1) of the blurred map at a neighbor of the cell (x, y)}."""
        blurred = self.blur(maps)
        highest = self.grid.max(self.grid.rows(blurred))
        # See `_scaled_around` for maps without a hill.
        factor = self.choose(highest > 0.0, score / self.choose(highest > 0.0, highest, 1.0), 0.0)
        steps = range(-self.reach, self.reach + 1)
        places = [self._inside(x + float(step), self.width - 1.0) for step in steps]
        found = {}
        for down in steps:
            # The cells of a row first: then the columns are looked for in rows only.
            row = self.as_row_number(self._inside(y + float(down), self.height - 1.0))
            cells = self.columns(self.sum(self.choose(self.equal(self.row_numbers, row), blurred, 0.0)))
            for right, place in zip(steps, places):
                if self.is_dark and abs(right) + abs(down) > 2:
                    continue
                found[right, down] = self.log(self._bounded(self.line.at(cells, place) * factor))
        return found

    def _inside(self, number, largest: float):
        return self.choose(number > largest, largest, self.choose(number < 0.0, 0.0, number))

    def _bounded(self, value):
        if self.is_dark:
            return self.choose(value > DARK_SMALLEST, value, DARK_SMALLEST)
        return self.choose(value > UDP_LARGEST, UDP_LARGEST, self.choose(value > UDP_SMALLEST, value, UDP_SMALLEST))

    def _newton_step(self, logarithms):
        """Return the steps in x and in y, both (M, 1), as `refined_decoder.py` does."""
        at, middle = logarithms, logarithms[0, 0]
        gradient_x, gradient_y = (at[1, 0] - at[-1, 0]) * 0.5, (at[0, 1] - at[0, -1]) * 0.5
        if self.is_dark:
            hessian_xx = (at[2, 0] - middle * 2.0 + at[-2, 0]) * 0.25
            hessian_yy = (at[0, 2] - middle * 2.0 + at[0, -2]) * 0.25
            hessian_xy = (at[1, 1] - at[1, -1] - at[-1, 1] + at[-1, -1]) * 0.25
        else:
            hessian_xx = at[1, 0] - middle * 2.0 + at[-1, 0] + UDP_EPSILON
            hessian_yy = at[0, 1] - middle * 2.0 + at[0, -1] + UDP_EPSILON
            hessian_xy = (at[1, 1] - at[1, 0] - at[0, 1] + middle * 2.0 - at[-1, 0] - at[0, -1] + at[-1, -1]) * 0.5
        determinant = hessian_xx * hessian_yy - hessian_xy * hessian_xy
        is_flat = self.equal(determinant * 0.0, determinant)
        divisor = self.choose(is_flat, 1.0, determinant)
        step_x = (hessian_xy * gradient_y - hessian_yy * gradient_x) / divisor
        step_y = (hessian_xy * gradient_x - hessian_xx * gradient_y) / divisor
        return self.choose(is_flat, 0.0, step_x), self.choose(is_flat, 0.0, step_y)


def build_refined_graph_decoder(config) -> nn.Cell:
    """Return the decoder of a resolved configuration, for heatmaps of peak 1."""
    return RefinedDecoder(config.MODEL.NUM_JOINTS, heatmap_shape(config), rule=config.TEST.DECODER,
                          kernel=config.TEST.DECODER_KERNEL, pixels_per_cell=pixels_per_cell(config))
