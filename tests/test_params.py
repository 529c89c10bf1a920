"""Every experiment of every profile in params.yaml is one that can be run, long before somebody waits for it."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from avlib.datasets.base import PreparedData
from avlib.datasets.mixtures import MixtureSettings
from avlib.datasets.moving_pairs import MovingPairs
from avlib.training.experiment_setup import Experiment, initial_method
from avlib.training.registry import build_method, resolve
from avlib.training.settings import all_experiments, select_experiments
from avlib.training.trainer import TrainSettings

PARAMS = yaml.safe_load((Path(__file__).parent.parent / 'params.yaml').read_text())


def planned(paper: str) -> list[tuple[str, str]]:
    """The experiments of a paper that some profile runs: (profile, name)."""
    section = PARAMS[paper]
    chosen = {profile: settings['experiments'].get(paper, []) for profile, settings in PARAMS['profiles'].items()}
    return [(profile, name) for profile in chosen for name in select_experiments(section, chosen[profile])]


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(Path(__file__).parent)


def data_classes(settings) -> set[str]:
    """Names of all classes that make training data, anywhere in params.yaml."""
    if not isinstance(settings, dict):
        return set()
    own = {settings['data']} if isinstance(settings.get('data'), str) else set()
    return own.union(*map(data_classes, settings.values()))


@pytest.mark.parametrize('name', sorted(data_classes(PARAMS)))
def test_data_tells_all_that_experiments_ask_of_it(name):
    assert issubclass(resolve(name), PreparedData)


@pytest.mark.parametrize('profile, name', planned('mixit'))
def test_settings_are_complete_and_accepted(profile, name):
    settings = Experiment('mixit', name, profile).settings
    TrainSettings(**settings['train'])
    MixtureSettings(rate=PARAMS['prepare'][profile]['rate'], **settings['mixtures'])
    assert build_method(settings['method'], settings['settings']).settings.sources == 4
    assert 0 <= settings['unsupervised'] <= 1


@pytest.mark.parametrize('profile, name', planned('boot'))
def test_bootstrapping_settings_are_complete_and_accepted(profile, name):
    settings = Experiment('boot', name, profile).settings
    TrainSettings(**settings['train'])
    assert build_method(settings['method'], settings['settings']).settings.sources == 2
    assert (
        settings['labels'] in ('truth', 'estimates') and settings['alpha'] >= 0 and 0 < settings['scene_fraction'] <= 1
    )
    assert set(PARAMS['stereo'][profile]['scenes']) == {'train', 'valid', 'test', 'test-reverberant'}
    assert [PARAMS['stereo']['clustering'][key] for key in ('n_fft', 'hop')] == [
        settings['settings'][key] for key in ('n_fft', 'hop')
    ]


def test_bootstrapping_has_the_settings_of_the_paper():
    """Sections 3.1 and 3.2: 32 ms and 8 ms at 8 kHz, 400 frames, 100 epochs of 20,000 mixtures in batches of 40.

    Adam at 1e-3, halved after 5 epochs.
    """
    settings = Experiment('boot', 'dc-alpha1', 'paper').settings
    train = settings['train']
    assert (
        train['epochs'],
        train['steps_per_epoch'] * train['batch'],
        train['batch'],
        train['learning_rate'],
        train['patience'],
        settings['frames'],
    ) == (100, 20_000, 40, 1e-3, 5, 400)
    assert sum(p.numel() for p in build_method(settings['method'], settings['settings']).parameters()) == 8_691_735
    assert PARAMS['stereo']['paper']['scenes']['train'] == 20_000 and PARAMS['stereo']['paper']['rate'] == 8000


@pytest.mark.parametrize(
    'corpus, seconds, kernel',
    [
        ('wsj0-2mix-8k', 3, 20),
        ('wsj0-2mix-16k', 3, 40),
        ('libri2mix-8k', 10, 20),
        ('libri2mix-16k', 10, 40),
        ('librispeech', 10, 40),
    ],
)
def test_published_corpora_have_the_settings_of_the_paper(corpus, seconds, kernel):
    """Section 4 and appendix B: 200,000 steps of 256 mixtures of mixtures, Adam at 1e-3."""
    settings = Experiment('mixit', '2src-p100', 'paper', corpus).settings
    train, tdcn = settings['train'], settings['settings']['tdcn']
    assert (train['epochs'] * train['steps_per_epoch'], train['batch'], train['learning_rate']) == (200_000, 256, 1e-3)
    assert (settings['mixtures']['seconds'], tdcn['kernel'], tdcn['blocks'], tdcn['basis']) == (
        seconds,
        kernel,
        32,
        256,
    )
    assert settings['data'].endswith('MixturesOfMixtures' if corpus == 'librispeech' else 'MixturesOfPublished')


def test_the_sweep_is_that_of_figure_2():
    """Eight fractions, one or two sources, two domains, matched or mismatched supervision.

    Where nothing or everything is unsupervised, the kind of supervision does not matter.
    """
    swept = {
        json.dumps(settings, sort_keys=True)
        for name, settings in all_experiments(PARAMS['mixit']).items()
        if name[-5:-3] == '-p'
    }
    assert len(swept) == 2 * 2 * (8 + 6)


def test_the_root_pipeline_is_the_tiny_profile():
    pipeline = yaml.safe_load((Path(__file__).parent.parent / 'dvc.yaml').read_text())
    variables, tiny = pipeline['vars'][0], PARAMS['profiles']['tiny']
    assert variables['seeds'] == tiny['seeds']
    assert {paper: variables[f'{paper}_experiments'] for paper in tiny['experiments']} == tiny['experiments']


LABELLED = ('bimodal_init', 'bimodal', 'unconditional')


@pytest.mark.parametrize('paper, profile, name', [(paper, *run) for paper in LABELLED for run in planned(paper)])
def test_settings_of_separation_of_labelled_mixtures_are_complete_and_accepted(paper, profile, name):
    run = Experiment(paper, name, profile, 'music')
    settings, rate = run.settings, PARAMS['labelled'][profile]['rate']
    TrainSettings(**settings['train'])
    assert MixtureSettings(rate=rate, **settings['mixtures']).seconds <= PARAMS['labelled'][profile]['seconds']
    classes = {'classes': ('violin', 'drum')} if settings['settings'].get('classes') == 'corpus' else {}
    method = resolve(settings['method']).settings_class(**{**settings['settings'], **classes})
    assert getattr(method, 'rate', rate) == rate and 0 <= settings['supervised'] <= 1
    for start in run.init_from:
        section = {'init': 'bimodal_init', 'embedding': 'pairs'}[start.settings['stage']]
        assert (profile, start.name) in planned(section), f'{name} begins with weights that the profile does not train'


def examples(settings: dict) -> int:
    """The number of examples that a training sees."""
    train = settings['train']
    return train['epochs'] * train['steps_per_epoch'] * train['batch']


def test_methods_without_a_query_have_the_network_of_the_others_and_as_many_steps():
    for profile in ('tiny', 'small'):
        asked, start, unasked = (
            Experiment(paper, name, profile, 'music').settings
            for paper, name in (('bimodal', 'weak-3'), ('bimodal_init', 'start-3'), ('unconditional', 'mixit-3'))
        )
        assert {**unasked['settings']['unet'], 'condition': None} == {**asked['settings']['unet'], 'condition': None}
        assert examples(unasked) == examples(asked) + examples(start)


def test_queried_separation_has_the_settings_of_the_paper():
    """Section 4, appendices D and E, table 9: 50 epochs, Adam at 1e-3, a tenth after every 15; CLAP.

    Weights .1, 5, 10 and 5, 1; 65,535 samples at 11 kHz.
    """
    settings = Experiment('bimodal', 'weak-2', 'paper', 'music').settings
    train, method = settings['train'], resolve(settings['method']).settings_class(**settings['settings'])
    assert (train['epochs'], train['batch'], train['learning_rate'], train['schedule']) == (50, 32, 1e-3, 'drops')
    assert (method.alpha, method.beta, method.gamma, method.lambda_s, method.lambda_u, method.delta) == (
        0.1,
        5.0,
        10.0,
        5.0,
        1.0,
        0.0,
    )
    assert (
        round(method.rate * settings['mixtures']['seconds']) in range(65_530, 65_540)
        and method.embedding == {'name': 'laion-clap'}
        and method.unet == {}
    )


@pytest.mark.parametrize('profile, name', planned('slavc'))
def test_localization_settings_are_complete_and_accepted(profile, name):
    settings = Experiment('slavc', name, profile).settings
    TrainSettings(**settings['train'])
    method = resolve(settings['method']).settings_class(**settings['settings'])
    start = Experiment('shapes', 'shapes', profile).settings['settings']
    assert (
        method.object_guidance
        and settings['train']['checkpoint'] == 'last'
        and PARAMS['scenes'][profile]['max_labels'] + start['shapes'] == 21
    )
    if profile != 'paper':
        assert settings['settings']['visual'] == start['visual']
    if name == 'lvs':
        build_method(settings['method'], settings['settings'])  # which has conditions of its own


def test_localization_has_the_settings_of_the_paper():
    """Section 5.1: 144,000 pairs in batches of 128, 20 epochs, Adam at 1e-4 with weight decay 1e-4.

    3 s at 22,050 Hz, frames of 224 pixels.
    """
    settings = Experiment('slavc', 'slavc', 'paper').settings
    train, method = settings['train'], build_method(settings['method'], settings['settings']).settings
    assert (
        train['epochs'],
        train['steps_per_epoch'] * train['batch'],
        train['learning_rate'],
        train['weight_decay'],
    ) == (
        20,
        144_000,
        1e-4,
        1e-4,
    )
    assert (method.rate, method.visual_dropout, method.audio_dropout, method.momentum, method.dim, method.area) == (
        22050,
        0.9,
        0,
        0.999,
        512,
        0.5,
    ) and settings['augment']
    assert (
        PARAMS['scenes']['paper']['scene']['size'],
        PARAMS['scenes']['paper']['seconds'],
        PARAMS['scenes']['paper']['train'],
    ) == (224, 3.0, 144_000)


def test_the_papers_localizer_asks_for_the_weights_it_starts_from():
    with pytest.raises(ValueError, match='resnet18-f37072fd.pth: there is no such file; download'):
        initial_method(Experiment('slavc', 'slavc', 'paper'))


def fourteen_classes(settings: dict) -> dict:
    """Settings of a method for moving scenes in which as many classes sound as in ASIW."""
    return MovingPairs.adapt_settings(settings, SimpleNamespace(card={'labels': list(range(14))}))


@pytest.mark.parametrize('profile, name', planned('asmp'))
def test_settings_of_moving_scenes_are_complete_and_accepted(profile, name):
    settings = Experiment('asmp', name, profile).settings
    TrainSettings(**settings['train'])
    method = resolve(settings['method']).settings_class(**fourteen_classes(settings['settings']))
    start = Experiment('shapes', 'detector', profile).settings['settings']
    assert start['shapes'] == 21 and (profile == 'paper' or method.visual == start['visual'])
    assert (
        getattr(method, 'window_frames', 1)
        <= round(PARAMS['moving'][profile]['seconds'] * method.rate) // method.hop + 1
    )


def test_asmp_has_the_settings_of_the_paper():
    """Supplement, sections 5 and 8, and the released code: 11,025 Hz, STFT 1022/256, 65,535 samples, 256 rows.

    Windows of a second, λ = (1, 1, .5, .05), σ = 25 %.
    """
    settings = Experiment('asmp', 'asmp', 'paper').settings
    method = build_method(settings['method'], fourteen_classes(settings['settings'])).settings
    assert (
        method.rate,
        method.n_fft,
        method.hop,
        method.rows,
        method.classes,
        method.directions,
        method.percentile,
        tuple(method.weights.values()),
    ) == (11025, 1022, 256, 256, 14, 10, 25, (1.0, 1.0, 0.5, 0.05))
    assert (
        round(method.rate * PARAMS['moving']['paper']['seconds']) in range(65_530, 65_540)
        and settings['train']['epochs'] * settings['train']['steps_per_epoch'] == 30_000
        and settings['train']['batch'] == 10
    )
