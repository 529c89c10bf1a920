"""Files that a stranger may have changed: seeds, mutations, and a program that hands mutants to the readers.

`python tests/hostile.py COUNT SEED [READER …]` prints, as JSON, how many of COUNT mutants each reader read, how many it
refused by a named error, and what else came of them; and whether it reads the files that they were made of.
"""

import copy
import json
import pickle
import random
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import torch

from avlib.apps.evaluate_maps import read_map
from avlib.apps.listening import read_answers
from avlib.corpora.asiw import asiw_videos, ave_videos, read_video_objects
from avlib.corpora.find_files import read_left_out
from avlib.corpora.links import read_link, read_mixtures
from avlib.corpora.localization_benchmarks import read_benchmark
from avlib.corpora.manifest import clips_folder, read_manifest
from avlib.corpora.speech_layouts import _read_transcript
from avlib.corpora.video_corpora import _read_captions, _read_instruments, vggsound_list
from avlib.corpora.video_links import read_video_link
from avlib.datasets.asiw_clips import AsiwClips, read_features
from avlib.datasets.base import PreparedFolder
from avlib.datasets.moving_clips import MovingClips
from avlib.datasets.negatives import read_negatives
from avlib.datasets.object_tracks import read_objects
from avlib.datasets.room_bank import RoomBank
from avlib.datasets.stereo_scenes import StereoScenes
from avlib.datasets.video_pairs import VideoPairs
from avlib.io.files import read_json, read_jsonl
from avlib.io.tensor_store import write_tensors
from avlib.training.settings import all_experiments, read_params

MEMORY = 2 * 2**30  # bytes that a reader may take, beside what the program itself has
SECONDS = 20  # of processor time for one mutant; a generous limit, since machines are busy
HOSTILE = [
    *(None, True, -1, 0, 1e308, -1e-320, 2**63, 10**299, '', 'x' * 70_000, 'a\0b', '\ud800', '\u202eé', 'NaN', '\n'),
    *('../../up', '/etc/passwd', [], {}, [[]], [None], {'': {}}, [0] * 1000, [[1, 2], [3]], {'a': [{}]}),
]
TOKENS = [
    *(b'NaN', b'Infinity', b'-Infinity', b'1e999', b'9' * 5000, b'[' * 3000, b'{"a":' * 3000, b'\0', b'\x80'),
    *(b'\xff\xfe', b'\xef\xbb\xbf', b'"', b'\r', b'\n', b'\r\n', b',', b'{', b'}', b'[', b']', b'&', b'<', b'>'),
    *(b'\\ud800', b'\\u0000', b'..', b'/', b'e9', b'-', b'.', b':', b'&a ', b'*a', b'- ', b'  ', b'\t', b'%'),
    *(b'!!python/object:os.system ', b'x' * 200_000),
]
CHAMFER = {
    'object_wind': [(9, 2), (7, 0)],
    'object_context': [(2, 0, 0), (3, 2, 0), (2, 1, 1), (0, 0, 1), (-1, -1)],
    'dist_mat': np.triu(np.arange(25.0).reshape(5, 5), 1),
}
MIXTURE = {'id': 'a_b', 'split': 'test', 'mixture': '/m/a_b.wav', 'sources': ['/s1/a_b.wav', '/s2/a_b.wav']}
MIXTURE |= {'speakers': ['a', 'b'], 'rate': 8000, 'frames': 16000, 'channels': 1, 'noise': None}
CLIP = {'id': 'a', 'split': 'test', 'path': 'a.wav', 'sample_rate': 8000, 'frames': 8000, 'labels': ['speech']}
CARD = {'videos': '/videos', 'published': '/videos', 'size': 64, 'rate': 8000, 'seconds': 3.0}
CARD |= {'labels': ['x', 'y'], 'max_nodes': 3}
OBJECT = {'id': 'v-0', 'video': 'v', 'label': 'x', 'window': 2, 'nodes': [[2, 0], [3, 1]], 'sound': 'v.mp4'}
OBJECT |= {'distance': [[0, 1.5], [1.5, None]], 'displacement': [1.0, -2.0, 0.1]}
TRACKS = {'objects': [{'name': 'dog', 'times': [0, 1, 2], 'boxes': [[1, 2, 30, 40]] * 3, 'depth': [1, 2, 3]}]}
BOX = '<bbox><i>2</i><x>1</x><x>2</x><x>30</x><x>40</x></bbox>'
XML = f'<a><id>1</id>{BOX}{BOX}</a>'
EXPERIMENTS = """
profiles:
  tiny: {seeds: [0, 1], experiments: {speech: [a, b*]}, train: {epochs: 3}}
speech:
  paper: &paper {method: 'avlib.methods.mixit:MixIT', settings: {sources: 4}}
  tiny: {paper: *paper}
  experiments:
    a: {settings: {sources: 2}}
    b: {like: a, seconds: 3.5}
  grid: [{x: {a: 1}, y: {a: 2}}]
  sweeps: [{name: s, setting: train.rate, values: {1: 0.1, 2: 0.2}}]
"""


def lines(*rows) -> bytes:
    return ''.join(json.dumps(row) + '\n' for row in rows).encode()


def saved(write: Callable) -> bytes:
    """Return the bytes of a file that `write(path)` writes."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / 'x')
        [path] = Path(folder).iterdir()
        return path.read_bytes()


def map_bytes(values, **options) -> bytes:
    def write(path):
        with open(path, 'wb') as file:
            np.save(file, values, **options)

    return saved(write)


def features_bytes() -> bytes:
    def write(path):
        with h5py.File(path, 'w') as file:
            file.create_dataset('features', data=np.ones((4, 3, 8), 'float32'), chunks=(2, 3, 8), compression='gzip')
            file['other'] = np.arange(3)

    return saved(write)


def tensor_bytes(tensors: dict, note: dict) -> bytes:
    return saved(lambda path: write_tensors(path, tensors, note))


def settings_of(folder: Path):
    params = read_params(folder)
    return {name: all_experiments(section) for name, section in params.items() if name != 'profiles'}


VIDEO = 'Rectified_Frames/test/v'
FRAMES = 'Extracted_Frames/test/v'
ASIW = {
    f'{VIDEO}/Chamfer_Info.pickle': pickle.dumps(CHAMFER),
    f'{VIDEO}/Comb_RAFTFlow_Displacement_Vectors_New.pickle': pickle.dumps({9: {2: np.ones(3)}, 7: {0: np.zeros(3)}}),
    f'{FRAMES}/Vision_Text_Labels.csv': b'0,9,0,0,5,5\n1,7,0,0,5,5\n',
    f'{FRAMES}/Image_info_20obj.json': json.dumps(
        [{'image': f'{i:04d}.png', 'objects': [7, 8, 9]} for i in range(1, 25)]
    ).encode(),
}


@dataclass
class Reader:
    """Reader of one file of a stranger: the file's path and contents, the files beside it, and the call."""

    file: str
    read: Callable[[Path], object]
    seeds: list[bytes]
    beside: dict[str, bytes] = field(default_factory=dict)


def asiw_reader(file: str) -> Reader:
    return Reader(file, lambda folder: read_video_objects(folder, 'v'), [ASIW[file]], ASIW)


def examples(dataset) -> list:
    return [dataset[i] for i in range(min(len(dataset), 3))]


ROOMS = tensor_bytes({'00000': torch.rand(2, 2, 50)}, {'rate': 8000, 'rt60': [0.3]})
SCENES = tensor_bytes(
    {'stereo/00000': torch.ones(2, 9, dtype=torch.int16), 'sources/00000': torch.ones(2, 9, dtype=torch.int16)},
    {'rate': 8000, 'scenes': [{'id': 'a', 'speakers': ['b'], 'has_sources': True}]},
)
MOVING = tensor_bytes(
    {
        'image': torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
        'crops': torch.zeros(1, 2, 3, 4, 4, dtype=torch.uint8),
        'boxes': torch.ones(1, 2, 4),
        'depth': torch.ones(1, 8, 8).half(),
        'audio': torch.ones(1, 80),
    },
    {'still': [0.5, 0.5, 0.5]},
)
MOVING_ROWS = lines({'id': 'test-0', 'label': 'x', 'source': {'clips': ['a']}, 'displacement': [1.0, 0.0, 0.5]})
READERS = {
    'JSON': Reader('x.json', lambda folder: read_json(folder / 'x.json'), [json.dumps([CARD, TRACKS, CLIP]).encode()]),
    'JSON Lines': Reader('x.jsonl', lambda folder: read_jsonl(folder / 'x.jsonl'), [lines(CLIP, MIXTURE, OBJECT)]),
    'manifest': Reader(
        'manifest.jsonl', lambda folder: read_manifest(folder / 'manifest.jsonl'), [lines(CLIP, {**CLIP, 'id': 'b'})]
    ),
    'home': Reader('home.json', lambda folder: clips_folder(folder / 'manifest.jsonl'), [b'{"home": "/tmp"}']),
    'left out': Reader('left_out.json', read_left_out, [b'{"counts": {"other": 3}, "text": "3 others"}']),
    'link': Reader(
        'link.json',
        lambda folder: (link := read_link(folder)) and (link.name, link.has_stereo, link.clips_folder),
        [
            b'{"kind": "wsj0-2mix", "root": "/wsj", "options": {"rate": 16000, "mode": "max"}}',
            b'{"kind": "libri2mix", "root": "/libri", "options": {"noisy": true, "train": "train-100"}}',
            b'{"kind": "librispeech", "root": "/libri", "options": {"train": ["train-clean-100"]}}',
            b'{"kind": "stereo", "root": "/mine", "options": {"held_out": 0.2}}',
        ],
    ),
    'videos': Reader(
        'videos.json',
        lambda folder: (link := read_video_link(folder)) and link.paper,
        [b'{"kind": "asiw", "root": "/asiw"}', b'{"kind": "flickr-soundnet", "root": "/flickr"}'],
    ),
    'mixtures': Reader(
        'm.jsonl',
        lambda folder: read_mixtures(folder / 'm.jsonl', 'test'),
        [lines(MIXTURE, {**MIXTURE, 'noise': '/n.wav'})],
    ),
    'VGG-SS': Reader(
        'vggss.json',
        lambda folder: read_benchmark(folder / 'vggss.json'),
        [json.dumps([{'file': c, 'class': 'dog', 'bbox': [[0, 0.1, 0.5, 1]]} for c in 'abc']).encode()],
    ),
    'Flickr-SoundNet': Reader('1.xml', read_benchmark, [XML.encode()]),
    'list of ASIW': Reader(
        'Multiple_Valid_RAFTFlow_Seq.pickle', asiw_videos, [pickle.dumps([['a', 'b'], ['c'], ['d']])]
    ),
    **{Path(file).stem: asiw_reader(file) for file in ASIW},
    'list of AVE': Reader(
        'trainSet.txt',
        ave_videos,
        [b'Bark&v1&good&0&10\nHorn&v2&good&0&10\n'],
        {'valSet.txt': b'A&b', 'testSet.txt': b'A&b'},
    ),
    'list of VGGSound': Reader('vggsound.csv', vggsound_list, [b'abc,30,"dog, barking",train\nxyz,5,cat,test\n']),
    'list of MUSIC': Reader(
        'MUSIC.json',
        lambda folder: _read_instruments(folder / 'MUSIC.json'),
        [b'{"videos": {"cello": ["a", "b"], "tuba": ["c"]}}'],
    ),
    'list of AudioCaps': Reader(
        't.csv',
        lambda folder: list(_read_captions(folder / 't.csv')),
        [b'audiocap_id,youtube_id,start_time,caption\n1,abc,30,"A dog barks, twice"\n2,d,0,Rain\n'],
    ),
    'transcript': Reader('t.txt', lambda folder: _read_transcript(folder / 't.txt'), [b'1-2-3 HE SAID\n1-2-4 NO\n']),
    'negatives': Reader(
        'n.csv',
        lambda folder: read_negatives(folder / 'n.csv'),
        [b'video,audio,label\na,b,non-sounding\nb,b,non-sounding\n'],
    ),
    'map': Reader(
        'm.npy',
        lambda folder: read_map(folder / 'm.npy'),
        [
            map_bytes(np.ones((5, 4), 'float32')),
            map_bytes(np.asfortranarray(np.ones((5, 4)))),
            map_bytes(np.ones((3, 3), bool)),
            map_bytes(np.ones((2, 2), '>i2')),
        ],
    ),
    'features': Reader(
        f'{FRAMES}/Image_feature_20obj.h5',
        lambda folder: read_features(folder, {'video': 'v', 'nodes': [[0, 1], [3, 2]]}),
        [features_bytes()],
    ),
    'boxes': Reader('b.json', lambda folder: read_objects(folder / 'b.json', 64, 48), [json.dumps(TRACKS).encode()]),
    'answers': Reader(
        'a.jsonl',
        lambda folder: read_answers(folder / 'a.jsonl'),
        [lines({'listener': 'l', 'question': 'q', 'kind': 'preference', 'answer': 'm', 'options': ['m', 'n']})],
    ),
    'card of a corpus': Reader('card.json', lambda folder: PreparedFolder(folder).rate, [json.dumps(CARD).encode()]),
    'card of videos': Reader(
        'card.json', lambda folder: VideoPairs(folder, 'test'), [json.dumps(CARD).encode()], {'test.jsonl': b''}
    ),
    'objects of videos': Reader('test.jsonl', lambda folder: AsiwClips(folder, 'test', CARD), [lines(OBJECT, OBJECT)]),
    'moving clips': Reader(
        'test.safetensors',
        lambda folder: examples(MovingClips(folder, 'test', ['x', 'y'])),
        [MOVING],
        {'test.jsonl': MOVING_ROWS},
    ),
    'rows of moving clips': Reader(
        'test.jsonl',
        lambda folder: examples(MovingClips(folder, 'test', ['x', 'y'])),
        [MOVING_ROWS],
        {'test.safetensors': MOVING},
    ),
    'rooms': Reader('r.safetensors', lambda folder: examples(RoomBank(folder / 'r.safetensors')), [ROOMS]),
    'stereo scenes': Reader('s.safetensors', lambda folder: examples(StereoScenes(folder / 's.safetensors')), [SCENES]),
    'params.yaml': Reader('params.yaml', settings_of, [EXPERIMENTS.encode()]),
}


def mutate_bytes(content: bytes, others: list[bytes], draw: random.Random) -> bytes:
    mutant = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        place, kind = draw.randrange(len(mutant) + 1), draw.randrange(8)
        if kind < 3:
            mutant[place : place + 1] = bytes([draw.randrange(256)])
        elif kind == 3:
            del mutant[place : place + draw.choice([1, 2, 8, 100, 10**6])]
        elif kind == 4:
            other = draw.choice(others)
            start = draw.randrange(len(other))
            mutant[place:place] = other[start : start + draw.randint(1, 200)]
        elif kind == 5:
            end = place + draw.randint(0, 9)
            mutant[place:end] = draw.choice(TOKENS)
        elif kind == 6:
            mutant[place : place + 8] = draw.choice(
                [b'\xff' * 8, b'\0' * 8, b'\xff' * 7 + b'\x7f', b'\0\0\0\0\1\0\0\0']
            )
        else:
            mutant[place:place] = mutant[max(place - 200, 0) : place]
    return bytes(mutant)


def nodes(value, path=()) -> list[tuple]:
    """Return the paths of all values in JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(inner for key, child in items for inner in nodes(child, (*path, key)))]


def mutate_value(value, draw: random.Random):
    value = copy.deepcopy(value)
    path = draw.choice(nodes(value))
    if not path:
        return draw.choice(HOSTILE)
    parent = value
    for key in path[:-1]:
        parent = parent[key]
    kind = draw.randrange(4)
    if kind == 0:
        del parent[path[-1]]
    elif kind == 1 and isinstance(parent, dict):
        parent[draw.choice(['extra', '', path[-1] * 2, '__class__'])] = parent.pop(path[-1])
    else:
        parent[path[-1]] = draw.choice(HOSTILE)
    return value


def mutate_json(content: bytes, draw: random.Random) -> bytes:
    """Change a value of JSON or JSON Lines, at times the encoding as well."""
    try:
        values = [json.loads(content)]
    except ValueError:
        values = [json.loads(line) for line in content.splitlines()]
    changed = draw.randrange(len(values))
    for _ in range(draw.choice([1, 1, 2])):
        values[changed] = mutate_value(values[changed], draw)
    text = '\n'.join(json.dumps(value) for value in values)
    return text.encode(draw.choice(['utf-8'] * 12 + ['utf-16', 'utf-8-sig', 'utf-32', 'utf-16-le']), 'surrogatepass')


def mutate_safetensors(content: bytes, draw: random.Random) -> bytes:
    """Change a value of the header, or of the note in it; lengths fit again."""
    size = int.from_bytes(content[:8], 'little')
    header, tensors = json.loads(content[8 : 8 + size]), content[8 + size :]
    if draw.random() < 0.5:
        header['__metadata__']['note'] = mutate_json(header['__metadata__']['note'].encode(), draw).decode('latin-1')
    else:
        header = mutate_value(header, draw)
    changed = json.dumps(header).encode()
    return len(changed).to_bytes(8, 'little') + changed + tensors


def mutate(reader: Reader, others: list[bytes], draw: random.Random) -> bytes:
    content = draw.choice(reader.seeds)
    structured = {'.json': mutate_json, '.jsonl': mutate_json, '.safetensors': mutate_safetensors}.get(
        Path(reader.file).suffix
    )
    if structured and draw.random() < 0.6:
        return structured(content, draw)
    return mutate_bytes(content, others, draw)


def outcome(reader: Reader, folder: Path, content: bytes) -> str:
    """Return 'read' or 'refused', or what went wrong."""
    (folder / reader.file).write_bytes(content)
    start = time.process_time()
    try:
        reader.read(folder)
        result = 'read'
    except (ValueError, OSError) as error:
        message = str(error)
        named = any(Path(file).name in message for file in (reader.file, *reader.beside)) or str(folder) in message
        fitting = named and len(message) < 1500 and '\n' not in message.rstrip('\n')
        result = 'refused' if fitting else f'{type(error).__name__} without name, on lines or long: {message[:300]}'
    except BaseException as error:
        place = error.__traceback__
        while place.tb_next:
            place = place.tb_next
        at = f'{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}'
        result = f'{type(error).__name__} at {at}: {str(error)[:200]}'
    return result if time.process_time() - start < SECONDS else f'took {time.process_time() - start:.0f} s'


def run(count: int, seed: int, names: list[str]) -> dict[str, dict[str, int]]:
    others = [content for reader in READERS.values() for content in reader.seeds]
    results: dict[str, dict[str, int]] = {}
    for name in names:
        reader, draw, results[name] = READERS[name], random.Random(f'{seed} {name}'), {}
        with tempfile.TemporaryDirectory() as folder:
            for file, content in {**reader.beside, reader.file: reader.seeds[0]}.items():
                (Path(folder) / file).parent.mkdir(parents=True, exist_ok=True)
                (Path(folder) / file).write_bytes(content)
            good = [outcome(reader, Path(folder), content) for content in reader.seeds]
            results[name] = {f'seeds {outcome}': good.count(outcome) for outcome in good}
            for _ in range(count):
                result = outcome(reader, Path(folder), mutate(reader, others, draw)).replace(folder, 'FOLDER')
                results[name][result] = results[name].get(result, 0) + 1
    return results


if __name__ == '__main__':
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] or list(READERS)), indent=1))
