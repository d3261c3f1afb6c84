"""Pictures of a folder and the boxes of a detection file → people to crop. Boxes and pictures without a match are
reported."""
from typing import Callable, NamedTuple, Optional, Tuple

import numpy as np

from .crops import CropRule
from .detections import UNKNOWN, detected_people, find_inference_boxes, load_detections
from .images import NumberedPictures, find_numbered_pictures
from .samples import PersonSamples
from .skeletons import Skeleton


class BoxedPictures(NamedTuple):
    """Pictures, and the samples of the people in their boxes."""

    pictures: NumberedPictures
    samples: PersonSamples


def load_boxed_pictures(crops: CropRule, input_shape: Tuple[int, int], skeleton: Skeleton, folder: str,
                        det_file: Optional[str], say: Callable[[str], None]) -> BoxedPictures:
    """Find the pictures of a folder and the boxes on them.

    Args:
        crops: the network's crop rule.
        input_shape: (H, W).
        folder: pictures named by image id.
        det_file: detection JSON; None takes all in annotation/det_json.
        say: is called with a line about everything that is left out.

    Raises:
        PoseError: there are no pictures or no boxes, or none of the boxes lies on one of the pictures.
    """
    detections = load_detections(find_inference_boxes(det_file, say), people_only=False)
    pictures = find_numbered_pictures(folder, say)
    detections = detections.on(pictures.image_ids, pictures.paths)
    unknown = sorted(set(detections.names.values()))
    if unknown:
        say(f'boxes without a picture: {", ".join(unknown[:20])}'
            + (f' and {len(unknown) - 20} more' if len(unknown) > 20 else ''))
    for ids, others, what in ((detections.image_ids, pictures.image_ids, 'boxes without a picture: image ids'),
                              (pictures.image_ids, detections.image_ids, 'pictures without a box: image ids')):
        unmatched = sorted(set(ids.tolist()) - set(others.tolist()) - {UNKNOWN})
        if unmatched:
            more = f' and {len(unmatched) - 20} more' if len(unmatched) > 20 else ''
            say(f'{what} {", ".join(map(str, unmatched[:20]))}{more}')
    people, report = detected_people(detections, pictures.as_images(), skeleton.num_keypoints, min_score=-np.inf)
    say(f'boxes: {report}')
    # The user's photographs are read upright, even if the benchmark of the network ignores the EXIF orientation.
    return BoxedPictures(pictures, PersonSamples(people, pictures.paths, crops, skeleton, input_shape,
                                                 honour_exif=True, read=pictures.read))
