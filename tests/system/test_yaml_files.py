"""Recipes of one's own that are damaged or hostile: a message with the file's name, in little time and memory."""
import time

import pytest

from src.config import from_json, load_recipe, parse_value
from src.system.yaml_files import MAX_LETTERS, read_yaml

DIGITS = '7' * 5000
NAMES = 'abcdefgh'


def bomb(first, rest):
    """A list or section in which each level repeats the one before ten times."""
    lines = [f'a: &a {first}'] + [f'{name}: &{name} ' + rest.format(','.join([f'*{before}'] * 10))
                                  for before, name in zip(NAMES, NAMES[1:])]
    return '\n'.join([*lines, f'TRAIN: {{LR: *{NAMES[-1]}}}'])


WRONG = {
    'latin_1': ('# caf\xe9\nTRAIN: {LR: 1}'.encode('latin-1'), 'is not a YAML file in UTF-8: .*byte 0xe9'),
    'bomb_of_lists': (bomb('[x,x,x]', '[{}]'), r'is not a YAML file: its aliases \(\*name\) repeat too much'),
    'bomb_of_sections': (bomb('{k: 1}', '{{<<: [{}]}}'), r'aliases \(\*name\) repeat too much'),
    'bomb_of_text': (f'a: &a {"x" * 50000}\nTRAIN: {{LR: [*a, *a, *a, *a]}}', r'aliases \(\*name\) repeat too much'),
    'list_inside_itself': ('TRAIN: {LR: &a [1, *a]}', r'aliases \(\*name\) repeat too much'),
    'deep': ('TRAIN: {LR: ' + '[' * 300, 'nested too deeply'),
    'deep_blocks': ('\n'.join(' ' * level + 'a:' for level in range(400)), 'nested too deeply'),
    'large': ('# ' + 'x' * MAX_LETTERS, f'has more than {MAX_LETTERS} letters'),
    'key_twice': ('TRAIN:\n  LR: 1\n  MAX_STEPS: 3\n  "LR": 2\n', "the key 'LR' is there twice.* line 4"),
    'section_twice': ('TRAIN: {LR: 1}\nTRAIN: {MAX_STEPS: 2}\n', "the key 'TRAIN' is there twice"),
    'digits': (f'TRAIN: {{LR: {DIGITS}}}', "the value '777.*7' is not of the kind that it seems to be"),
    'hexadecimal': (f'TRAIN: {{LR: 0x{"f" * 5000}}}', 'TRAIN.LR: should be below .* thousands of digits'),
    'hexadecimal_text': (f'MODEL: {{PRETRAINED: 0x{"f" * 5000}}}', 'PRETRAINED: should be .* thousands of digits'),
    'hexadecimal_key': (f'TRAIN:\n  ? 0x{"f" * 5000}\n  : 1', "unknown .* 'TRAIN.a number of thousands of digits'"),
    'hexadecimal_section': (f'? 0x{"f" * 5000}\n: 1', 'a number of thousands of digits should be a section'),
    'too_large': ('TRAIN: {MAX_STEPS: 9223372036854775808}', 'TRAIN.MAX_STEPS: should be below'),
    'too_large_text': ('TRAIN: {MAX_STEPS: "9223372036854775808"}', 'TRAIN.MAX_STEPS: should be below'),
    'infinite': ('TRAIN: {LR: 1e400}', 'TRAIN.LR: should be finite'),
    'infinite_float': ('TRAIN: {LR: 1.0e+400}', 'TRAIN.LR: should be finite'), 'nan': ('TRAIN: {LR: .nan}', 'finite'),
    'infinite_list': ('DATASET: {MEANS: [.inf, 1, 1]}', 'DATASET.MEANS: should be finite'),
    'base_60': ('TRAIN: {LR: ' + ':'.join(['59'] * 300) + '.5}', 'is not of the kind that it seems to be'),
    'date': ('TRAIN: {LR: 2001-99-99}', "the value '2001-99-99' is not of the kind that it seems to be"),
    'tag': ('TRAIN: {LR: !!bool maybe}', "the value 'maybe' is not of the kind that it seems to be"),
    'object': ('TRAIN: {LR: !!python/object/apply:os.system [ls]}', 'could not determine a constructor'),
    'control_letters': ('TRAIN: {LR: "\x1b[31m"}', 'is not a YAML file: .*special characters are not allowed'),
    'nested_value': ('TRAIN: {LR: ' + '[' * 50 + ']' * 50 + '}', 'TRAIN.LR: should be a number'),
    'nested_list': ('DATASET: {MEANS: ' + '[' * 50 + ']' * 50 + '}', 'DATASET.MEANS: should be a number'),
    'base_is_a_list': ('BASE: [base]', r"BASE should be the name of a recipe, is \['base'\]"),
    'key_is_a_word_of_yaml': ('on: {LR: 1}', 'True should be a section of keys'),
}


@pytest.mark.parametrize('text, message', WRONG.values(), ids=WRONG)
def test_wrong_recipe_is_named_in_little_time(tmp_path, text, message):
    path = tmp_path / 'mine.yaml'
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    start = time.process_time()
    with pytest.raises(ValueError, match=f'(?s)mine.yaml.*{message}') as found:
        load_recipe(str(path))
    assert time.process_time() - start < 10 and len(str(found.value)) < 1500


def test_aliases_of_a_sensible_size_are_read(tmp_path):
    path = tmp_path / 'mine.yaml'
    path.write_text('x: &x [1, 2]\na: &a {k: *x, l: 1}\nb: {<<: *a, l: 2}\nc: [*x, *x]\n')
    assert read_yaml(str(path)) == {'x': [1, 2], 'a': {'k': [1, 2], 'l': 1}, 'b': {'k': [1, 2], 'l': 2},
                                    'c': [[1, 2], [1, 2]]}


@pytest.mark.parametrize('text, message', [
    ('[' * 10 ** 5, 'its configuration is damaged'), (f'{{"TRAIN": {{"LR": {DIGITS}}}}}', 'its configuration is'),
    ('{"TRAIN": {"LR": 1e400}}', 'TRAIN.LR: should be finite'), ('{"TRAIN": {"LR": NaN}}', 'TRAIN.LR: should be'),
    ('{"TRAIN": {"MAX_STEPS": 1' + '0' * 4000 + '}}', 'TRAIN.MAX_STEPS: should be below'),
    ('{"TRAIN": {"MAX_STEPS": ' + '[' * 900 + ']' * 900 + '}}', 'TRAIN.MAX_STEPS: should be a whole number'),
    ('{"DATASET": {"MEANS": ' + '[' * 900 + ']' * 900 + '}}', 'DATASET.MEANS: should be a number')],
    ids=lambda value: value[:30])
def test_configurations_inside_checkpoints_are_read_as_carefully(text, message):
    with pytest.raises(ValueError, match=f'a.ckpt: {message}') as found:
        from_json(text, 'a.ckpt')
    assert len(str(found.value)) < 500


@pytest.mark.parametrize('text, like', [(DIGITS, 1), (DIGITS, 1.0), ('9' * 30, 1), ('x' * 10 ** 6, True)])
def test_values_of_the_command_line_are_quoted_in_short(text, like):
    with pytest.raises(ValueError, match='should be') as found:
        parse_value(text, like)
    assert len(str(found.value)) < 500
