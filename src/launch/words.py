"""The arguments of a launch script: its own positional arguments and flags, and after `--` those of train.py or
eval.py."""
import os
from typing import Dict, List, NamedTuple, Sequence, Tuple

from ..system.errors import PoseError

HELP = ('-h', '--help')


class UsageError(PoseError):
    """The arguments are wrong. The usage of the script is shown after the message, or alone if that is empty."""


class Words(NamedTuple):
    """Parsed arguments: the positional ones, whether `--foreground` was among them, and those after `--`."""

    places: Tuple[str, ...]
    foreground: bool
    handed_on: Tuple[str, ...]


def split_words(words: Sequence[str]) -> Tuple[List[str], List[str]]:
    """Return the arguments before the first `--` and those after it."""
    words = list(words)
    end = words.index('--') if '--' in words else len(words)
    return words[:end], words[end + 1:]


def read_words(words: Sequence[str], least: int, most: int) -> Words:
    """Parse `least` to `most` positional arguments, with `--foreground` anywhere among them.

    Raises:
        UsageError: there are fewer or more, or there is another option before `--`.
    """
    own, handed_on = split_words(words)
    options = [word for word in own if word.startswith('-')]
    places = [word for word in own if not word.startswith('-')]
    unknown = [option for option in options if option != '--foreground']
    if unknown:
        raise UsageError(f'unknown option {unknown[0]} (flags for the Python script go behind --)')
    if len(places) > 4:
        raise UsageError(f'too many arguments: {places[4]}')
    if not least <= len(places) <= most:
        raise UsageError('')
    return Words(tuple(places), bool(options), tuple(handed_on))


def read_flags(words: Sequence[str], defaults: Dict[str, str]) -> Tuple[Dict[str, str], Tuple[str, ...]]:
    """Return {name: text} of flags such as --data_path=COCO, and the arguments after `--`.

    Raises:
        UsageError: an argument is not a flag, or not one of the names in `defaults`.
    """
    own, handed_on = split_words(words)
    flags = dict(defaults)
    for word in own:
        name, separator, value = word.partition('=')
        if not separator or not name.startswith('--'):
            raise UsageError(f'{word} should be --name=value (flags for train.py go behind --)')
        if name[2:] not in defaults:
            raise UsageError(f'unknown flag {name} (flags for train.py go behind --)')
        flags[name[2:]] = value
    return flags, tuple(handed_on)


def whole_number(text: str) -> bool:
    """Whether a text is a whole number of at most eight digits."""
    return text.isascii() and text.isdigit() and len(text) <= 8


def read_number(name: str, text: str, least: int = 0) -> int:
    """Return the whole number that an argument gives.

    Raises:
        UsageError: it is not a whole number, or is below `least`.
    """
    if not whole_number(text) or int(text) < least:
        raise UsageError(f"{name} should be a whole number from {least}, is '{text}'")
    return int(text)


def check_folder(flag: str, path: str) -> None:
    """Raise UsageError if a flag is missing, PoseError if the folder that it names does not exist."""
    if not path:
        raise UsageError(f'{flag} is missing')
    if not os.path.isdir(path):
        raise PoseError(f'{flag}: the folder {path} is not there')


def check_file(flag: str, path: str) -> None:
    """Raise PoseError if the file that a flag names does not exist."""
    if not os.path.isfile(path):
        raise PoseError(f'{flag}: the file {path} is not there')
