"""Crops to try a model on where nobody has given pictures: random pixels, and painted people."""
import numpy as np

from ..config import input_shape
from ..data.samples import cut_crop
from ..models.registry import model_of
from ..synthetic.pictures import make_picture


def random_crops(config, count: int) -> np.ndarray:
    """Return (count, H, W, 3) uint8 of uniform noise, always the same."""
    return np.random.default_rng(0).integers(0, 256, (count, *input_shape(config), 3), np.uint8)


def painted_crops(config, count: int) -> np.ndarray:
    """Return (count, H, W, 3) uint8: the first person of synthetic pictures, cut as for an evaluation."""
    rule, (height, width) = model_of(config).crops(config), input_shape(config)
    crops = np.empty((count, height, width, 3), np.uint8)
    for number in range(count):
        painted = make_picture(0, 'val2017', number + 1)
        box = np.array(painted.annotations[0]['bbox'], np.float64)
        cut_crop(painted.image, rule.test_crop(box, width / height), crops[number])
    return crops
