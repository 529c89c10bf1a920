"""The real package laion-clap with small random weights.

It runs where that package is installed (pip install "avlib[clap]"). CI's environment lacks it: the lock file leaves the
extra out.
"""

import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

MISSING = find_spec('laion_clap') is None


def small_roberta(cache: Path) -> None:
    """A `roberta-base` of one layer in a cache of Hugging Face, with a vocabulary of bytes."""
    from transformers import RobertaConfig, RobertaModel

    repository = cache / 'models--roberta-base'
    snapshot = repository / 'snapshots' / 'small'
    snapshot.mkdir(parents=True)
    (repository / 'refs').mkdir()
    (repository / 'refs' / 'main').write_text('small')
    from transformers.models.roberta.tokenization_roberta import bytes_to_unicode

    tokens = ['<s>', '<pad>', '</s>', '<unk>', *bytes_to_unicode().values(), '<mask>']
    (snapshot / 'vocab.json').write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (snapshot / 'merges.txt').write_text('#version: 0.2\n')
    (snapshot / 'tokenizer_config.json').write_text('{"model_max_length": 512}')
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tokens),
        num_hidden_layers=1,
        intermediate_size=64,
        max_position_embeddings=514,
        type_vocab_size=1,
    )
    RobertaModel(config).save_pretrained(snapshot)


SCRIPT = """
import json, sys, torch
from avlib.models.clap import Clap, open_clap
torch.manual_seed(0)
torch.save({'state_dict': {f'module.{k}': v for k, v in open_clap('HTSAT-tiny')[0].state_dict().items()}}, sys.argv[1])
clap = Clap(sys.argv[1])
sounds = (.1 * torch.randn(2, 16000)).requires_grad_()
found = clap.audio(sounds, 16000)
assert found.shape == (2, 512) and torch.equal(found, clap.audio(sounds, 16000))
found[0].sum().backward()
assert sounds.grad[0].abs().sum() > 0 and sounds.grad[1].abs().sum() == 0
long = .1 * torch.randn(1, 12 * 16000)
# CLAP itself would take any ten seconds
assert torch.equal(clap.audio(long, 16000), clap.audio(long, 16000))
import laion_clap
official = laion_clap.CLAP_Module(enable_fusion=False, amodel='HTSAT-tiny', device='cpu')
official.model.load_state_dict(clap.model.state_dict())
at_48k = .1 * torch.randn(1, 48000 * 2)
expected = official.get_audio_embedding_from_data(at_48k, use_tensor=True)
assert torch.allclose(expected, clap.audio(at_48k, 48000), atol=1e-6)
texts = ['the sound of violin', 'rain']
assert torch.allclose(official.get_text_embedding(texts, use_tensor=True), clap.text(texts), atol=1e-6)
assert clap.tokens(texts).shape == (2, 77, 768) and torch.isfinite(clap.tokens(texts)).all()
assert torch.equal(clap.text(['<mask>rain</s>']), clap.text(['rain']))
assert not clap.state_dict()
"""


def run(script: str, cache: Path, *args: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, 'HF_HUB_CACHE': str(cache), 'HF_HUB_OFFLINE': '1'}
    return subprocess.run(
        [sys.executable, '-c', script, *args], env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.skipif(MISSING, reason='needs laion-clap: pip install "avlib[clap]"')
def test_embeds_as_the_package_does(tmp_path: Path) -> None:
    small_roberta(tmp_path / 'hub')
    done = run(SCRIPT, tmp_path / 'hub', str(tmp_path / 'clap.pt'))
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.skipif(MISSING, reason='needs laion-clap: pip install "avlib[clap]"')
def test_tells_soon_what_to_put_where(tmp_path: Path) -> None:
    start = time.perf_counter()
    done = run('from avlib.models.clap import open_clap; open_clap("HTSAT-tiny")', tmp_path / 'hub')
    assert done.returncode and 'huggingface-cli download roberta-base' in done.stderr.splitlines()[-1], done.stderr[
        -2000:
    ]
    assert time.perf_counter() - start < 60


@pytest.mark.skipif(not MISSING, reason='laion-clap is here')
def test_without_the_package_it_names_the_extra() -> None:
    from avlib.models.clap import open_clap

    with pytest.raises(ImportError, match=r'avlib\[clap\]'):
        open_clap('HTSAT-tiny')


def test_it_is_found_by_name_and_asks_for_its_weights() -> None:
    from avlib.models.joint_embedding import build_embedding

    with pytest.raises(ValueError, match='set embedding.checkpoint'):
        build_embedding('laion-clap')
