"""Which annotations of a file are not used, why, and what to do about it."""
from collections import Counter
from typing import Dict

from ..system.errors import PoseError
from .annotation_checks import AnnotationFile
from .categories import list_categories

# Reason, as the loaders name it -> what to do if it is the most frequent one and nobody is left.
REMEDIES = {
    'without keypoints': 'is this the file of the keypoints, person_keypoints_….json?',
    'without a labelled keypoint': 'the third number of a keypoint should be 2 for visible and 1 for hidden ones',
    'with num_keypoints 0 though keypoints are labelled': "write their number into 'num_keypoints', or leave it out",
    'crowds': "'iscrowd' should be 0 for a single person",
    'with a box outside the picture': "'bbox' should be [x, y, width, height] in pixels of the picture",
    'without area': "'bbox' should be [x, y, width, height] in pixels, inside the picture",
}


def count_left_out(file: AnnotationFile, reasons: 'Counter[str]') -> Dict[str, int]:
    """Return {reason: number of annotations}, with those of other categories first."""
    others = file.other_categories
    named = {f'of category {file.name_category(each)}': count for each, count in others.items()}
    if len(named) > 2:
        named = {f'of {len(named)} other categories': sum(others.values())}
    return {**named, **dict(reasons.most_common())}


def nobody_left(file: AnnotationFile, left_out: Dict[str, int], purpose: str) -> PoseError:
    """Return the error for a file without a usable annotation; it gives the reasons and a remedy for the main one."""
    start = f'{file.path}: none of its {len(file.annotations)} annotations is a person {purpose}'
    if not left_out:
        return PoseError(f'{start}; it should have annotations')
    others = file.other_categories
    reason = max(left_out, key=left_out.get)
    if reason in REMEDIES:
        remedy = REMEDIES[reason]
    else:
        category = max(others, key=others.get)
        known = file.categories.get(category)
        unlisted = '' if known else f" (its 'categories' are {list_categories(file.categories)})"
        remedy = (f'the person is {file.category}{unlisted}: --set DATASET.CATEGORY='
                  f'{known.name if known and known.name else category}')
    counts = ', '.join(f'{count} {each}' for each, count in left_out.items())
    return PoseError(f'{start}: {counts}; {remedy}')

