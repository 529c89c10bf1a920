"""Annotations of published corpora: VGG-SS, Flickr-SoundNet, MUSIC and ASIW."""

import json
import pickle
from functools import partial
from pathlib import Path

import numpy as np

from .base import BadInput

CLIP = {'file': 'a', 'class': 'dog', 'bbox': [[0, 0, 0.5, 0.5]]}
BOX = '<bbox><i>1</i><x>1</x><x>2</x><x>30</x><x>40</x></bbox>'
ENTITIES = ''.join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(9))
LAUGHS = f'<!DOCTYPE a [<!ENTITY e0 "lol">{ENTITIES}]><a><bbox><x>&e9;</x></bbox></a>'


def vggss(*clips, **changes) -> None:
    from avlib.corpora.localization_benchmarks import read_vggss

    Path('vggss.json').write_text(json.dumps([*clips, {**CLIP, **changes}]))
    read_vggss('vggss.json')


def flickr(content) -> None:
    from avlib.corpora.localization_benchmarks import read_flickr

    Path('1.xml').write_bytes(content if isinstance(content, bytes) else content.encode())
    read_flickr('.')


def music(content) -> None:
    from avlib.corpora.video_corpora import music21

    Path('MUSIC_solo_videos.json').write_text(json.dumps(content))
    Path('a.wav').touch()
    music21('.')


def asiw(content: bytes) -> None:
    from avlib.corpora.asiw import asiw_videos

    Path('Multiple_Valid_RAFTFlow_Seq.pickle').write_bytes(content)
    asiw_videos('.')


def video(name: str) -> None:
    from avlib.corpora.asiw import read_video_objects

    read_video_objects('.', name)


class Call:
    """Value whose pickle calls a function when it is read."""

    def __reduce__(self):
        return print, ('called',)


CASES = [
    BadInput('annotation of a clip that is listed twice', partial(vggss, CLIP)),
    BadInput('annotation without boxes', partial(vggss, bbox=[])),
    BadInput('annotation with boxes in pixels', partial(vggss, bbox=[[10, 20, 100, 200]])),
    BadInput('annotation with a box of texts', partial(vggss, bbox=[['a', 'b', 'c', 'd']])),
    BadInput('annotation with a list as class', partial(vggss, **{'class': ['dog']})),
    BadInput('annotation that is no object', partial(vggss, 3)),
    BadInput('XML that ends too early', partial(flickr, f'<a>{BOX}')),
    BadInput('XML without boxes', partial(flickr, '<a/>')),
    BadInput('XML with a box of words', partial(flickr, BOX.replace('30', 'wide'))),
    BadInput('XML with a bomb of entities', partial(flickr, LAUGHS)),
    BadInput('XML of an unknown encoding', partial(flickr, f'<?xml version="1.0" encoding="x-none"?><a>{BOX}</a>')),
    BadInput('XML of more than 4 MB', partial(flickr, f'<a>{BOX}{" " * 2**22}</a>')),
    BadInput('list of videos by instrument without its object', partial(music, ['cello'])),
    BadInput('instrument whose videos are a text', partial(music, {'videos': {'cello': 'a'}})),
    BadInput('pickle that calls a function', partial(asiw, pickle.dumps([[Call()]]))),
    BadInput('pickle of an array of objects', partial(asiw, pickle.dumps(np.array([None, {}])))),
    BadInput('pickle that ends too early', partial(asiw, pickle.dumps([['a'], ['b'], ['c']])[:-5])),
    BadInput('pickle of other lists', partial(asiw, pickle.dumps([['a'], ['b']]))),
    BadInput('video whose name is a path', partial(video, '../../secret')),
]
