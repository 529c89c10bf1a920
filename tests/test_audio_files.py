"""Sound files are read as what they hold: their true length, level and time, whatever their header and name say."""

import io
import os
import struct
import warnings

import numpy as np
import pytest
import soundfile as sf
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avlib.io import audio
from avlib.io.audio import AudioError, AudioWriter, audio_info, read_audio, read_blocks, write_audio
from avlib.io.audio_stats import measure_audio
from avlib.io.mp3_frames import frame_bytes

RATE = 16000
SAMPLES = 0.2 * np.sin(np.arange(2 * RATE) * 0.1)
CONTAINERS = ('WAV', 'WAVEX', 'RF64', 'W64', 'AIFF', 'AU', 'CAF')
COMPRESSED = {
    'MP3': ('MPEG_LAYER_III', 44100),
    'OGG': ('VORBIS', 22050),
    'OPUS': ('OPUS', 48000),
    'FLAC': ('PCM_16', 8000),
}


def encode(form, samples=SAMPLES, rate=RATE, subtype=None, **options):
    """Return `samples` as the bytes of a sound file; in blocks, because libsndfile fails on long ones of Vorbis."""
    stream, channels = io.BytesIO(), 1 if samples.ndim == 1 else samples.shape[1]
    with sf.SoundFile(stream, 'w', rate, channels, subtype, format=form, **options) as file:
        for start in range(0, len(samples), 4096):
            file.write(samples[start : start + 4096])
    return stream.getvalue()


def tone(rate, seconds, hertz=300):
    return 0.4 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


def compressed(name, seconds, rate=None, hertz=300):
    subtype, usual = COMPRESSED[name]
    form = 'OGG' if name == 'OPUS' else name
    return encode(form, tone(rate or usual, seconds, hertz), rate or usual, subtype)


def claim(content, size):
    """Return a container whose header claims `size` bytes of samples."""
    place, form, offset = {
        b'RIFF': (content.find(b'data') + 4, '<I', 0),
        b'RF64': (content.find(b'ds64') + 16, '<Q', 0),
        b'riff': (content.find(b'data\xf3\xac') + 16, '<Q', 24),
        b'FORM': (content.find(b'SSND') + 4, '>I', 8),
        b'.snd': (8, '>I', 0),
        b'caff': (content.find(b'data') + 4, '>q', 4),
    }[content[:4]]
    return content[:place] + struct.pack(form, size + offset) + content[place + struct.calcsize(form) :]


@pytest.fixture
def save(tmp_path):
    def write(content, name='sound.wav'):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


def whole(path, rate=None):
    """Return the frames of `path` by every way of reading, which must agree."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        info, (signal, found) = audio_info(path), read_audio(path)
        blocks = torch.cat(list(read_blocks(path, 5000)), 1)
        section = read_audio(path, start=info.frames // 3, frames=info.frames // 2)[0]
    assert info.frames == signal.shape[1] and found == info.rate == (rate or info.rate)
    start, stop = info.frames // 3, info.frames // 3 + info.frames // 2
    tolerance = 1e-3 if info.format in ('MP3', 'OGG') else 0  # decoders of these codecs warm up after a jump
    assert torch.equal(blocks, signal) or (blocks - signal).abs().max() < tolerance
    assert torch.equal(section, signal[:, start:stop]) or (section - signal[:, start:stop]).abs().max() < tolerance
    return signal, [str(warning.message) for warning in caught]


# wrong lengths in headers


@pytest.mark.parametrize('form', CONTAINERS)
@pytest.mark.parametrize('wrong', ['+44', '+1', '0', '1/4', '-1000'])
def test_a_wrong_length_hides_nothing_and_is_said(save, form, wrong):
    content = encode(form, subtype='PCM_16')
    size = 2 * len(SAMPLES)
    header = len(content) - size
    number = {'+44': size + header, '+1': size + 1, '0': 0, '1/4': size // 4, '-1000': size - 1000}[wrong]
    if form == 'CAF' and wrong == '+44':
        number = size + 4096 + 4
        content = content[: content.index(b'data') + 16 + size]
        number = size + content.index(b'data') + 16
    signal, remarks = whole(save(claim(content, number)))
    assert signal.shape[1] == len(SAMPLES)
    assert np.allclose(signal[0], SAMPLES, atol=2**-14)
    assert remarks and 'sound.wav' in remarks[0] and str(number) in remarks[0]


@pytest.mark.parametrize('size', [0xFFFFFFFF, 0x7FFFFFFF, 0xFFFFFFFF - 44, 0x80000000])
def test_a_length_that_a_pipe_could_not_know_is_no_remark(save, size):
    content = encode('WAV', subtype='PCM_16')
    for riff in (0, 0xFFFFFFFF, size):
        piped = content[:4] + struct.pack('<I', riff) + content[8:]
        signal, remarks = whole(save(claim(piped, size)))
        assert signal.shape[1] == len(SAMPLES) and not remarks


def test_caf_whose_length_is_not_known(save):
    signal, remarks = whole(save(claim(encode('CAF', subtype='FLOAT'), -5)))
    assert signal.shape[1] == len(SAMPLES) and not remarks


@pytest.mark.parametrize('chunk', [b'LIST\x0a\0\0\0INFOISFT\0\0', b'id3 \x06\0\0\0ID3\3\0\0', b'Zzzz\x04\0\0\0abcd'])
@pytest.mark.parametrize('wrong', [None, 0xFFFFFFFF, 1000])
def test_a_trailing_chunk_is_no_sound(save, chunk, wrong):
    content = encode('WAV', subtype='PCM_16')
    content = content if wrong is None else claim(content, wrong)
    if wrong and chunk[:4] == b'Zzzz':
        return  # an unknown chunk is known only by the place that the header gives
    signal, _ = whole(save(content + chunk))
    assert signal.shape[1] == len(SAMPLES)


@pytest.mark.parametrize('form', CONTAINERS)
def test_missing_samples_are_named_as_truncation(save, form):
    content = encode(form, subtype='PCM_16')
    path = save(content[:-2000])
    for read in (audio_info, read_audio, lambda path: list(read_blocks(path, 1000)), measure_audio):
        with pytest.raises(AudioError, match=r'sound.wav: is truncated \(\d+ bytes of its data are missing\)'):
            read(path)


def test_part_of_a_last_frame_is_left_out(save):
    content = encode('WAV', np.stack([SAMPLES, -SAMPLES], 1), subtype='PCM_24')
    size = len(SAMPLES) * 6
    for cut in (claim(content[:-5], 0), claim(content[:-5], size - 5), claim(content[:-5], 0xFFFFFFFF)):
        assert whole(save(cut))[0].shape == (2, len(SAMPLES) - 1)


def test_sizes_past_4_gb_that_wrapped_and_bw64(save):
    content = encode('RF64', subtype='PCM_16')
    assert whole(save(b'BW64' + content[4:]))[0].shape[1] == len(SAMPLES)
    content = encode('WAV', subtype='PCM_16')
    assert whole(save(claim(content, (2 * len(SAMPLES) + 2**32) % 2**32)))[1] == []


@pytest.mark.parametrize('subtype', ['IMA_ADPCM', 'MS_ADPCM', 'GSM610', 'G721_32', 'NMS_ADPCM_16'])
def test_block_codecs_end_where_their_header_says(save, subtype):
    content = bytearray(encode('WAV', SAMPLES[:10001], subtype=subtype))
    place = content.index(b'fact') + 8
    if subtype == 'IMA_ADPCM':  # libsndfile writes the number of whole blocks
        content[place : place + 4] = struct.pack('<I', 10001)
    assert whole(save(bytes(content)))[0].shape[1] == 10001
    content[place : place + 4] = bytes(4)
    assert 10001 <= whole(save(bytes(content)))[0].shape[1] < 10600


# streams that are joined or have no length


@pytest.mark.parametrize('name', COMPRESSED)
def test_joined_files_are_read_to_their_end(save, name):
    rate = COMPRESSED[name][1]
    path = save(compressed(name, 2) + compressed(name, 2, hertz=500) + compressed(name, 1), f'joined.{name.lower()}')
    signal, remarks = whole(path, rate)
    assert signal.shape[1] == 5 * rate and not remarks
    for start, hertz in ((0, 300), (2, 500), (4, 300)):
        spectrum = np.abs(np.fft.rfft(signal[0, start * rate : (start + 1) * rate]))
        assert spectrum.argmax() == hertz


@pytest.mark.parametrize('name', COMPRESSED)
def test_a_part_of_another_rate_is_refused_with_its_time(save, name):
    other = 24000 if name == 'OPUS' else 16000
    path = save(compressed(name, 1) + compressed(name, 1, other), 'joined')
    with pytest.raises(AudioError, match=rf'joined: goes on after 1.00 s with {other} Hz and 1 channel'):
        read_audio(path)


def test_mp3_of_variable_rate_without_a_count(save):
    quiet_and_loud = np.concatenate([np.zeros(5 * 44100), np.random.default_rng(0).uniform(-0.5, 0.5, 5 * 44100)])
    content = encode('MP3', quiet_and_loud, 44100, 'MPEG_LAYER_III', bitrate_mode='VARIABLE')
    bare = content[frame_bytes(content[1], content[2]) :]
    for piece in (bare, bare[100:], b'ID3\4\0\0\0\0\0\5hello' + bare, bare + b'TAG' + bytes(125)):
        signal, _ = whole(save(piece, 'podcast.mp3'))
        assert abs(signal.shape[1] / 44100 - 10) < 0.1
        onset = int((signal[0].abs() > 0.1).int().argmax()) / 44100
        assert abs(onset - 5) < 0.06


def test_a_tag_between_mp3_frames(save):
    content = compressed('MP3', 3)
    half = content.index(b'\xff\xfb', len(content) // 2)
    tag = b'ID3\x04\0\0\0\0\x00\x40' + bytes(64)
    signal, remarks = whole(save(content[:half] + tag + content[half:]))
    assert signal.shape[1] == 3 * 44100 and not remarks


def test_torn_streams_are_named(save):
    for name in COMPRESSED:
        content = compressed(name, 2)
        for part in (content[: len(content) // 2], content[:-1]):
            with pytest.raises(AudioError, match='torn: is truncated'):
                read_audio(save(part, 'torn'))


def test_an_ogg_file_without_its_mark_at_the_end_is_read_with_a_remark(save):
    for name in ('OGG', 'OPUS'):
        content = compressed(name, 4)
        last = content.rindex(b'OggS')
        signal, remarks = whole(save(content[:last]))
        assert signal.shape[1] > 2 * COMPRESSED[name][1] and 'lacks the mark at its end' in remarks[0]
        signal, remarks = whole(save(content + b'an advertisement' + content))
        assert signal.shape[1] == 8 * COMPRESSED[name][1] and '16 bytes of it belong to no Ogg page' in remarks[0]


def test_a_tag_before_any_header_changes_nothing(save):
    tag = b'ID3\4\0\0\0\0\0\5hello'
    for content in (encode('WAV', subtype='PCM_16'), claim(encode('WAV', subtype='PCM_16'), 1000), encode('FLAC')):
        assert whole(save(tag + content))[0].shape[1] == len(SAMPLES)
    signal, _ = whole(save(tag + bytes(100) + compressed('MP3', 2)))
    assert signal.shape[1] == 2 * 44100


def test_flac_from_a_pipe(save):
    content = bytearray(compressed('FLAC', 3))
    content[21:26] = bytes([content[21] & 0xF0]) + bytes(4)
    signal, remarks = whole(save(bytes(content)))
    assert signal.shape[1] == 24000 and not remarks


# names


@pytest.mark.parametrize(
    'name', ['._sound.mp3', 'sound.raw', 'sound.sd2', 'sound', '.wav', 'ünïcode ♪.flac', 'a b.wav']
)
def test_a_name_changes_nothing(save, name):
    for content in (encode('WAV', subtype='PCM_16'), encode('FLAC', subtype='PCM_16')):
        path = save(content, name)
        assert whole(path)[0].shape[1] == len(SAMPLES)
        assert measure_audio(path).frames == len(SAMPLES)


def test_a_name_that_is_no_text_is_read_and_written_and_printed(tmp_path):
    for raw in (b'caf\xe9.wav', b'\xff\xfe.flac'):
        path = tmp_path / os.fsdecode(raw)
        try:
            write_audio(path, torch.from_numpy(SAMPLES).float(), RATE)
        except OSError:
            pytest.skip('this file system takes UTF-8 names only')
        assert whole(path)[0].shape[1] == len(SAMPLES)
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(AudioError, match='is truncated') as error:
            audio_info(path)
        print(error.value, file=io.TextIOWrapper(io.BytesIO(), encoding='utf-8'))


def test_a_broken_header_in_a_file_with_such_a_name_warns(tmp_path):
    path = tmp_path / os.fsdecode(b'caf\xe9.wav')
    path.write_bytes(claim(encode('WAV', subtype='PCM_16'), 1000))
    with pytest.warns(UserWarning, match='claims 1000 bytes') as caught:
        read_audio(path)
    str(caught[0].message).encode()


# mono


@pytest.mark.parametrize('channels', [1, 2, 6, 8])
def test_mono_is_the_mean_of_any_layout(save, channels):
    for form in ('WAV', 'WAVEX', 'FLAC', 'CAF'):
        path = save(encode(form, np.stack([SAMPLES] * channels, 1), subtype='PCM_16'))
        assert np.allclose(read_audio(path, mono=True)[0][0], SAMPLES, atol=2**-14)
        assert not measure_audio(path).cancels


@pytest.mark.parametrize('gains', [(1, -1), (1, -0.99), (1, 1, -1, -1), (0.5, 0.5, 0.5, -1.5)])
def test_channels_that_cancel_are_said_and_not_silent(save, gains):
    path = save(encode('WAV', np.stack([gain * SAMPLES for gain in gains], 1), subtype='FLOAT'))
    with pytest.warns(UserWarning, match='sound.wav: its channels cancel'):
        read_audio(path, mono=True)
    stats = measure_audio(path)
    assert stats.cancels and not stats.silent


# writing past the limit of WAV


@pytest.mark.parametrize('channels', [1, 2, 6])
def test_wav_past_its_limit_becomes_rf64(tmp_path, monkeypatch, channels):
    monkeypatch.setattr(audio, 'WAV_LIMIT', 10000)
    signal = torch.from_numpy(SAMPLES).float().repeat(channels, 1)
    path = tmp_path / 'long.wav'
    with AudioWriter(path, RATE, channels) as writer:
        for block in signal.split(5000, 1):
            writer.write(block)
    assert path.read_bytes()[:4] == b'RF64' and audio_info(path).format == 'RF64'
    assert torch.equal(whole(path)[0], signal)
    assert np.array_equal(sf.read(path, dtype='float32', always_2d=True)[0].T, signal)


# what PyAV writes

PYAV = {
    'pcm.wav': ('wav', 'pcm_s24le', {}),
    'float.wav': ('wav', 'pcm_f64le', {}),
    'long.wav': ('wav', 'pcm_s16le', {'rf64': 'always'}),
    'ima.wav': ('wav', 'adpcm_ima_wav', {}),
    'ms.wav': ('wav', 'adpcm_ms', {}),
    'mulaw.wav': ('wav', 'pcm_mulaw', {}),
    'pcm.w64': ('w64', 'pcm_s16le', {}),
    'pcm.aiff': ('aiff', 'pcm_s16be', {}),
    'little.aifc': ('aiff', 'pcm_s16le', {}),
    'pcm.caf': ('caf', 'pcm_s16be', {}),
    'pcm.au': ('au', 'pcm_s16be', {}),
    'lossless.flac': ('flac', 'flac', {}),
    'counted.mp3': ('mp3', 'libmp3lame', {}),
    'uncounted.mp3': ('mp3', 'libmp3lame', {'write_xing': '0', 'id3v2_version': '0'}),
    'wrapped.wav': ('wav', 'libmp3lame', {}),
    'layer2.mp2': ('mp2', 'mp2', {}),
    'speech.opus': ('ogg', 'libopus', {}),
}


def write_by_pyav(path, form, codec, options, samples, rate):
    """Write `samples` `[channel, time]` by PyAV."""
    av = pytest.importorskip('av')
    layout = 'mono' if len(samples) == 1 else 'stereo'
    with av.open(str(path), 'w', format=form, options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = layout
        frame = av.AudioFrame.from_ndarray(samples, format='fltp', layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        coder = stream.codec_context
        resampler = av.AudioResampler(coder.format, layout, rate, frame_size=coder.frame_size or 1024)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(part))


@pytest.mark.parametrize('name', PYAV)
@pytest.mark.parametrize('channels', [1, 2])
def test_what_pyav_writes_has_its_length_level_and_click(tmp_path, name, channels):
    rate = 48000 if name == 'speech.opus' else 44100
    samples = np.tile((0.15 * np.sin(np.arange(2 * rate) * 0.05)).astype('float32'), (channels, 1))
    samples[:, rate : rate + 8] = 0.9
    path = tmp_path / name
    write_by_pyav(path, *PYAV[name], samples, rate)
    signal, remarks = whole(path, rate)
    coded = name in ('uncounted.mp3', 'wrapped.wav', 'layer2.mp2', 'ima.wav', 'ms.wav')  # have no exact length
    assert not remarks and len(signal) == channels
    assert 0 <= signal.shape[1] - 2 * rate <= (2048 if coded else 0)
    assert abs(int(signal.abs().sum(0).argmax()) - rate) < (1200 if coded else 20)
    assert abs(measure_audio(path).level_db - 10 * np.log10(np.mean(samples**2))) < 1


# properties


def codecs():
    """Yield each container and subtype that libsndfile writes and whose length it states."""
    unusual = {
        'SD2',
        'RAW',
        'MPC2K',
        'XI',
        'SDS',
        'WVE',
        'HTK',
        'SVX',
        'AVR',
        'VOC',
        'MAT4',
        'MAT5',
        'NIST',
        'IRCAM',
        'PVF',
        'PAF',
    }
    for form in sorted(set(sf.available_formats()) - unusual):
        for subtype in sorted(sf.available_subtypes(form)):
            if sf.check_format(form, subtype) and not subtype.startswith('DWVW'):
                yield form, subtype


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    codec=st.sampled_from(list(codecs())),
    rate=st.sampled_from([8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000]),
    channels=st.integers(1, 6),
    frames=st.integers(4000, 20000),
    at=st.floats(0.2, 0.8),
)
def test_length_level_and_click_agree(tmp_path_factory, codec, rate, channels, frames, at):
    form, subtype = codec
    samples = np.repeat(0.15 * np.sin(np.arange(frames) * 0.15)[:, None], channels, 1)
    click = int(frames * at)
    samples[click : click + 8] = 0.8
    try:
        content = encode(form, samples, rate, subtype)
    except (sf.LibsndfileError, ValueError):
        return  # not every codec takes every rate and number of channels
    path = tmp_path_factory.getbasetemp() / 'property'
    path.write_bytes(content)
    signal, remarks = whole(path, rate)
    lossy = subtype in ('MPEG_LAYER_III', 'VORBIS', 'OPUS')
    rough = subtype.startswith(('NMS', 'G72', 'GSM'))  # codecs of telephones
    block = 0 if lossy else 4096 if 'IMA' in subtype or 'MS_' in subtype else 640  # the last one is filled with silence
    assert not remarks
    assert signal.shape[0] == channels and frames <= signal.shape[1] <= frames + block
    assert abs(int(signal[:, :frames].abs().sum(0).argmax()) - click) <= (rate // 1000 if lossy else 64 if rough else 8)
    level = 10 * np.log10(np.mean(samples**2))
    assert abs(measure_audio(path).level_db - level) < (6 if rough else 1)


@pytest.mark.parametrize('form', [*CONTAINERS, *COMPRESSED, 'NIST'])
def test_damaged_files_are_read_or_named_and_never_hang(save, form):
    content = compressed(form, 0.1) if form in COMPRESSED else encode(form, SAMPLES[:800])
    random = np.random.default_rng(0)
    cut = [content[:count] for count in (*range(1, 120, 3), *random.integers(120, len(content), 10))]
    changed = []
    for _ in range(60):
        damaged = bytearray(content)
        for place in random.integers(0, 160, 3):
            damaged[place] = random.choice([0, 255, random.integers(256)])
        changed.append(bytes(damaged))
    for part in [*cut, *changed]:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            try:
                read_audio(save(part))
            except AudioError as error:
                assert '\n' not in str(error)


@pytest.mark.parametrize('form', CONTAINERS)
def test_joined_containers_of_any_length_are_read_whole(save, form):
    first, second = SAMPLES[:1001], SAMPLES[:777]
    signal, _ = whole(save(encode(form, first) + encode(form, second)))
    assert signal.shape[1] == 1778
