"""DeepLabCut's labelled frames, CollectedData_<scorer>.csv or .h5 → Labels.

The column headers have three levels, scorer, bodyparts and coords, and in projects with several animals a fourth,
individuals. Each row is named by the path of its frame, labeled-data/<video>/img0001.png, in one column or in three.
"""
import csv
import glob
import math
import os
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from ..data.skeleton_files import read_limbs
from ..system.errors import MissingPackageError, PoseError
from ..system.printing import brief
from ..system.yaml_files import read_yaml
from .labels import Figure, LabelledPicture, Labels, PictureFinder

# (individual, body part, x or y) of a column.
Column = Tuple[str, str, str]
Table = Tuple[List[Column], List[Tuple[str, List[float]]]]


def find_tables(source: str) -> List[str]:
    """Return the tables of a project or of a folder of frames: the CSV file of each table or, if it has none, the
    H5 file."""
    if os.path.isfile(source):
        is_table = source.lower().endswith('.h5') or (source.lower().endswith('.csv') and _is_deeplabcut(source))
        return [source] if is_table else []
    chosen: Dict[str, str] = {}
    for path in sorted(glob.glob(os.path.join(glob.escape(source), '**', 'CollectedData_*'), recursive=True)):
        if path.lower().endswith(('.csv', '.h5')):
            # CSV is sorted before H5, and needs no extra package.
            chosen.setdefault(os.path.splitext(path)[0], path)
    return list(chosen.values())


def _is_deeplabcut(path: str) -> bool:
    with open(path, encoding='utf-8-sig', errors='replace') as file:
        return file.readline().startswith('scorer,')


def read_deeplabcut(source: str, pictures: Optional[str]) -> Labels:
    """Read the labelled frames of a project, of a folder or of one table.

    Raises:
        PoseError: a table is malformed, or a frame is missing; the message names it.
        ImportError: an H5 file is given and pandas or tables is not installed.
    """
    tables = find_tables(source)
    if not tables:
        raise PoseError(f'{source} holds no CollectedData_*.csv or .h5, as DeepLabCut writes them')
    labels = None
    for path in tables:
        columns, rows = _read_h5(path) if path.lower().endswith('.h5') else _read_csv(path)
        parts = list(dict.fromkeys(part for _, part, _ in columns))
        if labels is None:
            labels = Labels({'name': 'own', 'keypoints': parts, 'limbs': _limbs(source, parts)})
        elif labels.layout['keypoints'] != parts:
            raise PoseError(f'{path} has other body parts than {tables[0]}; convert them one by one')
        _add_rows(labels, columns, rows, path, pictures)
    if not labels.figures:
        raise PoseError(f'{source}: no frame is labelled')
    return labels


def _limbs(source: str, parts: List[str]) -> List[List[str]]:
    """Return the limbs in the project's config.yaml, if it is found; else none."""
    folder = os.path.abspath(source)
    for _ in range(4):
        path = os.path.join(folder, 'config.yaml')
        if os.path.isfile(path):
            content = read_yaml(path)
            return read_limbs(content.get('skeleton'), parts) if isinstance(content, dict) else []
        folder = os.path.dirname(folder)
    return []


def _read_csv(path: str) -> Table:
    with open(path, newline='', encoding='utf-8-sig', errors='replace') as file:
        rows = [row for row in csv.reader(file) if row]
    levels: Dict[str, List[str]] = {}
    while rows and rows[0][0] in ('scorer', 'individuals', 'bodyparts', 'coords'):
        line = rows.pop(0)
        levels[line[0]] = line
    if 'bodyparts' not in levels or 'coords' not in levels:
        raise PoseError(f"{path} should begin with the lines scorer, bodyparts and coords, as DeepLabCut's tables do")
    # The first one or three columns hold the names of the frames; in the header lines they are empty.
    first = next((place for place, word in enumerate(levels['coords']) if word in ('x', 'y')), len(levels['coords']))
    individuals = levels.get('individuals', [''] * len(levels['coords']))
    columns = list(zip(individuals[first:], levels['bodyparts'][first:], levels['coords'][first:]))
    table = []
    for number, row in enumerate(rows, start=len(levels) + 1):
        if len(row) != first + len(columns):
            raise PoseError(f'{path}, line {number}: {len(row)} columns, should be {first + len(columns)}')
        try:
            table.append(('/'.join(row[:first]), [float(word) if word else math.nan for word in row[first:]]))
        except ValueError:
            raise PoseError(f'{path}, line {number}: should be numbers, is {brief(row[first:])}') from None
    return columns, table


def _read_h5(path: str) -> Table:
    try:
        import pandas
        import tables  # noqa: F401  pandas reads H5 files with it
    except ImportError:
        raise MissingPackageError(f'{path} needs pandas and tables: pip install -r requirements-h5.txt; or convert the '
                                  'CSV file that lies beside it') from None
    try:
        frame: Any = pandas.read_hdf(path)
        names = list(frame.columns.names)
        columns = []
        for each in frame.columns:
            named = dict(zip(names, map(str, each)))
            columns.append((named.get('individuals', ''), named['bodyparts'], named['coords']))
        rows = [('/'.join(map(str, index)) if isinstance(index, tuple) else str(index), list(map(float, values)))
                for index, values in zip(frame.index, frame.to_numpy())]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PoseError(f"{path} is no table of DeepLabCut's: {' '.join(str(error).split())[:200]}") from None
    return columns, rows


def _add_rows(labels: Labels, columns: List[Column], rows: list, path: str, pictures: Optional[str]) -> None:
    folder = os.path.dirname(os.path.abspath(path))
    # The table is PROJECT/labeled-data/<video>/CollectedData_x.csv.
    project = os.path.dirname(os.path.dirname(folder))
    finder = PictureFinder([pictures] if pictures else [project, folder])
    parts = labels.layout['keypoints']
    individuals = list(dict.fromkeys(individual for individual, _, _ in columns))
    # Under the name `single` are body parts that belong to none of the animals.
    individuals = [each for each in individuals if each != 'single'] or individuals
    for name, values in rows:
        found = finder.find(name)
        if found is None:
            raise PoseError(f'{path}: the frame {name} is missing; give the folder with --pictures')
        index = len(labels.pictures)
        labels.pictures.append(LabelledPicture(found))
        tables = {individual: np.zeros((len(parts), 3)) for individual in individuals}
        for (individual, part, coordinate), value in zip(columns, values):
            if individual in tables and coordinate in ('x', 'y'):
                tables[individual][parts.index(part), 'xy'.index(coordinate)] = value
        is_empty = True
        for table in tables.values():
            seen = np.isfinite(table[:, :2]).all(axis=1)
            table[:, 2], table[~seen] = 2, 0
            if seen.any():
                labels.figures.append(Figure(index, table))
                is_empty = False
        if is_empty:
            labels.leave_out('frames without a label, taken over with nobody on them')
