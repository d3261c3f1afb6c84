"""Small data sets in the formats of CrowdPose and MPII, made from synthetic pictures in COCO's."""
import json
import shutil
from pathlib import Path

import numpy as np

from src.data.skeletons import COCO, CROWDPOSE, MPII
from src.synthetic.writing import write_synthetic_coco

# MATLAB names of MPII's joints, in its order.
MAT_NAMES = ('rank', 'rkne', 'rhip', 'lhip', 'lkne', 'lank', 'pelvis', 'thorax', 'neck', 'head', 'rwri', 'relb', 'rsho',
             'lsho', 'lelb', 'lwri')
# What COCO lacks, from what it has.
MADE_OF = {'head': ('nose',), 'neck': ('left_shoulder', 'right_shoulder'), 'pelvis': ('left_hip', 'right_hip'),
           'thorax': ('left_shoulder', 'right_shoulder'), 'upper_neck': ('left_shoulder', 'right_shoulder'),
           'head_top': ('nose',)}


def in_layout(keypoints, skeleton) -> np.ndarray:
    """COCO keypoints (51 numbers) -> those of another layout, (K, 3)."""
    table = np.reshape(keypoints, (17, 3)).astype(float)
    rows = []
    for name in skeleton.keypoint_names:
        parts = table[[COCO.keypoint_names.index(part) for part in MADE_OF.get(name, (name,))]]
        rows.append([*parts[:, :2].mean(axis=0), parts[:, 2].min()] if parts[:, 2].all() else [0, 0, 0])
    return np.array(rows)


def coco_to_crowdpose(content: dict) -> dict:
    """COCO content -> CrowdPose content: no areas, counts without head and neck, crowd indices 0.1, 0.5, 0.9, …"""
    images = [{**image, 'crowdIndex': (0.1, 0.5, 0.9)[number % 3]} for number, image in enumerate(content['images'])]
    annotations = []
    for each in content['annotations']:
        table = in_layout(each['keypoints'], CROWDPOSE).round().astype(int)
        annotations.append({'id': each['id'], 'image_id': each['image_id'], 'category_id': 1, 'iscrowd': 0,
                            'bbox': each['bbox'], 'num_keypoints': int((table[:12, 2] > 0).sum()),
                            'keypoints': table.ravel().tolist()})
    return {'images': images, 'annotations': annotations,
            'categories': [{**content['categories'][0], 'keypoints': list(CROWDPOSE.keypoint_names)}]}


def coco_to_mpii(content: dict) -> list:
    """COCO content -> MPII entries, in 1-based pixels; the center stands 15 scales above that of the box."""
    names = {image['id']: image['file_name'] for image in content['images']}
    entries = []
    for each in content['annotations']:
        x, y, width, height = each['bbox']
        table, scale = in_layout(each['keypoints'], MPII), max(width, height) / 200
        visible = (table[:, 2] > 0).astype(int)
        entries.append({'image': names[each['image_id']], 'scale': scale,
                        'center': [x + width / 2 + 1, y + height / 2 + 1 - 15 * scale],
                        'joints': np.where(visible[:, None], table[:, :2] + 1, -1).tolist(),
                        'joints_vis': visible.tolist()})
    return entries


def write_mat(path, entries: list, head_diagonal: float = 50.0, **changes) -> None:
    """Write the MATLAB ground truth of MPII entries, with heads of one size; `...` leaves a field out."""
    from scipy.io import savemat
    joints = np.array([entry['joints'] for entry in entries], float)
    count = len(entries)
    heads = np.zeros((2, 2, count))
    heads[1, 0] = head_diagonal
    names = np.empty((1, 16), object)
    names[0, :] = MAT_NAMES
    content = {'dataset_joints': names, 'pos_gt_src': joints.transpose(1, 2, 0), 'headboxes_src': heads,
               'jnt_missing': 1 - np.array([entry['joints_vis'] for entry in entries], np.uint8).T, **changes}
    savemat(path, {key: value for key, value in content.items() if value is not ...})


def write_json(path, content) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(content))
    return str(path)


def renumbered(content: dict, first: int) -> dict:
    """COCO content with picture 1 numbered and named `first` and so on, so that several splits share a folder."""
    images = [{**image, 'id': image['id'] + first - 1, 'file_name': f'{image["id"] + first - 1}.jpg'}
              for image in content['images']]
    return {**content, 'images': images, 'annotations': [
        {**each, 'image_id': each['image_id'] + first - 1} for each in content['annotations']]}


def write_data_sets(folder: Path) -> dict:
    """Make CrowdPose and MPII of the same pictures, with their own file names, and return {protocol: root}."""
    write_synthetic_coco(str(folder / 'coco'), num_train=4, num_val=3, seed=1, image_size=(240, 180))
    roots = {protocol: folder / protocol for protocol in ('crowdpose', 'mpii')}
    for split, first in (('train', 1), ('val', 101)):
        content = json.loads((folder / f'coco/annotations/person_keypoints_{split}2017.json').read_text())
        new = renumbered(content, first)
        for root in roots.values():
            (root / 'images').mkdir(parents=True, exist_ok=True)
            for old_image, image in zip(content['images'], new['images']):
                shutil.copy(folder / f'coco/{split}2017' / old_image['file_name'], root / 'images' / image['file_name'])
        write_json(roots['crowdpose'] / f'json/crowdpose_{split}.json', coco_to_crowdpose(new))
        entries = coco_to_mpii(new)
        write_json(roots['mpii'] / f'annot/{"valid" if split == "val" else "train"}.json', entries)
        if split == 'val':
            write_mat(str(roots['mpii'] / 'annot/gt_valid.mat'), entries)
    return {protocol: str(root) for protocol, root in roots.items()}
