"""Arguments of metrics and statistics in Python."""

from functools import partial

import torch

from .base import BadInput
from .signals import SIGNAL, call

TWO = SIGNAL.expand(2, -1)

CASES = [
    BadInput('reference and estimate of two lengths', partial(call, 'metrics.si_snr.si_snr', SIGNAL, SIGNAL[:700])),
    BadInput(
        'more references than estimates',
        partial(call, 'metrics.si_snr.si_snr_improvement', SIGNAL.expand(3, -1), TWO, SIGNAL),
    ),
    BadInput(
        'more estimates than the oracle assignment takes',
        partial(call, 'metrics.si_snr.mixit_improvement', TWO, SIGNAL.expand(21, -1), SIGNAL),
    ),
    BadInput('box of three numbers', partial(call, 'metrics.localization.box_map', torch.zeros(1, 3), 224, 1)),
    BadInput('area of 0', partial(call, 'metrics.localization.top_area', torch.zeros(7, 7), 0)),
    BadInput('map with NaN', partial(call, 'metrics.localization.top_area', torch.full((7, 7), torch.nan), 0.5)),
    BadInput(
        'prediction and boxes of two sizes',
        partial(call, 'metrics.localization.consensus_iou', torch.zeros(7, 7), torch.zeros(8, 8)),
    ),
    BadInput(
        'prediction other than 0 and 1',
        partial(call, 'metrics.localization.consensus_iou', torch.full((7, 7), 0.5), torch.zeros(7, 7)),
    ),
    BadInput('no frames', partial(call, 'metrics.localization.localization_accuracy', [], 0.5)),
    BadInput(
        'figures of two counts of frames',
        partial(call, 'metrics.localization.average_precision', [0.5], [1, 2], [True]),
    ),
    BadInput('confidence of NaN', partial(call, 'metrics.localization.average_precision', [0.5], [torch.nan], [True])),
    BadInput('values with NaN', partial(call, 'metrics.statistics.bootstrap_interval', [1.0, torch.nan])),
    BadInput('no values', partial(call, 'metrics.statistics.bootstrap_interval', [])),
    BadInput('level of confidence of 1', partial(call, 'metrics.statistics.bootstrap_interval', [1.0, 2.0], 1.0)),
    BadInput(
        'labels that are no whole numbers',
        partial(call, 'metrics.partitions.label_quality', torch.ones(9), torch.ones(9), torch.ones(9)),
        'labels',
    ),
]
