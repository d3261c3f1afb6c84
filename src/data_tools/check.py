"""Check a data set before training: statistics and possible errors, as text and as one HTML page.

    python -m src.data_tools.check DATA                      # a folder in COCO's layout, or an annotation file
    python -m src.data_tools.check DATA --det boxes.json --page report.html
"""
import argparse
import glob
import os
from typing import List

import numpy as np
from tqdm import tqdm

from ..system.command_line import run_command, say
from ..system.errors import PoseError
from ..system.files import check_writable, write_bytes
from ..system.printing import ArgumentParser
from .annotated_set import AnnotatedSet, find_annotation_files, open_picture, read_annotated_set
from .check_page import write_page_text
from .check_rules import LEVELS, Finding, check_detections, check_overlap, check_set

HEAD = ('annotation file', 'layout', 'pictures', 'with people', 'figures', 'keypoints each', 'visible', 'box, pixels')


def numbers_of(whole: AnnotatedSet) -> List[str]:
    """Return the row of a file in the table of statistics; the size of boxes is the median of their longer sides."""
    labelled = np.array([figure.keypoints[:, 2] for figure in whole.figures]).reshape(-1, whole.skeleton.num_keypoints)
    boxes = [float(figure.box[2:].max()) for figure in whole.figures if figure.box is not None]
    counted = labelled[(labelled > 0).any(axis=1)]
    share = (counted == 2).sum() / max(1, (counted > 0).sum())
    return [whole.name, f'{whole.skeleton.name} ({whole.skeleton.num_keypoints})', str(len(whole.pictures)),
            str(len({figure.picture for figure in whole.figures})), str(len(whole.figures)),
            f'{(counted > 0).sum() / max(1, len(counted)):.1f}', f'{100 * share:.0f} %',
            f'{np.median(boxes):.0f}' if boxes else 'none']


def describe_findings(findings: List[Finding]) -> List[str]:
    """Return findings as lines of text."""
    lines = []
    for finding in findings:
        lines.append(f'{finding.level}: {finding.text}')
        shown = finding.entries[:3] or [f'{os.path.basename(whole.pictures[figure.picture].name)}, annotation '
                                        f'{figure.number}' for whole, figure in finding.examples[:3]]
        lines += [f'    {entry}' for entry in shown]
        more = max(len(finding.entries), len(finding.examples)) - len(shown)
        if more > 0:
            lines.append(f'    and {more} more')
    return lines


def find_detections(data: str) -> List[str]:
    """Return the detection files in the folder of a data set."""
    return [path for path in sorted(glob.glob(os.path.join(glob.escape(data), 'annotations', '*.json')))
            if 'det' in os.path.basename(path)] if os.path.isdir(data) else []


def parse_arguments() -> argparse.Namespace:
    parser = ArgumentParser(prog='python -m src.data_tools.check', description='Look over a data set.')
    parser.add_argument('data', help='folder in COCO\'s layout, or an annotation file')
    parser.add_argument('--gt', nargs='+', metavar='FILE', help='annotation files (default: those of the folder)')
    parser.add_argument('--det', nargs='+', metavar='FILE', help='detections (default: those in DATA/annotations)')
    parser.add_argument('--pictures', metavar='FOLDER', help='where the pictures lie, if not in DATA')
    parser.add_argument('--skeleton', metavar='NAME|FILE', help='keypoints that the files should have (default: their '
                        'own)')
    parser.add_argument('--page', metavar='HTML', default='check.html', help='the page (default: %(default)s)')
    parser.add_argument('--most', type=int, default=20000, help='pictures of a file that are opened, 0 opens none '
                        '(default: %(default)s)')
    return parser.parse_args()


def main() -> None:
    """Check what the command line names; the exit status is 1 if there are errors among the findings."""
    arguments = parse_arguments()
    if not os.path.exists(arguments.data):
        raise PoseError(f'{arguments.data} does not exist')
    if not arguments.page.lower().endswith(('.html', '.htm')):
        raise PoseError(f'--page {arguments.page} should end in .html')
    check_writable(arguments.page)
    own = os.path.join(arguments.data, 'skeleton.yaml')
    skeleton = arguments.skeleton or (own if os.path.isfile(own) else None)
    sets, findings = [], []
    for path in arguments.gt or find_annotation_files(arguments.data):
        whole = read_annotated_set(path, arguments.data, pictures=arguments.pictures, skeleton=skeleton)
        there = [picture for picture in whole.pictures if picture.path][:max(0, arguments.most)]
        for picture in tqdm(there, desc=whole.name, unit='picture'):
            open_picture(whole, picture)
        if len(there) < sum(bool(picture.path) for picture in whole.pictures):
            say(f'note: of {whole.name} {len(there)} pictures were opened (--most)')
        sets.append(whole)
        findings += check_set(whole)
    findings += check_overlap(sets)
    for path in arguments.det or find_detections(arguments.data):
        findings += check_detections(path, sets)
    findings.sort(key=lambda each: LEVELS.index(each.level))
    rows = [list(HEAD), *map(numbers_of, sets)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    say(*('  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows))
    say(*(describe_findings(findings) or ['nothing odd was found']))
    write_bytes(arguments.page, write_page_text(f'Check of {arguments.data}', sets, rows, findings).encode())
    say(f'page: {arguments.page}')
    errors = sum(finding.level == 'error' for finding in findings)
    if errors:
        raise SystemExit(1)


if __name__ == '__main__':
    run_command(main)
