"""Left and right in the names of keypoints, in the spellings that labelling tools and papers use.

Known are `left_eye`, `eye_left`, `L_Eye`, `eye.L`, `LeftEye`, `LEye`, `lefteye`, and `leye` if there is a `reye` too.
"""
import re
from typing import Dict, List, NamedTuple, Sequence, Tuple

# In this order: capitals before a capitalised word, a word, other capitals, digits, letters of other scripts.
_WORDS = re.compile(r'[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_A-Za-z]+')
_SIDES = {'left': 'left', 'right': 'right'}
_LETTERS = {'l': 'left', 'r': 'right'}
_SIGNS = {'左': 'left', '右': 'right'}


class _Reading(NamedTuple):
    """One interpretation of a name: its side, and the name with a placeholder where the side was."""

    side: str
    rest: str


class Pairing(NamedTuple):
    """Which keypoints are left/right pairs.

    Attributes:
        pairs: (left, right) names, in the order of the names.
        one_sided: names that contain a side but have no partner.
    """

    pairs: Tuple[Tuple[str, str], ...]
    one_sided: Tuple[str, ...]


def _words(name: str) -> List[str]:
    return [word.lower() for word in _WORDS.findall(name)]


def _with_gap(words: Sequence[str], place: int, left_over: str = '*') -> str:
    return ' '.join([*words[:place], left_over, *words[place + 1:]])


def _by_word(name: str) -> List[_Reading]:
    """Interpret a name whose side is a separate word: left, right, or the letter L or R."""
    words = _words(name)
    for known in (_SIDES, _LETTERS):
        places = [place for place, word in enumerate(words) if word in known]
        if places:
            return [_Reading(known[words[places[0]]], _with_gap(words, places[0]))] if len(places) == 1 else []
    return []


def _by_part(name: str) -> List[_Reading]:
    """Interpret a name in which a word begins or ends with the side: lefteye, eyeright, 左眼."""
    words, readings = _words(name), []
    for place, word in enumerate(words):
        for part, side in {**_SIDES, **_SIGNS}.items():
            if word.startswith(part) and word != part:
                readings.append(_Reading(side, _with_gap(words, place, '*' + word[len(part):])))
            elif word.endswith(part) and word != part:
                readings.append(_Reading(side, _with_gap(words, place, word[:-len(part)] + '*')))
    return readings


def _by_letter(name: str) -> List[_Reading]:
    """Interpret a name whose first or last letter may be the side: leye, eyel."""
    words = _words(name)
    if not words:
        return []
    readings = []
    if len(words[0]) > 1 and words[0][0] in _LETTERS:
        readings.append(_Reading(_LETTERS[words[0][0]], _with_gap(words, 0, '*' + words[0][1:])))
    if len(words[-1]) > 1 and words[-1][-1] in _LETTERS:
        readings.append(_Reading(_LETTERS[words[-1][-1]], _with_gap(words, len(words) - 1, words[-1][:-1] + '*')))
    return readings


def pair_names(names: Sequence[str]) -> Pairing:
    """Return which keypoints are left/right partners; the most certain interpretations are tried first."""
    partner: Dict[str, str] = {}
    pairs = {}
    for read in (_by_word, _by_part, _by_letter):
        found: Dict[str, Dict[str, List[str]]] = {}
        for name in names:
            for side, rest in read(name) if name not in partner else ():
                found.setdefault(rest, {'left': [], 'right': []})[side].append(name)
        for sides in found.values():
            if len(sides['left']) == len(sides['right']) == 1:
                left, right = sides['left'][0], sides['right'][0]
                if left not in partner and right not in partner:
                    partner[left], partner[right] = right, left
                    pairs[left] = right
    one_sided = tuple(name for name in names if name not in partner and side_of(name))
    return Pairing(tuple((name, pairs[name]) for name in names if name in pairs), one_sided)


def side_of(name: str) -> str:
    """Return 'left' or 'right' if a name shows it without looking at the other names, else ''."""
    readings = _by_word(name)
    if readings:
        words = _words(name)
        # A single letter L or R in the middle may mean something else.
        is_outside = any(word in _SIDES for word in words) or words[0] in _LETTERS or words[-1] in _LETTERS
        return readings[0].side if is_outside else ''
    readings = [each for each in _by_part(name) if each.rest.startswith('*')]
    return readings[0].side if readings else ''


def plain_name(name: str) -> Tuple[str, str]:
    """Return the side and the rest of a name, the same for all its spellings: ('left', 'eye')."""
    side = side_of(name)
    if not side:
        return '', ''.join(_words(name)) or name
    reading = (_by_word(name) or [each for each in _by_part(name) if each.rest.startswith('*')])[0]
    return side, reading.rest.replace('*', '').replace(' ', '')
