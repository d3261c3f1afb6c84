"""MIPNet's instance codes, which tell the network which of the people in a box to predict."""
import numpy as np

from ...system.errors import PoseError


def instance_codes(num_instances: int) -> np.ndarray:
    """Return MIPNet's codes (I, 2) float32 of the people in a box; the first is that of the person the box belongs to.

    The published models of two people and of three or four disagree on the first code (arXiv 2101.11223 and its
    release), so their weights cannot be exchanged.

    Raises:
        PoseError: num_instances is not 2, 3 or 4.
    """
    if num_instances not in (2, 3, 4):
        raise PoseError(f'MIPNet has codes for 2, 3 or 4 people in a box, not for {num_instances}')
    codes = [(1, 0), (0, 1)] if num_instances == 2 else [(0, 0), (1, 0), (0, 1), (1, 1)]
    return np.array(codes[:num_instances], np.float32)
