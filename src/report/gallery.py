"""The gallery of a report: for each case the annotated and the found pose beside each other, and what is wrong."""
import os
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from ..metrics.keypoint_errors import INVERSION, JITTER, MISS, SWAP
from ..visualization import draw_people
from ..visualization.strokes import clip_segment, draw_circle, draw_line
from .analysis import Analysis
from .cases import Case
from .page import Html, escape, jpeg_source
from .texts import KIND_TEXTS
from .thumbnails import Thumbnail, box_corners, cut_out, encode, open_or_none, plain_ground

SIDE = 240  # pixels of the longer side of a thumbnail
# Of all JPEG files together; beyond it cases are shown without pictures.
MOST_BYTES = 8_000_000
QUALITY = 80
SHOWN_KEYPOINTS = 6
# Blue, green, red of the rings around wrong keypoints; the page's colors of the kinds.
RING_COLORS = {JITTER: (30, 190, 235), INVERSION: (205, 95, 165), SWAP: (40, 125, 240), MISS: (60, 55, 220)}
DARK = (25, 20, 20)
# Kinds whose cases compare two poses -> what the two are called.
COMPARED = {'score': ('best score', 'more similar'), 'duplicate': ('duplicate', 'other pose')}

PathFinder = Callable[[int], Optional[Union[str, bytes]]]


class Gallery(NamedTuple):
    """Attributes:
        cards: HTML of each case.
        without_picture: number of cards whose picture could not be read; their people are drawn on a plain ground.
        left_out: number of cards without drawings, because the page would become too large.
    """

    cards: List[Html]
    without_picture: int
    left_out: int


def draw_gallery(analysis: Analysis, cases: Sequence[Case], find_path: PathFinder) -> Gallery:
    """Return the cards of the cases.

    Args:
        find_path: row of a picture -> its path, or None.
    """
    drawings: List[List[Tuple[str, bytes]]] = [[] for _ in cases]
    missing, size, left_out = 0, 0, 0
    of_case = _pictures_read_once(analysis, cases, find_path)
    for number, picture, is_there in of_case:
        missing += not is_there
        if size > MOST_BYTES:
            left_out += 1
            continue
        drawings[number] = [(name, encode(each, QUALITY)) for name, each in _draw(analysis, cases[number], picture)]
        size += sum(len(each) for _, each in drawings[number])
    ranks: dict = {}
    cards = []
    for case, pictures in zip(cases, drawings):
        ranks[case.kind] = ranks.get(case.kind, 0) + 1
        cards.append(_card(analysis, case, ranks[case.kind], pictures))
    return Gallery(cards, missing, left_out)


def _pictures_read_once(analysis: Analysis, cases: Sequence[Case], find_path: PathFinder):
    """Yield the number of each case, its picture and whether it could be read; each picture is opened once."""
    last, picture, is_there = -1, None, False
    for number in sorted(range(len(cases)), key=lambda each: (cases[each].image, each)):
        image = cases[number].image
        if image != last:
            picture = open_or_none(find_path(image))
            is_there = picture is not None
            if not is_there:
                picture = plain_ground(analysis.pictures.sizes[image])
            last = image
        yield number, picture, is_there


def _draw(analysis: Analysis, case: Case, picture: np.ndarray) -> List[Tuple[str, np.ndarray]]:
    """Return (caption, drawing) of the annotated and the found people of a case."""
    truth, pairs = analysis.truth, analysis.pairs
    size = np.array(picture.shape[1::-1], float)
    places = [np.clip(pairs.keypoints[pose], 0, size) for pose in case.poses]
    if case.person >= 0:
        places += [np.clip(box_corners(truth.boxes_xywh[case.person]), 0, size),
                   np.clip(truth.keypoints[case.person][truth.is_labelled[case.person]], 0, size)]
    small = cut_out(picture, places, SIDE)
    people = [case.person] if case.person >= 0 else np.flatnonzero(truth.image_index == case.image).tolist()
    drawn = [('annotated' if case.person >= 0 else 'annotated people', _draw_truth(analysis, people, small))]
    if case.kind == 'missed':
        poses = np.flatnonzero(pairs.image_index == case.image).tolist()
        return [*drawn, ('all poses found here', _draw_poses(analysis, poses, small))]
    if len(case.poses) == 2:
        return [*drawn, *((name, _draw_poses(analysis, [pose], small))
                          for name, pose in zip(COMPARED[case.kind], case.poses))]
    found = _draw_poses(analysis, list(case.poses), small)
    _mark(found, analysis, case, small)
    return [*drawn, ('found', found)]


def _draw_truth(analysis: Analysis, people: Sequence[int], small: Thumbnail) -> np.ndarray:
    truth = analysis.truth
    keypoints = np.concatenate([truth.keypoints[people], truth.is_labelled[people][..., None]], axis=2)
    boxes = np.array([small.box(truth.boxes_xywh[person]) for person in people]).reshape(-1, 4)
    return draw_people(small.picture, small.places(keypoints), analysis.skeleton, boxes_xywh=boxes)


def _draw_poses(analysis: Analysis, poses: Sequence[int], small: Thumbnail) -> np.ndarray:
    keypoints = analysis.pairs.keypoints[poses]
    whole = np.concatenate([keypoints, np.ones((*keypoints.shape[:2], 1))], axis=2)
    return draw_people(small.picture, small.places(whole), analysis.skeleton)


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


def _plain(name: str) -> str:
    return name.replace('_', ' ')


def _card(analysis: Analysis, case: Case, rank: int, pictures: Sequence[Tuple[str, bytes]]) -> Html:
    name = os.path.basename(os.fsdecode(analysis.pictures.names[case.image]))
    names = [analysis.skeleton.keypoint_names[wrong.keypoint] for wrong in case.keypoints]
    figures = ''.join(
        f'<figure><img alt="{escape(f"{caption}, {name}")}" src="{jpeg_source(encoded)}">'
        f'<figcaption>{escape(caption)}</figcaption></figure>' for caption, encoded in pictures)
    facts = []
    if len(case.poses) == 1:
        facts += [f'OKS {case.oks:.3f}', f'score {case.score:.3f}']
    if case.kind == 'missed':
        facts.append(f'area {case.weight:.0f} px²')
    if case.person >= 0:
        facts.append(f'annotation {analysis.pictures.annotations[case.person]}')
    details = [escape(f'{_plain(name)}: similarity {wrong.similarity:.2f}'
                      + (f', on annotation {analysis.pictures.annotations[wrong.other]}' if wrong.other >= 0 else ''))
               for name, wrong in zip(names, case.keypoints)]
    if len(case.poses) == 2:
        details = [escape(f'{what}: score {analysis.pairs.scores[pose]:.3f}, OKS {oks:.3f}') for what, pose, oks in
                   zip(COMPARED[case.kind], case.poses, (case.oks, case.other_oks))]
    more = len(details) - SHOWN_KEYPOINTS
    listed = ''.join(f'<li>{each}</li>' for each in details[:SHOWN_KEYPOINTS])
    if more > 0:
        listed += f'<li>and {more} more</li>'
    title = KIND_TEXTS[case.kind].case_title
    return Html(
        f'<article class="case" data-kind="{case.kind}" data-keypoints="{escape(" ".join(names))}" '
        f'data-name="{escape(name.lower())}" data-score="{case.score!r}" data-oks="{case.oks!r}" data-rank="{rank}">'
        f'<div class="pair">{figures}</div><h4><span class="chip kind-{case.kind}">{escape(title)}</span> '
        f'<span class="file">{escape(name)}</span></h4><p class="dim">{escape(" · ".join(facts))}</p>'
        f'{f"<ul>{listed}</ul>" if listed else ""}</article>')


def kinds_of(cases: Sequence[Case]) -> List[str]:
    """Return the kinds that are there, in the order of the gallery."""
    return list(dict.fromkeys(case.kind for case in cases))


def keypoints_of(analysis: Analysis, cases: Sequence[Case]) -> List[str]:
    """Return the names of the keypoints that are wrong in some case, in the order of the layout."""
    wrong = {each.keypoint for case in cases for each in case.keypoints}
    return [name for number, name in enumerate(analysis.skeleton.keypoint_names) if number in wrong]
