"""Details of MixIT that the paper and its authors' code fix: the layers of the network and how they start, old models,
the oracle assignment, and the settings of the profiles."""

import json
from pathlib import Path

import pytest
import torch

from avlib.methods.mixit import MixIT, MixITSettings
from avlib.metrics.si_snr import mixit_improvement, si_snr_improvement
from avlib.models.layers import ScaledDense
from avlib.models.tdcn import TDCN
from avlib.training.checkpoints import load_model, save_model
from avlib.training.evaluator import evaluate
from avlib.training.experiment_setup import Experiment
from avlib.training.old_names import translate_card
from avlib.training.settings import all_experiments, read_params, select_experiments

PARAMS = read_params()
SIZES = {'basis': 32, 'kernel': 16, 'bottleneck': 8, 'hidden': 12, 'blocks': 4, 'cycle': 2}
EARLIER = {'norm': 'channel', 'scales': 'blocks', 'weight_init': 'pytorch', 'prelu_init': 0.25}
CARD = {'rate': 8000, 'corpus': 'speech', 'versions': {}, 'commit': 'unknown'}


def parameters(network) -> dict[str, torch.Tensor]:
    return dict(network.named_parameters())


# The network


def test_a_norm_has_one_scale_and_one_bias():
    """Appendix A: "trainable scalar bias and scale parameters"."""
    network = TDCN(4, **SIZES)
    for block in network.separator.blocks:
        for norm in (block[2], block[5]):
            assert norm.weight.numel() == norm.bias.numel() == 1
    x = torch.randn(2, 12, 50)
    plain = torch.nn.functional.instance_norm(x)
    norm = network.separator.blocks[0][2]
    with torch.no_grad():
        norm.weight.fill_(3), norm.bias.fill_(0.5)
    assert torch.allclose(norm(x), 3 * plain + 0.5, atol=1e-5)


@pytest.mark.parametrize(
    'scales, scaled',
    [
        ('all', {'first_bottleneck', 'separator.skips.0-2', 'final_bottleneck', 'mask'}),
        ('released', {'first_bottleneck', 'separator.skips.0-2'}),
        ('blocks', set()),
    ],
)
def test_a_scale_follows_each_dense_layer(scales, scaled):
    """Appendix A: after each dense layer stage; 0.9^i at the end of block i, else 1."""
    weights = parameters(TDCN(4, **SIZES, scales=scales))
    starts = {name.removesuffix('.scale'): weight.item() for name, weight in weights.items() if name.endswith('.scale')}
    ends = {f'separator.blocks.{i}.6': 0.9**i for i in range(4)}
    expected = dict.fromkeys({*scaled, *(f'separator.blocks.{i}.0' for i in range(4))}, 1.0) | ends
    assert starts == pytest.approx(expected)


def test_skips_come_from_outputs_or_as_released_from_inputs():
    torch.manual_seed(0)
    network, x = TDCN(4, **SIZES, basis_init='fourier'), torch.randn(1, 400)
    stack, seen = network.separator, []
    stack.skips['0-2'].register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0]))
    ends = []
    stack.blocks[0].register_forward_hook(lambda layer, inputs, output: ends.append((inputs[0], inputs[0] + output)))
    for choice in ('output', 'input'):
        stack.skip_from = choice
        network(x)
    assert torch.equal(seen[0], ends[0][1]) and torch.equal(seen[1], ends[1][0])


def test_weights_start_by_glorot_and_prelus_at_a_tenth():
    torch.manual_seed(0)
    network = TDCN(4, basis=64, kernel=16, bottleneck=32, hidden=48, blocks=4, cycle=2)
    weights = parameters(network)
    for name, connections in (
        ('encoder', 16 + 64),
        ('decoder', 16 + 64),
        ('first_bottleneck', 64 + 32),
        ('separator.blocks.0.0', 32 + 48),
        ('separator.blocks.0.3', 3 + 3 * 48),
        ('mask', 32 + 4 * 64),
    ):
        limit = (6 / connections) ** 0.5
        assert 0.9 * limit < weights[f'{name}.weight'].abs().max() <= limit, name
    assert not any(weight.any() for name, weight in weights.items() if name.endswith('.bias'))
    assert weights['separator.blocks.0.1.weight'].item() == pytest.approx(0.1)


def test_the_earlier_network_is_the_same_to_the_bit():
    """Its layers are drawn in the same order from the same seed: sums of weights as they were before the options."""
    torch.manual_seed(0)
    weights = parameters(TDCN(4, **SIZES, basis_init='fourier', **EARLIER))
    torch.manual_seed(0)
    first = torch.nn.Conv1d(1, 32, 16, stride=8, bias=False), torch.nn.Conv1d(32, 8, 1), ScaledDense(8, 12)
    assert torch.equal(weights['first_bottleneck.weight'], first[1].weight)
    assert torch.equal(weights['separator.blocks.0.0.weight'], first[2].weight)
    assert weights['separator.blocks.0.1.weight'].item() == 0.25 and 'mask.scale' not in weights


# Stored models


@pytest.mark.parametrize('name', ['mixit-speech', 'mixit-speech-long'])
def test_packaged_weights_keep_their_network(name):
    method, _ = load_model(name)
    assert {key: method.settings.tdcn[key] for key in EARLIER} == EARLIER
    old = json.loads((Path('avlib/weights') / f'{name}.json').read_text())
    assert 'norm' not in old['settings']['tdcn'] and method.network.separator.blocks[0][2].weight.numel() > 1
    mixture = torch.sin(torch.arange(4000) ** 1.3 / 7) * torch.linspace(0, 1, 4000)
    with torch.no_grad():
        outputs = method.separate(mixture)
    assert (outputs.sum(0) - mixture).abs().max() < 1e-5 and outputs.std(-1).max() > 0.1


def test_a_stored_model_names_the_defaults_of_its_network(tmp_path):
    """Else a model with today's defaults would be taken for an old one."""
    torch.manual_seed(0)
    method = MixIT(MixITSettings(tdcn=SIZES)).eval()
    loaded, card = load_model(save_model(tmp_path / 'model.safetensors', method, CARD))
    assert card['settings']['tdcn']['norm'] == 'scalar' and set(EARLIER) < set(card['settings']['tdcn'])
    x = torch.randn(1000)
    with torch.no_grad():
        assert torch.equal(method.separate(x), loaded.separate(x))


def test_old_cards_get_the_settings_that_came_later():
    old = {'method': 'avlib.methods.mixit:MixIT', 'settings': {'tdcn': {'start': 'fourier', 'scales': 'all'}}}
    tdcn = translate_card(old)['settings']['tdcn']
    assert tdcn['norm'] == 'channel' and tdcn['scales'] == 'all' and tdcn['prelu_init'] == 0.25


# The oracle assignment


class Fixed(torch.nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def separate(self, mixture):
        return self.outputs


def scores(sources, outputs, **example) -> dict:
    (row,) = evaluate(Fixed(outputs), [{'id': 'a', 'sources': sources, **example}], progress=False)
    return row


def test_over_separation_is_told_from_poor_separation():
    sources = torch.randn(2, 8000, generator=torch.manual_seed(0))
    halves = torch.rand(8000, generator=torch.manual_seed(1)) < 0.5
    split = scores(sources, torch.stack([sources[0] * halves, sources[0] * ~halves, sources[1], 0 * sources[1]]))
    poor = scores(sources, torch.cat([sources + 0.5 * sources.flip(0), torch.zeros(2, 8000)]))
    assert split['si_snri_mixit'] > split['si_snri'] + 40
    assert poor['si_snri_mixit'] == pytest.approx(poor['si_snri'], abs=0.01) and poor['si_snri'] < 8


def test_noise_is_no_reference_and_takes_outputs():
    sources = torch.randn(3, 8000, generator=torch.manual_seed(0))
    row = scores(sources, torch.stack([sources[2], sources[1], sources[0]]), speakers=['a', 'b'])
    assert row['si_snri_mixit'] == pytest.approx(row['si_snri']) and row['si_snri'] > 80


def test_many_outputs_have_no_oracle_score():
    sources = torch.randn(2, 400, generator=torch.manual_seed(0))
    assert 'si_snri_mixit' not in scores(sources, torch.randn(21, 400)) and scores(sources, torch.randn(21, 400))


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32])
def test_good_separation_is_scored_as_without_assignment(dtype):
    """Also where the Gram matrix of single precision would lose the small errors."""
    sources = torch.randn(2, 20_000, generator=torch.manual_seed(0))
    guesses = (sources + 1e-3 * torch.randn(2, 20_000, generator=torch.manual_seed(1))).to(dtype)
    plain, _ = si_snr_improvement(sources.to(dtype), guesses, sources.sum(0).to(dtype))
    oracle, assignment = mixit_improvement(sources.to(dtype), guesses, sources.sum(0).to(dtype))
    assert assignment.tolist() == [0, 1] and abs(plain - oracle) < 0.01


# The profiles


def tdcn(profile: str, name: str = '2src-p100') -> dict:
    return Experiment('mixit', name, profile).settings['settings']['tdcn']


def test_the_profile_paper_has_the_network_of_the_paper():
    expected = {'norm': 'scalar', 'scales': 'all', 'skip_from': 'output', 'weight_init': 'glorot', 'prelu_init': 0.1}
    assert {key: tdcn('paper').get(key) for key in expected} == expected


@pytest.mark.parametrize('profile', ['smoke', 'tiny', 'replicates', 'mid', 'long'])
def test_short_profiles_keep_the_earlier_network(profile):
    """Other starts would change the bits of packaged models and of replicates."""
    assert {key: tdcn(profile).get(key) for key in EARLIER} == EARLIER


def test_the_network_of_small_has_a_skip():
    settings = tdcn('small')
    assert settings['blocks'] == 2 * settings['cycle'] and TDCN(4, **settings).separator.skips
    assert settings['norm'] == 'scalar' and settings['scales'] == 'all'


def test_small_chooses_the_epoch_by_200_mixtures():
    assert PARAMS['prepare']['small']['valid'] >= 200


@pytest.mark.parametrize('share', ['p100', 'p000'])
def test_small_varies_the_share_of_single_voices(share):
    names = select_experiments(PARAMS['mixit'], PARAMS['profiles']['small']['experiments']['mixit'])
    experiments = all_experiments(PARAMS['mixit'])
    swept = [experiments[name] for name in names if name.startswith(f'1or2-{share}-single')]
    assert [one['mixtures']['single_source_fraction'] for one in swept] == [0.25, 0.5]
    assert all(one['unsupervised'] == experiments[f'1or2-{share}']['unsupervised'] for one in swept)


def test_the_network_as_released_is_an_experiment():
    settings = tdcn('small', '2src-p100-released')
    assert (settings['scales'], settings['skip_from']) == ('released', 'input')
