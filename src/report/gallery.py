"""The gallery of a report: for each case the annotated and the found pose beside each other, and what is wrong."""
from typing import Dict, List, Optional, Sequence

import numpy as np

from ..metrics.keypoint_errors import INVERSION, JITTER, MISS, SWAP
from ..visualization.strokes import clip_segment, draw_circle, draw_line
from .analysis import Analysis
from .cards import (
    SIDE,
    Drawings,
    Encoded,
    Gallery,
    PathFinder,
    card,
    cut_out_people,
    draw_poses,
    draw_truth,
    draw_within_limits,
    name_of_picture,
    plain,
)
from .cases import Case
from .page import Html
from .texts import KIND_TEXTS
from .thumbnails import Thumbnail

# Blue, green, red of the rings around wrong keypoints; the page's colors of the kinds.
RING_COLORS = {JITTER: (30, 190, 235), INVERSION: (205, 95, 165), SWAP: (40, 125, 240), MISS: (60, 55, 220)}
DARK = (25, 20, 20)
# Kinds whose cases compare two poses -> what the two are called.
COMPARED = {'score': ('best score', 'more similar'), 'duplicate': ('duplicate', 'other pose')}


def draw_gallery(analysis: Analysis, cases: Sequence[Case], find_path: PathFinder) -> Gallery:
    """Return the cards of the cases.

    Args:
        find_path: row of a picture -> its path, or None.
    """
    drawings, without_picture, left_out = draw_within_limits(
        [case.image for case in cases], find_path,
        lambda number, picture: _draw(analysis, cases[number], picture))
    ranks: Dict[str, int] = {}
    cards = []
    for case, pictures in zip(cases, drawings):
        ranks[case.kind] = ranks.get(case.kind, 0) + 1
        cards.append(_card(analysis, case, ranks[case.kind], pictures))
    return Gallery(cards, without_picture, left_out)


def _draw(analysis: Analysis, case: Case, picture: Optional[np.ndarray]) -> Drawings:
    """Return (caption, drawing) of the annotated and the found people of a case."""
    truth, pairs = analysis.truth, analysis.pairs
    small = cut_out_people(analysis, case.image, picture, [case.person] if case.person >= 0 else [],
                           [pairs.keypoints[pose] for pose in case.poses])
    people = [case.person] if case.person >= 0 else np.flatnonzero(truth.image_index == case.image).tolist()
    drawn = [('annotated' if case.person >= 0 else 'annotated people', draw_truth(analysis, people, small))]
    if case.kind == 'missed':
        poses = np.flatnonzero(pairs.image_index == case.image).tolist()
        return [*drawn, ('all poses found here', draw_poses(analysis, poses, small))]
    if len(case.poses) == 2:
        return [*drawn, *((name, draw_poses(analysis, [pose], small))
                          for name, pose in zip(COMPARED[case.kind], case.poses))]
    found = draw_poses(analysis, list(case.poses), small)
    _mark(found, analysis, case, small)
    return [*drawn, ('found', found)]


def _mark(canvas: np.ndarray, analysis: Analysis, case: Case, small: Thumbnail) -> None:
    """Draw a ring around each wrong keypoint, and a line from it to its label."""
    for wrong in case.keypoints:
        found = small.places(analysis.pairs.keypoints[case.poses[0], wrong.keypoint])
        label = small.places(analysis.truth.keypoints[case.person, wrong.keypoint])
        color = RING_COLORS[wrong.kind]
        segment = clip_segment(found, label, canvas.shape[:2], 2)
        if segment is not None:
            draw_line(canvas, segment, DARK, 3)
            draw_line(canvas, segment, color, 1)
        if (np.abs(found) < 4 * SIDE).all():
            draw_circle(canvas, found, 7, DARK, 4)
            draw_circle(canvas, found, 7, color, 2)


def _card(analysis: Analysis, case: Case, rank: int, pictures: Encoded) -> Html:
    name = name_of_picture(analysis, case.image)
    names = [analysis.skeleton.keypoint_names[wrong.keypoint] for wrong in case.keypoints]
    facts = []
    if len(case.poses) == 1:
        facts += [f'OKS {case.oks:.3f}', f'score {case.score:.3f}']
    if case.kind == 'missed':
        facts.append(f'area {case.weight:.0f} px²')
    if case.person >= 0:
        facts.append(f'annotation {analysis.pictures.annotations[case.person]}')
    details = [f'{plain(each)}: similarity {wrong.similarity:.2f}'
               + (f', on annotation {analysis.pictures.annotations[wrong.other]}' if wrong.other >= 0 else '')
               for each, wrong in zip(names, case.keypoints)]
    if len(case.poses) == 2:
        details = [f'{what}: score {analysis.pairs.scores[pose]:.3f}, OKS {oks:.3f}' for what, pose, oks in
                   zip(COMPARED[case.kind], case.poses, (case.oks, case.other_oks))]
    return card(case.kind, KIND_TEXTS[case.kind].case_title, name, pictures, facts, details, keypoints=names,
                score=case.score, oks=case.oks, rank=rank)


def kinds_of(cases: Sequence[Case]) -> List[str]:
    """Return the kinds that are there, in the order of the gallery."""
    return list(dict.fromkeys(case.kind for case in cases))


def keypoints_of(analysis: Analysis, cases: Sequence[Case]) -> List[str]:
    """Return the names of the keypoints that are wrong in some case, in the order of the layout."""
    wrong = {each.keypoint for case in cases for each in case.keypoints}
    return [name for number, name in enumerate(analysis.skeleton.keypoint_names) if number in wrong]
