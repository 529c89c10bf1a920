"""Every experiment of every profile in params.yaml is one that can be run, long before somebody waits for it."""
from pathlib import Path

import pytest
import yaml

from avlib.data.mixtures import MixtureSettings
from avlib.lab.checkpoints import build_method
from avlib.lab.experiments import Experiment
from avlib.lab.trainer import TrainSettings

PARAMS = yaml.safe_load((Path(__file__).parent.parent / 'params.yaml').read_text())
PLANNED = [(profile, name) for profile, chosen in PARAMS['profiles'].items() for name in chosen['mixit_experiments']]


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(Path(__file__).parent)


@pytest.mark.parametrize('profile, name', PLANNED)
def test_settings_are_complete_and_accepted(profile, name):
    settings = Experiment('mixit', name, profile).settings
    TrainSettings(**settings['train'])
    MixtureSettings(rate=PARAMS['prepare'][profile]['rate'], **settings['mixtures'])
    assert build_method(settings['method'], settings['settings']).settings.sources == 4
    assert 0 <= settings['unsupervised'] <= 1


def test_the_root_pipeline_is_the_tiny_profile():
    pipeline = yaml.safe_load((Path(__file__).parent.parent / 'dvc.yaml').read_text())
    told = pipeline['vars'][0]
    assert {key: told[key] for key in PARAMS['profiles']['tiny']} == PARAMS['profiles']['tiny']
