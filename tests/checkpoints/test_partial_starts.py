"""Files that are a start for a part of a network: the rest keeps its initial weights, and is named."""
import numpy as np
import pytest
from golden_data import seeded_state, small_mspn, small_simple_pose

from src.checkpoints.load import load_weights
from src.checkpoints.names import named_parameters
from src.config import load_recipe

MSPN, SIMPLE = load_recipe('mspn_2stg_coco_256x192'), load_recipe('simplepose_r50_coco_256x192')


def values(network) -> dict:
    return {name: each.asnumpy().copy() for name, each in named_parameters(network).items()}


def load(network, state, config, **options):
    return load_weights(network, state, config, 'start.pth', **options)


def test_the_first_stage_of_an_mspn_is_a_start(capsys):
    """As the ResNet-50 file of the MSPN release: full names, the first stage only."""
    network = small_mspn()
    state = {f'module.{name}': value for name, value in seeded_state(network).items()
             if name.startswith(('top.', 'stage0.downsample.'))}
    before = values(network)
    conversion = load(network, state, MSPN, is_start=True, may_be_partial=True)
    assert conversion.initial_parts == ['stage0.upsample', 'stage1.downsample', 'stage1.upsample']
    after = values(network)
    for name in after:
        is_new = name.startswith(('top.', 'stage0.downsample.'))
        assert (name in conversion.weights) == is_new and (name in conversion.initial) != is_new
        np.testing.assert_array_equal(after[name], conversion.weights[name] if is_new else before[name])
    with pytest.raises(ValueError, match='does not fit .* missing'):
        load(network, state, MSPN)


def test_fewer_stages_are_a_start_for_more():
    state = seeded_state(small_mspn(num_stages=1))
    conversion = load(small_mspn(num_stages=2), state, MSPN, is_start=True, may_be_partial=True)
    assert len(conversion.weights) and {'stage1.downsample', 'stage1.upsample'} < set(conversion.initial_parts)
    with pytest.raises(ValueError, match='unexpected, e.g. stage'):
        load(small_mspn(num_stages=1), seeded_state(small_mspn(num_stages=2)), MSPN, is_start=True, may_be_partial=True)


def test_a_part_of_a_simple_pose_net_is_a_start():
    network = small_simple_pose()
    state = {name: value for name, value in seeded_state(network).items() if not name.startswith('deconv_layers')}
    assert load(network, state, SIMPLE, is_start=True, may_be_partial=True).initial_parts == ['deconv_layers']


@pytest.mark.parametrize('state', [{'encoder.weight': np.ones(3)}, {}], ids=['of another', 'of nothing'])
def test_what_fits_nowhere_is_no_start(state):
    with pytest.raises(ValueError, match='start.pth does not fit the network'):
        load(small_simple_pose(), state, SIMPLE, is_start=True, may_be_partial=True)
    whole = seeded_state(small_simple_pose())
    with pytest.raises(ValueError, match='1 unexpected, e.g. head.weight'):
        load(small_simple_pose(), {**whole, 'head.weight': np.ones(3)}, SIMPLE, is_start=True, may_be_partial=True)
