"""Which files of a folder count: one walker for all corpora, in any mess that systems, clouds and archives leave."""

import ast
import json
import os
import unicodedata
import warnings
from pathlib import Path

import pytest
import soundfile
import torch
from typer.testing import CliRunner

from avlib.apps.cli_data import data_app
from avlib.apps.evaluate_maps import check_map_names
from avlib.corpora.corpus_check import check_corpus
from avlib.corpora.find_files import find_files
from avlib.corpora.folder import add_corpus
from avlib.corpora.ids import id_from_path
from avlib.corpora.links import Link, link_corpus
from avlib.corpora.localization_benchmarks import read_flickr
from avlib.corpora.manifest import ManifestError, read_manifest
from avlib.corpora.stereo_folder import stereo_folder
from avlib.corpora.video_corpora import clips_on_disk, link_video_list
from avlib.io.audio import AudioError, read_audio, write_audio

ROOT = Path(__file__).parent.parent
FORK = b'\0\5\26\7\0\2\0\0Mac OS X        \0\2\0\0\0\11\0\0\0\62\0\0\0\260' + bytes(4000)
CORPORA = sorted((ROOT / 'avlib/corpora').glob('*.py'))
OTHER_LISTINGS = {  # names of corpora; whether a folder is empty; which files of a manifest are links
    'corpus_check': {'glob'},
    'corpus_folder': {'iterdir'},
    'folder_files': {'scandir'},
}
CAFE = os.fsdecode(b'caf\xe9')  # in Latin-1


def sound(path: Path, channels: int = 1, rate: int = 8000, frames: int = 800) -> None:
    seed = torch.manual_seed(sum(os.fsencode(path.name)))
    path.parent.mkdir(parents=True, exist_ok=True)
    signal = 0.1 * torch.randn(channels, frames, generator=seed)
    if path.suffix.lower() in ('.wav', '.flac'):
        write_audio(path, signal, rate)
    else:
        soundfile.write(path, signal.T.numpy(), rate)


def clutter(root: Path) -> None:
    """Put beside each file and in each folder what systems leave there."""
    for folder, _, names in list(os.walk(root)):
        for name in names:
            (Path(folder) / f'._{name}').write_bytes(FORK)
        for name in ('.DS_Store', 'Thumbs.db', 'desktop.ini', '.far.wav.icloud', '.sync.ffs_db'):
            (Path(folder) / name).write_bytes(b'\0')
        (Path(folder) / '__MACOSX').mkdir()
        (Path(folder) / '__MACOSX/._a.wav').write_bytes(FORK)
        (Path(folder) / 'gone.wav').symlink_to('nowhere.wav')
        (Path(folder) / 'gone.flac').symlink_to('gone.flac')
        (Path(folder) / 'circle').symlink_to('.')


def wsj(root: Path, suffix: str = '.wav') -> None:
    for split in ('tr', 'cv', 'tt'):
        for i in range(2):
            for part in ('mix', 's1', 's2'):
                name = f'01{i}a0101_1.0_02{i}c0202_-1.0'
                sound(root / f'2speakers/wav8k/min/{split}/{part}/{name}{suffix if part == "s1" else ".wav"}')


def libri2mix(root: Path) -> None:
    for split in ('train-360', 'dev', 'test'):
        for part in ('mix_both', 's1', 's2', 'noise'):
            sound(root / f'Libri2Mix/wav16k/min/{split}/{part}/84-121-0001_174-505-0002.wav', rate=16000)


def librispeech(root: Path) -> None:
    for subset in ('train-clean-100', 'dev-clean', 'test-clean'):
        for speaker in ('19', '26'):
            chapter = root / 'LibriSpeech' / subset / speaker / '198'
            sound(chapter / f'{speaker}-198-0000.flac')
            (chapter / f'{speaker}-198.trans.txt').write_text(f'{speaker}-198-0000 HELLO\n')


def stereo(root: Path) -> None:
    for i in range(6):
        sound(root / f'day {i % 2}/{i}.wav', channels=2)


LAYOUTS = {
    'wsj0-2mix': (wsj, {}),
    'libri2mix': (libri2mix, {'noisy': True}),
    'librispeech': (librispeech, {}),
    'stereo': (stereo, {}),
}


def run(*arguments):
    return CliRunner().invoke(data_app, list(map(str, arguments)))


@pytest.mark.parametrize('kind', LAYOUTS)
def test_clutter_changes_no_link(kind, tmp_path):
    make, options = LAYOUTS[kind]
    make(tmp_path / 'mine')
    link = Link(kind, str(tmp_path / 'mine'), options)
    clean = link.items()
    clutter(tmp_path / 'mine')
    assert link.items() == clean
    flags = [f'--{name}' for name in options]
    linked = run('link', kind, tmp_path / 'mine', '--root', tmp_path / 'corpora', *flags)
    assert linked.exit_code == 0, linked.output
    assert 'left out: AppleDouble companions' in linked.output and 'broken links' in linked.output
    (name,) = (path.name for path in (tmp_path / 'corpora').iterdir())
    checked = run('check', name, '--root', tmp_path / 'corpora')
    assert f'{len(clean)} ' in checked.output and 'files of the operating system' in checked.output


def test_clutter_changes_no_added_corpus(tmp_path):
    for name in ('a/1.wav', 'a/2.WAV', 'b/3.Flac', 'b/4.OGG', 'b/c/5.mp3', 'b/c/6.AIFF'):
        sound(tmp_path / 'mine' / name, rate=16000, frames=8000)
    clean = add_corpus(tmp_path / 'mine', 'clean', tmp_path / 'corpora')
    clutter(tmp_path / 'mine')
    cluttered = add_corpus(tmp_path / 'mine', 'cluttered', tmp_path / 'corpora')
    assert cluttered.clips == clean.clips and len(clean.clips) == 6 and not clean.left_out.paths
    report = str(check_corpus('cluttered', tmp_path / 'corpora'))
    counts = cluttered.left_out.counts
    assert counts['AppleDouble companions'] == 6 and counts['broken links'] == 8, counts
    assert 'left out: AppleDouble companions: 6' in report and 'left out' not in str(
        check_corpus('clean', tmp_path / 'corpora')
    )


def test_clutter_changes_no_list_of_videos(tmp_path):
    root = tmp_path / 'vgg'
    for name in ('abc_000030', 'abd_000000', 'zzz_000110'):
        sound(root / f'audio/{name}.wav')
    (root / 'vggsound.csv').write_text('abc,30,dog,train\nabd,0,dog,train\nzzz,110,cello,test\n')
    for name in ('1.mp4', '2.jpg', '2.wav'):
        (tmp_path / 'flickr').mkdir(exist_ok=True)
        (tmp_path / 'flickr' / name).touch()
    (tmp_path / 'xml').mkdir()
    (tmp_path / 'xml/7.xml').write_text('<a><bbox><x>0</x><x>0</x><x>9</x><x>9</x></bbox></a>')
    (tmp_path / 'maps').mkdir()
    (tmp_path / 'maps/7.npy').touch()
    clips = clips_on_disk(tmp_path / 'flickr')
    clutter(tmp_path)
    _, listed = link_video_list('vggsound', root, tmp_path / 'corpora')
    assert len(listed.clips) == 3 and not listed.damaged
    assert 'left out: AppleDouble' in str(check_corpus('vggsound', tmp_path / 'corpora'))
    assert clips_on_disk(tmp_path / 'flickr') == clips and set(clips) == {'1', '2'}
    assert list(read_flickr(tmp_path / 'xml')) == ['7']
    check_map_names(tmp_path / 'maps', ['7.npy'])


def test_order_does_not_depend_on_the_file_system(tmp_path, monkeypatch):
    for name in ('b/1.wav', 'a/2.wav', 'a/1.wav', 'a b/1.wav', 'B/1.wav', 'é/1.wav', 'e\u0301t/1.wav', 'z.wav'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / 'linked').symlink_to('/usr/share/doc/nothing')
    expected, scandir = find_files(tmp_path), os.scandir

    class Reversed(list):
        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(os, 'scandir', lambda folder: Reversed(list(scandir(folder))[::-1]))
    assert find_files(tmp_path) == expected and len(expected) == 8
    assert [path.parent.name for path in expected][-2:] == ['é', 'e\u0301t']


def test_links_are_followed_once(tmp_path):
    real, far = tmp_path / 'real', tmp_path / 'far'
    sound(far / 'deep/x.wav')
    sound(real / 'a/1.wav')
    (real / 'far').symlink_to(far)
    (real / 'far again').symlink_to(far / 'deep')
    (far / 'back').symlink_to(real)
    (far / 'deep/up').symlink_to('..')
    (real / 'a/a').symlink_to('../a')
    (real / 'second').symlink_to('a')
    names = [path.relative_to(real).as_posix() for path in find_files(real)]
    assert len(names) == len({os.path.realpath(real / name) for name in names}) == 2 and 'a/1.wav' in names
    (tmp_path / 'door').symlink_to(real)
    assert [path.relative_to(tmp_path / 'door').as_posix() for path in find_files(tmp_path / 'door')] == names


def test_linked_parts_of_a_corpus_count(tmp_path):
    librispeech(tmp_path / 'store')
    mine = tmp_path / 'mine/LibriSpeech'
    mine.mkdir(parents=True)
    for subset in (tmp_path / 'store/LibriSpeech').iterdir():
        if subset.name == 'dev-clean':
            (mine / subset.name).symlink_to(subset)
        else:
            (mine / subset.name).mkdir()
            for speaker in subset.iterdir():
                (mine / subset.name / speaker.name).symlink_to(speaker)
    stored, linked = (Link('librispeech', str(tmp_path / name)).items() for name in ('store', 'mine'))
    assert stored == linked and len(linked) == 6


def test_folders_that_cannot_be_read_are_reported(tmp_path, monkeypatch):
    for i in range(12):
        sound(tmp_path / f'mine/{"shut" if i > 8 else "open"}/{i}.wav')
    scandir = os.scandir

    def refuse(folder='.'):
        if Path(folder).name == 'shut':
            raise PermissionError(13, 'Permission denied')
        return scandir(folder)

    monkeypatch.setattr(os, 'scandir', refuse)
    added = add_corpus(tmp_path / 'mine', 'mine', tmp_path / 'corpora')
    assert len(added.clips) == 9 and added.left_out.counts == {'folders that cannot be read': 1}


def test_suffixes_may_have_any_case(tmp_path):
    wsj(tmp_path / 'mine', '.WAV')
    mixtures = Link('wsj0-2mix', str(tmp_path / 'mine')).items()
    assert len(mixtures) == 6 and mixtures[0].sources[0].suffix == '.WAV'
    sound(tmp_path / 'mine/2speakers/wav8k/min/tr/s1/010a0101_1.0_020c0202_-1.0.wav')
    with pytest.raises(ManifestError, match='has the name of'):
        Link('wsj0-2mix', str(tmp_path / 'mine')).items()


def odd_names() -> list[str]:
    return [
        'new\nline.wav',
        'quote "double" \'single\' `back`.wav',
        ' spaces  and\ttab .wav',
        '🎻 violin 👩\u200d🎤.wav',
        'back\\slash.wav',
        'x' * 251 + '.wav',
        'é' * 125 + 'y.wav',
        '%s {label} $HOME ;|&.wav',
        'two..dots.wav',
        unicodedata.normalize('NFD', 'Flöte.wav'),
        'Case.wav',
    ]


def test_odd_names_make_a_corpus(tmp_path):
    for name in odd_names():
        sound(tmp_path / 'mine' / name)
    added = add_corpus(tmp_path / 'mine', 'mine', tmp_path / 'corpora', labels_from='name')
    clips = read_manifest(added.manifest, check_files=True)
    folded = {unicodedata.normalize('NFC', clip.path).casefold() for clip in clips}
    assert clips == added.clips and len(folded) == len({clip.id for clip in clips}) == len(odd_names())
    assert sum(clip.label == unicodedata.normalize('NFC', 'Flöte') for clip in clips) == 1
    originals = {id_from_path(Path(name)): tmp_path / 'mine' / name for name in odd_names()}
    for clip in clips:
        original = originals[clip.id]
        assert torch.allclose(read_audio(clip.file(added.manifest.parent))[0], read_audio(original)[0], atol=1e-6)
    assert 'no problems' not in check_corpus('mine', tmp_path / 'corpora').problems


def test_odd_names_make_a_link(tmp_path):
    for name in odd_names():
        sound(tmp_path / 'mine' / name, channels=2)
    link, items = link_corpus('stereo', tmp_path / 'mine', tmp_path / 'corpora')
    assert len({item.id for item in items}) == len(odd_names()) == len(link.items())


def test_speakers_are_found_however_accents_are_stored(tmp_path):
    for speaker in ('ann', 'bob', 'Zoe\u0308'):
        for i in range(4):
            sound(tmp_path / f'mine/{speaker}/{i}.wav')
    options = {'speakers_from': 'folder', 'held_out': 0.3}
    for name, written in (('composed', 'Zo\xeb'), ('decomposed', 'Zoe\u0308')):
        added = add_corpus(tmp_path / 'mine', name, tmp_path / 'corpora', test_speakers=[written], **options)
        assert {clip.split for clip in added.clips if clip.speaker == 'Zo\xeb'} == {'test'}


def test_misnamed_recordings_have_an_error_that_may_be_skipped(tmp_path):
    for i in range(8):
        sound(tmp_path / f'mine/{i}.wav')
    sound(tmp_path / f'mine/{CAFE}.wav')
    sound(tmp_path / f'mine/{CAFE}/9.wav')
    (tmp_path / f'mine/{CAFE}.txt').touch()  # is no sound anyway
    arguments = ('add', tmp_path / 'mine', '--name', 'mine', '--root', tmp_path / 'corpora')
    refused = run(*arguments)
    message = str(refused.exception)
    assert refused.exit_code == 1 and message.startswith(f'{tmp_path}/mine: 2 of 10 files cannot be used')
    assert r'caf\xe9.wav: the name is not UTF-8' in message and 'convmv' in message and message.isprintable() is False
    assert all(line.isprintable() for line in message.split('\n')) and not (tmp_path / 'corpora/mine').exists()
    skipped = run(*arguments, '--skip-bad')
    assert skipped.exit_code == 0 and '8 clips' in skipped.output, skipped.output
    assert 'names that are not UTF-8: 2' in skipped.output


@pytest.mark.parametrize('kind', LAYOUTS)
def test_misnamed_files_of_a_layout_have_an_error_that_may_be_skipped(kind, tmp_path):
    make, options = LAYOUTS[kind]
    make(tmp_path / 'mine')
    clean = Link(kind, str(tmp_path / 'mine'), options).items()
    recordings = [path for path in (tmp_path / 'mine').rglob('*') if path.suffix in ('.wav', '.flac')]
    for path in {path.parent: path for path in recordings}.values():
        os.link(path, path.with_name(f'{CAFE}{path.suffix}'))
    flags = [f'--{name}' for name in options]
    arguments = ('link', kind, tmp_path / 'mine', '--root', tmp_path / 'corpora', *flags)
    refused = run(*arguments)
    assert isinstance(refused.exception, ManifestError), refused.output
    assert r'the name is not UTF-8' in str(refused.exception) and str(refused.exception).isprintable()
    linked = run(*arguments, '--skip-bad')
    assert linked.exit_code == 0 and 'names that are not UTF-8' in linked.output, linked.output
    (name,) = (path.name for path in (tmp_path / 'corpora').iterdir())
    stored = json.loads((tmp_path / f'corpora/{name}/link.json').read_text())
    assert Link(**stored).items() == clean  # the pipeline skips them, too


def test_misnamed_videos_have_an_error_that_may_be_skipped(tmp_path):
    sound(tmp_path / 'vgg/abc_000030.wav')
    sound(tmp_path / f'vgg/{CAFE}/zzz_000110.wav')
    (tmp_path / 'vgg/vggsound.csv').write_text('abc,30,dog,train\nzzz,110,cello,test\n')
    arguments = ('link', 'vggsound', tmp_path / 'vgg', '--root', tmp_path / 'corpora')
    assert r'caf\xe9/zzz_000110.wav: the name is not UTF-8' in str(run(*arguments).exception)
    linked = run(*arguments, '--skip-bad')
    assert linked.exit_code == 0 and '1 clips of 1 labels' in linked.output, linked.output
    with pytest.raises(ManifestError, match='the name is not UTF-8'):
        link_corpus('stereo', tmp_path / f'vgg/{CAFE}', tmp_path / 'corpora')


def test_damaged_mixtures_may_be_skipped(tmp_path):
    wsj(tmp_path / 'mine')
    folder = tmp_path / 'mine/2speakers/wav8k/min/tr'
    (folder / 's1/010a0101_1.0_020c0202_-1.0.wav').write_bytes(FORK)
    arguments = ('link', 'wsj0-2mix', tmp_path / 'mine', '--root', tmp_path / 'corpora')
    assert run(*arguments).exit_code == 1
    linked = run(*arguments, '--skip-bad')
    assert linked.exit_code == 0 and '5 mixtures' in linked.output and 'files that cannot be used: 1' in linked.output


def test_recordings_of_one_name_are_named(tmp_path):
    stereo(tmp_path)
    sound(tmp_path / 'day 0/0.flac', channels=2)
    with pytest.raises(ManifestError, match='has the name of'):
        stereo_folder(tmp_path)
    assert len(stereo_folder(tmp_path, skip_bad=True)) == 6


def test_a_recording_with_two_names_comes_once(tmp_path):
    for i in range(8):
        sound(tmp_path / f'mine/take {i}.wav')
    (tmp_path / 'mine/0 best.wav').symlink_to('take 3.wav')  # sorts first, yet is the link
    (tmp_path / 'mine/z.wav').symlink_to('take 4.wav')
    added = add_corpus(tmp_path / 'mine', 'mine', tmp_path / 'corpora')
    assert [clip.id for clip in added.clips] == [f'take {i}' for i in range(8)]
    assert added.left_out.counts == {'links to files that are read already': 2}


@pytest.mark.parametrize('gains', [(1, -1), (1, 1, -2), (0.5, -0.499)])
def test_cancelling_channels_are_not_silent(gains, tmp_path):
    for i in range(8):
        sound(tmp_path / f'mine/{i}.wav')
    noise = 0.1 * torch.randn(800, generator=torch.manual_seed(0))
    write_audio(tmp_path / 'mine/wide.wav', torch.stack([gain * noise for gain in gains]), 8000)
    with pytest.raises(AudioError, match='wide.wav: channels cancel in their mean; invert one') as error:
        add_corpus(tmp_path / 'mine', 'mine', tmp_path / 'corpora')
    assert 'silent' not in str(error.value)
    assert len(add_corpus(tmp_path / 'mine', 'mine', tmp_path / 'corpora', skip_bad=True).clips) == 8


def test_manifests_hold_the_frames_that_decode(tmp_path):
    root = tmp_path / 'vgg'
    for i, suffix in enumerate(['.mp3', '.ogg', '.flac', '.wav', '.mp3', '.ogg', '.mp3', '.ogg']):
        sound(root / f'v{i}_1{suffix}', rate=44100, frames=12000)
    for path in [path for path in root.iterdir() if path.suffix in ('.mp3', '.ogg')]:
        path.write_bytes(path.read_bytes() * 2)  # joined, as web radios and voice recorders do
    with open(root / 'v3_1.wav', 'r+b') as file:
        file.seek(4)
        file.write(b'\xff' * 4)  # the size of a pipe
    (root / 'vggsound.csv').write_text(''.join(f'v{i},1,dog,{"test" if i > 5 else "train"}\n' for i in range(8)))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of headers that are wrong
        _, listed = link_video_list('vggsound', root, tmp_path / 'corpora')
        added = add_corpus(root, 'mine', tmp_path / 'corpora')
        decoded = {clip.id: read_audio(clip.file(root))[0].shape[1] for clip in listed.clips}
        assert check_corpus('vggsound', tmp_path / 'corpora').rows and check_corpus('mine', tmp_path / 'corpora').rows
    assert {clip.id: clip.frames for clip in listed.clips} == decoded and len(decoded) == 8
    assert [clip.frames for clip in added.clips] == [decoded[f'{clip.id[:2]}_000001'] for clip in added.clips]
    assert decoded['v1_000001'] == 24000 and decoded['v0_000001'] >= 24000 and decoded['v3_000001'] == 12000


@pytest.mark.parametrize('path', [path for path in CORPORA if path.name != 'find_files.py'], ids=lambda path: path.stem)
def test_corpora_are_read_through_the_walker(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
    walks = [node.attr for node in calls if node.attr in ('glob', 'rglob', 'iterdir', 'walk', 'scandir', 'listdir')]
    assert set(walks) <= OTHER_LISTINGS.get(path.stem, set())
