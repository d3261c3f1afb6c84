"""What do person detectors find on a data set in COCO's layout, and how long do they take?

    python -m benchmarks.detectors DETECTOR.onnx … --data_url COCO_ROOT [--runtime openvino]

AP is COCO's, of the person class; recall is at IoU 0.5 with all boxes. The first `found` counts the
people with keypoints that are found at the threshold which gives 16 false positives; `at` is that threshold. `found`
and `false` after it are counted at the detector's own threshold. Milliseconds are medians per picture, without reading.
"""
import argparse
import contextlib
import io
import os
import time
from typing import Dict, List, Tuple

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from src.data.images import read_picture
from src.detection import PersonDetector

from .timing import machine, print_table

FALSE_BOXES = 16


def detect_all(detector: PersonDetector, truth: COCO, folder: str) -> Tuple[List[dict], float]:
    """Return the boxes of all pictures in COCO's result format, and the median milliseconds."""
    results, seconds = [], []
    for image in truth.loadImgs(sorted(truth.getImgIds())):
        picture = read_picture(os.path.join(folder, image['file_name']), honour_exif=False)
        start = time.perf_counter()
        found = detector(picture)
        seconds.append(time.perf_counter() - start)
        results += [{'image_id': image['id'], 'category_id': 1, 'bbox': box, 'score': score}
                    for box, score in zip(found.boxes_xywh.tolist(), found.scores.tolist())]
    return results, 1000 * float(np.median(seconds))


def evaluate(truth: COCO, results: List[dict]) -> Dict[str, object]:
    """Return COCO's AP and recall, and for every box its score and the person it is matched with."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(results), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    labelled = {each['id'] for each in truth.dataset['annotations']
                if each['num_keypoints'] > 0 and not each['iscrowd']}
    scores, found = [], []
    all_areas = [each for each in evaluation.evalImgs if each and each['aRng'] == evaluation.params.areaRng[0]]
    for each in all_areas:
        # Index 0: the IoU threshold 0.5.
        for score, whom, is_ignored in zip(each['dtScores'], each['dtMatches'][0], each['dtIgnore'][0]):
            if not is_ignored:
                scores.append(score)
                found.append(-1 if whom == 0 else int(int(whom) in labelled))
    return {'AP': evaluation.stats[0], 'recall': float(evaluation.eval['recall'][0, 0, 0, -1]),
            'scores': np.array(scores), 'found': np.array(found), 'labelled': len(labelled)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('detectors', nargs='+')
    parser.add_argument('--data_url', required=True, help='folder with annotations/ and val2017/')
    parser.add_argument('--runtime', default='onnxruntime')
    arguments = parser.parse_args()
    print(machine() + '\n')
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(os.path.join(arguments.data_url, 'annotations', 'person_keypoints_val2017.json'))
    rows = []
    for path in arguments.detectors:
        detector = PersonDetector(path, runtime=arguments.runtime, threshold=0.01)
        own = PersonDetector(path, runtime=arguments.runtime).threshold
        results, milliseconds = detect_all(detector, truth, os.path.join(arguments.data_url, 'val2017'))
        measured = evaluate(truth, results)
        scores, found = measured['scores'], measured['found']
        order = np.argsort(-scores, kind='stable')
        false = np.cumsum(found[order] < 0)
        # The last box before one more false positive.
        last = int(np.searchsorted(false, FALSE_BOXES + 1)) - 1
        rows.append((os.path.basename(path), f'{detector.format_name}, {detector.input_shape[0]}',
                     f'{measured["AP"]:.3f}', f'{measured["recall"]:.3f}',
                     f'{(found[order][:last + 1] == 1).sum()} of {measured["labelled"]}', f'{scores[order][last]:.2f}',
                     f'{own:.2f}', (found[scores > own] == 1).sum(), (found[scores > own] < 0).sum(),
                     f'{milliseconds:.0f}'))
    print_table(('file', 'format', 'AP', 'recall', 'found', 'at', 'own threshold', 'found', 'false', 'ms'), rows)


if __name__ == '__main__':
    main()
