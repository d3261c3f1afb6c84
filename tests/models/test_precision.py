"""Mixed precision: what computes in float16, that weights never do, and what happens to gradients that overflow."""
import json
from functools import lru_cache

import numpy as np
import pytest
from golden_data import SMALL_NETWORKS, small_mipnet
from mindspore import Tensor, nn
from mindspore import dtype as mstype
from script_runs import MSPN, SIMPLE_POSE, TINY, TOY_POSE, run_script

from src.checkpoints.names import named_parameters
from src.config import load_recipe, resolve
from src.models.common.blocks import LEVELS, BatchNorm, BilinearResize, NearestUpsample, StemPool, set_precision
from src.models.registry import build_configured_network
from src.synthetic.writing import write_synthetic_coco
from src.system.device import Processes
from src.training.setup import build_train_step, choose_precision

# One block for each level: a network like any other, compiled in half the time.
SETTINGS = {SIMPLE_POSE: TINY[SIMPLE_POSE], MSPN: TINY[MSPN] + ' MSPN.BLOCKS=[1,1,1,1]'}


@pytest.mark.parametrize('kind', SMALL_NETWORKS)
@pytest.mark.parametrize('level', LEVELS)
def test_which_cells_compute_in_float16(level, kind):
    """Told by what they make of float32."""
    network = SMALL_NETWORKS[kind]()
    set_precision(network, level)
    low = mstype.float32 if level == 'O0' else mstype.float16
    expected = {nn.Conv2d: low, nn.Conv2dTranspose: low, StemPool: low, BilinearResize: low, NearestUpsample: low,
                BatchNorm: mstype.float16 if level == 'O3' else mstype.float32}
    cells, seen = [cell for _, cell in network.cells_and_names() if type(cell) in expected], set()
    # All of a kind are marked alike; one of each is run, and the last, which makes the heatmaps.
    for cell in [*cells, cells[-1]]:
        marks = (bool(getattr(cell, 'fp16', False)), bool(getattr(cell, 'fp32', False)))
        is_low, is_high = expected[type(cell)] == mstype.float16, level in ('O1', 'O2') and type(cell) is BatchNorm
        assert marks == (is_low, is_high), cell
        if type(cell) not in seen or cell is cells[-1]:
            seen.add(type(cell))
            channels = getattr(cell, 'in_channels', getattr(cell, 'channels', 3))
            assert cell(Tensor(np.ones((1, channels, 32, 32), np.float32))).dtype == expected[type(cell)], type(cell)
    assert {nn.Conv2d, BatchNorm} <= seen and len(seen) == (3 if kind == 'hrnet' else 4)


@pytest.mark.parametrize('level', LEVELS)
def test_which_cells_of_the_modulation_compute_in_float16(level):
    network = small_mipnet()
    set_precision(network, level)
    embedding = network.stage4_se.se_layers[0].fc_lambda
    dense, norm = embedding[0], embedding[1]
    assert isinstance(dense, nn.Dense) and isinstance(norm, BatchNorm)
    hidden = dense(Tensor(np.ones((2, 2), np.float32)))
    assert hidden.dtype == (mstype.float32 if level == 'O0' else mstype.float16)
    assert norm(hidden).dtype == (mstype.float16 if level == 'O3' else mstype.float32)


@pytest.mark.parametrize('level', ['O4', 'o2', '', None])
def test_unknown_level(level):
    with pytest.raises(ValueError, match='level .* is unknown; use one of O0, O1, O2, O3'):
        set_precision(SMALL_NETWORKS['simplepose'](), level)


@pytest.mark.parametrize('target, level, is_explicit, chosen', [
    ('CPU', 'O2', False, 'O0'), ('CPU', 'O2', True, 'O2'), ('CPU', 'O3', True, 'O3'), ('CPU', 'O0', False, 'O0'),
    ('GPU', 'O2', False, 'O2'), ('Ascend', 'O3', False, 'O3'), ('Ascend', 'O0', True, 'O0')])
def test_a_cpu_takes_float32_unless_asked(target, level, is_explicit, chosen):
    config = resolve(load_recipe(SIMPLE_POSE), {'TRAIN.AMP_LEVEL': level})
    choose_precision(config, Processes(target), is_explicit=is_explicit)
    assert chosen == config.TRAIN.AMP_LEVEL


# Training

def configuration(recipe: str, level: str):
    overrides = dict(word.split('=') for word in SETTINGS[recipe].split()[1:])
    return resolve(load_recipe(recipe), {**overrides, 'MODEL.IMAGE_SIZE': '64 64', 'TRAIN.AMP_LEVEL': level})


def values_of(network) -> dict:
    return {name: parameter.asnumpy().copy() for name, parameter in named_parameters(network).items()}


@lru_cache(maxsize=9)
def take_steps(recipe: str, level: str, count: int = 12):
    """Return the network, its values at the start, and the reports of some steps on one batch."""
    config = configuration(recipe, level)
    network = build_configured_network(config)
    start = values_of(network)
    step = build_train_step(config, network, np.full(count, 1e-3), Processes('CPU'))
    step.set_train()
    rng = np.random.default_rng(0)
    batch = (rng.integers(0, 256, (4, 64, 64, 3)).astype(np.uint8), rng.uniform(8, 56, (4, 17, 2)).astype(np.float32),
             np.ones((4, 17), np.float32))
    return network, start, [step(*batch) for _ in range(count)]


@pytest.mark.parametrize('recipe, level', [(SIMPLE_POSE, 'O3'), (MSPN, 'O2')])
def test_small_recipes_learn_in_mixed_precision(recipe, level):
    """Beginning with the loss of float32, with weights in float32, all of which move, as do BatchNorm's statistics."""
    plain = take_steps(recipe, 'O0', 4)[2]
    assert {(report.skipped, report.loss_scale) for report in plain} == {(False, 1.0)}
    plain = [report.loss for report in plain]
    network, start, reports = take_steps(recipe, level)
    taken = [report for report in reports if not report.skipped]
    assert reports[0].loss_scale == 65536 and len(taken) >= 3
    losses = [report.loss for report in taken]
    # Float16 has three digits; the loss itself is float32, where MSPN's squares would be infinite in float16.
    np.testing.assert_allclose(losses[:3], plain[:3], rtol=5e-3)
    assert losses[0] != plain[0] and losses[-1] < losses[0]
    end = values_of(network)
    assert {value.dtype for value in end.values()} == {np.dtype(np.float32)}
    still = [name for name in end if np.array_equal(start[name], end[name])]
    assert not still
    # More digits than float16 has, so the update itself is one of float32.
    weights = end[next(name for name in end if name.endswith('conv1.weight') or name.endswith('conv.weight'))]
    assert (weights != weights.astype(np.float16)).any()


def test_a_loss_of_large_numbers_overflows_at_the_first_scales():
    """MSPN's loss is about a thousand: 65536 times its gradients is beyond float16."""
    _, _, reports = take_steps(MSPN, 'O2')
    skipped = [report.skipped for report in reports]
    assert skipped[0] and skipped == sorted(skipped, reverse=True) and not skipped[-1]
    scales = [report.loss_scale for report in reports]
    assert scales == [65536 / 2 ** min(number, sum(skipped)) for number in range(len(reports))]
    # Nothing was learned while steps were skipped.
    assert len({report.loss for report in reports[:sum(skipped) + 1]}) == 1


# The script

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    write_synthetic_coco(str(folder), num_train=6, num_val=1, seed=1, image_size=(200, 160))
    return folder


def train(recipe, data, folder, arguments, capfd):
    capfd.readouterr()
    status = run_script('train', f'--recipe {recipe} --data_url {data} --ckpt_save_path {folder}/pose.ckpt '
                        f'--batch_size 2 --input_shape 64 64 {SETTINGS[recipe]} {arguments}')
    return (status, *capfd.readouterr())


def test_a_run_that_only_overflows_stops_and_says_where(data, tmp_path, capfd):
    """A network of two convolutions, which compiles at once, and a scale that is beyond float16 for all gradients."""
    status, out, error = train(
        SIMPLE_POSE, data, tmp_path, f'TRAIN.MAX_SKIPPED_STEPS=3 TRAIN.LOSS_SCALE=1e36 --amp_level O2 --epoch 3 '
        f'--plugin {TOY_POSE} --set MODEL.NAME=toy TOY.HEATMAP_SIZE=[16,16]', capfd)
    assert status == 2 and 'precision: O2' in out
    lines = [line for line in out.splitlines() if line.startswith('epoch: ')]
    assert [line.split(', ', 2)[2] for line in lines] == [
        f'skipped: overflow at loss scale {scale}' for scale in ('1e+36', '5e+35', '2.5e+35')]
    for part in ('error: 4 steps in a row overflowed in mixed precision', 'epoch ', 'step ', 'learning rate 0.002',
                 'a loss scale of 1.25e+35', 'a loss of ', '.jpg', '--amp_level O0'):
        assert part in error
    rows = [json.loads(line) for line in (tmp_path / 'pose_metrics.jsonl').read_text().splitlines()]
    assert [row['skipped'] for row in rows] == [1, 2, 3]
    assert [row['loss_scale'] for row in rows] == pytest.approx([1e36, 5e35, 2.5e35], rel=1e-6)


def test_a_cpu_run_says_its_precision(data, tmp_path, capfd):
    """The recipe's O2 is for accelerators."""
    status, out, _ = train(SIMPLE_POSE, data, tmp_path, '--epoch 0', capfd)
    assert status == 0 and 'precision: O0' in out and load_recipe(SIMPLE_POSE).TRAIN.AMP_LEVEL == 'O2'
    status, out, _ = train(SIMPLE_POSE, data, tmp_path, '--epoch 0 --amp_level O2', capfd)
    assert status == 0 and 'precision: O2' in out
