"""The root scripts run inside the test's process up to what a setting should reach: what train.py hands to its loop,
what a training leaves, what eval.py and infer.py predict with, rank and draw, what export.py is about to write.

Full networks are built but never compiled. Where something has to compute, a network of two layers does, which stands
behind the place where the settings of the full one have been used.
"""
import contextlib
import io
import json
import os
import pkgutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Dict, Iterator, List
from unittest import mock

import numpy as np
import yaml
from golden_data import load_seeded
from made_up_data import write_data_sets
from mindspore import Tensor, nn
from script_runs import MSPN, SIMPLE_POSE, run_script

from src.checkpoints.ckpt import save_checkpoint
from src.config import load_recipe, resolve
from src.evaluation.evaluate import EvaluationResult
from src.evaluation.predict import Poses
from src.models.common.blocks import BatchNorm
from src.models.registry import build_configured_network, num_hypotheses
from src.synthetic.writing import write_synthetic_coco
from src.training.step import StepReport

TINY = {'MODEL.IMAGE_SIZE': [64, 96], 'MSPN.HEATMAP_SIZE': [16, 24], 'POSE_RESNET.HEATMAP_SIZE': [16, 24],
        'HRNET.HEATMAP_SIZE': [16, 24], 'MODEL.STEM_CHANNELS': 8, 'POSE_RESNET.NUM_DECONV_FILTERS': [8, 8, 8],
        'MSPN.PLANES': [4, 8, 16, 32], 'MSPN.BLOCKS': [1, 1, 1, 1], 'MSPN.UPSAMPLE_CHANNEL_NUM': 8, 'HRNET.WIDTH': 4,
        'HRNET.MODULES': [1, 1, 1], 'HRNET.BLOCKS': 1, 'DATASET.ROOT': '{folder}/data', 'DATASET.ROT_FACTOR': 30,
        'DATASET.SCALE_FACTOR': 0.3, 'TRAIN.BATCH_SIZE': 2, 'TRAIN.END_EPOCH': 2, 'TEST.BATCH_SIZE': 4,
        'TEST.COCO_BBOX_FILE': '{folder}/boxes.json'}
# What a run starts from: a recipe, and the settings that make it small.
STARTS = {
    'simplepose': (SIMPLE_POSE, TINY), 'mspn': (MSPN, TINY),
    'mobilenet': (SIMPLE_POSE, {**TINY, 'MODEL.NAME': 'pose_mobilenet', 'POSE_MOBILENET.HEATMAP_SIZE': [16, 24]}),
    'hrnet': (SIMPLE_POSE, {**TINY, 'MODEL.NAME': 'hrnet'}), 'mipnet': (SIMPLE_POSE, {**TINY, 'MODEL.NAME': 'mipnet'}),
    'mipnet_resnet': (SIMPLE_POSE, {**TINY, 'MODEL.NAME': 'mipnet', 'MIPNET.BACKBONE': 'pose_resnet'}),
    'crowdpose': (SIMPLE_POSE, {**TINY, 'DATASET.PROTOCOL': 'crowdpose', 'DATASET.SKELETON': 'crowdpose',
                                'MODEL.NUM_JOINTS': 14, 'DATASET.ROOT': '{folder}/sets/crowdpose'}),
    'mspn_of_16': (MSPN, {**TINY, 'DATASET.SKELETON': 'mpii', 'MODEL.NUM_JOINTS': 16}),
}


@dataclass
class Run:
    """What is known of a script's run.

    Attributes:
        folder: its working folder.
        found: what it handed to the places that are watched, by name.
    """

    status: int
    out: str
    err: str
    folder: Path
    found: Dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        assert self.status == 0, self.err
        return self.found[name]

    @property
    def files(self) -> List[str]:
        """What it left below its folder, apart from locks."""
        assert self.status == 0, self.err
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob('*')
                      if path.is_file() and not path.name.startswith('.'))

    def json(self, name: str) -> Any:
        assert self.status == 0, self.err
        return json.loads((self.folder / name).read_text())

    @property
    def rows(self) -> List[dict]:
        """The metrics of a training without the seconds."""
        path = next(self.folder.glob('*_metrics.jsonl'))
        return [{key: value for key, value in json.loads(line).items() if not key.endswith('seconds')}
                for line in path.read_text().splitlines()]


class TinyPoseNet(nn.Cell):
    """images (N, 3, H, W) -> heatmaps (N, K, H/4, W/4); all hypotheses of a MIPNet are the same but for a factor."""

    def __init__(self, config):
        super().__init__()
        keypoints, self.count = config.MODEL.NUM_JOINTS, num_hypotheses(config)
        weights = np.random.default_rng(0).standard_normal((keypoints, 3, 4, 4)).astype(np.float32)
        self.conv = nn.Conv2d(3, keypoints, 4, stride=4, pad_mode='valid', weight_init=Tensor(weights))
        self.bn = BatchNorm(keypoints)

    def construct(self, images):
        return self.bn(self.conv(images))

    def training_outputs(self, images):
        return self.construct(images)


def made_up_poses(samples, count: int) -> Poses:
    """Poses whose ranking depends on every rule: those of people without keypoints nearly the same on each picture, the
    others about right, keypoint scores on both sides of every threshold; of I = `count` hypotheses."""
    rng = np.random.default_rng(0)
    people = np.tile(np.arange(len(samples)), count)
    first = samples.people.boxes_xywh[np.unique(samples.people.image_index, return_index=True)[1]]
    boxes = first[samples.people.image_index[people]]
    shape = rng.random((1, samples.skeleton.num_keypoints, 2))
    places = boxes[:, None, :2] + boxes[:, None, 2:] * shape + rng.normal(0, 4, (len(people), 1, 2))
    truth = samples.people.keypoints[people]
    places = np.where(truth[:, :, 2:] > 0, truth[:, :, :2] + rng.normal(0, 4, places.shape), places)
    scores = rng.random((len(people), samples.skeleton.num_keypoints, 1))
    return Poses(np.concatenate([places, scores], axis=2), boxes[:, 2] * boxes[:, 3], people,
                 np.repeat(np.arange(count), len(samples)))


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


# What stands at the watched places. Each is given the dictionary that takes what is found, and the original.

def end_with(*names: str) -> Callable:
    """Take the arguments of a call, the positional ones by `names`, and end the script there."""
    def make(found: dict, _original):
        def end(*values, **named):
            found.update(zip(names, values), **named)
            raise SystemExit(0)
        return end
    return make


def replace(replacement: Callable) -> Callable:
    return lambda found, original: replacement


def watch(name: str, *, result: Any = ...) -> Callable:
    """Take the arguments of every call in a list under `name`, and call the original unless there is a result."""
    def make(found: dict, original):
        def call(*values, **named):
            found.setdefault(name, []).append((values, named))
            return original(*values, **named) if result is ... else result
        return call
    return make


def _predict(found: dict, _original):
    def predict_poses(predictor, samples, **named):
        found.update(predictor=predictor, samples=samples, **named)
        return made_up_poses(samples, predictor.num_hypotheses)
    return predict_poses


def _load(found: dict, _original):
    def load_weights(_network, state, *_values, **_named):
        found['weights'] = {name: np.asarray(value) for name, value in state.items()}
    return load_weights


def _instant_step(_found: dict, _original):
    def launch(self, _pixels, _joints, _validity, *, stop=False, **_named) -> SimpleNamespace:
        # Everything overflows in mixed precision.
        return SimpleNamespace(report=lambda: StepReport(1.0, self.scaler is not None, bool(stop), 1.0))
    return launch


WITHOUT_CURVE = {'src.training.run.draw_loss_curve': replace(lambda *_, **__: None)}
TINY_NETWORK = {'src.training.setup.build_configured_network': replace(TinyPoseNet),
                'src.models.registry.build_configured_network': replace(TinyPoseNet)}
AT_THE_LOOP = {'src.training.loop.train': end_with('step', 'batches'),
               'src.models.common.blocks.BatchNorm.synchronise': watch('synchronised')}
WITHOUT_GRAPH = {
    **WITHOUT_CURVE, **TINY_NETWORK, 'src.training.step.TrainStep.launch': _instant_step,
    'src.evaluation.evaluate.Evaluation.measure': replace(lambda *_: EvaluationResult({'AP': 0.5}, [], None)),
    'src.training.log._Events': watch('events', result=SimpleNamespace(add=lambda *_: None, close=lambda: None))}
PREDICTED = {'src.evaluation.load_model.build_empty_network': replace(TinyPoseNet),
             'src.checkpoints.load.load_weights': _load,
             'src.evaluation.evaluate.predict_poses': _predict, 'src.evaluation.predict.predict_poses': _predict,
             'src.visualization.draw_people': watch('drawn', result=np.zeros((8, 8, 3), np.uint8))}
TWO_KINDS = {'src.system.device.available_targets': replace(lambda: ['GPU', 'CPU']),
             'mindspore.set_device': end_with('target', 'device_id')}


class Scripts:
    """Runs the root scripts, each time in a folder of its own below `folder`, which also holds data and checkpoints."""

    def __init__(self, folder: Path):
        self.folder, self._runs = folder, {}
        for seed, name in ((1, 'data'), (2, 'other')):
            write_synthetic_coco(str(folder / name), num_train=4, num_val=4, seed=seed, image_size=(240, 180))
        write_data_sets(folder / 'sets')
        self._write_boxes()
        # Nobody whom the field `num_keypoints` counts: the rules of CrowdPose differ in such people.
        path = folder / 'sets/crowdpose/json/crowdpose_val.json'
        content = json.loads(path.read_text())
        content['annotations'][0]['num_keypoints'] = 0
        path.write_text(json.dumps(content))
        config = resolve(load_recipe(SIMPLE_POSE), TINY)
        network = build_configured_network(config)
        save_checkpoint(str(folder / 'random.ckpt'), network, config)
        load_seeded(network)
        save_checkpoint(str(folder / 'start.ckpt'), network, config)

    def _write_boxes(self) -> None:
        """Write detected boxes, several nearly the same on each picture of `data`, and a file without the last one."""
        rng = np.random.default_rng(0)
        found = [{'image_id': image_id, 'category_id': 1, 'bbox': [60 + 2 * number, 30, 80, 120 + number],
                  'score': float(rng.uniform(0.2, 0.9))} for image_id in (1, 2, 3, 4) for number in range(5)]
        for name, content in (('boxes', found), ('fewer_boxes', found[:-1])):
            (self.folder / f'{name}.json').write_text(json.dumps(content))

    def run(self, script: str, start: str, also: Dict[str, Any], changes: Dict[str, Any], flags: str,
            places: Dict[str, Callable], *, repetition: int = 0) -> Run:
        """Run a script, once for all who ask for the same.

        Args:
            start: one of STARTS.
            also: {config key: value}, added to its recipe.
            changes: {config key: value}, given with --set.
            flags: further words. In all of these '{folder}' stands for the folder of the data.
            places: {path of an attribute: what watches or replaces it}.
            repetition: another number is another run.
        """
        words = [f'{key}={str(value).replace(" ", "")}' for key, value in changes.items()]
        line = f'{flags} {"--set" * bool(words)} {" ".join(words)}'
        key = (script, start, str(also), line, *places, *map(id, places.values()), repetition)
        if key not in self._runs:
            recipe, of_start = STARTS[start]
            folder = Path(tempfile.mkdtemp(prefix='run_', dir=self.folder))
            sections: Dict[str, Any] = {'BASE': recipe}
            for name, value in {**of_start, **also}.items():
                section, _, last = name.partition('.')
                sections.setdefault(section, {})[last] = value
            (folder / '.recipe.yaml').write_text(self._named(yaml.safe_dump(sections)))
            self._runs[key] = _run(script, self._named(f'--recipe .recipe.yaml {line}'), folder, places)
        return self._runs[key]

    def _named(self, text: str) -> str:
        return text.replace('{folder}', str(self.folder))


def _run(script: str, line: str, folder: Path, places: Dict[str, Callable]) -> Run:
    found: Dict[str, Any] = {}
    with contextlib.ExitStack() as stack, io.StringIO() as out, io.StringIO() as err:
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        stack.enter_context(working_in(folder))
        for target, make in places.items():
            owner, _, name = target.rpartition('.')
            owner = pkgutil.resolve_name(owner)
            stack.enter_context(mock.patch.object(owner, name, make(found, getattr(owner, name))))
        status = run_script(script, line)
        return Run(status, out.getvalue(), err.getvalue(), folder, found)
