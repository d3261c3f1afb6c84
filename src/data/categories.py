"""Which category of an annotation file is the people."""
from collections import Counter
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

from ..system.errors import PoseError
from ..system.printing import brief, did_you_mean
from .people import read_whole_number, whole_number

DEFAULT_CATEGORY = 'person'
DEFAULT_CATEGORY_ID = 1


class Category(NamedTuple):
    """A category: its id, its name ('' where the file gives none) and its entry in the file."""

    id: int
    name: str
    entry: Dict

    def __str__(self) -> str:
        return f'{self.id} ({self.name})' if self.name else str(self.id)


def read_categories(content: Dict, path: str) -> Dict[int, Category]:
    """Return {id: category} of the field `categories`; empty if the file does not have it.

    Raises:
        PoseError: a category has no id, or two have the same.
    """
    entries = content.get('categories')
    found: Dict[int, Category] = {}
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        category = read_whole_number(entry, 'id', f'{path}, category {number}')
        if category in found:
            raise PoseError(f'{path}: the category id {category} is there twice')
        found[category] = Category(category, entry['name'].strip() if isinstance(entry.get('name'), str) else '', entry)
    return found


def category_of(annotation: Any, path: str, number: int) -> Optional[int]:
    """Return the category id of annotation `number`; None if it has none.

    Raises:
        PoseError: the id is not a whole number.
    """
    # The usual case first, for speed: a file has hundreds of thousands of annotations.
    if type(annotation) is dict:
        value = annotation.get('category_id', ...)
        if value is ... or type(value) is int:
            return None if value is ... else value
    return read_whole_number(annotation, 'category_id', f'{path}, annotation {number}')


def choose_category(content: Dict, path: str, wanted: str) -> Category:
    """Return the category of the people: the wanted one. If none is asked for, it is `person`; else the only category
    that lists keypoints; else the only one at all; else the only one with labelled annotations.

    Args:
        wanted: DATASET.CATEGORY, a name or an id; '' asks for none.

    Raises:
        PoseError: the category does not exist, or several could be meant; the message lists them.
    """
    categories = read_categories(content, path)
    if wanted:
        return _wanted_category(content, path, categories, wanted.strip())
    if not categories:
        return Category(DEFAULT_CATEGORY_ID, '', {})
    for chosen in _candidates(content, path, categories):
        if len(chosen) == 1:
            return chosen[0]
    if not any(category.name for category in categories.values()) and DEFAULT_CATEGORY_ID in categories:
        return categories[DEFAULT_CATEGORY_ID]
    example = next(iter(categories.values()))
    raise PoseError(f'{path} has several categories and none is called {DEFAULT_CATEGORY}: '
                    f'{list_categories(categories)}; say whose keypoints count, e.g. --set DATASET.CATEGORY='
                    f'{example.name or example.id}')


def _candidates(content: Dict, path: str, categories: Dict[int, Category]) -> Iterator[List[Category]]:
    everyone = list(categories.values())
    yield [each for each in everyone if each.name.lower() == DEFAULT_CATEGORY]
    yield [each for each in everyone if each.entry.get('keypoints')]
    yield everyone
    labelled = _count_labelled(content, path)
    yield [each for each in everyone if each.id in labelled]


def _count_labelled(content: Dict, path: str) -> 'Counter[Optional[int]]':
    """Return {category id: number of its annotations that have a labelled keypoint}."""
    found: Counter = Counter()
    annotations = content.get('annotations')
    # The annotation files of test sets have no annotations.
    for number, annotation in enumerate(annotations if isinstance(annotations, list) else ()):
        values = annotation.get('keypoints') if isinstance(annotation, dict) else None
        if isinstance(values, list) and any(isinstance(each, (int, float)) and each > 0 for each in values[2::3]):
            found[category_of(annotation, path, number)] += 1
    return found


def _wanted_category(content: Dict, path: str, categories: Dict[int, Category], wanted: str) -> Category:
    number = whole_number(wanted)
    if number in categories:
        return categories[number]
    forms: List[Callable[[str], str]] = [str, str.lower]
    for form in forms:
        found = [each for each in categories.values() if form(each.name) == form(wanted)]
        if len(found) == 1:
            return found[0]
    if number is not None and number in _count_labelled(content, path):
        return Category(number, '', {})
    similar = did_you_mean(wanted, [each.name for each in categories.values() if each.name])
    raise PoseError(f'{path} has no category {brief(wanted)} (DATASET.CATEGORY){similar or ";"} its categories are '
                    f'{list_categories(categories)}')


def list_categories(categories: Dict[int, Category]) -> str:
    """Return the categories as text, such as '1 (person), 3 (dog)'."""
    names = list(map(str, categories.values()))
    return ', '.join(names[:10]) + (f' and {len(names) - 10} more' if len(names) > 10 else '') or 'none'
