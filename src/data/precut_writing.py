"""Cutting all people out of their pictures once, with room for augmentation (`precut.py`)."""
import hashlib
import os
import shutil
import time
import zlib
from dataclasses import replace
from typing import Callable, Dict

import cv2
import numpy as np

from ..system.downloads import alone_with
from ..system.errors import PoseError
from ..system.files import atomic_file, make_folder, read_json, sync_folder, write_json
from .precut import (
    CHECKSUMS,
    PART,
    PIXELS,
    PLAN,
    SETTINGS,
    PrecutPeople,
    PrecutPlan,
    describe_size,
    plan_checksum,
    read_plan,
)
from .regions import Region
from .samples import PersonSamples

# What is kept of a person is what so many drawn augmentations show together, widened at each side by a share of its
# size. A sample that shows more is cut from the picture itself.
DRAWS, ROOM, DRAWN_WITH_SEED = 24, 0.05, 20261126
# Pixels are synced, and their checksums noted, after so many bytes: what a kill can cost.
SYNCED_BYTES = 256_000_000
SECONDS_BETWEEN_LINES = 30.0


def precut_samples(samples: PersonSamples, folder: str, say: Callable[[str], None] = print) -> PersonSamples:
    """Return the same samples, cut from people that are kept in a folder; they are written first where they are not
    there yet, or where writing them was interrupted.

    Raises:
        PoseError: the folder holds people for other data or settings, damaged files, or cannot be written; the message
            says what to do.
    """
    settings, pixels = describe_settings(samples), os.path.join(folder, PIXELS)
    if not os.path.exists(pixels):
        try:
            make_folder(folder)
            with alone_with(os.path.join(folder, SETTINGS), say):
                _check_settings(folder, settings)
                if not os.path.exists(os.path.join(folder, PLAN)):
                    _write_plan(_make_plan(samples, say), folder, settings)
                if not os.path.exists(pixels):
                    _write_pixels(samples, folder, _checked_plan(samples, folder), say)
        except OSError as error:
            raise PoseError(f'cannot write people into {folder} (DATASET.PRECUT): {error.strerror or error}; what is '
                            'written so far stays, and the next run continues there') from None
    _check_settings(folder, settings)
    plan = _checked_plan(samples, folder)
    kept = PrecutPeople(folder, plan)
    size, each = describe_size(plan)
    say(f'precut people: {len(plan.order)} in {folder}, {size}, {each} each')
    return replace(samples, people=replace(samples.people, picture_sizes=plan.picture_sizes), precut=kept)


def describe_settings(samples: PersonSamples) -> Dict[str, str]:
    """Return {what: value} of everything that the kept regions and their pixels depend on, but for the pictures."""
    people, digest = samples.people, hashlib.sha256()
    for array in (people.image_index, people.boxes_xywh, people.keypoints, people.picture_sizes):
        digest.update(repr((array.shape, array.dtype)).encode() + np.ascontiguousarray(array).tobytes())
    digest.update(b'\0'.join(people.file_names.tolist()))
    return {'format': '1', 'annotated people': f'{len(people)}, SHA-256 {digest.hexdigest()}',
            'crop rule': repr(samples.crops), 'input height and width': str(tuple(samples.input_shape)),
            'photo changes': repr(samples.photo), 'keypoints': ' '.join(samples.skeleton.keypoint_names),
            'pictures are turned by EXIF': str(samples.honours_exif)}


def _check_settings(folder: str, settings: Dict[str, str]) -> None:
    path = os.path.join(folder, SETTINGS)
    there = read_json(path) if os.path.exists(path) else settings
    for name, value in settings.items():
        other = there.get(name) if isinstance(there, dict) else None
        if other != value:
            raise PoseError(f'the people in {folder} were cut for other data or settings: {name}: {other} there, '
                            f'{value} here; name another folder (DATASET.PRECUT), or remove this one')


def _write_plan(plan: PrecutPlan, folder: str, settings: Dict[str, str]) -> None:
    write_json(os.path.join(folder, SETTINGS), settings)
    with atomic_file(os.path.join(folder, PLAN)) as temporary:
        np.savez(temporary, regions=plan.regions, order=plan.order, picture_sizes=plan.picture_sizes,
                 file_bytes=plan.file_bytes, checksum=plan_checksum(plan))


def _checked_plan(samples: PersonSamples, folder: str) -> PrecutPlan:
    plan = read_plan(folder)
    if not np.array_equal(plan.file_bytes, _file_bytes(samples)):
        raise PoseError(f'the people in {folder} were cut from pictures that have changed since; remove the folder '
                        '(DATASET.PRECUT), it will be written again')
    return plan


def _file_bytes(samples: PersonSamples) -> np.ndarray:
    """Return the sizes of the pictures' files (I,); 0 where nobody is on a picture."""
    sizes = np.zeros(len(samples.paths), np.int64)
    for row in np.unique(samples.people.image_index):
        try:
            sizes[row] = os.stat(samples.paths[row]).st_size
        except OSError as error:
            raise PoseError(f'cannot read the picture {os.fsdecode(samples.paths[row])}: {error.strerror}') from None
    return sizes


def _make_plan(samples: PersonSamples, say: Callable[[str], None]) -> PrecutPlan:
    people = samples.people
    sizes = people.picture_sizes.copy()
    for row in np.unique(people.image_index):
        if not sizes[row].all():
            sizes[row] = samples.read(samples.paths[row], honour_exif=samples.honours_exif).shape[1::-1]
    drawing = replace(samples, people=replace(people, picture_sizes=sizes), seed=DRAWN_WITH_SEED)
    regions, progress = np.empty((len(people), 4), np.int32), _Progress('planned', len(people), say)
    for index in range(len(people)):
        shown = np.array([drawing.shown_region(index, epoch) for epoch in range(DRAWS)])
        low, high = shown[:, :2].min(axis=0), shown[:, 2:].max(axis=0)
        room = np.ceil((high - low) * ROOM).astype(int)
        regions[index] = [*np.maximum(low - room, 0), *np.minimum(high + room, sizes[people.image_index[index]])]
        progress.tell(index + 1)
    return PrecutPlan(regions, np.argsort(people.image_index, kind='stable'), sizes, _file_bytes(samples))


def _write_pixels(samples: PersonSamples, folder: str, plan: PrecutPlan, say: Callable[[str], None]) -> None:
    paths = {name: os.path.join(folder, name + PART) for name in (PIXELS, CHECKSUMS)}
    done, start = _continue_at(paths, plan)
    size, each = describe_size(plan)
    missing, free = plan.num_bytes - start, shutil.disk_usage(folder).free
    say(f'precut people: {len(plan.order)} people need {size} in {folder}, {each} each; {missing / 1e9:.2f} GB are to '
        f'be written, {free / 1e9:.2f} GB are free')
    if missing > free:
        raise PoseError(f'{folder} has too little space: {missing / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are '
                        'free; name another folder (DATASET.PRECUT)')
    with open(paths[PIXELS], 'ab') as pixels, open(paths[CHECKSUMS], 'ab') as checksums:
        _append_people(samples, plan, done, pixels, checksums, _Progress('cut', len(plan.order), say))
    # The pixels last: where they are, everything is.
    for name in (CHECKSUMS, PIXELS):
        os.replace(paths[name], os.path.join(folder, name))
    sync_folder(folder)


def _continue_at(paths: Dict[str, str], plan: PrecutPlan) -> tuple:
    """Cut off what an interrupted run may have left half-written, and return the number of people that are there, and
    that of their bytes."""
    for path in paths.values():
        open(path, 'ab').close()
    done = min(os.path.getsize(paths[CHECKSUMS]) // 4,
               int(np.searchsorted(plan.ends, os.path.getsize(paths[PIXELS]), side='right')))
    start = int(plan.ends[done - 1]) if done else 0
    os.truncate(paths[CHECKSUMS], 4 * done)
    os.truncate(paths[PIXELS], start)
    return done, start


def _append_people(samples: PersonSamples, plan: PrecutPlan, done: int, pixels, checksums, progress) -> None:
    cv2.setNumThreads(1)
    noted, unsynced, picture, shown = [], 0, None, -1
    for rank in range(done, len(plan.order)):
        index = plan.order[rank]
        if samples.people.image_index[index] != shown:
            picture, shown = samples.checked_picture(index), samples.people.image_index[index]
        content = picture[Region(*plan.regions[index].tolist()).slices].tobytes()
        pixels.write(content)
        noted.append(zlib.crc32(content))
        unsynced += len(content)
        if unsynced >= SYNCED_BYTES or rank == len(plan.order) - 1:
            # In this order, so that a checksum is never noted for pixels that a loss of power takes away.
            for file, added in ((pixels, b''), (checksums, np.array(noted, np.uint32).tobytes())):
                file.write(added)
                file.flush()
                os.fsync(file.fileno())
            noted, unsynced = [], 0
        progress.tell(rank + 1)


class _Progress:
    """Says how far a long work is, every half minute."""

    def __init__(self, what: str, total: int, say: Callable[[str], None]):
        self._what, self._total, self._say, self._last = what, total, say, time.monotonic()

    def tell(self, done: int) -> None:
        now = time.monotonic()
        if now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            self._say(f'precut people: {done} of {self._total} {self._what}')
