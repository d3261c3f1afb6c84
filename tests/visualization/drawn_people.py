"""A person to draw, and a picture to draw on."""
import numpy as np

from src.data.skeletons import COCO

HALF = {'nose': (0, -0.42), 'eye': (0.03, -0.45), 'ear': (0.06, -0.43), 'shoulder': (0.14, -0.28),
        'elbow': (0.19, -0.1), 'wrist': (0.2, 0.06), 'hip': (0.09, 0.03), 'knee': (0.1, 0.27), 'ankle': (0.1, 0.5),
        'head': (0, -0.45), 'neck': (0, -0.33), 'pelvis': (0, 0.03), 'thorax': (0, -0.28), 'top': (0, -0.5)}


def person(center=(160, 120), length=180.0, skeleton=COCO):
    """Return a standing person who faces the camera, (1, K, 3): the own left side is on the picture's right."""
    keypoints = np.ones((1, skeleton.num_keypoints, 3))
    for index, name in enumerate(skeleton.keypoint_names):
        x, y = HALF[name.split('_')[-1]]
        sign = -1 if name.startswith('right_') else 1
        keypoints[0, index, :2] = center[0] + sign * x * length, center[1] + y * length
    return keypoints


def gray(height=240, width=320):
    return np.full((height, width, 3), 128, np.uint8)
