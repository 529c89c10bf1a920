"""Package metadata: everything comes from settings.ini, which nbdev reads too."""

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

config = ConfigParser(delimiters=['='])
config.read('settings.ini', encoding='utf-8')
settings = config['DEFAULT']
extras = {key.removesuffix('_requirements'): settings[key].split() for key in settings if key.endswith('_requirements')}

setup(
    name=settings['lib_name'],
    version=settings['version'],
    description=settings['description'],
    long_description=Path('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author=settings['author'],
    license='Apache-2.0',
    keywords=settings['keywords'].split(),
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Science/Research',
        'Intended Audience :: Developers',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Multimedia :: Sound/Audio :: Analysis',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    packages=find_packages(include=['avlib', 'avlib.*']),
    # An editable install then puts the clone on the path. By default it is found after every folder on the path, and
    # Python started above a clone that is called avlib takes the clone for the package.
    package_dir={'': '.'},
    package_data={'avlib': ['py.typed', 'weights/*.safetensors', 'weights/*.json']},
    install_requires=settings['requirements'].split(),
    extras_require=extras,
    entry_points={'console_scripts': ['avlib = avlib.apps.cli:main']},
)
