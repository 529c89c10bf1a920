"""Models of strangers: nothing of a card runs, no network is built for nothing, and each defect is named."""

import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from avlib.training import weight_sizes
from avlib.training.cards import CheckpointError, card_settings, check_settings
from avlib.training.checkpoints import bundled_models, dequantize, load_model, save_model, trained_models
from avlib.training.experiment_setup import Experiment
from avlib.training.old_names import translate_tensors
from avlib.training.registry import build_method, method_class, name_of
from avlib.training.settings import select_experiments
from avlib.training.weight_sizes import network_sizes
from bad_inputs import cards
from workbench import ROOT, environment

METHODS = [
    'asmp:Asmp',
    'attention10k:Attention10k',
    'deep_clustering:DeepClustering',
    'lvs:Lvs',
    'mixit:MixIT',
    'pair_training:PairTraining',
    'queried_separation:QueriedSeparation',
    'shape_training:ShapeTraining',
    'slavc:Slavc',
    'sound_of_pixels:SoundOfPixels',
    'timbre:TimbreSeparation',
    'timbre:TimbreTraining',
    'unconditional_separation:UnconditionalSeparation',
]
PARAMS = yaml.safe_load((ROOT / 'params.yaml').read_text())
PAPERS = sorted(paper for paper in PARAMS if isinstance(PARAMS[paper], dict) and 'paper' in PARAMS[paper])
GIGABYTE = 2**20  # kilobytes, as the system counts memory


def model(folder: Path, **changes) -> Path:
    """Copy the smallest packaged model, with changed entries in its card."""
    shutil.copy(cards.PACKAGED / 'mixit-speech.safetensors', folder / 'm.safetensors')
    content = json.loads((cards.PACKAGED / 'mixit-speech.json').read_text())
    (folder / 'm.json').write_text(json.dumps({**content, **changes}))
    return folder / 'm.safetensors'


@pytest.mark.parametrize('case', cards.CASES, ids=lambda case: case.kind)
def test_names_the_file_and_the_fix_on_one_line(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r'm\.(json|safetensors): ') as caught:
        case.run()
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 500
    assert any(word in str(caught.value) for word in ('again', 'retrain', 'install', 'Split', 'save it'))


def test_a_card_imports_nothing_but_methods(tmp_path, monkeypatch):
    """Neither a module on the path, nor one of avlib outside of its methods, nor one beside the weights."""
    for folder in (tmp_path, tmp_path / 'avlib_methods'):
        folder.mkdir(exist_ok=True)
        (folder / 'evil.py').write_text('raise SystemExit("ran")\n')
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    names = ['evil:Evil', 'avlib_methods.evil:Evil', 'avlib.methods.evil:Evil', 'avlib.methods...evil:Evil']
    names += [
        'avlib.apps.calibrate:main',
        'avlib.methods.mixit:torch',
        'avlib.methods.__init__:Evil',
        'avlib.methods.:A',
    ]
    for name in names:
        with pytest.raises(CheckpointError, match='m.json: .*(not the name of a method|not in this version)'):
            load_model(model(tmp_path, method=name))
    assert {name for name in set(sys.modules) - before if not name.startswith('avlib.methods')} == set()


def test_no_network_is_built_that_does_not_fit(tmp_path, monkeypatch):
    """A method is built on the meta device, where it has no memory, and never again."""
    monkeypatch.chdir(tmp_path)
    devices = []
    build = torch.nn.Module.__init__

    def record(module, *args, **kwargs):
        devices.append(torch.get_default_device().type)
        build(module, *args, **kwargs)

    monkeypatch.setattr(torch.nn.Module, '__init__', record)
    for key, value in {'blocks': 60_000, 'hidden': 65_536, 'kernel': 2, 'basis': 4, 'bottleneck': 1}.items():
        with pytest.raises(CheckpointError, match='do not fit the settings in m.json'):
            cards.entry(f'settings.tdcn.{key}', value)
    assert set(devices) == {'meta'} and len(devices) < 5000
    devices.clear()
    load_model('mixit-speech')
    assert devices.count('cpu') == devices.count('meta') > 0


def test_huge_cards_cost_little_memory(tmp_path):
    """All cards that ask for much, in one process."""
    program = """
import resource
from bad_inputs import cards
words = ('billion', '10', '60,000', '100,000', 'megabyte', 'larger', 'gigahertz')
asked = [case for case in cards.CASES if any(word in case.kind for word in words)]
for case in asked:
    try: case.run()
    except ValueError: continue
    raise SystemExit(f'{case.kind} is not refused')
print(len(asked), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    paths = {'PYTHONPATH': f'{ROOT}:{ROOT / "tests"}'}
    ran = subprocess.run(
        [sys.executable, '-c', program],
        cwd=tmp_path,
        env={**environment(ROOT), **paths},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    count, kilobytes = map(int, ran.stdout.split())
    assert count >= 10 and kilobytes < 1.5 * GIGABYTE


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
KEYS = [('rate',), ('sha256',), ('method',), ('settings',), ('prepared',), ('presence',), ('training',)]
KEYS += [('settings', key) for key in ('sources', 'snr_max', 'search', 'consistency', 'tdcn', 'evil')]
KEYS += [
    ('settings', 'tdcn', key)
    for key in ('basis', 'kernel', 'hidden', 'blocks', 'cycle', 'start', 'norm', 'prelu_init', 'evil')
]
KEYS += [('prepared', key) for key in ('seconds', 'size', 'crop', 'labels', 'stereo')]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(KEYS), VALUES)
@example(('settings', 'tdcn', 'cycle'), 10**9)
@example(('settings', 'tdcn', 'cycle'), 0)
@example(('settings',), {'tdcn': [[]]})
def test_any_value_loads_or_is_an_error_that_names_the_card(tmp_path, key, value):
    path = model(tmp_path)
    content = json.loads(path.with_suffix('.json').read_text())
    place = content
    for group in key[:-1]:
        place = place[group]
    place[key[-1]] = value
    path.with_suffix('.json').write_text(json.dumps(content))
    try:
        method, _ = load_model(path)
    except CheckpointError as error:
        assert 'm.json' in str(error) and '\n' not in str(error)
    else:
        assert method.separate(torch.zeros(1, 100)).shape == (1, 4, 100)


@pytest.mark.parametrize('name', bundled_models())
def test_packaged_models_have_the_numbers_of_their_files(name):
    """Checks change no weight: each is what the file has, with the steps of its rows."""
    method, card = load_model(name)
    expected = translate_tensors(card['method'], dequantize(load_file(bundled_models()[name])))
    state = method.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], tensor.to(state[key].dtype)) for key, tensor in expected.items())


def test_checks_draw_no_random_number():
    """A loaded model leaves the generator as building it leaves it."""
    card = load_model('music-queries')[1]
    torch.manual_seed(0)
    build_method(card['method'], card['settings'])
    state = torch.get_rng_state()
    torch.manual_seed(0)
    load_model('music-queries')
    assert torch.equal(torch.get_rng_state(), state)


def default_settings(cls):
    return cls.settings_class(**({'classes': ('a', 'b')} if cls.__module__.endswith('timbre') else {}))


def test_all_methods_are_listed_here():
    """Those that a card may name: classes of avlib.methods with a loss and settings."""
    names = set()
    for path in (ROOT / 'avlib/methods').glob('*.py'):
        for line in path.read_text().splitlines():
            name = line.removeprefix('class ').partition('(')[0]
            try:
                names.add(name_of(method_class(f'avlib.methods.{path.stem}:{name}')))
            except ValueError:
                continue
    assert names == {f'avlib.methods.{name}' for name in METHODS}


@pytest.mark.parametrize('name', METHODS)
def test_sizes_are_those_of_the_network(name, monkeypatch):
    """On the meta device, a method has the tensors that it has in memory, and PyTorch's compiler is not imported."""
    cls = method_class(f'avlib.methods.{name}')
    own = default_settings(cls)
    monkeypatch.setitem(sys.modules, 'torch._dynamo', None)  # an import would raise ImportError
    sizes = network_sizes(cls, own, 10**4)
    monkeypatch.undo()
    state = cls(own).state_dict()
    assert {key: (size.dtype, size.shape) for key, size in sizes.items()} == {
        key: ('F32' if tensor.is_floating_point() else 'I64', tuple(tensor.shape)) for key, tensor in state.items()
    }


@pytest.mark.parametrize('name', METHODS)
def test_what_is_saved_can_be_loaded(name, tmp_path, monkeypatch):
    """A method's own settings, as its card has them, pass the checks of cards."""
    cls = method_class(f'avlib.methods.{name}')
    own = json.loads(json.dumps(asdict(default_settings(cls))))
    card = {'method': name_of(cls), 'settings': own, 'rate': 8000}
    assert card_settings(card)[1] == cls.settings_class(**own)
    if name in ('mixit:MixIT', 'deep_clustering:DeepClustering'):
        method = cls(default_settings(cls))  # which may name more of them, such as those of its network
        save_model(tmp_path / 'm.safetensors', method, {'rate': 8000})
        assert load_model(tmp_path / 'm.safetensors')[0].settings == method.settings


@pytest.mark.parametrize('paper', PAPERS)
def test_every_experiment_has_settings_that_a_card_may_have(paper, monkeypatch):
    monkeypatch.chdir(ROOT)
    for profile, chosen in PARAMS['profiles'].items():
        for name in select_experiments(PARAMS[paper], chosen['experiments'].get(paper, [])):
            experiment = Experiment(paper, name, profile).settings
            own = {key: value for key, value in experiment['settings'].items() if value != 'corpus'}
            cls = method_class(experiment['method'])
            check_settings('settings', json.loads(json.dumps(own)), cls.settings_class)


def test_hidden_files_are_no_models(tmp_path, monkeypatch):
    """Such as other systems leave beside the real ones: `._x.safetensors`."""
    (tmp_path / 'weights').mkdir()
    for name in ('a.safetensors', '._a.safetensors'):
        (tmp_path / 'weights' / name).touch()
    monkeypatch.setattr('avlib.__file__', str(tmp_path / '__init__.py'))
    assert set(bundled_models()) == {'a'}
    for folder in ('speech/tiny/train/a-0', 'speech/tiny/train/._a-0', '.trash/tiny/train/a-0', 'speech/.x/train/a-0'):
        (tmp_path / 'runs' / folder).mkdir(parents=True)
        (tmp_path / 'runs' / folder / 'model.safetensors').touch()
    assert set(trained_models(tmp_path / 'runs')) == {'a-0', 'speech/tiny/a-0'}


def test_a_large_table_is_not_built(monkeypatch):
    """Mel filters are not in the file, so their size has a limit of its own."""
    cls = method_class('avlib.methods.queried_separation:QueriedSeparation')
    own = cls.settings_class(embedding={'n_fft': 65_536, 'mels': 1024})
    with pytest.raises(ValueError, match='a table "mel" of the shape .32769, 1024.'):
        network_sizes(cls, own, 10**4)
    monkeypatch.setattr(weight_sizes, 'LARGEST_BUFFER', 2**26)
    assert network_sizes(cls, own, 10**4)
