"""Maps and lists that `avlib evaluate localization` reads."""

import json
from functools import partial
from pathlib import Path

import numpy as np

from .base import BadInput, cli

BOXES = [{'file': 'clip', 'class': 'dog', 'bbox': [[0.1, 0.1, 0.5, 0.5]]}]
MAP = np.zeros((14, 14), np.float32)


def evaluate(*options: str, maps: dict | None = None, boxes=BOXES, negatives: str | None = None) -> None:
    """Write maps by file name, annotations and a list of negatives, and evaluate them."""
    Path('maps').mkdir()
    for name, value in ({'clip.npy': MAP} if maps is None else maps).items():
        np.save(f'maps/{name}', value) if isinstance(value, np.ndarray) else Path(f'maps/{name}').write_bytes(value)
    Path('vggss.json').write_text(boxes if isinstance(boxes, str) else json.dumps(boxes))
    if negatives is not None:
        Path('negatives.csv').write_text(negatives)
        options = (*options, '--negatives', 'negatives.csv')
    cli('evaluate', 'localization', '--predictions', 'maps', '--annotations', 'vggss.json', *options)


def no_folder() -> None:
    Path('vggss.json').write_text(json.dumps(BOXES))
    cli('evaluate', 'localization', '--predictions', 'maps', '--annotations', 'vggss.json')


def result_exists() -> None:
    Path('result.json').write_text('{}')
    evaluate('--out', 'result.json')


def result_is_an_input() -> None:
    evaluate('--out', 'vggss.json', '--overwrite')


def of_map(value) -> dict:
    return {'maps': {'clip.npy': value}}


CASES = [
    BadInput('folder of maps that is missing', no_folder),
    BadInput('frame without a map', partial(evaluate, maps={})),
    BadInput('map of no frame', partial(evaluate, maps={'clip.npy': MAP, 'other.npy': MAP})),
    BadInput('map that is empty', partial(evaluate, **of_map(np.zeros((0, 14), np.float32)))),
    BadInput('map of three dimensions', partial(evaluate, **of_map(np.zeros((3, 14, 14), np.float32)))),
    BadInput('map of complex numbers', partial(evaluate, **of_map(np.zeros((14, 14), complex)))),
    BadInput('map of texts', partial(evaluate, **of_map(np.full((14, 14), 'x')))),
    BadInput('map with NaN', partial(evaluate, **of_map(np.full((14, 14), np.nan)))),
    BadInput('map with an infinite value', partial(evaluate, **of_map(np.full((14, 14), np.inf)))),
    BadInput('map of objects, a pickle', partial(evaluate, **of_map(np.array([[None, {}]], object)))),
    BadInput('map of a file that is empty', partial(evaluate, **of_map(b''))),
    BadInput('map of a file of text', partial(evaluate, **of_map(b'0.1 0.2 0.3\n'))),
    BadInput('two frames with one map', partial(evaluate, negatives='video,audio,label\nclip,clip,non-sounding\n')),
    BadInput('area of 0', partial(evaluate, '--area', '0')),
    BadInput('area above 1', partial(evaluate, '--area', '1.5')),
    BadInput('area that is not a number', partial(evaluate, '--area', 'nan')),
    BadInput('infinite threshold of a pixel', partial(evaluate, '--threshold', 'inf')),
    BadInput('negative threshold of overlap', partial(evaluate, '--iou', '-0.1')),
    BadInput('threshold of overlap that is not a number', partial(evaluate, '--iou', 'nan')),
    BadInput('unknown confidence', partial(evaluate, '--confidence', 'mean')),
    BadInput('result that exists', result_exists),
    BadInput('result in place of an input', result_is_an_input),
    BadInput('annotations without a frame', partial(evaluate, boxes=[])),
    BadInput('annotations that are no JSON', partial(evaluate, boxes='clip: dog')),
    BadInput('annotations that are a text', partial(evaluate, boxes='"clip"')),
    BadInput('annotation without boxes', partial(evaluate, boxes=[{'file': 'clip', 'class': 'dog', 'bbox': []}])),
    BadInput(
        'annotation with a box of three numbers',
        partial(evaluate, boxes=[{'file': 'clip', 'class': 'dog', 'bbox': [[0.1, 0.2, 0.3]]}]),
    ),
]
