"""People on pictures → heatmaps → keypoints in the pictures."""
import sys
from dataclasses import dataclass
from typing import Callable, Optional

import numpy as np
from mindspore import Tensor, nn, ops
from tqdm import tqdm

from src.batches import TestBatches, iterate_batches
from src.boxes import PIXELS_PER_SCALE
from src.collectives import gather_rows
from src.device import Processes
from src.samples.dataset import PersonSamples


class HeatmapPredictor(nn.Cell):
    """The crops of a batch -> heatmaps (N, K, h, w), averaged with those of the mirrored crops if asked.

    Args:
        normaliser: pixels -> network input.
        network: images -> heatmaps.
        flip_index: (K,), or None for no flip test.
        shift_heatmap: move the mirrored-back heatmaps one cell to the right, as Simple Baselines does.
    """

    def __init__(self, normaliser: nn.Cell, network: nn.Cell, flip_index: Optional[np.ndarray], *, shift_heatmap: bool):
        super().__init__(auto_prefix=False)
        self.normaliser, self.network, self.shift_heatmap = normaliser, network, shift_heatmap
        self.flip_test = flip_index is not None
        self.flip_index = Tensor(np.asarray(flip_index if self.flip_test else [0], np.int32))

    def construct(self, pixels):
        images = self.normaliser(pixels)
        heatmaps = self.network(images)
        if not self.flip_test:
            return heatmaps
        mirrored = ops.flip(self.network(ops.flip(images, (3,))), (3,))
        mirrored = ops.gather(mirrored, self.flip_index, 1)
        if self.shift_heatmap:
            # Column 0 keeps its value, as in the original.
            mirrored = ops.concat((mirrored[:, :, :, :1], mirrored[:, :, :, :-1]), 3)
        return (heatmaps + mirrored) * 0.5


@dataclass(frozen=True)
class Poses:
    """P predicted poses, in the order of the people.

    Attributes:
        keypoints: (P, K, 3) float64: x, y in picture pixels and keypoint score.
        crop_areas: (P,) float64, square pixels of the padded crop in the picture.
    """

    keypoints: np.ndarray
    crop_areas: np.ndarray


def predict_poses(predictor: nn.Cell, samples: PersonSamples, decode: Callable, *, batch_size: int,
                  num_workers: int, processes: Processes) -> Poses:
    """Predict the pose of every person of `samples`; several processes share the batches and all get all poses.

    Args:
        predictor: pixels (N, H, W, 3) uint8 -> heatmaps; a smaller last batch is filled up, so that the graph is
            compiled for one shape only.
        decode: (heatmaps, center, scale) -> (keypoints (P, K, 2), scores (P, K)).
    """
    predictor.set_train(False)
    batch_size = min(batch_size, len(samples))
    source = TestBatches(samples, batch_size, num_shards=processes.size, shard=processes.rank)
    num_keypoints = samples.skeleton.num_keypoints
    keypoints, areas, done = [np.empty((0, num_keypoints, 3))], [np.empty(0)], [np.empty(0, np.int32)]
    with tqdm(total=len(samples), unit='person', disable=not sys.stderr.isatty() or not processes.is_first) as bar:
        for pixels, center, scale, rows in iterate_batches(source, num_workers=num_workers):
            filled = np.resize(pixels, (batch_size, *pixels.shape[1:])) if len(rows) < batch_size else pixels
            heatmaps = predictor(Tensor(filled)).asnumpy()[:len(rows)]
            positions, scores = decode(heatmaps, center, scale)
            keypoints.append(np.concatenate([positions, scores[..., None]], axis=2))
            areas.append(np.prod(scale.astype(np.float64) * PIXELS_PER_SCALE, axis=1))
            done.append(rows)
            bar.update(len(rows) * processes.size)
    keypoints, areas, done = (np.concatenate(gather_rows(np.concatenate(parts), processes))
                              for parts in (keypoints, areas, done))
    order = np.argsort(done)
    poses = Poses(keypoints[order], areas[order])
    broken = ~np.isfinite(poses.keypoints).all(axis=(1, 2))
    if broken.any():
        # The evaluator would count a pose of NaN as a perfect one.
        raise ValueError(f'{broken.sum()} of {len(broken)} poses are not finite, the first on '
                         f'{samples.describe(np.flatnonzero(broken)[:1])}; do recipe and checkpoint belong together?')
    return poses


def build_predictor(config, normaliser: nn.Cell, network: nn.Cell, flip_index: np.ndarray) -> HeatmapPredictor:
    """Return the predictor of a resolved configuration."""
    return HeatmapPredictor(normaliser, network, flip_index if config.TEST.FLIP_TEST else None,
                            shift_heatmap=config.MODEL.NAME == 'pose_resnet' and config.TEST.SHIFT_HEATMAP)
