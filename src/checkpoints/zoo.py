"""Published weights by name: they are downloaded, verified and converted into a checkpoint of this package.

    python -m src.checkpoints.zoo list [WORD …]
    python -m src.checkpoints.zoo get NAME [NAME …]

Everything lies in the folder MINDSPORE_POSE_HOME (default: ~/.cache/mindspore_pose): the files of the projects in
`downloads`, the checkpoints in `checkpoints`.
"""
import argparse
import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from typing import Dict, List, Sequence

import numpy as np

from ..config import load_recipe, resolve, to_json
from ..system.command_line import run_command, say
from ..system.device import LAUNCHER_VARIABLES
from ..system.downloads import DownloadError, alone_with, download
from ..system.errors import PoseError
from ..system.files import make_folder, open_regular, sha256_of, write_bytes
from ..system.printing import ArgumentParser
from .zoo_table import MIRROR_VARIABLE, TABLE_VARIABLE, PublishedWeights, find_weights, read_zoo

HOME_VARIABLE = 'MINDSPORE_POSE_HOME'
# Name of the entry of a checkpoint that says where its weights come from.
SOURCE_KEY = 'source'
# The convolution that makes the heatmaps, under MMPose's names.
HEAD_NAME = re.compile(r'(?:.+\.)?final_layer\.(?:weight|bias)')
# The package is called `src`, or `mindspore_pose` where it is installed.
PACKAGE = __package__.rpartition('.')[0]
PACKAGE_PLACE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def home() -> str:
    """Return the cache folder."""
    cache = os.environ.get('XDG_CACHE_HOME') or os.path.join(os.path.expanduser('~'), '.cache')
    return os.path.abspath(os.environ.get(HOME_VARIABLE) or os.path.join(cache, 'mindspore_pose'))


def download_path(weights: PublishedWeights) -> str:
    """Return where the file of the project lies, or will lie."""
    return os.path.join(home(), 'downloads', weights.file)


def checkpoint_path(weights: PublishedWeights) -> str:
    """Return where the checkpoint that is ready for use lies, or will lie."""
    return download_path(weights) if weights.is_ready else os.path.join(home(), 'checkpoints', f'{weights.name}.ckpt')


def fetch_checkpoint(name: str) -> str:
    """Return the path of the checkpoint of a pose network, which is downloaded and converted first if it is not there.

    MindSpore is not imported here: another process converts, so that the device of this one can still be chosen.

    Raises:
        PoseError: the name is unknown or that of a start for training, its recipe is missing, or the file cannot be
            downloaded, verified or converted.
    """
    weights = find_weights(name)
    if weights.is_start:
        raise PoseError(f'{name} is a start for training (train.py --pretrained_path {name}), not a pose network')
    path = checkpoint_path(weights)
    if weights.is_ready:
        return _fetch_file(weights)
    if not os.path.isfile(path):
        _check_recipe(weights)
        _fetch_file(weights)
        # That process is not part of a job of several. It runs where the package lies: Python looks for modules in the
        # current folder first, which may have another `src`.
        own = {key: value for key, value in os.environ.items() if key not in LAUNCHER_VARIABLES}
        own.update({HOME_VARIABLE: home()}, **({TABLE_VARIABLE: os.path.abspath(own[TABLE_VARIABLE])}
                                               if own.get(TABLE_VARIABLE) else {}))
        done = subprocess.run([sys.executable, '-m', f'{PACKAGE}.checkpoints.zoo', 'get', name], check=False, env=own,
                              cwd=PACKAGE_PLACE, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                              errors='backslashreplace')
        if done.returncode:
            # Status 2: an error that the user can fix, in the last line.
            message = re.search(r'^error: (.*)\Z', done.stderr.rstrip(), re.M)
            if done.returncode == 2 and message:
                raise PoseError(message[1])
            raise RuntimeError(f'converting {name} ended with status {done.returncode}:\n{done.stderr}')
    return path


def fetch_start(name: str) -> str:
    """Return the path of weights to start a training from: an ImageNet start as the project published it, or the
    checkpoint of a pose network.

    Raises:
        PoseError: see `fetch_checkpoint`.
    """
    weights = find_weights(name)
    return _fetch_file(weights) if weights.is_ready else fetch_checkpoint(name)


def get(name: str) -> str:
    """As `fetch_start`, but convert in this process, which imports MindSpore."""
    weights = find_weights(name)
    path = checkpoint_path(weights)
    if weights.is_ready:
        return _fetch_file(weights)
    if os.path.isfile(path):
        return path
    _check_recipe(weights)
    source = _fetch_file(weights)
    make_folder(os.path.dirname(path))
    with alone_with(path):
        if not os.path.isfile(path):
            _convert(weights, source, path)
    _remember_hash(source)
    return path


def _check_recipe(weights: PublishedWeights) -> None:
    if not weights.has_recipe:
        raise PoseError(f'{weights.name} cannot be used: {weights.why_not_usable}')


def _fetch_file(weights: PublishedWeights) -> str:
    """Return the path of the verified file of the project, which is downloaded if it is not there."""
    path = download_path(weights)
    expected = _remembered_hash(path) or weights.sha256
    if os.path.isfile(path):
        found = sha256_of(path)
        if not found.startswith(expected):
            raise PoseError(f'the SHA-256 of {path} begins with {found[:len(expected)][:16]} instead of '
                            f'{expected[:16]}; remove it to download it again')
        return path
    try:
        download(weights.addresses(), path, sha256=expected)
    except DownloadError as error:
        remembered = f' (the digits are those of the first download: {path}.sha256)' if _remembered_hash(path) else ''
        raise PoseError(f'{weights.name} could not be downloaded: {error}{remembered}. Without a network: get '
                        f'{weights.url} elsewhere, put it into the folder {os.path.dirname(path)} and start again; '
                        f'or name a mirror in {MIRROR_VARIABLE}') from None
    if weights.is_ready:
        _remember_hash(path)
    return path


def _remembered_hash(path: str) -> str:
    """Return the SHA-256 that a file had when it was first used, '' if it never was."""
    with suppress(OSError, UnicodeDecodeError), open_regular(f'{path}.sha256', 'r', encoding='ascii') as file:
        digits = file.read(100).partition(' ')[0]
        return digits if re.fullmatch('[0-9a-f]{64}', digits) else ''
    return ''


def _remember_hash(path: str) -> None:
    """Write the SHA-256 of a file beside it, in the form that `sha256sum -c` reads, unless it is there."""
    if not _remembered_hash(path):
        write_bytes(f'{path}.sha256', f'{sha256_of(path)}  {os.path.basename(path)}\n'.encode('ascii'))


def _convert(weights: PublishedWeights, source: str, path: str) -> None:
    """Write the weights of a file of another project as a checkpoint, with its configuration inside."""
    from ..models.registry import build_configured_network
    from ..system.device import set_up_device
    from .ckpt import CONFIG_KEY, write_checkpoint
    from .load import adopt_source, load_weights, read_weights
    from .names import named_parameters
    say(f'converting {source}')
    state, _ = read_weights(source)
    config = resolve(load_recipe(weights.recipe), weights.settings)
    adopt_source(config, None, state, weights.settings, source)
    set_up_device('CPU')
    network = build_configured_network(config)
    load_weights(network, _take_keypoints(state, weights), config, source)
    origin = {'name': weights.name, 'project': weights.project, 'licence': weights.licence, 'url': weights.url,
              'sha256': sha256_of(source)}
    write_checkpoint(path, named_parameters(network), {CONFIG_KEY: to_json(config), SOURCE_KEY: json.dumps(origin)})


def _take_keypoints(state: Dict[str, np.ndarray], weights: PublishedWeights) -> Dict[str, np.ndarray]:
    """Leave out the further keypoints of a head that was trained on several data sets together."""
    if weights.head_keypoints is None:
        return state
    return {name: value[:weights.head_keypoints] if HEAD_NAME.fullmatch(name) else value
            for name, value in state.items()}


def list_table(words: Sequence[str] = ()) -> List[str]:
    """Return the lines of a table of the weights whose name, project and data hold all words, in any case."""
    rows = [('name', 'published', 'data', 'project', 'loaded', 'here', '')]
    for row in read_zoo().values():
        text = f'{row.name} {row.project} {row.data}'.lower()
        if all(word.lower() in text for word in words):
            note = row.note if row.has_recipe else f'not usable: {row.why_not_usable}'
            if row.is_start:
                note = 'a start for training' + (f'; {note}' if note else '')
            is_here = 'yes' if os.path.isfile(checkpoint_path(row)) else ''
            rows.append((row.name, row.measure, row.data, row.project, 'yes' if row.was_loaded else 'never',
                         is_here, note))
    if len(rows) == 1:
        raise PoseError(f'no published weights with {" and ".join(words)}; all: python -m src.checkpoints.zoo list')
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ['  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def parse_arguments() -> argparse.Namespace:
    parser = ArgumentParser(prog='python -m src.checkpoints.zoo', allow_abbrev=False,
                            description='Published weights by name: list them, or download and convert some.')
    commands = parser.add_subparsers(dest='command', required=True, metavar='list|get')
    shown = commands.add_parser('list', help='print the names, published values and projects')
    shown.add_argument('words', nargs='*', metavar='WORD', help='only those with all these words')
    fetched = commands.add_parser('get', help='download, verify and convert')
    fetched.add_argument('names', nargs='+', metavar='NAME')
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.command == 'list':
        licences = {row.project: row.licence for row in read_zoo().values()}
        say(*list_table(arguments.words), '', f'folder: {home()}',
            'licences: ' + ', '.join(f'{project} {licence}' for project, licence in licences.items()),
            'published: by the projects. loaded: whether this package ever met the file itself; the others are tested '
            'with files of the same layout and names.')
        return
    for name in arguments.names:
        find_weights(name)
    for name in arguments.names:
        path = get(name)
        weights = find_weights(name)
        say(f'{name}: {path}', f'  of {weights.project} ({weights.licence}), {weights.page}'
            + (f', published {weights.measure}' if weights.measure else ''))


if __name__ == '__main__':
    run_command(main)
