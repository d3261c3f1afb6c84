"""One person → the arrays of one sample.

A training sample is a crop and the keypoint positions in it; the label maps (target heatmaps) are made from them inside
the graph. A test sample is a crop with the center and scale that map its poses back to the picture.
"""
import os
from dataclasses import dataclass
from functools import cached_property
from typing import Callable, NamedTuple, Optional, Tuple

import cv2
import numpy as np

from .crops import Crop, CropRule
from .images import check_size, read_part, read_picture
from .neighbours import nearest_neighbours
from .people import People
from .photo_changes import PhotoChanges, PhotoDice, cover_person, end_at_frame, lay_piece
from .precut import PrecutPeople
from .regions import Region, mirrored_part, region_of_crop
from .skeletons import Skeleton


def cut_crop(picture: np.ndarray, crop: Crop, out: np.ndarray) -> np.ndarray:
    """Cut a crop into `out` (H, W, 3) uint8, black outside the picture.

    Returns:
        The (2, 3) matrix from pixels of the picture (mirrored, if the crop is) to crop pixels.
    """
    size = (out.shape[1], out.shape[0])
    matrix = crop.matrix(size)
    height, width = picture.shape[:2]
    region = region_of_crop(matrix, size, (width, height)).mirrored(width) if crop.flip else None
    _cut(picture, matrix, region, out)
    return matrix


def _cut(picture: np.ndarray, matrix: np.ndarray, mirrored_region: Optional[Region], out: np.ndarray) -> None:
    """Cut a crop from a picture, of which the region is mirrored first, if one is given."""
    if mirrored_region is not None:
        picture = mirrored_part(picture, mirrored_region)
    cv2.warpAffine(picture, matrix, (out.shape[1], out.shape[0]), dst=out, flags=cv2.INTER_LINEAR)


def mirror_keypoints(keypoints: np.ndarray, picture_width: int, flip_index: np.ndarray) -> np.ndarray:
    """Return keypoints (..., K, 3) of the mirrored picture: x mirrored, left and right swapped."""
    mirrored = keypoints[..., flip_index, :]
    mirrored[..., 0] = picture_width - mirrored[..., 0] - 1
    return mirrored


class _Plan(NamedTuple):
    """How a training sample is made.

    Attributes:
        matrix: (2, 3) from pixels of the (mirrored) photo to those of the crop.
        flip: whether the photo is mirrored.
        keypoints: (K, 3) or (I, K, 3) in pixels of the (mirrored) photo, and visibility.
        region: of the photo, not mirrored, that the crop shows.
        photo: the part of the picture that is the photo: all of it, unless it ends within the person.
        photo_dice: for changed colors and for the piece of another photo.
        cover: (left, top, right, bottom) of the photo, not mirrored, that the piece covers.
    """

    matrix: np.ndarray
    flip: bool
    keypoints: np.ndarray
    region: Region
    photo: Region
    photo_dice: Optional[PhotoDice]
    cover: Optional[np.ndarray]

    @property
    def shown(self) -> Region:
        """The region of the picture that the crop shows."""
        return self.region.moved(self.photo.left, self.photo.top)


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
        read: (path, honour_exif) -> picture, for test samples.
        precut: where training samples are cut from; None: from the pictures.
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
    precut: Optional[PrecutPeople] = None

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

    @property
    def honours_exif(self) -> bool:
        """Whether pictures are turned as their EXIF orientation says."""
        return self.crops.honours_exif if self.honour_exif is None else self.honour_exif

    def checked_picture(self, index: int) -> np.ndarray:
        """Return the whole picture of a person.

        Raises:
            PoseError: it cannot be read, or is not of the size that the annotation file states.
        """
        row, honour_exif = self.people.image_index[index], self.honours_exif
        picture = self.read(self.paths[row], honour_exif=honour_exif)
        check_size(picture, self.people.picture_sizes[row], self.paths[row], honour_exif=honour_exif)
        return picture

    def training_sample(self, index: int, epoch: int, out: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """Cut person `index` into `out` (H, W, 3) uint8 and return joints (K, 2) and validity (K,).

        Where the crop rule asks for neighbours, joints are (I, K, 2) and validity is (I, K): the person first, then the
        neighbours. The crop and its augmentation follow from the person alone. The random numbers depend only on seed,
        epoch and index, not on the worker that makes the sample.
        """
        row = self.people.image_index[index]
        size, picture = self.people.picture_sizes[row], None
        if not size.all():
            picture = self.checked_picture(index)
            size = picture.shape[1::-1]
        plan = self._plan(index, epoch, size)
        if picture is None:
            picture = self._read_part(index, plan.shown, size)
        picture = picture[plan.photo.slices]
        if plan.cover is not None:
            other = self.checked_picture(int(plan.photo_dice.piece[0] * len(self)))
            picture = lay_piece(picture, plan.cover, other, plan.photo_dice)
        if plan.photo_dice is not None:
            picture = self.photo.recolored(picture, plan.photo_dice)
        _cut(picture, plan.matrix, plan.region if plan.flip else None, out)
        return self.crops.place_keypoints(plan.keypoints, plan.matrix, self.input_shape)

    def _read_part(self, index: int, region: Region, size: np.ndarray) -> np.ndarray:
        part = None if self.precut is None else self.precut.read(index, region, int(size[0]))
        if part is None:
            part = read_part(self.paths[self.people.image_index[index]], size, region, honour_exif=self.honours_exif)
        return part

    def shown_region(self, index: int, epoch: int) -> Region:
        """Return the region of its picture that a training sample shows, where the size of the picture is known."""
        return self._plan(index, epoch, self.people.picture_sizes[self.people.image_index[index]]).shown

    def _plan(self, index: int, epoch: int, picture_size: Tuple[int, int]) -> _Plan:
        """Draw the augmentation of a training sample from a picture of (width, height)."""
        box = self.people.boxes_xywh[index]
        keypoints = self.people.keypoints[[index, *self.neighbours[index]] if self.crops.num_neighbours else [index]]
        rng = np.random.default_rng((self.seed, epoch, index))
        dice = self.crops.draw_dice(rng)
        photo, photo_dice, cover = Region(0, 0, int(picture_size[0]), int(picture_size[1])), None, None
        if not self.photo.are_off:
            photo_dice = self.photo.draw_dice(rng)
            frame = self.photo.frame(box, keypoints[0], picture_size[::-1], photo_dice)
            if frame is not None:
                box, keypoints = end_at_frame(box, keypoints, frame, absent_as_empty=self.photo.absent_as_empty)
                photo = Region(*frame.tolist())
            shape = photo.bottom - photo.top, photo.right - photo.left
            cover = self.photo.cover(box, keypoints[0], shape, photo_dice)
            if cover is not None:
                box, keypoints = cover_person(box, keypoints, cover)
        width, size = photo.right - photo.left, self.input_shape[::-1]
        crop = self.crops.train_crop(box, keypoints[0], self.crops.upper_body(self.skeleton), self.aspect, width, dice)
        keypoints = keypoints if self.crops.num_neighbours else keypoints[0]
        if crop.flip:
            keypoints = mirror_keypoints(keypoints, width, self.skeleton.flip_index)
        matrix = crop.matrix(size)
        region = region_of_crop(matrix, size, (width, photo.bottom - photo.top))
        return _Plan(matrix, crop.flip, keypoints, region.mirrored(width) if crop.flip else region, photo, photo_dice,
                     cover)

    def test_samples(self, rows: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the crops (P, H, W, 3) uint8 of some people, with their centers (P, 2) and scales (P, 2), float32.

        Where people of the same picture follow each other, it is read once.
        """
        crops = np.empty((len(rows), *self.input_shape, 3), np.uint8)
        centers, scales = np.empty((len(rows), 2), np.float32), np.empty((len(rows), 2), np.float32)
        picture, shown = None, -1
        for place, row in enumerate(rows):
            if self.people.image_index[row] != shown:
                picture, shown = self.checked_picture(row), self.people.image_index[row]
            crop = self.crops.test_crop(self.people.boxes_xywh[row], self.aspect)
            cut_crop(picture, crop, crops[place])
            centers[place], scales[place] = crop.center, crop.scale
        return crops, centers, scales
