"""Numbers of the published protocols that data code and model code both need."""
import numpy as np

# MSPN's label maps reach this where a keypoint is (0 to 255, as a grey picture).
MSPN_PEAK = 255.0
# The MSPN release decodes a heatmap inside a frame of so many zero cells.
MSPN_FRAME = 10
# Whom the hypotheses of a box are about, in their order; the primary person is the one whom the box belongs to.
HYPOTHESIS_NAMES = ('primary', 'second', 'third', 'fourth')
# A heatmap cell is this many pixels of the network's input wide and high.
PIXELS_PER_CELL = 4
# MPII's files count pixels from 1.
MPII_FIRST_PIXEL = 1
# By the protocol of an evaluation, the number that says which of two results is better.
MAIN_METRICS = {'coco': 'AP', 'ochuman': 'AP', 'crowdpose': 'AP', 'mpii': 'Mean'}


def instance_codes(num_instances: int) -> np.ndarray:
    """Return MIPNet's codes (I, 2) float32 of the people in a box; the first is the person whom the box belongs to.

    The published models of two people and of three or four disagree on the first code (arXiv 2101.11223 and its
    release), so their weights cannot be exchanged.

    Raises:
        ValueError: there are such codes for 2, 3 and 4 people only.
    """
    if num_instances not in (2, 3, 4):
        raise ValueError(f'MIPNet has codes for 2, 3 or 4 people in a box, not for {num_instances}')
    codes = [(1, 0), (0, 1)] if num_instances == 2 else [(0, 0), (1, 0), (0, 1), (1, 1)]
    return np.array(codes[:num_instances], np.float32)
