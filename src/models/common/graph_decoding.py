"""Heatmaps → keypoints inside the graph of an exported model: the rules of the NumPy decoders in
`heatmap_decoding.py`.

Axes: N people, K keypoints, h, w heatmap, M = N * K maps. What comes out is in pixels of the crop, which is the
network's input; where the crop lies in the picture is the caller's to know.

The decoders consist of arithmetic and of the elementary cells below, so that an exporter that knows these can follow
them. Places are float32 numbers and found by comparing, not by indexing: every runtime then takes the first of several
equal maxima, and none has a gather to be slow or imprecise at.
"""
from typing import Tuple

import cv2
import numpy as np
from mindspore import Tensor, nn, ops

from ...protocols import MSPN_FRAME, MSPN_PEAK, PIXELS_PER_CELL


class Reshape(nn.Cell):
    """To a shape whose first size follows from the others: (…) -> (-1, *shape)."""

    def __init__(self, *shape: int):
        super().__init__()
        self.shape = (-1, *shape)

    def construct(self, x):
        return ops.reshape(x, self.shape)


class Frame(nn.Cell):
    """Zeros around maps: (M, h, w) -> (M, h + 2 radius, w + 2 radius)."""

    def __init__(self, radius: int):
        super().__init__()
        self.radius = radius
        self.pad = nn.Pad(((0, 0), (radius, radius), (radius, radius)))

    def construct(self, x):
        return self.pad(x)


class Window(nn.Cell):
    """A part of maps (M, h, w) along axis 1 or 2."""

    def __init__(self, axis: int, start: int, size: int):
        super().__init__()
        self.axis, self.start, self.size = axis, start, size

    def construct(self, x):
        if self.axis == 1:
            return x[:, self.start:self.start + self.size]
        return x[:, :, self.start:self.start + self.size]


class Elementwise(nn.Cell):
    """A function of a single tensor, by MindSpore's name: floor, sign, sqrt or round (half to even)."""

    def __init__(self, name: str):
        super().__init__()
        self.name, self.function = name, getattr(ops, name)

    def construct(self, x):
        return self.function(x)


class Reduce(nn.Cell):
    """(M, cells) -> (M, 1): the max, min or sum of a row."""

    def __init__(self, name: str):
        super().__init__()
        self.name, self.function = name, {'max': ops.amax, 'min': ops.amin, 'sum': ops.sum}[name]

    def construct(self, x):
        return self.function(x, 1, True)


class Equal(nn.Cell):
    """Where two tensors are equal."""

    def construct(self, one, other):
        return ops.equal(one, other)


class Choose(nn.Cell):
    """Where a condition holds the one, elsewhere the other; one of the two may be a number."""

    def construct(self, condition, one, other):
        return ops.where(condition, one, other)


class Join(nn.Cell):
    """Columns (M, 1) each -> (M, number of them)."""

    def construct(self, *columns):
        return ops.concat(columns, 1)


class Blur(nn.Cell):
    """(M, h, w) -> (M, h + 2 r, w + 2 r): OpenCV's Gaussian of 2 r + 1 taps over maps in a frame of zeros.

    Sums of shifted maps instead of a convolution: a runtime that computes convolutions in bfloat16 leaves them alone.
    """

    def __init__(self, heatmap_shape: Tuple[int, int], kernel_size: int):
        super().__init__()
        radius, (height, width) = kernel_size // 2, heatmap_shape
        self.frame = Frame(2 * radius)
        self.taps = tuple(cv2.getGaussianKernel(kernel_size, 0)[:, 0].tolist())
        self.rows = nn.CellList([Window(1, start, height + 2 * radius) for start in range(kernel_size)])
        self.columns = nn.CellList([Window(2, start, width + 2 * radius) for start in range(kernel_size)])

    def construct(self, maps):
        return self._weighted_sum(self.columns, self._weighted_sum(self.rows, self.frame(maps)))

    def _weighted_sum(self, windows, maps):
        total = windows[0](maps) * self.taps[0]
        for window, tap in zip(windows[1:], self.taps[1:]):
            total = total + window(maps) * tap
        return total


class _Cells(nn.Cell):
    """Rows of h * w cells, and where in them something is."""

    def __init__(self, height: int, width: int):
        super().__init__()
        self.width, self.behind = float(width), float(height * width)
        self.numbers = Tensor(np.arange(height * width, dtype=np.float32)[None])
        self.rows, self.choose, self.equal = Reshape(height * width), Choose(), Equal()
        self.max, self.min, self.sum, self.floor = Reduce('max'), Reduce('min'), Reduce('sum'), Elementwise('floor')

    def first_maximum(self, rows):
        """Return the largest value (M, 1) and the number (M, 1) of the first cell that has it."""
        value = self.max(rows)
        return value, self.min(self.choose(rows < value, self.behind, self.numbers))

    def at(self, rows, number):
        """Return the values (M, 1) of cells; 0 for a number that no cell has."""
        return self.sum(self.choose(self.equal(self.numbers, number), rows, 0.0))

    def without(self, rows, number):
        """Return the rows with a cell set to 0."""
        return self.choose(self.equal(self.numbers, number), 0.0, rows)

    def place(self, number):
        """Return x and y (M, 1) of cells."""
        # Half a cell more: a division that comes out a hair too small must not lose a row.
        y = self.floor((number + 0.5) / self.width)
        return number - y * self.width, y


class MSPNDecoder(nn.Cell):
    """The MSPN release's rule: blur, then a quarter cell from the maximum towards the second maximum.

    (N, K, h, w) -> keypoints (N, K, 2), x and y in crop pixels, and scores (N, K).

    Args:
        num_keypoints: K.
        heatmap_shape: (h, w).
        blur_kernel: 5 for COCO, 9 for MPII.
    """

    # The corner of the release's frame is where nothing was found.
    corner = -float(MSPN_FRAME)

    def __init__(self, num_keypoints: int, heatmap_shape: Tuple[int, int], *, blur_kernel: int):
        super().__init__()
        self.height, self.width = heatmap_shape
        self.radius = float(blur_kernel // 2)
        self.maps, self.blur = Reshape(self.height, self.width), Blur(heatmap_shape, blur_kernel)
        self.blurred = _Cells(self.height + blur_kernel - 1, self.width + blur_kernel - 1)
        self.grid, self.choose, self.join = _Cells(self.height, self.width), Choose(), Join()
        self.sqrt, self.round = Elementwise('sqrt'), Elementwise('round')
        self.to_keypoints, self.to_scores = Reshape(num_keypoints, 2), Reshape(num_keypoints)

    def construct(self, heatmaps):
        maps = self.maps(heatmaps)
        blurred = self.blurred.rows(self.blur(maps))
        value, first = self.blurred.first_maximum(blurred)
        second_value, second = self.blurred.first_maximum(self.blurred.without(blurred, first))
        x, y = self._found(value, first)
        second_x, second_y = self._found(second_value, second)
        # Where nothing was found at all the release steps to the right.
        second_x = self.choose(value > 0.0, second_x, self.corner + 1.0)
        second_y = self.choose(value > 0.0, second_y, self.corner)
        step_x, step_y = second_x - x, second_y - y
        # The two maxima never share a cell: the length is at least 1.
        length = self.sqrt(step_x * step_x + step_y * step_y)
        x = self._clip(x + step_x / length * 0.25, self.width - 1.0)
        y = self._clip(y + step_y / length * 0.25, self.height - 1.0)
        score = self.grid.at(self.grid.rows(maps), self.round(y) * self.grid.width + self.round(x))
        keypoints = self.join(x, y) * float(PIXELS_PER_CELL) + PIXELS_PER_CELL / 2.0
        return self.to_keypoints(keypoints), self.to_scores(score / MSPN_PEAK + 0.5)

    def _found(self, value, number):
        x, y = self.blurred.place(number)
        return (self.choose(value > 0.0, x - self.radius, self.corner),
                self.choose(value > 0.0, y - self.radius, self.corner))

    def _clip(self, x, largest):
        return self.choose(x > largest, largest, self.choose(x < 0.0, 0.0, x))


class SimplePoseDecoder(nn.Cell):
    """Simple Baselines' rule: the maximum, and a quarter cell along the sign of the gradient.

    (N, K, h, w) -> keypoints (N, K, 2), x and y in crop pixels, and scores (N, K).

    Args:
        num_keypoints: K.
        heatmap_shape: (h, w).
        quarter_offset: the release's POST_PROCESS switch.
    """

    def __init__(self, num_keypoints: int, heatmap_shape: Tuple[int, int], *, quarter_offset: bool):
        super().__init__()
        self.height, self.width = heatmap_shape
        self.quarter_offset = quarter_offset
        self.grid, self.choose, self.join, self.sign = _Cells(*heatmap_shape), Choose(), Join(), Elementwise('sign')
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
        return self.to_keypoints(self.join(x, y) * float(PIXELS_PER_CELL)), self.to_scores(score)

    def _step(self, rows, number, distance, x, y):
        """Return a quarter towards the larger neighbour; 0 at the rim of the map, for both axes alike."""
        step = self.sign(self.grid.at(rows, number + distance) - self.grid.at(rows, number - distance)) * 0.25
        for is_inside in (x > 1.0, x < self.width - 1.0, y > 1.0, y < self.height - 1.0):
            step = self.choose(is_inside, step, 0.0)
        return step


def build_graph_decoder(config) -> nn.Cell:
    """Return the decoder cell of a resolved configuration."""
    heatmap_shape = tuple(side // PIXELS_PER_CELL for side in reversed(config.MODEL.IMAGE_SIZE))
    if config.MODEL.NAME == 'mspn':
        return MSPNDecoder(config.MODEL.NUM_JOINTS, heatmap_shape, blur_kernel=config.TEST.BLUR_KERNEL)
    return SimplePoseDecoder(config.MODEL.NUM_JOINTS, heatmap_shape, quarter_offset=config.TEST.POST_PROCESS)
