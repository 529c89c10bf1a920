"""Pickles of strangers: plain data are read to equal values, and nothing of a file is called, imported or believed."""

import base64
import json
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from avlib.corpora.asiw import asiw_videos, read_video_objects
from avlib.corpora.manifest import ManifestError
from avlib.io.plain_pickle import MAX_VALUES, PickleError, parse_plain_pickle

ROOT = Path(__file__).parent.parent
OLD_AND_NEW = {  # {'object_wind': [(9, int64(2))], 'dist_mat': [[0, 0.5]], 'name': 'café', '€': None}
    'Python 2.7, NumPy 1.16, cPickle, protocol 2': """
        gAJ9cQEoVQtvYmplY3Rfd2luZHECXXEDSwljbnVtcHkuY29yZS5tdWx0aWFycmF5CnNjYWxhcgpxBGNudW1weQpkdHlwZQpxBVUCaThLAEsBh1
        JxBihLA1UBPE5OTkr/////Sv////9LAHRiVQgCAAAAAAAAAIZScQeGcQhhVQRuYW1lcQlVBGNhZulxClgDAAAA4oKsTlUIZGlzdF9tYXRxC2Nu
        dW1weS5jb3JlLm11bHRpYXJyYXkKX3JlY29uc3RydWN0CnEMY251bXB5Cm5kYXJyYXkKcQ1LAIVVAWKHUnEOKEsBSwFLAoZoBVUCZjhLAEsBh1
        JxDyhLA1UBPE5OTkr/////Sv////9LAHRiiVUQAAAAAAAAAAAAAAAAAADgP3RidS4=
    """,
    'Python 2.7, NumPy 1.16, pickle, protocol 0': """
        KGRwMApTJ29iamVjdF93aW5kJwpwMQoobHAyCihJOQpjbnVtcHkuY29yZS5tdWx0aWFycmF5CnNjYWxhcgpwMwooY251bXB5CmR0eXBlCnA0Ci
        hTJ2k4JwpwNQpJMApJMQp0cDYKUnA3CihJMwpTJzwnCnA4Ck5OTkktMQpJLTEKSTAKdHA5CmJTJ1x4MDJceDAwXHgwMFx4MDBceDAwXHgwMFx4
        MDBceDAwJwpwMTAKdHAxMQpScDEyCnRwMTMKYXNTJ25hbWUnCnAxNApTJ2NhZlx4ZTknCnAxNQpzVlx1MjBhYwpwMTYKTnNTJ2Rpc3RfbWF0Jw
        pwMTcKY251bXB5LmNvcmUubXVsdGlhcnJheQpfcmVjb25zdHJ1Y3QKcDE4CihjbnVtcHkKbmRhcnJheQpwMTkKKEkwCnRwMjAKUydiJwpwMjEK
        dHAyMgpScDIzCihJMQooSTEKSTIKdHAyNApnNAooUydmOCcKcDI1CkkwCkkxCnRwMjYKUnAyNwooSTMKUyc8JwpwMjgKTk5OSS0xCkktMQpJMA
        p0cDI5CmJJMDAKUydceDAwXHgwMFx4MDBceDAwXHgwMFx4MDBceDAwXHgwMFx4MDBceDAwXHgwMFx4MDBceDAwXHgwMFx4ZTA/JwpwMzAKdHAz
        MQpicy4=
    """,
    'Python 3, NumPy 2.4, protocol 2': """
        gAJ9cQAoWAsAAABvYmplY3Rfd2luZHEBXXECSwljbnVtcHkuX2NvcmUubXVsdGlhcnJheQpzY2FsYXIKcQNjbnVtcHkKZHR5cGUKcQRYAgAAAG
        k4cQWJiIdxBlJxByhLA1gBAAAAPHEITk5OSv////9K/////0sAdHEJYmNfY29kZWNzCmVuY29kZQpxClgIAAAAAgAAAAAAAABxC1gGAAAAbGF0
        aW4xcQyGcQ1ScQ6GcQ9ScRCGcRFhWAgAAABkaXN0X21hdHESY251bXB5Ll9jb3JlLm11bHRpYXJyYXkKX3JlY29uc3RydWN0CnETY251bXB5Cm
        5kYXJyYXkKcRRLAIVxFWgKWAEAAABicRZoDIZxF1JxGIdxGVJxGihLAUsBSwKGcRtoBFgCAAAAZjhxHImIh3EdUnEeKEsDaAhOTk5K/////0r/
        ////SwB0cR9iiWgKWBEAAAAAAAAAAAAAAAAAAAAAAMOgP3EgaAyGcSFScSJ0cSNiWAQAAABuYW1lcSRYBQAAAGNhZsOpcSVYAwAAAOKCrHEmTn
        Uu
    """,
    'Python 3, NumPy 2.4, protocol 5': """
        gAWVFwEAAAAAAAB9lCiMC29iamVjdF93aW5klF2USwmMFm51bXB5Ll9jb3JlLm11bHRpYXJyYXmUjAZzY2FsYXKUk5SMBW51bXB5lIwFZHR5cG
        WUk5SMAmk4lImIh5RSlChLA4wBPJROTk5K/////0r/////SwB0lGJDCAIAAAAAAAAAlIaUUpSGlGGMCGRpc3RfbWF0lIwTbnVtcHkuX2NvcmUu
        bnVtZXJpY5SMC19mcm9tYnVmZmVylJOUKJYQAAAAAAAAAAAAAAAAAAAAAAAAAAAA4D+UaAiMAmY4lImIh5RSlChLA2gMTk5OSv////9K/////0
        sAdJRiSwFLAoaUjAFDlHSUUpSMBG5hbWWUjAVjYWbDqZSMA+KCrJROdS4=
    """,
}


def text(value: str) -> bytes:
    return b'X' + struct.pack('<I', len(value)) + value.encode()


def name(module: str, attribute: str) -> bytes:
    return f'c{module}\n{attribute}\n'.encode()


def address(value: int = 0x4141414141414141) -> bytes:
    """Instruction for bytes that an array of objects would take as the address of an object."""
    return b'\x8e' + struct.pack('<QQ', 8, value)


def dtype(code: str, order: str = '|', flags: bytes = b'K\x00') -> bytes:
    """Instructions for a data type, by default with its flags cleared, so that it claims to hold no objects."""
    state = b'(K\x03' + text(order) + b'NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff' + flags + b'tb'
    return name('numpy', 'dtype') + b'(' + text(code) + b'\x89\x88tR' + state


OBJECT = name('numpy', 'dtype') + b'(' + text('O8') + b'\x89\x88tR(K\x03' + text('|') + b'NNNK\x08K\x01K\x00tb'
FIELDS = b'(K\x03' + text('|') + b'N(' + text('a') + b't}' + text('a') + OBJECT + b'K\x00\x86sK\x08K\x01K\x00tb'
NEW_ARRAY = (
    name('numpy.core.multiarray', '_reconstruct') + b'(' + name('numpy', 'ndarray') + b'(K\x00tC\x01btR'
)  # what remains is its state
CALLED = b'(' + text('touch called') + b'tR.'
ATTACKS = {
    'scalar of objects': name('numpy.core.multiarray', 'scalar') + b'(' + OBJECT + address() + b'tR' + CALLED,
    'ndarray of objects': name('numpy', 'ndarray') + b'((K\x01t' + text('O') + address() + b'tR.',
    'state of objects': NEW_ARRAY + b'(K\x01(K\x01t' + OBJECT + b'\x89' + address() + b'tb.',
    'list as content': NEW_ARRAY + b'(K\x01(K\x01t' + dtype('O8') + b'\x89]K\x01atb.',
    'buffer of objects': name('numpy.core.numeric', '_frombuffer')
    + b'(' + address() + OBJECT + b'(K\x01t' + text('C') + b'tR.',
    'buffer of objects, NumPy 2': name('numpy._core.numeric', '_frombuffer')
    + b'(' + address() + dtype('O8') + b'(K\x01t' + text('C') + b'tR.',
    'field of objects': name('numpy', 'dtype') + b'(' + text('V8') + b'\x89\x88tR' + FIELDS + b'.',
    'number with fields': name('numpy', 'dtype') + b'(' + text('i8') + b'\x89\x88tR' + FIELDS + b'.',
    'subarray': name('numpy', 'dtype') + b'(' + text('(2,)O') + b'\x89\x88tR.',
    'dictionary as data type': name('numpy', 'dtype') + b'(}' + text('names') + b']s\x89\x88tR.',
    'second state of a data type': dtype('f8', '<') + b'(K\x03' + text('|') + b'NNNK\x08K\x01K\x3ftb.',
    'state of the class': name('numpy', 'ndarray') + b'}' + text('shape') + b'K\x09sb.',
    'attributes of an array': NEW_ARRAY + b'}' + text('dtype') + text('O') + b'sb.',
    'another class': name('numpy.core.multiarray', '_reconstruct') + b'(' + name('numpy', 'dtype')
    + b'(K\x00tC\x01btR.',
    'shape beyond the bytes': NEW_ARRAY + b'(K\x01(J\xff\xff\xff\x7ft' + dtype('f8', '<')
    + b'\x89' + address() + b'tb.',
    'negative shape': NEW_ARRAY + b'(K\x01(J\xff\xff\xff\xffJ\xff\xff\xff\xfft' + dtype('f8', '<')
    + b'\x89' + address() + b'tb.',
    'shape beyond 64 bits': NEW_ARRAY + b'(K\x01(' + b'\x8a\x08\x00\x00\x00\x00\x01\x00\x00\x00' * 2 + b't'
    + dtype('f8', '<') + b'\x89C\x00tb.',
    'os.system': name('os', 'system') + CALLED,
    'by a dotted name': text('numpy') + text('os.system') + b'\x93' + CALLED,
    'by INST': b'(' + text('touch called') + b'ios\nsystem\n.',
    'by OBJ': b'(' + name('os', 'system') + text('touch called') + b'o.',
    'by NEWOBJ': name('numpy', 'ndarray') + b'((K\x01t' + text('O') + address() + b't\x81.',
    'by NEWOBJ_EX': name('numpy', 'ndarray') + b'((K\x01t' + text('O') + address() + b't}\x92.',
    'by the registry of extensions': b'\x82\xf0' + CALLED,
    'by a persistent id': b'Pos.system\n' + CALLED,
    'bytes of a size': name('__builtin__', 'bytes') + b'(J\xff\xff\xff\x7ftR.',
    'another codec': name('_codecs', 'encode') + b'(' + text('a') + text('rot13') + b'tR.',
    'a value as function': b'K\x01)R.',
    'a function as value': name('numpy', 'dtype') + b'.',
    'buffers from outside': b'\x97\x98.',
}  # fmt: skip
BOMBS = {
    'memo of 4 billion': b'Nr\xff\xff\xff\xff.',
    'memo of a decimal number': b'Np' + b'9' * 600 + b'\n.',
    'memo of a negative number': b'Np-1\n.',
    'copies': b'N' + b'2' * 10**6 + b'.',
    'open rows': b'(' * 10**7,
    'nested tuples': b')' + b'\x85' * 300_000 + b'.',
    'nested tuples as a key': b'})' + b'\x85' * 300_000 + b'Ns.',
    'wide tuples as a key': b'})' + b''.join(b'\x94h%c\x86' % i for i in range(60)) + b'Ns.',
    'lists ten times': b'()' + b''.join(b'\x94(' + b'h%c' % i * 10 + b'l' for i in range(12)) + b'l.',
    'itself': b']\x94h\x00a.',
    'itself within a tuple': b']\x94h\x00\x85a.',
    'empty dictionaries': b'](' + b'}' * 10**7 + b'e.',
    'number of a million digits': b'I' + b'9' * 10**6 + b'\n.',
    'long number': b'\x8b\x40\x42\x0f\x00' + b'\x7f' * 10**6 + b'.',
    'text of 8 exabytes': b'\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.',
    'bytes of 8 exabytes': b'\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.',
    'bytearray of 8 exabytes': b'\x96\xff\xff\xff\xff\xff\xff\xff\x7f.',
    'string of a negative length': b'T\xff\xff\xff\xff.',
    'frame of 8 exabytes': b'\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.',
    'one array a thousand times': b'](' + b'B' + struct.pack('<I', 10**6) + bytes(10**6) + b'\x94'
    + name('numpy.core.numeric', '_frombuffer') + b'\x94' + dtype('u1') + b'\x94'
    + (b'h\x01(h\x00h\x02(J\x40\x42\x0f\x00t' + text('C') + b'tR') * 1000 + b'e.',
    'encoded a thousand times': name('_codecs', 'encode') + b'\x94X' + struct.pack('<I', 10**6) + b'a' * 10**6 + b'\x94'
    + text('latin1') + b'\x94\x86R](' + b'h\x00(h\x01h\x02tR' * 1000 + b'e\x86.',
    'keys of one hash': b'}(' + b''.join(b'\x8a\x0b' + (i * (2**61 - 1)).to_bytes(11, 'little') + b'N'
                                         for i in range(60_000)) + b'u.',
}  # fmt: skip
SERVICE = """
import encodings.raw_unicode_escape, encodings.unicode_escape, json, pickle, random, resource, sys
from avlib.io.plain_pickle import PickleError, parse_plain_pickle

resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30,) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (60,) * 2)
cases, mutants = pickle.load(sys.stdin.buffer)
events, watched = [], False
sys.addaudithook(lambda event, arguments: watched and events.append((event, arguments)))


def refused(content):
    global watched
    watched = True
    try:
        parse_plain_pickle(content)
    except PickleError as error:
        return str(error)
    finally:
        watched = False


def mutate(content, draw):
    content = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        place, kind = draw.randrange(len(content) + 1), draw.randrange(6)
        if kind > 2:
            content[place : place + 1] = bytes([draw.randrange(256)])
        elif kind == 1:
            del content[place : place + draw.randint(1, 8)]
        elif kind == 2:
            other = draw.choice(cases)
            start = draw.randrange(len(other))
            content[place:place] = other[start : start + draw.randint(1, 40)]
        else:
            content[place:place] = draw.choice(OPCODES)
    return bytes(content)


OPCODES = [bytes([code]) for code in b'(.012FIJKLMNPQRSTUVXabcdeghijloprstqu}])BC']
OPCODES += [bytes([code]) for code in range(0x80, 0x99)]
modules, draw = set(sys.modules), random.Random(0)
if mutants:
    messages = [refused(mutate(draw.choice(cases), draw)) for _ in range(mutants)]
else:
    messages = [refused(case) for case in cases]
assert not events, events[:3]
assert set(sys.modules) == modules, set(sys.modules) - modules
json.dump(messages, sys.stdout)
"""


def messages(cases: list[bytes], mutants: int = 0, cwd: Path = ROOT) -> list:
    """Read cases, or mutants of them, in one process that may import nothing; return the errors, None without one."""
    ran = subprocess.run(
        [sys.executable, '-c', SERVICE],
        input=pickle.dumps((cases, mutants)),
        cwd=cwd,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
    )
    assert ran.returncode == 0, (ran.returncode, ran.stderr[-2000:])
    return json.loads(ran.stdout)


def same(value, other) -> bool:
    if isinstance(value, np.ndarray | np.generic):
        native = value.astype(value.dtype.newbyteorder('='))
        return other.dtype == native.dtype and other.shape == native.shape and other.tobytes() == native.tobytes()
    if isinstance(value, dict):
        pairs = list(zip(value.items(), other.items(), strict=True))
        return isinstance(other, dict) and all(same(pair, read) for pair, read in pairs)
    if isinstance(value, list | tuple):
        return type(value) is type(other) and len(value) == len(other) and all(map(same, value, other))
    return type(value) is type(other) and repr(value) == repr(other)


numbers = st.booleans() | st.integers(-(2**900), 2**900) | st.floats()
atoms = st.none() | numbers | st.text() | st.binary()
keys = numbers | st.text() | st.tuples(st.integers(), st.text())
kinds = st.one_of(
    arrays.boolean_dtypes(),
    arrays.integer_dtypes(endianness='?'),
    arrays.unsigned_integer_dtypes(endianness='?'),
    arrays.floating_dtypes(endianness='?', sizes=(16, 32, 64)),
    arrays.complex_number_dtypes(endianness='?', sizes=(64, 128)),
)
tables = arrays.arrays(kinds, arrays.array_shapes(min_dims=0, min_side=0, max_side=4))
leaves = (
    atoms
    | tables
    | tables.map(np.asfortranarray)
    | tables.map(lambda array: array.T[..., ::2] if array.ndim else array)
)
plain = st.recursive(
    leaves | tables.filter(lambda array: array.size).map(lambda array: array.flat[0]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple) | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(plain, st.integers(0, 5))
def test_reads_plain_data_to_equal_values(value, protocol):
    assert same(value, parse_plain_pickle(pickle.dumps(value, protocol)))


@pytest.mark.parametrize('writer', OLD_AND_NEW)
def test_reads_what_other_versions_wrote(writer):
    read = parse_plain_pickle(base64.b64decode(OLD_AND_NEW[writer]))
    expected = {'object_wind': [(9, np.int64(2))], 'dist_mat': np.array([[0, 0.5]]), 'name': 'café', '€': None}
    assert read.keys() == expected.keys() and all(same(expected[key], read[key]) for key in expected)


def test_reads_what_the_files_of_asiw_hold():
    chamfer = {
        'object_wind': [(np.int64(9), 2), (7, np.int32(0))],
        'object_context': [(2, 0, 0), (2, 1, 1), (-1, -1)],
        'dist_mat': np.triu(np.random.default_rng(0).random((300, 300), 'float32')),
    }
    moves = {9: {2: np.array([1.0, -2.0, 0.1])}, np.int64(7): {0: np.float32([0.1, 0.1, 0.1])}}
    videos = [[f'video{i:05d}_{i}000' for i in range(start, start + 4_000)] for start in (0, 4_000, 8_000)]
    for value in (chamfer, moves, videos):
        for protocol in range(6):
            assert same(value, parse_plain_pickle(pickle.dumps(value, protocol)))


def test_refuses_attacks_without_a_call_or_an_import(tmp_path):
    errors = messages(list(ATTACKS.values()), cwd=tmp_path)
    assert not [attack for attack, error in zip(ATTACKS, errors, strict=True) if error is None]
    assert all('is no plain pickle' in error and '\n' not in error for error in errors)
    assert not list(tmp_path.iterdir())


def test_refuses_what_asks_for_much_in_little_memory_and_time():
    errors = messages(list(BOMBS.values()))
    assert not [bomb for bomb, error in zip(BOMBS, errors, strict=True) if error is None]
    assert all(len(error) < 400 for error in errors)


def test_mutants_of_pickles_neither_crash_nor_call_anything():
    seeds = [base64.b64decode(content) for content in OLD_AND_NEW.values()]
    value = {'a': [1, 2.5, None, True, 'é', b'x', 2**40, (1, 2)], (0, 1): np.arange(6.0).reshape(2, 3), 'z': np.int8(1)}
    seeds += [pickle.dumps(value, protocol) for protocol in range(6)]
    errors = messages(4 * seeds + list(ATTACKS.values()), mutants=10_000)
    assert len(errors) == 10_000 and 100 < errors.count(None) < 9_000
    assert all('is no plain pickle' in error for error in errors if error)


def test_errors_of_a_corpus_name_its_file(tmp_path):
    published = tmp_path / 'Multiple_Valid_RAFTFlow_Seq.pickle'
    for content in (*ATTACKS.values(), b'', b'garbage', pickle.dumps([['a'], ['b'], [3.5]])):
        published.write_bytes(content)
        with pytest.raises(ManifestError, match='Multiple_Valid_RAFTFlow_Seq.pickle: '):
            asiw_videos(tmp_path)
    for part in ('Extracted_Frames', 'Rectified_Frames'):
        (tmp_path / part / 'test/v').mkdir(parents=True)
    chamfer = tmp_path / 'Rectified_Frames/test/v/Chamfer_Info.pickle'
    chamfer.write_bytes(ATTACKS['scalar of objects'])
    with pytest.raises(ManifestError, match='Chamfer_Info.pickle: is no plain pickle'):
        read_video_objects(tmp_path, 'v')


def test_a_shared_part_counts_each_time():
    row = [0] * 1000
    assert len(parse_plain_pickle(pickle.dumps([row] * 1000))) == 1000
    with pytest.raises(PickleError, match=f'more than {MAX_VALUES} values'):
        parse_plain_pickle(pickle.dumps([row] * 3000))
