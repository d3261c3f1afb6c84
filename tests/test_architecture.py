"""The arrows between the files, read from their imports: data flows one way and nothing points back."""
import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 400

# From the first to the last; a file imports from its own row or from rows above, never from one below.
LAYERS = (
    ('src', 'src.device', 'src.printing'),
    ('src.skeletons', 'src.files', 'src.pickles', 'src.boxes', 'src.yaml_files', 'src.config', 'src.protocols',
     'src.schedules', 'src.stopping', 'src.loader_processes', 'src.onnx_graph'),
    ('src.file_locks', 'src.affine', 'src.oks', 'src.command_line', 'src.curves', 'src.collectives', 'src.rank_tables',
     'src.runtimes'),
    ('src.heatmaps', 'src.metrics_log', 'src.multi_shift'),
    ('src.annotations',),
    ('src.samples',),
    ('src.batches',),
    ('src.networks',),
    ('src.losses', 'src.targets', 'src.weights', 'src.optimizers', 'src.onnx_cells'),
    ('src.training_step', 'src.checkpoint_entries', 'src.checkpoints', 'src.torch_files', 'src.weight_sources',
     'src.exporting'),
    ('src.weight_files', 'src.quantisation'),
    ('src.training_setup', 'src.run_states'),
    ('src.training', 'src.prediction'),
    ('src.predictors',),
    ('src.pose_sources',),
    ('src.results',),
    ('src.metrics', 'src.pictures', 'src.submissions'),
    ('src.evaluation', 'src.run_files'),
    ('src.training_run',),
)
DATA = ('src.annotations', 'src.samples', 'src.batches', 'src.loader_processes', 'src.boxes', 'src.affine',
        'src.skeletons', 'src.oks', 'src.heatmaps')
MODELS = ('src.networks', 'src.losses', 'src.targets', 'src.weights', 'src.optimizers', 'src.training_step',
          'src.training_setup', 'src.checkpoint_entries', 'src.checkpoints', 'src.run_states', 'src.pickles',
          'src.torch_files', 'src.weight_sources', 'src.weight_files', 'src.onnx_cells', 'src.exporting',
          'src.quantisation')
# Neither data nor model, but the places where both meet beside the root scripts: they feed one to the other.
MEETING_PLACES = {'src.prediction', 'src.results', 'src.evaluation', 'src.training', 'src.run_files',
                  'src.training_run'}
# What evaluators compare with is data.
EVALUATORS = {f'src.metrics.{name}' for name in ('crowdpose', 'mpii', 'oks_matching', 'keypoints', 'scoring')}
# The ones that know models; the others are handed what computes.
SEE_BOTH = {'src.predictors', 'src.pose_sources', 'src.evaluation', 'src.training', 'src.run_files', 'src.training_run'}
# Whoever trains without pictures of curves, exports or other runtimes does not need these.
OPTIONAL = {'matplotlib', 'onnx', 'onnxruntime', 'openvino', 'torch', 'torchvision', 'scipy', 'psutil', 'simplejpeg',
            'PIL', 'tensorboard', 'tensorboardX', 'xtcocotools', 'pandas'}


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


def belongs_to(module: str, groups) -> bool:
    return any(module == group or module.startswith(group + '.') for group in groups)


def layer_of(module: str) -> int:
    # `src` itself is a row of its own, not the package of all others.
    rows = [row for row, names in enumerate(LAYERS)
            if module in names or belongs_to(module, [name for name in names if name != 'src'])]
    assert len(rows) == 1, f'{module} has no place in LAYERS: say between which files it belongs'
    return rows[0]


def reachable(module: str) -> set:
    """All modules of `src` that importing `module` brings in."""
    seen, waiting = set(), [module]
    while waiting:
        for name in IMPORTS[waiting.pop()] - seen:
            seen.add(name)
            waiting.append(name)
    return seen


def test_reading_of_imports():
    code = 'import os, a.b\nfrom src import device\nfrom src.networks import mspn as m\ndef f():\n    from . import x\n'
    names = set(imported_names(ast.parse(code), 'src.samples.dataset'))
    assert {'os', 'a.b', 'src.device', 'src.networks', 'src.networks.mspn', 'src.samples.x'} <= names
    assert 'src.y' in set(imported_names(ast.parse('from ..y import z'), 'src.samples.dataset'))
    assert 'src.networks.y' in set(imported_names(ast.parse('from .y import z'), 'src.networks', is_package=True))
    assert IMPORTS['src.batches'] == {'src.loader_processes', 'src.samples.dataset'}
    assert 'src.networks' in own_imports('train', SCRIPTS['train'])


def test_layers_name_what_is_there():
    for name in (name for names in LAYERS for name in names):
        assert any(belongs_to(module, [name]) for module in SOURCES), name


@pytest.mark.parametrize('module', SOURCES)
def test_no_arrow_points_back(module):
    below = {name for name in IMPORTS[module] if layer_of(name) > layer_of(module)}
    assert not below, f'{module} imports {sorted(below)} from further down the chain'


@pytest.mark.parametrize('module', [module for module in SOURCES if belongs_to(module, DATA)])
def test_data_code_never_sees_models(module):
    seen = {name for name in reachable(module) if belongs_to(name, MODELS)}
    assert not seen, f'{module} brings in {sorted(seen)}'


@pytest.mark.parametrize('module', [module for module in SOURCES if belongs_to(module, MODELS)])
def test_model_code_never_sees_data(module):
    seen = {name for name in reachable(module) if belongs_to(name, DATA)}
    assert not seen, f'{module} brings in {sorted(seen)}'


def test_only_the_root_scripts_and_the_meeting_places_see_both():
    both = {module for module in SOURCES if any(belongs_to(name, DATA) for name in reachable(module))
            and any(belongs_to(name, MODELS) for name in reachable(module))}
    assert both == SEE_BOTH
    for name in ('train', 'eval', 'infer', 'export'):
        own = own_imports(name, SCRIPTS[name])
        seen = own.union(*map(reachable, own))
        assert all(any(belongs_to(each, group) for each in seen) for group in (DATA, MODELS)), name


@pytest.mark.parametrize('module', [module for module in SOURCES if belongs_to(module, DATA)])
def test_data_code_does_not_know_mindspore(module):
    names = {name.split('.')[0] for name in
             imported_names(ast.parse(SOURCES[module].read_text(encoding='utf-8')), module)}
    assert 'mindspore' not in names


def test_every_data_user_is_known():
    """Whoever else wants people, samples or batches and is no data code should say what it is."""
    users = {module for module in SOURCES if not belongs_to(module, DATA)
             and any(belongs_to(name, ('src.annotations', 'src.samples', 'src.batches')) for name in IMPORTS[module])}
    assert users == MEETING_PLACES | EVALUATORS


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
                for name in {name.split('.')[0] for name in imported_names(node, module_name(path))} - standard:
                    assert of_package.get(name, name) in listed, f'{path.name} imports {name}'


@pytest.mark.parametrize('module', SOURCES)
def test_every_file_says_what_it_holds(module):
    content = SOURCES[module].read_text(encoding='utf-8')
    assert not content.strip() or ast.get_docstring(ast.parse(content))
