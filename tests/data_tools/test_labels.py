"""What importers share: finding pictures by the names that tools write, and boxes around keypoints."""
import numpy as np
import pytest

from src.data_tools.labels import PictureFinder, box_around
from src.system.errors import PoseError


def test_a_picture_that_may_be_two_is_refused(tmp_path):
    for folder in 'ab':
        (tmp_path / folder).mkdir()
        (tmp_path / folder / '1.jpg').touch()
    finder = PictureFinder([str(tmp_path)])
    assert finder.find('b/1.jpg') == finder.find('./b\\1.jpg') == str(tmp_path / 'b/1.jpg')
    # Only what a tool has put before a name is taken away.
    assert finder.find('img-1.jpg') is None and finder.find('0123abcd-2.jpg') is None
    with pytest.raises(PoseError, match='may be .* or .*; give the folder'):
        finder.find('1.jpg')


def test_a_box_around_a_single_keypoint_has_an_area():
    box = box_around(np.array([[50.0, 40, 2], [0, 0, 0]]), (100, 80))
    assert box == (45, 35, 10, 10)
