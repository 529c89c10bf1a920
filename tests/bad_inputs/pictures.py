"""Pictures that claim more than they hold, hold more than a picture does, or are none."""

import struct
import zlib

import numpy as np
from PIL import Image

from avlib.io.pictures import read_image

from .base import BadInput, cli


def chunk(name, content):
    """Return a chunk of a PNG."""
    return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))


def png(width, height, *chunks, bits=1, colour=0):
    """Write a PNG with a header of these values, some chunks, and a row of zeros."""
    header = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, bits, colour, 0, 0, 0))
    rows = chunk(b'IDAT', zlib.compress(bytes(100))) + chunk(b'IEND', b'')
    return written('bad.png', b'\x89PNG\r\n\x1a\n' + header + b''.join(chunks) + rows)


def written(name, content):
    """Write bytes."""
    with open(name, 'wb') as file:
        file.write(content)
    return name


def saved(name, size=(40, 30), mode='RGB', **options):
    """Write a black picture."""
    Image.new(mode, size).save(name, **options)
    return name


def cut(name):
    """Write the first half of a picture."""
    with open(name, 'rb') as file:
        content = file.read()
    return written(name, content[: len(content) // 2])


def tiff(width=9, height=9, tile=None, bands=1, values=((273, 8),)):
    """Write a TIFF whose tags claim these sizes."""
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (277, bands), (278, height), (279, 81), *values]
    tags += [(322, tile), (323, tile), (324, 8), (325, 81)] if tile else []
    rows = b''.join(struct.pack('<HHII', number, 4, 1, value) for number, value in sorted(tags))
    return written('bad.tif', b'II*\0' + struct.pack('<IH', 8, len(tags)) + rows + bytes(100))


def floats():
    """Write a TIFF with floating-point samples up to 255."""
    Image.fromarray(np.array([[0, 255.0]], 'float32')).save('bad.tif')
    return 'bad.tif'


def bmp(width, height):
    """Return a BMP whose header claims this size."""
    header = struct.pack('<IiiHHIIiiII', 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b'BM' + struct.pack('<IHHI', 54, 0, 0, 54) + header


BOMB = zlib.compress(bytes(80_000_000))
CASES = [
    BadInput('PNG of 169 million pixels', lambda: read_image(png(13000, 13000))),
    BadInput('PNG that claims 100,000 × 100,000 pixels', lambda: read_image(png(100_000, 100_000))),
    BadInput('PNG that claims 2³¹ columns', lambda: read_image(png(2**31 - 1, 1))),
    BadInput('PNG without columns', lambda: read_image(png(0, 9))),
    BadInput('PNG with a text of 80 MB in 80 kB', lambda: read_image(png(9, 9, chunk(b'zTXt', b'a\0\0' + BOMB)))),
    BadInput('TIFF that claims 60,000 × 60,000 pixels', lambda: read_image(tiff(60_000, 60_000))),
    BadInput('TIFF with a tile of 60,000 × 60,000 pixels', lambda: read_image(tiff(tile=60_000))),
    BadInput('TIFF of 60,000 bands', lambda: read_image(tiff(bands=60_000))),
    BadInput('TIFF whose rows lie beyond the file', lambda: read_image(tiff(values=((273, 10**9),)))),
    BadInput(
        'GIF that claims 65,535 × 65,535 pixels',
        lambda: read_image(written('bad.gif', b'GIF89a' + b'\xff' * 4 + bytes(30))),
    ),
    BadInput('BMP that claims a billion pixels', lambda: read_image(written('bad.bmp', bmp(40_000, 40_000)))),
    BadInput(
        'picture as a program of PostScript',
        lambda: read_image(written('bad.png', b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n')),
    ),
    BadInput('picture as SVG', lambda: read_image(written('bad.png', b'<svg xmlns="http://www.w3.org/2000/svg"/>'))),
    BadInput('floating-point picture from 0 to 255', lambda: read_image(floats())),
    BadInput('JPEG whose second half is missing', lambda: read_image(cut(saved('bad.jpg')))),
    BadInput('PNG whose second half is missing', lambda: read_image(cut(saved('bad.png')))),
    BadInput('WebP whose second half is missing', lambda: read_image(cut(saved('bad.webp')))),
    BadInput('text named .png', lambda: read_image(written('bad.png', b'once upon a time'))),
    BadInput('empty picture', lambda: read_image(written('bad.png', b''))),
    BadInput('picture without a sound', lambda: cli('localize', saved('bad.png'), '--out', 'out')),
]
