"""Small parts that several networks share: padded convolution, BatchNorm, stem pooling, resizing, initial values."""
import contextlib
import zlib
from contextvars import ContextVar
from typing import Iterator, Sequence, Tuple

import numpy as np
from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from ...system.errors import PoseError

STEM_POOLS = ('symmetric', 'same')
# Levels of MindSpore's mixed precision, see `set_precision`.
LEVELS = ('O0', 'O1', 'O2', 'O3')


def conv(in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """Return a convolution with the explicit symmetric padding kernel_size // 2 that PyTorch models use.

    The weights are zero until the network that contains it calls `initialise_parameters`.
    """
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, pad_mode='pad', padding=kernel_size // 2,
                     has_bias=bias, weight_init='zeros', bias_init='zeros')


class BatchNorm(nn.BatchNorm2d):
    """The BatchNorm of the published models (MindSpore's momentum 0.9 is PyTorch's 0.1): maps (N, C, h, w) or vectors
    (N, C) -> the same shape. After `synchronise` the training statistics are those of all processes."""

    def __init__(self, channels: int):
        super().__init__(channels, eps=1e-5, momentum=0.9)
        self.channels, self.num_processes = channels, 1

    def synchronise(self, num_processes: int) -> None:
        """Compute the training statistics over the batches of all `num_processes` processes together."""
        self.num_processes, self.sum_over_processes = num_processes, ops.AllReduce()
        # In float32 at every level of mixed precision, its own parameters included.
        self.to_float(mstype.float32)

    def construct(self, x):
        if x.ndim == 2:
            return ops.reshape(self._of_maps(ops.reshape(x, (-1, self.channels, 1, 1))), (-1, self.channels))
        return self._of_maps(x)

    def _of_maps(self, x):
        if self.training and self.num_processes > 1 and self.use_batch_statistics is None:
            return self._synchronised(x)
        return super().construct(x)

    def _per_channel(self, values):
        return ops.reshape(values, (1, self.channels, 1, 1))

    def _synchronised(self, x):
        # In float32 at level O3 too: the number of positions can exceed what float16 holds.
        kind = x.dtype
        x = ops.cast(x, mstype.float32)
        # Each process counts its own positions: their batches may differ in size.
        local = ops.concat((ops.sum(x, (0, 2, 3)), ops.ones((1,), x.dtype) * (x.shape[0] * x.shape[2] * x.shape[3])))
        total = self.sum_over_processes(local)
        count = total[self.channels]
        mean = total[:self.channels] / count
        centerd = x - self._per_channel(mean)
        variance = self.sum_over_processes(ops.sum(centerd * centerd, (0, 2, 3))) / count
        unbiased = ops.stop_gradient(variance * (count / (count - 1.0)))
        ops.assign(self.moving_mean, 0.9 * self.moving_mean + 0.1 * ops.stop_gradient(mean))
        ops.assign(self.moving_variance, 0.9 * self.moving_variance + 0.1 * unbiased)
        scale = self._per_channel(self.gamma * ops.rsqrt(variance + 1e-5))
        return ops.cast(centerd * scale + self._per_channel(self.beta), kind)


class Identity(nn.Cell):
    """Returns its input unchanged: x -> x."""

    def construct(self, x):
        return x


def synchronise_batch_norm(network: nn.Cell, num_processes: int) -> None:
    """Let every BatchNorm of `network` take its training statistics over `num_processes` processes."""
    for _, cell in network.cells_and_names():
        if isinstance(cell, BatchNorm):
            cell.synchronise(num_processes)


def recompute_blocks(network: nn.Cell) -> int:
    """Let the blocks of `network` with `is_recomputed` compute their activations again in the backward pass instead of
    keeping them; return the number of these blocks."""
    blocks = [cell for _, cell in network.cells_and_names() if getattr(cell, 'is_recomputed', False)]
    for block in blocks:
        block.recompute()
        for _, cell in block.cells_and_names():
            if isinstance(cell, BatchNorm):
                # Recomputing it would update its running statistics twice.
                cell.bn_train.recompute(False)
    return len(blocks)


def freeze_weights(network: nn.Cell, names: Sequence[str]) -> None:
    """Freeze the parameters with these names; a frozen BatchNorm uses its running statistics and keeps them."""
    for name, cell in network.cells_and_names():
        if isinstance(cell, BatchNorm) and f'{name}.gamma' in names:
            cell.use_batch_statistics = False
    for name, parameter in network.parameters_and_names():
        if name in names:
            parameter.requires_grad = False


class StemPool(nn.Cell):
    """3x3 max pooling with stride 2 after a ReLU: (N, C, H, W) -> (N, C, H/2, W/2), H and W even.

    'symmetric' pads one pixel on every side like PyTorch; 'same' pads right and bottom only, which is what MindSpore's
    `pad_mode='same'` does on even sizes and what some older MindSpore ports trained with. After a ReLU, padding
    with zeros equals padding with minus infinity; it is faster than `pad_mode='pad'` and can be exported.
    """

    def __init__(self, kind: str = 'symmetric'):
        super().__init__()
        if kind not in STEM_POOLS:
            raise PoseError(f'stem pool {kind!r} is unknown; use one of {", ".join(STEM_POOLS)}')
        before = 1 if kind == 'symmetric' else 0
        self.pad = nn.Pad(((0, 0), (0, 0), (before, 1), (before, 1)))
        self.pool = nn.MaxPool2d(3, 2, pad_mode='valid')

    def construct(self, x):
        return self.pool(self.pad(x))


def interpolation_matrix(size_in: int, size_out: int) -> np.ndarray:
    """Return the (size_out, size_in) float32 matrix of 1-D linear interpolation with align_corners=True."""
    # float32 positions, as in PyTorch, so that the weights agree with PyTorch's to the last bits.
    step = np.float32(size_in - 1) / np.float32(size_out - 1) if size_out > 1 else np.float32(0)
    position = step * np.arange(size_out, dtype=np.float32)
    low = np.minimum(position.astype(np.int64), size_in - 1)
    high = np.minimum(low + 1, size_in - 1)
    weight = position - low.astype(np.float32)
    matrix = np.zeros((size_out, size_in), np.float32)
    rows = np.arange(size_out)
    np.add.at(matrix, (rows, low), 1 - weight)
    np.add.at(matrix, (rows, high), weight)
    return matrix


class BilinearResize(nn.Cell):
    """Bilinear resizing with align_corners=True as two fixed matrix products: (N, C, h, w) -> (N, C, H, W).

    Gives the same numbers as `ops.interpolate`, but is faster on CPU and can be exported.
    """

    def __init__(self, shape_in: Tuple[int, int], shape_out: Tuple[int, int]):
        super().__init__()
        self.identity = tuple(shape_in) == tuple(shape_out)
        self.shape_in, self.shape_out = tuple(shape_in), tuple(shape_out)
        self.rows = Tensor(interpolation_matrix(shape_in[0], shape_out[0]))                      # (H, h)
        self.columns = Tensor(interpolation_matrix(shape_in[1], shape_out[1]).T.copy())          # (w, W)

    def construct(self, x):
        if self.identity:
            return x
        channels = x.shape[1]
        x = ops.matmul(ops.reshape(x, (-1, self.shape_in[1])), self.columns)                     # (N*C*h, W)
        x = ops.reshape(x, (-1, channels, self.shape_in[0], self.shape_out[1]))
        return ops.matmul(self.rows, x)                                                          # (N, C, H, W)


class NearestUpsample(nn.Cell):
    """Nearest-neighbour upsampling by a whole factor: (N, C, h, w) -> (N, C, h * factor, w * factor).

    Every value is copied, so the result is exact on every device. Of the possible implementations this one has the
    fastest forward pass on CPU.

    Args:
        shape: (h, w).
    """

    def __init__(self, shape: Tuple[int, int], factor: int):
        super().__init__()
        self.factor = factor
        self.rows, self.columns = (Tensor(np.repeat(np.arange(side, dtype=np.int32), factor)) for side in shape)

    def construct(self, x):
        return ops.gather(ops.gather(x, self.columns, 3), self.rows, 2)


def check_input_shape(input_shape: Tuple[int, int]) -> Tuple[int, int]:
    """Return (H, W) as a tuple of ints.

    Raises:
        PoseError: not two positive numbers divisible by 32, the total stride of the networks.
    """
    shape = tuple(int(side) for side in input_shape)
    if len(shape) != 2 or any(side <= 0 or side % 32 for side in shape):
        raise PoseError(f'input_shape {tuple(input_shape)} must be (height, width), both positive multiples of 32')
    return shape


def kaiming_normal_fan_out(rng: np.random.Generator, shape) -> np.ndarray:
    """Draw N(0, sqrt(2 / (k*k*O))) for a weight (O, I, k, k): Kaiming initialisation for ReLU with fan-out."""
    return rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2.0 / (shape[0] * shape[2] * shape[3])))


def narrow_normal(rng: np.random.Generator, name: str, shape) -> np.ndarray:
    """N(0, 0.001) for a weight, 0 for a bias: how the pose releases initialise layers that ImageNet files lack."""
    if name.endswith('bias'):
        return np.zeros(shape, np.float32)
    return rng.standard_normal(shape, np.float32) * np.float32(0.001)


def uniform_fan_in(rng: np.random.Generator, shape, fan_in: int) -> np.ndarray:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)), PyTorch's default for the weight and the bias of a convolution
    or a dense layer."""
    return (rng.random(shape, np.float32) * 2 - 1) / np.float32(np.sqrt(fan_in))


# Whether `initialise_parameters` does anything; see `without_initial_values`.
_draws: ContextVar[bool] = ContextVar('draws', default=True)


@contextlib.contextmanager
def without_initial_values() -> Iterator[None]:
    """Within the block `initialise_parameters` does nothing: for networks whose weights are loaded next.

    Drawing initial values takes as long as all else that building a network does.
    """
    token = _draws.set(False)
    try:
        yield
    finally:
        _draws.reset(token)


def initialise_parameters(network: nn.Cell, seed: int, draw, *, only: Tuple[str, ...] = ('',)) -> None:
    """Fill every parameter of convolutions and dense layers of `network` from `draw(rng, name, shape, fan_in)`;
    BatchNorm stays 1 and 0.

    Each parameter has its own generator, seeded with `seed` and its name, so that the values do not depend on the order
    in which cells are made.

    Args:
        draw: function returning a float32 array; `fan_in` of a bias is that of its weight.
        only: prefixes of cell names; the parameters of other cells stay as they are.
    """
    if not _draws.get():
        return
    for prefix, cell in network.cells_and_names():
        if not isinstance(cell, (nn.Conv2d, nn.Conv2dTranspose, nn.Dense)) or not prefix.startswith(only):
            continue
        fan_in = int(np.prod(cell.weight.shape[1:]))
        for suffix in ('weight', 'bias') if cell.has_bias else ('weight',):
            parameter, name = getattr(cell, suffix), f'{prefix}.{suffix}'
            rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
            parameter.set_data(Tensor(np.ascontiguousarray(draw(rng, name, parameter.shape, fan_in), np.float32)))


class GlobalMean(nn.Cell):
    """The mean over the map: (N, C, h, w) -> (N, C)."""

    def construct(self, x):
        _, channels, height, width = x.shape
        # The mean over one axis is four times as fast on CPU as the mean over two.
        return ops.reshape(ops.mean(ops.reshape(x, (-1, height * width)), 1), (-1, channels))


class Scale(nn.Cell):
    """Multiply each channel of each crop by a factor: x (N, C, h, w), factors (N, C) -> (N, C, h, w)."""

    def construct(self, x, factors):
        return x * ops.reshape(factors, (-1, x.shape[1], 1, 1))


def set_precision(network: nn.Cell, level: str) -> None:
    """Let `network` compute at a level of MindSpore's mixed precision.

    Args:
        level: 'O0' float32; 'O2' float16 with BatchNorm in float32; 'O3' float16 throughout; 'O1' is the same
            as 'O2' here: beside BatchNorm these networks consist of convolutions, which O1 computes in float16 as well.

    Raises:
        PoseError: the level is unknown.
    """
    if level not in LEVELS:
        raise PoseError(f'mixed-precision level {level!r} is unknown; use one of {", ".join(LEVELS)}')
    if level == 'O0':
        return
    network.to_float(mstype.float16)
    if level in ('O1', 'O2'):
        for _, cell in network.cells_and_names():
            if isinstance(cell, nn.BatchNorm2d):
                cell.to_float(mstype.float32)
