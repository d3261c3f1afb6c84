"""Heatmaps → keypoints: the decoders of the published models, vectorised over people, in NumPy and OpenCV.

Axes: P people, K keypoints, h, w heatmap. The encoders that make the training maps are in `targets.py`, inside the
graph; a test runs both ways round.
"""
from functools import partial
from typing import Callable, Tuple

import cv2
import numpy as np

from ...data.affine import picture_matrix, transform_points
from ...data.boxes import PIXELS_PER_SCALE
from ...protocols import MSPN_FRAME, MSPN_PEAK, PIXELS_PER_CELL


def first_maximum(maps: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Return the flat index (M,) and the value (M,) of the first maximum in raster order of maps (M, cells)."""
    index = maps.argmax(axis=1)
    return index, maps[np.arange(len(maps)), index]


def decode_mspn(heatmaps: np.ndarray, center: np.ndarray, scale: np.ndarray, *, input_size: Tuple[int, int],
                blur_kernel: int = 5) -> Tuple[np.ndarray, np.ndarray]:
    """Decode as the MSPN release: blur, then a quarter cell from the maximum towards the second maximum.

    Args:
        heatmaps: (P, K, h, w) float32, flip-averaged, peak about 255.
        center, scale: (P, 2) of the crops, scale after padding and aspect correction.
        input_size: (width, height) of the network input.
        blur_kernel: 5 for COCO, 9 for MPII.

    Returns:
        keypoints (P, K, 2) float64 in picture pixels and keypoint scores (P, K) float64, map / 255 + 0.5.
    """
    num_people, num_keypoints, height, width = heatmaps.shape
    positions, scores = _mspn_positions(heatmaps.reshape(-1, height, width), blur_kernel)
    keypoints_in_input = positions.reshape(num_people, num_keypoints, 2) * PIXELS_PER_CELL + PIXELS_PER_CELL / 2
    return (place_by_size(keypoints_in_input, center, scale, input_size=input_size),
            scores.reshape(num_people, num_keypoints))


def place_by_size(keypoints_in_input: np.ndarray, center: np.ndarray, scale: np.ndarray, *,
                  input_size: Tuple[int, int]) -> np.ndarray:
    """Return keypoints (P, K, 2) of crops in pixels of their pictures, each axis by its own scale, as MSPN does.

    Args:
        keypoints_in_input: (P, K, 2) in pixels of the network input.
        center, scale: (P, 2) of the crops.
        input_size: (width, height).
    """
    crop_size = np.asarray(scale, np.float64)[:, None] * PIXELS_PER_SCALE
    corner = np.asarray(center, np.float64)[:, None] - crop_size * 0.5
    return keypoints_in_input / np.array(input_size) * crop_size + corner


def place_by_affine_map(keypoints_in_input: np.ndarray, center: np.ndarray, scale: np.ndarray, *,
                        input_size: Tuple[int, int]) -> np.ndarray:
    """Return what `place_by_size` does by the inverse of the crop's affine map, as Simple Baselines does."""
    keypoints = np.empty(keypoints_in_input.shape)
    for person in range(len(keypoints)):
        matrix = picture_matrix(center[person], scale[person], input_size)
        keypoints[person] = transform_points(keypoints_in_input[person].astype(np.float64), matrix)
    return keypoints


def _mspn_positions(maps: np.ndarray, blur_kernel: int) -> Tuple[np.ndarray, np.ndarray]:
    """Return sub-cell positions (M, 2) as (x, y), and scores (M,), of maps (M, h, w)."""
    count, height, width = maps.shape
    # The release blurs each map inside a frame of ten zero cells. A frame of the kernel's radius gives the same blur;
    # what the wider frame adds are exact zeros, of which only the first, in its corner, can be a maximum.
    radius = blur_kernel // 2
    framed_height, framed_width = height + 2 * radius, width + 2 * radius
    framed = np.zeros((count, framed_height, framed_width))
    framed[:, radius:-radius, radius:-radius] = maps
    # One call for all maps: between two maps lie two frames, so no map reaches into its neighbour.
    tall = framed.reshape(count * framed_height, framed_width)
    blurred = cv2.GaussianBlur(tall, (blur_kernel, blur_kernel), 0, borderType=cv2.BORDER_CONSTANT)
    blurred = blurred.reshape(count, -1)
    first, first_value = first_maximum(blurred)
    blurred[np.arange(count), first] = 0
    second, second_value = first_maximum(blurred)
    first_xy, second_xy = (np.stack([index % framed_width, index // framed_width], 1).astype(np.float64) - radius
                           for index in (first, second))
    corner = np.full(2, -float(MSPN_FRAME))
    second_xy[second_value <= 0] = corner
    nothing = first_value <= 0
    first_xy[nothing], second_xy[nothing] = corner, corner + [1, 0]
    direction = second_xy - first_xy
    length = np.sqrt((direction ** 2).sum(axis=1, keepdims=True))
    positions = first_xy + 0.25 * np.divide(direction, length, out=np.zeros_like(direction), where=length > 1e-3)
    positions = np.clip(positions, 0, [width - 1, height - 1])
    cells = np.rint(positions).astype(np.int64)
    scores = maps[np.arange(count), cells[:, 1], cells[:, 0]].astype(np.float64) / MSPN_PEAK + 0.5
    return positions, scores


def decode_simple_pose(heatmaps: np.ndarray, center: np.ndarray, scale: np.ndarray, *,
                       quarter_offset: bool = True) -> Tuple[np.ndarray, np.ndarray]:
    """Decode as Simple Baselines: the maximum, a quarter cell along the sign of the gradient, the inverse affine map.

    Args:
        heatmaps: (P, K, h, w) float32, flip-averaged.
        center, scale: (P, 2) of the crops, scale after padding and aspect correction.
        quarter_offset: the release's POST_PROCESS switch.

    Returns:
        keypoints (P, K, 2) float64 in picture pixels and keypoint scores (P, K), the maxima.
    """
    num_people, num_keypoints, height, width = heatmaps.shape
    maps = heatmaps.reshape(-1, height * width)
    index, maximum = first_maximum(maps)
    index = np.where(maximum > 0, index, 0)
    x, y = index % width, index // width
    positions = np.stack([x, y], 1).astype(np.float64)
    if quarter_offset:
        rows = np.flatnonzero((x > 1) & (x < width - 1) & (y > 1) & (y < height - 1))
        at = index[rows]
        positions[rows, 0] += 0.25 * np.sign(maps[rows, at + 1] - maps[rows, at - 1])
        positions[rows, 1] += 0.25 * np.sign(maps[rows, at + width] - maps[rows, at - width])
    keypoints_in_input = positions.reshape(num_people, num_keypoints, 2) * PIXELS_PER_CELL
    keypoints = place_by_affine_map(keypoints_in_input, center, scale,
                                    input_size=(width * PIXELS_PER_CELL, height * PIXELS_PER_CELL))
    return keypoints, maximum.reshape(num_people, num_keypoints)


def build_decoder(config) -> Callable[..., Tuple[np.ndarray, np.ndarray]]:
    """Return the function (heatmaps, center, scale) -> (keypoints, keypoint scores) of a resolved configuration."""
    if config.MODEL.NAME == 'mspn':
        return partial(decode_mspn, input_size=tuple(config.MODEL.IMAGE_SIZE), blur_kernel=config.TEST.BLUR_KERNEL)
    return partial(decode_simple_pose, quarter_offset=config.TEST.POST_PROCESS)


def build_placer(config) -> Callable[..., np.ndarray]:
    """Return the function (keypoints in the input, center, scale) -> keypoints in the picture of a configuration."""
    return partial(place_by_size if config.MODEL.NAME == 'mspn' else place_by_affine_map,
                   input_size=tuple(config.MODEL.IMAGE_SIZE))


def build_input_decoder(config) -> Callable[[np.ndarray], Tuple[np.ndarray, np.ndarray]]:
    """Return the function heatmaps -> (keypoints in pixels of the input, keypoint scores) of a configuration."""
    decode, size = build_decoder(config), np.array(config.MODEL.IMAGE_SIZE, np.float32)

    def decode_in_input(heatmaps: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        # A crop that lies where the picture does.
        people = len(heatmaps)
        return decode(heatmaps, np.tile(size / 2, (people, 1)), np.tile(size / PIXELS_PER_SCALE, (people, 1)))

    return decode_in_input
