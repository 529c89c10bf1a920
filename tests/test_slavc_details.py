"""Details of localization that the paper and its released code fix: how frames are prepared, what targets are, and
which epoch is kept where nothing tells epochs apart."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.nn import functional as F
from torchvision.transforms.functional import pil_to_tensor, resize

from avlib.datasets.localization_pairs import LocalizationPairs
from avlib.datasets.prepared import PreparedCorpus
from avlib.datasets.video_pairs import write_video_corpus
from avlib.io.audio import write_audio
from avlib.io.files import read_json, read_jsonl
from avlib.methods.attention10k import Attention10k, AttentionSettings
from avlib.methods.lvs import Lvs, LvsSettings
from avlib.methods.slavc import Slavc, SlavcSettings, matching_loss, split_scores
from avlib.models.resnet import ResNet18
from avlib.training.checkpoints import load_model, load_shared_weights, load_tensors, save_model
from avlib.training.epoch_choice import chosen_epoch
from avlib.training.experiments import validation
from avlib.training.score_localization import score_hit, score_localization
from avlib.training.trainer import TrainSettings, load_state, save_state, train

ENCODERS = {'visual': {'stem': 'half', 'width': 4}, 'audio': {'width': 4}}
SMALL = {'rate': 8000, 'n_fft': 256, 'hop': 128, **ENCODERS}
SLAVC = {**SMALL, 'dim': 8, 'temperature': 0.1}


def batch(size=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(size, 3, 32, 32, generator=generator)
    return {'image': image, 'audio': torch.randn(size, 4000, generator=generator)}


def slavc(**settings) -> Slavc:
    """A method whose momentum parts differ from the trained ones, as after some steps of training."""
    torch.manual_seed(0)
    method = Slavc(SlavcSettings(**{**SLAVC, **settings}))
    with torch.no_grad():
        for name, weight in method.named_parameters():
            if name.startswith('momentum'):
                weight.add_(0.05 * torch.randn_like(weight))
    return method


# Published weights


@pytest.fixture(scope='module')
def published(tmp_path_factory):
    """torchvision's ResNet-18 with random weights, and a file of them."""
    torch.manual_seed(0)
    network = torchvision.models.resnet18(weights=None).eval()
    path = tmp_path_factory.mktemp('weights') / 'resnet18.pth'
    torch.save(network.state_dict(), path)
    return network, path


def picture() -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((256, 256), Image.Resampling.BICUBIC)


def image_encoders(method) -> list[ResNet18]:
    slow = getattr(method, 'momentum_encoders', None)
    return [method.encoders['image'], method.object_encoder, *([slow['image']] if slow is not None else [])]


@pytest.mark.parametrize(
    'kind, settings', [(Slavc, SlavcSettings), (Lvs, LvsSettings), (Attention10k, AttentionSettings)]
)
def test_published_weights_see_frames_as_torchvision_prepares_them(published, tmp_path, kind, settings):
    network, path = published
    method = kind(settings(object_guidance=True)).init_image_encoder(path).eval()
    prepared = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms()(picture())[None]
    frame = (pil_to_tensor(picture()).float() / 255)[None, :, 16:240, 16:240]
    backbone = torch.nn.Sequential(*list(network.children())[:-2])
    save_model(tmp_path / 'model.safetensors', method, {'rate': 22050})
    loaded = load_model(tmp_path / 'model.safetensors')[0]
    with torch.no_grad():
        expected = backbone(prepared)
        for encoder in [*image_encoders(method), *image_encoders(loaded), loaded.inference_copy().encoders['image']]:
            assert torch.allclose(encoder(frame), expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())
        assert not torch.allclose(backbone(frame), expected, rtol=0.1, atol=0.1)  # the difference is not small


def test_without_published_weights_frames_stay_as_they_are(published):
    torch.manual_seed(0)
    method = slavc()
    image, encoder = batch()['image'], method.encoders['image'].eval()
    literal = F.relu(encoder.bn1(encoder.conv1(image)))
    literal = encoder.layer4(encoder.layer3(encoder.layer2(encoder.layer1(encoder.pool(literal)))))
    assert torch.equal(encoder(image), literal)
    assert method.settings.visual == ENCODERS['visual']


# Which epoch is kept


class Counter(torch.nn.Module):
    """Counts its steps."""

    def __init__(self):
        super().__init__()
        self.settings, self.steps = TrainSettings(1, 1, 1), torch.nn.Parameter(torch.zeros(()))

    def param_groups(self):
        return [{'params': [self.steps], 'scale': 1.0}]

    def loss(self, batch):
        return {'total': -self.steps}


class Nothing(torch.utils.data.Dataset):
    def set_epoch(self, epoch):
        pass

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return {'x': torch.zeros(1)}


NAN = float('nan')


@pytest.mark.parametrize(
    'scores, kept',
    [
        ([0.0, 0.0, 0.0], 2),  # as where validation frames have no boxes
        ([NAN, NAN, NAN], 2),
        ([NAN, 1.0, 0.5], 1),
        ([1.0, NAN, 1.0], 2),
        ([3.0, 3.0, 2.0], 0),
        ([1.0, 3.0, 2.0], 1),
        ([5.0], 0),
    ],
)
def test_scores_that_are_all_the_same_choose_no_epoch(tmp_path, scores, kept):
    settings = TrainSettings(len(scores), 1, 1, learning_rate=0.5, accelerator='cpu')
    given = iter(scores)
    card = train(Counter(), Nothing(), lambda method: next(given), settings, tmp_path)
    log = [row['score'] for row in read_jsonl(tmp_path / 'log.jsonl')]
    assert read_json(tmp_path / 'model.json')['epoch'] == kept == chosen_epoch(log)
    assert load_tensors(tmp_path / 'model.safetensors')[0]['steps'] == pytest.approx(0.5 * (kept + 1), rel=0.01)
    defined = [score for score in scores if score == score]
    assert card['score'] == (max(defined) if defined else None)


def test_a_run_without_scores_goes_on_from_its_state(tmp_path):
    settings = TrainSettings(3, 1, 1, learning_rate=0.5, accelerator='cpu')
    scores = iter([NAN, NAN])
    with pytest.raises(StopIteration):
        train(Counter(), Nothing(), lambda method: next(scores), settings, tmp_path)
    again = []
    train(Counter(), Nothing(), lambda method: again.append(1) or NAN, settings, tmp_path)
    assert len(again) == 1


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """Wide frames with sounds, in the layout of Flickr-SoundNet: validation frames have no boxes."""
    root = tmp_path_factory.mktemp('flickr')
    draw = np.random.default_rng(0)
    (root / 'frames').mkdir()
    (root / 'Annotations').mkdir()
    box = '<bbox><id>1</id><xmin>64</xmin><ymin>80</ymin><xmax>128</xmax><ymax>170</ymax></bbox>'
    for i in range(48):
        write_audio(
            root / f'audio/{i:04d}.wav', 0.3 * torch.randn(8000, generator=torch.manual_seed(i)).clamp(-3, 3), 8000
        )
        coarse = Image.fromarray(draw.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((96, 48), Image.Resampling.BICUBIC).save(root / f'frames/{i:04d}.png')
        if i < 4:
            (root / f'Annotations/{i:04d}.xml').write_text(f'<annotation>{box}</annotation>')
    write_video_corpus(
        root / 'prepared', 'flickr-soundnet', root, {'size': 32, 'rate': 8000, 'seconds': 0.5, 'seed': 0}
    )
    return PreparedCorpus(root / 'prepared')


def experiment(prepared, **settings):
    own = {'select': 'loc_acc', 'monitor_domain': 'seen', **settings}
    components = SimpleNamespace(data=LocalizationPairs, epoch_score=score_hit)
    own_train = SimpleNamespace(batch=8)
    return SimpleNamespace(
        settings=own, components=components, prepared=prepared, seed=0, train_settings=own_train, domain='extended'
    )


def test_videos_without_boxes_are_validated_by_their_loss(videos):
    method = slavc(object_guidance=True).eval()
    row = validation(experiment(videos))(method)
    by_loss = validation(experiment(videos, select='loss', monitor_domain=None))(method)
    assert row['score'] == (by_loss['score'] if isinstance(by_loss, dict) else by_loss) < 0
    assert len(row['monitored_scores']) == len(row['monitored_guided_scores']) == 4  # test frames have boxes


# Targets (eq. 6)


def test_targets_have_dropout_and_projections_of_their_own_without_gradient():
    """The loss and its gradients are those of eq. 6 with constant targets, written out."""
    given = {'visual_dropout': 0.6, 'audio_dropout': 0.2, 'momentum': 0.9}
    method, literal = slavc(**given).train(), slavc(**given).train()
    torch.manual_seed(1)
    total = method.loss(batch())['total']
    total.backward()

    torch.manual_seed(1)
    momentum = [name for name, _ in literal.named_parameters() if name.startswith('momentum')]
    weights = dict(literal.named_parameters())
    with torch.no_grad():
        for name in momentum:
            trained = weights[name.removeprefix('momentum_')]
            weights[name].copy_(0.9 * weights[name] + 0.1 * trained)

    def projections(encoders, image_proj, audio_proj):
        image = F.dropout(encoders['image'](batch()['image']), 0.6)
        sound = F.dropout(encoders['audio'](literal.spectrogram(batch()['audio'])).amax((-2, -1)), 0.2)
        places = {head: image_proj[head](image.movedim(1, -1)).movedim(-1, 1) for head in image_proj}
        return places, {head: audio_proj[head](sound) for head in audio_proj}

    def scores(sounds, places):
        def cosines(head):
            return torch.cosine_similarity(sounds[head][:, None, :, None, None], places[head][None], dim=2)

        return split_scores(cosines('loc'), cosines('avc'), 0.1)

    places, sounds = projections(literal.encoders, literal.image_proj, literal.audio_proj)
    with torch.no_grad():
        target_places, target_sounds = projections(
            literal.momentum_encoders, literal.momentum_image_proj, literal.momentum_audio_proj
        )
    expected = matching_loss(scores(sounds, target_places), scores(target_sounds, places))
    expected.backward()
    assert torch.allclose(total, expected, rtol=1e-5)
    for name, weight in method.named_parameters():
        if name.startswith('momentum'):
            assert weight.grad is None, name
        else:
            error = (weight.grad - weights[name].grad).norm()
            assert error <= 1e-4 * weights[name].grad.norm() + 1e-6, name


def test_momentum_projections_follow_and_are_part_of_the_state(tmp_path):
    method = slavc(momentum=0.75).train()
    before = method.momentum_image_proj['avc'].weight.clone()
    method.loss(batch())
    trained, now = method.image_proj['avc'].weight, method.momentum_image_proj['avc'].weight
    assert torch.allclose(now, 0.75 * before + 0.25 * trained)
    optimizer = torch.optim.Adam(method.parameters())
    save_state(tmp_path / 'last.safetensors', method, optimizer, {}, {})
    other = slavc(momentum=0.75)
    load_state(tmp_path / 'last.safetensors', other, torch.optim.Adam(other.parameters()))
    assert torch.equal(other.momentum_image_proj['avc'].weight, now)


def test_maps_are_those_of_the_momentum_parts_and_an_inference_copy_keeps_them():
    method, given = slavc().eval(), batch()
    copied = method.inference_copy()
    assert not [name for name in copied.state_dict() if name.startswith('momentum')]
    with torch.no_grad():
        maps = method.maps(**given)
        assert all(torch.equal(shown, maps[name]) for name, shown in copied.maps(**given).items())
        for weight in method.image_proj.parameters():
            weight.zero_()
        assert torch.equal(method.localize(**given), maps['both'])  # the trained projections have no part in it


def test_momentum_projections_start_with_their_originals(tmp_path):
    """A model from before projections had momentum, and one that gives only some weights."""
    method, given = slavc().eval(), batch()
    old = {name: value for name, value in method.state_dict().items() if 'momentum_image_p' not in name}
    old = {name: value for name, value in old.items() if 'momentum_audio_p' not in name}
    loaded = Slavc(method.settings).eval()
    loaded.load_state_dict(old)
    with torch.no_grad():
        assert torch.equal(loaded.momentum_audio_proj['loc'].bias, method.audio_proj['loc'].bias)
        assert torch.equal(
            loaded.momentum_encoders['image'].conv1.weight, method.momentum_encoders['image'].conv1.weight
        )
        copied = loaded.inference_copy()
        assert torch.equal(copied.localize(**given), loaded.localize(**given))
    fresh = Slavc(method.settings)
    save_model(tmp_path / 'model.safetensors', copied, {'rate': 8000})
    load_shared_weights(fresh, tmp_path / 'model.safetensors')
    assert torch.equal(fresh.momentum_image_proj['loc'].weight, copied.image_proj['loc'].weight)


def test_the_packaged_model_computes_eq_7_of_its_tensors():
    method, _ = load_model('music-scenes')
    given = {'image': batch()['image'], 'audio': batch()['audio']}
    with torch.no_grad():
        maps = method.maps(**given)
        places, sounds = method.features(**given)
        parts = {}
        for head in ('loc', 'avc'):
            linear, flat = method.image_proj[head], places.flatten(2).mT
            projected = linear(flat).mT.unflatten(2, places.shape[2:])
            sound = F.normalize(method.audio_proj[head](sounds), dim=1)
            parts[head] = torch.einsum('bd,bdhw->bhw', sound, F.normalize(projected, dim=1))
    assert torch.equal(maps['both'], parts['loc'] + parts['avc'])
    assert method.momentum_encoders is None and not any('momentum' in name for name in method.state_dict())


# The object guide


def released_guide(both, objects, limit):
    """The combination of the released code: fixed ranges, weights .4 and .6."""
    return 0.4 * (both / limit + 1) / 2 + 0.6 * objects / 2.5


@pytest.mark.parametrize(
    'method, limit', [(slavc(object_guidance=True), 2), (slavc(object_guidance=True, decompose=False), 1)]
)
def test_guided_maps_have_fixed_ranges_and_a_confidence_of_their_own(method, limit):
    given = batch()
    method.eval()
    with torch.no_grad():
        maps = method.maps(**given)
        features = method.object_encoder(given['image'])
        example = {
            **{name: value[0] for name, value in given.items()},
            'boxes': torch.tensor([[4, 4, 20, 20]]),
            'kind': '',
        }
        scores = score_localization(method, example)['maps']['guided']
    assert torch.allclose(maps['objects'], features.abs().mean(1), rtol=1e-5)
    assert torch.allclose(maps['guided'], released_guide(maps['both'], maps['objects'], limit), atol=1e-6)
    peaks = maps['guided'].amax((-2, -1))
    assert scores['max'] == pytest.approx(peaks[0].item()) and peaks.std() > 0  # peaks tell frames apart


# Training frames


def windows(image, size):
    """All crops of `size` pixels of an image and of its mirror image, `[n, 3, size, size]`."""
    both = torch.stack([image, image.flip(-1)])
    crops = both.unfold(2, size, 1).unfold(3, size, 1)
    return crops.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def test_training_frames_are_cropped_and_not_squeezed(videos):
    data = LocalizationPairs.from_settings(videos, {}, 8, 0)
    edge, found = round(32 * 256 / 224), []
    for i in range(8):
        example = data[i]
        assert example['image'].shape == (3, 32, 32)
        frames = [resize(data.pairs.frame(n), edge, antialias=True) for n in range(len(data.pairs))]
        errors = torch.stack([(windows(frame, 32) - example['image']).abs().amax((1, 2, 3)) for frame in frames])
        assert frames[0].shape == (3, edge, 2 * edge)
        assert errors.min() < 1e-4
        found.append(int(errors.min(0).values.argmin()))
    assert len(set(found)) > 4  # crops at random places
    squeezed = data.pairs.image(0)
    assert squeezed.shape == (3, 32, 32)  # the test's frames, as in the paper


def test_frames_that_are_not_augmented_are_the_middle_of_the_frame(videos):
    data = LocalizationPairs.from_settings(videos, {'augment': False}, 8, 0)
    middles = [resize(data.pairs.frame(n), 32, antialias=True)[..., 16:48] for n in range(len(data.pairs))]
    for i in range(8):
        assert min((data[i]['image'] - middle).abs().max() for middle in middles) < 1e-4
    valid = LocalizationPairs.for_validation(videos, {}, 0)
    assert any(torch.equal(valid[0]['image'], valid.pairs.image(n)) for n in range(len(valid.pairs)))
