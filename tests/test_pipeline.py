"""The real pipeline at its smallest size: it runs from nothing, leaves whole results, and repeats only what changed."""

import json
import os
import re
import shutil
import sys

import numpy as np
import pytest
import soundfile
import torch
import yaml
from torch.utils.data import default_collate

from avlib.reproduction.pipeline import build_pipeline
from avlib.reproduction.schedule import stage_instances
from avlib.training.experiment_setup import Experiment, training_data
from avlib.training.registry import build_method
from avlib.training.settings import all_experiments, read_params, select_experiments
from workbench import CLI, PIPELINE, change_settings, copy_run, copy_tree, run, write_pipeline

PAPERS = {
    'mixit': 'speech',
    'boot': 'speech',
    'bimodal': 'music',
    'slavc': 'music-scenes',
    'asmp': 'music-moving',
}  # papers and the corpora of their experiments
SPEECH = [paper for paper, corpus in PAPERS.items() if corpus == 'speech']
REPORTS = {f'{paper}-report' for paper in PAPERS}
CLAIMS = {
    'mixit-f2-a',
    'mixit-f2-b',
    'mixit-eq6',
    'boot-t1-a',
    'boot-t1-b',
    'boot-t1-c',
    'boot-f2',
    'bimodal-t1-a',
    'bimodal-t1-b',
    'bimodal-t8',
    'slavc-t2-a',
    'slavc-t3-ap',
    'slavc-t5',
    'asmp-t1-direction',
    'asmp-t2-chance',
    'asmp-t2-loudness',
}
FIELDS = {
    'id',
    'paper',
    'statement',
    'paper_value',
    'value',
    'interval',
    'seeds',
    'verdict',
    'cause',
    'hardware',
    'commit',
    'kind',
    'unit',
    'runs',
    'parts',
}
WARM_S = 30


def planned(tree, paper='mixit') -> list[str]:
    return yaml.safe_load((tree / 'params.yaml').read_text())['profiles']['smoke']['experiments'][paper]


def stages(output: str) -> set[str]:
    """Names of the stages that DVC says it runs, or would run."""
    return set(re.findall(r"Running stage '[^']*?([^:']+)'", output))


def files(tree) -> dict:
    """When each file that the pipeline made was last written."""
    made = [path for folder in ('runs', 'data', 'reports') for path in (tree / folder).rglob('*')]
    return {path: path.stat().st_mtime_ns for path in made if path.is_file()}


def children_times() -> float:
    """Seconds of processor time that finished child processes took: unlike the clock, the same on a busy machine."""
    times = os.times()
    return times.children_user + times.children_system


def would_run(tree) -> set[str]:
    """Stages that changed, and all that follows from them."""
    write_pipeline(tree)
    dvc = [sys.executable, '-m', 'dvc']
    status = run(tree, *dvc, 'status', '--json', PIPELINE)
    assert status.returncode == 0, status.stderr
    changed = [name for name in json.loads(status.stdout) if not name.endswith(':inputs')]
    if not changed:
        return set()
    dry = run(tree, *dvc, 'repro', '--dry', '--force-downstream', '--downstream', *changed)
    assert dry.returncode == 0, dry.stderr
    return stages(dry.stdout)


def all_stages(tree) -> set[str]:
    pipeline = build_pipeline(tree, 'smoke', 'speech')
    [variables] = pipeline['vars']
    instances = (stage_instances(name, stage, variables) for name, stage in pipeline['stages'].items())
    return {name for names in instances for name in names}


@pytest.fixture
def tree(smoke, tmp_path):
    """A copy of the finished run that a test may change."""
    return copy_run(smoke[0], tmp_path / 'tree')


def test_runs_every_stage_from_nothing(smoke):
    """`make repro` on a fresh clone has no data, runs or cache: one command must be enough."""
    tree, ran = smoke
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert stages(ran.stdout) == all_stages(tree)


def test_ends_with_the_claims_and_where_the_reports_lie(smoke):
    """A newcomer looks at the last lines, not into folders."""
    tree, ran = smoke
    *_, last = ran.stdout.strip().splitlines()
    claims = json.loads((tree / 'reports/smoke/claims.json').read_text())
    printed = re.findall(r'^ *(holds|fails|undecided) +(\S+)', ran.stdout, re.MULTILINE)
    assert sorted(printed) == sorted((claim['verdict'], claim['id']) for claim in claims)
    assert all(f'reports/smoke/{paper}.md' in last for paper in PAPERS)


def test_ledger_is_what_other_programs_expect(smoke):
    """The fields of claims.json are a contract; every claim that the pipeline can decide is in it."""
    claims = json.loads((smoke[0] / 'reports/smoke/claims.json').read_text())
    assert CLAIMS <= {claim['id'] for claim in claims}
    for claim in claims:
        assert set(claim) == FIELDS
        assert claim['verdict'] in ('holds', 'fails', 'undecided') and (claim['verdict'] == 'holds' or claim['cause'])
        assert claim['interval'] is None or claim['interval'][0] <= claim['value'] <= claim['interval'][1]


@pytest.mark.parametrize('paper', PAPERS)
def test_page_of_the_paper_shows_files_that_exist(smoke, paper):
    """What a reader of the forge sees is this page: pictures and sounds must be there, and nothing else beside them."""
    folder = smoke[0] / 'reports/smoke'
    shown = set(re.findall(rf'\]\(({paper}/[^)]+)\)', (folder / f'{paper}.md').read_text()))
    there = {path.relative_to(folder).as_posix() for path in (folder / paper).iterdir()}
    assert (
        shown == there
        and any(name.endswith('.png') for name in there)
        and (paper == 'slavc' or any(name.endswith('.flac') for name in there))
    )


def test_weights_come_with_cards(smoke):
    """Weights without settings, data and versions can be neither used nor trusted."""
    for corpus, name in [(corpus, name) for paper, corpus in PAPERS.items() for name in planned(smoke[0], paper)]:
        folder = smoke[0] / f'runs/{corpus}/smoke/train/{name}-0'
        assert {path.name for path in folder.iterdir()} == {
            'model.safetensors',
            'model.json',
            'last.safetensors',
            'log.jsonl',
        }
        card = json.loads((folder / 'model.json').read_text())
        assert card['experiment'] == name and card['rate'] == 8000 and len(card['sha256']) == 64 and 'versions' in card
        assert corpus != 'music' or set(card['presence']) == {'slope', 'bias'}
    imports = 'from avlib.training.checkpoints import load_model, trained_models'
    loads = f'{imports}\nfor name in trained_models(): load_model(name)'
    ran = run(smoke[0], sys.executable, '-c', loads)
    assert ran.returncode == 0, ran.stderr


def test_results_hold_every_example(smoke):
    """Reports bootstrap over examples: each result keeps them all, of the same frozen mixtures in the same order."""
    tree = smoke[0]
    results = {path.stem: json.loads(path.read_text()) for path in (tree / 'runs/speech/smoke/results').glob('*.json')}
    mixit, boot = ({f'{name}-0' for name in planned(tree, paper)} for paper in SPEECH)
    assert set(results) == {'bundled', 'spatial'} | mixit | boot
    frozen = [json.loads(line)['id'] for line in (tree / 'data/smoke/speech/test.jsonl').read_text().splitlines()]
    for name in {'bundled'} | mixit:
        assert [row['id'] for row in results[name]['examples']] == frozen
    for name in boot:
        assert [row['id'] for row in results[name]['examples']] == [
            row['id'] for row in results['spatial']['phase']['test']
        ]


def test_executed_notebooks_are_whole(smoke):
    """They are the log of a run: every cell run, in order, none failed, no half-executed copy beside them."""
    tree = smoke[0]
    runs = {f'{step}-{name}-0' for paper in PAPERS for name in planned(tree, paper) for step in ('train', 'evaluate')}
    names = [
        'prepare',
        'spatialize',
        'evaluate-bundled',
        'prepare_labelled',
        'embed-small-0',
        'init-start-3-0',
        'scenes',
        'init-0',
        'moving',
        'init-0',
        *PAPERS,
        *runs,
    ]
    paths = sorted((tree / 'runs').glob('*/smoke/notebooks/*'))
    assert sorted(path.name for path in paths) == sorted(f'{name}.ipynb' for name in names)
    for path in paths:
        cells = [cell for cell in json.loads(path.read_text())['cells'] if cell['cell_type'] == 'code']
        counts = [cell['execution_count'] for cell in cells]
        assert counts == sorted(counts) and None not in counts, path.name
        assert not [out for cell in cells for out in cell['outputs'] if out['output_type'] == 'error'], path.name


def test_changes_no_tracked_file(smoke):
    """Profiles are switched by a flag: after a run of another profile `git diff` is empty."""
    status = run(smoke[0], 'git', 'status', '--porcelain', '--untracked-files=no')
    assert status.returncode == 0 and status.stdout == ''
    assert not (smoke[0] / PIPELINE).exists()  # it is written when it is needed


def test_second_call_does_nothing(smoke):
    """Asking again costs seconds: no stage runs, no file is written anew, the claims are printed all the same."""
    tree, first = smoke
    before, start = files(tree), children_times()
    again = run(tree, sys.executable, '-m', 'avlib.reproduction.repro', '--profile', 'smoke')
    assert again.returncode == 0, again.stderr
    assert stages(again.stdout) == set() and files(tree) == before
    assert first.stdout.strip().splitlines()[-1].split('(')[0] in again.stdout
    assert children_times() - start < WARM_S


def test_a_change_of_figures_redraws_the_report_only(tree):
    """Stages declare the modules they use: none that trains or evaluates draws with figures.py."""
    module = tree / 'avlib/reproduction/figures.py'
    module.write_text(module.read_text() + '\nANOTHER = 1\n')
    assert would_run(tree) == REPORTS | {'claims'}


def test_a_change_of_one_experiment_reruns_that_one_only(tree):
    """Stages declare the keys they read: the other experiments' training stays."""
    name = planned(tree)[-1]
    changed = {**all_experiments(read_params(tree)['mixit'])[name], 'unsupervised': 0.7}
    change_settings(tree, lambda settings: settings['mixit']['experiments'].update({name: changed}))
    assert would_run(tree) == {f'mixit-train@{name}-0', f'mixit-evaluate@{name}-0', 'claims'} | {
        f'{paper}-report' for paper in SPEECH
    }


def test_a_change_of_the_data_reruns_everything(tree):
    """All that is trained or judged stands on prepared data: on speech, or on music."""
    change_settings(tree, lambda settings: settings['prepare']['smoke'].update(seed=1))
    music = {name for name in all_stages(tree) if name.startswith(('bimodal-', 'slavc-', 'asmp-'))}
    assert would_run(tree) == all_stages(tree) - music - {'inputs'}
    change_settings(
        tree,
        lambda settings: (settings['prepare']['smoke'].update(seed=0), settings['labelled']['smoke'].update(seed=1)),
    )
    assert would_run(tree) == music | {'claims'}


def test_every_experiment_on_labelled_clips_takes_a_step_and_fits_what_it_starts_from(smoke, monkeypatch):
    """The smallest run trains two of them; the others would first fail hours into a large profile."""
    monkeypatch.chdir(smoke[0])
    torch.manual_seed(0)
    params = read_params(smoke[0])
    for paper in ('bimodal_init', 'bimodal', 'unconditional', 'slavc', 'asmp'):
        names = select_experiments(params[paper], params['profiles']['small']['experiments'][paper])
        for run_ in (Experiment(paper, name, 'smoke', PAPERS.get(paper, 'music')) for name in names):
            method, data = build_method(run_.settings['method'], run_.method_settings), training_data(run_)
            loss = method.train().loss(default_collate([data[0], data[1]]))['total']
            loss.backward()
            assert torch.isfinite(loss) and any(
                weight.grad is not None and weight.grad.any() for weight in method.parameters()
            ), run_
            for start in run_.init_from:
                own, given = (
                    method.state_dict(),
                    build_method(start.settings['method'], start.method_settings).state_dict(),
                )
                assert (shared := set(own) & set(given)) and all(
                    own[name].shape == given[name].shape for name in shared
                ), (run_.name, start.name)


def test_another_profile_is_none_of_this_ones_business(tree):
    """Turning the knobs of `tiny` or `paper` must not retrain `smoke`."""

    def change(settings):
        settings['mixit']['tiny']['train']['epochs'] += 1
        settings['prepare']['paper']['seed'] += 1

    change_settings(tree, change)
    assert would_run(tree) == set()


def test_training_again_gives_the_same_bits_whatever_the_number_of_workers(tree):
    """Examples are drawn from (seed, epoch, index) alone, and nothing else is left to chance."""
    name = planned(tree)[-1]
    folder = tree / f'runs/speech/smoke/train/{name}-0'
    before, log = (folder / 'model.safetensors').read_bytes(), (folder / 'log.jsonl').read_text()
    shutil.rmtree(folder)
    change_settings(tree, lambda settings: settings['mixit']['smoke']['train'].update(workers=2))
    write_pipeline(tree)
    ran = run(
        tree, sys.executable, '-m', 'dvc', 'repro', '--force', '--single-item', f'{PIPELINE}:mixit-train@{name}-0'
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (folder / 'log.jsonl').read_text() != log, 'nothing was trained'
    assert (folder / 'model.safetensors').read_bytes() == before


def test_a_run_that_is_cut_short_reports_what_there_is(tree):
    """The large profiles take longer than a night: what was run must be seen, and what was not must be seen to lack."""
    *_, name = planned(tree)
    shutil.rmtree(tree / f'runs/speech/smoke/train/{name}-0')
    (tree / f'runs/speech/smoke/results/{name}-0.json').unlink()
    cut = run(tree, sys.executable, '-m', 'avlib.reproduction.repro', '--profile', 'smoke', '--hours', '0')
    assert cut.returncode == 0, cut.stdout[-3000:] + cut.stderr[-3000:]
    page = (tree / 'reports/smoke/mixit.md').read_text()
    assert '2 of 3 planned trainings are in this report' in page and '| – |' in page
    claims = {claim['id']: claim for claim in json.loads((tree / 'reports/smoke/claims.json').read_text())}
    assert 'not run' in claims['mixit-f2-a-reverberant']['cause'] and claims['mixit-f2-a']['value'] is not None


def test_stereo_recordings_of_ones_own_teach_a_network_for_mono(tmp_path):
    """They have no references: nothing is evaluated, and a model comes out that separates one channel."""
    tree, rng = copy_tree(tmp_path / 'tree'), np.random.default_rng(0)
    (tmp_path / 'tapes').mkdir()
    for i in range(6):
        left, right = 0.1 * rng.standard_normal((2, 24000))
        soundfile.write(
            tmp_path / f'tapes/{i}.wav', np.stack([left + np.roll(right, 3), np.roll(left, 4) + right], 1), 8000
        )
    soundfile.write(tmp_path / 'mono.wav', left + right, 8000)
    linked = run(tree, *CLI, 'data', 'link', 'stereo', tmp_path / 'tapes')
    assert 'stereo-tapes: 6 mixtures' in linked.stdout, linked.stderr
    ran = run(tree, sys.executable, '-m', 'avlib.reproduction.repro', '--profile', 'smoke', '--corpus', 'stereo-tapes')
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    model = 'runs/stereo-tapes/smoke/train/dc-alpha1-0'
    assert f'no references, so nothing to evaluate; models: {model}' in ran.stdout and stages(ran.stdout) == {
        'inputs',
        'prepare',
        'boot-spatialize',
        'boot-train@dc-alpha1-0',
    }
    separated = run(tree, *CLI, 'separate', tmp_path / 'mono.wav', '--model', model, '--out', tmp_path / 'out')
    assert separated.returncode == 0 and len(list((tmp_path / 'out').iterdir())) == 2, separated.stderr
    by_both = run(
        tree,
        *CLI,
        'separate',
        tmp_path / 'tapes/0.wav',
        '--method',
        'ensemble',
        '--model',
        model,
        '--out',
        tmp_path / 'both',
    )
    assert by_both.returncode == 0 and 'mean confidence' in by_both.stderr, by_both.stderr
