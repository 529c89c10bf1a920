"""dvc.yaml is what the table of stages says, and a stage runs again when code or settings that it depends on change."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from avlib.reproduction.pipeline import pipeline_text
from avlib.reproduction.schedule import stage_instances
from avlib.reproduction.stage_inputs import notebook_code, stage_files, stage_inputs
from avlib.reproduction.stage_table import STAGES
from avlib.training.registry import component_names
from avlib.training.settings import all_experiments, experiment_settings, read_params

ROOT = Path(__file__).parent.parent
PARAMS = read_params(ROOT)
BY_NAME = {stage.name: stage for stage in STAGES}


def files_of(name: str, experiment: str = '') -> set[str]:
    "The modules of avlib that a stage depends on, as ROOM/NAME."
    stage = BY_NAME[name]
    settings = experiment_settings(PARAMS, stage.experiment[0], experiment, 'tiny', 'speech') if experiment else {}
    code = notebook_code(ROOT / f'nbs/{stage.notebook}.ipynb')
    files = stage_files(ROOT, stage, code, settings)
    return {str(file.relative_to(ROOT / 'avlib').with_suffix('')) for file in files}


def test_dvc_yaml_is_written_from_the_table():
    written = (ROOT / 'dvc.yaml').read_text()
    assert written == pipeline_text(ROOT, 'tiny', 'speech'), 'run `make pipeline`'
    assert written.count('\n') < 500


@pytest.mark.parametrize('stage', STAGES, ids=lambda stage: stage.name)
def test_notebook_of_a_stage_exists(stage):
    assert (ROOT / f'nbs/{stage.notebook}.ipynb').is_file()


def test_every_experiment_has_hashes_of_its_own():
    hashes = stage_inputs(ROOT, 'small', 'speech', 'music')
    assert set(hashes['code']) == set(BY_NAME)
    assert set(hashes['code']['mixit-train']) == set(all_experiments(PARAMS['mixit']))
    settings = hashes['settings']['mixit-train']
    assert len(set(settings.values())) == len(settings), 'two experiments have the same settings'


def test_a_training_depends_on_what_its_experiment_names_alone():
    assert 'methods/lvs' in files_of('slavc-train', 'lvs') and 'methods/lvs' not in files_of('slavc-train', 'slavc')
    assert 'synthesis/shapes' in files_of('slavc-init', 'shapes')
    assert not {'corpora/speech_layouts', 'synthesis/speech'} & files_of('slavc-init', 'shapes')
    assert {'training/evaluator', 'metrics/si_snr'} <= files_of('mixit-evaluate', '1or2-p100')


def test_a_figure_changes_no_training_but_a_report():
    assert 'reproduction/figures' not in files_of('mixit-train', '1or2-p100')
    assert 'reproduction/figures' in files_of('mixit-report')


@pytest.fixture
def copy(tmp_path):
    "The files that hashes are computed from, to be changed."
    for folder in ('avlib', 'nbs'):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns('__pycache__', 'weights'))
    for name in ('params.yaml', 'claims.yaml'):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / 'reports', tmp_path / 'reports', ignore=shutil.ignore_patterns('*.png'))
    return tmp_path


def changed(root: Path) -> set[str]:
    "The stages whose hashes differ from those of the repository."
    before, after = (stage_inputs(tree, 'tiny', 'speech', 'music') for tree in (ROOT, root))
    return {name for kind in before for name in before[kind] if before[kind][name] != after[kind][name]}


def test_code_makes_the_stages_that_depend_on_it_stale_and_words_do_not(copy):
    module = copy / 'avlib/methods/mixit.py'
    module.write_text(module.read_text().replace('Source: MixIT', 'Taken from MixIT') + '\n# a remark\n')
    assert changed(copy) == set()
    module.write_text(module.read_text() + '\nCHANGED = True\n')
    stale = changed(copy)
    assert {'mixit-train', 'mixit-evaluate', 'mixit-bundled', 'unconditional-train'} <= stale
    assert not {'boot-train', 'slavc-train', 'prepare'} & stale


def test_cells_of_a_stage_make_it_stale_and_its_prose_does_not(copy):
    notebook = copy / 'nbs/stages/spatialize.ipynb'
    content = json.loads(notebook.read_text())
    content['cells'][0]['source'] = ['# Another title']
    notebook.write_text(json.dumps(content))
    assert changed(copy) == set()
    content['cells'][-1]['source'] = ['print(1)']
    notebook.write_text(json.dumps(content))
    assert changed(copy) == {'boot-spatialize'}


def test_settings_make_the_experiments_that_use_them_stale(copy):
    params = yaml.safe_load((copy / 'params.yaml').read_text())
    params['slavc']['experiments']['ez-vsl'] = {'settings': {'area': 0.2}}
    (copy / 'params.yaml').write_text(yaml.safe_dump(params))
    before, after = (stage_inputs(tree, 'tiny', 'speech', 'music')['settings']['slavc-train'] for tree in (ROOT, copy))
    assert {name for name in before if before[name] != after[name]} == {'ez-vsl'}


def test_classes_that_settings_name_exist():
    sections = [section for section in PARAMS.values() if 'method' in section.get('paper', {})]
    for name in {name for section in sections for name in component_names(section['paper']).values()}:
        module, _, attribute = name.partition(':')
        source = (ROOT / f'{module.replace(".", "/")}.py').read_text()
        assert f'class {attribute}' in source or f'def {attribute}' in source, name


def test_names_of_instances_are_those_of_dvc():
    pipeline = yaml.safe_load((ROOT / 'dvc.yaml').read_text())
    [variables] = pipeline['vars']
    names = stage_instances('mixit-train', pipeline['stages']['mixit-train'], variables)
    assert names[0] == 'mixit-train@1or2-p000-0'
