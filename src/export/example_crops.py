"""Crops to try a model on: random pixels, and people from given or synthetic pictures."""
from typing import Dict, Optional

import numpy as np

from ..config import input_shape
from ..data.boxed_pictures import load_boxed_pictures
from ..data.samples import cut_crop
from ..data.skeletons import Skeleton
from ..models.registry import model_of
from ..synthetic.pictures import make_picture
from ..system.command_line import say

# What the crops of given pictures are called.
CALIBRATION = 'people of --data_url'


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


def find_example_crops(config, skeleton: Skeleton, folder: Optional[str], det_file: Optional[str], most: int
                       ) -> Dict[str, np.ndarray]:
    """Return {what they show: crops (N, H, W, 3) uint8}: noise, and at most `most` people from pictures of a folder, or
    synthetic people if no folder is given.

    Raises:
        PoseError: there are no pictures or boxes in the folder; see `load_boxed_pictures`.
    """
    if not folder:
        return {'random pixels': random_crops(config, 2), 'painted people': painted_crops(config, 2)}
    samples = load_boxed_pictures(model_of(config).crops(config), input_shape(config), skeleton, folder, det_file,
                                  say).samples
    rows = np.linspace(0, len(samples) - 1, min(len(samples), most)).astype(int)
    return {'random pixels': random_crops(config, 2), CALIBRATION: samples.test_samples(rows)[0]}
