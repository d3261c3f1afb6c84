"""Does TensorFlow's 8-bit MobileNetV2, dequantised, compute the same as before, and can training start from it?

    python -m benchmarks.imagenet_start MOBILENET_V2.tflite DATA_ROOT START.safetensors [--pictures 32] [--calibrate 64]

Writes the trunk under MMPose's names, for `train.py --pretrained_path START.safetensors`. DATA_ROOT is in COCO's
layout: with people of its train2017 the trunk is compared, layer by layer, with the 8-bit file run by OpenVINO, and the
statistics of the BatchNorms are measured. The file is read with the package `tflite` (requirements-extra.txt).

What differs in the 8-bit file, and how it is converted:
- BatchNorm is folded into weights and biases. Here each gets the mean and variance that its channel has on real people;
  gamma is the standard deviation and beta the mean plus the bias. So the output stays the same in evaluation and almost
  the same in training, and the input of gamma and beta has mean 0 and variance 1, as training needs.
- Pixels are (byte - 128) / 128, not (byte / 255 - mean) / std. The first convolution is converted exactly, except
  at the border, where the padding zeros now mean the mean color instead of middle grey.
- Padding 'SAME' at stride 2 pads even sides right and below only. With the symmetric padding of the pose networks the
  same weights see the picture shifted: away from the border, the last maps are those of a picture that is shifted by
  1 + 2 + 4 + 8 + 16 = 31 pixels. Symmetric padding is kept, because it puts cell i of a heatmap on pixel 4 i, as in the
  targets; only the comparison runs with 'SAME'.
"""
import argparse
import tempfile
from typing import Dict, List, NamedTuple, Sequence

import numpy as np
import safetensors.numpy
from mindspore import Tensor, nn

from benchmarks.runtime_ap import calibration_crops
from benchmarks.timing import print_table
from src.checkpoints.names import assign_weights, pytorch_names
from src.config import load_recipe, resolve
from src.models.common.normalise import build_normaliser
from src.models.registry import build_configured_network
from src.models.simple_pose.formats import BLOCKS
from src.models.simple_pose.mobilenet import ConvNorm
from src.system.device import set_up_device
from src.system.files import atomic_file

RECIPE = 'simplepose_mobilenetv2_coco_256x192'
LARGEST_BYTE = 255.0
MIDDLE, HALF_RANGE = 128.0, 128.0


class Convolution(NamedTuple):
    """A convolution of the file: weight (O, I / group, k, k), bias (O,), and the index of the tensor behind its ReLU6,
    if any."""

    weight: np.ndarray
    bias: np.ndarray
    output: int


def dequantised(numbers: np.ndarray, scales: Sequence[float], zero_points: Sequence[int], axis: int) -> np.ndarray:
    """Return (numbers - zero point) * scale, float32; several scales apply along `axis`."""
    shape = [1] * numbers.ndim
    shape[axis] = len(scales)
    centerd = numbers.astype(np.float64) - np.reshape(zero_points, shape)
    return (centerd * np.reshape(scales, shape)).astype(np.float32)


def read_convolutions(path: str) -> List[Convolution]:
    """Return the convolutions of a .tflite file in their order.

    Raises:
        ImportError: the package `tflite` is not installed.
    """
    try:
        import tflite
    except ImportError as error:
        raise ImportError('reading .tflite needs tflite: pip install -r requirements-extra.txt') from error
    with open(path, 'rb') as file:
        model = tflite.Model.GetRootAsModel(file.read(), 0)
    graph = model.Subgraphs(0)

    def values(index: int) -> np.ndarray:
        tensor = graph.Tensors(index)
        kind = {tflite.TensorType.UINT8: '<u1', tflite.TensorType.INT8: '<i1', tflite.TensorType.INT32: '<i4'}
        numbers = model.Buffers(tensor.Buffer()).DataAsNumpy().view(kind[tensor.Type()])
        quantisation = tensor.Quantization()
        return dequantised(numbers.reshape(tensor.ShapeAsNumpy()), quantisation.ScaleAsNumpy(),
                           quantisation.ZeroPointAsNumpy(), quantisation.QuantizedDimension())

    found = []
    for number in range(graph.OperatorsLength()):
        operator = graph.Operators(number)
        code = model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode()
        if code in (tflite.BuiltinOperator.CONV_2D, tflite.BuiltinOperator.DEPTHWISE_CONV_2D):
            _, weight, bias = (int(each) for each in operator.InputsAsNumpy())
            # In the file O, k, k, I; for a depthwise convolution 1, k, k, O.
            axes = (0, 3, 1, 2) if code == tflite.BuiltinOperator.CONV_2D else (3, 0, 1, 2)
            found.append(Convolution(values(weight).transpose(axes), values(bias), int(operator.OutputsAsNumpy()[0])))
    return found


def trunk_names() -> List[str]:
    """Return the names of the trunk's ConvNorms in the order of the file."""
    names = ['conv1']
    for block in BLOCKS:
        names += [f'{block}.conv.{part}' for part in range(2 if block == 'layer1.0' else 3)]
    return [*names, 'conv2']


def for_normalised_pixels(first: Convolution, means: Sequence[float], stds: Sequence[float]) -> Convolution:
    """Return the first convolution for (byte / 255 - mean) / std instead of (byte - 128) / 128."""
    means, stds = np.asarray(means, np.float64), np.asarray(stds, np.float64)
    factor, shift = LARGEST_BYTE * stds / HALF_RANGE, (LARGEST_BYTE * means - MIDDLE) / HALF_RANGE
    bias = first.bias + first.weight.sum(axis=(2, 3)) @ shift
    return first._replace(weight=(first.weight * factor[:, None, None]).astype(np.float32),
                          bias=bias.astype(np.float32))


def folded_state(convolutions: Dict[str, Convolution], eps: float) -> Dict[str, np.ndarray]:
    """Return {PyTorch name: array} of ConvNorms whose BatchNorm only adds the bias."""
    state = {}
    for name, (weight, bias, _) in convolutions.items():
        one, zero = np.ones_like(bias), np.zeros_like(bias)
        state.update({f'{name}.conv.weight': weight, f'{name}.bn.weight': one, f'{name}.bn.bias': bias,
                      f'{name}.bn.running_mean': zero, f'{name}.bn.running_var': one - np.float32(eps)})
    return state


def with_statistics(state: Dict[str, np.ndarray], statistics: Dict[str, tuple], eps: float) -> Dict[str, np.ndarray]:
    """Return a folded state whose BatchNorms normalise with the (mean, variance) of their input and still only add the
    bias."""
    changed = dict(state)
    for name, (mean, variance) in statistics.items():
        changed[f'{name}.bn.weight'] = np.sqrt(variance + eps).astype(np.float32)
        changed[f'{name}.bn.bias'] = (state[f'{name}.bn.bias'] + mean).astype(np.float32)
        changed[f'{name}.bn.running_mean'] = mean.astype(np.float32)
        changed[f'{name}.bn.running_var'] = variance.astype(np.float32)
    return changed


class Watched(nn.Cell):
    """Wraps a BatchNorm: sums its inputs for statistics and keeps the output of the activation behind it."""

    def __init__(self, norm: nn.Cell, activate: nn.Cell):
        super().__init__(auto_prefix=False)
        self.norm, self.activate = norm, activate
        self.count, self.sum, self.squares, self.outputs = 0, 0.0, 0.0, []

    def construct(self, x):
        values = x.asnumpy().astype(np.float64)
        self.count += values.size // values.shape[1]
        self.sum, self.squares = self.sum + values.sum((0, 2, 3)), self.squares + (values ** 2).sum((0, 2, 3))
        out = self.norm(x)
        self.outputs.append(self.activate(out).asnumpy())
        return out

    def mean_and_variance(self) -> tuple:
        mean = self.sum / self.count
        return mean, np.maximum(self.squares / self.count - mean ** 2, 0)


def watch(network: nn.Cell, state: Dict[str, np.ndarray], images: np.ndarray, *, same: bool = False,
          keep_outputs: bool = False) -> Dict[str, Watched]:
    """Run the trunk of `network` on images (N, 3, H, W), operator by operator, and return its watched BatchNorms.

    Args:
        same: pad as TensorFlow's 'SAME' does.
        keep_outputs: keep the outputs of every picture.
    """
    names = {plain: name for name, plain in pytorch_names(network).items()}
    assign_weights(network, {names[plain]: value for plain, value in state.items()})
    watched = {}
    for name, cell in network.set_train(False).cells_and_names():
        if isinstance(cell, ConvNorm):
            if same and cell.conv.stride == (2, 2):
                # MindSpore's 'same' is TensorFlow's.
                original, cell.conv = cell.conv, nn.Conv2d(
                    cell.conv.in_channels, cell.conv.out_channels, 3, stride=2, pad_mode='same', group=cell.conv.group)
                cell.conv.weight.set_data(original.weight)
            cell.bn = watched[name] = Watched(cell.bn, cell.activate)
    for image in images:
        network.trunk(Tensor(image[None]))
        if not keep_outputs:
            for each in watched.values():
                each.outputs.clear()
    return watched


class QuantisedFile:
    """The 8-bit file in OpenVINO, with one copy for every requested tensor.

    OpenVINO does not keep the names of inner tensors, so each copy is changed to declare its tensor as the output.
    """

    def __init__(self, path: str):
        import openvino
        with open(path, 'rb') as file:
            self.content = file.read()
        self.openvino = openvino

    def run(self, index: int, pictures: np.ndarray) -> np.ndarray:
        """Return the tensor `index` for pictures (N, 224, 224, 3) uint8 RGB, dequantised, (N, ...)."""
        import tflite
        content = bytearray(self.content)
        graph = tflite.Model.GetRootAsModel(content, 0).Subgraphs(0)
        graph.OutputsAsNumpy()[0] = index
        with tempfile.NamedTemporaryFile(suffix='.tflite') as copy:
            copy.write(content)
            copy.flush()
            compiled = self.openvino.compile_model(copy.name, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
        numbers = np.concatenate([compiled(picture[None])[0] for picture in pictures])
        quantisation = graph.Tensors(index).Quantization()
        return dequantised(numbers, quantisation.ScaleAsNumpy(), quantisation.ZeroPointAsNumpy(), 0)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return the correlation coefficient of two arrays over all their values."""
    return float(np.corrcoef(one.ravel().astype(np.float64), other.ravel().astype(np.float64))[0, 1])


def compare_with_file(path: str, config, convolutions: List[Convolution], pictures: np.ndarray) -> List[list]:
    """Print the agreement of classes and return rows: layer, correlation, worst difference / largest value.

    Args:
        pictures: (N, 224, 224, 3) uint8 BGR.
    """
    names = trunk_names()
    trunk = dict(zip(names, convolutions))
    trunk['conv1'] = for_normalised_pixels(trunk['conv1'], config.DATASET.MEANS, config.DATASET.STDS)
    network = build_configured_network(config)
    images = build_normaliser(config)(Tensor(pictures)).asnumpy()
    ours = watch(network, folded_state(trunk, 1e-5), images, same=True, keep_outputs=True)
    file, logits, rows = QuantisedFile(path), convolutions[-1], []
    for name, convolution in zip(names, convolutions):
        one = np.concatenate(ours[name].outputs)
        other = file.run(convolution.output, pictures[..., ::-1]).transpose(0, 3, 1, 2)
        worst = np.abs(one - other).max() / np.abs(other).max()
        rows.append([name, f'{correlation(one, other):.4f}', f'{worst:.3f}'])
    pooled = np.concatenate(ours['conv2'].outputs).mean(axis=(2, 3))
    scores = pooled @ logits.weight[:, :, 0, 0].T + logits.bias
    theirs = file.run(logits.output, pictures[..., ::-1]).reshape(scores.shape)
    same = int((scores.argmax(axis=1) == theirs.argmax(axis=1)).sum())
    print(f'top-1 class as in the 8-bit file: {same} of {len(pictures)} pictures; correlation of the scores '
          f'{correlation(scores, theirs):.4f}')
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('tflite')
    parser.add_argument('data_root')
    parser.add_argument('start')
    parser.add_argument('--pictures', type=int, default=32, help='for the comparison (default: %(default)s)')
    parser.add_argument('--calibrate', type=int, default=64, help='people (default: %(default)s)')
    parser.add_argument('--compare_root', default='', help='another data set for the comparison')
    arguments = parser.parse_args()
    set_up_device('CPU', graph_mode=False)
    # At its first operator in this mode MindSpore 2.10 imports parts of NumPy 1; only some operators work without them.
    _ = Tensor(np.zeros(1, np.float32)) + Tensor(np.zeros(1, np.float32))
    convolutions = read_convolutions(arguments.tflite)
    config = resolve(load_recipe(RECIPE), {'DATASET.ROOT': arguments.data_root})
    square = resolve(config, {'MODEL.IMAGE_SIZE': [224, 224],
                              'DATASET.ROOT': arguments.compare_root or arguments.data_root})
    rows = compare_with_file(arguments.tflite, square, convolutions, calibration_crops(square, arguments.pictures))
    print_table(['layer', 'correlation', 'worst / largest'], rows)
    trunk = dict(zip(trunk_names(), convolutions))
    trunk['conv1'] = for_normalised_pixels(trunk['conv1'], config.DATASET.MEANS, config.DATASET.STDS)
    state, network = folded_state(trunk, 1e-5), build_configured_network(config)
    images = build_normaliser(config)(Tensor(calibration_crops(config, arguments.calibrate))).asnumpy()
    watched = watch(network, state, images)
    final = with_statistics(state, {name: each.mean_and_variance() for name, each in watched.items()}, 1e-5)
    before = network_features(build_configured_network(config), state, images[:4])
    after = network_features(build_configured_network(config), final, images[:4])
    alive = int((before != 0).any((0, 2, 3)).sum())
    print(f'features: measured BatchNorms change them by {np.abs(after - before).max() / np.abs(before).max():.1e} of '
          f'the largest; {alive} of {before.shape[1]} channels are alive')
    with atomic_file(arguments.start) as temporary:
        safetensors.numpy.save_file({name: np.ascontiguousarray(value) for name, value in final.items()}, temporary)
    print(f'start: {arguments.start}')


def network_features(network: nn.Cell, state: Dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """Return the trunk's features (N, C, h, w) in evaluation."""
    names = {plain: name for name, plain in pytorch_names(network).items()}
    assign_weights(network, {names[plain]: value for plain, value in state.items()})
    return network.set_train(False).trunk(Tensor(images)).asnumpy()


if __name__ == '__main__':
    main()
