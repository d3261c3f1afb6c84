"""What a user gets wrong: every mistake ends in one line that says what would be right, and destroys nothing.

The scripts run inside this process, in a folder of the test's own that holds a tiny data set and checkpoint, so the
paths in the table are short and relative.
"""
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, List, Optional, Tuple

import mindspore as ms
import numpy as np
import pytest
from script_runs import MSPN, SIMPLE_POSE, TINY, TOY, TOY_POSE, run_script

from src.data import images
from src.data.coco import SAMPLE_RULES, load_coco_people
from src.data.skeletons import get_skeleton
from src.evaluation.predict import Poses
from src.synthetic.writing import write_synthetic_coco
from src.system.command_line import run_command
from src.system.errors import PoseError

# What every call begins with; the arguments of a case come behind and override these.
ARGUMENTS = {
    'train': f'--recipe {SIMPLE_POSE} --data_url data --epoch 2 --batch_size 2 '
             f'--input_shape 128 96 {TINY[SIMPLE_POSE]} --ckpt_save_path out/pose.ckpt',
    'eval': '--ckpt_path pose.ckpt --data_url data --batch_size 8 --save_path out/results.json',
    'infer': '--ckpt_path pose.ckpt --data_url data/val2017 --batch_size 8 --img_save_dir out',
}
OF_THE_TOY = f'--ckpt_path toy.ckpt --plugin {TOY_POSE}'
OUTPUTS = ('out/pose.ckpt', 'out/results.json', 'out/1_res.jpg')
TRAIN_JSON = 'data/annotations/person_keypoints_train2017.json'
VAL_JSON = 'data/annotations/person_keypoints_val2017.json'
# In the place where infer.py looks by itself.
DETECTIONS = 'annotation/det_json/val2017_detections.json'
PICTURE = 'data/train2017/000000000002.jpg'
# Would make a file, which the tests would find.
HOSTILE_PICKLE = b'\x80\x02cos\nsystem\nX\x0b\x00\x00\x00touch pwned\x85R.'
# Everybody in the first batch: a damaged picture is met before the graph is compiled, which keeps the test short.
ONE_BATCH = '--batch_size 64 --set TRAIN.DROP_REMAINDER=false'


@dataclass(frozen=True)
class Outcome:
    """How a script ended: its exit status and what it printed."""

    status: int
    out: str
    err: str


@pytest.fixture(scope='module')
def material(tmp_path_factory):
    """A folder with four training and four validation pictures and two untrained checkpoints."""
    folder = tmp_path_factory.mktemp('material')
    write_synthetic_coco(str(folder / 'data'), num_train=4, num_val=4, seed=1, image_size=(240, 180))
    (folder / DETECTIONS).parent.mkdir(parents=True)
    (folder / 'data' / 'annotations' / 'val2017_detections.json').rename(folder / DETECTIONS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run_script('train', f'{ARGUMENTS["train"]} --epoch 0 --ckpt_save_path pose.ckpt') == 0
        assert run_script('train', f'{ARGUMENTS["train"]} --epoch 0 --ckpt_save_path toy.ckpt {TOY}') == 0
    return folder


@pytest.fixture
def call(material, tmp_path, monkeypatch, capfd):
    """Return a function that runs a script in a copy of the material: (script, arguments) -> Outcome."""
    shutil.copytree(material, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('POSE_TRACEBACK', raising=False)

    def run(script: str, arguments: str = '') -> Outcome:
        capfd.readouterr()
        status = run_script(script, f'{ARGUMENTS[script]} {arguments}')
        return Outcome(status, *capfd.readouterr())

    return run


# What is done to the data before the script runs; each returns a function without arguments.

def write(path: str, content) -> Callable[[], None]:
    """Write bytes as they are, anything else as JSON (which spells NaN and Infinity as Python does)."""
    def damage():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return damage


def edit(path: str, change: Callable) -> Callable[[], None]:
    """Rewrite a JSON file as `change` leaves its content."""
    def damage():
        content = json.loads(Path(path).read_text())
        change(content)
        write(path, content)()
    return damage


def edit_annotation(path: str, **values) -> Callable[[], None]:
    """Set fields of the file's second annotation; `...` removes one."""
    def change(content):
        for key, value in values.items():
            if value is ...:
                del content['annotations'][1][key]
            else:
                content['annotations'][1][key] = value
    return edit(path, change)


def edit_boxes(**values) -> Callable[[], None]:
    """Set fields of all detections."""
    return edit(DETECTIONS, lambda boxes: [box.update(values) for box in boxes])


def cut(path: str, share: float) -> Callable[[], None]:
    """Keep the first part of a file."""
    def damage():
        content = Path(path).read_bytes()
        Path(path).write_bytes(content[:int(len(content) * share)])
    return damage


def remove(path: str) -> Callable[[], None]:
    return lambda: shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)


def make_folder(path: str) -> Callable[[], None]:
    return lambda: os.makedirs(path)


def rewrite_checkpoint(change: Callable[[dict], None]) -> Callable[[], None]:
    """Save pose.ckpt anew as `change` leaves its {name: array or configuration text}."""
    def damage():
        content = {name: value.asnumpy() if isinstance(value, ms.Parameter) else str(value)
                   for name, value in ms.load_checkpoint('pose.ckpt').items()}
        change(content)
        text = {'config': content.pop('config')} if 'config' in content else None
        os.remove('pose.ckpt')
        ms.save_checkpoint([{'name': name, 'data': ms.Tensor(value)} for name, value in content.items()], 'pose.ckpt',
                           append_dict=text)
    return damage


@dataclass(frozen=True)
class Case:
    """One wrong input.

    Attributes:
        name: of the test.
        script: train, eval or infer.
        arguments: behind those of ARGUMENTS.
        says: parts of the message.
        damage: what is done to the files first.
        patch: (place, replacement) for what a test cannot change otherwise, such as the installed packages.
    """

    name: str
    script: str
    arguments: str
    says: Tuple[str, ...]
    damage: Callable[[], None] = lambda: None
    patch: Optional[Tuple[str, Callable]] = None


CASES: List[Case] = [
    # Pictures
    Case('data_folder_missing', 'train', f'--data_url nowhere --gt_file_url {TRAIN_JSON}',
         ('picture folder nowhere does not exist', 'data_url')),
    Case('data_folder_missing_eval', 'eval', f'--use_gt_bbox --data_url nowhere --gt_file_url {VAL_JSON}',
         ('picture folder nowhere does not exist', 'data_url')),
    Case('pictures_missing', 'train', '', ('4 of 4 pictures are missing', '000000000001.jpg', 'looked in data'),
         lambda: (remove('data/train2017')(), remove('data/val2017')())),
    Case('one_picture_missing', 'train', '', ('1 of 4 pictures are missing', '000000000002.jpg', 'data/train2017'),
         lambda: (remove(PICTURE)(), remove('data/val2017')())),
    Case('picture_of_same_name_in_other_split', 'train', '', ('1 of 4 pictures are missing', '000000000002.jpg'),
         remove(PICTURE)),
    Case('jpeg_truncated', 'train', ONE_BATCH, (PICTURE, 'truncated'), cut(PICTURE, 0.5)),
    Case('jpeg_truncated_with_loader_processes', 'train', f'{ONE_BATCH} --num_parallel_workers 2',
         (PICTURE, 'truncated'), cut(PICTURE, 0.5)),
    Case('jpeg_empty', 'train', ONE_BATCH, (PICTURE, 'empty'), write(PICTURE, b'')),
    Case('jpeg_is_text', 'train', ONE_BATCH, (PICTURE, 'not a picture'), write(PICTURE, b'a text, not a picture')),
    Case('jpeg_is_folder', 'train', ONE_BATCH, (PICTURE, 'cannot read'),
         lambda: (remove(PICTURE)(), make_folder(PICTURE)())),
    Case('jpeg_truncated_eval', 'eval', '--use_gt_bbox', ('data/val2017/000000000003.jpg', 'truncated'),
         cut('data/val2017/000000000003.jpg', 0.5)),

    # Annotation files
    Case('annotation_file_missing', 'train', '--gt_file_url none.json',
         ('annotation file none.json does not exist', 'gt_file_url')),
    Case('no_annotation_file_anywhere', 'train', '',
         ('no annotation file', TRAIN_JSON, './annotation/gt_json', '--gt_file_url'), remove('data/annotations')),
    Case('annotations_not_json', 'train', '', (TRAIN_JSON, 'not a JSON file', 'line 1'), cut(TRAIN_JSON, 0.5)),
    Case('annotations_binary', 'train', '', (TRAIN_JSON, 'not a JSON file'), write(TRAIN_JSON, b'\xff\xd8\xff\xe0')),
    Case('annotations_are_a_list', 'train', '', (TRAIN_JSON, 'images and annotations', 'is a list'),
         write(TRAIN_JSON, [])),
    Case('annotations_without_images', 'train', '', (TRAIN_JSON, "no 'images'"),
         edit(TRAIN_JSON, lambda content: content.pop('images'))),
    Case('annotations_without_picture_name', 'train', '', (TRAIN_JSON, 'image 0', "no 'file_name'"),
         edit(TRAIN_JSON, lambda content: content['images'][0].pop('file_name'))),
    Case('annotations_empty', 'train', '', (TRAIN_JSON, 'none of its 0 annotations is a person'),
         edit(TRAIN_JSON, lambda content: content['annotations'].clear())),
    Case('annotation_without_image_id', 'train', '', (TRAIN_JSON, 'annotation 1', "no 'image_id'"),
         edit_annotation(TRAIN_JSON, image_id=...)),
    Case('annotation_of_unknown_image', 'train', '', (TRAIN_JSON, 'annotation 1', '99', 'not among the images'),
         edit_annotation(TRAIN_JSON, image_id=99)),
    Case('annotation_image_id_text', 'train', '',
         (TRAIN_JSON, 'annotation 1', "'image_id' should be a whole number", "'one'"),
         edit_annotation(TRAIN_JSON, image_id='one')),
    Case('keypoints_wrong_length', 'train', '', (TRAIN_JSON, 'annotation 1', '48 keypoint values', 'should be 51'),
         edit_annotation(TRAIN_JSON, keypoints=[20, 20, 2] * 16)),
    Case('keypoints_text', 'train', '', (TRAIN_JSON, 'annotation 1', "'keypoints' should be finite numbers"),
         edit_annotation(TRAIN_JSON, keypoints=['left', 20, 2] * 17)),
    Case('keypoints_nan', 'train', '', (TRAIN_JSON, 'annotation 1', "'keypoints' should be finite numbers"),
         edit_annotation(TRAIN_JSON, keypoints=[float('nan'), 20, 2] * 17)),
    Case('keypoints_unequal_lists', 'train', '', (TRAIN_JSON, 'annotation 1', "'keypoints'"),
         edit_annotation(TRAIN_JSON, keypoints=[[1, 2, 2]] + [1] * 50)),
    Case('visibility_3', 'train', '', (TRAIN_JSON, 'annotation 1', 'visibility should be 0, 1 or 2'),
         edit_annotation(TRAIN_JSON, keypoints=[20, 20, 3] * 17)),
    Case('annotation_without_box', 'train', '', (TRAIN_JSON, 'annotation 1', "no 'bbox'"),
         edit_annotation(TRAIN_JSON, bbox=...)),
    Case('annotation_box_of_three', 'train', '', (TRAIN_JSON, 'annotation 1', '[x, y, width, height]'),
         edit_annotation(TRAIN_JSON, bbox=[1, 2, 3])),
    Case('annotation_box_nan', 'train', '', (TRAIN_JSON, 'annotation 1', "'bbox' should be finite"),
         edit_annotation(TRAIN_JSON, bbox=[float('nan'), 2, 30, 40])),
    Case('annotation_area_text', 'train', '', (TRAIN_JSON, 'annotation 1', "'area'"),
         edit_annotation(TRAIN_JSON, area='large')),
    Case('image_id_too_large', 'train', '', (TRAIN_JSON, 'image 0', "'id'"),
         edit(TRAIN_JSON, lambda content: content['images'][0].update(id=10 ** 30))),
    # The evaluator reads the annotation file once more, after hours of prediction.
    Case('evaluated_annotation_ids_twice', 'eval', '--use_gt_bbox',
         (VAL_JSON, 'annotation 1', "the 'id' 1 is there twice"),
         edit_annotation(VAL_JSON, id=1)),
    Case('evaluated_annotations_without_categories', 'eval', '--use_gt_bbox', (VAL_JSON, "no 'categories'"),
         edit(VAL_JSON, lambda content: content.pop('categories'))),
    Case('evaluated_keypoints_wrong_length', 'eval', f'--det_file_url {DETECTIONS}',
         (VAL_JSON, 'annotation 1', '48 keypoint values', 'should be 51'),
         edit_annotation(VAL_JSON, keypoints=[20, 20, 2] * 16)),
    Case('evaluated_annotations_empty', 'eval', f'--det_file_url {DETECTIONS}', (VAL_JSON, 'no annotations'),
         edit(VAL_JSON, lambda content: content['annotations'].clear())),

    Case('evaluated_iscrowd_null', 'eval', '--use_gt_bbox',
         (VAL_JSON, 'annotation 1', "'iscrowd' should be 0 or 1, is null"), edit_annotation(VAL_JSON, iscrowd=None)),
    Case('evaluated_box_null', 'eval', f'--det_file_url {DETECTIONS}',
         (VAL_JSON, 'annotation 1', "'bbox' should be [x, y, width, height], is null"),
         edit_annotation(VAL_JSON, bbox=None)),
    Case('evaluated_count_text', 'eval', '--use_gt_bbox',
         (VAL_JSON, 'annotation 1', "'num_keypoints' should be a whole number, is '3'"),
         edit_annotation(VAL_JSON, num_keypoints='3')),
    Case('evaluated_crowd_without_number_in_box', 'eval', f'--det_file_url {DETECTIONS}',
         (VAL_JSON, 'annotation 1', "'bbox' should be finite numbers, is [1, 2, None, 4]"),
         edit_annotation(VAL_JSON, iscrowd=1, keypoints=[0] * 51, num_keypoints=0, bbox=[1, 2, None, 4])),
    Case('evaluated_in_training_iscrowd_null', 'train', '--set TRAIN.EVAL_EPOCHS=1 TEST.USE_GT_BBOX=true',
         (VAL_JSON, 'annotation 1', "'iscrowd' should be 0 or 1, is null"), edit_annotation(VAL_JSON, iscrowd=None)),
    Case('evaluated_in_training_area_null', 'train', '--set TRAIN.EVAL_EPOCHS=1 TEST.USE_GT_BBOX=true',
         (VAL_JSON, 'annotation 1', "'area' should be a number, is null"), edit_annotation(VAL_JSON, area=None)),

    # Boxes
    Case('detection_file_missing_default', 'eval', '',
         ('COCO_val2017_detections_AP_H_56_person.json', 'does not exist', '--det_file_url', '--use_gt_bbox')),
    Case('detection_file_missing_explicit', 'eval', '--det_file_url none.json', ('none.json', 'does not exist')),
    Case('detection_file_missing_infer', 'infer', '--det_file_url none.json',
         ('none.json', 'does not exist', 'det_file_url')),
    Case('detections_and_ground_truth_boxes', 'eval', f'--use_gt_bbox --det_file_url {DETECTIONS}',
         ('--det_file_url', '--use_gt_bbox', 'not both')),
    Case('abbreviated_flag', 'train', '--ckpt pose.ckpt', ('unknown flag --ckpt; did you mean --',)),
    Case('batch_size_twice', 'train', '--batchsize 3', ('--batchsize', 'TRAIN.BATCH_SIZE is set by another flag')),
    Case('detections_empty', 'eval', f'--det_file_url {DETECTIONS}', (DETECTIONS, 'no box of a person'),
         write(DETECTIONS, [])),
    Case('detections_are_an_object', 'eval', f'--det_file_url {VAL_JSON}', (VAL_JSON, 'list of boxes', 'is an object')),
    Case('detection_without_box', 'eval', f'--det_file_url {DETECTIONS}', (DETECTIONS, 'box 1', "no 'bbox'"),
         edit(DETECTIONS, lambda boxes: boxes[1].pop('bbox'))),
    Case('detection_score_text', 'eval', f'--det_file_url {DETECTIONS}', (DETECTIONS, 'box 0', "'score'", "'high'"),
         edit_boxes(score='high')),
    Case('detections_of_other_pictures', 'eval', f'--det_file_url {DETECTIONS}',
         ('none of the', 'ids such as [77', 'the images are [1, 2, 3]'), edit_boxes(image_id=77)),
    Case('detections_of_other_pictures_infer', 'infer', '', ('none of the', 'ids such as [77', 'the images are [1'),
         edit_boxes(image_id=77)),
    Case('detections_of_other_categories', 'eval', f'--det_file_url {DETECTIONS}', (DETECTIONS, 'category_id 1'),
         edit_boxes(category_id=3)),
    Case('boxes_without_area', 'eval', f'--det_file_url {DETECTIONS}', ('none of the', 'without area'),
         edit_boxes(bbox=[10, 10, 0, 20])),
    Case('boxes_negative', 'infer', '', ('none of the', 'without area'), edit_boxes(bbox=[10, 10, -30, -20])),
    Case('boxes_nan', 'eval', f'--det_file_url {DETECTIONS}', ('none of the', 'with NaN or infinity'),
         edit_boxes(bbox=[float('nan'), 10, 30, 20])),
    Case('boxes_below_threshold', 'eval', f'--det_file_url {DETECTIONS} --set TEST.IMAGE_THRE=2',
         ('none of the', 'below score 2')),

    # Recipes, keys and flags
    Case('recipe_unknown', 'train', '--recipe hrnet',
         ("unknown recipe 'hrnet'; did you mean hrnet_w32", '--list_recipes', '.yaml')),
    Case('recipe_unknown_eval', 'eval', '--recipe hrnet', ("unknown recipe 'hrnet'; did you mean hrnet_w32",)),
    Case('recipe_file_not_yaml', 'train', '--recipe my.yaml', ('my.yaml', 'not a YAML file'),
         write('my.yaml', b'TRAIN: [')),
    Case('recipe_file_unknown_key', 'train', '--recipe my.yaml', ('my.yaml', "'TRAIN.RATE'", 'TRAIN.LR'),
         write('my.yaml', b'TRAIN: {RATE: 1}')),
    Case('section_unknown', 'train', '--set TRAINING.LR=1', ("'TRAINING.LR'", 'known here', 'TRAIN')),
    Case('key_unknown', 'train', '--set TRAIN.LEARNING_RATE=1', ("'TRAIN.LEARNING_RATE'", 'known here', 'TRAIN.LR')),
    Case('value_of_wrong_kind', 'train', '--epoch ten', ('TRAIN.END_EPOCH', 'whole number', "'ten'")),
    Case('value_not_finite', 'train', '--lr nan', ('TRAIN.LR', 'finite', "'nan'")),
    Case('switch_of_wrong_kind', 'train', '--ohkm maybe', ('LOSS.OHKM', 'true or false', "'maybe'")),
    Case('set_without_equals', 'train', '--set TRAIN.LR', ('--set TRAIN.LR', 'KEY=VALUE')),
    Case('flag_unknown', 'train', '--learning_rate 1', ('unknown flag --learning_rate',)),
    Case('flag_of_wrong_kind', 'infer', '--score_thresh high', ('--score_thresh', "'high'")),
    Case('input_shape_not_of_32', 'train', '--input_shape 100 96',
         ('MODEL.IMAGE_SIZE', 'multiples of 32', 'is [96, 100]')),
    Case('output_shape_contradicts', 'train', '--output_shape 64 48',
         ('HEATMAP_SIZE', 'quarter of MODEL.IMAGE_SIZE [96, 128]', '[48, 64]')),
    Case('keypoint_num_16', 'train', '--keypoint_num 16', ('keypoint_num is 16', 'coco', '17 keypoints')),
    Case('topk_above_keypoints', 'train', '--recipe mspn_1stg_coco_256x192 --topk 18',
         ('LOSS.TOPK 18', '17 keypoints')),
    Case('batch_size_zero', 'train', '--batch_size 0', ('TRAIN.BATCH_SIZE', 'positive', 'is 0')),
    Case('batch_size_negative', 'eval', '--use_gt_bbox --batch_size -1', ('TEST.BATCH_SIZE', 'positive', 'is -1')),
    Case('batch_larger_than_data', 'train', '--batch_size 64', ('do not fill one batch of 64', 'batch_size')),
    Case('lr_negative', 'train', '--lr=-0.001', ('TRAIN.LR', 'positive', '-0.001')),
    Case('means_of_two', 'train', '--img_means 0.5 0.5', ('DATASET.MEANS', '3 values')),
    Case('stds_zero', 'train', '--img_stds 0 0 0 --epoch 1', ('DATASET.STDS', 'positive')),
    Case('begin_behind_end', 'train', '--set TRAIN.BEGIN_EPOCH=5', ('TRAIN.BEGIN_EPOCH 5', 'TRAIN.END_EPOCH 2')),
    Case('stage_num_zero', 'train', '--stage_num 0', ('MSPN.STAGE_NUM', 'one of 1, 2, 3, 4')),
    Case('layers_unknown', 'train', '--set POSE_RESNET.NUM_LAYERS=99',
         ('POSE_RESNET.NUM_LAYERS', '18, 34, 50, 101, 152')),
    Case('skeleton_unknown', 'train', '--set DATASET.SKELETON=cat', ("unknown skeleton 'cat'", 'coco')),

    Case('protocol_unknown', 'eval', '--use_gt_bbox --set DATASET.PROTOCOL=lsp',
         ('DATASET.PROTOCOL', 'coco, ochuman, crowdpose, mpii', "'lsp'")),
    Case('protocol_of_another_layout', 'eval', '--use_gt_bbox --set DATASET.PROTOCOL=crowdpose',
         ('DATASET.PROTOCOL crowdpose needs DATASET.SKELETON crowdpose, not coco',)),
    Case('layout_of_another_checkpoint', 'infer', '--set DATASET.SKELETON=mpii',
         ('keypoint_num is 17', '16 keypoints')),
    Case('submission_of_another_kind', 'eval', '--use_gt_bbox --submission out/pred.mat',
         ('--submission out/pred.mat', 'coco should end in .json')),

    # Checkpoints
    Case('checkpoint_missing', 'eval', '--use_gt_bbox --ckpt_path none.ckpt', ('none.ckpt', 'does not exist')),
    Case('checkpoint_missing_infer', 'infer', '--ckpt_path none.ckpt', ('none.ckpt', 'does not exist')),
    Case('checkpoint_truncated', 'eval', '--use_gt_bbox', ('pose.ckpt', 'damaged', 'bytes'), cut('pose.ckpt', 0.6)),
    Case('checkpoint_empty', 'eval', '--use_gt_bbox', ('pose.ckpt', 'damaged', '0 bytes'), write('pose.ckpt', b'')),
    Case('checkpoint_is_text', 'infer', '', ('pose.ckpt', 'no MindSpore checkpoint'), write('pose.ckpt', b'weights\n')),
    Case('pytorch_file_truncated', 'eval', '--use_gt_bbox --ckpt_path pose.pth',
         ('pose.pth', 'no file that torch.save has written', '2 bytes'), write('pose.pth', b'PK')),
    Case('pytorch_file_hostile', 'eval', '--use_gt_bbox --ckpt_path pose.pth', ('pose.pth is refused', 'os.system'),
         write('pose.pth', HOSTILE_PICKLE)),
    Case('checkpoint_of_other_kind', 'infer', '--ckpt_path pose.onnx.txt', ('pose.onnx.txt', 'known endings', '.ckpt'),
         write('pose.onnx.txt', b'weights')),
    Case('checkpoint_is_a_web_page', 'eval', '--use_gt_bbox --ckpt_path pose.safetensors',
         ('pose.safetensors is a web page',), write('pose.safetensors', b'<!doctype html><html></html>')),
    Case('checkpoint_of_other_network', 'eval', f'--use_gt_bbox --recipe {MSPN}',
         ('pose.ckpt does not fit the network (MSPN)', 'missing', 'unexpected')),
    Case('checkpoint_of_other_width', 'eval', '--use_gt_bbox --set MODEL.STEM_CHANNELS=16',
         ('pose.ckpt does not fit', 'of another shape', 'should be (16')),
    Case('checkpoint_with_wrong_shape', 'infer', '',
         ('pose.ckpt does not fit', '1 of another shape', 'conv1.weight is (8, 3, 7, 5), should be (8, 3, 7, 7)'),
         rewrite_checkpoint(lambda content: content.update({'conv1.weight': content['conv1.weight'][..., :5].copy()}))),
    Case('checkpoint_lacks_weights', 'eval', '--use_gt_bbox', ('pose.ckpt does not fit', '1 missing', 'conv1.weight'),
         rewrite_checkpoint(lambda content: content.pop('conv1.weight'))),
    Case('checkpoint_config_damaged', 'eval', '--use_gt_bbox', ('pose.ckpt', 'configuration is damaged'),
         rewrite_checkpoint(lambda content: content.update(config='{'))),
    Case('checkpoint_weights_nan', 'eval', '--use_gt_bbox', ('pose.ckpt', 'NaN or infinity'),
         rewrite_checkpoint(lambda content: content['conv1.weight'].fill(np.nan))),
    Case('pretrained_missing', 'train', '--pretrained true --pretrained_path none.ckpt',
         ('none.ckpt', 'does not exist')),
    Case('pretrained_hostile', 'train', '--pretrained_path start.pth.tar', ('start.pth.tar is refused', 'os.system'),
         write('start.pth.tar', HOSTILE_PICKLE)),
    Case('pretrained_missing_alone', 'train', '--epoch 0 --pretrained_path none.ckpt', ('none.ckpt', 'does not exist')),
    Case('pretrained_of_other_network', 'train',
         f'--pretrained true --pretrained_path pose.ckpt --recipe {MSPN}',
         ('pose.ckpt does not fit the network (MSPN)', 'missing')),

    # Continuing a run
    Case('resume_missing', 'train', '--resume none.ckpt', ('none.ckpt', 'does not exist')),
    Case('resume_from_weights', 'train', '--resume pose.ckpt',
         ('pose.ckpt', 'checkpoint of weights, not the state of a run', '--pretrained_path')),
    Case('resume_from_truncated', 'train', '--resume pose.ckpt', ('pose.ckpt is damaged', 'without a checksum'),
         cut('pose.ckpt', 0.9)),
    Case('resume_from_a_folder', 'train', '--resume out', ('out', 'does not exist')),

    # Precision, evaluation during training
    Case('amp_level_unknown', 'train', '--amp_level O4', ('TRAIN.AMP_LEVEL', 'O0, O1, O2, O3', "'O4'")),
    Case('max_steps_negative', 'train', '--max_steps=-1', ('TRAIN.MAX_STEPS', 'zero or more', '-1')),
    Case('early_stop_alone', 'train', '--set TRAIN.EARLY_STOP=1', ('TRAIN.EARLY_STOP', 'TRAIN.EVAL_EPOCHS')),
    Case('accumulated_batch_larger_than_data', 'train', '--set TRAIN.ACCUMULATE=9',
         ('people do not fill one batch of 18', 'batch_size')),
    Case('evaluation_in_training_without_boxes', 'train', '--set TRAIN.EVAL_EPOCHS=1',
         ('COCO_val2017_detections_AP_H_56_person.json', 'does not exist', 'TEST.COCO_BBOX_FILE', 'TEST.USE_GT_BBOX')),
    Case('evaluation_in_training_without_annotations', 'train', '--set TRAIN.EVAL_EPOCHS=1 TEST.USE_GT_BBOX=true',
         ('no annotation file', VAL_JSON, 'DATASET.TEST_JSON'), remove(VAL_JSON)),
    Case('evaluation_in_training_without_pictures', 'train', '--set TRAIN.EVAL_EPOCHS=1 TEST.USE_GT_BBOX=true',
         ('4 of 4 pictures are missing', 'data'), lambda: (
             remove('data/val2017')(),
             edit(VAL_JSON, lambda content: [image.update(file_name=f'x{image["id"]}.jpg')
                                             for image in content['images']])())),

    # Outputs. The tests may run as root, whom no permission stops: a file stands where a folder is needed.
    Case('output_under_a_file', 'train', '--ckpt_save_path blocked/new/pose.ckpt', ('cannot write', 'blocked/new'),
         write('blocked', b'')),
    Case('output_is_a_folder', 'train', '--ckpt_save_path data.ckpt', ('data.ckpt should be a file', 'is a folder'),
         make_folder('data.ckpt')),
    Case('states_in_a_file', 'train', '', ('cannot write', 'folder out/pose_states'), write('out/pose_states', b'')),
    Case('output_of_other_kind', 'train', '--epoch 0 --ckpt_save_path out/new', ('out/new', '.ckpt')),
    Case('metrics_under_a_file', 'train', '--metrics_path blocked/steps.jsonl', ('cannot write', 'blocked'),
         write('blocked', b'')),
    Case('results_are_a_folder', 'eval', '--use_gt_bbox --save_path data', ('data should be a file', 'is a folder')),
    Case('results_under_a_file', 'eval', '--use_gt_bbox --save_path blocked/results.json', ('cannot write', 'blocked'),
         write('blocked', b'')),
    Case('results_into_a_pipe', 'eval', '--use_gt_bbox --save_path out/pipe',
         ('out/pipe should be a file to write', 'pipe'), lambda: os.mkfifo('out/pipe')),
    Case('metrics_in_the_checkpoint', 'train', '--metrics_path ./out/../out/pose.ckpt',
         ('--metrics_path ./out/../out/pose.ckpt is the checkpoint of the run itself', 'another place')),
    Case('drawings_in_a_file', 'infer', '--img_save_dir blocked', ('cannot write', 'folder blocked'),
         write('blocked', b'')),

    # Inference
    Case('inference_folder_missing', 'infer', '--data_url nowhere', ('picture folder nowhere does not exist',)),
    Case('inference_folder_without_pictures', 'infer', '--data_url data/annotations',
         ('data/annotations holds no readable picture', '42.jpg')),
    Case('no_inference_boxes', 'infer', '', ('no detection JSON in ./annotation/det_json', '--det_file_url'),
         remove(DETECTIONS)),

    # Device, version, training
    Case('device_unknown', 'train', '--device_target TPU', ("device_target 'TPU' is unknown", 'auto', 'Ascend')),
    Case('device_not_here', 'train', '--device_target Ascend', ('Ascend is not available', 'finds: CPU', 'auto'),
         patch=('src.system.device.available_targets', lambda: ['CPU'])),
    Case('mindspore_too_old', 'train', '', ('MindSpore 2.2.14', '2.7 to 2.10', 'requirements.txt'),
         patch=('src.system.device.installed_mindspore_version', lambda: '2.2.14')),
    Case('loss_not_finite', 'train', f'{TOY} --lr 1e30', ('the loss is', 'epoch 1, step 2', 'learning rate 1e+30',
                                                          '.jpg')),
]


def as_parameter(case: Case):
    return pytest.param(case, id=case.name)


@pytest.mark.parametrize('case', [as_parameter(case) for case in CASES])
def test_mistake_is_explained_and_destroys_nothing(case, call, monkeypatch):
    for path in OUTPUTS:
        write(path, b'of an earlier run')()
    case.damage()
    if case.patch:
        monkeypatch.setattr(*case.patch)
    before = list_files()

    outcome = call(case.script, case.arguments)

    assert outcome.status == 2, outcome
    errors = outcome.err.splitlines()
    if errors[0].startswith('usage: '):
        errors = errors[-1:]
    assert len(errors) == 1 and re.match(r'(\w+\.py: )?error: ', errors[0]), outcome.err
    for part in case.says:
        assert part in errors[0]
    assert 'Traceback' not in outcome.out + outcome.err
    assert all(Path(path).read_bytes() == b'of an earlier run' for path in OUTPUTS)
    # What a training leaves that ends after it began; every other mistake is met before anything is written.
    assert list_files() - before <= {'out/pose_metrics.jsonl', 'out/pose_states/.lock'}


def list_files() -> set:
    """The files below the working folder, without what MindSpore leaves for itself."""
    paths = {str(path) for path in Path('.').rglob('*') if path.is_file()}
    return {path for path in paths if not path.startswith(('rank_0', 'kernel_meta'))}


def test_table_is_complete_and_names_are_unique():
    assert len(CASES) >= 32
    assert len({case.name for case in CASES}) == len(CASES)


def test_traceback_comes_on_request(monkeypatch, capsys):
    """POSE_TRACEBACK=1 is for the developer."""
    def fail():
        raise PoseError('no such thing')

    monkeypatch.setenv('POSE_TRACEBACK', '1')
    with pytest.raises(SystemExit) as end:
        run_command(fail)
    assert end.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith('Traceback') and 'in fail' in shown and shown.endswith('error: no such thing\n')


# What is counted and reported, and stops nothing.

def load(path: str):
    return json.loads(Path(path).read_text())


def evaluate(call, arguments: str) -> Tuple[Outcome, list]:
    outcome = call('eval', f'{OF_THE_TOY} {arguments}')
    assert outcome.status == 0, outcome.err
    return outcome, load('out/results.json')


@pytest.fixture
def boxes_of(call):
    """Write a detection file with one good box per picture and the given further ones; return its path."""
    def make(*further: list) -> str:
        first = {box['image_id']: box for box in load(DETECTIONS)}
        extra = [{'image_id': 1, 'category_id': 1, 'bbox': box, 'score': 0.5} for box in further]
        write('boxes.json', [*first.values(), *extra])()
        return 'boxes.json'
    return make


def test_picture_without_box_is_counted(call):
    edit(VAL_JSON, lambda content: content.update(
        annotations=[each for each in content['annotations'] if each['image_id'] != 2]))()
    outcome, results = evaluate(call, '--use_gt_bbox')
    assert '1 pictures have no box' in outcome.out
    assert {record['image_id'] for record in results} == {1, 3, 4}


def test_unusable_and_outside_boxes_are_counted_among_good_ones(call, boxes_of):
    path = boxes_of([20, 20, 0, 50], [20, 20, float('nan'), 50], [20, float('inf'), 30, 50], [5000, 5000, 40, 60])
    outcome, results = evaluate(call, f'--det_file_url {path} --set TEST.OKS_NMS=false')
    assert '5 of 8 detected boxes' in outcome.out
    assert '1 without area' in outcome.out and '2 with NaN or infinity' in outcome.out
    assert '1 lie outside their picture' in outcome.out
    assert len(results) == 5
    assert all(np.isfinite(record['keypoints']).all() and np.isfinite(record['score']) for record in results)


@pytest.mark.parametrize('sample_rule', SAMPLE_RULES)
def test_ground_truth_box_without_area_is_left_out(material, tmp_path, monkeypatch, sample_rule):
    shutil.copytree(material, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    everybody = len(load(TRAIN_JSON)['annotations'])
    edit_annotation(TRAIN_JSON, bbox=[20, 20, 0, 40])()
    people = load_coco_people(TRAIN_JSON, get_skeleton('coco'), sample_rule=sample_rule)
    assert len(people) == everybody - 1
    assert (people.boxes_xywh[:, 2:] > 0).all()


def test_ground_truth_box_without_area_is_reported(call):
    edit_annotation(VAL_JSON, bbox=[20, 20, 0, 40])()
    outcome, _ = evaluate(call, '--use_gt_bbox')
    assert '1 without area' in outcome.out


def test_any_batch_size_gives_the_same_results(call):
    """One person per batch, a size that does not divide, and more than there are."""
    (_, ones), (_, threes), (_, everybody) = [evaluate(call, f'--use_gt_bbox --batch_size {size}')
                                              for size in (1, 3, 64)]
    for results in (threes, everybody):
        assert [record['image_id'] for record in results] == [record['image_id'] for record in ones]
        np.testing.assert_allclose([record['keypoints'] for record in results],
                                   [record['keypoints'] for record in ones], atol=1e-3)


def test_training_on_a_single_person(call):
    edit(TRAIN_JSON, lambda content: content.update(annotations=content['annotations'][:1]))()
    outcome = call('train', f'--batch_size 1 --epoch 2 {TOY}')
    assert outcome.status == 0, outcome.err
    assert 'epoch: 2 step: 1, loss is' in outcome.out


def test_training_keeps_a_last_smaller_batch_on_request(call):
    people = len(load(TRAIN_JSON)['annotations'])
    outcome = call('train', f'--batch_size {people - 1} --epoch 1 {TOY} TRAIN.DROP_REMAINDER=false')
    assert outcome.status == 0, outcome.err
    assert 'epoch: 1 step: 2, loss is' in outcome.out


def test_evaluation_with_one_box_only(call):
    write('boxes.json', load(DETECTIONS)[:1])()
    outcome, results = evaluate(call, '--det_file_url boxes.json')
    assert len(results) == 1
    assert '1 of 1 detected boxes' in outcome.out and '3 pictures have no box' in outcome.out


def test_inference_leaves_out_pictures_that_cannot_be_used(call):
    cut('data/val2017/000000000001.jpg', 0.5)()
    shutil.copy('data/val2017/000000000002.jpg', 'data/val2017/holiday.jpg')
    shutil.copy('data/val2017/000000000002.jpg', 'data/val2017/2.jpg')
    # Latin-1, with a color for the terminal; and one that nobody ever writes into.
    shutil.copy('data/val2017/000000000002.jpg', os.fsdecode(b'data/val2017/caf\xe9\x1b[31m.jpg'))
    os.mkfifo('data/val2017/5.jpg')
    outcome = call('infer', OF_THE_TOY)
    assert outcome.status == 0, outcome.err
    for part in ('000000000001.jpg is truncated', 'holiday.jpg is not named by an image id', 'same image id as',
                 r'caf\xe9\x1b[31m.jpg is not named by an image id', '5.jpg: it is a named pipe'):
        assert part in outcome.out
    assert sorted(os.listdir('out')) == ['2_res.jpg', '3_res.jpg', '4_res.jpg', 'results.json']


# Results that are there, whatever happens after the last prediction

EVALUATED = '--use_gt_bbox --submission out/submission.json'


@pytest.fixture
def quick_poses(monkeypatch):
    """Poses without a network: what happens after them is the question."""
    def predict(predictor, samples, **_):
        count = len(samples)
        return Poses(np.full((count, 17, 3), 50.0), np.ones(count), np.arange(count), np.zeros(count, np.int64))

    for module in ('src.evaluation.evaluate', 'src.evaluation.predict'):
        monkeypatch.setattr(f'{module}.predict_poses', predict)


def test_results_are_written_before_they_are_scored(call, quick_poses, monkeypatch):
    def fail(*_, **__):
        assert load('out/results.json') and load('out/submission.json')
        raise TypeError("int() argument must be a number, not 'NoneType'")

    monkeypatch.setattr('src.datasets.coco.evaluate_coco', fail)
    outcome = call('eval', EVALUATED)
    assert outcome.status == 2
    assert outcome.err == ("error: scoring failed: TypeError: int() argument must be a number, not 'NoneType'; the "
                           'results are in out/results.json (POSE_TRACEBACK=1 shows where)\n')
    assert f'results: {len(load("out/results.json"))} poses in out/results.json\n' in outcome.out


def test_a_table_that_fails_leaves_results_and_score(call, quick_poses, monkeypatch):
    def fail(*_):
        raise ValueError('no table')

    monkeypatch.setattr('src.datasets.coco.keypoints_by_oks', fail)
    outcome = call('eval', EVALUATED)
    assert outcome.status == 2 and 'scoring failed: ValueError: no table; the results are in' in outcome.err
    assert 'Average Precision' in outcome.out and load('out/results.json')


@pytest.mark.parametrize('unwritable, left', [
    ('results', ['submission']), ('submission', ['results', 'results_settings']),
    ('results_settings', ['results', 'submission'])])
def test_results_that_cannot_be_written_cost_nobody_the_score(call, quick_poses, monkeypatch, unwritable, left):
    replace = os.replace

    def full(source, target):
        if target == f'out/{unwritable}.json':
            raise OSError(28, 'No space left on device')
        replace(source, target)

    monkeypatch.setattr('src.system.files.os.replace', full)
    outcome = call('eval', EVALUATED)
    assert outcome.status == 2
    assert outcome.err == f'error: cannot write out/{unwritable}.json: No space left on device\n'
    assert re.search(r'^AP -?\d\.\d{4} with ', outcome.out, re.M) and f'out/{left[0]}.json' in outcome.out
    assert sorted(os.listdir('out')) == [f'{each}.json' for each in left]


def test_an_inference_decodes_every_picture_once(call, quick_poses, monkeypatch):
    """For its size, its crops and its drawing; it may even vanish in between."""
    counts = {}
    decode = images.read_picture

    def count(path, **options):
        name = os.path.basename(os.fsdecode(path))
        counts[name] = counts.get(name, 0) + 1
        return decode(path, **options)

    monkeypatch.setattr('src.data.images.read_picture', count)
    path = 'data/val2017/000000000002.jpg'
    monkeypatch.setattr('src.evaluation.results.person_scores', lambda boxes, *_: remove(path)() or boxes)
    assert call('infer', '--score_thresh 0').status == 0
    assert counts == {f'{number:012d}.jpg': 1 for number in range(1, 5)}
    assert sorted(os.listdir('out')) == ['1_res.jpg', '2_res.jpg', '3_res.jpg', '4_res.jpg', 'results.json']


def test_pictures_that_the_memory_does_not_hold_are_decoded_again(material, monkeypatch):
    monkeypatch.chdir(material)
    folder = 'data/val2017'
    paths = [os.fsencode(f'{folder}/{name}') for name in sorted(os.listdir(folder))]
    size = images.read_picture(paths[0]).nbytes
    counts = []
    decode = images.read_picture
    monkeypatch.setattr('src.data.images.read_picture', lambda path, **options: counts.append(path) or decode(
        path, **options))
    read = images.KeptPictures(2 * size)
    for _ in range(2):
        for path in paths[:3]:
            np.testing.assert_array_equal(read(path), decode(path))
    assert counts == [*paths[:3], paths[2]]


@pytest.mark.parametrize('name', ['results.json', '3_res.jpg'])
def test_a_file_of_an_inference_that_cannot_be_written_costs_no_other(call, quick_poses, monkeypatch, name):
    replace = os.replace

    def full(source, target):
        if target == f'out/{name}':
            raise OSError(28, 'No space left on device')
        replace(source, target)

    monkeypatch.setattr('src.system.files.os.replace', full)
    outcome = call('infer', '--score_thresh 0')
    assert outcome.status == 2 and outcome.err.startswith(
        'error: 1 of 5 files are missing in out, all others are there; the first: '
        f'cannot write out/{name}: No space left on device')
    whole = {'1_res.jpg', '2_res.jpg', '3_res.jpg', '4_res.jpg', 'results.json'}
    assert set(os.listdir('out')) == whole - {name}
