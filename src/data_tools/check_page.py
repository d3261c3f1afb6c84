"""The report of check.py as one self-contained HTML page: statistics, findings and thumbnails."""
import base64
import html
import os
from typing import List, Optional, Sequence, Tuple

import cv2
import numpy as np

from ..data.images import read_picture
from ..system.errors import PoseError
from ..visualization import draw_people
from .annotated_set import AnnotatedFigure, AnnotatedSet
from .check_rules import Finding

THUMBNAIL = 220  # pixels of the longer side
EXAMPLES = 6  # thumbnails per finding
SAMPLES = 12  # thumbnails per annotation file
_STYLE = '''
:root { color-scheme: light dark; --ink: #1c2733; --dim: #5b6b7b; --paper: #f6f7f9; --card: #fff; --line: #dde2e8;
        --bar: #4a86c8; --error: #c62f2f; --warning: #b26a00; --note: #51708f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf0; --dim: #9aa8b5; --paper: #14191f; --card: #1d242c;
        --line: #303a45; --bar: #5b9be0; --error: #ff7b72; --warning: #f0a845; --note: #8fb3d6; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
       max-width: 1060px; padding: 24px 20px 60px; }
h1 { font-size: 24px; margin: 0; } h2 { font-size: 18px; margin: 36px 0 10px; }
h3 { font-size: 15px; margin: 18px 0 6px; }
p { margin: 4px 0; } .dim { color: var(--dim); }
table { border-collapse: collapse; width: 100%; background: var(--card); border: 1px solid var(--line); }
th, td { text-align: right; padding: 6px 12px; border-top: 1px solid var(--line); font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; min-width: 150px; }
.wide { overflow-x: auto; }
th { color: var(--dim); font-weight: 600; border-top: 0; }
.finding { background: var(--card); border: 1px solid var(--line); border-left: 4px solid; padding: 10px 14px;
           margin: 10px 0; overflow-wrap: anywhere; }
.error { border-left-color: var(--error); } .warning { border-left-color: var(--warning); }
.note { border-left-color: var(--note); }
.level { font-weight: 700; text-transform: uppercase; font-size: 12px; letter-spacing: .05em; margin-right: 8px; }
.error .level { color: var(--error); } .warning .level { color: var(--warning); } .note .level { color: var(--note); }
.finding ul { margin: 6px 0 0; padding-left: 20px; color: var(--dim); font-size: 13px; }
.pictures { display: flex; flex-wrap: wrap; gap: 10px; margin-top: 10px; }
figure { margin: 0; } figcaption { font-size: 12px; color: var(--dim); max-width: 220px; overflow-wrap: anywhere; }
figure img { display: block; border-radius: 3px; }
.bars { display: grid; grid-template-columns: minmax(90px, max-content) 1fr 90px; gap: 3px 10px; align-items: center;
        background: var(--card); border: 1px solid var(--line); padding: 10px 14px; font-size: 13px; }
.bar { display: block; background: var(--bar); height: 12px; border-radius: 2px; min-width: 1px; }
.number { text-align: right; font-variant-numeric: tabular-nums; color: var(--dim); }
'''


def write_page_text(title: str, sets: Sequence[AnnotatedSet], rows: Sequence[Sequence[str]],
                    findings: Sequence[Finding]) -> str:
    """Return the HTML of the page.

    Args:
        rows: of the table of statistics, starting with its header.
    """
    counts = ', '.join(f'{sum(each.level == level for each in findings)} {level}s' for level in
                       ('error', 'warning', 'note'))
    parts = [f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
             f'content="width=device-width"><title>{_text(title)}</title><style>{_STYLE}</style></head><body>',
             f'<h1>{_text(title)}</h1><p class="dim">{counts}</p>', '<h2>Numbers</h2>', _table(rows)]
    parts += ['<h2>Findings</h2>', *map(_finding, findings)] + ['<p>Nothing odd was found.</p>'] * (not findings)
    for whole in sets:
        parts += [f'<h2>{_text(whole.name)}</h2>',
                  '<h3>Labelled keypoints of a figure</h3>', _keypoints_of_figures(whole),
                  '<h3>How often each keypoint is labelled</h3>', _labelled_keypoints(whole),
                  '<h3>Some figures</h3>', _pictures([(whole, figure) for figure in some_figures(whole, SAMPLES)])]
    return '\n'.join([*parts, '</body></html>\n'])


def some_figures(whole: AnnotatedSet, most: int) -> List[AnnotatedFigure]:
    """Return up to `most` figures with keypoints, evenly spread over the file."""
    figures = [figure for figure in whole.figures if figure.keypoints.any() and whole.pictures[figure.picture].path]
    places = np.linspace(0, len(figures) - 1, min(most, len(figures))).astype(int) if figures else []
    return [figures[place] for place in places]


def _text(text: str) -> str:
    return html.escape(''.join(letter if letter.isprintable() else '?' for letter in text))


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = ['<tr>' + ''.join(f'<th>{_text(cell)}</th>' for cell in head) + '</tr>']
    lines += ['<tr>' + ''.join(f'<td>{_text(cell)}</td>' for cell in row) + '</tr>' for row in body]
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _finding(finding: Finding) -> str:
    entries = ''.join(f'<li>{_text(entry)}</li>' for entry in finding.entries[:8])
    return (f'<div class="finding {finding.level}"><span class="level">{finding.level}</span>{_text(finding.text)}'
            f'{f"<ul>{entries}</ul>" if entries else ""}{_pictures(finding.examples[:EXAMPLES])}</div>')


def _bars(bars: Sequence[Tuple[str, int]], total: int) -> str:
    most = max([count for _, count in bars] or [1]) or 1
    cells = [f'<span>{_text(name)}</span><span><span class="bar" style="width:{100 * count / most:.1f}%">'
             f'</span></span>'
             f'<span class="number">{count} ({100 * count / max(1, total):.0f} %)</span>' for name, count in bars]
    return f'<div class="bars">{"".join(cells)}</div>'


def _keypoints_of_figures(whole: AnnotatedSet) -> str:
    counts = np.bincount([int((figure.keypoints[:, 2] > 0).sum()) for figure in whole.figures] or [0],
                         minlength=whole.skeleton.num_keypoints + 1)
    # At most twenty bars: in layouts with many keypoints, each bar stands for several counts.
    width = -(-len(counts) // 20)
    bars = [(str(first) if width == 1 else f'{first} to {min(first + width, len(counts)) - 1}',
             int(counts[first:first + width].sum())) for first in range(0, len(counts), width)]
    return _bars(bars, len(whole.figures))


def _labelled_keypoints(whole: AnnotatedSet) -> str:
    shares = np.sum([figure.keypoints[:, 2] > 0 for figure in whole.figures], axis=0) if whole.figures else np.zeros(
        whole.skeleton.num_keypoints, int)
    return _bars(list(zip(whole.skeleton.keypoint_names, shares.astype(int).tolist())), len(whole.figures))


def _pictures(examples: Sequence[Tuple[AnnotatedSet, AnnotatedFigure]]) -> str:
    shown = []
    for whole, figure in examples:
        name, encoded = whole.pictures[figure.picture].name, thumbnail(whole, figure)
        if encoded is not None:
            content = base64.b64encode(encoded).decode()
            shown.append(f'<figure><img alt="" src="data:image/jpeg;base64,{content}"><figcaption>'
                         f'{_text(os.path.basename(name))}, annotation {figure.number}</figcaption></figure>')
    return f'<div class="pictures">{"".join(shown)}</div>' if shown else ''


def thumbnail(whole: AnnotatedSet, figure: AnnotatedFigure) -> Optional[bytes]:
    """Return a small JPEG of a figure and its surroundings; None if its picture cannot be read."""
    path = whole.pictures[figure.picture].path
    try:
        picture = read_picture(path, honour_exif=False) if path else None
    except PoseError:
        picture = None
    if picture is None:
        return None
    places = figure.keypoints[figure.keypoints[:, 2] > 0, :2]
    corners = [places] if len(places) else []
    if figure.box is not None:
        corners.append(np.stack([figure.box[:2], figure.box[:2] + figure.box[2:]]))
    size = np.array(picture.shape[1::-1])
    everything = np.concatenate(corners) if corners else np.array([[0, 0], size])
    low, high = everything.min(axis=0), everything.max(axis=0)
    margin = 0.12 * max(high - low) + 4
    low = np.clip(np.floor(low - margin), 0, size - 1).astype(int)
    high = np.clip(np.ceil(high + margin), low + 1, size).astype(int)
    part = picture[low[1]:high[1], low[0]:high[0]]
    scale = THUMBNAIL / max(part.shape[:2])
    small = cv2.resize(part, (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))),
                       interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    keypoints = figure.keypoints.copy()
    keypoints[:, :2] = (keypoints[:, :2] - low) * scale
    box = None if figure.box is None else np.array([[*(figure.box[:2] - low) * scale, *figure.box[2:] * scale]])
    drawn = draw_people(small, keypoints[None], whole.skeleton, boxes_xywh=box)
    return cv2.imencode('.jpg', drawn, (cv2.IMWRITE_JPEG_QUALITY, 85))[1].tobytes()
