"""What decoders inside the graph of an exported model consist of, beside arithmetic: an exporter that knows these cells
can follow them.

Axes: M maps, h, w heatmap. Places are float32 numbers and found by comparing, not by indexing: every runtime then takes
the first of several equal maxima, and none has a gather to be slow or imprecise at.
"""
import numpy as np
from mindspore import Tensor, nn, ops


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


class MapCells(nn.Cell):
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
