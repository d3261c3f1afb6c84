"""What texts from outside look like on a terminal: names of files, words of the command line, messages of libraries."""
import io
import os
import subprocess
import sys

import pytest
from script_runs import ROOT

from src.system.command_line import say
from src.system.printing import ArgumentParser, brief, printable

ENVIRONMENT = {**os.environ, 'PYTHONPATH': str(ROOT)}
# Sets the title of a terminal window, then turns the rest of the screen red.
HOSTILE = '\x1b]0;owned\x07\x1b[31m.jpg'
SAY_AND_FAIL = '''
import os, sys
from src.system.command_line import run_command, say
from src.system.errors import PoseError
def main():
    say(sys.argv[1])
    raise PoseError('no ' + sys.argv[1])
run_command(main)
'''


@pytest.mark.parametrize('text', [
    'a plain line, 50 % (of 3)', r'C:\pictures\new', '人物/照片 42.jpg', '사람.jpg', 'e\u0301te\u0301.jpg', 'фото…',
    'می\u200cخواهم', '\U0001f469\u200d\U0001f467.jpg', 'Bild\u30001.jpg', '10\u202f000'])
def test_ordinary_names_stay_readable(text):
    assert printable(text) == text


@pytest.mark.parametrize('text, shown', [
    (HOSTILE, r'\x1b]0;owned\x07\x1b[31m.jpg'), ('a\r\nb\tc\0', r'a\r\nb\tc\x00'), ('\x7f\x9b31m', r'\x7f\x9b31m'),
    ('photo\u202egpj.exe', r'photo\u202egpj.exe'), ('\u2066a\u2069\u200f', r'\u2066a\u2069\u200f'),
    ('a\u2028b\x85', r'a\u2028b\x85'), ('\udcff42.jpg', r'\xff42.jpg'), ('\ud800', r'\ud800'),
    ('\U000e0041', r'\U000e0041'), ('\ufeffa', r'\ufeffa')])
def test_what_would_steer_a_terminal_is_spelled_out(text, shown):
    assert printable(text) == shown
    assert printable(shown) == shown


def test_letters_that_the_output_does_not_have_are_spelled_out():
    for encoding, shown in (('ascii', r'\u4eba \xe9 \xff'), ('latin-1', '\\u4eba é \\xff'), ('utf-8', '人 é \\xff')):
        assert printable('人 é \udcff', io.TextIOWrapper(io.BytesIO(), encoding)) == shown
    assert printable('人', io.StringIO()) == '人'


def test_lines_are_said_one_by_one(capsys):
    say('first', f'the picture {HOSTILE}\nwarning: made up')
    assert capsys.readouterr().out == ('first\nthe picture \\x1b]0;owned\\x07\\x1b[31m.jpg\\nwarning: made up\n')


@pytest.mark.parametrize('encoding', ['ascii', 'utf-8', 'latin-1'])
def test_scripts_print_any_name_in_any_encoding(encoding):
    name = os.fsencode('人\x1b[31m') + b'\xff.jpg'
    done = subprocess.run([sys.executable, '-c', SAY_AND_FAIL, name], capture_output=True, timeout=60,
                          env={**ENVIRONMENT, 'PYTHONIOENCODING': f'{encoding}:strict'})
    shown = ('人' if encoding == 'utf-8' else r'\u4eba').encode() + rb'\x1b[31m\xff.jpg'
    assert (done.returncode, done.stdout, done.stderr) == (2, shown + b'\n', b'error: no ' + shown + b'\n')


@pytest.mark.parametrize('variables', [{'POSE_TRACEBACK': '1'}, {'POSE_TRACEBACK': ''}])
def test_tracebacks_are_escaped_line_by_line(variables):
    """Also those of our own mistakes, such as a KeyError."""
    for kind, status in (('PoseError', 2), ('KeyError', 1), ('ValueError', 1)):
        program = SAY_AND_FAIL.replace('raise PoseError', f'raise {kind}')
        done = subprocess.run([sys.executable, '-c', program, HOSTILE], capture_output=True, text=True, timeout=60,
                              env={**ENVIRONMENT, **variables})
        assert done.returncode == status and '\x1b' not in done.stderr + done.stdout and r'\x1b[31m' in done.stderr
        if kind != 'PoseError' or variables['POSE_TRACEBACK']:
            assert done.stderr.startswith('Traceback') and done.stderr.count('\n') > 4


def test_help_is_shown_in_any_encoding():
    done = subprocess.run([sys.executable, str(ROOT / 'eval.py'), '--help'], capture_output=True, timeout=120,
                          env={**ENVIRONMENT, 'PYTHONIOENCODING': 'ascii:strict'})
    assert done.returncode == 0 and b'--ckpt_path' in done.stdout and not done.stderr


def test_errors_of_the_command_line_are_escaped(capsys):
    parser = ArgumentParser(prog='eval.py', allow_abbrev=False)
    parser.add_argument('--threads', type=int)
    with pytest.raises(SystemExit) as end:
        parser.parse_args(['--threads', '3', f'--{HOSTILE}\udcff'])
    err = capsys.readouterr().err
    assert end.value.code == 2 and '\x1b' not in err
    assert err == ('error: unknown flag --\\x1b]0;owned\\x07\\x1b[31m.jpg\\xff (eval.py --help lists all flags)\n')


@pytest.mark.parametrize('typed, answer', [
    (['--thread', '3'], 'unknown flag --thread; did you mean --threads?'), (['--sum=1'], 'unknown flag --sum'),
    (['3'], 'unknown word 3'), (['--threads', 'x'], "argument --threads: invalid int value: 'x'")])
def test_an_unknown_flag_is_one_line_with_the_most_similar_one(typed, answer, capsys):
    parser = ArgumentParser(prog='eval.py', allow_abbrev=False)
    parser.add_argument('--threads', type=int)
    with pytest.raises(SystemExit) as end:
        parser.parse_args(typed)
    assert (end.value.code, capsys.readouterr().err) == (2, f'error: {answer} (eval.py --help lists all flags)\n')


def test_every_command_line_of_the_package_escapes_its_errors():
    for path in (*ROOT.glob('*.py'), *(ROOT / 'src').rglob('*.py')):
        if path.name != 'printing.py':
            assert 'argparse.ArgumentParser(' not in path.read_text(encoding='utf-8'), path


def test_values_are_quoted_in_short():
    deep = []
    for _ in range(900):
        deep = [deep]
    for value in (deep, 'a' * 10 ** 6, [0] * 10 ** 6, {str(number): number for number in range(1000)}, 1 << 10 ** 6,
                  10 ** 4000, {'a': ['b' * 10 ** 5] * 1000}):
        assert len(brief(value)) < 400
    assert brief([1, 'two', None, {'x': 1.5}]) == "[1, 'two', None, {'x': 1.5}]"
    assert brief('\x1b\ud800') == r"'\x1b\ud800'"
