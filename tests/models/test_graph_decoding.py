"""The decoders inside exported graphs equal the NumPy decoders, in MindSpore and in every runtime."""
from functools import cache

import numpy as np
import onnxruntime
import pytest
from golden_data import COMPACT_FOLDER, golden, operator_by_operator
from mindspore import Tensor
from openvino_runs import run_in_openvino

from src.config import load_recipe, resolve
from src.export.onnx_cells import follow
from src.export.onnx_graph import OPSETS, OnnxGraph, Value
from src.models.registry import model_of

POSITION_TOLERANCE, SCORE_TOLERANCE = 1e-4, 1e-6
# name -> (recipe, further settings); the names are those of the golden files
DECODERS = {'mspn_coco': ('mspn_1stg_coco_256x192', {}),
            'mspn_mpii': ('mspn_1stg_coco_256x192', {'TEST.BLUR_KERNEL': 9, 'MODEL.NUM_JOINTS': 16,
                                                     'MODEL.IMAGE_SIZE': [256, 256]}),
            'simple': ('simplepose_r50_coco_256x192', {}),
            'simple_without_offset': ('simplepose_r50_coco_256x192', {'TEST.POST_PROCESS': False}),
            'simple_on_udp': ('simplepose_r50_udp_coco_256x192', {'TEST.DECODER': 'published'})}
REFINED = {'dark': ('simplepose_r50_dark_coco_256x192', {}),
           'dark_17': ('simplepose_r50_dark_coco_256x192', {'TEST.DECODER_KERNEL': 17}),
           'udp': ('simplepose_r50_udp_coco_256x192', {}),
           'mspn_dark': ('mspn_1stg_coco_256x192', {'TEST.DECODER': 'dark'}),
           'mspn_udp': ('mspn_1stg_coco_256x192', {'TEST.DECODER': 'udp'})}


@cache
def config_of(name: str):
    recipe, settings = {**DECODERS, **REFINED}[name]
    return resolve(load_recipe(recipe), settings)


def hard_maps(shape: tuple) -> np.ndarray:
    """Maps (13, K, h, w) with nothing, with equal maxima, with maxima at the rim and next to each other, with maxima
    and second maxima of exactly 0 that are not in the first cell, and with one-sided maxima beside every rim."""
    rng, (_, height, width) = np.random.default_rng(4), shape
    maps = np.zeros((13, *shape), np.float32)
    maps[1] = -1
    maps[2] = 1
    maps[3] = rng.integers(0, 3, shape)
    maps[4] = rng.standard_normal(shape)
    maps[5, :, 0, 0] = maps[5, :, -1, -1] = 3
    maps[6, :, 7, 5] = maps[6, :, 7, 6] = 200
    maps[7] = -rng.random(shape)
    for joint in range(shape[0]):
        maps[8, joint, joint % height, (2 * joint) % width] = 0.5
        maps[8, joint, -1 - joint % height, -1] = 0.25
    maps[9] = -1
    maps[9, :, 7, 5], maps[10, :, 0, 0] = 0, -1
    maps[11, :, 20:41, 20:41], maps[11, :, 30, 30] = -1, 8
    rim = [(20, x) for x in (0, 1, 2, width - 3, width - 2, width - 1)]
    rim += [(y, 20) for y in (0, 1, 2, height - 3, height - 2, height - 1)]
    for joint, (y, x) in enumerate(rim[:shape[0]]):
        maps[12, joint, y, x] = 9
        maps[12, joint, y + (1 if y < 10 else -1), x] = maps[12, joint, y, x + (1 if x < 10 else -1)] = 5
    return maps


@cache
def maps_of(name: str) -> np.ndarray:
    """The golden heatmaps, smooth and rough, and hard ones."""
    if name in REFINED:
        kinds, maps = golden('udp_dark')['decode_kind'], golden('udp_dark')['decode_heatmaps'].astype(np.float32)
        # 17 keypoints, of more kinds of maps than that; the last ones are shown twice.
        people = np.stack([maps[:17], maps[-17:]])
        assert len(maps) == len(kinds) <= 34
        return np.concatenate([people, hard_maps(people.shape[1:])]) * np.float32(codec_of(name).peak)
    with np.load(COMPACT_FOLDER / f'decode_{name.split("_without_")[0].split("_on_")[0]}.npz') as stored:
        people = stored['heatmaps'].astype(np.float32)
    return np.concatenate([people, hard_maps(people.shape[1:])])


def codec_of(name: str):
    return model_of(config_of(name)).codec


def onnx_decoder(name: str, opset: int = 17) -> bytes:
    maps, graph = maps_of(name), OnnxGraph(opset)
    keypoints, scores = follow(codec_of(name).graph_decoder(config_of(name)), Value(graph, 'heatmaps'))
    joints = maps.shape[1]
    return graph.model([('heatmaps', np.float32, ('N', *maps.shape[1:]))],
                       [('keypoints', keypoints, ('N', joints, 2)), ('scores', scores, ('N', joints))], {})


def assert_equals_numpy(name: str, keypoints: np.ndarray, scores: np.ndarray) -> None:
    expected, expected_scores = codec_of(name).decode(config_of(name))(maps_of(name))
    assert keypoints.shape == expected.shape and scores.shape == expected_scores.shape
    assert np.abs(keypoints - expected).max() < POSITION_TOLERANCE
    assert np.abs(scores - expected_scores).max() <= SCORE_TOLERANCE * np.abs(expected_scores).max()


@cache
def decided(name: str) -> np.ndarray:
    """Return the mask (P, K) of keypoints that stay where they are if heatmaps change by 1e-5 of their values. Others,
    in flat and in rough maps, rounding errors move as well."""
    decode, maps, rng = codec_of(name).decode(config_of(name)), maps_of(name), np.random.default_rng(0)
    keypoints, _ = decode(maps)
    shaken = [decode(maps * rng.uniform(1 - 1e-5, 1 + 1e-5, maps.shape).astype(np.float32))[0] for _ in range(4)]
    return np.abs(np.array(shaken) - keypoints).max(axis=(0, 3)) < POSITION_TOLERANCE


def assert_refined(name: str, keypoints: np.ndarray, scores: np.ndarray) -> None:
    expected, expected_scores = codec_of(name).decode(config_of(name))(maps_of(name))
    rows = decided(name)
    # Of MMPose's maps nearly all are decided, of those made to be hard most.
    assert keypoints.shape == expected.shape and rows[:2].mean() > 0.9 and rows[2:].mean() > 0.6
    assert np.abs(keypoints - expected)[rows].max() < POSITION_TOLERANCE
    assert np.abs(scores - expected_scores).max() <= SCORE_TOLERANCE * np.abs(expected_scores).max()


@pytest.mark.parametrize('name', ['dark', 'udp', 'mspn_dark'])
def test_refined_in_mindspore(name):
    with operator_by_operator():
        outputs = codec_of(name).graph_decoder(config_of(name))(Tensor(maps_of(name)))
    assert_refined(name, *(each.asnumpy() for each in outputs))


@pytest.mark.parametrize('name, opset', [('dark_17', 17), ('udp', OPSETS[-1]), ('mspn_udp', OPSETS[0])])
def test_refined_in_onnxruntime(name, opset):
    session = onnxruntime.InferenceSession(onnx_decoder(name, opset))
    assert_refined(name, *session.run(None, {'heatmaps': maps_of(name)}))


@pytest.mark.parametrize('name, precision', [('dark', 'f32'), ('udp', 'bf16')])
def test_refined_in_openvino(name, precision):
    assert_refined(name, *run_in_openvino(onnx_decoder(name), {'heatmaps': maps_of(name)}, precision))


@pytest.mark.parametrize('name', DECODERS)
def test_in_mindspore(name):
    outputs = codec_of(name).graph_decoder(config_of(name))(Tensor(maps_of(name)))
    assert_equals_numpy(name, *(each.asnumpy() for each in outputs))


@pytest.mark.parametrize('opset', [OPSETS[0], 17, 18, OPSETS[-1]])
@pytest.mark.parametrize('name', DECODERS)
def test_in_onnxruntime(name, opset):
    session = onnxruntime.InferenceSession(onnx_decoder(name, opset))
    assert_equals_numpy(name, *session.run(None, {'heatmaps': maps_of(name)}))


@pytest.mark.parametrize('precision', ['f32', 'bf16'])
@pytest.mark.parametrize('name', DECODERS)
def test_in_openvino(name, precision):
    """Also where convolutions compute in bfloat16: places would not fit into its 8 bits."""
    assert_equals_numpy(name, *run_in_openvino(onnx_decoder(name), {'heatmaps': maps_of(name)}, precision))


def test_maps_that_are_hard_enough():
    """A decoder without the rule of the first maximum, or without the frame, would fail on them."""
    for name in ('mspn_coco', 'simple'):
        maps = maps_of(name)
        flat = maps.reshape(*maps.shape[:2], -1)
        is_tied = (flat == flat.max(axis=2, keepdims=True)).sum(axis=2) > 1
        assert is_tied.any() and (flat.max(axis=2) <= 0).any() and (~is_tied).any()
