"""Poses with every kind of error, made from the annotations of a file in COCO's format."""
import numpy as np

from src.data.skeletons import COCO


def whole_pose(annotation: dict) -> np.ndarray:
    """The keypoints (17, 2) of an annotation; unlabelled ones are in the center of the box."""
    table = np.reshape(annotation['keypoints'], (17, 3)).astype(float)
    return np.where(table[:, 2:] > 0, table[:, :2],
                    np.add(annotation['bbox'][:2], np.divide(annotation['bbox'][2:], 2)))


def faulty_results(content: dict, seed: int = 0) -> list:
    """Results for COCO annotations: jitter, inversions, swaps, misses, duplicates, people without a pose, poses on
    background, scores in the wrong order."""
    rng, results = np.random.default_rng(seed), []
    by_picture = {}
    for each in content['annotations']:
        if any(each['keypoints'][2::3]) and not each.get('iscrowd'):
            by_picture.setdefault(each['image_id'], []).append(each)
    sizes = {image['id']: (image['width'], image['height']) for image in content['images']}

    def add(image_id, pose, score):
        table = np.column_stack([pose, rng.uniform(0.3, 1, 17)])
        results.append({'image_id': image_id, 'category_id': 1, 'score': round(float(score), 3),
                        'keypoints': table.round(2).ravel().tolist()})

    for image_id, people in by_picture.items():
        places = [whole_pose(each) for each in people]
        for number, each in enumerate(people):
            size = np.sqrt(each.get('area') or each['bbox'][2] * each['bbox'][3])
            pose = places[number] + rng.normal(0, rng.choice([0.01, 0.03, 0.06]) * size, (17, 2))
            fate = rng.random()
            if fate < 0.12:
                continue
            if fate < 0.3:
                pose = pose[COCO.flip_index]
            elif fate < 0.5 and len(people) > 1:
                chosen = rng.choice(17, 6, replace=False)
                pose[chosen] = places[(number + 1) % len(people)][chosen]
            for keypoint in rng.choice(17, 3, replace=False):
                if rng.random() < 0.5:
                    pose[keypoint] += rng.normal(0, 0.6 * size, 2)
            score = rng.uniform(0.3, 0.99)
            add(image_id, pose, score)
            if fate > 0.8:
                add(image_id, pose + rng.normal(0, 0.05 * size, (17, 2)), score + rng.uniform(-0.2, 0.2))
    for image_id, (width, height) in sizes.items():
        if rng.random() < 0.25:
            low, size = rng.uniform(0, 0.5, 2) * (width, height), rng.uniform(0.1, 0.3, 2) * (width, height)
            add(image_id, low + rng.random((17, 2)) * size, rng.uniform(0.1, 0.7))
    return results
