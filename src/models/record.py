"""The record of a network: all that the rest of the package knows of it. A network is a folder with such a record.

Making a record does not import MindSpore; its functions import it when they are called.
"""
from dataclasses import dataclass
from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..data.crops import CropRule

# Side of a heatmap cell in pixels of the network's input.
PIXELS_PER_CELL = 4
# DATASET.ENCODING: how joints become label maps, and crops are cut; TEST.DECODER: how heatmaps become keypoints. The
# network's own rule, that of DARK (Zhang et al., CVPR 2020), and that of UDP (Huang et al., CVPR 2020).
ENCODINGS = DECODERS = ('published', 'dark', 'udp')
# The person that each hypothesis of a box predicts, in order; the primary person is the one the box belongs to.
HYPOTHESIS_NAMES = ('primary', 'second', 'third', 'fourth')


def input_shape(config) -> Tuple[int, int]:
    """Return (H, W) of the network's input in pixels."""
    width, height = config.MODEL.IMAGE_SIZE
    return height, width


def heatmap_shape(config) -> Tuple[int, int]:
    """Return (h, w) of the heatmaps in cells."""
    height, width = input_shape(config)
    return height // PIXELS_PER_CELL, width // PIXELS_PER_CELL


def is_udp(config) -> bool:
    """Return whether crops, label maps and results follow Unbiased Data Processing (Huang et al., CVPR 2020)."""
    return config.DATASET.ENCODING == 'udp'


def pixels_per_cell(config) -> Tuple[float, float]:
    """Return the distance of two heatmap cells (x, y) in pixels of the input.

    By Unbiased Data Processing the outermost cells lie on the outermost pixels, so it is a little above
    PIXELS_PER_CELL.
    """
    if not is_udp(config):
        return float(PIXELS_PER_CELL), float(PIXELS_PER_CELL)
    (height, width), (map_height, map_width) = input_shape(config), heatmap_shape(config)
    return (width - 1) / (map_width - 1), (height - 1) / (map_height - 1)


def common_options(config) -> Dict[str, Any]:
    """Return the keyword arguments that every network takes."""
    return {'num_keypoints': config.MODEL.NUM_JOINTS, 'input_shape': input_shape(config), 'seed': config.GENERAL.SEED}


@dataclass(frozen=True)
class HeatmapCodec:
    """How heatmaps become keypoints.

    Attributes:
        peak: value of a trained heatmap at a keypoint; only heatmaps of equal peak can be averaged.
        decode: config -> function of heatmaps (P, K, h, w) float32 -> keypoints (P, K, 2) in pixels of the input, and
            their scores (P, K); in NumPy.
        place: config -> function of keypoints (P, K, 2) in the input, centers (P, 2), scales (P, 2) of their crops ->
            keypoints (P, K, 2) in the pictures.
        graph_decoder: config -> a MindSpore cell that does what `decode` does inside an exported file.
        describe: config -> description of the decoder for the metadata of an exported file.
        decoders: the values of TEST.DECODER that `decode` and `graph_decoder` follow.
    """

    peak: float
    decode: Callable[[Any], Callable[[np.ndarray], Tuple[np.ndarray, np.ndarray]]]
    place: Callable[[Any], Callable[..., np.ndarray]]
    graph_decoder: Callable[[Any], Any]
    describe: Callable[[Any], Dict[str, Any]]
    decoders: Tuple[str, ...] = DECODERS[:1]


def _nothing(*_: Any) -> str:
    return ''


@dataclass(frozen=True)
class PoseModel:
    """A network and what belongs to it. `config` is a resolved configuration everywhere.

    Attributes:
        name: MODEL.NAME.
        section: its section of the configuration.
        defaults: path of the YAML file with the keys and defaults of that section; their comments are the help text.
        check: raises PoseError for invalid values of the section.
        variant: config -> name of the network as in the names of recipes, such as 'mspn_2stg'.
        build: config -> the network, a MindSpore cell with fresh weights of the seed GENERAL.SEED. It maps images
            (N, 3, H, W) float32 to heatmaps (N, K, H/4, W/4); `training_outputs(images)` is what the loss supervises.
        crops: config -> rule of cutting crops.
        targets: config -> a cell that makes label maps of joints (N, K, 2) and validity (N, K).
        loss: config -> a cell that compares training outputs with what `targets` returns.
        codec: how heatmaps become keypoints.
        keypoint_threshold: config -> keypoint score above which a keypoint enters the person's score; None takes all.
        draw_threshold: keypoints of lower scores are not drawn unless asked for.
        draw_person_threshold: people whose keypoints score less on average are not drawn unless asked for.
        encodings: the values of DATASET.ENCODING that `crops`, `targets` and `codec` follow.
        learns_absence: whether its targets and its loss take keypoints that are known to be absent
            (DATASET.ABSENT_AS_EMPTY).
        shifts_flipped: whether TEST.SHIFT_HEATMAP moves the mirrored heatmaps of the flip test by one cell.
        formats: () -> the published formats of its weights; its own checkpoints need none.
        hypotheses: config -> how many people it looks for in a box.
        codes: config -> (I, C) float32, the codes that select one of I people; None if the network takes none.
        heatmap_section: config -> the section with the heatmap's size.
        test_keys: keys of its section that an exported file does not fix.
        resnet_hint: (depth, has bottlenecks, blocks of each layer) -> the setting for a file with another ResNet.
        start: weights that its published trainings start from.
        usual_start: config -> path of the start file that is taken if it exists and no other is given.
        trunk: regular expression of the names of the parameters before the heads, which TRAIN.FREEZE=trunk keeps.
        published: () -> {name: function that builds the published network of this name}.
        folds_batch_norms: whether each BatchNorm follows, among the cells of its parent, right after the layer whose
            outputs it normalises. Then it is folded into that layer where a checkpoint is only run.
    """

    name: str
    section: str
    defaults: str
    variant: Callable[[Any], str]
    build: Callable[[Any], Any]
    crops: Callable[[Any], CropRule]
    targets: Callable[[Any], Any]
    loss: Callable[[Any], Any]
    codec: HeatmapCodec
    keypoint_threshold: Callable[[Any], Optional[float]]
    draw_threshold: float
    check: Callable[[Any], None] = _nothing
    draw_person_threshold: float = 0.4
    encodings: Tuple[str, ...] = ENCODINGS[:1]
    learns_absence: bool = False
    shifts_flipped: bool = True
    formats: Callable[[], Sequence] = tuple
    hypotheses: Callable[[Any], int] = lambda config: 1
    codes: Callable[[Any], Optional[np.ndarray]] = lambda config: None
    heatmap_section: Optional[Callable[[Any], str]] = None
    test_keys: Tuple[str, ...] = ()
    resnet_hint: Callable[[int, bool, Sequence[int]], str] = _nothing
    start: str = 'ImageNet weights'
    usual_start: Callable[[Any], str] = _nothing
    trunk: str = r'(?!(deconv_layers|final_layer)\.).+'
    published: Callable[[], Mapping[str, Callable]] = dict
    folds_batch_norms: bool = False
