"""Reading YAML files of settings, with clear messages on errors and a limit on what aliases may expand to."""
import math
import re
from typing import Any, Dict

import yaml

from .errors import PoseError
from .files import open_regular
from .printing import brief

# Largest number of characters in a file; expanded aliases may at most double it. The longest recipe here has some
# thousands.
MAX_LETTERS = 100_000
MAX_DEPTH = 100


class _Loader(yaml.SafeLoader):
    """PyYAML's loader, but it limits what aliases (`*name`) expand to and refuses duplicate keys."""

    def __init__(self, text: str):
        super().__init__(text)
        self._depth = self._letters = 0
        self._letters_of: Dict[int, float] = {}

    def compose_node(self, parent: Any, index: Any) -> yaml.Node:
        before, is_alias = self._letters, self.check_event(yaml.AliasEvent)
        # Python's own recursion limit is not enough, because MindSpore raises it.
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, 'it is nested too deeply', self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if is_alias:
            # A value that contains itself has no size yet, so it counts as infinite.
            self._letters += self._letters_of.get(id(node), math.inf)
        else:
            self._letters += 1 + (len(node.value) if isinstance(node, yaml.ScalarNode) else 0)
            self._letters_of[id(node)] = self._letters - before
        if self._letters > 2 * MAX_LETTERS:
            raise yaml.composer.ComposerError(None, None, 'its aliases (*name) repeat too much', node.start_mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                raise yaml.composer.ComposerError(None, None, f'the key {brief(key.value)} is there twice',
                                                  key.start_mark)
            seen.add((key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key))
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            # PyYAML does not catch the errors of its parsers of numbers, dates and tags.
            what = f'the value {brief(node.value)}' if isinstance(node, yaml.ScalarNode) else 'a value'
            raise yaml.constructor.ConstructorError(None, None, f'{what} is not of the kind that it seems to be',
                                                    node.start_mark) from None


def read_yaml(path: str) -> Any:
    """Read a YAML file.

    Raises:
        PoseError: the file is missing, unreadable, not a regular file, not UTF-8, not YAML, or has a duplicate key; or
            it is too large, is nested too deeply or its aliases repeat too much. The message names it and the place.
    """
    try:
        with open_regular(path, 'r', encoding='utf-8') as file:
            text = file.read(MAX_LETTERS + 1)
        if len(text) > MAX_LETTERS:
            raise PoseError(f'{path} should be a file of settings, has more than {MAX_LETTERS} letters')
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except OSError as error:
        raise PoseError(f'cannot read {path}: {error.strerror or error}') from None
    except UnicodeDecodeError as error:
        raise PoseError(f'{path} is not a YAML file in UTF-8: {error}') from None
    except yaml.YAMLError as error:
        raise PoseError(f'{path} is not a YAML file: {str(error)[:500]}') from None


class _Dumper(yaml.SafeDumper):
    """PyYAML's dumper, but with lists in one line."""


_Dumper.add_representer(list, lambda dumper, values: dumper.represent_sequence('tag:yaml.org,2002:seq', values,
                                                                               flow_style=True))


def format_yaml(content: Dict[str, Any]) -> str:
    """Return sections of settings as YAML, in their order, with one key per line."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True)


def read_comments(path: str) -> Dict[str, str]:
    """Return {key: comment} of a file with lines `KEY: value  # comment`; inside a section the key is 'SECTION.KEY'.
    Indented lines that hold only a comment continue the one before. A key without a comment has ''."""
    comments, section, last = {}, '', ''
    with open(path, encoding='utf-8') as file:
        for line in file:
            found = re.match(r'( *)(\w+):(.*)', line)
            if found is None:
                # Comments that are not indented are about the file, not about a key.
                if last and line.startswith(' ') and line.strip().startswith('#'):
                    comments[last] += ' ' + line.strip('# \n')
                continue
            indent, key, rest = found.groups()
            if not indent and not rest.strip():
                section, last = f'{key}.', ''
                continue
            last = (section if indent else '') + key
            comments[last] = rest.partition(' # ')[2].strip()
    return comments
