"""The cards of a gallery: people drawn on parts of their pictures, within a limit of size; and the controls above."""
import os
from types import MappingProxyType
from typing import Callable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from ..visualization import draw_people
from .analysis import Analysis
from .page import Html, escape, jpeg_source
from .thumbnails import Thumbnail, box_corners, cut_out, encode, open_or_none

SIDE = 240  # pixels of the longer side of a thumbnail
# Of all JPEG files together; beyond it cases are shown without pictures.
MOST_BYTES = 8_000_000
QUALITY = 80
SHOWN_DETAILS = 6

PathFinder = Callable[[int], Optional[Union[str, bytes]]]
# (caption, picture) of a card.
Drawings = List[Tuple[str, np.ndarray]]
Encoded = List[Tuple[str, bytes]]


class Gallery(NamedTuple):
    """The cards of a gallery, and what is missing on them.

    Attributes:
        cards: HTML of each case.
        without_picture: number of cards whose picture could not be read; their people are drawn on a plain ground.
        left_out: number of cards without drawings, because the page would become too large.
    """

    cards: List[Html]
    without_picture: int
    left_out: int


def draw_within_limits(images: Sequence[int], find_path: PathFinder,
                       draw: Callable[[int, Optional[np.ndarray]], Drawings]) -> Tuple[List[Encoded], int, int]:
    """Draw the people of each card; every picture is opened once.

    Args:
        images: row of the picture of each card.
        find_path: row of a picture -> its path, or None.
        draw: (number of the card, picture or None) -> its drawings.

    Returns:
        The drawings of each card, and how many are without picture and left out, see `Gallery`.
    """
    drawings: List[Encoded] = [[] for _ in images]
    missing, size, left_out = 0, 0, 0
    for number, picture in _pictures_read_once(images, find_path):
        missing += picture is None
        if size > MOST_BYTES:
            left_out += 1
            continue
        drawings[number] = [(caption, encode(each, QUALITY)) for caption, each in draw(number, picture)]
        size += sum(len(each) for _, each in drawings[number])
    return drawings, missing, left_out


def _pictures_read_once(images: Sequence[int], find_path: PathFinder) -> Iterator[Tuple[int, Optional[np.ndarray]]]:
    """Yield the number of each card and its picture, None if it cannot be read; those of a picture come together."""
    last, picture = -1, None
    for number in sorted(range(len(images)), key=lambda each: (images[each], each)):
        if images[number] != last:
            last = images[number]
            picture = open_or_none(find_path(last))
        yield number, picture


def cut_out_people(analysis: Analysis, image: int, picture: Optional[np.ndarray], people: Sequence[int],
                   poses: Sequence[np.ndarray]) -> Thumbnail:
    """Return the part of a picture that shows some annotated people and some poses (n, 2).

    Args:
        picture: that of row `image`, None if it is not there.
    """
    size = analysis.pictures.sizes[image] if picture is None else np.array(picture.shape[1::-1])
    truth = analysis.truth
    places = [*poses, *(box_corners(truth.boxes_xywh[person]) for person in people),
              *(truth.keypoints[person][truth.is_labelled[person]] for person in people)]
    return cut_out(picture, [np.clip(each, 0, size.astype(float)) for each in places], SIDE, size)


def draw_truth(analysis: Analysis, people: Sequence[int], small: Thumbnail) -> np.ndarray:
    truth = analysis.truth
    keypoints = np.concatenate([truth.keypoints[people], truth.is_labelled[people][..., None]], axis=2)
    boxes = np.array([small.box(truth.boxes_xywh[person]) for person in people]).reshape(-1, 4)
    return draw_people(small.picture, small.places(keypoints), analysis.skeleton, boxes_xywh=boxes)


def draw_poses(analysis: Analysis, poses: Sequence[int], small: Thumbnail) -> np.ndarray:
    keypoints = analysis.pairs.keypoints[poses]
    whole = np.concatenate([keypoints, np.ones((*keypoints.shape[:2], 1))], axis=2)
    return draw_people(small.picture, small.places(whole), analysis.skeleton)


def plain(name: str) -> str:
    return name.replace('_', ' ')


def name_of_picture(analysis: Analysis, image: int) -> str:
    """Return the name of a picture without its folders."""
    return os.path.basename(os.fsdecode(analysis.pictures.names[image]))


def card(kind: str, title: str, name: str, pictures: Encoded, facts: Sequence[str], details: Sequence[str], *,
         keypoints: Sequence[str], score: float, oks: float, rank: int) -> Html:
    """Return a card.

    Args:
        kind, title: its kind, for the filter and the style, and what it is called.
        name: of the picture.
        facts, details: shown in one line, and below each other.
        keypoints: names by which the cards are filtered.
        score, oks, rank: numbers by which they are sorted.
    """
    figures = ''.join(
        f'<figure><img alt="{escape(f"{caption}, {name}")}" src="{jpeg_source(encoded)}">'
        f'<figcaption>{escape(caption)}</figcaption></figure>' for caption, encoded in pictures)
    more = len(details) - SHOWN_DETAILS
    listed = ''.join(f'<li>{escape(each)}</li>' for each in details[:SHOWN_DETAILS])
    if more > 0:
        listed += f'<li>and {more} more</li>'
    return Html(
        f'<article class="case" data-kind="{kind}" data-keypoints="{escape(" ".join(keypoints))}" '
        f'data-name="{escape(name.lower())}" data-score="{score!r}" data-oks="{oks!r}" data-rank="{rank}">'
        f'<div class="pair">{figures}</div><h4><span class="chip kind-{kind}">{escape(title)}</span> '
        f'<span class="file">{escape(name)}</span></h4><p class="dim">{escape(" · ".join(facts))}</p>'
        f'{f"<ul>{listed}</ul>" if listed else ""}</article>')


def gallery_section(title: str, text: str, gallery: Gallery, kinds: Sequence[Tuple[str, str, str]],
                    keypoints: Sequence[str], orders: Sequence[Tuple[str, str]],
                    advice: Mapping[str, str] = MappingProxyType({})) -> Html:
    """Return the section of a gallery with its controls.

    Args:
        text: what the pictures show.
        kinds: (kind, what its cases are called, which are shown first).
        keypoints: names of those that can be chosen.
        orders: (order known to the script, what it is called), beside that by kind.
        advice: {kind: what to try against it}, shown where a kind is chosen.
    """
    if not gallery.cards:
        return Html(f'<section><h2 id="cases">{escape(title)}</h2><p>No case is shown.</p></section>')
    remarks = []
    if gallery.without_picture:
        remarks.append(f'The pictures of {gallery.without_picture} cases were not found: their people are drawn on a '
                       'plain ground.')
    if gallery.left_out:
        remarks.append(f'{gallery.left_out} cases are shown without drawings, to keep the page small.')
    controls = (
        '<form class="controls" hidden aria-label="filter and order of the cases">'
        f'{_choice("Kind", "kind", "all kinds", [(kind, called) for kind, called, _ in kinds])}'
        f'{_choice("Keypoint", "keypoint", "all keypoints", [(name, plain(name)) for name in keypoints])}'
        '<label>File name <input name="file" type="search" autocomplete="off" placeholder="part of the name"></label>'
        f'{_choice("Order", "order", "by kind", orders)}<output aria-live="polite"></output></form>')
    advised = ''.join(f'<p class="advice" data-kind="{kind}" hidden>{escape(each)}</p>'
                      for kind, each in advice.items())
    shown = ''.join(f'<li>{escape(called)}: {escape(order)}</li>' for _, called, order in kinds)
    return Html(
        f'<section><h2 id="cases">{escape(title)}</h2><p>{escape(" ".join([text, *remarks]))}</p>'
        f'<details><summary>Which cases are shown</summary><p>At most two of a picture.</p><ul>{shown}</ul></details>'
        f'{controls}{advised}<div class="cases">{"".join(gallery.cards)}</div>'
        '<p class="empty" hidden>No case fits these filters.</p></section>')


def _choice(label: str, name: str, everything: str, options: Sequence[Tuple[str, str]]) -> str:
    listed = ''.join(f'<option value="{escape(value)}">{escape(called)}</option>' for value, called in options)
    return (f'<label>{label} <select name="{name}"><option value="">{everything}</option>{listed}</select></label>')
