"""The networks: same function as PyTorch, sizes, shapes, initial values, and the parts with traps of their own."""
import mindspore as ms
import numpy as np
import pytest
from golden_data import (
    ALL,
    HEATMAP_TOLERANCE,
    SMALL_NETWORKS,
    golden,
    heatmaps_of,
    load_seeded,
    needs_full_golden,
    operator_by_operator,
    seeded_input,
    small_hrnet,
    small_mspn,
    small_simple_pose,
)

from src.checkpoints.names import named_parameters
from src.config import load_recipe, resolve
from src.models.common.blocks import BilinearResize, NearestUpsample, StemPool, without_initial_values
from src.models.hrnet.network import HRModule, HRNet
from src.models.mipnet.network import MIPNetHRNet, MIPNetResNet
from src.models.registry import (
    build_configured_network,
    build_empty_network,
    build_network,
    known_networks,
    network_name,
)
from src.models.simple_pose.network import SimplePoseNet, make_deconv_layers

# name -> (trainable tensors, trainable values for K = 17, for K = 16, MindSpore tensors, values in them for K = 17)
SIZES = {
    'mspn_1stg': (272, 25_141_708, 25_132_480, 408, 25_200_596),
    'mspn_2stg': (576, 56_867_032, 56_848_576, 864, 57_000_168),
    'mspn_3stg': (880, 88_592_356, 88_564_672, 1320, 88_799_740),
    'mspn_4stg': (1184, 120_317_680, 120_280_768, 1776, 120_599_312),
    'simplepose_r50': (170, 33_999_697, 33_999_440, 282, 34_054_353),
    'simplepose_r101': (323, 52_991_825, 52_991_568, 537, 53_098_705),
    'simplepose_r152': (476, 68_635_473, 68_635_216, 792, 68_788_433),
    'hrnet_w32': (878, 28_536_113, 28_536_080, 1462, 28_590_449),
    'hrnet_w48': (878, 63_595_745, 63_595_696, 1462, 63_675_329),
}


@pytest.mark.parametrize('name', ALL)
def test_heatmaps_equal_pytorch(name):
    reference = golden(name)
    ours = heatmaps_of(name)[..., ::4, ::4]
    assert ours.shape == reference['heatmaps_every4'].shape
    assert np.abs(ours - reference['heatmaps_every4']).max() <= HEATMAP_TOLERANCE * float(reference['heatmaps_peak'])


@needs_full_golden
@pytest.mark.parametrize('name', ALL)
def test_whole_heatmaps_equal_pytorch(name):
    reference = golden(name)['heatmaps']
    assert heatmaps_of(name).shape == reference.shape
    assert np.abs(heatmaps_of(name) - reference).max() <= HEATMAP_TOLERANCE * np.abs(reference).max()


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match='mspn_5stg') as error:
        build_network('mspn_5stg', num_keypoints=17, input_shape=(256, 192))
    assert all(name in str(error.value) for name in known_networks())


def test_weights_that_are_loaded_next_are_not_drawn():
    config = resolve(load_recipe('simplepose_small_synthetic_160x128'), {'MODEL.STEM_CHANNELS': 8})
    empty, drawn = (named_parameters(build(config)) for build in (build_empty_network, build_configured_network))
    assert list(empty) == list(drawn)
    weights = [name for name in drawn if drawn[name].ndim == 4]
    assert len(weights) > 20
    assert all(drawn[name].asnumpy().any() and not empty[name].asnumpy().any() for name in weights)


@pytest.mark.parametrize('name', [name for name in known_networks() if not name.startswith('mipnet')])
def test_sizes(name):
    """Every name builds; the numbers of tensors and values are those of the published models."""
    for num_keypoints in (17, 16):
        # Counting needs no values, and drawing 120 million of them takes the most time.
        with without_initial_values():
            network = build_network(name, num_keypoints=num_keypoints, input_shape=(256, 192))
        trainable = [int(np.prod(parameter.shape)) for parameter in network.trainable_params()]
        everything = [int(np.prod(parameter.shape)) for parameter in network.get_parameters()]
        if name not in SIZES:
            assert len(trainable) and len(everything) > len(trainable)
            continue
        tensors, values_17, values_16, all_tensors, all_values_17 = SIZES[name]
        assert (len(trainable), len(everything)) == (tensors, all_tensors)
        if num_keypoints == 17:
            assert (sum(trainable), sum(everything)) == (values_17, all_values_17)
        else:
            assert sum(trainable) == values_16


SMALL_KEYS = {'MODEL.IMAGE_SIZE': [96, 64], 'MODEL.NUM_JOINTS': 14, 'MODEL.STEM_CHANNELS': 8,
              'HRNET.MODULES': [1, 2, 1], 'HRNET.BLOCKS': 2, 'POSE_RESNET.NUM_DECONV_FILTERS': [16, 16, 16]}


@pytest.mark.parametrize('overrides, name, kind', [
    ({'MODEL.NAME': 'pose_resnet', 'POSE_RESNET.NUM_LAYERS': 18}, 'simplepose_r18', SimplePoseNet),
    ({'MODEL.NAME': 'hrnet', 'HRNET.WIDTH': 8}, 'hrnet_w8', HRNet),
    ({'MODEL.NAME': 'mipnet', 'HRNET.WIDTH': 8, 'MIPNET.SE_MODULES': [False, True, False, False],
      'MIPNET.NUM_INSTANCES': 3}, 'mipnet_hrnet_w8', MIPNetHRNet),
    ({'MODEL.NAME': 'mipnet', 'MIPNET.BACKBONE': 'pose_resnet', 'POSE_RESNET.NUM_LAYERS': 34}, 'mipnet_r34',
     MIPNetResNet)])
def test_a_configuration_builds_its_network(overrides, name, kind):
    config = resolve(load_recipe('base'), {**SMALL_KEYS, **overrides})
    network = build_configured_network(config)
    assert network_name(config) == name and type(network) is kind
    assert network.conv1.out_channels == 8 and network.final_layer.out_channels == 14
    if kind in (HRNet, MIPNetHRNet):
        assert [len(stage) for stage in (network.stage2, network.stage3, network.stage4)] == [1, 2, 1]
        assert len(network.stage3[1].branches[2]) == 2 and network.stage3[0].branches[0][0].conv1.out_channels == 8
    if kind is MIPNetHRNet:
        assert (network.num_instances, network.se_modules) == (3, (False, True, False, False))
        assert hasattr(network, 'stage2_se') and not hasattr(network, 'stage3_se')


@pytest.mark.parametrize('name', ['mspn_1stg', 'simplepose_r18', 'hrnet_w32', 'mipnet_r50'])
@pytest.mark.parametrize('input_shape', [(250, 192), (256, 100), (0, 192), (-32, 64)])
def test_input_shape_must_be_divisible_by_32(name, input_shape):
    with pytest.raises(ValueError, match='multiples of 32'):
        build_network(name, num_keypoints=17, input_shape=input_shape)


def test_arguments_out_of_range_raise():
    for options in ({'num_stages': 0}, {'planes': (4, 8)}, {'blocks': (1, 1, 1)}, {'stem_pool': 'valid'}):
        with pytest.raises(ValueError):
            small_mspn(**options)
    for options in ({'num_layers': 26}, {'num_deconv_filters': (16, 16)}, {'num_deconv_kernels': (5, 4, 4)},
                    {'final_conv_kernel': 2}, {'stem_pool': 'valid'}):
        with pytest.raises(ValueError):
            small_simple_pose(**options)
    for options in ({'width': 0}, {'blocks': 0}, {'modules': (1, 4)}, {'modules': (1, 0, 3)}):
        with pytest.raises(ValueError, match='HRNet needs'):
            small_hrnet(**options)


@pytest.mark.parametrize('kind', SMALL_NETWORKS)
@pytest.mark.parametrize('input_shape, num_keypoints', [((64, 96), 16), ((96, 64), 5)])
def test_output_shape(kind, input_shape, num_keypoints):
    options = {'num_stages': 1} if kind == 'mspn' else {}
    network = SMALL_NETWORKS[kind](input_shape=input_shape, num_keypoints=num_keypoints, **options).set_train(False)
    images = ms.Tensor(seeded_input(0, (2, 3) + input_shape))
    heatmap_shape = (2, num_keypoints, input_shape[0] // 4, input_shape[1] // 4)
    with operator_by_operator():
        assert network(images).shape == heatmap_shape


def test_training_outputs():
    """MSPN: four maps of the heatmap's shape for each stage; the last one of all is what inference returns."""
    images = ms.Tensor(seeded_input(0, (2, 3, 64, 96)))
    network = small_mspn(input_shape=(64, 96), num_keypoints=16).set_train(False)
    with operator_by_operator():
        outputs = network.training_outputs(images)
        assert [[heatmaps.shape for heatmaps in stage] for stage in outputs] == [[(2, 16, 16, 24)] * 4] * 2
        np.testing.assert_array_equal(outputs[-1][-1].asnumpy(), network(images).asnumpy())


@pytest.mark.parametrize('kernels, final_kernel, bias', [((3, 2, 4), 3, True)])
def test_other_simple_pose_heads_double_the_size_three_times(kernels, final_kernel, bias):
    network = small_simple_pose(num_deconv_kernels=kernels, final_conv_kernel=final_kernel, deconv_with_bias=bias)
    assert network.set_train(False)(ms.Tensor(seeded_input(0, (1, 3, 64, 64)))).shape == (1, 17, 16, 16)


@pytest.mark.parametrize('kernel, padding, output_padding', [(4, 1, 0), (3, 1, 1), (2, 0, 0)])
def test_transposed_convolutions_are_those_of_pytorch(kernel, padding, output_padding):
    """Every input cell adds its kernel to the output; padding cuts off a border, output padding leaves some of it."""
    deconvolution = make_deconv_layers(3, [6], [kernel], True)[0]
    images, (height, width) = seeded_input(1, (2, 3, 4, 5)), (8, 10)
    weight, bias = seeded_input(2, (3, 6, kernel, kernel)), seeded_input(3, (6,))
    whole = np.zeros((2, 6, height + kernel, width + kernel))
    for y, x in np.ndindex(4, 5):
        added = np.einsum('nc,cokl->nokl', images[:, :, y, x], weight)
        whole[:, :, 2 * y:2 * y + kernel, 2 * x:2 * x + kernel] += added
    # What PyTorch's formula says of the size.
    assert (4 - 1) * 2 - 2 * padding + kernel + output_padding == height
    expected = whole[:, :, padding:padding + height, padding:padding + width] + bias[:, None, None]
    for parameter, value in ((deconvolution.weight, weight), (deconvolution.bias, bias)):
        parameter.set_data(ms.Tensor(value))
    np.testing.assert_allclose(deconvolution(ms.Tensor(images)).asnumpy(), expected, atol=1e-5)


@pytest.mark.parametrize('kind', SMALL_NETWORKS)
def test_one_person_equals_the_same_person_in_a_batch(kind):
    network = SMALL_NETWORKS[kind]().set_train(False)
    load_seeded(network)
    images = seeded_input(3, (3, 3, 64, 64))
    with operator_by_operator():
        batch = network(ms.Tensor(images)).asnumpy()
        single = network(ms.Tensor(images[1:2])).asnumpy()
    assert np.abs(single[0] - batch[1]).max() <= 1e-5 * np.abs(batch).max()
    assert np.abs(batch[0] - batch[1]).max() > 0.1 * np.abs(batch).max()


@pytest.mark.parametrize('kind, first_row', [('symmetric', [9, 11, 13, 15]), ('same', [18, 20, 22, 23])])
def test_stem_pool_on_a_ramp(kind, first_row):
    """'symmetric' is PyTorch's; the windows of 'same' lie one pixel further right and down."""
    ramp = ms.Tensor(np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8))
    pooled = StemPool(kind)(ramp).asnumpy()[0, 0]
    assert pooled.shape == (4, 4)
    assert pooled[0].tolist() == first_row
    assert pooled[-1, -1] == 63


def _resize_naively(image, shape_out):
    """(h, w) -> (H, W), bilinear, corners on corners."""
    (height, width), (height_out, width_out) = image.shape, shape_out
    result = np.zeros(shape_out)
    for row in range(height_out):
        for column in range(width_out):
            y = row * (height - 1) / max(height_out - 1, 1)
            x = column * (width - 1) / max(width_out - 1, 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = image[top, left] * (left + 1 - x) + image[top, right] * (x - left)
            lower = image[bottom, left] * (left + 1 - x) + image[bottom, right] * (x - left)
            result[row, column] = upper * (top + 1 - y) + lower * (y - top)
    return result


@pytest.mark.parametrize('shape_in, shape_out', [((8, 6), (16, 12)), ((8, 6), (64, 48)), ((2, 2), (16, 24)),
                                                 ((1, 3), (2, 6)), ((5, 4), (3, 4)), ((6, 4), (1, 1)),
                                                 ((6, 4), (6, 4))])
def test_bilinear_resize_aligns_corners(shape_in, shape_out):
    images = np.random.default_rng(0).standard_normal((2, 3) + shape_in).astype(np.float32)
    resized = BilinearResize(shape_in, shape_out)(ms.Tensor(images)).asnumpy()
    expected = np.array([[_resize_naively(channel, shape_out) for channel in image] for image in images])
    np.testing.assert_allclose(resized, expected, atol=2e-6)


@pytest.mark.parametrize('factor', [2, 8])
def test_nearest_upsampling_replicates(factor):
    images = seeded_input(0, (2, 3, 5, 4))
    upsampled = NearestUpsample((5, 4), factor)(ms.Tensor(images)).asnumpy()
    np.testing.assert_array_equal(upsampled, images.repeat(factor, 2).repeat(factor, 3))


def test_hrnet_sums_branches_in_the_order_of_the_release():
    """The sum of three or four float32 numbers depends on it, to the last bit."""
    module = HRModule([4, 8, 16], [(8, 8), (4, 4), (2, 2)], 1, 3).set_train(False)
    load_seeded(module)
    features = [ms.Tensor(100 * seeded_input(branch, (1, 4 * 2 ** branch, 8 // 2 ** branch, 8 // 2 ** branch)))
                for branch in range(3)]
    branches = [branch(x) for branch, x in zip(module.branches, features)]
    for paths, output in zip(module.fuse_layers, module(features)):
        terms = [path(x).asnumpy() for path, x in zip(paths, branches)]
        np.testing.assert_array_equal(output.asnumpy(), np.maximum((terms[0] + terms[1]) + terms[2], 0))


def _assert_normal(values, std):
    """Mean and standard deviation within five standard errors, and not truncated."""
    count = values.size
    assert abs(values.mean()) <= 5 * std / np.sqrt(count)
    assert abs(values.std() / std - 1) <= 5 / np.sqrt(2 * count)
    if count > 1e5:
        assert np.abs(values).max() > 4 * std


def _assert_uniform(values, bound):
    """Inside the bounds up to rounding, and filling them."""
    count = values.size
    assert np.abs(values).max() <= bound * (1 + 1e-6)
    assert abs(values.mean()) <= 5 * bound / np.sqrt(3 * count)
    if count > 1000:
        assert abs(values.std() * np.sqrt(3) / bound - 1) <= 5 / np.sqrt(count)
        assert np.abs(values).max() > 0.98 * bound


def _assert_fresh_batch_norm(name, values):
    one = name.endswith(('gamma', 'moving_variance'))
    assert np.all(values == (1 if one else 0)), name


def test_initial_values_of_mspn():
    """Kaiming normal (fan out) in the residual layers, PyTorch's uniform default everywhere else."""
    arrays = {name: parameter.asnumpy() for name, parameter in named_parameters(
        build_network('mspn_1stg', num_keypoints=17, input_shape=(256, 192))).items()}
    for name, values in arrays.items():
        if '.bn.' in name:
            _assert_fresh_batch_norm(name, values)
        elif name.endswith('.conv.weight') and '.downsample.' in name:
            out_channels, _, height, width = values.shape
            _assert_normal(values, np.sqrt(2 / (height * width * out_channels)))
        else:
            weight = arrays[name[:-len('bias')] + 'weight'] if name.endswith('bias') else values
            _assert_uniform(values, 1 / np.sqrt(np.prod(weight.shape[1:])))


def test_the_head_scale_is_that_of_the_batch_norm_that_ends_each_head():
    scaled = [(name, parameter.asnumpy()) for name, parameter in named_parameters(small_mspn(head_scale=5.0)).items()
              if name.endswith('gamma') and not (parameter.asnumpy() == 1).all()]
    assert [name for name, _ in scaled] == [f'stage{stage}.upsample.up{unit}.res_conv2.bn.gamma'
                                            for stage in (0, 1) for unit in (1, 2, 3, 4)]
    assert all((values == 5).all() for _, values in scaled)


def test_initial_values_of_simple_pose():
    """N(0, 0.001) and zero biases in the head; torchvision's Kaiming normal (fan out) in the trunk."""
    network = build_network('simplepose_r18', num_keypoints=17, input_shape=(256, 192), deconv_with_bias=True)
    for name, parameter in named_parameters(network).items():
        values = parameter.asnumpy()
        if name.endswith(('gamma', 'beta', 'moving_mean', 'moving_variance')):
            _assert_fresh_batch_norm(name, values)
        elif name.endswith('bias'):
            assert np.all(values == 0), name
        elif name.startswith(('deconv_layers.', 'final_layer.')):
            _assert_normal(values, 0.001)
        else:
            out_channels, _, height, width = values.shape
            _assert_normal(values, np.sqrt(2 / (height * width * out_channels)))


def test_initial_values_of_hrnet():
    """Without ImageNet weights N(0, 0.001) and zero biases everywhere."""
    for name, parameter in named_parameters(small_hrnet(width=16, stem_channels=32)).items():
        values = parameter.asnumpy()
        if name.endswith(('gamma', 'beta', 'moving_mean', 'moving_variance')):
            _assert_fresh_batch_norm(name, values)
        elif name.endswith('bias'):
            assert np.all(values == 0), name
        else:
            _assert_normal(values, 0.001)


@pytest.mark.parametrize('kind', SMALL_NETWORKS)
def test_the_seed_decides_the_initial_values(kind):
    first, again, other = ([parameter.asnumpy() for parameter in SMALL_NETWORKS[kind](seed=seed).trainable_params()]
                           for seed in (1, 1, 2))
    assert all(np.array_equal(one, two) for one, two in zip(first, again))
    drawn = [index for index, values in enumerate(first) if len(np.unique(values)) > 1]
    assert len(drawn) > 20
    assert not any(np.array_equal(first[index], other[index]) for index in drawn)


@pytest.mark.parametrize('kind', SMALL_NETWORKS)
def test_parameters_of_one_shape_differ(kind):
    """Layers must not all start from the same numbers."""
    drawn = [parameter.asnumpy() for parameter in SMALL_NETWORKS[kind]().trainable_params() if parameter.ndim > 1]
    assert len({values.tobytes() for values in drawn}) == len(drawn)
