"""Names of corpora, profiles and experiments that cannot become part of a path or a command."""

from functools import partial
from pathlib import Path

from .base import BadInput, cli


def settings(text: str) -> None:
    """Read a file of settings."""
    from avlib.training.settings import read_params

    Path('params.yaml').write_text(text)
    read_params(Path())


def pipeline(profile: str = 'tiny', corpus: str = 'speech', text: str = 'profiles: {}') -> None:
    """Build the pipeline of a profile and a corpus that is on disk."""
    from avlib.reproduction.pipeline import build_pipeline

    Path('params.yaml').write_text(text)
    if '/' not in corpus and len(corpus) < 256:
        Path('data/corpora', corpus).mkdir(parents=True)
        Path('data/corpora', corpus, 'manifest.jsonl').write_text('{"id": "a", "speaker": "s"}\n')
    build_pipeline(Path(), profile, corpus)


def experiment(name: str) -> None:
    """List the experiments of a section of the settings."""
    from avlib.training.settings import all_experiments

    all_experiments({'experiments': {name: {}}})


def stage(*words: str) -> None:
    """Read the command line of a stage."""
    from avlib.reproduction.run import parse

    parse(['prepare.ipynb', 'out.ipynb', *words])


SEEDS = 'profiles: {tiny: {seeds: [0; touch x], experiments: {mixit: [a]}}}\nmixit: {experiments: {a: {}}}'
CASES = [
    BadInput('corpus named like a command', partial(pipeline, corpus='$(touch x)')),
    BadInput('corpus with a semicolon in its name', partial(pipeline, corpus='a;b')),
    BadInput('corpus with a space in its name', partial(pipeline, corpus='a b')),
    BadInput('corpus with a line break in its name', partial(pipeline, corpus='a\nb')),
    BadInput('corpus with quotes in its name', partial(pipeline, corpus='it\'s "mine"')),
    BadInput('corpus with backticks in its name', partial(pipeline, corpus='`x`')),
    BadInput('corpus with letters outside a to z in its name', partial(pipeline, corpus='grün')),
    BadInput('corpus named like an option', partial(pipeline, corpus='-x')),
    BadInput('corpus with the name of a hidden folder', partial(pipeline, corpus='.x')),
    BadInput('corpus in another folder', partial(pipeline, corpus='../x')),
    BadInput('corpus without a name', partial(pipeline, corpus='')),
    BadInput('corpus with a name of 300 letters', partial(pipeline, corpus='x' * 300)),
    BadInput('corpus to check in another folder', partial(cli, 'data', 'check', '../x')),
    BadInput('profile named like a command', partial(pipeline, profile='$(touch x)')),
    BadInput('settings that are no sections', partial(settings, '[1, 2]')),
    BadInput('section of the settings named like a command', partial(settings, "'$(touch x)': {}")),
    BadInput('profile of the settings with a semicolon in its name', partial(settings, "profiles: {'a;b': {}}")),
    BadInput('corpus of the settings named like an option', partial(settings, "mixit: {corpora: {'-x': {}}}")),
    BadInput('experiment of the settings with a space in its name', partial(experiment, 'a b')),
    BadInput('seed that is a command', partial(pipeline, text=SEEDS)),
    BadInput('stage for a corpus in another folder', partial(stage, '--corpus', '../x')),
    BadInput('stage for an experiment named like a path', partial(stage, '--experiment', 'a/b')),
]
