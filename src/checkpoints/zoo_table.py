"""The table of published weights: their names, addresses, recipes and published values. No MindSpore here."""
import os
import re
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional

from ..config import recipe_names
from ..system.errors import PoseError
from ..system.printing import brief, did_you_mean
from ..system.yaml_files import read_yaml

TABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'zoo.yaml')
# Environment variables: a table of the user's own, and addresses with copies of the files.
TABLE_VARIABLE, MIRROR_VARIABLE = 'MINDSPORE_POSE_ZOO', 'MINDSPORE_POSE_MIRROR'
ENDINGS = ('.pth', '.pth.tar', '.pt', '.bin', '.ckpt', '.safetensors')
# OpenMMLab and MindCV put the beginning of the SHA-256 into the name: resnet50-e0733ab8.ckpt.
HASH_IN_NAME = re.compile(r'-([0-9a-f]{8})(?:_\d{8})?\.\w+$')
# Weights of this data set are a start for training, not a pose network.
START_DATA = 'ImageNet'
KEYS = {'file', 'published', 'recipe', 'settings', 'head_keypoints', 'note', 'sha256', 'loaded'}


@dataclass(frozen=True)
class PublishedWeights:
    """A published file of weights.

    Attributes:
        name: by which it is called here.
        project, licence, page: who publishes it.
        data: data set that it was trained and measured on.
        url: address of the file.
        sha256: the hexadecimal digits with which the file's SHA-256 begins; '' if nobody tells.
        recipe: of its network; '' for a checkpoint of this package, which has its configuration inside.
        published: AP, or PCKh for MPII, from 0 to 1; None if there is none.
        settings: {config key: value} in which it differs from the recipe.
        head_keypoints: how many keypoints of its head are taken, the first ones; None for all.
        note: what else to know.
        was_loaded: whether its file was ever loaded here; otherwise only files with its names and layout were.
    """

    name: str
    project: str
    licence: str
    page: str
    data: str
    url: str
    sha256: str
    recipe: str
    published: Optional[float] = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    head_keypoints: Optional[int] = None
    note: str = ''
    was_loaded: bool = False

    @property
    def file(self) -> str:
        """Name of the file."""
        return self.url.rpartition('/')[2]

    @property
    def is_start(self) -> bool:
        """Whether it is a start for training instead of a pose network."""
        return self.data == START_DATA

    @property
    def is_ready(self) -> bool:
        """Whether the file is used as it is, without a conversion."""
        return self.is_start or not self.recipe

    @property
    def has_recipe(self) -> bool:
        """Whether this package has its recipe."""
        return not self.recipe or self.recipe in recipe_names()

    @property
    def why_not_usable(self) -> str:
        """Why a file without a recipe cannot be used."""
        return self.note or f'the recipe {self.recipe} is missing'

    @property
    def measure(self) -> str:
        """The published value with its name, '' if there is none."""
        return '' if self.published is None else f'{"PCKh" if self.data == "MPII" else "AP"} {self.published:.3f}'

    def addresses(self) -> List[str]:
        """Return the addresses of the file: on the user's mirrors, and that of the project.

        Raises:
            PoseError: a mirror cannot be one.
        """
        from ..system.downloads import check_address
        mirrors = os.environ.get(MIRROR_VARIABLE, '').split()
        try:
            for mirror in mirrors:
                check_address(mirror)
        except PoseError as error:
            raise PoseError(f'{MIRROR_VARIABLE}: {error}') from None
        return [*(f'{mirror.rstrip("/")}/{self.url.partition("://")[2]}' for mirror in mirrors), self.url]


def read_zoo() -> Dict[str, PublishedWeights]:
    """Return {name: weights} of this package and of the user's own table, which comes first.

    Raises:
        PoseError: the user's table is missing or wrong; the message names the place.
    """
    path = os.environ.get(TABLE_VARIABLE)
    own = _read_table(path) if path else {}
    return {**own, **{name: row for name, row in _read_table(TABLE).items() if name not in own}}


def find_weights(name: str) -> PublishedWeights:
    """Return the weights of a name.

    Raises:
        PoseError: there are none; the message names a similar one.
    """
    zoo = read_zoo()
    if name not in zoo:
        hint = ' (INPUTs come before --weights, a checkpoint comes with --ckpt_path)' if os.path.exists(name) else ''
        raise PoseError(f'no published weights are called {brief(name)}{did_you_mean(name, zoo)}{hint}; all: '
                        'python -m src.checkpoints.zoo list')
    return zoo[name]


def _read_table(path: str) -> Dict[str, PublishedWeights]:
    content = read_yaml(path)
    projects, sources = (content.get(key) if isinstance(content, dict) else None for key in ('projects', 'sources'))
    if not isinstance(projects, dict) or not isinstance(sources, list):
        raise PoseError(f'{path} should have the sections projects and sources, as src/checkpoints/zoo.yaml has')
    rows: Dict[str, PublishedWeights] = {}
    for source in sources:
        missing = {'project', 'folder', 'data', 'weights'} - set(source if isinstance(source, dict) else ())
        if missing or not isinstance(source['weights'], dict):
            raise PoseError(f'{path}: a source should have project, folder, data and weights, is {brief(source)}')
        project = projects.get(source['project'])
        if not isinstance(project, dict):
            raise PoseError(f'{path}: the project {brief(source["project"])} is not among projects')
        for name, entry in source['weights'].items():
            row = _read_row(f'{path}: {brief(name)}', name, entry, source, project)
            other = next((each for each in rows.values() if each.file == row.file or each.name == name), None)
            if other:
                raise PoseError(f'{path}: {name} and {other.name} should have different names and files')
            rows[name] = row
    return rows


def _read_row(where: str, name: Any, entry: Any, source: Mapping[str, Any], project: Mapping[str, Any]
              ) -> PublishedWeights:
    from ..system.downloads import check_address
    if not isinstance(name, str) or not re.fullmatch(r'\w+', name, re.ASCII):
        raise PoseError(f'{where}: a name should consist of letters, digits and _')
    if not isinstance(entry, dict) or not isinstance(entry.get('file'), str) or set(entry) - KEYS:
        raise PoseError(f'{where} should have a file, and may have {", ".join(sorted(KEYS - {"file"}))}; is '
                        f'{brief(entry)}')
    file = entry['file']
    # The name of the file is also that in the cache folder: nothing in it may lead elsewhere.
    if not re.fullmatch(r'\w[\w.+-]*', file, re.ASCII) or not file.endswith(ENDINGS):
        raise PoseError(f'{where}: file should be a plain name that ends in {", ".join(ENDINGS)}, is {brief(file)}')
    published, head, settings = entry.get('published'), entry.get('head_keypoints'), entry.get('settings', {})
    if published is not None and not (isinstance(published, (int, float)) and 0 <= published <= 1):
        raise PoseError(f'{where}: published should be from 0 to 1, is {brief(published)}')
    if head is not None and not (isinstance(head, int) and head > 0):
        raise PoseError(f'{where}: head_keypoints should be above 0, is {brief(head)}')
    if not isinstance(settings, dict):
        raise PoseError(f'{where}: settings should be keys with values, is {brief(settings)}')
    url = f'{str(source["folder"]).rstrip("/")}/{file}'
    try:
        check_address(url)
    except PoseError as error:
        raise PoseError(f'{where}: {error}') from None
    in_name = HASH_IN_NAME.search(file)
    sha256 = str(entry.get('sha256', in_name[1] if in_name else ''))
    if not re.fullmatch(r'[0-9a-f]{8,64}|', sha256):
        raise PoseError(f'{where}: sha256 should be 8 to 64 hexadecimal digits in quotes, is {brief(sha256)}')
    return PublishedWeights(name, str(source['project']), str(project.get('licence', '')), str(project.get('page', '')),
                            str(source['data']), url, sha256, str(entry.get('recipe', name)), published, settings,
                            head, str(entry.get('note', '')), entry.get('loaded') is True)
