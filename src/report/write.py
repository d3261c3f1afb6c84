"""The report as one HTML page: its sections, in order, from the numbers of an `Analysis`."""
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence

from .analysis import Analysis
from .cases import Case
from .gallery import Gallery, keypoints_of, kinds_of
from .page import Html, escape, whole_page
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
        resamples: of the bootstrap.
        digits: decimals of the numbers of the evaluation.
    """

    results: str
    annotations: str
    evaluation: str
    boxes: str
    notes: Sequence[str]
    with_truth_boxes: Optional[float]
    resamples: int
    digits: int = 3


def report_page(analysis: Analysis, source: Source, cases: Sequence[Case], gallery: Gallery) -> str:
    """Return the page."""
    nav = ''.join(f'<a href="#{name}">{title}</a>' for name, title in SECTIONS)
    facts = (f'{source.results} on {source.annotations}, {source.evaluation}: '
             f'{len(analysis.found.scores)} poses, {int((~analysis.truth.is_ignored).sum())} people who count, '
             f'{len(analysis.truth.image_ids)} pictures')
    body: List[str] = [f'<h1>What the poses get wrong</h1><p class="dim">{escape(facts)}</p>'
                       f'<nav aria-label="sections">{nav}</nav>']
    body += [numbers_section(analysis, source.resamples, source.digits), error_section(analysis),
             keypoint_section(analysis), groups_section(analysis),
             boxes_section(analysis, source.boxes, source.with_truth_boxes),
             curves_section(analysis), _gallery_section(analysis, cases, gallery)]
    notes = [*source.notes, *(
        [f'{analysis.poses_beyond} poses are beyond the 20 best of their picture and do not count']
        if analysis.poses_beyond else [])]
    if notes:
        body.append(f'<h2>Notes</h2><ul class="notes">{"".join(f"<li>{escape(each)}</li>" for each in notes)}</ul>')
    style, script = ((FOLDER / name).read_text(encoding='utf-8') for name in ('report.css', 'report.js'))
    return whole_page('Pose report', body, style=style, script=script)


def _gallery_section(analysis: Analysis, cases: Sequence[Case], gallery: Gallery) -> Html:
    if not cases:
        return Html('<section><h2 id="cases">Worst cases</h2><p>No case is shown.</p></section>')
    kinds = ''.join(f'<option value="{kind}">{escape(KIND_TEXTS[kind].case_title)}</option>'
                    for kind in kinds_of(cases))
    keypoints = ''.join(f'<option value="{escape(name)}">{escape(name.replace("_", " "))}</option>'
                        for name in keypoints_of(analysis, cases))
    controls = (
        '<form class="controls" hidden aria-label="filter and order of the cases">'
        f'<label>Kind <select name="kind"><option value="">all kinds</option>{kinds}</select></label>'
        f'<label>Keypoint <select name="keypoint"><option value="">all keypoints</option>{keypoints}</select></label>'
        '<label>File name <input name="file" type="search" autocomplete="off" placeholder="part of the name"></label>'
        '<label>Order <select name="order"><option value="">by kind</option><option value="worst">worst first</option>'
        '<option value="score">score, highest first</option><option value="oks">OKS, lowest first</option>'
        '<option value="name">file name</option></select></label>'
        '<output aria-live="polite"></output></form>')
    orders = ''.join(f'<li>{escape(KIND_TEXTS[kind].case_title)}: {escape(KIND_TEXTS[kind].order)}</li>'
                     for kind in kinds_of(cases))
    remarks = []
    if gallery.without_picture:
        remarks.append(f'The pictures of {gallery.without_picture} cases were not found: their people are drawn on a '
                       'plain ground.')
    if gallery.left_out:
        remarks.append(f'{gallery.left_out} cases are shown without drawings, to keep the page small.')
    return Html(
        '<section><h2 id="cases">Worst cases</h2><p>The annotated person and the found pose beside each other. '
        'Orange is the left side of the body, blue the right. A ring marks a wrong keypoint, the line leads to its '
        f'label.{" ".join(["", *remarks])}</p><details><summary>Which cases are shown</summary>'
        f'<p>At most two of a picture.</p><ul>{orders}</ul></details>{controls}'
        f'<div class="cases">{"".join(gallery.cards)}</div>'
        '<p class="empty" hidden>No case fits these filters.</p></section>')
