"""Results of an inference as files: COCO's results.json, a JSON line per frame, a CSV row per keypoint."""
import csv
import io
import json
import os
from typing import IO, List, Optional, Sequence

import numpy as np

from ..system.files import write_bytes

CSV_COLUMNS = ('file', 'frame', 'person', 'keypoint', 'x', 'y', 'score')
# A thousandth of a pixel is far below the accuracy of any network.
DECIMALS, SCORE_DECIMALS = 3, 5


class LineFile:
    """A text file to which complete lines are added: a line that is written only in part is removed again.

    Raises:
        OSError: the file cannot be written; all earlier lines are in it.
    """

    def __init__(self, path: str):
        self.path = path
        # Unbuffered, so that written lines survive however the process ends.
        self._file: IO[bytes] = open(path, 'wb', buffering=0)  # noqa: SIM115  until `close`

    def add(self, text: str) -> None:
        """Add lines; the last one ends with a line feed."""
        content, before = memoryview(text.encode('utf-8', 'surrogateescape')), self._file.tell()
        try:
            while content:
                content = content[self._file.write(content):]
        except OSError as error:
            self._file.truncate(before)
            self._file.seek(before)
            raise OSError(f'cannot write {self.path}: {error.strerror or error}') from error

    def close(self) -> None:
        self._file.close()


class ResultTables:
    """Collects the poses of all frames; `results.json` is written at the end, complete or not at all.

    Args:
        folder: for the files.
        keypoint_names: of the K keypoints.
        with_lines: also write frames.jsonl.
        with_csv: also write keypoints.csv.
    """

    def __init__(self, folder: str, keypoint_names: Sequence[str], *, with_lines: bool = False, with_csv: bool = False):
        self.path = os.path.join(folder, 'results.json')
        self._names = keypoint_names
        # As text: it takes a tenth of the memory of Python objects.
        self._records: List[str] = []
        self._lines = LineFile(os.path.join(folder, 'frames.jsonl')) if with_lines else None
        self._csv: Optional[LineFile] = None
        if with_csv:
            self._csv = LineFile(os.path.join(folder, 'keypoints.csv'))
            self._csv.add(','.join(CSV_COLUMNS) + '\n')

    def add(self, file_name: str, frame: Optional[int], image_id: int, records: List[dict]) -> None:
        """Add the poses of a frame.

        Args:
            file_name: of the picture or the video.
            frame: its number in the video, from 0; None for a picture.
            records: in COCO's format, see `pose_record`.

        Raises:
            OSError: a line cannot be written; `results.json` will have these poses all the same.
        """
        texts = [json.dumps(record, allow_nan=False) for record in records]
        self._records += texts
        if self._lines is not None:
            head = json.dumps({'file_name': file_name, 'frame': frame, 'image_id': image_id})
            self._lines.add(f'{head[:-1]}, "people": [{", ".join(texts)}]}}\n')
        if self._csv is not None:
            buffer = io.StringIO()
            writer = csv.writer(buffer, lineterminator='\n')
            for record in records:
                values = zip(*[iter(record['keypoints'])] * 3)
                writer.writerows((file_name, 0 if frame is None else frame, record['person'], name, *value)
                                 for name, value in zip(self._names, values))
            self._csv.add(buffer.getvalue())

    def close(self) -> None:
        """Write `results.json`.

        Raises:
            OSError: it cannot be written.
        """
        for file in (self._lines, self._csv):
            if file is not None:
                file.close()
        write_bytes(self.path, ('[' + ',\n'.join(self._records) + ']\n').encode())


def pose_record(image_id: int, file_name: str, frame: Optional[int], person: int, keypoints: np.ndarray, score: float,
                box_xywh: np.ndarray, **more) -> dict:
    """Return a pose in COCO's result format, with fields that identify its picture or frame.

    Args:
        person: its number on the drawing; with tracking the same over the frames of a video.
        keypoints: (K, 3) x, y in picture pixels and score.
        more: further fields.
    """
    rounded = np.concatenate([np.round(keypoints[:, :2], DECIMALS), np.round(keypoints[:, 2:], SCORE_DECIMALS)], axis=1)
    return {'image_id': image_id, 'category_id': 1, 'keypoints': rounded.ravel().tolist(),
            'score': round(float(score), SCORE_DECIMALS), 'bbox': np.round(box_xywh, DECIMALS).tolist(),
            'file_name': file_name, **({} if frame is None else {'frame': frame}), 'person': person, **more}
