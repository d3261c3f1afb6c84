"""The cells from which decoders inside an exported graph are built, beside arithmetic. The ONNX exporter knows each of
these cells.

Axes: M maps, h, w heatmap. Cell numbers are float32 and are found by comparison, not by indexing: so every runtime
takes the first of several equal maxima, and none needs a gather, which may be slow or imprecise.
"""
from typing import Tuple

import cv2
import numpy as np
from mindspore import Tensor, nn, ops


class Reshape(nn.Cell):
    """Reshape; the first size follows from the others: (…) -> (-1, *shape)."""

    def __init__(self, *shape: int):
        super().__init__()
        self.shape = (-1, *shape)

    def construct(self, x):
        return ops.reshape(x, self.shape)


class Frame(nn.Cell):
    """Pad maps with zeros: (M, h, w) -> (M, h + 2 radius, w + 2 radius)."""

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
    """A function of a single tensor, by MindSpore's name: floor, sign, sqrt, log or round (half to even)."""

    def __init__(self, name: str):
        super().__init__()
        self.name, self.function = name, getattr(ops, name)

    def construct(self, x):
        return self.function(x)


class Reduce(nn.Cell):
    """The max, min or sum along axis 1, which is kept with size 1: (M, cells) -> (M, 1)."""

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
    """Take `one` where the condition holds and `other` elsewhere; one of the two may be a number."""

    def construct(self, condition, one, other):
        return ops.where(condition, one, other)


class Join(nn.Cell):
    """Columns (M, 1) each -> (M, number of them)."""

    def construct(self, *columns):
        return ops.concat(columns, 1)


class MapCells(nn.Cell):
    """Operations on maps that are flattened to rows of h * w cells, with cell numbers in raster order."""

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
        """Return the values (M, 1) of the cells `number` (M, 1); 0 for a number outside the map."""
        return self.sum(self.choose(self.equal(self.numbers, number), rows, 0.0))

    def without(self, rows, number):
        """Return the rows with the cells `number` (M, 1) set to 0."""
        return self.choose(self.equal(self.numbers, number), 0.0, rows)

    def place(self, number):
        """Return x and y, each (M, 1), of the cells `number` (M, 1)."""
        # Half a cell is added so that a rounding error of the division cannot give the row above.
        y = self.floor((number + 0.5) / self.width)
        return number - y * self.width, y


class Blur(nn.Cell):
    """(M, h, w) -> (M, h + 2 margin, w + 2 margin): OpenCV's Gaussian over maps that zeros surround.

    Sums of shifted maps instead of a convolution, because some runtimes compute convolutions in bfloat16, sums not.

    Args:
        kernel_size: odd number of taps.
        margin: cells around the map whose blurred values are returned, too.
    """

    def __init__(self, heatmap_shape: Tuple[int, int], kernel_size: int, margin: int = 0):
        super().__init__()
        height, width = heatmap_shape
        self.frame = Frame(kernel_size // 2 + margin)
        self.taps = tuple(cv2.getGaussianKernel(kernel_size, 0)[:, 0].tolist())
        self.rows = nn.CellList([Window(1, start, height + 2 * margin) for start in range(kernel_size)])
        self.columns = nn.CellList([Window(2, start, width + 2 * margin) for start in range(kernel_size)])

    def construct(self, maps):
        return self._weighted_sum(self.columns, self._weighted_sum(self.rows, self.frame(maps)))

    def _weighted_sum(self, windows, maps):
        total = windows[0](maps) * self.taps[0]
        for window, tap in zip(windows[1:], self.taps[1:]):
            total = total + window(maps) * tap
        return total
