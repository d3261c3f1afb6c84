"""What the tests of whole inferences share."""
import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
from made_up_detectors import ultralytics
from made_up_inputs import BOXES, moving_square, write_pose_network, write_video
from script_runs import SIMPLE_POSE, run_script


@pytest.fixture(scope='module')
def material(tmp_path_factory):
    """A pose network that finds a stick figure in every box, a detector that finds two people, pictures and a video."""
    folder = tmp_path_factory.mktemp('inputs')
    write_pose_network(folder / 'pose.onnx', SIMPLE_POSE)
    ultralytics(folder / 'detector.onnx', BOXES)
    (folder / 'photos').mkdir()
    for name in ('b 2.png', 'b 10.jpg', 'Käse.bmp'):
        cv2.imwrite(str(folder / 'photos' / name), moving_square(1)[0])
    (folder / 'photos' / 'notes.txt').write_text('no picture\n')
    write_video(folder / 'clip.mp4', moving_square(12))
    return folder


@pytest.fixture
def call(material, tmp_path, monkeypatch, capfd):
    """Return a function that runs infer.py in a folder of its own: words -> status, what it printed, results."""
    monkeypatch.chdir(tmp_path)

    def run(words: str, model=f'--model_file {material}/pose.onnx'):
        capfd.readouterr()
        status = run_script('infer', f'{words.format(material=material)} {model}')
        out, err = capfd.readouterr()
        results = Path('res_img/results.json')
        return SimpleNamespace(status=status, out=out, err=err,
                               folder=results.parent.absolute(),
                               results=json.loads(results.read_text()) if results.exists() else None)
    return run
