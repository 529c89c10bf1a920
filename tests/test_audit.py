"""No line of the tree runs code that a file or a name brings along: modules, scripts, tests and notebooks are read."""

import ast
import json
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BY_NAME, PICKLE, UNPICKLES = 'imports by a name', 'imports pickle', 'unpickles'
ARCHIVE, YAML = 'unpacks an archive', 'loads YAML unsafely'
EVALUATES, SHELL, TEXT = 'evaluates text', 'uses a shell', 'starts a text'
EXCEPTIONS = {  # a chapter with its module, or a file of tests; the rule; why that is safe there
    ('io/optional_packages', BY_NAME): 'packages whose names stand in the code',
    ('metrics/bss_eval', BY_NAME): 'packages whose names stand in the code',
    ('models/joint_embedding', BY_NAME): 'modules of a fixed table',
    ('training/registry', BY_NAME): 'modules of avlib.methods; the chapter checks that no other is imported',
    ('io/yaml_files', YAML): 'its loader is derived from SafeLoader, and leaves keys texts',
    ('corpora/asiw', PICKLE): 'its checks write pickles',
    ('datasets/asiw_clips', PICKLE): 'its checks write pickles',
    ('datasets/room_bank', PICKLE): 'a check copies an object as a worker of a data loader gets it',
    ('datasets/room_bank', UNPICKLES): 'its own copy',
    ('io/plain_pickle', PICKLE): 'its checks write pickles, hostile ones too',
    ('io/tensor_store', PICKLE): 'a check copies an object as a worker of a data loader gets it',
    ('io/tensor_store', UNPICKLES): 'its own copy',
    ('reproduction/stage_commands', SHELL): 'its checks show what a shell makes of a command',
    ('reproduction/stage_commands', TEXT): 'its checks show what a shell makes of a command',
    ('tests/bad_inputs/signals.py', BY_NAME): 'names that stand in that package',
    ('tests/bad_inputs/table.py', BY_NAME): 'modules of that package',
    ('tests/test_boot_details.py', EVALUATES): 'cells of a notebook of the repository',
    ('tests/test_picture_files.py', ARCHIVE): 'a wheel that it has built',
    ('tests/test_readme.py', ARCHIVE): 'reports that git has packed',
}
STATEMENTS = (ast.Call, ast.Import, ast.ImportFrom)  # all that rules look at
SAFE_LOADERS = {'SafeLoader', 'CSafeLoader', 'BaseLoader', 'CBaseLoader'}
UNPICKLERS = {'_pickle', 'cPickle', 'dill', 'cloudpickle', 'joblib', 'shelve', 'marshal'}
LOADS = {'load', 'loads', 'Unpickler'}
STARTERS = {'run', 'call', 'check_call', 'check_output', 'Popen'}
SHELLS = {'system', 'popen', 'getoutput', 'getstatusoutput', 'create_subprocess_shell'}
SOURCES = [
    *(path for folder in ('avlib', 'scripts', 'tests') for path in sorted((ROOT / folder).rglob('*.py'))),
    ROOT / 'setup.py',
    *sorted(path for path in (ROOT / 'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in path.parts),
]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def cells(path: Path) -> list[str]:
    """Return the Python in a module, or in each code cell of a notebook."""
    text = path.read_text(encoding='utf-8')
    if path.suffix == '.py':
        return [text]
    return [''.join(cell['source']) for cell in json.loads(text)['cells'] if cell['cell_type'] == 'code']


def called(node: ast.AST) -> str:
    """Return the name that a call names last, such as `load` of `torch.load(…)`."""
    function = node.func if isinstance(node, ast.Call) else None
    return getattr(function, 'attr', getattr(function, 'id', ''))


def owner(node: ast.Call) -> str:
    """Return the name before it, such as `torch` of `torch.load(…)`."""
    return getattr(getattr(node.func, 'value', None), 'id', '')


def keyword(node: ast.Call, wanted: str):
    """Return the value of a keyword argument, or None."""
    return next((part.value for part in node.keywords if part.arg == wanted), None)


def is_true(value) -> bool:
    return isinstance(value, ast.Constant) and value.value is True


def is_false(value) -> bool:
    return value is None or isinstance(value, ast.Constant) and value.value is False


def imports(node: ast.AST) -> set[str]:
    """Return the first parts of the names of modules that a statement imports."""
    if isinstance(node, ast.Import):
        return {alias.name.split('.')[0] for alias in node.names}
    return {(node.module or '').split('.')[0]} if isinstance(node, ast.ImportFrom) and not node.level else set()


def loads_yaml_unsafely(node: ast.AST) -> bool:
    """`yaml.load` whose loader is not a safe one; safe_load is another name."""
    if called(node) not in ('load', 'load_all') or owner(node) != 'yaml':
        return called(node) in ('unsafe_load', 'unsafe_load_all', 'full_load', 'full_load_all')
    loader = keyword(node, 'Loader') or next(iter(node.args[1:2]), None)
    return getattr(loader, 'attr', getattr(loader, 'id', '')) not in SAFE_LOADERS


def unpickles(node: ast.AST) -> bool:
    """`pickle.load` and its like; modules that do nothing else."""
    names = (
        {alias.name for alias in node.names} if isinstance(node, ast.ImportFrom) and node.module == 'pickle' else set()
    )
    loads = called(node) in LOADS and owner(node) == 'pickle' or called(node) == 'read_pickle'
    return loads or bool(names & LOADS) or bool(imports(node) & UNPICKLERS)


def starts_a_text(node: ast.AST) -> bool:
    """A program that is started by one text, which a shell would take apart, in place of a list."""
    if called(node) not in STARTERS or owner(node) != 'subprocess' or not node.args:
        return False
    return isinstance(node.args[0], ast.JoinedStr | ast.BinOp) or isinstance(getattr(node.args[0], 'value', None), str)


RULES = {
    PICKLE: lambda node: 'pickle' in imports(node),
    UNPICKLES: unpickles,
    EVALUATES: lambda node: isinstance(getattr(node, 'func', None), ast.Name) and called(node) in ('eval', 'exec'),
    YAML: loads_yaml_unsafely,
    SHELL: lambda node: isinstance(node, ast.Call) and not is_false(keyword(node, 'shell')),
    TEXT: starts_a_text,
    'calls a shell': lambda node: called(node) in SHELLS and owner(node) in ('os', 'subprocess', 'asyncio'),
    'loads a checkpoint unsafely': lambda node: (
        called(node) == 'load' and owner(node) == 'torch' and not is_true(keyword(node, 'weights_only'))
    ),
    'loads objects of NumPy': lambda node: isinstance(node, ast.Call) and not is_false(keyword(node, 'allow_pickle')),
    'makes a temporary name': lambda node: called(node) == 'mktemp' and owner(node) in ('tempfile', ''),
    BY_NAME: lambda node: called(node) in ('__import__', 'import_module', 'run_path', 'run_module'),
    ARCHIVE: lambda node: called(node) in ('extractall', 'unpack_archive'),
}
SAMPLES = {  # each rule, what it finds, and what it lets pass
    PICKLE: ('import pickle\nfrom pickle import dumps', 'import pickletools\nfrom .pickle_values import NAMES'),
    UNPICKLES: (
        'pickle.loads(text)\nfrom pickle import load\nfrom _pickle import loads\nimport joblib.numpy_pickle\n'
        'pandas.read_pickle(path)\npickle.Unpickler(file)',
        'pickle.dumps(value)\nfrom pickle import dumps\nfrom .plain_pickle import read_plain_pickle\njson.loads(text)',
    ),
    EVALUATES: ('eval(text)\nexec(text)', 'model.eval()\nliteral_eval(text)'),
    YAML: ('yaml.load(text)\nyaml.load(text, Loader=yaml.Loader)\nyaml.unsafe_load(text)\n'
                            'yaml.load(text, yaml.FullLoader)',
                            'yaml.safe_load(text)\nyaml.load(text, Loader=yaml.CSafeLoader)\njson.load(file)'),
    SHELL: ('subprocess.run(command, shell=True)\nrun(command, shell=flag)', 'run(command, shell=False)'),
    TEXT: ("subprocess.run('ls -l')\nsubprocess.Popen(f'ls {folder}')\nsubprocess.run('ls ' + folder)",
                      "subprocess.run(['ls', folder])\nsubprocess.run(command)"),
    'calls a shell': ('os.system(command)\nos.popen(command)\nsubprocess.getoutput(command)', 'platform.system()'),
    'loads a checkpoint unsafely': ('torch.load(path)\ntorch.load(path, weights_only=False)',
                                    'torch.load(path, weights_only=True)\nnp.load(path)'),
    'loads objects of NumPy': ('np.load(path, allow_pickle=True)', 'np.load(path)\nnp.load(path, allow_pickle=False)'),
    'makes a temporary name': ('tempfile.mktemp()\nmktemp()', 'tempfile.mkstemp()\ntmp_path_factory.mktemp(name)'),
    BY_NAME: ('__import__(name)\nimportlib.import_module(name)', 'import importlib'),
    ARCHIVE: ('archive.extractall(folder)\nshutil.unpack_archive(path)', "archive.extract('a.txt')"),
}  # fmt: skip


def offenders(text: str, rule: str) -> list[int]:
    """Return the lines of a text of Python that break a rule."""
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, STATEMENTS)]
    return sorted(node.lineno for node in nodes if RULES[rule](node))


@cache
def findings(path: Path) -> list[tuple]:
    """Return rule and line (in its cell) of all that a file breaks."""
    trees = [ast.parse(python_only(text)) for text in cells(path)]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, STATEMENTS)]
    return [(rule, node.lineno) for node in nodes for rule in RULES if RULES[rule](node)]


def python_only(text: str) -> str:
    """Return a cell without lines for IPython."""
    return '\n'.join('' if line.startswith(('%', '!')) else line for line in text.split('\n'))


@pytest.mark.parametrize('rule', RULES)
def test_rule_finds_its_offenders_and_no_others(rule):
    bad, good = SAMPLES[rule]
    assert offenders(bad, rule) == list(range(1, bad.count('\n') + 2))
    assert not offenders(good, rule)


def subject(path: Path) -> str:
    """Return the name by which `EXCEPTIONS` has a file: one for a chapter and its module."""
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '/'.join(parts[1:]) if parts[0] in ('avlib', 'nbs') else name(path)


@pytest.mark.parametrize('path', SOURCES, ids=name)
def test_runs_nothing_that_a_file_brings(path):
    allowed = {rule for file, rule in EXCEPTIONS if file == subject(path)}
    if name(path).startswith('tests/'):
        allowed.add(PICKLE)  # they write hostile ones
    assert not [(rule, line) for rule, line in findings(path) if rule not in allowed]


def test_every_exception_is_needed():
    assert {(subject(path), rule) for path in SOURCES for rule, _ in findings(path)} >= set(EXCEPTIONS)


def test_reads_modules_and_notebooks():
    """A folder that moved, or a notebook that isn't read, would pass unseen."""
    kinds = [path.suffix for path in SOURCES]
    assert kinds.count('.py') > 150 and kinds.count('.ipynb') > 120
    assert BY_NAME in {rule for rule, _ in findings(ROOT / 'nbs/training/registry.ipynb')}
