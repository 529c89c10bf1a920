"""Arguments and options of the commands: missing, misspelt, of another type, out of range, or in contradiction."""

from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from .base import BadInput, cli, usage

MODEL = ('--model', 'mixit-speech')
OUT = ('--out', 'out')


def sound(path: str = 'mix.wav', channels: int = 1, rate: int = 8000) -> str:
    """Write a second of noise; return the path."""
    shape = (rate, channels) if channels > 1 else rate
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(shape), rate)
    return path


def separate(*options: str) -> None:
    cli('separate', sound(), *OUT, *options)


def output_is_a_file() -> None:
    Path('taken').write_text('a file')
    cli('separate', sound(), *MODEL, '--out', 'taken')


def output_exists() -> None:
    Path('out').mkdir()
    sound('out/mix-1.wav')
    cli('separate', sound(), *MODEL, *OUT)


def long_name() -> None:
    cli('separate', sound('a' * 251 + '.wav'), *MODEL, *OUT)


def localize(*options: str) -> None:
    from PIL import Image

    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save('scene.png')
    cli('localize', 'scene.png', *OUT, *options)


CASES = [
    BadInput('no recording', partial(usage, 'separate', *OUT)),
    BadInput('no output folder', partial(usage, 'separate', 'mix.wav')),
    BadInput('misspelt option', partial(usage, 'separate', 'mix.wav', *OUT, '--modle', 'mixit-speech')),
    BadInput('misspelt command', partial(usage, 'seperate', 'mix.wav', *OUT)),
    BadInput('two recordings where one is expected', partial(usage, 'separate', 'a.wav', 'b.wav', *OUT)),
    BadInput('text where a whole number is expected', partial(usage, 'separate', 'a.wav', *OUT, '--sources', 'two')),
    BadInput('fraction where a whole number is expected', partial(usage, 'data', 'digits', '--rate', '8000.5')),
    BadInput('text where a number is expected', partial(usage, 'localize', 'a.mp4', *OUT, '--every', 'second')),
    BadInput('option without its value', partial(usage, 'separate', 'mix.wav', '--out')),
    BadInput('neither a model nor another method', separate),
    BadInput('unknown method', partial(separate, '--method', 'magic')),
    BadInput('unknown band', partial(separate, *MODEL, '--band', 'half')),
    BadInput('unknown format of the output', partial(separate, *MODEL, '--suffix', 'mp3')),
    BadInput('more sources than the model has', partial(separate, *MODEL, '--sources', '9')),
    BadInput('no sources', partial(separate, *MODEL, '--sources', '0')),
    BadInput('number of sources with a query', partial(separate, '--query', 'violin', '--sources', '2')),
    BadInput('method by direction with a query', partial(separate, '--query', 'violin', '--method', 'spatial')),
    BadInput('rest without a query', partial(separate, *MODEL, '--rest')),
    BadInput('gate without a query', partial(separate, *MODEL, '--gate')),
    BadInput('boxes without --objects', partial(separate, *MODEL, '--boxes', 'boxes.json')),
    BadInput('query with --objects', partial(separate, '--objects', '--query', 'violin')),
    BadInput('output folder that is a file', output_is_a_file),
    BadInput('output file that exists', output_exists),
    BadInput('name too long for the file system with its suffix', long_name),
    BadInput('no time between moments', partial(localize, '--every', '0')),
    BadInput('negative time between moments', partial(localize, '--every', '-1')),
    BadInput('time between moments that is not a number', partial(localize, '--every', 'nan')),
    BadInput('infinite time between moments', partial(localize, '--every', 'inf')),
    BadInput('a thousand million moments in a second', partial(localize, '--every', '1e-9')),
    BadInput('picture without a sound', localize),
    BadInput('sound that is missing beside a picture', partial(localize, '--audio', 'nowhere.wav')),
    BadInput(
        'threshold of overlap of 1',
        partial(cli, 'evaluate', 'localization', '--iou', '1', '--predictions', 'm', '--annotations', 'a.json'),
    ),
    BadInput('rate of no use for digits', partial(cli, 'data', 'digits', '--rate', '-8000', '--root', 'corpora')),
    BadInput('unknown kind of corpus to link', partial(cli, 'data', 'link', 'wsj9', '.', '--root', 'corpora')),
]
