"""Separation by a text as its paper has it: settings of the paper's profile, queries without attention, the teacher."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from avlib.datasets.caption_pairs import CaptionedClips, prepare_labelled_corpus
from avlib.methods.queried_separation import QueriedSeparation, QueriedSettings
from avlib.synthesis.music import write_music_corpus
from avlib.training.checkpoints import load_model
from avlib.training.experiment_setup import Experiment
from avlib.training.settings import all_experiments, read_params, select_experiments

ROOT = Path(__file__).parent.parent
PARAMS = read_params(ROOT)


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def names(section: str, profile: str) -> list[str]:
    return select_experiments(PARAMS[section], PARAMS['profiles'][profile]['experiments'][section])


def test_the_paper_keeps_pairs_of_one_name_and_the_smaller_profiles_mask_them():
    """Eq. 3 sums over all sounds of the batch, whatever their names."""
    assert QueriedSettings().duplicates == 'keep'
    chosen = {
        profile: QueriedSettings(**Experiment('bimodal', 'weak-2', profile, 'music').settings['settings']).duplicates
        for profile in ('paper', 'smoke', 'tiny', 'small')
    }
    assert chosen == {'paper': 'keep', 'smoke': 'mask', 'tiny': 'mask', 'small': 'mask'}


@pytest.mark.parametrize('section', ['bimodal', 'bimodal_init', 'unconditional'])
@pytest.mark.parametrize('corpus, batch, samples', [('music', 32, 65_535), ('vggsound', 64, 110_000)])
def test_batches_and_lengths_are_those_of_appendices_d_and_e(section, corpus, batch, samples):
    """MUSIC: 32 examples of 65,535 samples; VGGSound and AudioCaps: 64 of 110,000."""
    own = [corpus, 'audiocaps'] if corpus == 'vggsound' else [corpus]
    for name, other in ((name, other) for name in names(section, 'paper') for other in own):
        settings = Experiment(section, name, 'paper', other).settings
        length = settings['mixtures']['seconds'] * PARAMS['labelled']['paper']['rate']
        assert settings['train']['batch'] == batch and length == pytest.approx(samples, abs=5)
    small = Experiment(section, names(section, 'small')[0], 'small', corpus).settings
    assert small['train']['batch'] == 8 and small['mixtures']['seconds'] == 2.0


def test_the_paper_trains_from_random_weights():
    """Only a classifier that the paper calls pretrained is trained before."""
    starts = {name: Experiment('bimodal', name, 'paper', 'music').init_from for name in names('bimodal', 'paper')}
    assert {name: [start.name for start in own] for name, own in starts.items() if own} == {
        'weak-3-timbre': ['timbre-3']
    }
    assert names('bimodal_init', 'paper') == ['timbre-3']
    small = [start.name for start in Experiment('bimodal', 'weak-3-timbre', 'small', 'music').init_from]
    assert small == ['start-3', 'timbre-3']


def test_the_paper_runs_no_experiment_twice():
    """What differs from weak-3 in its start or decoder alone equals it there."""
    runs = {
        name: json.dumps(Experiment('bimodal', name, 'paper', 'music').settings, sort_keys=True)
        for name in names('bimodal', 'paper')
    }
    assert len(set(runs.values())) == len(runs)
    settings = [Experiment('bimodal', name, 'paper', 'music').settings for name in ('weak-3', 'weak-3-afresh')]
    assert {**settings[0], 'init_from': []} == {**settings[1], 'init_from': []}


def tiny_network(**unet) -> QueriedSeparation:
    """An untrained separator in the sizes of the smallest profile."""
    torch.manual_seed(0)
    settings = Experiment('bimodal', 'weak-3', 'smoke', 'music').settings['settings']
    return QueriedSeparation(QueriedSettings(**{**settings, 'unet': {**settings['unet'], **unet}})).eval()


@pytest.mark.parametrize('name', [name for name in all_experiments(PARAMS['bimodal']) if name.startswith('weak-3-r')])
def test_every_row_of_table_7_hears_its_query(name):
    """Without cross-attention a query enters by an inner product with the feature maps, as in the released code."""
    unet = all_experiments(PARAMS['bimodal'])[name]['settings']['unet']
    assert (unet.get('output') == 'product') == (unet['cross_attention'] == 0)
    mixture = torch.from_numpy(np.random.default_rng(0).standard_normal(4000)).float()
    with torch.inference_mode():
        violin, drum = tiny_network(**unet).separate(mixture, ['The sound of violin', 'The sound of drum'])
    assert (violin - drum).abs().max() > 1e-4 * violin.abs().max()


def test_an_inner_product_separates_by_name_after_training():
    """A tone and clicks: a network without attention learns which of them a name asks for."""
    unet = {'res_blocks': 0, 'self_attention': 0, 'cross_attention': 0, 'output': 'product'}
    method, rng = tiny_network(**unet).train(), np.random.default_rng(0)
    optimizer = torch.optim.Adam(method.network.parameters(), 0.02)
    texts = ['The sound of violin', 'The sound of drum']
    for _ in range(60):
        sounds = tone_and_clicks(rng)
        loss = (method.separate(sounds.sum(0), texts) - sounds).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    sounds = tone_and_clicks(rng)
    with torch.inference_mode():
        estimates = method.eval().separate(sounds.sum(0), texts)
    energy = (estimates @ sounds.mT).square()
    assert energy[0, 0] > 4 * energy[0, 1] and energy[1, 1] > 4 * energy[1, 0]


def tone_and_clicks(rng: np.random.Generator, length: int = 8192) -> torch.Tensor:
    """A steady tone of a random pitch, and clicks at random times, of one energy, [2, length]."""
    tone = np.sin(2 * np.pi * rng.uniform(0.02, 0.4) * np.arange(length))
    clicks = np.zeros(length)
    clicks[rng.choice(length, 8, replace=False)] = 1.0
    sounds = np.stack([tone, clicks])
    return torch.from_numpy(sounds / np.linalg.norm(sounds, axis=1, keepdims=True) * 10).float()


def test_one_embedding_is_taught_by_mixtures_alone(tmp_path):
    """In `small` only: its pairs hold two or three sounds, and weak supervision and its baseline use it."""
    taught, usual = (Experiment('pairs', name, 'small', 'music') for name in ('small-from-mixtures', 'small'))
    assert (
        taught.settings['mixtures']['single_source_fraction']
        == 0
        < usual.settings['mixtures']['single_source_fraction']
    )
    for name in ('weak-3-from-mixtures', 'mas-3-from-mixtures'):
        [start] = Experiment('bimodal', name, 'small', 'music').init_from
        assert start.init_from == [taught]
        assert name in names('bimodal', 'small') and start.name in names('bimodal_init', 'small')
        others = [profile for profile in ('smoke', 'tiny', 'replicates', 'paper') if name in names('bimodal', profile)]
        assert not others
    assert [names('pairs', profile) for profile in ('smoke', 'tiny', 'paper')] == [['small']] * 3
    assert set(names('pairs', 'small')) == {'small', 'small-from-mixtures'}
    settings = {'rate': 8000, 'seconds': 0.5, 'valid': 2, 'test': 2, 'seed': 0, 'pair_fraction': 0.5}
    music = write_music_corpus(tmp_path / 'music', 8000, phrases_per_instrument=6, seed=0, seconds=0.5)
    prepared = prepare_labelled_corpus(tmp_path / 'prepared', 'music', settings, music)
    mixtures = {'mixtures': {**taught.settings['mixtures'], 'seconds': 0.5}}
    pairs = CaptionedClips.from_settings(prepared, mixtures, size=40, seed=0)
    counts = {bytes(pairs[i]['label'].tolist()).rstrip(b'\0').count(b',') + 1 for i in range(40)}
    assert counts == {2, 3}


def test_the_packaged_model_has_all_of_its_weights_and_no_others():
    """Every weight of its network comes from its file, which knows no others."""
    method, card = load_model('music-queries')
    assert method.settings.duplicates == card['settings']['duplicates'] == 'mask'
    packed = load_file(ROOT / 'avlib/weights/music-queries.safetensors')
    assert {name for name, _ in method.named_parameters()} <= set(packed)
