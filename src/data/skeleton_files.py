"""The user's own keypoint layouts: a YAML file, or the category of an annotation file, → Skeleton. Also a layout as
text, the form in which checkpoints and exported files store it.

docs/own_data.md shows the keys of the YAML file. The limbs in COCO's format number keypoints from 1, those of some
tools from 0.
"""
import json
import os
import re
from functools import lru_cache
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ..system.errors import PoseError
from ..system.files import is_number, parse_json, read_json
from ..system.printing import brief, did_you_mean, kind_of
from ..system.yaml_files import read_yaml
from .keypoint_names import category_with_keypoints, names_of
from .keypoint_sides import pair_names, plain_name
from .skeletons import COCO, SKELETONS, Skeleton, get_skeleton

ENDINGS = ('.yaml', '.yml', '.json')
KEYS = ('name', 'base', 'keypoints', 'limbs', 'swap', 'upper_body', 'lower_body', 'oks_sigmas', 'colors', 'other_names')
# The mean of the sigmas of COCO's 17 keypoints.
DEFAULT_SIGMA = 0.067
MAX_KEYPOINTS = 1000
Pairs = Tuple[Tuple[str, str], ...]


def is_skeleton_file(value: str) -> bool:
    """Whether a value of DATASET.SKELETON is the path of a file, judged by its ending."""
    return not value.startswith('{') and value.lower().endswith(ENDINGS)


def find_skeleton(value: str) -> Skeleton:
    """Return the layout of a resolved DATASET.SKELETON: a known name, or text made by `as_text`.

    Raises:
        PoseError: the name is unknown, or the text does not describe a layout.
    """
    return _from_text(value) if value.startswith('{') else get_skeleton(value)


def read_skeleton(path: str) -> Skeleton:
    """Read the layout of a YAML file, or that of the keypoints of a COCO annotation file.

    Raises:
        PoseError: the file is missing or describes no layout; the message names it, the key and what is expected.
    """
    if not os.path.isfile(path):
        raise PoseError(f'the skeleton file {path} does not exist (--skeleton, DATASET.SKELETON)')
    is_json = path.lower().endswith('.json')
    content = read_json(path) if is_json else read_yaml(path)
    if is_json and isinstance(content, dict) and 'keypoints' not in content:
        content = describe_category(content, path)
    stem = os.path.splitext(os.path.basename(path))[0]
    return skeleton_of(content, path, default_name=re.sub(r'[^\w.-]', '_', stem)[:60])


def choose_skeleton(content: Any, path: str, given: Optional[str], category: str = '') -> Skeleton:
    """Return the layout of an annotation file: the one given by name or file; else the published one with the same
    keypoint names; else the one that the file describes; COCO's if it describes none.

    Args:
        category: DATASET.CATEGORY.
    """
    if given:
        return SKELETONS[given] if given in SKELETONS else read_skeleton(given)
    entry = category_with_keypoints(content, path, category)
    if entry is None:
        return COCO
    for skeleton in SKELETONS.values():
        if sorted(skeleton.keypoint_names) == sorted(names_of(entry)):
            return skeleton
    return skeleton_of(describe_category(content, path), path)


def describe_category(content: Dict, path: str) -> Dict[str, Any]:
    """Return the keypoints of an annotation file as the keys of a YAML file would give them."""
    category = category_with_keypoints(content, path)
    if category is None:
        raise PoseError(f"{path}: none of its categories lists 'keypoints'; write the names into a YAML file and give "
                        'that with --skeleton (docs/own_data.md)')
    names = names_of(category)
    name = category.get('name')
    return {'name': name if isinstance(name, str) and name else 'keypoints', 'keypoints': names,
            'limbs': read_limbs(category.get('skeleton'), names)}


def read_limbs(pairs: Any, names: Sequence[str]) -> List[List[str]]:
    """Return the limbs of a category as pairs of keypoint names.

    The file may number keypoints from 1, as COCO does, or from 0. The numbering with more valid pairs is taken; if both
    have equally many, the one whose limbs are more symmetric between left and right. Pairs that are not valid for these
    keypoints are left out: CrowdPose's official files have the limbs of COCO.
    """
    pairs = [pair for pair in pairs if isinstance(pair, (list, tuple)) and len(pair) == 2] if isinstance(
        pairs, list) else []
    by_name = [list(pair) for pair in pairs if all(each in names for each in pair)]
    numbers = [pair for pair in pairs if all(type(each) is int for each in pair)]

    def counted_from(first: int) -> List[List[str]]:
        return [[names[one - first], names[other - first]] for one, other in numbers
                if one != other and all(0 <= each - first < len(names) for each in (one, other))]

    from_one, from_zero = counted_from(1), counted_from(0)
    if len(from_one) != len(from_zero):
        chosen = max(from_one, from_zero, key=len)
    else:
        chosen = from_one if _symmetry(from_one, names) >= _symmetry(from_zero, names) else from_zero
    return by_name + chosen


def _symmetry(limbs: Sequence[Sequence[str]], names: Sequence[str]) -> int:
    """Return how many limbs have their mirrored limb in the list as well."""
    partner = {name: other for left, right in pair_names(names).pairs for name, other in ((left, right), (right, left))}
    known = {frozenset(limb) for limb in limbs}
    return sum(frozenset(partner.get(name, name) for name in limb) in known for limb in limbs)


def skeleton_of(content: Any, where: str, *, default_name: str = 'own') -> Skeleton:
    """Return the layout that the keys of a YAML file describe.

    Raises:
        PoseError: naming `where`, the key and what is expected.
    """
    if not isinstance(content, dict):
        raise PoseError(f'{where} should hold keys such as keypoints and limbs, holds {kind_of(content)}')
    for key in content:
        if key not in KEYS:
            raise PoseError(f'{where}: unknown key {brief(key)}{did_you_mean(str(key)[:100], KEYS) or ";"} known: '
                            f'{", ".join(KEYS)}')
    content = {**_of_base(content, where), **{key: value for key, value in content.items() if value is not None}}
    name = content.get('name', default_name)
    if not isinstance(name, str) or not name.strip() or len(name) > 100:
        raise PoseError(f"{where}: 'name' should be a text, is {brief(name)}")
    names = _read_names(content.get('keypoints'), where)
    swap = _read_pairs(content, 'swap', names, where) if 'swap' in content else pair_names(names).pairs
    paired = [each for pair in swap for each in pair]
    twice = next((each for each in paired if paired.count(each) > 1), None)
    if twice is not None:
        raise PoseError(f"{where}: 'swap' gives {brief(twice)} two partners")
    return Skeleton(
        name=name.strip(), keypoint_names=names, links=_read_pairs(content, 'limbs', names, where),
        oks_sigmas=_read_sigmas(content.get('oks_sigmas'), names, where),
        upper_body=_read_halves(content, names, where),
        swap_pairs=swap, colors=_read_colors(content.get('colors') or {}, names, where),
        other_names=_read_other_names(content.get('other_names') or {}, names, where))


def _of_base(content: Dict, where: str) -> Dict[str, Any]:
    """Return the keys of the base layout of a file, reduced to the keypoints that the file has."""
    base = content.get('base')
    if base is None:
        return {}
    if not isinstance(base, str) or base not in SKELETONS:
        raise PoseError(f"{where}: 'base' should be one of {', '.join(sorted(SKELETONS))}, is {brief(base)}")
    known, own = describe(SKELETONS[base]), content.get('keypoints')
    if isinstance(own, (list, tuple)):
        for key in ('limbs', 'swap'):
            known[key] = [pair for pair in known[key] if all(name in own for name in pair)]
        known['upper_body'] = [name for name in known['upper_body'] if name in own]
        known['oks_sigmas'] = {name: sigma for name, sigma in known['oks_sigmas'].items() if name in own}
    return {key: value for key, value in known.items() if key != 'name'}


def _read_names(names: Any, where: str) -> Tuple[str, ...]:
    if not isinstance(names, (list, tuple)) or not names or len(names) > MAX_KEYPOINTS:
        raise PoseError(f"{where}: 'keypoints' should be a list of names, one for each keypoint, is {brief(names)}")
    for name in names:
        if not isinstance(name, str) or not name.strip() or len(name) > 100:
            hint = '; YAML takes yes, no, on and off for that unless they are quoted' if isinstance(name, bool) else ''
            raise PoseError(f"{where}: 'keypoints' should be names, one is {brief(name)}{hint}")
        if names.count(name) > 1:
            raise PoseError(f"{where}: 'keypoints' has {brief(name)} twice")
    return tuple(names)


def _check_name(name: Any, key: str, names: Sequence[str], where: str) -> str:
    if name not in names:
        similar = did_you_mean(name, names) if isinstance(name, str) else ''
        raise PoseError(f"{where}: {key!r} has {brief(name)}, which is no name of its keypoints{similar}")
    return name


def _read_pairs(content: Dict, key: str, names: Sequence[str], where: str) -> Pairs:
    pairs = content.get(key) or []
    if not isinstance(pairs, (list, tuple)) or not all(
            isinstance(pair, (list, tuple)) and len(pair) == 2 and pair[0] != pair[1] for pair in pairs):
        raise PoseError(f'{where}: {key!r} should be a list of pairs of names, such as [[{names[0]}, {names[-1]}]], is '
                        f'{brief(pairs)}')
    return tuple((_check_name(one, key, names, where), _check_name(other, key, names, where)) for one, other in pairs)


def _read_sigmas(sigmas: Any, names: Sequence[str], where: str) -> Tuple[float, ...]:
    """Return the sigma of each keypoint: the given one, or the default."""
    if isinstance(sigmas, (list, tuple)):
        if len(sigmas) != len(names):
            raise PoseError(f"{where}: 'oks_sigmas' has {len(sigmas)} numbers for {len(names)} keypoints")
        sigmas = dict(zip(names, sigmas))
    if sigmas is not None and not isinstance(sigmas, dict):
        raise PoseError(f"{where}: 'oks_sigmas' should be a list of {len(names)} numbers, or numbers by name, is "
                        f'{brief(sigmas)}')
    for name, value in (sigmas or {}).items():
        _check_name(name, 'oks_sigmas', names, where)
        if not is_number(value) or not 1e-4 <= value <= 10:
            raise PoseError(f"{where}: 'oks_sigmas' of {brief(name)} should be a number such as 0.05, is "
                            f'{brief(value)}')
    return tuple(float({**default_sigmas(names), **(sigmas or {})}[name]) for name in names)


def default_sigmas(names: Sequence[str]) -> Dict[str, float]:
    """Return the sigmas of keypoints that have no measured ones: COCO's for a keypoint that COCO has, whatever its
    side, and the mean of COCO's for the others."""
    known = {plain_name(name)[1]: sigma for name, sigma in zip(COCO.keypoint_names, COCO.oks_sigmas)}
    return {name: known.get(plain_name(name)[1], DEFAULT_SIGMA) for name in names}


def _read_halves(content: Dict, names: Sequence[str], where: str) -> Tuple[str, ...]:
    """Return the upper body; if only the lower body is given, it is all other keypoints."""
    halves = {}
    for key in ('upper_body', 'lower_body'):
        value = content.get(key) or []
        if not isinstance(value, (list, tuple)):
            raise PoseError(f'{where}: {key!r} should be a list of names, is {brief(value)}')
        halves[key] = [_check_name(name, key, names, where) for name in value]
    upper, lower = halves['upper_body'], halves['lower_body']
    if upper and lower:
        wrong = [name for name in names if (name in upper) == (name in lower)]
        if wrong:
            told = 'both halves' if wrong[0] in upper else 'neither half'
            raise PoseError(f"{where}: {brief(wrong[0])} is in {told}; give 'upper_body' or 'lower_body' alone, or "
                            'each keypoint in one of them')
    return tuple(upper) or (tuple(name for name in names if name not in lower) if lower else ())


def _read_colors(colors: Any, names: Sequence[str], where: str) -> Tuple[Tuple[str, Tuple[str, ...]], ...]:
    if not isinstance(colors, dict):
        raise PoseError(f"{where}: 'colors' should be colors with the keypoints drawn in them, such as '#e69f00': "
                        f'[{names[0]}], is {brief(colors)}')
    found, drawn = [], set()
    for color, members in colors.items():
        if not isinstance(color, str) or not re.fullmatch('#[0-9a-fA-F]{6}', color):
            raise PoseError(f"{where}: 'colors' should be written as '#e69f00', one is {brief(color)}")
        if not isinstance(members, (list, tuple)):
            raise PoseError(f"{where}: 'colors' of {color} should be a list of names, is {brief(members)}")
        for name in members:
            if _check_name(name, 'colors', names, where) in drawn:
                raise PoseError(f"{where}: 'colors' has {brief(name)} twice")
            drawn.add(name)
        found.append((color, tuple(members)))
    return tuple(found)


def _read_other_names(others: Any, names: Sequence[str], where: str) -> Pairs:
    if not isinstance(others, dict):
        raise PoseError(f"{where}: 'other_names' should be names of annotation files with the keypoint that each one "
                        f'means, such as LSho: left_shoulder, is {brief(others)}')
    found = []
    for other, name in others.items():
        if not isinstance(other, str):
            raise PoseError(f"{where}: 'other_names' should be names, one is {brief(other)}")
        found.append((other, _check_name(name, 'other_names', names, where) if name not in (None, '') else ''))
    return tuple(found)


def describe(skeleton: Skeleton) -> Dict[str, Any]:
    """Return a layout as the keys of a YAML file, including everything that was filled in by default."""
    pairs = pair_names(skeleton.keypoint_names).pairs if skeleton.swap_pairs is None else skeleton.swap_pairs
    content = {'name': skeleton.name, 'keypoints': list(skeleton.keypoint_names),
               'limbs': [list(link) for link in skeleton.links], 'swap': [list(pair) for pair in pairs],
               'upper_body': list(skeleton.upper_body),
               'oks_sigmas': dict(zip(skeleton.keypoint_names, skeleton.oks_sigmas))}
    if skeleton.colors:
        content['colors'] = {color: list(names) for color, names in skeleton.colors}
    if skeleton.other_names:
        content['other_names'] = dict(skeleton.other_names)
    return content


def as_text(skeleton: Skeleton) -> str:
    """Return a layout as text, as a configuration stores it."""
    return json.dumps(describe(skeleton))


@lru_cache(maxsize=64)
def _from_text(text: str) -> Skeleton:
    try:
        content = parse_json(text)
    except ValueError:
        raise PoseError(f'DATASET.SKELETON should be a name, a file or a layout in JSON, is {brief(text)}') from None
    return skeleton_of(content, 'DATASET.SKELETON')


def describe_lines(skeleton: Skeleton, *, half_bodies: bool) -> List[str]:
    """Return the lines that a training prints about its layout: left/right pairs, names with a side but no partner, and
    what was filled in by default.

    Args:
        half_bodies: whether half-body augmentation is on.
    """
    pairs = list(dict.fromkeys(tuple(sorted(pair, key=skeleton.keypoint_names.index))
                               for pair in skeleton.partners.items()))
    told = ', '.join(f'{one} and {other}' for one, other in pairs)
    lines = [f'skeleton: {skeleton.name}, {skeleton.num_keypoints} keypoints; '
             + (f'a mirrored picture swaps {told}' if pairs else 'a mirrored picture swaps none of them')]
    alone = [name for name in pair_names(skeleton.keypoint_names).one_sided if name not in skeleton.partners]
    if alone:
        lines.append(f"note: {', '.join(alone)}: by the name of one side, without a partner; write the pair into "
                     "'swap' of a skeleton file, or set DATASET.FLIP=false")
    if half_bodies and not skeleton.upper_body:
        lines.append("note: no half bodies (DATASET.HALF_BODY_PROBABILITY), since the skeleton says no 'upper_body'")
    return lines + sigma_notes(skeleton)


def sigma_notes(skeleton: Skeleton) -> List[str]:
    """Return one line if the OKS sigmas, on which every AP depends, are the defaults; else none."""
    is_default = skeleton.oks_sigmas == tuple(default_sigmas(skeleton.keypoint_names).values())
    return [f'note: the OKS sigmas are defaults: those of COCO by name, {DEFAULT_SIGMA} for other keypoints '
            '(docs/own_data.md)'] if is_default and SKELETONS.get(skeleton.name) != skeleton else []
