"""Arrays in .npy and HDF5 files that someone else wrote."""

import struct
from functools import partial
from pathlib import Path

import numpy as np

from .base import BadInput


def npy(header, numbers: bytes = bytes(48), version: bytes = b'\1\0') -> None:
    """Read a .npy file with a header of one's own before 48 bytes of numbers."""
    from avlib.apps.evaluate_maps import read_map

    text = header if isinstance(header, bytes) else repr(header).encode()
    Path('map.npy').write_bytes(b'\x93NUMPY' + version + struct.pack('<H', len(text)) + text + numbers)
    read_map('map.npy')


def claim(**changes) -> partial:
    return partial(npy, {'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), **changes})


def archive() -> None:
    from avlib.apps.evaluate_maps import read_map

    np.savez('map.npz', np.eye(2))
    read_map('map.npz')


def features(write, name: str = 'features.h5') -> None:
    """Read features [frame, object, size] of an HDF5 file that `write(file, h5py)` fills."""
    import h5py

    from avlib.io.array_files import open_dataset

    with h5py.File(name, 'w') as file:
        write(file, h5py)
    with open_dataset(name, 'features', 3) as dataset:
        dataset[0, 0]


def torn() -> None:
    import h5py

    from avlib.io.array_files import open_dataset

    with h5py.File('features.h5', 'w') as file:
        file['features'] = np.ones((2, 3, 4))
    path = Path('features.h5')
    path.write_bytes(path.read_bytes()[:-50])
    with open_dataset(path, 'features', 3) as dataset:
        dataset[0, 0]


def link_out(file, h5py) -> None:
    file['features'] = h5py.ExternalLink('/home/user/secret.h5', '/features')


def virtual(file, h5py) -> None:
    layout = h5py.VirtualLayout((2, 3, 4), 'f8')
    layout[:] = h5py.VirtualSource('secret.h5', 'features', (2, 3, 4))
    file.create_virtual_dataset('features', layout)


def raw(file, h5py) -> None:
    file.create_dataset('features', (2, 3, 4), 'f8', external=[('/etc/passwd', 0, 192)])


def chunk(file, h5py) -> None:
    file.create_dataset('features', (1, 2**12, 2**13), 'f8', chunks=(1, 2**12, 2**13), compression='gzip')


def assign(value):
    return lambda file, h5py: file.__setitem__('features', value)


CASES = [
    BadInput('.npy file that claims 8 terabytes', claim(shape=(10**6, 10**6))),
    BadInput('.npy file of negative sizes', claim(shape=(-2, -3))),
    BadInput('.npy file of 40 dimensions', claim(shape=(1,) * 40)),
    BadInput('.npy file of fields', claim(descr=[('a', '<f8')])),
    BadInput('.npy file of an unknown type', claim(descr='<q99')),
    BadInput('.npy file with an extra key', claim(extra=1)),
    BadInput('.npy file of a later version', partial(npy, {}, version=b'\7\0')),
    BadInput('.npy file whose header is no dictionary', partial(npy, b'[1, 2]')),
    BadInput('.npy file whose header is deep', partial(npy, b'(' * 9000)),
    BadInput('.npy file whose header is long', partial(npy, b' ' * 60_000)),
    BadInput(
        '.npy file that ends too early', partial(npy, {'descr': '<f8', 'fortran_order': False, 'shape': (2, 3)}, b'')
    ),
    BadInput('archive of arrays in place of one', archive),
    BadInput('HDF5 file that ends too early', torn),
    BadInput('HDF5 link to another file', partial(features, link_out)),
    BadInput('HDF5 array put together from another file', partial(features, virtual)),
    BadInput('HDF5 array that is kept in another file', partial(features, raw)),
    BadInput('HDF5 array of huge chunks', partial(features, chunk)),
    BadInput('HDF5 array of fields', partial(features, assign(np.zeros((2, 3, 4), [('a', 'f8')])))),
    BadInput('HDF5 array of other dimensions', partial(features, assign(np.zeros(4)))),
    BadInput('HDF5 group in place of an array', partial(features, lambda file, h5py: file.create_group('features'))),
    BadInput('HDF5 file without the array', partial(features, lambda file, h5py: file.create_group('other'))),
]
