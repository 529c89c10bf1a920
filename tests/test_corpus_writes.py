"""Corpora are written by one call at a time, are whole at every moment, and have safe ids; they are read quickly."""

import json
import os
import subprocess
import sys
import time
import unicodedata
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import soundfile

from avlib.corpora.corpus_check import check_corpus
from avlib.corpora.corpus_folder import _swap_names, new_corpus
from avlib.corpora.folder import add_corpus
from avlib.corpora.links import link_corpus, read_link, read_mixtures
from avlib.corpora.manifest import ManifestError, read_manifest
from avlib.corpora.stereo_folder import stereo_folder
from avlib.corpora.video_corpora import link_video_list
from avlib.corpora.video_links import link_videos, read_video_link
from avlib.io.audio import AudioError
from avlib.io.locks import InUseError
from avlib.synthesis.spoken_digits import add_digits
from workbench import CLI, ROOT, environment

DYING = """
import os, pathlib, shutil, sys
from avlib.corpora import corpus_folder

number, exchange, count = int(sys.argv[1]), sys.argv[2], 0

def dying(function):
    def call(*arguments, **options):
        global count
        count += 1
        if count == number:
            os._exit(137)  # as kill -9 does
        return function(*arguments, **options)
    return call

for name in ('rename', 'replace', 'unlink', 'rmdir', 'mkdir'):
    setattr(os, name, dying(getattr(os, name)))
for name in ('rename', 'replace'):
    setattr(pathlib.Path, name, dying(getattr(pathlib.Path, name)))
shutil.rmtree = dying(shutil.rmtree)
swap = dying(corpus_folder._swap_names) if exchange == 'exchange' else lambda first, second: False
corpus_folder._swap_names = swap
with corpus_folder.new_corpus('c', 'corpora', overwrite=True) as folder:
    (folder / 'audio').mkdir()
    (folder / 'audio/a').write_text('new')
    (folder / 'manifest.jsonl').write_text('new')
"""


def sound(path: Path, channels: int = 1, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(seed).standard_normal((800, channels)), 8000)


def recordings(folder: Path, *names: str) -> Path:
    for seed, name in enumerate(names or [f'{i}.wav' for i in range(6)]):
        sound(folder / name, seed=seed)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(folder: Path, content: str) -> None:
    """Write a corpus of two files that belong together."""
    (folder / 'audio').mkdir(parents=True)
    for name in ('audio/a', 'manifest.jsonl'):
        (folder / name).write_text(content)


def content(folder: Path) -> set[str]:
    return {(folder / name).read_text() for name in ('audio/a', 'manifest.jsonl')}


def needs_exchange(folder: Path) -> None:
    """Skip a test where the file system can't swap two folders in one step."""
    for name in 'ab':
        (folder / name).mkdir()
    if not _swap_names(folder / 'a', folder / 'b'):
        pytest.skip('this file system does not swap names')


@pytest.mark.parametrize('exchange', ['exchange', 'renames'])
def test_a_kill_at_any_step_leaves_a_whole_corpus(exchange, tmp_path):
    """It dies at the n-th change of the folders, for all n; then a reader comes, and the next writer."""
    if exchange == 'exchange':
        needs_exchange(tmp_path)
    found = []
    for number in range(1, 100):
        root = tmp_path / str(number)
        write(root / 'corpora/c', 'old')
        died = subprocess.run([sys.executable, '-c', DYING, str(number), exchange], cwd=root, env=environment(ROOT))
        if exchange == 'exchange':
            assert (root / 'corpora/c').is_dir()  # even for a reader that knows nothing of this
        read_link(root / 'corpora/c')
        found.append(content(root / 'corpora/c'))
        assert len(found[-1]) == 1, (number, found[-1])
        with new_corpus('c', root / 'corpora', overwrite=True) as folder:
            write(folder, 'next')
        assert content(root / 'corpora/c') == {'next'} and names(root / 'corpora') == ['c']
        if died.returncode == 0:
            break
        assert died.returncode == 137
    assert found[0] == {'old'} and found[-1] == {'new'} and len(found) > 8


def test_a_killed_overwrite_leaves_the_corpus_to_check(tmp_path):
    """As it was found: the process ended between the two renamings, and the corpus had a hidden name."""
    recordings(tmp_path / 'mine')
    add_corpus(tmp_path / 'mine', 'c', tmp_path / 'corpora')
    before = (tmp_path / 'corpora/c/manifest.jsonl').read_bytes()
    (tmp_path / 'corpora/c').rename(tmp_path / 'corpora/.c.old')
    write(tmp_path / 'corpora/.c.0123abcd.partial', 'half')
    checked = subprocess.run([*CLI, 'data', 'check', 'c', '--root', 'corpora'], cwd=tmp_path, capture_output=True)
    assert checked.returncode == 0, checked.stderr
    assert (tmp_path / 'corpora/c/manifest.jsonl').read_bytes() == before
    (tmp_path / 'corpora/c').rename(tmp_path / 'corpora/.c.old')
    with pytest.raises(ValueError, match='c exists; .*overwrite it'):  # the next call restores it, and asks
        add_corpus(tmp_path / 'mine', 'c', tmp_path / 'corpora')
    assert names(tmp_path / 'corpora') == ['c'] and str(check_corpus('c', tmp_path / 'corpora'))


def test_a_killed_writer_is_no_obstacle(tmp_path):
    """The lock of a process that was killed while it copied is free, and its files are removed."""
    code = (
        'import os\nfrom avlib.corpora.corpus_folder import new_corpus\n'
        "with new_corpus('c', 'corpora') as folder:\n    (folder / 'x').touch()\n    os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, '-c', code], cwd=tmp_path, env=environment(ROOT)).returncode == -9
    assert len(names(tmp_path / 'corpora')) == 2  # a lock and a folder, both hidden
    add_corpus(recordings(tmp_path / 'mine'), 'c', tmp_path / 'corpora')
    assert names(tmp_path / 'corpora') == ['c']


def test_of_two_adds_one_wins(tmp_path):
    """The second one ends at once with a plain message, while the first one copies."""
    rate, long = 16000, 0.1 * np.random.default_rng(0).standard_normal(1_600_000)
    (tmp_path / 'mine').mkdir()
    for i in range(6):
        soundfile.write(tmp_path / f'mine/{i}.wav', long, rate)
    command = [*CLI, 'data', 'add', 'mine', '--name', 'c', '--root', 'corpora']
    both = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = [(call.communicate(timeout=300), call.returncode) for call in both]
    assert sorted(status for _, status in ended) == [0, 1], ended
    (message,) = (errors for (_, errors), status in ended if status)
    assert 'c: is being written' in message or 'c exists' in message, message
    assert 'Traceback' not in message and len(read_manifest(tmp_path / 'corpora/c/manifest.jsonl', True)) == 6
    assert names(tmp_path / 'corpora') == ['c']


def writers(folder: Path) -> dict:
    """Functions that write a corpus, `function(overwrite)`, by its name."""
    root = folder / 'corpora'
    for i in range(6):
        sound(folder / f'stereo/{i}.wav', 2, i)
    sound(folder / 'vgg/abc_1.wav')
    (folder / 'vgg/vggsound.csv').write_text('abc,1,dog,train\n')
    (folder / 'ave').mkdir()
    for name in ('trainSet', 'valSet', 'testSet'):
        (folder / f'ave/{name}.txt').write_text('Bark&a&good&0&10')
    recordings(folder / 'mine')
    return {
        'mine': lambda overwrite: add_corpus(folder / 'mine', 'mine', root, overwrite=overwrite),
        'digits': lambda overwrite: add_digits('digits', root, overwrite=overwrite),
        'stereo-stereo': lambda overwrite: link_corpus('stereo', folder / 'stereo', root, overwrite=overwrite),
        'vggsound': lambda overwrite: link_video_list('vggsound', folder / 'vgg', root, overwrite=overwrite),
        'ave': lambda overwrite: link_videos('ave', folder / 'ave', root, overwrite=overwrite),
    }


@pytest.mark.parametrize('name', ['mine', 'digits', 'stereo-stereo', 'vggsound', 'ave'])
def test_all_that_write_a_corpus_are_alone_and_replace_it_on_request(name, tmp_path):
    function, root = writers(tmp_path)[name], tmp_path / 'corpora'
    with patch('avlib.synthesis.spoken_digits.VOICES_PER_SPLIT', {'train': 2, 'valid': 2, 'test': 2}):
        with new_corpus(name, root) as folder:
            write(folder, 'older')
            with pytest.raises(InUseError, match=f'{name}: is being written'):
                function(True)
        with pytest.raises(ValueError, match=f'{name} exists'):
            function(False)
        assert content(root / name) == {'older'} and names(root) == [name]
        with patch('avlib.synthesis.spoken_digits.write_digit_corpus', lambda folder, rate: write(folder, 'newer')):
            function(True)
    assert names(root) == [name]
    assert content(root / name) == {'newer'} if name == 'digits' else not (root / name / 'audio/a').exists()


@pytest.mark.parametrize(('kind', 'read'), [('stereo-stereo', read_link), ('ave', read_video_link)])
def test_readers_of_links_restore_them(kind, read, tmp_path):
    writers(tmp_path)[kind](False)
    folder = tmp_path / 'corpora' / kind
    link = read(folder)
    folder.rename(folder.with_name(f'.{kind}.old'))
    assert read(folder) == link is not None


FORMS = [('Take.wav', 'take.wav'), *[[unicodedata.normalize(form, 'Flöte.wav') for form in ('NFC', 'NFD')]]]


@pytest.mark.parametrize('twins', FORMS)
def test_files_that_differ_in_case_or_accents_alone_are_refused_by_name(twins, tmp_path):
    recordings(tmp_path / 'mine', *twins, *(f'{i}.wav' for i in range(6)))
    if len(names(tmp_path / 'mine')) < 8:
        pytest.skip('this file system does not tell them apart')
    with pytest.raises(AudioError, match='1 of 8 files.*--skip-bad') as error:
        add_corpus(tmp_path / 'mine', 'c', tmp_path / 'corpora')
    assert all(name in str(error.value) for name in twins) and 'but for case, accents' in str(error.value)
    assert not (tmp_path / 'corpora').exists()
    added = add_corpus(tmp_path / 'mine', 'c', tmp_path / 'corpora', skip_bad=True)
    assert len(added.clips) == 7 and all(unicodedata.is_normalized('NFC', clip.id) for clip in added.clips)


def test_files_in_folders_have_ids_without_slashes(tmp_path):
    for speaker in 'ab':
        recordings(tmp_path / 'mine' / speaker)
    added = add_corpus(tmp_path / 'mine', 'c', tmp_path / 'corpora', speakers_from='folder')
    assert sorted(clip.id for clip in added.clips) == [f'{speaker}-{i}' for speaker in 'ab' for i in range(6)]
    assert {clip.path for clip in added.clips} == {f'audio/{speaker}/{i}.flac' for speaker in 'ab' for i in range(6)}
    for i in range(6):
        sound(tmp_path / f'stereo/day/{i}.wav', 2, i)
    assert {mixture.id for mixture in stereo_folder(tmp_path / 'stereo')} == {f'day-{i}' for i in range(6)}


ROW = {'id': 'a', 'split': 'train', 'path': 'a.wav', 'sample_rate': 8000, 'frames': 100, 'labels': []}


def manifest(folder: Path, rows: list[dict]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'manifest.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return folder / 'manifest.jsonl'


@pytest.mark.parametrize('name', ['a/b', '/a', '../a', '..', 'a..b', 'a\\b', 'a\0b', 'a\nb', '\x1b[2J'])
def test_unsafe_ids_are_refused(name, tmp_path):
    with pytest.raises(
        ManifestError, match='row 1: field "id" .*contains .*; rename it, or add the corpus again'
    ) as error:
        read_manifest(manifest(tmp_path, [{**ROW, 'id': name}]))
    assert str(error.value).isprintable()
    mixture = {'id': name, 'split': 'train', 'mixture': '/m.wav', 'sources': [], 'speakers': [], 'noise': None}
    rows = json.dumps({**mixture, 'rate': 8000, 'frames': 8, 'channels': 1})
    (tmp_path / 'mixtures.jsonl').write_text(rows + '\n')
    with pytest.raises(ManifestError, match='mixtures.jsonl'):
        read_mixtures(tmp_path / 'mixtures.jsonl', 'train')


@pytest.mark.parametrize('pair', [('Ann', 'aNN'), ('Zoe\u0308', 'Zo\xeb'), ('\xc9', 'e\u0301'), ('ann', 'ann')])
def test_ids_that_look_alike_are_refused(pair, tmp_path):
    with pytest.raises(ManifestError, match='row 2: field "id": .* is taken by row 1'):
        read_manifest(manifest(tmp_path, [{**ROW, 'id': name} for name in pair]))


def test_names_are_composed_and_paths_are_not(tmp_path):
    name = 'Zoe\u0308'
    row = {**ROW, 'id': name, 'speaker': name, 'recording': name, 'labels': [name], 'path': f'{name}.wav'}
    (clip,) = read_manifest(manifest(tmp_path, [row]))
    assert clip.id == clip.speaker == clip.recording == clip.label == 'Zo\xeb' and clip.path == f'{name}.wav'


def test_the_system_is_asked_once_a_folder_not_once_a_clip(tmp_path):
    rows = [{**ROW, 'id': str(i), 'path': f'audio/{i % 10}/{i}.wav'} for i in range(1000)]
    for row in rows:
        (tmp_path / row['path']).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / row['path']).touch()
    path = manifest(tmp_path, rows)
    calls = ('os.lstat', 'os.stat', 'os.scandir', 'os.readlink')
    with pytest.MonkeyPatch.context() as monkeypatch:
        asked = []
        for call in calls:
            function = getattr(os, call[3:])
            monkeypatch.setattr(call, lambda *args, f=function, **options: (asked.append(args), f(*args, **options))[1])
        assert len(read_manifest(path, check_files=True)) == 1000
    assert 12 <= len(asked) <= 40  # twelve folders, and the manifest itself


def test_speakers_are_in_one_split_where_there_are_enough(tmp_path):
    for speaker in range(8):
        recordings(tmp_path / f'mine/{speaker}', '0.flac', '1.flac')
    clips = add_corpus(tmp_path / 'mine', 'c', tmp_path / 'corpora', speakers_from='folder').clips
    splits = {speaker: {clip.split for clip in clips if clip.speaker == speaker} for speaker in map(str, range(8))}
    assert all(len(found) == 1 for found in splits.values()) and set.union(*splits.values()) == {
        'train',
        'valid',
        'test',
    }


def test_a_reader_finds_a_corpus_while_it_is_replaced(tmp_path):
    """Each reading, in a process that replaces the corpus again and again, finds one content."""
    needs_exchange(tmp_path)
    write(tmp_path / 'c', '0')
    code = (
        'from pathlib import Path\nfrom avlib.corpora.corpus_folder import new_corpus\n'
        "for i in range(1, 200):\n    with new_corpus('c', '.', overwrite=True) as folder:\n"
        "        (folder / 'audio').mkdir()\n"
        "        for name in ('audio/a', 'manifest.jsonl'):\n            (folder / name).write_text(str(i))"
    )
    writer = subprocess.Popen([sys.executable, '-c', code], cwd=tmp_path, env=environment(ROOT))
    missing = 0
    while writer.poll() is None:
        missing += not (tmp_path / 'c/manifest.jsonl').is_file()
        time.sleep(0.0002)
    assert writer.returncode == 0 and content(tmp_path / 'c') == {'199'} and not missing
