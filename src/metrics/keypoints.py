"""How well each single keypoint is found: average precision and OKS error, or PCKh on MPII.

The definitions are of this package; the benchmarks publish numbers of whole people only (MPII: of groups of keypoints).
"""
from typing import Dict, List, NamedTuple

import numpy as np

from ..data.oks_truth import OKSTruth
from ..data.skeletons import Skeleton
from .oks_matching import Pairs, match, pair_up, precision_and_recall
from .records import check_image_ids, read_records


class KeypointOKS(NamedTuple):
    """Numbers of one keypoint; -1 if nobody has it.

    Attributes:
        average_precision: AP as if the layout had this keypoint only; people without it are ignored.
        oks_error: mean of 1 - exp(-d²/(2 (2 sigma)² area)), what this keypoint takes from the OKS. The mean is over
            people who have it labelled and are matched by a pose at OKS 0.5. It measures how exact the keypoint is, not
            how often a person is missed.
    """

    average_precision: float
    oks_error: float


def keypoints_by_oks(truth: OKSTruth, results: List[dict], skeleton: Skeleton, gt_file: str) -> Dict[str, KeypointOKS]:
    """Return {keypoint name: its numbers}.

    Args:
        truth: ground truth by the rules of the data set.
        results: records with image_id, keypoints and score.
        gt_file: name of the annotation file, for messages.

    Raises:
        PoseError: there are no results, or one is of an unknown image.
    """
    check_image_ids(results, truth.image_ids.tolist(), gt_file)
    pairs = pair_up(truth, read_records(results, skeleton.num_keypoints), np.array(skeleton.oks_sigmas))
    return keypoint_numbers(truth, pairs, match(truth, pairs, pairs.similarity(truth)).person[0], skeleton)


def keypoint_numbers(truth: OKSTruth, pairs: Pairs, whole: np.ndarray, skeleton: Skeleton) -> Dict[str, KeypointOKS]:
    """Return {keypoint name: its numbers}.

    Args:
        whole: (D,) the person whom each pose is matched to at OKS 0.5, -1 for none.
    """
    # The pairs in which the pose is matched to the person.
    found = (whole[pairs.pose] == pairs.person) & ~truth.is_ignored[pairs.person]
    numbers = {}
    for keypoint, name in enumerate(skeleton.keypoint_names):
        alone = truth.only(keypoint)
        matching = match(alone, pairs, pairs.similarity(truth, keypoint))
        precision, _ = precision_and_recall(alone, pairs, matching)
        terms = pairs.terms[found & truth.is_labelled[pairs.person, keypoint], keypoint]
        numbers[name] = KeypointOKS(float(precision.mean()), float(1 - terms.mean()) if len(terms) else -1.0)
    return numbers


def format_keypoints_by_oks(numbers: Dict[str, KeypointOKS]) -> str:
    """Return a table with one line for each keypoint."""
    lines = [f'{name:<14} {each.average_precision:8.3f} {each.oks_error:10.3f}' for name, each in numbers.items()]
    return '\n'.join([f'{"keypoint":<14} {"AP alone":>8} {"OKS error":>10}', *lines])


def format_keypoints_by_pckh(numbers: Dict[str, float]) -> str:
    """Return a table of {keypoint name: PCKh in percent} with one line for each keypoint."""
    return '\n'.join([f'{"keypoint":<14} {"PCKh@0.5":>8}', *(f'{name:<14} {value:8.3f}'
                                                            for name, value in numbers.items())])
