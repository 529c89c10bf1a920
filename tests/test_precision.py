"""Scores and losses in every floating type, and BSS-eval in programs with any number of threads."""

import subprocess
import sys

import pytest
import torch

from avlib.dsp.mixing import level_db, mix_at_snr, set_level
from avlib.methods.deep_clustering import weighted_dc_loss
from avlib.methods.localizer import own_similarity, similarity
from avlib.methods.mixit import MixIT, MixITSettings, energy, mixit_loss, pit_loss, sparsity_loss
from avlib.methods.weak_supervision import contrastive_loss
from avlib.metrics.bss_eval import bss_eval
from avlib.metrics.si_sdr import si_sdr
from avlib.metrics.si_snr import si_snr, si_snr_improvement

TYPES = (torch.bfloat16, torch.float16, torch.float32)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


references = draw(2, 160_000)  # 10 s at 16 kHz, level 1: their energy overflows in half precision
estimates = references + 0.3 * draw(2, 160_000, seed=1)
mixture = references.sum(0)
split = torch.cat([estimates, 0 * estimates])
INSTANCES = {  # each computes a number or several from tensors, of which the last one has a gradient
    'si_snr': (si_snr, references, estimates),
    'si_snri': (lambda r, m, e: si_snr_improvement(r, e, m)[0], references, mixture, estimates),
    'pit_loss': (lambda r, e: pit_loss(r, e)[0], references, estimates),
    'pit_loss with eq. 7': (lambda r, m, e: pit_loss(r, e, 30, m)[0], 0 * references, mixture, estimates),
    'mixit_loss': (lambda x, e: mixit_loss(x, e)[0], references, split),
    'mixit_loss, least squares': (lambda x, e: mixit_loss(x, e, search='least-squares')[0], references, estimates),
    'sparsity_loss': (lambda m, e: sparsity_loss(e, m), mixture, estimates),
    'energy': (lambda e: energy(e).log10(), 20 * estimates),
    'level_db': (level_db, 300 * estimates),
    'deep clustering': (
        lambda labels, weight, u: weighted_dc_loss(u, labels, weight),
        torch.eye(2, dtype=torch.float64)[torch.arange(4000) % 2][None],
        torch.full((1, 4000), 1.0, dtype=torch.float64),
        draw(1, 4000, 5) / 5**0.5,
    ),
    'cosines': (similarity, 40 * draw(3, 512), 40 * draw(3, 512, 4, 4, seed=1)),
    'own cosines': (own_similarity, 4000 * draw(3, 512), 4000 * draw(3, 512, 4, 4, seed=1)),
    'contrastive loss': (
        lambda a, t: contrastive_loss(a, t, torch.arange(3), 0.1),
        4000 * draw(3, 512),
        draw(3, 512, seed=1),
    ),
}


def run(name, dtype):
    function, *tensors = INSTANCES[name]
    tensors = [tensor.to(dtype, copy=True) for tensor in tensors]
    tensors[-1].requires_grad_()
    value = function(*tensors)
    value.sum().backward()
    return value, tensors[-1].grad


@pytest.mark.parametrize('dtype', TYPES)
@pytest.mark.parametrize('name', INSTANCES)
def test_half_precision_agrees_with_double(name, dtype):
    expected, expected_gradient = run(name, torch.float64)
    value, gradient = run(name, dtype)
    assert value.dtype == torch.float32 and gradient.dtype == dtype
    assert torch.allclose(value.double(), expected, rtol=0.003, atol=0.01)
    scale = expected_gradient.abs().max()
    assert gradient.isfinite().all()
    assert (gradient.double() - expected_gradient).abs().max() < 0.03 * scale + torch.finfo(dtype).tiny


@pytest.mark.parametrize('dtype', TYPES)
def test_assignments_agree_with_double(dtype):
    assert pit_loss(references.flip(0).to(dtype), estimates.to(dtype))[1].tolist() == [1, 0]
    assert mixit_loss(references.to(dtype), split.to(dtype))[1][:2].tolist() == [0, 1]
    assert torch.allclose(
        si_sdr(references.to(dtype), estimates.to(dtype)).sdr, si_sdr(references, estimates).sdr, atol=0.01
    )
    _, scaled = mix_at_snr(*references.to(dtype), 6.0)
    assert abs(level_db(references[0]) - level_db(scaled.double()) - 6) < 0.02


def test_losses_are_the_same_under_autocast():
    signals = references.float(), estimates.float()
    plain = [si_snr(*signals), pit_loss(*signals)[0], mixit_loss(*signals)[0]]
    with torch.autocast('cpu', torch.bfloat16):
        cast = [si_snr(*signals), pit_loss(*signals)[0], mixit_loss(*signals)[0]]
    assert all(map(torch.equal, plain, cast))


@pytest.mark.parametrize('level', (1e-25, 1e-18, 1e18, 1e25))
def test_no_level_counts_as_silence(level):
    r, e = references.float(), estimates.float()
    assert torch.allclose(si_snr(level * r, level * e), si_snr(r, e), atol=1e-3)
    assert torch.allclose(si_snr(level * r, e), si_snr(r, e), atol=1e-3)
    assert torch.allclose(pit_loss(level * r, level * e)[0], pit_loss(r, e)[0], atol=1e-3)
    loss, assignment = mixit_loss(level * r, level * split.float())
    assert torch.allclose(loss, pit_loss(r, e)[0], atol=1e-3) and assignment[:2].tolist() == [0, 1]


def test_half_precision_model_separates():
    sizes = {'basis': 16, 'kernel': 8, 'bottleneck': 8, 'hidden': 16, 'blocks': 2, 'cycle': 2}
    method = MixIT(MixITSettings(tdcn=sizes)).eval()
    loud = 200 * mixture[:8000].float()
    with torch.no_grad():
        expected = method.separate(loud)
        estimates = method.bfloat16().separate(loud.bfloat16())
        assert method.separate(torch.zeros(100, dtype=torch.bfloat16)).isfinite().all()
    assert estimates.isfinite().all() and si_snr(expected.sum(0), estimates.float().sum(0)) > 20


@pytest.mark.parametrize('dtype', (torch.int16, torch.int64, torch.bool))
def test_integers_are_refused_by_type(dtype):
    x = torch.ones(2, 600, dtype=dtype)
    calls = (si_snr, si_snr_improvement, si_sdr, bss_eval, pit_loss, mixit_loss, set_level)
    for function in calls:
        arguments = {si_snr_improvement: (x, x, x[0]), set_level: (x, -20)}.get(function, (x, x))
        with pytest.raises(TypeError, match=str(dtype)):
            function(*arguments)


PROGRAM = """
import sys, torch
torch.set_num_threads(int(sys.argv[1]))
from avlib.metrics.bss_eval import bss_eval, bss_sdr
from mir_eval.separation import bss_eval_sources
import warnings
warnings.simplefilter('ignore')
g = torch.Generator().manual_seed(0)
r = torch.randn(2, 1500, generator=g, dtype=torch.double)
e = torch.randn(2, 2, generator=g, dtype=torch.double) @ r + .1 * torch.randn(2, 1500, generator=g, dtype=torch.double)
*expected, order = (torch.from_numpy(x) for x in bss_eval_sources(r.numpy(), e.numpy()))
for threads in map(int, sys.argv[1:]):
    torch.set_num_threads(threads)
    scores = bss_eval(r, e)
    assert torch.equal(scores.permutation, order)
    assert max((a - b).abs().max() for a, b in zip(scores[:3], expected)) < 1e-4
    assert (bss_sdr(r, e[order]) - expected[0]).abs().max() < 1e-4
"""


@pytest.mark.parametrize('threads', ('1 2', '2 4', '4 1'))
def test_bss_eval_at_any_number_of_threads(threads):
    """The first number is set before the import, the second afterwards."""
    subprocess.run([sys.executable, '-c', PROGRAM, *threads.split()], check=True, timeout=120)
