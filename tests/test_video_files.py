"""Videos as people have them: one timeline for pictures and sound, pictures as they are shown, the mean of channels."""

import csv
import io
import json
import os
import warnings
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from films import CLICK, FPS, SECONDS, Pipe, boxes, click, click_time, encode_pictures, encode_sound, number, picture
from films import turn, write_film
from avlib.apps.localize import localize_recording, read_recording
from avlib.apps.video_objects import read_video_objects
from avlib.datasets.asiw_clips import window_sound
from avlib.datasets.object_tracks import ObjectTrack, write_objects
from avlib.datasets.video_pairs import VideoPairs, write_video_corpus
from avlib.io.audio import read_audio, write_audio
from avlib.io.pictures import MediaError
from avlib.io.video import VIDEO_SUFFIXES, video_frames, video_info, video_sound, write_video
from avlib.methods.localizer import ContrastiveLocalizer, LocalizerSettings

MPEG2 = {'codec': 'mpeg2video', 'audio': 'mp2', 'fps': 25}
CONTAINERS = {
    'film.mp4': {},
    'fragments.mp4': {'options': {'movflags': 'frag_keyframe+empty_moov'}},
    'film.mov': {'audio': 'pcm_s16le', 'rate': 44100},
    'film.m4v': {'codec': 'mpeg4', 'format': 'mp4'},
    'film.3gp': {'codec': 'mpeg4', 'rate': 8000},
    'film.mkv': {'audio': 'libopus'},
    'aac.mkv': {},
    'film.webm': {'codec': 'libvpx', 'audio': 'libopus'},
    'film.avi': {'codec': 'mjpeg', 'audio': 'pcm_s16le'},
    'reordered.avi': {'audio': 'pcm_s16le'},  # H.264 with B-frames
    'film.ts': {},
    'film.m2ts': {'audio': 'ac3', 'format': 'mpegts', 'options': {'mpegts_m2ts_mode': '1'}},
    'film.mpg': {**MPEG2, 'codec_options': {'bf': '2'}},
    'film.vob': {**MPEG2, 'format': 'vob'},
    'film.flv': {},
    'film.m3u8': {'format': 'hls'},
    'film.wmv': {'codec': 'wmv2', 'audio': 'wmav2', 'rate': 44100, 'sound': click(44100, 2), 'format': 'asf'},
    'film.mxf': {'codec': 'mpeg2video', 'audio': 'pcm_s16le', 'fps': 25},
}


def numbers(path: Path, fps: int = FPS) -> list[int]:
    times = [(i + 0.1) / fps for i in range(fps * SECONDS)]
    return [number(frame) for frame in video_frames(path, times)]


def check_film(path: Path, at: float = CLICK, fps: int = FPS, within: float = 0.02):
    """Check pictures, length and time of the click."""
    sound, rate = video_sound(path)
    assert numbers(path, fps) == [i % 64 for i in range(fps * SECONDS)]
    assert click_time(sound, rate) == pytest.approx(at, abs=within)
    info = video_info(path)
    assert info.seconds == pytest.approx(SECONDS, abs=1 / fps) and info.fps == pytest.approx(fps, rel=0.01)


@pytest.mark.parametrize('name', CONTAINERS)
def test_pictures_and_sound_lie_on_one_timeline(tmp_path, name):
    options = CONTAINERS[name]
    check_film(write_film(tmp_path / name, **options), fps=options.get('fps', FPS))


@pytest.mark.parametrize('name', ['film.mp4', 'film.mkv', 'film.ts', 'film.flv', 'film.mpg', 'film.mov', 'film.m3u8'])
def test_sound_that_begins_later_is_padded(tmp_path, name):
    options = CONTAINERS[name]
    check_film(write_film(tmp_path / name, late=1.0, **options), at=CLICK + 1, fps=options.get('fps', FPS))


@pytest.mark.parametrize('name', ['film.mp4', 'film.mkv', 'film.ts', 'film.flv'])
def test_sound_that_begins_before_the_pictures_is_cut(tmp_path, name):
    check_film(write_film(tmp_path / name, pictures_late=0.7, **CONTAINERS[name]), at=CLICK - 0.7)


@pytest.mark.parametrize(
    'name', ['film.mp4', 'film.mkv', 'aac.mkv', 'film.ts', 'film.flv', 'film.mpg', 'fragments.mp4']
)
def test_lost_packets_are_silence(tmp_path, name):
    options = CONTAINERS[name]
    path = write_film(tmp_path / name, lost=(1.0, 1.5), **options)
    check_film(path, fps=options.get('fps', FPS))
    assert len(video_sound(path)[0]) / video_sound(path)[1] == pytest.approx(SECONDS, abs=0.05)


@pytest.mark.parametrize('name', ['film.mkv', 'film.flv', 'film.ts'])
def test_jitter_of_stamps_neither_adds_nor_drops_samples(tmp_path, name):
    noise = np.random.default_rng(0)
    sound = noise.uniform(-0.5, 0.5, (1, 48000)).astype('float32')
    kept = {key: value for key, value in CONTAINERS[name].items() if key != 'audio'}
    steady = write_film(tmp_path / f'steady-{name}', sound=sound, **kept, audio='mp2' if 'ts' in name else 'aac')
    options = {**kept, 'audio': 'mp2' if 'ts' in name else 'aac'}
    wobbly = write_film(tmp_path / name, sound=sound, jitter=lambda: noise.uniform(-0.004, 0.004), **options)
    expected, found = video_sound(steady)[0], video_sound(wobbly)[0]
    shift = len(expected) - len(found)
    assert abs(shift) < 0.005 * 48000
    begin = max(0, shift)
    offsets = range(begin - 250, begin + 250)
    offset = min(offsets, key=lambda k: abs(found[5000:6000] - expected[5000 + k : 6000 + k]).max())
    difference = found[5000:40000] - expected[5000 + offset : 40000 + offset]
    assert difference.abs().max() < 1e-3  # the same samples, moved as a whole


def test_pictures_without_stamps_follow_the_frame_rate(tmp_path):
    path = write_film(tmp_path / 'raw.h264', audio=None, format='h264')
    assert numbers(path) == list(range(40)) and video_info(path).seconds == pytest.approx(4.0)


def test_a_file_written_to_a_pipe_has_its_length(tmp_path):
    for format_name, codec, audio in (
        ('webm', 'libvpx', 'libopus'),
        ('matroska', 'libx264', 'aac'),
        ('flv', 'flv', 'aac'),
    ):
        pipe = Pipe()
        write_film(None, codec, audio, file=pipe, format=format_name)
        (tmp_path / 'pipe').write_bytes(pipe.content)
        check_film(tmp_path / 'pipe')


def test_clocks_that_start_anew_are_joined(tmp_path):
    film = write_film(tmp_path / 'film.ts').read_bytes()
    (tmp_path / 'twice.ts').write_bytes(film + film)
    frames = [number(frame) for frame in video_frames(tmp_path / 'twice.ts', [0.55, 2.05, 4.75, 6.25])]
    sound, rate = video_sound(tmp_path / 'twice.ts')
    second = click_time(sound[3 * rate :], rate) + 3
    assert frames[:2] == [5, 20] and video_info(tmp_path / 'twice.ts').seconds == pytest.approx(8, abs=0.3)
    shown = number(next(video_frames(tmp_path / 'twice.ts', [second + 0.05])))
    assert shown == 20 and click_time(sound, rate) == pytest.approx(CLICK, abs=0.02)


def test_variable_frame_rate(tmp_path):
    stamps = [0, 1, 2, 10, 11, 30]
    with av.open(str(tmp_path / 'slow.mkv'), 'w') as container:
        packets = encode_pictures(container, 'mpeg4', {}, [picture(i) for i in range(len(stamps))], 10)
        for packet, stamp in zip(packets, stamps, strict=True):
            packet.pts = packet.dts = stamp
            container.mux(packet)
    times = [0.05, 0.15, 0.9, 1.05, 2.9, 3.05]
    assert [number(frame) for frame in video_frames(tmp_path / 'slow.mkv', times)] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize('name', ['film.ts', 'film.mkv', 'fragments.mp4', 'film.flv'])
def test_a_damaged_tail_is_left_out(tmp_path, name):
    content = write_film(tmp_path / name, **CONTAINERS[name]).read_bytes()
    (tmp_path / name).write_bytes(content[: int(0.8 * len(content))])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        sound, rate = video_sound(tmp_path / name)
        assert click_time(sound, rate) == pytest.approx(CLICK, abs=0.02)
        assert [number(frame) for frame in video_frames(tmp_path / name, [0.05, 1.05])] == [0, 10]


def test_a_truncated_file_is_named(tmp_path):
    path = write_film(tmp_path / 'film.mp4', options={'movflags': 'faststart'})
    path.write_bytes(path.read_bytes()[: int(0.6 * path.stat().st_size)])
    with pytest.warns(UserWarning, match='film.mp4: is truncated'):
        assert 1 < video_info(path).seconds < 3.8


# Pictures as they are shown

TURNS = {90: [0, 1, -1, 0], 180: [-1, 0, 0, -1], 270: [0, -1, 1, 0], 'mirrored': [-1, 0, 0, 1], 'over': [0, 1, 1, 0]}
RED_AT = {90: 'top', 180: 'right', 270: 'bottom', 'mirrored': 'right', 'over': 'top'}


def red_side(frame) -> str:
    """The side at which a frame `[3, H, W]` is red."""
    sides = {'left': frame[:, :, :8], 'right': frame[:, :, -8:], 'top': frame[:, :8], 'bottom': frame[:, -8:]}
    return max(sides, key=lambda side: (sides[side][0] - sides[side][2]).mean())


@pytest.mark.parametrize('name', TURNS)
def test_pictures_are_turned_as_shown(tmp_path, name):
    stored = np.zeros((64, 128, 3), 'uint8')
    stored[:, :32] = (255, 0, 0)
    path = turn(write_film(tmp_path / 'phone.mp4', frames=[stored] * 20), TURNS[name])
    info, frame = video_info(path), next(video_frames(path, [0.5]))
    upright = name in (180, 'mirrored')
    assert frame.shape[1:] == ((64, 128) if upright else (128, 64)) == (info.height, info.width)
    assert red_side(frame) == RED_AT[name]
    half = [32, 0, 64, 128] if not upright else [64, 0, 128, 64]
    write_objects(
        tmp_path / 'boxes.json', [ObjectTrack('bell', torch.zeros(1), torch.tensor([half]) * 1.0, torch.ones(1))]
    )
    objects = read_video_objects(path, 1.0, 32, 1, boxes=tmp_path / 'boxes.json')
    assert objects.box(0, 0).tolist() == [16, 0, 32, 32]


def test_pixels_that_are_no_squares_are_widened(tmp_path):
    with av.open(str(tmp_path / 'dvd.mkv'), 'w') as container:
        stream = container.add_stream('libx264', rate=10)
        stream.width, stream.height, stream.pix_fmt = 72, 58, 'yuv420p'
        stream.codec_context.sample_aspect_ratio = 2
        for _ in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((58, 72, 3), 'uint8'))))
        container.mux(stream.encode())
    info = video_info(tmp_path / 'dvd.mkv')
    assert (info.width, info.height) == (144, 58) and next(video_frames(tmp_path / 'dvd.mkv', [0])).shape == (
        3,
        58,
        144,
    )


def cover() -> bytes:
    content = io.BytesIO()
    Image.new('RGB', (300, 200), (200, 10, 10)).save(content, 'JPEG')
    return content.getvalue()


def write_with_cover(path: Path, codec: str | None) -> Path:
    """Write a film, or sound alone, with a cover picture."""
    with av.open(str(path), 'w') as container:
        frames = [picture(i) for i in range(FPS * SECONDS)]
        packets = encode_pictures(container, codec, {}, frames, FPS) if codec else []
        packets += encode_sound(container, 'aac', click(48000), 48000)
        stream = container.add_stream('mjpeg', rate=1)
        stream.width, stream.height, stream.pix_fmt, stream.disposition = 300, 200, 'yuvj420p', 0x400
        attached = stream.encode(av.VideoFrame.from_image(Image.new('RGB', (300, 200), (200, 10, 10))))
        for packet in [*attached, *stream.encode()]:
            container.mux(packet)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def cover_first(path: Path) -> Path:
    """Put the tags before the tracks, as taggers do, so that the cover is the first stream."""
    content, order = path.read_bytes(), {b'mvhd': 0, b'udta': 1}
    out = b''
    for kind, box in boxes(content):
        if kind == b'moov':
            box = box[:8] + b''.join(part for _, part in sorted(boxes(box[8:]), key=lambda row: order.get(row[0], 2)))
        out += box
    path.write_bytes(out)
    return path


def test_covers_are_not_the_film(tmp_path):
    last, first = (
        write_with_cover(tmp_path / 'last.mp4', 'libx264'),
        write_with_cover(tmp_path / 'first.mp4', 'libx264'),
    )
    cover_first(first)
    with av.open(str(first)) as container:
        assert container.streams.video[0].codec_context.name == 'mjpeg'
    with av.open(str(tmp_path / 'attached.mkv'), 'w') as container:
        packets = encode_pictures(container, 'libx264', {}, [picture(i) for i in range(40)], FPS)
        packets += encode_sound(container, 'aac', click(48000), 48000)
        container.add_attachment('cover.jpg', 'image/jpeg', cover())
        for packet in packets:
            container.mux(packet)
    for path in (last, first, tmp_path / 'attached.mkv'):
        check_film(path)
        assert video_info(path)[2:4] == (64, 64)


def test_sound_with_a_cover_is_no_video(tmp_path):
    song = write_with_cover(tmp_path / 'song.mp4', None)
    for read in (video_info, lambda path: list(video_frames(path, [0.0]))):
        with pytest.raises(MediaError, match='song.mp4: has no frames, only a cover'):
            read(song)
    assert click_time(*video_sound(song)) == pytest.approx(CLICK, abs=0.03)


# Channels, rates, errors


def test_mono_is_the_mean_of_all_channels(tmp_path):
    levels = []
    for channels in (1, 2, 6):
        clicks = click(44100, channels, at=0.5, seconds=1)
        path = write_film(tmp_path / f'{channels}.mov', audio='pcm_s16le', rate=44100, sound=clicks)
        sound = video_sound(path)[0]
        write_audio(tmp_path / f'{channels}.wav', torch.from_numpy(clicks), 44100)
        expected = read_audio(tmp_path / f'{channels}.wav', mono=True)[0][0]
        assert sound.abs().max() == pytest.approx(0.5, abs=1e-3)
        assert torch.allclose(sound[: len(expected)], expected, atol=1e-4)
        levels.append(sound.square().mean().item())
    assert levels == pytest.approx([levels[0]] * 3, rel=1e-3)


@pytest.mark.parametrize('channels', [2, 6])
def test_channels_that_cancel_are_named(tmp_path, channels):
    sound = click(44100, channels)
    sound[1::2] *= -1
    path = write_film(tmp_path / 'karaoke.mkv', audio='flac', rate=44100, sound=sound)
    with pytest.warns(UserWarning, match='karaoke.mkv: its channels cancel'):
        video_sound(path)


@pytest.mark.parametrize('second', [{'rate': 48000, 'sound': click(48000, 2)}, {'rate': 22050, 'sound': click(22050)}])
def test_rate_and_channels_that_change_midway(tmp_path, second):
    first = write_film(tmp_path / 'a.ts', audio='aac', rate=44100).read_bytes()
    (tmp_path / 'both.ts').write_bytes(first + write_film(tmp_path / 'b.ts', audio='aac', **second).read_bytes())
    sound, rate = video_sound(tmp_path / 'both.ts')
    later = sound[3 * rate :]
    assert rate == 44100 and len(sound) / rate == pytest.approx(8, abs=0.3)
    assert click_time(sound, rate) == pytest.approx(CLICK, abs=0.02)
    assert click_time(later, rate) == pytest.approx(CLICK + 1, abs=0.3) and later.abs().max() == pytest.approx(
        0.5, abs=0.05
    )


@pytest.mark.parametrize('rate', [7000, 37800, 50000, 192000])
def test_rates_that_aac_lacks_are_resampled(tmp_path, rate):
    sound = torch.from_numpy(click(rate, at=0.5, seconds=1)[0])
    path = write_video(tmp_path / 'out.mp4', [torch.zeros(3, 32, 32)] * 10, 10, sound, rate)
    assert click_time(*video_sound(path)) == pytest.approx(0.5, abs=0.02)
    assert [name.name for name in tmp_path.iterdir()] == ['out.mp4']


def test_errors_of_the_encoder_name_the_file(tmp_path):
    with pytest.raises(ValueError, match='out.mp4'):
        write_video(tmp_path / 'out.mp4', [torch.zeros(3, 1, 1)] * 4, 10)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', [b'film\xff.mp4', b'12:30.mp4', b'100%d film.mp4', 'Café.mp4'.encode()])
def test_any_name_of_a_file_is_read(tmp_path, name):
    path = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))
    content = write_film(tmp_path / 'plain.mp4').read_bytes()
    try:
        path.write_bytes(content)
    except OSError:
        pytest.skip('the file system refuses this name')
    check_film(path)


def test_tags_that_are_no_text_are_ignored(tmp_path):
    path = write_film(tmp_path / 'film.avi', **CONTAINERS['film.avi'])
    content = path.read_bytes()
    assert b'Lavf' in content
    path.write_bytes(content.replace(b'Lavf', b'L\xe9\xff\xfe', 1))
    check_film(path)


def test_suffixes_that_people_have():
    names = '.ts .mts .m2ts .mpg .mpeg .flv .m4v .3gp .wmv .ogv .mp4 .mkv .webm .avi .mov .vob'.split()
    assert set(names) <= VIDEO_SUFFIXES


# What trains and what is asked gets the sound that belongs to the pictures


class Level(ContrastiveLocalizer):
    """A localizer whose maps are the level of the sound."""

    def localize(self, audio, image):
        return audio.abs().amax(1)[:, None, None].expand(-1, 6, 6)


def level_model(seconds: float):
    model = Level(LocalizerSettings(rate=8000, visual={'width': 1}, audio={'width': 1}, area=0.1)).eval()
    return model, {'rate': 8000, 'prepared': {'size': 48, 'seconds': seconds}}


@pytest.mark.parametrize('name', ['film.mp4', 'film.mkv', 'film.ts', 'film.flv'])
def test_localize_hears_the_click_where_it_is_shown(tmp_path, name):
    path = write_film(tmp_path / name, late=1.0, **CONTAINERS[name])
    result = localize_recording(*level_model(0.2), read_recording(path, None, 8000), every=0.1)
    loud = [time for time, level in zip(result.times, result.maps[:, 0, 0], strict=True) if level > 0.25]
    assert loud[0] == pytest.approx(CLICK + 1, abs=0.11) and loud[-1] == pytest.approx(CLICK + 1.2, abs=0.11)


def test_objects_are_those_of_the_moment(tmp_path):
    path = write_film(tmp_path / 'film.ts')
    write_objects(
        tmp_path / 'boxes.json', [ObjectTrack('bell', torch.zeros(1), torch.tensor([[0.0, 0, 64, 64]]), torch.ones(1))]
    )
    video = read_video_objects(path, 1.0, 64, 6, boxes=tmp_path / 'boxes.json')
    shown = [number(video.frames[i]) for i in range(len(video.frames))]
    assert shown == [int(10 * time + 1e-6) for time in video.times]


def middle_click(delay: float) -> dict:
    """Options of a film whose sound begins later, and whose click comes in the middle of the pictures."""
    return {'late': delay, 'sound': click(48000, at=SECONDS / 2 - delay)}


def check_pairs(folder: Path, split: str):
    """Check that each pair has the picture of the middle and a click that begins in the middle of the sound."""
    pairs = VideoPairs(folder, split)
    for i in range(len(pairs)):
        pair = pairs[i]
        assert number(pair['image']) in (19, 20)
        assert click_time(pair['audio'], 8000, pair['audio'].abs().max() / 3) == pytest.approx(0.5, abs=0.02)


SETTINGS = {'size': 64, 'rate': 8000, 'seconds': 1.0, 'seed': 0}
CLIPS = ['film.mp4', 'film.mkv', 'film.ts', 'film.flv', 'aac.mkv', 'fragments.mp4']


def test_pairs_of_vggsound_hear_what_is_shown(tmp_path):
    rows, clips = [], {}
    for i, name in enumerate(CLIPS):
        split = 'train' if i < 4 else 'test'
        rows.append((f'video{i}', i, 'dog barking' if i % 2 else 'playing flute', split))
        clips[f'video{i}_{i:06d}'] = name
        file = tmp_path / f'videos/video{i}_{i:06d}{Path(name).suffix}'
        file.parent.mkdir(exist_ok=True)
        write_film(file, **CONTAINERS[name], **middle_click(0.5))
    with open(tmp_path / 'vggsound.csv', 'w', newline='') as file:
        csv.writer(file).writerows(rows)
    listed = [{'file': name, 'class': name[5], 'bbox': [[0, 0, 1, 1]]} for name in list(clips)[4:]]
    (tmp_path / 'vggss.json').write_text(json.dumps(listed))
    write_video_corpus(tmp_path / 'lists', 'vggsound', tmp_path, SETTINGS)
    for split in ('train', 'test'):
        check_pairs(tmp_path / 'lists', split)


def test_pairs_of_flickr_hear_what_is_shown(tmp_path):
    for folder in ('videos', 'Annotations'):
        (tmp_path / folder).mkdir()
    for i, name in enumerate(CLIPS[:4]):
        write_film(tmp_path / f'videos/{i:04d}{Path(name).suffix}', **CONTAINERS[name], **middle_click(0.7))
    box = '<bbox><id>1</id><xmin>64</xmin><ymin>80</ymin><xmax>128</xmax><ymax>170</ymax></bbox>'
    for i in range(2):
        (tmp_path / f'Annotations/{i:04d}.xml').write_text(f'<annotation>{box}</annotation>')
    write_video_corpus(tmp_path / 'lists', 'flickr-soundnet', tmp_path, SETTINGS)
    for split in ('train', 'test'):
        check_pairs(tmp_path / 'lists', split)


@pytest.mark.parametrize('name', ['film.mp4', 'film.mkv', 'film.ts'])
def test_windows_of_asiw_hear_what_is_shown(tmp_path, name):
    write_film(tmp_path / name, late=1.0, **CONTAINERS[name])
    sound, window = window_sound(tmp_path, {'sound': name, 'window': 3}, 8000, 2.0)
    assert window + 3 - window == 3 and click_time(sound, 8000) - window == pytest.approx(0.0, abs=0.02)


# Any container, codec, rate and layout that PyAV writes

RATES = [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000]
CODECS = {  # rates and numbers of channels of each; whether it keeps samples as they are
    'pcm_s16le': (RATES, [1, 2, 6], True),
    'flac': (RATES, [1, 2, 6], True),
    'alac': (RATES, [1, 2], True),
    'aac': (RATES, [1, 2, 6], False),
    'libopus': ([8000, 12000, 16000, 24000, 48000], [1, 2, 6], False),
    'ac3': ([32000, 44100, 48000], [1, 2, 6], False),
    'mp2': ([16000, 22050, 24000, 32000, 44100, 48000], [1, 2], False),
    'libmp3lame': (RATES, [1, 2], False),
}
HOLDS = {
    'mp4': ('mpeg4', ['aac', 'flac', 'alac', 'libopus', 'ac3']),
    'mov': ('mpeg4', ['pcm_s16le', 'aac', 'alac']),
    'matroska': ('mpeg4', ['pcm_s16le', 'flac', 'aac', 'libopus', 'ac3', 'mp2', 'libmp3lame']),
    'webm': ('libvpx', ['libopus']),
    'avi': ('mjpeg', ['pcm_s16le', 'ac3']),
    'mpegts': ('mpeg2video', ['aac', 'mp2', 'ac3', 'libopus']),
    'flv': ('flv', ['aac']),
    'ogg': ('libvpx', ['flac', 'libopus']),
}


@st.composite
def kinds(draw) -> tuple:
    container = draw(st.sampled_from(sorted(HOLDS)))
    codec, sounds = HOLDS[container]
    sound = draw(st.sampled_from(sounds))
    rates, channels, lossless = CODECS[sound]
    rate, count = draw(st.sampled_from(rates)), draw(st.sampled_from(channels))
    return container, codec, sound, rate, count, lossless, draw(st.floats(0.3, 1.2)), draw(st.sampled_from([0, 0.4]))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(kinds())
def test_any_container_codec_rate_and_layout(tmp_path, kind):
    container, codec, audio, rate, channels, lossless, at, late = kind
    late = 0 if container in ('avi', 'ogg') else late  # these have no begin of a stream
    time = np.arange(round(1.6 * rate)) / rate
    tone = (np.where((time >= at) & (time < at + 0.3), 0.5, 0) * np.sin(2 * np.pi * 80 * time)).astype('float32')
    frames, heard = [picture(i) for i in range(25)], np.stack([tone] * channels)
    if channels == 6 and not lossless:
        heard[3] = 0  # lossy codecs keep only the lowest frequencies of this channel
    options = {'format': container, 'fps': 25, 'sound': heard, 'late': late}
    path = write_film(tmp_path / f'film.{container}', codec, audio, rate, frames=frames, **options)
    with av.open(str(path)) as opened:
        block = (opened.streams.audio[0].codec_context.frame_size or 1024) / rate
    sound, found = video_sound(path)
    if audio != 'libopus':
        assert found == rate
    assert len(sound) / found == pytest.approx(1.6 + late, abs=block + 0.002)
    difference = 10 * np.log10(sound.square().sum().item() / found / (np.square(heard.mean(0)).sum() / rate))
    assert abs(difference) < (0.1 if lossless else 1.0)
    assert click_time(sound, found) == pytest.approx(at + late, abs=0.02)
    assert [number(frame) for frame in video_frames(path, [0.01, 0.41, 0.81])] == [0, 10, 20]
