"""What each kind of error is, and what to try against it."""
from typing import Dict, NamedTuple


class KindText(NamedTuple):
    """A kind of error.

    Attributes:
        title: its name.
        meaning: what it is.
        order: which cases the gallery shows, the worst first.
        advice: what to try.
        case_title: what a case of it is called.
    """

    title: str
    meaning: str
    order: str
    advice: str
    case_title: str


KIND_TEXTS: Dict[str, KindText] = {
    'miss': KindText(
        'Miss', 'A keypoint that is near no label of this or its left/right partner, of anybody: similarity below 0.5.',
        'poses that lose most OKS by misses',
        'Look at the cases first: hidden and cut-off limbs, unusual poses, poor boxes? More pictures of that kind, '
        'half-body augmentation, a wider box or a larger network help. A hidden keypoint may be a guess of the '
        'annotator as well.',
        'Miss'),
    'swap': KindText(
        'Swap', 'A keypoint that is on a keypoint of another person.', 'poses that lose most OKS by swaps',
        'Train on crowded pictures, or with MIPNet, which predicts every person in a box. Tighter boxes and OKS-NMS '
        '(TEST.OKS_NMS) help where two poses end on one person.',
        'Swap'),
    'inversion': KindText(
        'Inversion', "A keypoint that is nearer to the label of the person's own left/right partner.",
        'poses that lose most OKS by inversions',
        'First check the left/right pairs of the layout and that the flip test uses them. Then people seen from behind '
        'and from the side are rare in training: more of these, a larger network, longer training.',
        'Inversion'),
    'jitter': KindText(
        'Jitter', 'A keypoint that is near its own label, but not exact: similarity 0.5 to 0.85.',
        'poses that lose most OKS by jitter',
        'A larger input (384x288), the flip test, averaging over shifts (TEST.MULTI_SHIFT), a longer training at the '
        'lowest rate. Annotators differ among themselves, so some jitter stays.',
        'Jitter'),
    'score': KindText(
        'Score', 'Poses whose scores do not rank them by how good they are. Counted are people with a more similar '
        'pose of a lower score; corrected is the order of all poses of all pictures.',
        'people whose best-scored pose is much worse than another one',
        'The score of a person is that of the box times that of its keypoints: try another threshold for the keypoints '
        'that count (TEST.IN_VIS_THRE), other NMS limits (TEST.OKS_THRE), or calibrate the scores.',
        'Wrong order'),
    'background': KindText(
        'False positives', 'Poses that match nobody: on background, on a person who has a better-scored pose, or too '
        'inexact.', 'poses on background with the best scores (OKS below 0.1 with everybody)',
        'Raise the score from which boxes are taken (TEST.IMAGE_THRE), or train the detector on such backgrounds. '
        'Look at the cases: are these people who were not labelled?',
        'On background'),
    'missed': KindText(
        'Missed people', 'People who are matched by no pose.', 'the largest people to whom no pose belongs',
        'Is there a box? If not, a better detector or a lower score limit (TEST.IMAGE_THRE); if there is, a pose that '
        'NMS dropped or that lies on a neighbour. Only the 20 best poses of a picture count.',
        'Missed person'),
    'duplicate': KindText(
        'Duplicate', 'Further poses on a person who has a better-scored one; they are among the false positives.',
        'duplicates with the best scores',
        'Lower the limit of OKS-NMS (TEST.OKS_THRE) or of the NMS of the detector; in crowds this costs neighbours.',
        'Duplicate'),
}
