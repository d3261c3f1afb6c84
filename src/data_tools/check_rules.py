"""The rules of check.py for annotation files and detections; each rule returns findings, with figures as examples."""
import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from ..data.keypoint_sides import plain_name
from ..system.errors import PoseError
from ..system.files import is_number, read_json
from .annotated_set import AnnotatedFigure, AnnotatedSet

# COCO's evaluator counts at most this many poses in a picture.
MAX_DETECTIONS = 20
# A keypoint is far outside if its distance to the box is more than this share of the longer side of the box.
FAR_OUTSIDE = 0.25
# If the shoulders are further apart than this share of the longer side of the box, left and right can be checked.
SHOULDERS_APART = 0.12
# Two pictures are the same if fewer than this many of the 256 bits of their fingerprints differ.
DIFFERING_BITS = 16
MOST_ALIKE = 200
# The most serious level first; an error makes training fail or useless.
LEVELS = ('error', 'warning', 'note')
ERRORS = ('keypoint names', 'malformed', 'ids that are there twice', 'cannot be read', 'does not list',
          'no annotations', 'visibility other', 'in several folders')


@dataclass
class Finding:
    """Something that a person should look at.

    Attributes:
        level: one of LEVELS.
        text: what was found, and where.
        examples: (annotation file, figure) to show.
        entries: the affected entries, as text.
    """

    level: str
    text: str
    examples: List[Tuple[AnnotatedSet, AnnotatedFigure]] = field(default_factory=list)
    entries: List[str] = field(default_factory=list)


def check_set(whole: AnnotatedSet) -> List[Finding]:
    """Return the findings on an annotation file whose pictures have been opened."""
    findings = [Finding('error' if any(word in kind for word in ERRORS) else 'warning',
                        f'{whole.name}: {len(entries)} x {kind}' if len(entries) > 1 else f'{whole.name}: {kind}',
                        entries=entries) for kind, entries in whole.odd.items()]
    for rule in (_missing_pictures, _sizes, _areas, _crowded, _far_keypoints, _sides, _twins, _empty):
        findings += rule(whole)
    return findings


def _missing_pictures(whole: AnnotatedSet) -> List[Finding]:
    used = {figure.picture for figure in whole.figures}
    missing = [picture.name for index, picture in enumerate(whole.pictures) if not picture.path and index in used]
    unused = [picture.name for index, picture in enumerate(whole.pictures) if not picture.path and index not in used]
    findings = []
    if missing:
        findings.append(Finding('error', f'{whole.name}: {len(missing)} of {len(whole.pictures)} pictures are missing; '
                                f'looked in {", ".join(whole.folders)} and below', entries=missing))
    if unused:
        findings.append(Finding('note', f'{whole.name}: {len(unused)} pictures that nobody is on are missing, which '
                                'does no harm', entries=unused))
    return findings


def _sizes(whole: AnnotatedSet) -> List[Finding]:
    swapped, other = [], []
    for picture in whole.pictures:
        if picture.size and picture.real_size and tuple(picture.size) != tuple(picture.real_size):
            told = f'{picture.name}: {picture.size[0]} x {picture.size[1]} in the file, {picture.real_size[0]} x ' \
                   f'{picture.real_size[1]} on the disk'
            (swapped if tuple(picture.size) == tuple(picture.real_size)[::-1] else other).append(told)
    findings = []
    if swapped:
        findings.append(Finding('error', f'{whole.name}: {len(swapped)} pictures have width and height exchanged: they '
                                'were turned (by their EXIF data?), or the file has them in the wrong order',
                                entries=swapped))
    if other:
        findings.append(Finding('error', f'{whole.name}: {len(other)} pictures are of another size than the file says: '
                                'they were resized since they were labelled', entries=other))
    return findings


def _areas(whole: AnnotatedSet) -> List[Finding]:
    count = sum(not figure.has_area for figure in whole.figures)
    return [Finding('note', f'{whole.name}: {count} of {len(whole.figures)} annotations have no area; that of the box '
                    'is taken, so that AP is not comparable to that of outlines')] if count else []


def _crowded(whole: AnnotatedSet) -> List[Finding]:
    counts = Counter(figure.picture for figure in whole.figures if not figure.is_crowd and figure.keypoints.any())
    full = [(index, count) for index, count in counts.items() if count > MAX_DETECTIONS]
    return [Finding('warning', f'{whole.name}: {len(full)} pictures show more than {MAX_DETECTIONS} people, up to '
                    f'{max(count for _, count in full)}; the evaluator counts {MAX_DETECTIONS} results on a picture',
                    entries=[whole.pictures[index].name for index, _ in full])] if full else []


def _labelled(figure: AnnotatedFigure) -> np.ndarray:
    return figure.keypoints[:, 2] > 0


def _far_keypoints(whole: AnnotatedSet) -> List[Finding]:
    far = []
    for figure in whole.figures:
        if figure.box is None or min(figure.box[2:]) <= 0 or not _labelled(figure).any():
            continue
        places, margin = figure.keypoints[_labelled(figure), :2], FAR_OUTSIDE * figure.box[2:].max()
        low, high = figure.box[:2] - margin, figure.box[:2] + figure.box[2:] + margin
        if ((places < low) | (places > high)).any():
            far.append(figure)
    share = len(far) / max(1, len(whole.figures))
    reason = '; so many mean that boxes and keypoints are counted in other ways (xyxy boxes? shares?)' * (share > 0.3)
    return [Finding('error' if share > 0.3 else 'warning', f'{whole.name}: {len(far)} of {len(whole.figures)} figures '
                    f'have keypoints far outside of their boxes{reason}',
                    [(whole, figure) for figure in far])] if far else []


def _sides(whole: AnnotatedSet) -> List[Finding]:
    """Check left and right of people who look at the camera: their left shoulder is on the right side of the
    picture."""
    names = {plain_name(name): index for index, name in enumerate(whole.skeleton.keypoint_names)}
    nose, left, right = (names.get(key) for key in (('', 'nose'), ('left', 'shoulder'), ('right', 'shoulder')))
    eyes = [names[key] for key in (('left', 'eye'), ('right', 'eye')) if key in names]
    if None in (nose, left, right):
        return []
    decided, wrong = 0, []
    for figure in whole.figures:
        table = figure.keypoints
        faces = table[nose, 2] == 2 and (table[eyes, 2] == 2).all() and (table[[left, right], 2] > 0).all()
        if not faces or figure.box is None:
            continue
        x_left, x_right, x_nose = table[left, 0], table[right, 0], table[nose, 0]
        is_apart = abs(x_left - x_right) > SHOULDERS_APART * figure.box[2:].max()
        if is_apart and min(x_left, x_right) < x_nose < max(x_left, x_right):
            decided += 1
            if x_left < x_right:
                wrong.append(figure)
    if not wrong:
        return []
    most = len(wrong) > decided / 2
    reason = ': left and right seem to be the viewer\'s, not the person\'s' if most else ''
    return [Finding('error' if most else 'warning', f'{whole.name}: of {decided} people who look at the camera '
                    f'{len(wrong)} have left and right shoulder exchanged{reason}', [(whole, each) for each in wrong])]


def _twins(whole: AnnotatedSet) -> List[Finding]:
    by_picture: Dict[int, List[AnnotatedFigure]] = defaultdict(list)
    for figure in whole.figures:
        if _labelled(figure).any():
            by_picture[figure.picture].append(figure)
    twins = []
    for figures in by_picture.values():
        for number, figure in enumerate(figures):
            for other in figures[:number]:
                both = _labelled(figure) & _labelled(other)
                if both.sum() >= 3 and (_labelled(figure) == _labelled(other)).all() and np.abs(
                        figure.keypoints[both, :2] - other.keypoints[both, :2]).max() <= 2:
                    twins.append(figure)
                    break
    findings = [Finding('warning', f'{whole.name}: {len(twins)} figures are there twice on their picture',
                        [(whole, figure) for figure in twins])] if twins else []
    return findings + _same_pictures([whole])


def _same_pictures(sets: Sequence[AnnotatedSet]) -> List[Finding]:
    """Find pictures with the same content within one file, or between two files."""
    pictures = [(number, picture.name, picture.fingerprint) for number, whole in enumerate(sets)
                for picture in whole.pictures if picture.fingerprint]
    pairs = [f'{pictures[one][1]} and {pictures[other][1]}'
             for one, other in similar_fingerprints([fingerprint for *_, fingerprint in pictures])
             if (pictures[one][0] != pictures[other][0]) == (len(sets) > 1)]
    if not pairs:
        return []
    if len(sets) > 1:
        return [Finding('error', f'{len(pairs)} pictures of {sets[1].name} show the same as pictures of '
                        f'{sets[0].name}: a score on them says little', entries=pairs)]
    return [Finding('warning', f'{sets[0].name}: {len(pairs)} pictures show the same as another one', entries=pairs)]


def similar_fingerprints(fingerprints: Sequence[bytes]) -> List[Tuple[int, int]]:
    """Return the pairs of fingerprints (32 bytes each) that differ in fewer than DIFFERING_BITS bits.

    Only fingerprints that are equal in at least one of 16 parts are compared: with fewer than 16 different bits, at
    least one part is equal.
    """
    rows = np.frombuffer(b''.join(fingerprints), np.uint8).reshape(-1, 32)
    found = set()
    for part in range(DIFFERING_BITS):
        buckets: Dict[bytes, List[int]] = defaultdict(list)
        for index, fingerprint in enumerate(fingerprints):
            buckets[fingerprint[2 * part:2 * part + 2]].append(index)
        for members in buckets.values():
            # A part that many pictures share, such as sky or wall, is not compared with all of them.
            for place, index in enumerate(members[1:MOST_ALIKE], start=1):
                bits = np.unpackbits(rows[members[:place]] ^ rows[index], axis=1).sum(axis=1)
                found |= {(members[other], index) for other in np.flatnonzero(bits < DIFFERING_BITS)}
    return sorted(found)


def check_overlap(sets: Sequence[AnnotatedSet]) -> List[Finding]:
    """Return findings on pictures that several files share."""
    return [finding for number, one in enumerate(sets) for other in sets[:number]
            for finding in _same_pictures([other, one])]


def _empty(whole: AnnotatedSet) -> List[Finding]:
    used = {figure.picture for figure in whole.figures}
    alone = [picture.name for index, picture in enumerate(whole.pictures) if index not in used]
    unlabelled = sum(not _labelled(figure).any() for figure in whole.figures)
    findings = []
    if alone:
        findings.append(Finding('note', f'{whole.name}: {len(alone)} of {len(whole.pictures)} pictures have no '
                                'annotation', entries=alone))
    if unlabelled:
        findings.append(Finding('note', f'{whole.name}: {unlabelled} of {len(whole.figures)} annotations have no '
                                'labelled keypoint; nobody learns from them'))
    if whole.unlisted:
        findings.append(Finding('note', f'{len(whole.unlisted)} pictures lie beside those of {whole.name} and are not '
                                'in it', entries=[os.path.basename(path) for path in whole.unlisted]))
    if not any(_labelled(figure).any() for figure in whole.figures):
        findings.append(Finding('error', f'{whole.name}: nobody with a labelled keypoint'))
    return findings


def check_detections(path: str, sets: Sequence[AnnotatedSet]) -> List[Finding]:
    """Return the findings on a detection file.

    Raises:
        PoseError: the file is not a list of boxes.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise PoseError(f'{path} should be a list of boxes with image_id, bbox and score')
    sizes = {str(picture.image_id): picture.size or picture.real_size for whole in sets for picture in whole.pictures}
    name, unknown, malformed, boxes, limits = os.path.basename(path), 0, 0, [], []
    for entry in content:
        box = entry.get('bbox') if isinstance(entry, dict) else None
        if not (isinstance(box, list) and len(box) == 4 and all(is_number(each) and np.isfinite(each) for each in box)):
            malformed += 1
        elif str(entry.get('image_id')) not in sizes:
            unknown += 1
        elif sizes[str(entry['image_id'])]:
            boxes.append(box)
            limits.append(sizes[str(entry['image_id'])])
    findings = []
    if malformed:
        findings.append(Finding('error', f'{name}: {malformed} of {len(content)} entries have no box of four '
                                'numbers'))
    if unknown:
        findings.append(Finding('error' if unknown == len(content) else 'warning', f'{name}: {unknown} of '
                                f'{len(content)} boxes are on pictures that no annotation file lists'))
    without = sum(isinstance(entry, dict) and 'score' not in entry for entry in content)
    if without:
        findings.append(Finding('note', f'{name}: {without} of {len(content)} boxes have no score'))
    reading = other_reading(np.array(boxes, np.float64).reshape(-1, 4), np.array(limits, np.float64).reshape(-1, 2))
    if reading:
        findings.append(Finding('error', f'{name}: as [x, y, width, height] most boxes are no boxes on their pictures; '
                                f'they fit as {reading}'))
    return findings


def other_reading(boxes: np.ndarray, sizes: np.ndarray) -> Optional[str]:
    """Return the likely format of boxes (N, 4) on pictures of sizes (N, 2), if it is not [x, y, width, height] in
    pixels. None if it is, or if no other format fits."""
    if not len(boxes):
        return None

    def fit(corners: np.ndarray) -> float:
        inside = (corners[:, :2] > -0.05 * sizes).all(axis=1) & (corners[:, 2:] < 1.05 * sizes).all(axis=1)
        return float((inside & (corners[:, 2:] - corners[:, :2] >= 2).all(axis=1)).mean())

    start, rest, scale = boxes[:, :2], boxes[:, 2:], np.tile(sizes, 2)
    as_is = fit(np.concatenate([start, start + rest], axis=1))
    if as_is > 0.5:
        return None
    readings = {
        '[left, top, right, bottom] in pixels': boxes,
        '[center x, center y, width, height] in pixels': np.concatenate([start - rest / 2, start + rest / 2], axis=1),
        '[x, y, width, height] in shares of the picture': np.concatenate([start, start + rest], axis=1) * scale,
        '[left, top, right, bottom] in shares of the picture': boxes * scale,
        '[center x, center y, width, height] in shares of the picture':
            np.concatenate([start - rest / 2, start + rest / 2], axis=1) * scale}
    best = max(readings, key=lambda name: fit(readings[name]))
    return best if fit(readings[best]) > max(0.5, as_is) else None
