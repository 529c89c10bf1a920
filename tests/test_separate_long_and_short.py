"""`separate` at any rate and length: sources add up over the whole band; short files and pauses cost nothing."""

import numpy as np
import pytest
import torch

from avlib.apps import separate as separate_chapter
from avlib.apps.separate import band_note, separate_file, separate_window
from avlib.apps.separate_query import separate_by_query
from avlib.dsp.assignment import best_assignment
from avlib.dsp.full_band import top_octave
from avlib.dsp.resample import resample
from avlib.io.audio import read_audio, write_audio
from avlib.methods.base import Separator
from avlib.metrics.si_snr import si_snr
from avlib.synthesis.speech import speak, voices
from avlib.training.checkpoints import load_model

MODEL = 'mixit-speech'
RATES = (44100, 48000, 22050, 16000, 11025, 8000, 6000, 96000)


def noise(seconds: float, rate: int, channels: int = 1, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(channels, round(seconds * rate), generator=torch.manual_seed(seed))


def decibels(signal: torch.Tensor, reference: torch.Tensor) -> float:
    return (10 * torch.log10(signal.double().square().sum() / reference.double().square().sum() + 1e-20)).item()


def separated(folder, recording: torch.Tensor, rate: int, name='mix', **options) -> torch.Tensor:
    """The files of `separate`, read back as `[channel, source, time]`."""
    path = write_audio(folder / f'{name}.wav', recording, rate)
    options = {'progress': False, 'overwrite': True, **options}
    paths = separate_file(path, options.pop('model', MODEL), folder / 'out', **options)
    return torch.stack([read_audio(path)[0] for path in paths], 1)


class TwoSettings:
    sources = 2


class TwoBands(Separator):
    """Splits by a short filter that depends on nothing but its neighbourhood; both sources reach the highest octave."""

    def separate(self, mixture):
        smooth = torch.nn.functional.avg_pool1d(mixture.reshape(-1, 1, mixture.shape[-1]), 3, 1, 1).view_as(mixture)
        return torch.stack([0.7 * smooth, mixture - 0.7 * smooth], -2)


class Scaled(TwoBands):
    """Does not add up to the mixture."""

    def separate(self, mixture):
        return 0.5 * super().separate(mixture)


@pytest.fixture
def local_model(monkeypatch):
    methods = {'local': TwoBands(TwoSettings()), 'scaled': Scaled(TwoSettings())}
    monkeypatch.setattr(separate_chapter, 'load_model', lambda name, runs: (methods[name], {'rate': 8000}))


@pytest.mark.parametrize('rate', RATES)
def test_sources_add_up_over_the_whole_band(tmp_path, rate):
    recording = noise(1.3, rate, channels=2)
    error = recording - separated(tmp_path, recording, rate).sum(1)
    assert decibels(error, recording) < -100
    for part in (error[..., :2000], error[..., -2000:]):
        assert decibels(part, recording[..., :2000]) < -100
    if rate > 12000:
        assert decibels(top_octave(error), top_octave(recording)) < -100


@pytest.mark.parametrize('rate', [44100, 48000, 11025])
def test_sources_of_a_long_file_add_up(tmp_path, local_model, rate):
    recording = noise(15.3, rate) * (1 + torch.arange(round(15.3 * rate)) / rate).sin()
    assert decibels(recording - separated(tmp_path, recording, rate, model='local').sum(1), recording) < -100


def test_a_long_file_is_separated_as_in_one_piece(tmp_path, local_model):
    """Windows are cut at places that are no whole number of samples at the model's rate."""
    rate, seconds = 44100, 15.37
    recording = noise(seconds, rate, seed=2) * (1.5 + (torch.arange(round(seconds * rate)) / rate * 9).sin())
    whole = separate_window(TwoBands(None).separate_channels, recording, rate, 8000)
    files = separated(tmp_path, recording, rate, model='local')
    order = [0, 1] if decibels(files - whole, whole) < -20 else [1, 0]
    inside = slice(rate // 10, -rate // 10)
    assert decibels((files[:, order] - whole)[..., inside], whole[..., inside]) < -50
    starts = [round(second * rate) for second in (6, 7.37, 8, 14)]
    away = torch.ones(recording.shape[-1], dtype=torch.bool)
    for start in starts:
        away[start - 3000 : start + 3000] = False
    assert decibels((files[:, order] - whole)[..., away][..., 3000:-3000], whole) < -80


def test_a_model_that_does_not_add_up_keeps_what_it_lacks(tmp_path, local_model):
    rate = 44100
    recording = noise(2, rate)
    total = separated(tmp_path, recording, rate, model='scaled').sum(1)
    low, low_total = (resample(each, rate, 6000)[..., 300:-300] for each in (recording, total))
    high, high_total = (top_octave(each) for each in (recording, total))
    assert decibels(low_total - 0.5 * low, low) < -60
    assert decibels(high_total - high, high) < -60


@pytest.mark.parametrize('rate', [16000, 44100])
def test_the_highest_octave_leads_what_lies_above(tmp_path, rate):
    """A hiss that stops goes to one source, also above the model's band; in silence nothing is invented."""
    method = TwoTurns(TwoSettings())
    recording = noise(3, rate)
    recording[:, 2 * rate :] = 0
    first, second = separate_window(method.separate_channels, recording, rate, 8000)[0]
    turn, margin = rate, rate // 10
    assert decibels(first[: turn - margin] - recording[0, : turn - margin], recording[0, :turn]) < -25
    assert decibels(second[turn + margin : 2 * rate], recording[0, turn : 2 * rate]) > -1
    assert first[2 * rate + margin :].abs().max() < 1e-6 and second[2 * rate + margin :].abs().max() < 1e-6


class TwoTurns(Separator):
    """The first source has the first second, the second source all that follows."""

    def separate(self, mixture):
        early = (torch.arange(mixture.shape[-1]) < 8000).float()
        return torch.stack([mixture * early, mixture * (1 - early)], -2)


def test_the_models_band_only(tmp_path):
    recording = noise(1.5, 44100)
    dull = separated(tmp_path, recording, 44100, band='model')
    assert decibels(top_octave(dull), top_octave(recording)) < -60
    assert decibels(recording - dull.sum(1), recording) > -2
    low = noise(1.5, 8000)
    assert torch.equal(separated(tmp_path, low, 8000), separated(tmp_path, low, 8000, band='model'))


def test_what_was_done_is_said_once(tmp_path, local_model, capsys):
    for rate, band, words in (
        (44100, 'full', 'the energy from 2000 to 4000 Hz'),
        (22050, 'model', 'nothing above is in the files'),
        (8000, 'full', ''),
        (6000, 'full', ''),
    ):
        separated(tmp_path, noise(17, rate), rate, model='local', progress=True, band=band)
        printed = capsys.readouterr().err
        assert printed.count('the model separates what lies below 4000 Hz') == bool(words) and words in printed
    with pytest.raises(ValueError, match='--band: got "half"; expected full or model'):
        band_note(8000, 8000, 'half')


@pytest.mark.parametrize('rate', [44100, 16000])
def test_answers_to_queries_take_their_share_and_add_up_with_the_rest(tmp_path, rate):
    recording = noise(2, rate, channels=2)
    path = write_audio(tmp_path / 'song.wav', recording, rate)
    options = {'rest': True, 'progress': False}
    paths, _ = separate_by_query(path, 'music-queries', tmp_path / 'full', ['violin', 'a flute'], **options)
    signals = torch.stack([read_audio(each)[0] for each in paths])
    assert decibels(signals.sum(0) - recording, recording) < -100
    paths, _ = separate_by_query(path, 'music-queries', tmp_path / 'model', ['violin'], **options, band='model')
    dull = read_audio(paths[0])[0]
    assert decibels(resample(dull - signals[0], rate, 7000), resample(signals[0], rate, 7000)) < -50
    assert decibels(top_octave(signals[0]), top_octave(dull)) > 20


@pytest.mark.parametrize(('seconds', 'rate'), [(0.01, 8000), (1.5, 8000), (3.0, 44100), (7.9, 8000), (8.0, 8000)])
def test_a_short_file_is_separated_as_it_is(tmp_path, seconds, rate):
    """Bit by bit what the model returns for the whole, by blocks from a file or at once."""
    method, card = load_model(MODEL)
    recording = noise(seconds, rate)
    with torch.inference_mode():
        expected = separate_window(method.separate_channels, recording, rate, card['rate'])
    expected = expected[:, expected.double().square().sum((0, 2)).argsort(descending=True)]
    estimates = separated(tmp_path, recording, rate)
    assert torch.equal(estimates, expected)
    assert torch.equal(separated(tmp_path, recording, rate), estimates)


@pytest.fixture(scope='module')
def talk() -> torch.Tensor:
    """Two voices, `[voice, time]` at 8 kHz, some 4 s without long pauses."""
    sentences = ('seven brown foxes ran over the hill again', 'we would rather have a cup of tea at five')
    spoken = [speak(sentence, voices()[i], 8000) for sentence, i in zip(sentences, (3, 40), strict=True)]
    length = min(map(len, spoken))
    both = torch.stack([voice[:length] for voice in spoken])
    return 0.05 * both / both.square().mean(-1, keepdim=True).sqrt()


def mean_gain(estimates: torch.Tensor, references: torch.Tensor) -> float:
    """Mean SI-SNR improvement in dB of the best estimates `[source, time]` over the mixture."""
    scores = torch.stack([si_snr(each.expand_as(estimates), estimates) for each in references])
    best = scores.gather(1, best_assignment(scores)[:, None])[:, 0]
    mixture = references.sum(0)
    return (best - si_snr(references, mixture.expand_as(references))).mean().item()


@pytest.mark.parametrize(
    ('before', 'after', 'floor'),
    [(0, 6, 0), (3, 3, 0), (6, 0, 0), (5, 5, 1e-4), (9, 0, 0), (0, 13, 1e-5), (12, 9, 1e-4)],
)
@pytest.mark.parametrize('model', [MODEL, 'mixit-speech-long'])
def test_silence_and_position_cost_nothing(tmp_path, talk, model, before, after, floor):
    """Digital silence or faint noise around two voices, in the first, a middle or the last window."""
    alone = separated(tmp_path, talk.sum(0, keepdim=True), 8000, model=model)[0]
    padded = torch.nn.functional.pad(talk, (before * 8000, after * 8000))
    hiss = floor * torch.randn(padded.shape[-1], generator=torch.manual_seed(0))
    estimates = separated(tmp_path, padded.sum(0, keepdim=True) + hiss, 8000, model=model)[0]
    place = slice(before * 8000, before * 8000 + talk.shape[-1])
    assert mean_gain(estimates[:, place], talk) > mean_gain(alone, talk) - 0.7
    assert decibels(estimates.sum(0) - padded.sum(0) - hiss, padded.sum(0)) < -100


def test_long_pauses_within_talk_cost_nothing(tmp_path, talk):
    references = torch.cat([talk, torch.zeros(2, 3 * 8000), talk], -1)
    estimates = separated(tmp_path, references.sum(0, keepdim=True), 8000, model='mixit-speech-long')[0]
    alone = separated(tmp_path, talk.sum(0, keepdim=True), 8000, model='mixit-speech-long')[0]
    assert mean_gain(estimates, references) > mean_gain(alone, talk) - 0.7


def test_the_level_of_a_file_changes_the_level_of_its_sources(tmp_path):
    recording = noise(2, 22050, channels=2)
    loud, faint = (separated(tmp_path, gain * recording, 22050) for gain in (1, 2**-7))
    assert decibels(2**7 * faint - loud, loud) < -60


def test_quiet_parts_are_separated_too(tmp_path, talk):
    """A faint conversation 50 dB below an earlier one is not given away in equal shares."""
    faint = 10 ** (-50 / 20)
    references = torch.cat([talk, torch.zeros(2, 8000), faint * talk.flip(0)], -1)
    estimates = separated(tmp_path, references.sum(0, keepdim=True), 8000, model='mixit-speech-long')[0]
    late = slice(talk.shape[-1] + 8000, None)
    alone = separated(tmp_path, talk.sum(0, keepdim=True), 8000, model='mixit-speech-long')[0]
    assert mean_gain(estimates[:, late], references[:, late]) > mean_gain(alone, talk) - 1
    assert np.isfinite(mean_gain(estimates, references))
