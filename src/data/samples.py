"""One person → the arrays of one sample.

A training sample is a crop and the keypoint positions in it; the label maps (target heatmaps) are made from them inside
the graph. A test sample is a crop with the center and scale that map its poses back to the picture.
"""
import os
from dataclasses import dataclass
from functools import cached_property
from typing import Callable, Optional, Tuple

import cv2
import numpy as np

from .crops import Crop, CropRule
from .images import check_size, read_picture
from .neighbours import nearest_neighbours
from .people import People
from .photo_changes import PhotoChanges, cover_with_piece, end_at_frame
from .skeletons import Skeleton


def cut_crop(picture: np.ndarray, crop: Crop, out: np.ndarray) -> np.ndarray:
    """Cut a crop into `out` (H, W, 3) uint8, black outside the picture.

    Returns:
        The (2, 3) matrix from pixels of the picture (mirrored, if the crop is) to crop pixels.
    """
    if crop.flip:
        picture = cv2.flip(picture, 1)
    size = (out.shape[1], out.shape[0])
    matrix = crop.matrix(size)
    cv2.warpAffine(picture, matrix, size, dst=out, flags=cv2.INTER_LINEAR)
    return matrix


def mirror_keypoints(keypoints: np.ndarray, picture_width: int, flip_index: np.ndarray) -> np.ndarray:
    """Return keypoints (..., K, 3) of the mirrored picture: x mirrored, left and right swapped."""
    mirrored = keypoints[..., flip_index, :]
    mirrored[..., 0] = picture_width - mirrored[..., 0] - 1
    return mirrored


@dataclass(frozen=True)
class PersonSamples:
    """The samples of P people.

    Attributes:
        people: the annotated or detected people.
        paths: (I,) bytes, the paths of the pictures.
        crops: the network's crop rule.
        skeleton: keypoint layout.
        input_shape: (H, W).
        seed: of every augmentation.
        honour_exif: whether pictures are turned as their EXIF orientation says; None leaves it to the crop rule.
        photo: augmentation of the photos of training samples.
        read: (path, honour_exif) -> picture.
    """

    people: People
    paths: np.ndarray
    crops: CropRule
    skeleton: Skeleton
    input_shape: Tuple[int, int]
    seed: int = 1
    honour_exif: Optional[bool] = None
    photo: PhotoChanges = PhotoChanges()
    read: Callable[..., np.ndarray] = read_picture

    def __len__(self) -> int:
        return len(self.people)

    @cached_property
    def neighbours(self) -> np.ndarray:
        """Rows (P, N) of the N neighbours of each person, whose keypoints a training sample also has."""
        return nearest_neighbours(self.people, self.crops.num_neighbours)

    @property
    def aspect(self) -> float:
        return self.input_shape[1] / self.input_shape[0]

    def describe(self, rows: np.ndarray) -> str:
        """Name the pictures of some people, for messages."""
        names = [os.fsdecode(self.people.file_names[self.people.image_index[row]]) for row in rows]
        return ', '.join(names[:8]) + (f' and {len(names) - 8} more' if len(names) > 8 else '')

    def _picture(self, index: int) -> np.ndarray:
        row = self.people.image_index[index]
        honour_exif = self.crops.honours_exif if self.honour_exif is None else self.honour_exif
        picture = self.read(self.paths[row], honour_exif=honour_exif)
        check_size(picture, self.people.picture_sizes[row], self.paths[row], honour_exif=honour_exif)
        return picture

    def training_sample(self, index: int, epoch: int, out: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """Cut person `index` into `out` (H, W, 3) uint8 and return joints (K, 2) and validity (K,).

        Where the crop rule asks for neighbours, joints are (I, K, 2) and validity is (I, K): the person first, then the
        neighbours. The crop and its augmentation follow from the person alone. The random numbers depend only on seed,
        epoch and index, not on the worker that makes the sample.
        """
        picture, box = self._picture(index), self.people.boxes_xywh[index]
        rows = [index, *self.neighbours[index]] if self.crops.num_neighbours else [index]
        keypoints = self.people.keypoints[rows]
        rng = np.random.default_rng((self.seed, epoch, index))
        dice = self.crops.draw_dice(rng)
        if not self.photo.are_off:
            picture, box, keypoints = self._changed_photo(picture, box, keypoints, rng)
        crop = self.crops.train_crop(box, keypoints[0], self.crops.upper_body(self.skeleton), self.aspect,
                                      picture.shape[1], dice)
        keypoints = keypoints if self.crops.num_neighbours else keypoints[0]
        if crop.flip:
            keypoints = mirror_keypoints(keypoints, picture.shape[1], self.skeleton.flip_index)
        matrix = cut_crop(picture, crop, out)
        return self.crops.place_keypoints(keypoints, matrix, self.input_shape)

    def _changed_photo(self, picture, box, keypoints, rng) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        dice = self.photo.draw_dice(rng)
        frame = self.photo.frame(box, keypoints[0], picture.shape[:2], dice)
        if frame is not None:
            left, top, right, bottom = frame
            picture = picture[top:bottom, left:right]
            box, keypoints = end_at_frame(box, keypoints, frame, absent_as_empty=self.photo.absent_as_empty)
        area = self.photo.covered(box, keypoints[0], picture.shape[:2], dice)
        if area is not None:
            other = self._picture(int(dice.piece[0] * len(self)))
            picture, box, keypoints = cover_with_piece(picture, box, keypoints, area, other, dice.piece)
        return self.photo.recolored(picture, dice), box, keypoints

    def test_samples(self, rows: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the crops (P, H, W, 3) uint8 of some people, with their centers (P, 2) and scales (P, 2), float32.

        Where people of the same picture follow each other, it is read once.
        """
        crops = np.empty((len(rows), *self.input_shape, 3), np.uint8)
        centers, scales = np.empty((len(rows), 2), np.float32), np.empty((len(rows), 2), np.float32)
        picture, shown = None, -1
        for place, row in enumerate(rows):
            if self.people.image_index[row] != shown:
                picture, shown = self._picture(row), self.people.image_index[row]
            crop = self.crops.test_crop(self.people.boxes_xywh[row], self.aspect)
            cut_crop(picture, crop, crops[place])
            centers[place], scales[place] = crop.center, crop.scale
        return crops, centers, scales
