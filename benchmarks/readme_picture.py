"""Paints the picture of the README: people of the synthetic data set with their true skeletons.

    python -m benchmarks.readme_picture docs/people.jpg
"""
import argparse

import cv2
import numpy as np

from src.data.skeletons import COCO
from src.synthetic.pictures import make_picture
from src.visualization import draw_people

# Pictures of the synthetic val2017, placed side by side and resized to this height.
NUMBERS, HEIGHT, QUALITY = (3, 8, 14, 21), 300, 82


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('path', help='where the picture goes')
    path = parser.parse_args().path
    drawn = []
    for number in NUMBERS:
        painted = make_picture(0, 'val2017', number)
        keypoints = np.array([each['keypoints'] for each in painted.annotations], np.float64).reshape(-1, 17, 3)
        keypoints[:, :, 2] = keypoints[:, :, 2] > 0
        picture = draw_people(painted.image, keypoints, COCO, person_scores=None, boxes_xywh=None,
                              keypoint_score_thresh=0.5)
        width = round(picture.shape[1] * HEIGHT / picture.shape[0])
        drawn.append(cv2.resize(picture, (width, HEIGHT), interpolation=cv2.INTER_AREA))
    cv2.imwrite(path, np.concatenate(drawn, axis=1), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


if __name__ == '__main__':
    main()
