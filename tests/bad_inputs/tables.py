"""CSV tables and lists as text that someone else wrote."""

from functools import partial
from pathlib import Path

from .base import BadInput

HEAD = 'video,audio,label\n'


def negatives(content) -> None:
    from avlib.datasets.negatives import read_negatives

    Path('negatives.csv').write_bytes(content if isinstance(content, bytes) else content.encode())
    read_negatives('negatives.csv')


def vggsound(content: str) -> None:
    from avlib.corpora.video_corpora import vggsound_list

    Path('vggsound.csv').write_text(content)
    vggsound_list('.')


def ave(content: bytes) -> None:
    from avlib.corpora.asiw import ave_videos

    for name in ('trainSet', 'valSet', 'testSet'):
        Path(f'{name}.txt').write_bytes(content)
    ave_videos('.')


CASES = [
    BadInput('table that is empty', partial(negatives, '')),
    BadInput('table of a header alone', partial(negatives, HEAD)),
    BadInput('table without a column', partial(negatives, 'video,label\na,non-sounding\n')),
    BadInput('table with a column twice', partial(negatives, 'video,video,audio,label\n')),
    BadInput('table with semicolons', partial(negatives, HEAD.replace(',', ';') + 'a;b;non-sounding\n')),
    BadInput('table with a short row', partial(negatives, HEAD + 'a,b\n')),
    BadInput('table with a long row', partial(negatives, HEAD + 'a,b,non-sounding,c\n')),
    BadInput('table with a row twice', partial(negatives, HEAD + 'a,b,non-sounding\n' * 2)),
    BadInput('table with a quote left open', partial(negatives, HEAD + '"a,b,non-sounding\nc,d,non-sounding\n')),
    BadInput('table with a field of a megabyte', partial(negatives, HEAD + 'a' * 2**20 + ',b,non-sounding\n')),
    BadInput('table with NUL', partial(negatives, HEAD + 'a\0,b,non-sounding\n')),
    BadInput('table in UTF-16', partial(negatives, (HEAD + 'a,b,non-sounding\n').encode('utf-16'))),
    BadInput('table in Latin-1', partial(negatives, (HEAD + 'é,b,non-sounding\n').encode('latin-1'))),
    BadInput('list of VGGSound with an unknown split', partial(vggsound, 'abc,30,dog,dev\n')),
    BadInput('list of VGGSound with a start that is no number', partial(vggsound, 'abc,soon,dog,train\n')),
    BadInput('list of AVE without separators', partial(ave, b'Bark\n')),
    BadInput('list of AVE in Latin-1', partial(ave, 'Bébé&v1\n'.encode('latin-1'))),
]
