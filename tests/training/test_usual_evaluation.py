"""Whom a training is evaluated on where nobody has said anything, and the weights of single epochs."""
from types import SimpleNamespace

import pytest

from src.config import load_recipe, resolve
from src.system.errors import PoseError
from src.training import people
from src.training.files import RunFiles
from src.training.run import TrainingRun


@pytest.fixture
def load(monkeypatch, tmp_path):
    """Return a function: settings -> EVAL_EPOCHS that it becomes, and the configurations that were evaluated on."""
    monkeypatch.chdir(tmp_path)
    seen = []

    def evaluation(config, _processes, _keys):
        seen.append(config)
        if config.DATASET.ROOT == 'nowhere':
            raise PoseError('no annotation file')
        return SimpleNamespace(gt_file='gt.json', box_report='boxes', notes=[])

    monkeypatch.setattr(people, 'Evaluation', evaluation)

    def do(epochs=140.0, **settings):
        seen.clear()
        config = resolve(load_recipe('simplepose_r50_coco_256x192'),
                         {key.replace('_', '.', 1): value for key, value in settings.items()})
        found = people.load_evaluation(config, None, (), epochs=epochs)
        assert (found is not None) == bool(config.TRAIN.EVAL_EPOCHS)
        return config.TRAIN.EVAL_EPOCHS, list(seen)
    return do


def test_every_ten_epochs_where_there_is_something_to_evaluate_on(load, tmp_path, capsys):
    epochs, seen = load()
    assert epochs == 10 and seen[0].TEST.USE_GT_BBOX
    assert 'evaluation every 10 epochs: gt.json, boxes: boxes' in capsys.readouterr().out
    (tmp_path / 'boxes.json').write_text('[]')
    assert not load(TEST_COCO_BBOX_FILE=str(tmp_path / 'boxes.json'))[1][0].TEST.USE_GT_BBOX
    assert load(epochs=9.5) == (0, [])
    assert load(DATASET_ROOT='nowhere')[0] == 0
    assert 'note: no evaluation during the training: no annotation file' in capsys.readouterr().out


def test_what_is_asked_for_is_done_or_an_error(load):
    assert load(TRAIN_EVAL_EPOCHS=3, epochs=3)[0] == 3 and load(TRAIN_EVAL_EPOCHS=0) == (0, [])
    assert not load(TRAIN_EVAL_EPOCHS=3)[1][0].TEST.USE_GT_BBOX
    with pytest.raises(PoseError, match='no annotation file'):
        load(TRAIN_EVAL_EPOCHS=3, DATASET_ROOT='nowhere')


def test_files_of_single_epochs(tmp_path, monkeypatch):
    files = RunFiles(str(tmp_path / 'pose.ckpt'))
    monkeypatch.setattr('src.training.run.save_checkpoint', lambda path, *_: open(path, 'w').close())
    run = TrainingRun.__new__(TrainingRun)
    run.config = resolve(load_recipe('base'), {'TRAIN.SAVE_EPOCHS': 4, 'TRAIN.KEEP_CHECKPOINTS': 2,
                                               'TRAIN.END_EPOCH': 9})
    run.files, run.processes, run.evaluation = files, SimpleNamespace(is_first=True), None
    run.progress = SimpleNamespace(evaluations_without_gain=0)
    run.save_weights, run.save_state, run._result = lambda must: None, lambda: None, lambda: {}
    (tmp_path / 'pose_epoch_mine.ckpt').touch()
    for epoch in range(1, 10):
        run.after_epoch(epoch, is_stopping=True)
    assert [path.rpartition('_')[2] for path in files.of_epochs] == ['0008.ckpt', '0009.ckpt']
    files.set_aside_earlier_run(lambda line: None)
    (tmp_path / 'pose_metrics.jsonl').touch()
    files.set_aside_earlier_run(lambda line: None)
    assert sorted(path.name for path in (tmp_path / 'pose_earlier_1').iterdir()) == [
        'pose_epoch_0008.ckpt', 'pose_epoch_0009.ckpt', 'pose_metrics.jsonl']
    assert (tmp_path / 'pose_epoch_mine.ckpt').is_file()
