"""Weights and settings of localizers."""

import torch

from avlib.methods.lvs import Lvs, LvsSettings
from avlib.methods.slavc import Slavc, SlavcSettings
from avlib.models.resnet import ResNet18

from .base import BadInput

SMALL = {'rate': 8000, 'n_fft': 64, 'hop': 32, 'audio': {'width': 2}}


def init(weights: object = None, name: str = 'resnet18.pth', **visual) -> None:
    """Start the image encoder of a localizer from a file of these weights, where there are any."""
    if weights is not None:
        torch.save(weights, name)
    Slavc(SlavcSettings(**SMALL, dim=4, visual=visual)).init_image_encoder(name)


def damaged() -> None:
    with open('resnet18.pth', 'wb') as file:
        file.write(b'PK...')
    init()


CASES = [
    BadInput('image weights that are not there', init),
    BadInput('image weights that are damaged', damaged),
    BadInput('image weights of another network', lambda: init(torch.nn.Linear(2, 3).state_dict())),
    BadInput('image weights for a smaller encoder', lambda: init(ResNet18(width=2).state_dict(), width=2)),
    BadInput('dropout of 1', lambda: SlavcSettings(visual_dropout=1.0), 'visual_dropout'),
    BadInput('momentum of 1', lambda: SlavcSettings(momentum=1.0), 'momentum'),
    BadInput('area of a prediction above 1', lambda: SlavcSettings(area=1.5), 'area'),
    BadInput('encoders of two widths in LVS', lambda: Lvs(LvsSettings(**SMALL, visual={'width': 4})), 'visual'),
]
