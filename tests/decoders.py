"""The NumPy decoders of the published models, from heatmaps to keypoints in the picture."""
import numpy as np

from src.models.common import gaussian_decoder
from src.models.mspn import decoder as mspn_decoder
from src.models.record import PIXELS_PER_CELL


def decode_mspn(heatmaps: np.ndarray, center, scale, *, input_size, blur_kernel: int = 5) -> tuple:
    """Return keypoints (P, K, 2) and scores (P, K) of MSPN's heatmaps."""
    keypoints, scores = mspn_decoder.decode_mspn(heatmaps, blur_kernel=blur_kernel)
    return gaussian_decoder.place_by_size(keypoints, center, scale, input_size=input_size), scores


def decode_gaussian(heatmaps: np.ndarray, center, scale, *, quarter_offset: bool = True) -> tuple:
    """Return keypoints (P, K, 2) and scores (P, K) of heatmaps of Simple Baselines."""
    keypoints, scores = gaussian_decoder.decode_gaussian(heatmaps, quarter_offset=quarter_offset)
    size = (heatmaps.shape[3] * PIXELS_PER_CELL, heatmaps.shape[2] * PIXELS_PER_CELL)
    return gaussian_decoder.place_by_affine_map(keypoints, center, scale, input_size=size), scores
