"""Mixed precision: which parts of a network compute in float16. Weights stay float32."""
from mindspore import dtype as mstype
from mindspore import nn

LEVELS = ('O0', 'O2', 'O3')


def set_precision(network: nn.Cell, level: str) -> None:
    """Let `network` compute at a level of MindSpore's mixed precision.

    Args:
        level: 'O0' float32; 'O2' float16 with BatchNorm in float32; 'O3' float16 throughout.

    Raises:
        ValueError: the level is unknown.
    """
    if level not in LEVELS:
        raise ValueError(f'mixed-precision level {level!r} is unknown; use one of {", ".join(LEVELS)}')
    if level == 'O0':
        return
    network.to_float(mstype.float16)
    if level == 'O2':
        for _, cell in network.cells_and_names():
            if isinstance(cell, nn.BatchNorm2d):
                cell.to_float(mstype.float32)
