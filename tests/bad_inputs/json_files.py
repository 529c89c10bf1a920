"""JSON, links and settings that someone else wrote."""

import json
from functools import partial
from pathlib import Path

from .base import BadInput

LINK = {'kind': 'wsj0-2mix', 'root': '/wsj', 'options': {}}
TRACK = {'name': 'dog', 'times': [0, 1], 'boxes': [[1, 2, 30, 40], [2, 2, 31, 40]]}


def written(name: str, content) -> Path:
    path = Path(name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def value(content, kind: type | None = None) -> None:
    from avlib.io.files import read_json

    read_json(written('bad.json', content), kind)


def rows(content, kind: type | None = None) -> None:
    from avlib.io.files import read_jsonl

    read_jsonl(written('bad.jsonl', content), kind)


def link(**changes) -> None:
    from avlib.corpora.links import read_link

    written('link.json', json.dumps({**LINK, **changes}))
    read_link('.')


def videos(**changes) -> None:
    from avlib.corpora.video_links import read_video_link

    written('videos.json', json.dumps({'kind': 'asiw', 'root': '/asiw', **changes}))
    read_video_link('.')


def boxes(*tracks) -> None:
    from avlib.datasets.object_tracks import read_objects

    read_objects(written('boxes.json', json.dumps({'objects': tracks})), 64, 48)


def params(content: str) -> None:
    from avlib.training.settings import read_params

    written('params.yaml', content)
    read_params(Path())


def huge() -> None:
    with open('bad.json', 'wb') as file:
        file.truncate(2**40)
    from avlib.io.files import read_json

    read_json('bad.json')


BOMB = 'a0: &a0 [x, x]\n' + ''.join(f'a{i + 1}: &a{i + 1} [*a{i}, *a{i}]\n' for i in range(60))
CASES = [
    BadInput('JSON of 100,000 lists in each other', partial(value, '[' * 100_000)),
    BadInput('JSON with a number of 5,000 digits', partial(value, '[' + '9' * 5000 + ']')),
    BadInput('JSON with a number beyond floats', partial(value, '[1e999]')),
    BadInput('JSON with NaN', partial(value, '{"loss": NaN}')),
    BadInput('JSON with a key twice', partial(value, '{"rate": 8000, "rate": 16000}')),
    BadInput('JSON in UTF-16', partial(value, '{"rate": 8000}'.encode('utf-16'))),
    BadInput('JSON in Latin-1', partial(value, '{"name": "café"}'.encode('latin-1'))),
    BadInput('JSON with NUL in a text', partial(value, '["a\0b"]')),
    BadInput('JSON that ends too early', partial(value, '{"rate": ')),
    BadInput('JSON file that is empty', partial(value, '')),
    BadInput('list in place of an object in JSON', partial(value, '[1, 2]', dict)),
    BadInput('JSON file of a terabyte', huge),
    BadInput('row of JSON Lines that ends too early', partial(rows, '{"id": "a"}\n{"id": ')),
    BadInput('row of JSON Lines that is a list', partial(rows, '{"id": "a"}\n[]\n', dict)),
    BadInput('link to an unknown kind of corpus', partial(link, kind=['wsj0-2mix'])),
    BadInput('link whose folder is a number', partial(link, root=3)),
    BadInput('link whose folder is relative', partial(link, root='../wsj')),
    BadInput('link whose folder holds NUL', partial(link, root='/wsj\0')),
    BadInput('link whose options are a list', partial(link, options=[1])),
    BadInput('link with an unknown option', partial(link, options={'speed': 2})),
    BadInput('link with an option of the wrong type', partial(link, options={'rate': 'fast'})),
    BadInput('link with a path as an option', partial(link, options={'mode': '../..'})),
    BadInput('link with an extra key', partial(link, extra=1)),
    BadInput('link to unknown videos', partial(videos, kind='tv')),
    BadInput('link to videos in a relative folder', partial(videos, root='here')),
    BadInput('boxes without any object', boxes),
    BadInput('object without boxes', partial(boxes, {'name': 'dog', 'times': [0]})),
    BadInput('object with a box of three numbers', partial(boxes, {**TRACK, 'boxes': [[1, 2, 3]] * 2})),
    BadInput('object with falling times', partial(boxes, {**TRACK, 'times': [1, 0]})),
    BadInput('object whose times are texts', partial(boxes, {**TRACK, 'times': ['now', 'then']})),
    BadInput('settings with a key twice', partial(params, 'mixit:\n  paper: {}\n  paper: {}\n')),
    BadInput('settings with a tag of Python', partial(params, 'a: !!python/object/apply:os.getcwd []\n')),
    BadInput('settings with a bomb of aliases', partial(params, BOMB)),
    BadInput('settings with a bracket left open', partial(params, 'mixit: {paper: {}\nboot: {}\n')),
    BadInput('settings that are a list', partial(params, '- a\n')),
    BadInput('settings with a section of the wrong type', partial(params, 'mixit: 3\n')),
    BadInput('settings whose seeds are texts', partial(params, 'profiles: {tiny: {seeds: [first]}}\n')),
]
