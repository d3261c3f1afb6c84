"""The report as one HTML page: its sections, in order, from the numbers of an `Analysis`."""
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Tuple

from . import plots
from .analysis import Analysis
from .cards import Gallery, gallery_section
from .cases import Case
from .gallery import keypoints_of, kinds_of
from .page import Html, escape, notes_list, whole_page
from .sections import boxes_section, curves_section, error_section, groups_section, keypoint_section, numbers_section
from .texts import KIND_TEXTS

FOLDER = Path(__file__).resolve().parent
SECTIONS = (('numbers', 'Numbers'), ('errors', 'Errors by kind'), ('keypoints', 'Keypoints'), ('where', 'Where'),
            ('boxes', 'Boxes or network'), ('curves', 'Curves and scores'), ('cases', 'Worst cases'))


class Source(NamedTuple):
    """Where the numbers of a report are from, as text.

    Attributes:
        results, annotations: names of the files.
        evaluation: name of the evaluation, such as 'coco'.
        boxes: what boxes were given; '' if that is not known.
        notes: what the reader should know, a line each.
        with_truth_boxes: AP of the same network on the boxes of the annotations, if it is known.
        digits: decimals of the numbers of the evaluation.
        has_truth_boxes: whether the boxes are those of the annotations.
    """

    results: str
    annotations: str
    evaluation: str
    boxes: str
    notes: Sequence[str]
    with_truth_boxes: Optional[float]
    digits: int
    has_truth_boxes: bool = False


def read_assets() -> Tuple[str, str]:
    """Return the style and the script of the pages."""
    style, script = ((FOLDER / name).read_text(encoding='utf-8') for name in ('report.css', 'report.js'))
    return plots.STYLE + style, script


def report_page(analysis: Analysis, source: Source, cases: Sequence[Case], gallery: Gallery) -> str:
    """Return the page."""
    nav = ''.join(f'<a href="#{name}">{title}</a>' for name, title in SECTIONS)
    facts = (f'{source.results} on {source.annotations}, {source.evaluation}: '
             f'{len(analysis.found.scores)} poses, {int((~analysis.truth.is_ignored).sum())} people who count, '
             f'{len(analysis.truth.image_ids)} pictures')
    body: List[str] = [f'<h1>What the poses get wrong</h1><p class="dim">{escape(facts)}</p>'
                       f'<nav aria-label="sections">{nav}</nav>']
    body += [numbers_section(analysis, source.digits), error_section(analysis),
             keypoint_section(analysis), groups_section(analysis),
             boxes_section(analysis, source.boxes, are_truth=source.has_truth_boxes,
                           with_truth_boxes=source.with_truth_boxes),
             curves_section(analysis), _gallery_section(analysis, cases, gallery)]
    notes = [*source.notes, *(
        [f'{analysis.poses_beyond} poses are beyond the 20 best of their picture and do not count']
        if analysis.poses_beyond else [])]
    if notes:
        body.append(f'<h2>Notes</h2>{notes_list(notes)}')
    style, script = read_assets()
    return whole_page('Pose report', body, style=style, script=script)


def _gallery_section(analysis: Analysis, cases: Sequence[Case], gallery: Gallery) -> Html:
    kinds = [(kind, KIND_TEXTS[kind].case_title, KIND_TEXTS[kind].order) for kind in kinds_of(cases)]
    return gallery_section(
        'Worst cases', 'The annotated person and the found pose beside each other. Orange is the left side of the '
        'body, blue the right. A ring marks a wrong keypoint, the line leads to its label.', gallery, kinds,
        keypoints_of(analysis, cases), (('worst', 'worst first'), ('score', 'score, highest first'),
                                        ('oks', 'OKS, lowest first'), ('name', 'file name')),
        {kind: f'{KIND_TEXTS[kind].meaning} {KIND_TEXTS[kind].advice}' for kind in kinds_of(cases)})
