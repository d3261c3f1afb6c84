"""The table of deliberate faults still fits the package; whether the tests notice them, `mutations/run.py` tells."""
import ast
from functools import cache
from pathlib import Path

from mutations.table import MUTATIONS

ROOT = Path(__file__).resolve().parent.parent


@cache
def content_of(file: str) -> str:
    return (ROOT / file).read_text(encoding='utf-8')


@cache
def functions_of(file: str) -> set:
    return {node.name for node in ast.parse(content_of(file)).body if isinstance(node, ast.FunctionDef)}


def test_every_text_occurs_once_in_its_file():
    assert not [(each.name, each.file, each.text) for each in MUTATIONS if content_of(each.file).count(each.text) != 1]
    assert not [each.name for each in MUTATIONS if each.replacement == each.text]


def test_every_named_test_is_there():
    named = {each.name: (each.test.partition('::')[0], each.test.partition('::')[2].partition('[')[0])
             for each in MUTATIONS}
    assert not [(name, *place) for name, place in named.items() if place[1] not in functions_of(place[0])]


def test_every_fault_is_one_of_its_own_and_says_why():
    assert len({each.name for each in MUTATIONS}) == len(MUTATIONS) >= 100
    assert len({(each.file, each.text, each.replacement) for each in MUTATIONS}) == len(MUTATIONS)
    assert all(each.reason for each in MUTATIONS)
