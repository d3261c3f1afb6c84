"""Numbers of the original PyTorch implementations, and the made-up weights that they belong to.

The numbers were produced in float32 on a CPU. Nobody has trained the weights: every tensor is drawn from a generator
seeded with the CRC-32 of its PyTorch name, so the weights need not be stored anywhere.

`tests/golden/<name>.npz` holds a compact copy of each file, made by `make_golden.py`:

    input_seed, input_shape         images = seeded_input(seed, shape), times input_scale where there is one
    heatmaps_every4, heatmaps_peak  eval-mode output, every 4th row and column, and max|heatmaps| of the whole output;
                                    MIPNet: heatmaps_lambda0_… with the first code, heatmaps_lambda1_… with the second
    se_modules                      MIPNet: the places of its modulation blocks
    joints, valid / vis             positions in pixels of the input, and validity
    labels / target, target_weight  the maps made from them, whole
    loss_eval*                      eval-mode losses; MSPN with OHKM and coarse-to-fine on (1) or off (0)
    grad_names, grad_norms          L2 norm of each parameter's gradient of the first train-mode loss
    loss_trace                      losses of successive Adam steps, the first is `loss_train`
    loss_eval_float64, grad_norms_eval_float64
                                    eval-mode loss and gradient norms (order of grad_names) of the PyTorch function
                                    in float64

Where the full files are at hand (`../shared/golden` beside the repository), `golden` adds their arrays.
"""
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor, nn

from src.checkpoints.names import assign_weights, named_parameters, pytorch_names
from src.models.common.blocks import without_initial_values
from src.models.common.gaussian_targets import GaussianTargets
from src.models.common.mse_loss import JointsMSELoss
from src.models.mspn.loss import JointsL2Loss
from src.models.mspn.targets import MSPNTargets
from src.models.registry import build_network
from src.system.device import operator_by_operator

COMPACT_FOLDER = Path(__file__).resolve().parent / 'golden'
FULL_FOLDER = Path(__file__).resolve().parent.parent.parent / 'shared' / 'golden'

TRAINED_SHAPE, HEATMAP_SHAPE = (256, 192), (64, 48)
# Those with losses and gradients; the others have heatmaps only.
MSPN_TRAINED = ('mspn_1stg_256x192', 'mspn_2stg_256x192')
TRAINED = ('simplepose_r50_256x192',) + MSPN_TRAINED
HRNET = 'hrnet_w32_256x192'
DEEP = ('mspn_4stg_384x288', 'simplepose_r152_384x288', HRNET)
ALL = TRAINED + DEEP
MIPNET = 'mipnet_hrnet_w32_256x192'
MOBILENET = 'simplepose_mobilenetv2_256x192'

# Never to be widened.
HEATMAP_TOLERANCE, LOSS_TOLERANCE, LABEL_TOLERANCE = 1e-4, 1e-5, 1e-5

needs_full_golden = pytest.mark.skipif(
    not FULL_FOLDER.is_dir(), reason='the full golden files (../shared/golden) are not here; compact copies are tested')


def seeded_tensor(name: str, shape) -> np.ndarray:
    """Return the made-up value of one PyTorch-named parameter or BatchNorm statistic; it depends on nothing else.

    Args:
        name: full PyTorch name, e.g. ``stage0.downsample.layer1.0.conv_bn_relu1.conv.weight``.
        shape: PyTorch shape (Conv2d OIHW, ConvTranspose2d IOHW, Linear OI).
    """
    shape = tuple(shape)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith('num_batches_tracked'):
        return np.zeros(shape, np.int64)
    if name.endswith('running_var'):
        value = 0.8 + 0.4 * rng.random(shape)
    elif name.endswith('running_mean'):
        value = 0.1 * rng.standard_normal(shape)
    elif len(shape) == 1 and name.endswith('weight'):      # BatchNorm gamma
        value = 0.7 + 0.1 * rng.standard_normal(shape)
    elif len(shape) == 1:                                  # any bias
        value = 0.1 * rng.standard_normal(shape)
    else:                                                  # convolution or linear weight
        fan_in = int(np.prod(shape[1:]))
        value = rng.standard_normal(shape) * np.sqrt(2.0 / fan_in)
    return np.asarray(value, np.float32)


def seeded_input(seed: int, shape) -> np.ndarray:
    """Return the float32 standard-normal images of a golden file."""
    return np.random.default_rng(int(seed)).standard_normal(tuple(shape)).astype(np.float32)


def seeded_state(network: nn.Cell) -> dict:
    """Return the made-up {PyTorch name: array} of a network."""
    parameters = named_parameters(network)
    return {source: seeded_tensor(source, parameters[target].shape)
            for target, source in pytorch_names(network).items()}


@cache
def golden(name: str) -> dict:
    """Return the arrays of the compact copy, and those of the full file where it exists."""
    files = [COMPACT_FOLDER / f'{name}.npz', FULL_FOLDER / f'{name}.npz']
    arrays = {}
    for file in files:
        if file.exists():
            with np.load(file) as stored:
                arrays.update(stored)
    return arrays


def input_shape_of(name: str) -> tuple:
    """'mspn_4stg_384x288' -> (384, 288)."""
    return tuple(int(side) for side in name.rsplit('_', 1)[1].split('x'))


def num_keypoints_of(name: str) -> int:
    """Return K of a golden file."""
    arrays = golden(name)
    return arrays['heatmaps_lambda0_every4' if name == MIPNET else 'heatmaps_every4'].shape[1]


def load_seeded(network: nn.Cell) -> None:
    """Give a network its made-up weights."""
    state = seeded_state(network)
    assign_weights(network, {name: state[plain] for name, plain in pytorch_names(network).items()})


def seeded_network(name: str) -> nn.Cell:
    """Return the full-size network of a golden file, with its made-up weights, in eval mode."""
    with without_initial_values():
        network = build_network(name.rsplit('_', 1)[0], num_keypoints=num_keypoints_of(name),
                                input_shape=input_shape_of(name))
    load_seeded(network)
    return network.set_train(False)


def images_of(name: str) -> np.ndarray:
    """Return the images of a golden file, (N, 3, H, W) float32."""
    images = seeded_input(golden(name)['input_seed'], golden(name)['input_shape'])
    return images * golden(name).get('input_scale', np.float32(1))


def joints_and_validity_of(name: str):
    """Return (N, K, 2) and (N, K), float32."""
    arrays = golden(name)
    return arrays['joints'].astype(np.float32), arrays['valid' if name in MSPN_TRAINED else 'vis'][..., 0]


def targets_and_loss_of(name: str):
    """Return the target cell and the published loss that belong to a golden file."""
    if name in MSPN_TRAINED:
        return MSPNTargets(TRAINED_SHAPE, HEATMAP_SHAPE), JointsL2Loss()
    return GaussianTargets(TRAINED_SHAPE, HEATMAP_SHAPE, 2), JointsMSELoss()


class TrainingOutputs(nn.Cell):
    """images -> what the loss supervises, as one graph."""

    def __init__(self, network):
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, images):
        return self.network.training_outputs(images)


@cache
def supervised_outputs_of(name: str) -> tuple:
    """Return what an MSPN of `MSPN_TRAINED` hands to its loss in eval mode: for each stage four arrays."""
    with operator_by_operator():
        outputs = seeded_network(name).training_outputs(Tensor(images_of(name)))
        return tuple(tuple(heatmaps.asnumpy() for heatmaps in stage) for stage in outputs)


@cache
def hypotheses_of(name: str) -> np.ndarray:
    """Return our eval-mode heatmaps of MIPNet's golden file with both codes, (2, N, K, h, w)."""
    images = images_of(name)
    heatmaps = TrainingOutputs(seeded_network(name))(Tensor(images)).asnumpy()
    return heatmaps.reshape(2, len(images), *heatmaps.shape[1:])


@cache
def heatmaps_of(name: str) -> np.ndarray:
    """Return our eval-mode heatmaps of a golden file."""
    if name in DEEP:
        # Their graphs take long to compile; the same parts are compiled in MIPNet and in smaller networks.
        with operator_by_operator():
            return seeded_network(name)(Tensor(images_of(name))).asnumpy()
    return seeded_network(name)(Tensor(images_of(name))).asnumpy()


def small_mspn(**options) -> nn.Cell:
    """Return a two-stage MSPN that compiles within seconds."""
    from src.models.mspn.network import MSPN
    return MSPN(**{'num_stages': 2, 'num_keypoints': 17, 'input_shape': (64, 64), 'upsample_channels': 16,
                   'stem_channels': 8, 'planes': (4, 8, 16, 32), 'blocks': (1, 1, 1, 1), **options})


SMALL_SIMPLE_POSE = {'num_layers': 18, 'num_keypoints': 17, 'input_shape': (64, 64), 'stem_channels': 8,
                     'num_deconv_filters': (16, 16, 16)}


def small_simple_pose(**options) -> nn.Cell:
    """Return a SimplePoseNet that compiles within seconds."""
    from src.models.simple_pose.network import SimplePoseNet
    return SimplePoseNet(**{**SMALL_SIMPLE_POSE, **options})


SMALL_MOBILENET = {'num_keypoints': 17, 'input_shape': (64, 64), 'width': 0.25, 'last_channels': 24,
                   'num_deconv_filters': (16, 16, 16)}


def small_mobilenet(**options) -> nn.Cell:
    """Return a SimplePoseNet on a MobileNetV2 of a quarter of the width."""
    from src.models.simple_pose.network import SimplePoseMobileNet
    return SimplePoseMobileNet(**{**SMALL_MOBILENET, **options})


SMALL_HRNET = {'width': 8, 'num_keypoints': 17, 'input_shape': (64, 64), 'stem_channels': 8, 'modules': (1, 1, 1),
               'blocks': 1}


def small_hrnet(**options) -> nn.Cell:
    """Return an HRNet that compiles within seconds and has every kind of path between branches."""
    from src.models.hrnet.network import HRNet
    return HRNet(**{**SMALL_HRNET, **options})


def small_mipnet(**options) -> nn.Cell:
    """Return a MIPNet on `small_hrnet`."""
    from src.models.mipnet.network import MIPNetHRNet
    return MIPNetHRNet(**{**SMALL_HRNET, **options})


def small_mipnet_resnet(**options) -> nn.Cell:
    """Return a MIPNet on `small_simple_pose`."""
    from src.models.mipnet.network import MIPNetResNet
    return MIPNetResNet(**{**SMALL_SIMPLE_POSE, **options})


SMALL_NETWORKS = {'mspn': small_mspn, 'simplepose': small_simple_pose, 'hrnet': small_hrnet}
SMALL_MIPNETS = {'hrnet': small_mipnet, 'resnet': small_mipnet_resnet}
