"""HRNet and MIPNet as ONNX graphs and MINDIR files compute what the networks compute, in every runtime."""
import mindspore as ms
import numpy as np
import onnxruntime
import pytest
from golden_data import (
    HEATMAP_TOLERANCE,
    SMALL_MIPNETS,
    load_seeded,
    seeded_input,
    small_hrnet,
    small_mipnet,
    small_mipnet_resnet,
)
from mindspore import Tensor, nn
from openvino_runs import run_in_openvino

from src.checkpoints.names import named_parameters
from src.export.folding import fold_batch_norms
from src.export.onnx_cells import follow
from src.export.onnx_graph import OnnxGraph, Value
from src.models.common.blocks import BatchNorm, BilinearResize, NearestUpsample, StemPool
from src.models.common.normalise import PixelNormaliser
from src.models.simple_pose.network import make_deconv_layers

EVERYWHERE = (True, True, True, True)
CODES = np.float32([[1, 0], [0, 1], [0.25, 0.75]])
INPUT_SHAPES = {'images': (3, 64, 64), 'codes': (2,)}


def onnx_content(cell: nn.Cell, inputs: dict, output_shape, opset: int = 17) -> bytes:
    """Write a cell of inputs {name: (type, shape without N)}."""
    graph = OnnxGraph(opset)
    output = follow(cell, *(Value(graph, name) for name in inputs))
    return graph.model([(name, kind, ('N', *shape)) for name, (kind, shape) in inputs.items()],
                       [('output', output, ('N', *output_shape))], {})


def run_everywhere(content: bytes, inputs: dict):
    """Yield what each runtime makes of an ONNX model."""
    yield onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider']).run(None, inputs)[0]
    yield run_in_openvino(content, inputs)[0]


def seeded(build, **options) -> nn.Cell:
    network = build(**options)
    load_seeded(network)
    return network.set_train(False)


NETWORKS = {'hrnet': (small_hrnet, {}, ['images']), 'mipnet': (small_mipnet, {}, ['images', 'codes']),
            'mipnet_resnet': (small_mipnet_resnet, {'se_modules': EVERYWHERE}, ['images', 'codes'])}


@pytest.mark.parametrize('name', NETWORKS)
def test_networks_in_every_runtime(name, tmp_path):
    """With BatchNorms as they are and folded, with any number of crops."""
    build, options, input_names = NETWORKS[name]
    network, inputs = seeded(build, **options), {'images': seeded_input(3, (3, 3, 64, 64)), 'codes': CODES}
    inputs = {key: inputs[key] for key in input_names}
    expected = network(*map(Tensor, inputs.values())).asnumpy()
    allowed = HEATMAP_TOLERANCE * np.abs(expected).max()
    shapes = {key: (np.float32, INPUT_SHAPES[key]) for key in inputs}
    plain = onnx_content(network, shapes, (17, 16, 16))
    # MindSpore renames parameters when code that is followed puts cells into other containers.
    assert all(parameter.name == name for name, parameter in named_parameters(network).items())
    norms = sum(isinstance(cell, BatchNorm) for _, cell in network.cells_and_names())
    assert fold_batch_norms(network) == norms > 20
    assert not any(isinstance(cell, BatchNorm) for _, cell in network.cells_and_names())
    folded = onnx_content(network, shapes, (17, 16, 16))
    for content in (plain, folded):
        for count in (1, 3):
            for heatmaps in run_everywhere(content, {key: value[:count] for key, value in inputs.items()}):
                assert heatmaps.shape == expected[:count].shape
                assert np.abs(heatmaps - expected[:count]).max() <= allowed
    path = str(tmp_path / 'pose.mindir')
    ms.export(network, *(Tensor(shape=[None, *INPUT_SHAPES[key]], dtype=ms.float32) for key in inputs), file_name=path,
              file_format='MINDIR')
    cell = nn.GraphCell(ms.load(path))
    for count in (1, 3):
        heatmaps = cell(*(Tensor(value[:count]) for value in inputs.values())).asnumpy()
        assert np.abs(heatmaps - expected[:count]).max() <= allowed


@pytest.mark.parametrize('opset', [13, 18, 21])
@pytest.mark.parametrize('kind', SMALL_MIPNETS)
def test_opsets(kind, opset):
    network = seeded(SMALL_MIPNETS[kind], se_modules=EVERYWHERE)
    shapes = {key: (np.float32, shape) for key, shape in INPUT_SHAPES.items()}
    inputs = {'images': seeded_input(3, (3, 3, 64, 64)), 'codes': CODES}
    first, second = (np.stack(list(run_everywhere(onnx_content(network, shapes, (17, 16, 16), each), inputs)))
                     for each in (17, opset))
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-5 * np.abs(first).max())


@pytest.mark.parametrize('kind, first_row', [('symmetric', [9, 11, 13, 15]), ('same', [18, 20, 22, 23])])
def test_stem_pools(kind, first_row):
    ramp = np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8)
    content = onnx_content(StemPool(kind), {'images': (np.float32, (1, 8, 8))}, (1, 4, 4))
    for pooled in run_everywhere(content, {'images': ramp}):
        assert pooled[0, 0, 0].tolist() == first_row
        np.testing.assert_array_equal(pooled, StemPool(kind)(Tensor(ramp)).asnumpy())


@pytest.mark.parametrize('shape_in, shape_out', [((8, 6), (16, 12)), ((2, 3), (16, 24))])
def test_bilinear_resize_aligns_corners(shape_in, shape_out):
    images, resize = seeded_input(0, (2, 3, *shape_in)), BilinearResize(shape_in, shape_out)
    content = onnx_content(resize, {'images': (np.float32, (3, *shape_in))}, (3, *shape_out))
    for resized in run_everywhere(content, {'images': images}):
        np.testing.assert_allclose(resized, resize(Tensor(images)).asnumpy(), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(resized[..., [0, 0, -1, -1], [0, -1, 0, -1]],
                                   images[..., [0, 0, -1, -1], [0, -1, 0, -1]], rtol=1e-6)


@pytest.mark.parametrize('kernel', [2, 3, 4])
def test_transposed_convolutions(kernel):
    images, deconvolution = seeded_input(0, (2, 3, 4, 5)), make_deconv_layers(3, [6], [kernel], True)[0]
    for parameter in deconvolution.get_parameters():
        parameter.set_data(Tensor(seeded_input(1, parameter.shape)))
    expected = deconvolution(Tensor(images)).asnumpy()
    for heatmaps in run_everywhere(onnx_content(deconvolution, {'images': (np.float32, (3, 4, 5))}, (6, 8, 10)),
                                   {'images': images}):
        np.testing.assert_allclose(heatmaps, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('factor', [2, 4, 8])
def test_nearest_upsampling_is_exact(factor):
    images = seeded_input(0, (2, 3, 5, 4))
    content = onnx_content(NearestUpsample((5, 4), factor), {'images': (np.float32, (3, 5, 4))},
                           (3, 5 * factor, 4 * factor))
    for upsampled in run_everywhere(content, {'images': images}):
        np.testing.assert_array_equal(upsampled, images.repeat(factor, 2).repeat(factor, 3))


@pytest.mark.parametrize('before_scaling', [False, True])
@pytest.mark.parametrize('color_rgb', [False, True])
def test_pixels(color_rgb, before_scaling):
    """The network's input in the order that it wants, by the cell, its formula, and in ONNX."""
    means, stds = [0.1, 0.2, 0.3], [0.5, 0.6, 0.9]
    pixels = np.random.default_rng(0).integers(0, 256, (2, 6, 4, 3), np.uint8)
    normaliser = PixelNormaliser(means, stds, color_rgb=color_rgb, normalise_before_scaling=before_scaling)
    ordered = (pixels[..., ::-1] if color_rgb else pixels).astype(np.float64)
    expected = ((ordered - means) / stds / 255 if before_scaling else (ordered / 255 - means) / stds)
    expected = expected.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(normaliser(Tensor(pixels)).asnumpy(), expected, rtol=1e-5, atol=1e-6)
    factor, shift = normaliser.factor_and_shift()
    np.testing.assert_allclose(ordered.transpose(0, 3, 1, 2) * factor + shift, expected, rtol=1e-6, atol=1e-6)
    content = onnx_content(normaliser, {'pixels': (np.uint8, (6, 4, 3))}, (3, 6, 4))
    for images in run_everywhere(content, {'pixels': pixels}):
        np.testing.assert_allclose(images, expected, rtol=1e-5, atol=1e-6)
