"""Claims: intervals that cover what they say, verdicts that are seldom false, and rows that say what the claims say."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from avlib.metrics.variance import Component, seed_component
from avlib.reproduction.claim_table import ClaimRow, Comparison, read_claim_table
from avlib.reproduction.evidence import Sample, SeedVariance, contrast
from avlib.reproduction.verdicts import Evidence, decide_claim
from avlib.training.settings import all_experiments

ROOT = Path(__file__).parent.parent
ROWS = {row.id: row for row in read_claim_table(ROOT / 'claims.yaml')}
PARAMS = yaml.safe_load((ROOT / 'params.yaml').read_text())
LEDGERS = sorted((ROOT / 'reports').glob('*/claims.json'))
VARIANTS = {  # what a report defines beside the experiments
    'boot': {'alpha0', 'alpha05', 'alpha1', 'alpha2', 'phase', 'delay'},
    'slavc': {'center-prior'},
}
MIXTURES, SPEAKERS, TRIALS = 200, 10, 600
EXAMPLES = tuple(map(str, range(MIXTURES)))
SPREADS = [(0.2, 0.0), (0.2, 0.15), (0.35, 0.15), (0.35, 0.4)]  # standard deviations of seeds and speakers, dB


def draw_speakers(rng) -> tuple:
    """Mixtures of two speakers, as in our test sets."""
    return tuple(tuple(rng.choice(SPEAKERS, 2, replace=False).tolist()) for _ in range(MIXTURES))


def draw_sample(rng, speakers, seeds, spread, mean=0.0) -> Sample:
    """Scores in dB around a true mean: what is hard for a method by speaker and by mixture, its seeds, and a rest."""
    seed_sd, speaker_sd = spread
    of_speaker = speaker_sd * rng.standard_normal(SPEAKERS)
    own = of_speaker[np.array(speakers)].sum(1) + 0.5 * rng.standard_normal(MIXTURES)
    values = own + seed_sd * rng.standard_normal((seeds, 1)) + 0.5 * rng.standard_normal((seeds, MIXTURES))
    return Sample(mean + values, EXAMPLES, tuple(range(seeds)), speakers)


def draw_pool(rng, samples, spread) -> Component:
    """The variance between seeds: of the methods and one more, or borrowed from three others of four seeds."""
    seeds, speakers = len(samples[0].seeds), samples[0].groups
    count, each = (1, seeds) if seeds > 1 else (3, 4)
    others = [draw_sample(rng, speakers, each, spread) for _ in range(count)]
    return seed_component([sample.values for sample in (*(samples if seeds > 1 else ()), *others)])


def trials(seeds, spread, means, count=TRIALS):
    """Samples of methods with these true means, and the variance between seeds, again and again."""
    rng = np.random.default_rng([seeds, *(int(1000 * sd) for sd in spread)])
    for trial in range(count):
        if trial % 10 == 0:
            speakers = draw_speakers(rng)
        samples = [draw_sample(rng, speakers, seeds, spread, mean) for mean in means]
        yield samples, draw_pool(rng, samples, spread)


@pytest.mark.parametrize('spread', SPREADS)
@pytest.mark.parametrize('seeds', [1, 3, 5])
def test_intervals_of_95_percent_cover_a_true_zero_in_93_to_97_percent(seeds, spread):
    ends = [contrast(samples, [1, -1], pool).estimate.interval()[1:] for samples, pool in trials(seeds, spread, (0, 0))]
    assert 0.93 <= np.mean([low <= 0 <= high for low, high in ends]) <= 0.97


def decide(samples, pool, **entries):
    """The claim on samples named a, b, … by the rules of the reports."""
    named = dict(zip('abcdef', samples, strict=False))
    variance = SeedVariance('x', 'sdr', 'small', *pool)
    row = ClaimRow(**{'id': 'x-1', 'paper': 'x', 'source': 't', 'statement': 's', 'metric': 'sdr', **entries})
    return decide_claim(row, Evidence(lambda name, metric: named[name], lambda metric: variance), 'c', 'cpu', 'abc')


BETTER = {'compares': {'a': 1, 'b': -1}, 'effect': 2.0}
EACH = {'kind': 'conjunction', 'parts': [Comparison('sdr', {'a': 1, b: -1}, effect=2.0) for b in 'bcdef']}
EQUAL = {'kind': 'equality', 'compares': {'a': 1, 'b': -1}, 'relative_margin': 0.1}
RISING = {'kind': 'trend', 'order': list('abcdef'), 'effect': 2.0}


@pytest.mark.parametrize('seeds', [1, 3])
@pytest.mark.parametrize(
    'entries, means, false',
    [
        pytest.param(BETTER, (0, 0), 'holds', id='a true zero does not hold'),
        pytest.param(BETTER, (1, 0), 'fails', id='half of the effect does not fail'),
        pytest.param(EACH, (0, 0, -9, -9, -9, -9), 'holds', id='better than each but one does not hold'),
        pytest.param(EACH, (1,) + (0,) * 5, 'fails', id='each at half of the effect does not fail'),
        pytest.param(EQUAL, (9, 10), 'holds', id='at the margin is not equal'),
        pytest.param(EQUAL, (9, 10), 'fails', id='at the margin is not unequal'),
        pytest.param(RISING, (0,) * 6, 'holds', id='no trend does not hold'),
    ],
)
def test_false_verdicts_are_rarer_than_one_in_twenty(seeds, entries, means, false):
    """At the worst truth: the edge of what the verdict excludes. At the margin of an equality the level is 5 %."""
    verdicts = [decide(*trial, **entries).verdict for trial in trials(seeds, (0.3, 0.1), means, 200)]
    assert np.mean([verdict == false for verdict in verdicts]) <= (0.08 if entries is EQUAL else 0.05)


def test_a_true_zero_is_decided():
    verdicts = [decide(*trial, **BETTER).verdict for trial in trials(3, (0.2, 0.1), (0, 0), 100)]
    assert np.mean([verdict == 'fails' for verdict in verdicts]) > 0.9


def test_an_undecided_claim_names_the_seeds_that_would_decide_it():
    """With four times as many as it names, nearly all such claims are decided, and rightly: 1 of 3 dB is no half."""
    spread, entries = (0.35, 0.05), {'compares': {'a': 1, 'b': -1}, 'effect': 3.0, 'margin': 0.8}
    causes = [decide(*trial, **entries).cause for trial in trials(1, spread, (1.0, 0), 60)]
    counts = [int(cause.split()[0]) for cause in causes if 'would decide it' in cause and cause[0].isdigit()]
    assert len(counts) > 30 and 1 < np.median(counts) < 30
    more = [decide(*trial, **entries).verdict for trial in trials(4 * int(np.median(counts)), spread, (1.0, 0), 20)]
    assert np.mean([verdict == 'undecided' for verdict in more]) <= 0.1


@pytest.mark.parametrize('path', LEDGERS, ids=lambda path: path.parent.name)
def test_claims_of_reports_have_rows(path):
    """Reports whose claims name their runs are judged by the table; older ones wait for their next run."""
    for claim in json.loads(path.read_text()):
        if claim.get('runs') is not None:
            row = ROWS[claim['id']]
            assert (claim['statement'], claim['paper_value']) == (row.statement, row.paper_value)
            assert [part['label'] for part in claim['parts']] == [part.label for part in row.parts]
        elif path.parent.name in ('tiny', 'small'):
            assert claim['id'] in ROWS


@pytest.mark.parametrize('row', ROWS.values(), ids=lambda row: row.id)
def test_rows_compare_experiments_that_exist(row):
    for term in row.experiments:
        name = term.partition('@')[0]
        section, _, experiment = name.rpartition('/')
        known = set(all_experiments(PARAMS[section or row.paper])) | VARIANTS.get(row.paper, set())
        assert experiment in known, f'{row.id}: no experiment "{name}" in params.yaml'


def test_rows_say_enough():
    """Each paper has claims; each row is a sentence, and each comparison without a margin has an effect."""
    assert {row.paper for row in ROWS.values()} == {'mixit', 'boot', 'bimodal', 'slavc', 'asmp'}
    assert len({row.statement for row in ROWS.values()}) == len(ROWS)
    compared = [(row, own) for row in ROWS.values() for own in row.comparisons]
    assert not [row.id for row, own in compared if not (own.effect is not None or own.margin or own.relative_margin)]
