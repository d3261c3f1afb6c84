"""Jitter, lag and identity switches of the people of a made-up video, with and without tracking and smoothing.

    python -m benchmarks.tracking [--noise 3]

Three people, 100 frames at 25 per second: two cross each other, and each of two is hidden for a while. Every joint is
known; observations have normal noise of --noise pixels; people are 200 pixels long. Jitter is the mean acceleration of
the error in pixels per frame squared; error is the root mean square in pixels; lag is the shift of the true path that
fits best; a switch is a change of a person's id.
"""
import argparse

import numpy as np

from src.data.skeletons import COCO
from src.tracking import PoseTracker
from src.tracking.tracker import smooth_whole

from .moving_people import RATE, crossing, errors_of, identity_switches, jitter, lag_in_frames
from .timing import print_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--noise', type=float, default=3.0, help='pixels (default: %(default)s)')
    noise = parser.parse_args().noise
    scene = crossing()
    observed = list(scene.observed(noise))
    who = [people for _, _, people in observed]
    rough = [keypoints for keypoints, _, _ in observed]
    rows = [('none: numbers by rank', rough, [np.arange(len(people)) for people in who])]
    for name, smooth in (('tracking', 'off'), ('tracking, One-Euro (live)', 'live')):
        tracker = PoseTracker(COCO.oks_sigmas, smooth=smooth)
        found = [tracker.update(keypoints, boxes, frame / RATE) for frame, (keypoints, boxes, _) in enumerate(observed)]
        rows.append((name, [each.keypoints for each in found], [each.ids for each in found]))
    ids = rows[1][2]
    rows.append(('tracking, without lag (file)', smooth_whole(ids, rough, RATE), ids))
    print_table(('smoothing', 'jitter', 'error', 'lag in frames', 'identity switches'), [
        (name, f'{jitter(errors_of(scene, keypoints, who)):.2f}',
         f'{np.sqrt(np.nanmean(errors_of(scene, keypoints, who) ** 2)):.2f}',
         f'{abs(lag_in_frames(scene, keypoints, who)):.1f}', identity_switches(numbers, who))
        for name, keypoints, numbers in rows])


if __name__ == '__main__':
    main()
