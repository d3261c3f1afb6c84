"""Making untrusted texts safe to print: file names, command-line arguments, messages of libraries.

Printed as they are, control characters could move the cursor, change the title of the window or reverse a name, and a
character that the output encoding lacks would raise an error.
"""
import argparse
import difflib
import reprlib
import unicodedata
from typing import Any, Iterable, NoReturn, Optional, TextIO

# Zero-width joiners, which are used in Persian and Indian scripts and in emoji.
_JOINERS = '\u200c\u200d'
_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxlist, _BRIEF.maxtuple, _BRIEF.maxdict = 3, 20, 20, 4
_BRIEF.maxstring, _BRIEF.maxlong, _BRIEF.maxother = 100, 40, 100


def printable(text: str, stream: Optional[TextIO] = None) -> str:
    """Return the text in one line, with control characters escaped (`\\x1b`, `\\n`, `\\u202e`); letters of all
    languages are kept.

    A byte of a file name that is not UTF-8 becomes an escape such as `\\xff`.

    Args:
        stream: the output stream; characters that its encoding lacks are escaped as well.
    """
    if not text.isprintable():
        text = ''.join(letter if letter.isprintable() or letter in _JOINERS or unicodedata.category(letter) == 'Zs'
                       else _spell_out(letter) for letter in text)
    encoding = getattr(stream, 'encoding', None)
    return text.encode(encoding, 'backslashreplace').decode(encoding) if encoding else text


def _spell_out(letter: str) -> str:
    # Python represents a byte that is not UTF-8 as half of a surrogate pair.
    if '\udc80' <= letter <= '\udcff':
        return f'\\x{ord(letter) - 0xdc00:02x}'
    return letter.encode('unicode_escape').decode('ascii')


JSON_KINDS = {dict: 'an object', list: 'a list', str: 'text', int: 'a whole number', float: 'a number',
              bool: 'true or false', type(None): 'null'}


def brief(value: Any) -> str:
    """Return the `repr` of a value of any size and depth, cut to 300 letters, in bounded time."""
    try:
        return _BRIEF.repr(value)[:300]
    except ValueError:
        # Python refuses to convert numbers with so many digits.
        return 'a number of thousands of digits'


def kind_of(value: Any) -> str:
    """Return what a value of a JSON or YAML file is, in the words of those formats: 'a list', 'null'."""
    return JSON_KINDS.get(type(value), f'a {type(value).__name__}')


def brief_json(value: Any) -> str:
    """Return a JSON value for a message: like `brief`, but null, true and false as the file writes them."""
    if value is None or isinstance(value, bool):
        return {None: 'null', True: 'true', False: 'false'}[value]
    return brief(value)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return '; did you mean …?' with the most similar of the known words, or '' where none is similar."""
    known = list(known)
    similar = difflib.get_close_matches(word, known, 1) or [each for each in known if len(word) > 1 and word in each]
    return f'; did you mean {similar[0]}?' if similar else ''


class ArgumentParser(argparse.ArgumentParser):
    """Python's parser, but errors are one line, pass through `printable`, and suggest similar flags."""

    def error(self, message: str) -> NoReturn:
        """Print the message, and end with exit status 2."""
        self.exit(2, f'error: {printable(message)} ({self.prog} --help lists all flags)\n')

    def parse_args(self, args=None, namespace=None) -> argparse.Namespace:
        """Return the parsed arguments; an unknown flag is an error that names the most similar known one."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            word = next((each for each in unknown if each.startswith('-')), unknown[0]).partition('=')[0]
            kind = 'flag' if word.startswith('-') else 'word'
            self.error(f'unknown {kind} {word}{did_you_mean(word, self._option_string_actions)}')
        return parsed
