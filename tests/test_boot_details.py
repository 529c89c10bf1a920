"""Bootstrapping as its paper has it: weights and drawing of scenes in training, and what its report measures."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from scipy.stats import pearsonr
from torch.utils.data import default_collate

from avlib.datasets.bootstrap_labels import BinTargets, BootstrapExamples, Clusterings, write_clusterings
from avlib.datasets.stereo_scenes import StereoScene, StereoScenes, write_scenes
from avlib.methods.deep_clustering import DeepClustering, DeepClusteringSettings
from avlib.metrics.statistics import resampled_interval
from avlib.reproduction.evidence import Sample

ROOT = Path(__file__).parent.parent
SPECTROGRAM = {'n_fft': 256, 'hop': 64}
SCENES, LENGTH, FRAMES = 40, 2048, 33
C_CL = np.random.default_rng(0).lognormal(-2.5, 0.9, SCENES).clip(0, 1)  # a few scenes carry most of the loss


@pytest.fixture(scope='module')
def corpus(tmp_path_factory):
    """Scenes of noise, clustered at random, whose confidences differ as those of real scenes do."""
    folder, generator = tmp_path_factory.mktemp('stereo'), torch.Generator().manual_seed(0)
    signals = 0.1 * torch.randn(SCENES, 2, 2, LENGTH, generator=generator)
    drawn = [StereoScene(str(i), signal.sum(0), signal[:, 0], ('a', 'b')) for i, signal in enumerate(signals)]
    c_cl = iter(C_CL.tolist())

    def cluster(stereo):
        gamma = torch.rand(len(stereo), 1, 129, FRAMES, generator=generator)
        own = torch.tensor([next(c_cl) for _ in stereo])
        posteriors = torch.cat([gamma, 1 - gamma], 1)
        return SimpleNamespace(posteriors=posteriors, c_cl=own, c_jsd=own**0, c_post=(2 * gamma[:, 0] - 1).abs())

    for split in ('train', 'valid'):
        scenes = StereoScenes(write_scenes(folder / f'scenes-{split}.safetensors', drawn, 8000))
        write_clusterings(folder / f'phase-{split}.safetensors', scenes, cluster, SPECTROGRAM)
        c_cl = iter(C_CL.tolist())
    return SimpleNamespace(stereo=folder)


def targets(corpus, labels='estimates', alpha=1.0):
    scenes, clusterings = (corpus.stereo / f'{kind}-train.safetensors' for kind in ('scenes', 'phase'))
    return BinTargets(StereoScenes(scenes), Clusterings(clusterings), labels, alpha, **SPECTROGRAM)


@torch.no_grad()
def scene_losses(method, data, indices):
    """The loss of each example by an untrained network, one at a time."""
    batches = (default_collate([data[i]]) for i in indices)
    return np.array([method.loss(batch)['total'].item() for batch in batches])


@pytest.fixture(scope='module')
def method():
    torch.manual_seed(0)
    return DeepClustering(DeepClusteringSettings(network={'hidden': 8, 'layers': 1, 'dimensions': 4}))


@pytest.mark.parametrize('alpha', [1.0, 2.0])
def test_drawn_scenes_have_the_expected_loss_of_all_scenes_and_less_variance(corpus, method, alpha):
    every = scene_losses(method, BootstrapExamples(targets(corpus, alpha=alpha), None, 0, FRAMES), range(SCENES))
    drawn = scene_losses(method, BootstrapExamples(targets(corpus, alpha=alpha), 400, 0, FRAMES), range(400))
    assert abs(drawn.mean() - every.mean()) < 4 * drawn.std() / 400**0.5 + 1e-3 * every.mean()
    assert drawn.std() < 0.2 * every.std()  # of scenes that are drawn with equal chances


def test_weights_are_those_of_the_paper_without_a_division_by_their_mean(corpus):
    data = BootstrapExamples(targets(corpus), None, 0, FRAMES)
    for number in (0, 7):
        confidence = data.targets.clusterings.confidence(number, 1.0)
        assert torch.equal(data[number]['confidence'], confidence)
    drawn = BootstrapExamples(targets(corpus), 8, 0, FRAMES)
    weights = drawn.targets.scene_weights(SCENES)
    assert np.allclose(drawn.chances, weights**2 / np.mean(weights**2))


def test_drawn_scenes_depend_on_seed_epoch_and_index_alone(corpus):
    first, again = (BootstrapExamples(targets(corpus), 20, 3, 10) for _ in range(2))
    backwards = {i: again[i]['confidence'] for i in reversed(range(20))}
    assert all(torch.equal(first[i]['confidence'], backwards[i]) for i in range(20))
    again.set_epoch(1)
    assert not all(torch.equal(first[i]['confidence'], again[i]['confidence']) for i in range(20))


def test_scenes_of_equal_weight_are_drawn_with_equal_chances_as_before(corpus):
    data = BootstrapExamples(targets(corpus, labels='truth'), 50, 0, FRAMES)
    for i in range(50):
        number = int(np.random.default_rng([0, 0, i]).integers(SCENES))
        assert torch.equal(data[i]['mixture'], data.targets.scenes[number]['mixture'])
        assert (data[i]['confidence'] == 1).all()


def test_validation_takes_the_first_scenes(corpus):
    settings = {'labels': 'estimates', 'cue': 'phase', 'alpha': 1.0, 'settings': SPECTROGRAM, 'frames': FRAMES}
    sizes = [
        len(BootstrapExamples.for_validation(corpus, {**settings, 'validation_scenes': count}, 0))
        for count in (5, SCENES, 5000)
    ]
    assert sizes == [5, SCENES, SCENES]


def report_cell(containing: str, **names) -> dict:
    """The names that a cell of the report defines, given those that earlier cells do."""
    cells = json.loads((ROOT / 'nbs/papers/boot.ipynb').read_text())['cells']
    (source,) = (text for cell in cells if containing in (text := ''.join(cell['source'])))
    space = {'np': np, 'torch': torch, **names}
    exec(compile(source, containing, 'exec'), space)  # noqa: S102 — our own notebook
    return space


def test_the_random_ensemble_is_its_expectation():
    network, clustering, confident = np.array([[1.0, 5.0], [3.0, 7.0]]), np.array([2.0, 4.0]), np.array([0.9, 0.1])
    cell = report_cell(
        'def approach_scores',
        card={'switch': {'phase': 0.5}},
        experiments={'dc-alpha1': {}},
        network_scores=lambda name, key='si_sdr': network,
        clustering_scores=lambda key='si_sdr', cue='phase': confident if key == 'confidence' else clustering,
    )
    scores = cell['approach_scores']('dc-alpha1')
    assert scores['random'].tolist() == [[1.5, 4.5], [2.5, 5.5]]
    assert scores['oracle'].tolist() == [[2, 5], [3, 7]] and scores['confidence'].tolist() == [[2, 5], [2, 7]]
    assert scores['network'].tolist() == network.tolist() and scores['clustering'].tolist() == [[2, 4], [2, 4]]


def test_quality_and_quantity_are_those_of_all_training_scenes():
    counts = {'train': 300}
    measures = {'phase': np.random.default_rng(0).uniform(0.1, 1, (2, 300, 4))}
    source = report_cell(
        'def quality',
        counts=counts,
        measures=measures,
        groups={'train': None},
        Sample=Sample,
        cache=lambda function: function,
        ALPHAS={'alpha0': 0.0, 'alpha05': 0.5, 'alpha1': 1.0, 'alpha2': 2.0},
        experiments={'dc-truth-few': {'scene_fraction': 0.05}},
    )
    similarities, sums = measures['phase']
    total = sums.sum(0)
    by_hand = {'quality': (similarities * sums).sum(0)[2] / total[2], 'quantity': total[2] / total[0]}
    for metric, value in by_hand.items():
        found = source['label_sample']('alpha1', metric)
        assert found.values.shape == (1, 300) and not found.seeds
        assert found.values.mean() == pytest.approx(value, abs=1e-3) == source['MEASURES'][metric]('phase', 'alpha1')


def test_the_interval_of_figure_2_is_a_bootstrap_over_scenes():
    rng = np.random.default_rng(0)
    confidence = rng.standard_t(3, 300)  # far from normal: Fisher's formula gives too narrow an interval
    scores = confidence + np.abs(confidence) * rng.standard_normal(300)
    spread = [np.corrcoef(*np.array([confidence, scores])[:, rng.integers(300, size=300)])[0, 1] for _ in range(2000)]
    cell = report_cell('def scores_interval', resampled_interval=resampled_interval)
    found = cell['scores_interval'](confidence, scores)
    fisher = pearsonr(confidence, scores).confidence_interval()
    assert np.allclose(found[1:], np.quantile(spread, [0.025, 0.975]), atol=0.05)
    assert found.high - found.low > 1.3 * (fisher.high - fisher.low)


def test_figure_2_has_as_many_validation_scenes_as_the_paper():
    stereo, boot = (yaml.safe_load((ROOT / 'params.yaml').read_text())[name] for name in ('stereo', 'boot'))
    assert stereo['paper']['scenes']['valid'] == stereo['small']['scenes']['valid'] == 5000
    assert stereo['tiny']['scenes']['valid'] <= 100  # a newcomer's profile stays short
    assert boot['small']['validation_scenes'] <= 500  # and so do the epochs of training
