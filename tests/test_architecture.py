"""The arrows between the files, read from their imports: data flows one way and nothing points back."""
import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 400

# From the first floor to the last; a room imports from rooms of floors above its own, and from none of its own floor.
FLOORS = (
    ('system',),
    ('data',),
    ('metrics', 'models', 'synthetic', 'visualization', 'media'),
    ('datasets', 'report'),
    ('config',),
    ('flags',),
    ('checkpoints', 'data_tools'),
    ('export',),
    ('evaluation', 'detection'),
    ('training', 'tracking'),
    ('launch', 'inference'),
)
# Rooms that know people and pictures, and rooms that know networks. Whoever sees both brings them together.
DATA, NETWORKS = ('data', 'datasets', 'media', 'metrics', 'report', 'synthetic'), (
    'models', 'checkpoints', 'detection', 'export')
BRINGS_TOGETHER = {
    'config': 'it has the names, defaults and checks of both',
    'flags': 'they load networks and data sets from outside',
    'evaluation': 'networks are measured on people',
    'inference': 'networks look at pictures and videos',
    'training': 'networks learn from people',
    'data_tools': 'crops and label maps are drawn as a network sees them',
}
# What a room that knows networks may import of one that knows people, and why.
BETWEEN = {
    ('models', 'data'): 'crops and decoders are a network\'s own, and their geometry is that of boxes',
    ('export', 'data'): 'example crops, on which a file is compared with its network',
    ('export', 'synthetic'): 'the people on the example crops',
}
# Whoever trains without pictures of curves, exports or other runtimes does not need these.
OPTIONAL = {'matplotlib', 'onnx', 'onnxruntime', 'openvino', 'torch', 'torchvision', 'scipy', 'psutil', 'simplejpeg',
            'PIL', 'tensorboard', 'tensorboardX', 'xtcocotools', 'pandas', 'tables', 'gradio'}


def module_name(path: Path) -> str:
    """'/…/src/networks/__init__.py' -> 'src.networks'."""
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


SOURCES = {module_name(path): path for path in sorted((ROOT / 'src').rglob('*.py'))}
SCRIPTS = {path.stem: path for path in sorted(ROOT.glob('*.py'))}


def imported_names(tree: ast.AST, module: str, *, is_package: bool = False):
    """Yield the full names that the imports of a syntax tree mention, also those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                parts = module.split('.')
                parts = parts[:len(parts) - node.level + (1 if is_package else 0)]
                base = '.'.join([*parts, base] if base else parts)
            yield base
            yield from (f'{base}.{alias.name}' for alias in node.names)


def own_imports(module: str, path: Path) -> set:
    """The modules of `src` that a file imports."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    names = set(imported_names(tree, module, is_package=path.name == '__init__.py'))
    # `from src.device import set_up_device` names src.device, and `from src import device` does as well.
    found = {name for name in names if name in SOURCES}
    # A package is only meant where nothing inside it was named.
    return {name for name in found if not any(other.startswith(name + '.') for other in found)} - {module}


IMPORTS = {module: own_imports(module, path) for module, path in SOURCES.items()}


def room_of(module: str) -> str:
    """'src.data.coco' -> 'data'; 'src' itself is the front door."""
    return module.split('.')[1] if '.' in module else 'src'


def floor_of(room: str) -> int:
    floors = [number for number, rooms in enumerate(FLOORS) if room in rooms]
    assert len(floors) == 1, f'{room} has no place in FLOORS: say between which rooms it belongs'
    return floors[0]


def reachable(module: str) -> set:
    """All modules of `src` that importing `module` brings in."""
    seen, waiting = set(), [module]
    while waiting:
        for name in IMPORTS[waiting.pop()] - seen:
            seen.add(name)
            waiting.append(name)
    return seen


ROOMS = sorted({room_of(module) for module in SOURCES} - {'src'})
# The arrows between rooms: (from, to) -> the imports that make it.
ARROWS = {}
for _module, _names in IMPORTS.items():
    for _name in _names:
        if room_of(_module) != room_of(_name) and 'src' not in (room_of(_module), room_of(_name)):
            ARROWS.setdefault((room_of(_module), room_of(_name)), []).append(f'{_module} -> {_name}')


def test_reading_of_imports():
    code = 'import os, a.b\nfrom src import device\nfrom src.networks import mspn as m\ndef f():\n    from . import x\n'
    names = set(imported_names(ast.parse(code), 'src.samples.dataset'))
    assert {'os', 'a.b', 'src.device', 'src.networks', 'src.networks.mspn', 'src.samples.x'} <= names
    assert 'src.y' in set(imported_names(ast.parse('from ..y import z'), 'src.samples.dataset'))
    assert 'src.networks.y' in set(imported_names(ast.parse('from .y import z'), 'src.networks', is_package=True))
    assert IMPORTS['src.data.loader'] == {'src.data.loader_processes', 'src.data.samples', 'src.system.errors'}
    assert 'src.models.registry' in own_imports('train', SCRIPTS['train'])


def test_floors_name_what_is_there():
    assert sorted(room for rooms in FLOORS for room in rooms) == ROOMS


@pytest.mark.parametrize('module', SOURCES)
def test_imports_inside_are_relative(module):
    """The same folder is installed under another name."""
    text = SOURCES[module].read_text(encoding='utf-8')
    absolute = [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))
                and any(name.split('.')[0] == 'src' for name in (
                    [node.module or ''] if isinstance(node, ast.ImportFrom) and not node.level
                    else [alias.name for alias in node.names] if isinstance(node, ast.Import) else []))]
    assert not absolute


@pytest.mark.parametrize('arrow', sorted(ARROWS), ids=' -> '.join)
def test_no_arrow_points_back(arrow):
    source, target = arrow
    assert floor_of(target) < floor_of(source), ARROWS[arrow]


def test_few_arrows_connect_the_rooms():
    """Today's number; a new arrow is a decision, not an accident. Eight of them are those of the room `report`, which
    draws what `metrics` computed, and whose page `data_tools`, `evaluation` and `training` share."""
    assert len(ARROWS) <= 83, sorted(ARROWS)


def test_who_sees_people_and_networks_is_listed():
    for room in set(ROOMS) - set(DATA):
        seen = {target for source, target in ARROWS if source == room}
        if room in NETWORKS:
            assert all((room, target) in BETWEEN for target in seen & set(DATA)), room
        elif room not in BRINGS_TOGETHER:
            assert not (seen & set(DATA) and seen & set(NETWORKS)), room
    for room in DATA:
        assert not {target for source, target in ARROWS if source == room} & set(NETWORKS), room
    for name in ('train', 'eval', 'infer', 'export'):
        own = own_imports(name, SCRIPTS[name])
        seen = set(map(room_of, own.union(*map(reachable, own))))
        assert 'data' in seen and 'models' in seen, name


@pytest.mark.parametrize('module', [module for module in SOURCES if room_of(module) in (*DATA, 'config', 'launch')])
def test_data_code_does_not_know_mindspore(module):
    names = {name.split('.')[0] for name in
             imported_names(ast.parse(SOURCES[module].read_text(encoding='utf-8')), module)}
    assert 'mindspore' not in names


def test_nobody_imports_the_root_scripts():
    for module, path in SOURCES.items():
        names = {name.split('.')[0] for name in imported_names(ast.parse(path.read_text(encoding='utf-8')), module)}
        assert not names & set(SCRIPTS), f'{module} imports a root script'
        assert not names & {'tests', 'benchmarks'}, f'{module} imports tests or benchmarks'


def test_there_is_no_import_cycle():
    for module in SOURCES:
        assert module not in reachable(module), f'{module} imports itself through {sorted(reachable(module))}'


@pytest.mark.parametrize('module', SOURCES)
def test_files_stay_short(module):
    assert len(SOURCES[module].read_text(encoding='utf-8').splitlines()) < MAX_LINES


@pytest.mark.parametrize('name', SCRIPTS)
def test_root_scripts_are_short(name):
    assert len(SCRIPTS[name].read_text(encoding='utf-8').splitlines()) <= 110


@pytest.mark.parametrize('path', [*SOURCES.values(), *SCRIPTS.values()], ids=lambda path: module_name(path))
def test_material_of_the_workplace_is_not_read(path):
    """../shared is not part of what a user has."""
    strings = [node.value for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
               if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert not [text for text in strings if 'shared/' in text or text.strip('/.') == 'shared']


def module_level(tree: ast.Module):
    """Yield the statements that run at import: everything outside functions."""
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield node
            waiting.extend(ast.iter_child_nodes(node))


@pytest.mark.parametrize('path', [*SOURCES.values(), *SCRIPTS.values()], ids=lambda path: module_name(path))
def test_optional_packages_are_imported_where_used(path):
    statements = module_level(ast.parse(path.read_text(encoding='utf-8')))
    names = {name.split('.')[0] for node in statements if isinstance(node, (ast.Import, ast.ImportFrom))
             for name in imported_names(node, module_name(path))}
    assert not names & OPTIONAL


def test_required_packages_are_listed():
    """What is imported at module level is in requirements.txt."""
    of_package = {'cv2': 'opencv-python-headless', 'yaml': 'PyYAML'}
    lines = (ROOT / 'requirements.txt').read_text(encoding='utf-8').splitlines()
    listed = {line.split('>')[0].split('=')[0].split('<')[0].strip() for line in lines if not line.startswith('#')}
    standard = set(getattr(sys, 'stdlib_module_names', ())) | {'src'}
    if len(standard) == 1:
        pytest.skip('this Python does not list its standard library')
    for path in (*SOURCES.values(), *SCRIPTS.values()):
        for node in module_level(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = imported_names(node, module_name(path), is_package=path.name == '__init__.py')
                for name in {name.split('.')[0] for name in names} - standard:
                    assert of_package.get(name, name) in listed, f'{path.name} imports {name}'


@pytest.mark.parametrize('module', SOURCES)
def test_every_file_says_what_it_holds(module):
    content = SOURCES[module].read_text(encoding='utf-8')
    assert not content.strip() or ast.get_docstring(ast.parse(content))
