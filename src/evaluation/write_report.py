"""Results and an annotation file → the report as one HTML file."""
import contextlib
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..data.annotation_checks import AnnotationFile
from ..data.locate_pictures import check_picture_folder, locate_pictures
from ..data.people import People
from ..data.skeletons import Skeleton
from ..datasets.record import PoseDataset
from ..metrics.bootstrap import RESAMPLES
from ..metrics.mpii import HeadDistances
from ..metrics.records import check_image_ids, read_records
from ..report.analysis import Analysis, analyse, pictures_of
from ..report.cases import worst_cases
from ..report.comparison import changed_people, compare, verdict_sentence
from ..report.comparison_page import DifferingSettings, comparison_page, draw_changes
from ..report.gallery import draw_gallery
from ..report.pckh_page import pckh_page
from ..report.write import Source, report_page
from ..system.command_line import say
from ..system.errors import PoseError
from ..system.files import check_writable, write_bytes

MOST_CASES = 12


class Boxes(NamedTuple):
    """The boxes that a network was given.

    Attributes:
        image_ids: (B,) of their pictures.
        boxes_xywh: (B, 4).
        description: as text.
    """

    image_ids: np.ndarray
    boxes_xywh: np.ndarray
    description: str

    @classmethod
    def of_people(cls, people: People, description: str) -> 'Boxes':
        """Return the boxes of people to crop."""
        return cls(people.image_ids[people.image_index], people.boxes_xywh, description)


def check_report_path(path: str) -> None:
    """Check that a report can be written.

    Raises:
        PoseError: the file should have another ending.
        OSError: it cannot be written.
    """
    if not path.lower().endswith(('.html', '.htm')):
        raise PoseError(f'--report {path} should end in .html')
    check_writable(path)


def check_can_report(dataset: PoseDataset) -> None:
    """Raise PoseError if there is no report for the evaluation of a data set."""
    if dataset.oks_truth is None and dataset.distances is None:
        raise PoseError(f'a report needs an evaluation by OKS or PCKh, and {dataset.name} has another one; leave out '
                        '--report')


def analyse_results(file: AnnotationFile, results: List[dict], skeleton: Skeleton, dataset: PoseDataset, config: Any, *,
                    numbers: Optional[Dict[str, float]] = None, boxes: Optional[Boxes] = None,
                    resamples: int = RESAMPLES) -> Analysis:
    """Return the numbers of a report.

    Args:
        results: records with image_id, keypoints and score.
        config: resolved configuration, of whose section TEST the evaluation is.
        numbers: of the evaluation, if they are known already.

    Raises:
        PoseError: the data set is not scored by OKS, or file and results do not fit.
    """
    check_can_report(dataset)
    check_image_ids(results, file.pictures.row_of, file.path)
    truth = dataset.oks_truth(file, skeleton, config)
    found = dataset.oks_poses(read_records(results, skeleton.num_keypoints), config)
    numbers = numbers or dataset.evaluate(file, results, skeleton, config)
    if 'AP' not in numbers:
        raise PoseError(f'a report needs an AP, and the evaluation of {dataset.name} gives {", ".join(numbers)}')
    return analyse(truth, found, skeleton, pictures_of(file, truth), numbers, resamples=resamples,
                   box_images=boxes.image_ids if boxes else None, boxes_xywh=boxes.boxes_xywh if boxes else None)


def find_pictures(analysis: Analysis, images: Iterable[int], root: str, split_folder: str = ''
                  ) -> Tuple[Dict[int, bytes], str]:
    """Return {row of a picture: its path} of some pictures, and a line on why some were not found, or ''.

    Args:
        images: rows of the pictures.
        root: folder of the pictures; '' for none.

    Raises:
        PoseError: the folder does not exist.
    """
    rows = np.array(sorted(set(images)), int)
    if not root or not len(rows):
        return {}, ''
    check_picture_folder(root)
    names, found = analysis.pictures.names, {}
    try:
        paths = locate_pictures(root, names, split_folder=split_folder, needed=rows)
        return {row: paths[row] for row in rows.tolist()}, ''
    except PoseError as error:
        reason = f'note: not all cases are drawn on their pictures: {error}'
    for row in rows.tolist():
        with contextlib.suppress(PoseError):
            found[row] = locate_pictures(root, names[row:row + 1], split_folder=split_folder)[0]
    return found, reason


def write_report(path: str, analysis: Analysis, source: Source, *, pictures: str = '', split_folder: str = '',
                 most_cases: int = MOST_CASES) -> List[str]:
    """Write the page; return lines about it.

    Args:
        pictures: folder of the pictures; without it people are drawn on a plain ground.
        split_folder: folder of the data set's split within it.
        most_cases: of each kind of error.

    Raises:
        OSError: the file cannot be written.
        PoseError: the folder of the pictures does not exist.
    """
    cases = worst_cases(analysis, most_cases)
    paths, reason = find_pictures(analysis, [case.image for case in cases], pictures, split_folder)
    return _write(path, report_page(analysis, source, cases, draw_gallery(analysis, cases, paths.get)), reason)


def write_comparison(path: str, analyses: Sequence[Analysis], sources: Sequence[Source], settings: DifferingSettings, *,
                     pictures: str = '', split_folder: str = '', most_cases: int = MOST_CASES) -> List[str]:
    """Compare two results, print the verdict and the settings that differ, and write the page; return lines about it.
    See `write_report`.

    Args:
        analyses, sources: of A and of B.
        settings: in which they differ.
    """
    comparison = compare(*analyses)
    say(verdict_sentence(comparison), settings.sentence)
    changes = changed_people(comparison, most_cases)
    images = [int(comparison.first.truth.image_index[change.person]) for change in changes]
    paths, reason = find_pictures(comparison.first, images, pictures, split_folder)
    gallery = draw_changes(comparison, changes, paths.get)
    return _write(path, comparison_page(comparison, sources, settings, changes, gallery), reason)


def write_pckh_report(path: str, distances: HeadDistances, metrics: Dict[str, float], skeleton: Skeleton, source: Source
                      ) -> List[str]:
    """Write the page of an evaluation by PCKh; return lines about it.

    Raises:
        OSError: the file cannot be written.
    """
    return _write(path, pckh_page(distances, metrics, skeleton, source), '')


def _write(path: str, page: str, reason: str) -> List[str]:
    content = page.encode()
    write_bytes(path, content)
    return [*([reason] if reason else []), f'report: {path} ({len(content) / 1e6:.1f} MB)']
