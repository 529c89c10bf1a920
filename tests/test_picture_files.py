"""Picture files of every kind are read as they are shown: upright, scaled by their depth, on white, in RGB."""

import ast
import configparser
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tifffile
import torch
from PIL import Image, ImageCms, ImageOps

from avlib.apps.cli import main
from avlib.apps.localize import localize_file
from avlib.datasets.asiw_clips import read_features
from avlib.datasets.video_pairs import VideoPairs
from avlib.io.files import write_json, write_jsonl
from avlib.io.pictures import MediaError, read_image
from avlib.synthesis.shapes import inside_loops

ROOT = Path(__file__).parent.parent
SCENE = np.zeros((40, 80, 3), 'u1')
SCENE[:, :20, 0], SCENE[:10, :, 2], SCENE[30:, 60:, 1] = 255, 200, 90
GREY16 = (np.arange(12 * 20).reshape(12, 20) * 270).astype('u2')
RGB16 = np.stack([GREY16, GREY16[::-1], GREY16[:, ::-1]], -1)


def read(path):
    "Return a picture as an array [H, W, 3]."
    return read_image(path).permute(1, 2, 0).numpy()


def shows(path, expected, atol=1e-6):
    shown = read(path)
    expected = np.broadcast_to(np.atleast_3d(expected), (*expected.shape[:2], 3))
    assert shown.dtype == np.float32 and shown.shape == expected.shape
    assert np.abs(shown - expected).max() <= atol
    return True


def png(path, rows, bits, kind, *extra):
    "Write a PNG of any depth and colour type, with further chunks before its data."

    def chunk(name, data):
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))

    head = struct.pack('>IIBBBBB', rows.shape[1], rows.shape[0], bits, kind, 0, 0, 0)
    if bits == 16:
        lines = [row.astype('>u2').tobytes() for row in rows]
    else:
        samples = np.unpackbits(rows.astype('u1')[..., None], axis=-1)[..., 8 - bits :]
        lines = [np.packbits(line.reshape(-1)).tobytes() for line in samples]
    data = zlib.compress(b''.join(b'\0' + line for line in lines))
    chunks = [(b'IHDR', head), *extra, (b'IDAT', data), (b'IEND', b'')]
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + b''.join(chunk(*each) for each in chunks))
    return path


# Orientation


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('suffix', ['jpg', 'png', 'webp', 'tif', 'mpo'])
def test_pictures_are_upright(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    options = {'webp': {'lossless': True}, 'mpo': {'save_all': True, 'append_images': [Image.new('RGB', (80, 40))]}}
    path = tmp_path / f'picture.{suffix}'
    Image.fromarray(SCENE).save(path, exif=exif, quality=95, **options.get(suffix, {}))
    plain = tmp_path / f'plain.{suffix}'
    Image.fromarray(SCENE).save(plain, quality=95, **options.get(suffix, {}))
    stored = read(plain)
    turned = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: stored[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(stored),
    }
    assert shows(path, turned[orientation])


@pytest.mark.parametrize('orientation', range(1, 9))
def test_deep_and_floating_tiffs_are_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(GREY16).save(tmp_path / 'grey.tif', exif=exif)
    tags = [(274, 'H', 1, orientation, True)]
    tifffile.imwrite(tmp_path / 'colour.tif', (RGB16 / 65535).astype('f4'), photometric='rgb', extratags=tags)
    mark = Image.fromarray((GREY16 // 256).astype('u1'))
    buffer = io.BytesIO()
    mark.save(buffer, 'png', exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(buffer))) / 255
    assert shows(tmp_path / 'grey.tif', expected, 1 / 255)
    mark.save(tmp_path / 'grey.tif', exif=exif)
    assert shows(tmp_path / 'grey.tif', expected)
    shown = read(tmp_path / 'colour.tif')
    assert np.abs(shown[..., 0] - expected).max() <= 1 / 255


@pytest.mark.parametrize('compression', ['tiff_lzw', 'packbits', 'tiff_adobe_deflate'])
def test_compressed_tiffs_are_upright(tmp_path, compression):
    exif = Image.Exif()
    exif[274] = 6
    for image in (Image.fromarray(GREY16), Image.fromarray(SCENE), Image.fromarray(GREY16 / np.float32(65535))):
        image.save(tmp_path / 'plain.tif')
        image.save(tmp_path / 'turned.tif', compression=compression, exif=exif)
        assert shows(tmp_path / 'turned.tif', np.rot90(read(tmp_path / 'plain.tif'), -1)), image.mode


def test_orientation_by_xmp_and_with_damaged_exif(tmp_path):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    Image.fromarray(SCENE).save(tmp_path / 'xmp.jpg', xmp=xmp)
    assert read(tmp_path / 'xmp.jpg').shape == (80, 40, 3)
    for damage in (b'Exif\0\0MM\0*\0\0\0\x08\xff\xff', b'Exif\0\0nonsense', b'Exif\0\0'):
        Image.fromarray(SCENE).save(tmp_path / 'odd.jpg', exif=damage)
        assert read(tmp_path / 'odd.jpg').shape == (40, 80, 3)


# Depth


def test_png_of_16_bits(tmp_path):
    assert shows(png(tmp_path / 'grey.png', GREY16, 16, 0), GREY16 / 65535)
    assert shows(png(tmp_path / 'rgb.png', RGB16, 16, 2), RGB16 / 65535, 1 / 255)
    opacity = np.full_like(GREY16, 0x4000)
    on_white = 1 + (GREY16 / 65535 - 1) * 0x4000 / 65535
    assert shows(png(tmp_path / 'la.png', np.stack([GREY16, opacity], -1), 16, 4), on_white, 1 / 255)
    rgba = np.concatenate([RGB16, opacity[..., None]], -1)
    assert shows(png(tmp_path / 'rgba.png', rgba, 16, 6), 1 + (RGB16 / 65535 - 1) * 0x4000 / 65535, 1 / 255)


@pytest.mark.parametrize('bits', [1, 2, 4, 8])
def test_png_of_few_bits_with_a_transparent_value(tmp_path, bits):
    values = np.arange(2**bits, dtype='u1')[None]
    grey = values / (2**bits - 1)
    assert shows(png(tmp_path / 'grey.png', values, bits, 0), grey)
    assert shows(png(tmp_path / 'hole.png', values, bits, 0, (b'tRNS', b'\0\0')), np.where(values == 0, 1, grey))


def test_png_of_16_bits_with_a_transparent_colour(tmp_path):
    value = int(GREY16[3, 4])
    path = png(tmp_path / 'grey.png', GREY16, 16, 0, (b'tRNS', struct.pack('>H', value)))
    assert shows(path, np.where(GREY16 == value, 1, GREY16 / 65535))
    colour = RGB16[3, 4]
    path = png(tmp_path / 'rgb.png', RGB16, 16, 2, (b'tRNS', struct.pack('>3H', *colour)))
    hole = (RGB16 == colour).all(-1, keepdims=True)
    assert shows(path, np.where(hole, 1, RGB16 / 65535), 1 / 255)


@pytest.mark.parametrize('order', '<>')
@pytest.mark.parametrize('compression', [None, 'zlib'])
def test_tiff_of_any_sample_type(tmp_path, order, compression):
    path, ramp = tmp_path / 'x.tif', np.linspace(0, 1, 240).reshape(12, 20)
    options = {'compression': compression, 'byteorder': order}
    for kind in ('u1', 'u2', 'u4', 'i1', 'i2', 'i4'):
        stored = (ramp * np.iinfo(kind).max).astype(kind)
        tifffile.imwrite(path, stored, photometric='minisblack', **options)
        assert shows(path, stored / np.iinfo(kind).max)
        tifffile.imwrite(path, np.stack([stored, stored[::-1], stored], -1), photometric='rgb', **options)
        assert shows(path, np.stack([stored, stored[::-1], stored], -1) / np.iinfo(kind).max, 1 / 255), kind
    for kind in ('f2', 'f4', 'f8'):
        tifffile.imwrite(path, ramp.astype(kind), photometric='minisblack', **options)
        assert shows(path, ramp.astype(kind)), kind
        tifffile.imwrite(path, np.stack([ramp] * 3, -1).astype(kind), photometric='rgb', **options)
        assert shows(path, ramp.astype(kind)), kind


def test_negative_samples_are_black_and_zero_can_be_white(tmp_path):
    tifffile.imwrite(tmp_path / 'signed.tif', np.array([[-32768, -1, 0, 32767]], 'i2'))
    assert shows(tmp_path / 'signed.tif', np.array([[0, 0, 0, 1.0]]))
    for order in '<>':
        for kind in ('u1', 'u2'):
            samples = np.array([[0, np.iinfo(kind).max // 5]], kind)
            tifffile.imwrite(tmp_path / 'x.tif', samples, photometric='miniswhite', byteorder=order)
            assert shows(tmp_path / 'x.tif', np.array([[1, 0.8]])), (order, kind)


def test_tiff_in_planes_or_with_opacity(tmp_path):
    path, colours = tmp_path / 'x.tif', (RGB16 / 65535).astype('f4')
    tifffile.imwrite(path, np.moveaxis(colours, -1, 0), photometric='rgb', planarconfig='separate')
    assert shows(path, colours)
    for kind, scale in (('f4', 1), ('u2', 65535)):
        rgba = np.concatenate([colours, np.full((*GREY16.shape, 1), 0.25)], -1) * scale
        tifffile.imwrite(path, rgba.astype(kind), photometric='rgb', extrasamples=['unassalpha'])
        assert shows(path, 1 + (colours - 1) * 0.25, 2 / 255), kind
        premultiplied = np.concatenate([rgba[..., :3] * 0.25, rgba[..., 3:]], -1)
        tifffile.imwrite(path, premultiplied.astype(kind), photometric='rgb', extrasamples=['assocalpha'])
        assert shows(path, 1 + (colours - 1) * 0.25, 5 / 255), kind


@pytest.mark.parametrize('values', [(0, 255.0), (-3.0, 1), (0, np.nan), (0, np.inf)])
def test_floats_of_another_scale_are_an_error(tmp_path, values):
    for name, samples in (('grey.tif', np.array([values])), ('rgb.tif', np.array([values] * 3).T[None])):
        tifffile.imwrite(tmp_path / name, samples.astype('f4'))
        with pytest.raises(MediaError, match=f'{name}: has floating-point samples .* expected 0 to 1'):
            read_image(tmp_path / name)


def test_portable_graymaps_of_16_bits(tmp_path):
    for most in (65535, 1023):
        values = np.array([[0, most // 3, most]], '>u2')
        (tmp_path / 'x.pgm').write_bytes(b'P5 3 1 %d\n' % most + values.tobytes())
        assert shows(tmp_path / 'x.pgm', values / most, 1e-3)


# Transparency and colours


def test_opacity_is_composited_on_white(tmp_path):
    a = np.array([[0, 51, 255]], 'u1')
    red, grey = np.full((1, 3), 200, 'u1'), np.full((1, 3), 100, 'u1')
    on_white = 1 + (np.stack([red, grey, grey], -1) / 255 - 1) * (a / 255)[..., None]
    rgba = Image.fromarray(np.stack([red, grey, grey, a], -1))
    for name, options in (('x.png', {}), ('x.tif', {}), ('x.webp', {'lossless': True, 'exact': True})):
        rgba.save(tmp_path / name, **options)
        assert shows(tmp_path / name, on_white), name
    Image.fromarray(np.stack([grey, a], -1), 'LA').save(tmp_path / 'la.png')
    assert shows(tmp_path / 'la.png', on_white[..., 1])
    palette = Image.fromarray(np.array([[0, 1, 2]], 'u1'), 'P')
    palette.putpalette([200, 100, 100] * 3)
    palette.save(tmp_path / 'palette.png', transparency=a.tobytes())
    assert shows(tmp_path / 'palette.png', on_white)
    palette.save(tmp_path / 'palette.gif', transparency=0)
    assert np.abs(read(tmp_path / 'palette.gif')[0, 0] - 1).max() == 0
    Image.fromarray(SCENE).save(tmp_path / 'colour.png', transparency=(255, 0, 0))
    assert (read(tmp_path / 'colour.png')[20, 5] == 1).all() and (read(tmp_path / 'colour.png')[20, 40] == 0).all()


def test_opaque_pictures_keep_their_bytes(tmp_path):
    for mode in ('RGB', 'RGBA', 'L', 'LA', '1', 'P'):
        image = Image.fromarray(SCENE).convert(mode)
        image.save(tmp_path / 'x.png')
        expected = torch.from_numpy(np.array(image.convert('RGB'))).permute(2, 0, 1) / 255
        assert torch.equal(read_image(tmp_path / 'x.png'), expected), mode


def test_inks_luma_and_lab_become_rgb(tmp_path):
    colours = {'red': (255, 0, 0), 'white': (255, 255, 255), 'grey': (120, 120, 120), 'blue': (0, 0, 255)}
    lab = ImageCms.buildTransform(ImageCms.createProfile('sRGB'), ImageCms.createProfile('LAB'), 'RGB', 'LAB')
    for name, colour in colours.items():
        rgb = Image.new('RGB', (16, 16), colour)
        expected = np.broadcast_to(np.array(colour) / 255, (16, 16, 3))
        for mode, suffix in (('CMYK', 'jpg'), ('CMYK', 'tif'), ('YCbCr', 'jpg'), ('YCbCr', 'tif')):
            rgb.convert(mode).save(tmp_path / f'x.{suffix}', quality=98)
            assert shows(tmp_path / f'x.{suffix}', expected, 0.03), (name, mode, suffix)
        ImageCms.applyTransform(rgb, lab).save(tmp_path / 'lab.tif')
        assert shows(tmp_path / 'lab.tif', expected, 0.1 if name == 'blue' else 0.02), name


# Several pictures in one file


@pytest.mark.parametrize('name', ['x.gif', 'x.apng', 'x.png', 'x.webp', 'x.tif', 'x.mpo', 'x.avif'])
def test_the_first_of_several_pictures_is_read(tmp_path, name):
    first, second = Image.new('RGB', (64, 32), (255, 0, 0)), Image.new('RGB', (64, 32), (0, 0, 255))
    kind = 'PNG' if name == 'x.apng' else None
    first.save(tmp_path / name, format=kind, save_all=True, append_images=[second], quality=95)
    assert shows(tmp_path / name, np.broadcast_to([1.0, 0, 0], (32, 64, 3)), 0.02)


# Errors


def test_files_that_hold_no_whole_picture_are_named(tmp_path):
    Image.effect_noise((300, 200), 60).convert('RGB').save(tmp_path / 'whole.png')
    for suffix in ('png', 'jpg', 'webp', 'tif', 'gif', 'bmp', 'avif'):
        path = tmp_path / f'whole.{suffix}'
        Image.open(tmp_path / 'whole.png').save(path)
        data = path.read_bytes()
        for share in (0.003, 0.3, 0.7):
            torn = tmp_path / f'torn.{suffix}'
            torn.write_bytes(data[: int(len(data) * share)])
            with pytest.raises(MediaError, match=f'torn.{suffix}: is .*(copy it again|give a PNG)'):
                read_image(torn)
    (tmp_path / 'empty.jpg').touch()
    (tmp_path / 'text.png').write_text('a letter')
    (tmp_path / 'phone.heic').write_bytes(b'\0\0\0\x18ftypheic\0\0\0\0mif1heic')
    (tmp_path / 'folder.png').mkdir()
    for name, words in (
        ('empty.jpg', 'is empty; give'),
        ('text.png', 'no whole picture of a known format; give a PNG'),
        ('phone.heic', 'is a HEIC.*; give a PNG'),
        ('folder.png', 'is a folder; give a file'),
        ('nowhere.png', 'no such file; check the path'),
        ('text.png/inside.png', 'no such file'),
    ):
        with pytest.raises(MediaError, match=f'{name}: .*{words}'):
            read_image(tmp_path / name)


def test_a_picture_of_too_many_pixels_is_named(tmp_path, monkeypatch):
    Image.new('L', (80, 40)).save(tmp_path / 'large.png')
    monkeypatch.setenv('AVLIB_LIMITS', 'pixels=3199')
    with pytest.raises(MediaError, match=r'large.png: 3200 pixels; expected at most 3199; .*AVLIB_LIMITS=pixels=3200'):
        read_image(tmp_path / 'large.png')
    monkeypatch.setenv('AVLIB_LIMITS', 'pixels=3200')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)  # Pillow's own limit gives way
    assert read_image(tmp_path / 'large.png').shape == (3, 40, 80)


def test_colours_that_cannot_be_converted_are_named(tmp_path):
    tifffile.imwrite(tmp_path / 'inks.tif', np.zeros((4, 4, 4), 'f4'), photometric='separated')
    with pytest.raises(MediaError, match='inks.tif: has SEPARATED colours of 32 bits; save it as RGB'):
        read_image(tmp_path / 'inks.tif')


# Everything that reads a picture


def upright_phone_picture(path):
    "Write a picture that is 80 wide and 160 high when it is shown, red at its top; its rows lie on their side."
    stored = np.zeros((80, 160, 3), 'u1')
    stored[:, :40] = (255, 0, 0)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(stored).save(path, exif=exif, quality=95)


def test_maps_boxes_and_overlay_follow_what_is_shown(tmp_path):
    upright_phone_picture(tmp_path / 'phone.jpg')
    soundfile.write(tmp_path / 'tone.wav', 0.2 * np.sin(np.arange(8000) * 0.3), 8000)
    paths = localize_file(tmp_path / 'phone.jpg', 'music-scenes', tmp_path / 'out', tmp_path / 'tone.wav')
    result = json.loads((tmp_path / 'out/phone.json').read_text())
    assert (result['width'], result['height']) == (80, 160)
    assert all(x1 <= 80 and y1 <= 160 for _, _, x1, y1 in result['moments'][0]['boxes'])
    shown = read(next(path for path in paths if path.suffix == '.png'))
    assert shown.shape == (160, 80, 3) and shown[5, :, 0].mean() > 0.5 > shown[100:, :, 0].mean()


def test_frames_of_corpora_are_upright_and_on_white(tmp_path):
    upright_phone_picture(tmp_path / 'a.jpg')
    Image.new('RGBA', (50, 30), (0, 0, 255, 0)).save(tmp_path / 'b.png')
    soundfile.write(tmp_path / 'tone.wav', 0.2 * np.sin(np.arange(8000) * 0.3), 8000)
    write_json(tmp_path / 'card.json', {'videos': str(tmp_path), 'size': 32, 'rate': 8000, 'seconds': 1.0})
    write_jsonl(tmp_path / 'test.jsonl', [{'file': name, 'sound': 'tone.wav'} for name in ('a.jpg', 'b.png')])
    red, clear = (VideoPairs(tmp_path, 'test').image(i) for i in range(2))
    assert red[0, :6].min() > 0.9 and red[0, 10:].max() < 0.1 and clear.min() > 0.999


# Packages of the extras

GUARDED = ('io', 'corpora', 'synthesis', 'datasets', 'training', 'apps')


def core_packages():
    settings = configparser.ConfigParser(delimiters=['='])
    settings.read(ROOT / 'settings.ini', encoding='utf-8')
    names = {need.partition('>')[0] for need in settings['DEFAULT']['requirements'].split()}
    return names | set(sys.stdlib_module_names) | {'avlib'}


def bare_imports(tree):
    "Names that a module imports outside of any `try` that handles ImportError."
    caught = [node for node in ast.walk(tree) if isinstance(node, ast.Try) and 'ImportError' in ast.unparse(node)]
    guarded = {id(child) for node in caught for child in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) not in guarded and isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif id(node) not in guarded and isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module


def test_packages_of_extras_are_never_imported_bare():
    core = core_packages()
    for path in sorted(path for room in GUARDED for path in (ROOT / 'avlib' / room).glob('*.py')):
        names = {name.partition('.')[0] for name in bare_imports(ast.parse(path.read_text(encoding='utf-8')))}
        assert names <= core, f'{path}: import {sorted(names - core)} by avlib.io.optional_packages.require'


@pytest.mark.parametrize('package', ['PIL', 'av'])
def test_the_command_names_the_extra(tmp_path, monkeypatch, capsys, package):
    upright_phone_picture(tmp_path / 'phone.jpg')
    soundfile.write(tmp_path / 'tone.wav', np.zeros(800), 8000)
    (tmp_path / 'clip.mp4').touch()
    media = tmp_path / ('phone.jpg' if package == 'PIL' else 'clip.mp4')
    words = ['avlib', 'localize', media, '--audio', tmp_path / 'tone.wav', '--out', tmp_path / 'out']
    monkeypatch.setattr(sys, 'argv', list(map(str, words)))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit) as stopped:
        main()
    error = capsys.readouterr().err
    assert stopped.value.code == 1 and error.startswith('avlib: ') and error.count('\n') == 1
    assert "pip install 'avlib[vision]'" in error and 'No module' not in error


def test_features_and_shapes_name_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'h5py', None)
    monkeypatch.setitem(sys.modules, 'skimage.measure', None)
    with pytest.raises(ImportError, match=r"h5py is missing; install it: pip install 'avlib\[vision\]'"):
        read_features(tmp_path, {'video': 'a'})
    with pytest.raises(ImportError, match=r"scikit-image is missing; install it: pip install 'avlib\[vision\]'"):
        inside_loops([np.zeros((3, 2))], np.zeros(1), np.zeros(1))


# A clone of the name of the package


def test_python_finds_the_package_beside_its_clone(tmp_path):
    """`pip install -e .` in a folder called avlib, then python in the folder above, where avlib is that folder."""
    clone, installed = tmp_path / 'avlib', tmp_path / 'installed'
    (clone / 'avlib').mkdir(parents=True)
    for name in ('setup.py', 'settings.ini', 'pyproject.toml', 'README.md', 'LICENSE', 'avlib/__init__.py'):
        shutil.copy(ROOT / name, clone / name)
    build = f'from setuptools.build_meta import build_editable; build_editable({str(tmp_path)!r})'
    subprocess.run([sys.executable, '-c', build], cwd=clone, check=True, capture_output=True)
    (wheel,) = tmp_path.glob('*.whl')
    zipfile.ZipFile(wheel).extractall(installed)
    code = f'import site; site.addsitedir({str(installed)!r}); import avlib; print(avlib.__version__, avlib.__file__)'
    own = {name: value for name, value in os.environ.items() if not name.startswith('PYTHON')}
    for folder in (tmp_path, clone, clone / 'avlib'):
        ran = subprocess.run([sys.executable, '-S', '-c', code], cwd=folder, env=own, capture_output=True, text=True)
        version, file = ran.stdout.split() or ran.stderr
        assert version and Path(file) == clone / 'avlib/__init__.py'
