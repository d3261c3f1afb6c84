"""Colors of keypoints and limbs for the user's own layouts: one color per limb group, such as a finger, a leg or
a face.

A group is a set of keypoints of one side of the body that are connected by limbs. A keypoint where many limbs meet,
such as the wrist in a hand layout, does not connect them; keypoints without limbs form a group if their names differ
only by a number. Left groups are drawn in warm colors and right ones in cool colors; a left group and its right partner
have the same index in the two palettes. Without left and right every group has its own color. Published layouts are
colored by side only.
"""
import re
from functools import lru_cache
from typing import Dict, List, Optional, Tuple

from .keypoint_sides import side_of
from .skeletons import COCO, CROWDPOSE, MPII, Skeleton

Color = Tuple[int, int, int]  # blue, green, red in 0..255
# A keypoint where at least this many limbs of one side meet does not connect them.
MANY_LIMBS = 5
# Orange and blue first: they can be told apart with every common kind of color blindness (Okabe and Ito, 2008).
_LEFT = ('#ff8c00', '#ffd60a', '#ff5c5c', '#ff9ec4', '#c9a227', '#ffc48a')
_RIGHT = ('#1e82f5', '#5ac8fa', '#8f7bff', '#2ec4a6', '#a5d8ff', '#5b8def')
_MIDDLE = ('#e6f5e1', '#b6e36b', '#d9c2ff', '#f2e2b8')
_ALL = ('#ff8c00', '#1e9bf5', '#5fd35f', '#ffd60a', '#ff5c8a', '#a98bff', '#35d6c8', '#e6f5e1', '#c9a227', '#ff9e80')


def _bgr(color: str) -> Color:
    return int(color[5:7], 16), int(color[3:5], 16), int(color[1:3], 16)


def _sides(skeleton: Skeleton) -> List[str]:
    """Return 'left', 'right' or '' (middle) for every keypoint; a pair whose names show no side is in the middle."""
    return [side_of(name) if name in skeleton.partners else '' for name in skeleton.keypoint_names]


def _degrees(skeleton: Skeleton) -> List[int]:
    flat = skeleton.link_index.ravel().tolist()
    return [flat.count(index) for index in range(skeleton.num_keypoints)]


def limb_groups(skeleton: Skeleton) -> List[List[int]]:
    """Return the groups as lists of keypoint indices, in the order of their first keypoints."""
    sides, degrees = _sides(skeleton), _degrees(skeleton)
    group = list(range(skeleton.num_keypoints))

    def join(one: int, other: int) -> None:
        old, new = group[other], group[one]
        group[:] = [new if each == old else each for each in group]

    inner = [link for link in skeleton.link_index.tolist() if sides[link[0]] == sides[link[1]]]
    ends = [end for link in inner for end in link]
    for one, other in inner:
        if max(ends.count(one), ends.count(other)) < MANY_LIMBS:
            join(one, other)
    series: Dict[Tuple[str, str], int] = {}
    for index, name in enumerate(skeleton.keypoint_names):
        if not degrees[index]:
            stem = re.sub(r'[\W_]*\d+$', '', name)
            join(series.setdefault((sides[index], stem), index), index)
    members: Dict[int, List[int]] = {}
    for index, each in enumerate(group):
        members.setdefault(each, []).append(index)
    return sorted(members.values())


@lru_cache(maxsize=16)
def keypoint_colors(skeleton: Skeleton) -> Optional[Tuple[Color, ...]]:
    """Return the color of each keypoint of a user's own layout; None for a published layout."""
    if skeleton in (COCO, CROWDPOSE, MPII):
        return None
    names, sides, groups = skeleton.keypoint_names, _sides(skeleton), limb_groups(skeleton)
    if not any(sides) and len(groups) == 1 and len(names) <= len(_ALL):
        groups = [[index] for index in range(len(names))]
    colors: Dict[int, str] = {}
    # Number of palette entries in use: True for left and right together, False for the middle.
    used = {True: 0, False: 0}
    palettes = {'left': _LEFT, 'right': _RIGHT, '': _MIDDLE if any(sides) else _ALL}
    place_of: Dict[str, int] = {}
    for group in groups:
        side = sides[group[0]]
        # If the partner group has a color already, take the same index.
        known = [place_of[skeleton.partners[names[index]]] for index in group
                 if skeleton.partners.get(names[index]) in place_of and side]
        place = known[0] if known else used[bool(side)]
        used[bool(side)] += not known
        for index in group:
            place_of[names[index]] = place
            colors[index] = palettes[side][place % len(palettes[side])]
    own = {name: color for color, members in skeleton.colors for name in members}
    return tuple(_bgr(own.get(name, colors[index])) for index, name in enumerate(names))


@lru_cache(maxsize=16)
def limb_colors(skeleton: Skeleton) -> Optional[Tuple[Color, ...]]:
    """Return the color of each limb; None for a published layout.

    A limb between left and right has the first color of the middle; one between a side and the middle, the color of the
    side; any other, the color of its keypoint with fewer limbs.
    """
    colors = keypoint_colors(skeleton)
    if colors is None:
        return None
    sides, degrees, found = _sides(skeleton), _degrees(skeleton), []
    for one, other in skeleton.link_index.tolist():
        if sides[one] and sides[other] and sides[one] != sides[other]:
            found.append(_bgr(_MIDDLE[0]))
        elif bool(sides[one]) != bool(sides[other]):
            found.append(colors[one if sides[one] else other])
        else:
            found.append(colors[one if degrees[one] < degrees[other] else other])
    return tuple(found)
