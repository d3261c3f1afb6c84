"""The report of check.py as one self-contained HTML page: statistics, findings and thumbnails."""
import os
from typing import List, Optional, Sequence, Tuple

import numpy as np

from ..report.page import bars, escape, jpeg_source, table, whole_page
from ..report.thumbnails import box_corners, cut_out, encode, open_or_none
from ..visualization import draw_people
from .annotated_set import AnnotatedFigure, AnnotatedSet
from .check_rules import Finding

THUMBNAIL = 220  # pixels of the longer side
EXAMPLES = 6  # thumbnails per finding
SAMPLES = 12  # thumbnails per annotation file
_STYLE = '''
.finding { background: var(--card); border: 1px solid var(--line); border-left: 4px solid; padding: 10px 14px;
           margin: 10px 0; overflow-wrap: anywhere; }
.error { border-left-color: var(--error); } .warning { border-left-color: var(--warning); }
.note { border-left-color: var(--note); }
.level { font-weight: 700; text-transform: uppercase; font-size: 12px; letter-spacing: .05em; margin-right: 8px; }
.error .level { color: var(--error); } .warning .level { color: var(--warning); } .note .level { color: var(--note); }
.finding ul { margin: 6px 0 0; padding-left: 20px; color: var(--dim); font-size: 13px; }
'''


def write_page_text(title: str, sets: Sequence[AnnotatedSet], rows: Sequence[Sequence[str]],
                    findings: Sequence[Finding]) -> str:
    """Return the HTML of the page.

    Args:
        rows: of the table of statistics, starting with its header.
    """
    counts = ', '.join(f'{sum(each.level == level for each in findings)} {level}s' for level in
                       ('error', 'warning', 'note'))
    parts = [f'<h1>{escape(title)}</h1><p class="dim">{counts}</p>', '<h2>Numbers</h2>', table(rows)]
    parts += ['<h2>Findings</h2>', *map(_finding, findings)] + ['<p>Nothing odd was found.</p>'] * (not findings)
    for whole in sets:
        parts += [f'<h2>{escape(whole.name)}</h2>',
                  '<h3>Labelled keypoints of a figure</h3>', _keypoints_of_figures(whole),
                  '<h3>How often each keypoint is labelled</h3>', _labelled_keypoints(whole),
                  '<h3>Some figures</h3>', _pictures([(whole, figure) for figure in some_figures(whole, SAMPLES)])]
    return whole_page(title, parts, style=_STYLE)


def some_figures(whole: AnnotatedSet, most: int) -> List[AnnotatedFigure]:
    """Return up to `most` figures with keypoints, evenly spread over the file."""
    figures = [figure for figure in whole.figures if figure.keypoints.any() and whole.pictures[figure.picture].path]
    places = np.linspace(0, len(figures) - 1, min(most, len(figures))).astype(int) if figures else []
    return [figures[place] for place in places]


def _finding(finding: Finding) -> str:
    entries = ''.join(f'<li>{escape(entry)}</li>' for entry in finding.entries[:8])
    return (f'<div class="finding {finding.level}"><span class="level">{finding.level}</span>{escape(finding.text)}'
            f'{f"<ul>{entries}</ul>" if entries else ""}{_pictures(finding.examples[:EXAMPLES])}</div>')


def _keypoints_of_figures(whole: AnnotatedSet) -> str:
    counts = np.bincount([int((figure.keypoints[:, 2] > 0).sum()) for figure in whole.figures] or [0],
                         minlength=whole.skeleton.num_keypoints + 1)
    # At most twenty bars: in layouts with many keypoints, each bar stands for several counts.
    width = -(-len(counts) // 20)
    rows = [(str(first) if width == 1 else f'{first} to {min(first + width, len(counts)) - 1}',
             int(counts[first:first + width].sum())) for first in range(0, len(counts), width)]
    return bars(rows, len(whole.figures))


def _labelled_keypoints(whole: AnnotatedSet) -> str:
    shares = np.sum([figure.keypoints[:, 2] > 0 for figure in whole.figures], axis=0) if whole.figures else np.zeros(
        whole.skeleton.num_keypoints, int)
    return bars(list(zip(whole.skeleton.keypoint_names, shares.astype(int).tolist())), len(whole.figures))


def _pictures(examples: Sequence[Tuple[AnnotatedSet, AnnotatedFigure]]) -> str:
    shown = []
    for whole, figure in examples:
        name, encoded = whole.pictures[figure.picture].name, thumbnail(whole, figure)
        if encoded is not None:
            shown.append(f'<figure><img alt="" src="{jpeg_source(encoded)}"><figcaption>'
                         f'{escape(os.path.basename(name))}, annotation {figure.number}</figcaption></figure>')
    return f'<div class="pictures">{"".join(shown)}</div>' if shown else ''


def thumbnail(whole: AnnotatedSet, figure: AnnotatedFigure) -> Optional[bytes]:
    """Return a small JPEG of a figure and its surroundings; None if its picture cannot be read."""
    picture = open_or_none(whole.pictures[figure.picture].path)
    if picture is None:
        return None
    places = figure.keypoints[figure.keypoints[:, 2] > 0, :2]
    corners = [places] if len(places) else []
    if figure.box is not None:
        corners.append(box_corners(figure.box))
    small = cut_out(picture, corners, THUMBNAIL)
    box = None if figure.box is None else small.box(figure.box)[None]
    return encode(draw_people(small.picture, small.places(figure.keypoints)[None], whole.skeleton, boxes_xywh=box))
