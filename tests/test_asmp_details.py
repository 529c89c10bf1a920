"""Details of ASMP that the paper and its released code fix: features used as they are, several objects in a video, the
direction network and its start, sounds that vary in training, and models from before."""

import json
import pickle
from dataclasses import asdict, replace
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from avlib.datasets.asiw_clips import AsiwClips, write_asiw_corpus
from avlib.datasets.moving_pairs import MovingData, MovingPairs
from avlib.io.audio import write_audio
from avlib.io.files import read_json
from avlib.methods.asmp import Asmp, AsmpSettings, co_separation_loss
from avlib.methods.sound_classifiers import SpectrogramClassifier, cut_windows
from avlib.methods.visual_separation import log_magnitude
from avlib.models.scene_graph import SceneGraph
from avlib.training.checkpoints import load_model, save_model
from avlib.training.experiment_setup import Experiment
from avlib.training.old_names import translate_card
from workbench import ROOT

SMALL = {
    'rate': 4000,
    'n_fft': 128,
    'hop': 64,
    'rows': 32,
    'classes': 3,
    'window_frames': 30,
    'shift_frames': 31,
    'graph': {'features': 16, 'width': 8, 'heads': 2},
    'unet': {'width': 4, 'levels': 3},
    'class_head': {'width': 2, 'stem': 'half'},
    'direction_head': {'width': 2, 'stem': 'half'},
    'direction_embedding': 8,
    'direction_hidden': 4,
}


def method(**settings) -> Asmp:
    torch.manual_seed(0)
    return Asmp(AsmpSettings(**{**SMALL, **settings}))


def batch(features=16, objects=1, size=3):
    generator = torch.Generator().manual_seed(0)
    distance = torch.rand(size, 2, 4, 4, generator=generator)
    return {
        'audio': 0.3 * torch.randn(size, 2, 4000, generator=generator),
        'features': torch.randn(size, 2, 4, features, generator=generator),
        'distance': (distance + distance.mT) * (1 - torch.eye(4)),
        'label': 1 + torch.randint(3, (size, 2, objects), generator=generator),
        'direction': torch.randint(9, (size, 2, objects), generator=generator),
        'window': torch.zeros(size, 2, objects, dtype=torch.long),
    }


# Features (supplement, section 8.1)


def test_features_as_wide_as_nodes_are_used_as_they_are():
    """AVE's features of instruments have 512 dimensions; nothing is learned between them and attention."""
    torch.manual_seed(0)
    graph, features, adjacency = SceneGraph(8, 8, 2).eval(), torch.randn(2, 3, 8), torch.rand(2, 3, 3) + 0.1
    nodes = []
    graph.attention.register_forward_pre_hook(lambda _, inputs: nodes.append(inputs[0]))
    graph(features, adjacency, 2)
    assert torch.equal(nodes[0], features) and not any('nodes' in name for name in graph.state_dict())
    assert torch.isfinite(method(graph={'features': 8, 'width': 8, 'heads': 2}).loss(batch(8))['total'])


def test_nodes_of_both_sizes_stand_in_one_graph():
    torch.manual_seed(0)
    graph, adjacency = SceneGraph(16, 8, 2).eval(), torch.rand(1, 3, 3) + 0.1
    features = F.pad(torch.randn(1, 3, 8), (0, 8))
    features[0, 1] = torch.randn(16)
    nodes = []
    graph.attention.register_forward_pre_hook(lambda _, inputs: nodes.append(inputs[0]))
    graph(features, adjacency, 2, torch.tensor([[8, 16, 8]]))
    assert torch.equal(nodes[0][0, [0, 2]], features[0, [0, 2], :8])
    assert torch.equal(nodes[0][0, 1], graph.nodes(features)[0, 1])


def write_videos(root, sizes):
    """Three videos of ten seconds a split, with an object each, and features of one of the sizes."""
    lists = {split: [f'{split}{i}' for i in range(3)] for split in ('train', 'valid', 'test')}
    for split, names in lists.items():
        mode = {'valid': 'val'}.get(split, split)
        for i, name in enumerate(names):
            frames, motion = (root / part / mode / name for part in ('Extracted_Frames', 'Rectified_Frames'))
            for path in (frames, motion):
                path.mkdir(parents=True)
            images = [{'image': f'{frame + 1:04d}.png', 'objects': [7, 9]} for frame in range(0, 80, 8)]
            (frames / 'Image_info_20obj.json').write_text(json.dumps(images))
            with h5py.File(frames / 'Image_feature_20obj.h5', 'w') as file:
                draw = np.random.default_rng(i)
                file['features'] = draw.standard_normal((10, 20, sizes[i % len(sizes)])).astype('float32')
            chamfer = {
                'object_wind': [(9, 4)],
                'object_context': [(4, 0, 0), (4, 1, 1), (-1, -1)],
                'dist_mat': np.triu(np.arange(9.0).reshape(3, 3), 1),
            }
            (motion / 'Chamfer_Info.pickle').write_bytes(pickle.dumps(chamfer))
            moved = {9: {4: np.array([1.0, -2.0, 0.5])}}
            (motion / 'Comb_RAFTFlow_Displacement_Vectors_New.pickle').write_bytes(pickle.dumps(moved))
            sound = 0.7 * (torch.arange(80000) // 8000 + 1) / 10  # each second has a level of its own
            write_audio(root / f'Extracted_Audio/{mode}/{name}.wav', sound, 8000)
    for name, split in (('trainSet', 'train'), ('valSet', 'valid'), ('testSet', 'test')):
        lines = [f'{"Violin" if i % 2 else "Car"}&{video}&good&0&10' for i, video in enumerate(lists[split])]
        (root / f'{name}.txt').write_text('\n'.join(lines))


@pytest.fixture(scope='module')
def ave(tmp_path_factory):
    """Prepared videos by the sizes of their features."""
    found = {}
    for sizes in ((8,), (16,), (8, 16)):
        root = tmp_path_factory.mktemp('ave')
        write_videos(root / 'videos', sizes)
        write_asiw_corpus(root / 'ave', 'ave', root / 'videos', {'rate': 8000, 'seconds': 3.0, 'seed': 0})
        found[sizes] = SimpleNamespace(folder=root / 'ave', card=read_json(root / 'ave/card.json'))
    return found


@pytest.mark.parametrize('sizes', [(8,), (16,), (8, 16)])
def test_a_corpus_of_any_features_trains(ave, sizes):
    """The network takes the corpus' features: of the size of nodes, of another, and of both."""
    prepared = ave[sizes]
    assert prepared.card['feature_sizes'] == list(sizes)
    own = MovingData.adapt_settings({**SMALL, 'rate': 8000, 'graph': {'width': 8, 'heads': 2}}, prepared)
    data = MovingPairs.from_settings(prepared, {'settings': own}, 4, 0)
    examples = [data[i] for i in range(4)]
    stacked = {name: torch.stack([example[name] for example in examples]) for name in examples[0]}
    assert torch.isfinite(Asmp(AsmpSettings(**own)).loss(stacked)['total'])


# Several objects of a video


def test_several_objects_of_a_video_train():
    total = method().train().loss(batch(objects=2))
    assert all(torch.isfinite(value) for value in total.values())


def test_embeddings_belong_to_the_objects_whose_classes_they_sound_like():
    """No order of the objects of a video changes the loss, and each embedding has the object of the best assignment."""
    own, given = method().eval(), batch(objects=2)
    swapped = {name: given[name].flip(2) for name in ('label', 'direction', 'window')}
    assert own.loss(given)['total'].item() == pytest.approx(own.loss({**given, **swapped})['total'].item(), rel=1e-5)

    mixture = own.spectrogram(given['audio'].mean(1))
    masks = own.masks(log_magnitude(mixture), {name: given[name].flatten(0, 1) for name in ('features', 'distance')}, 2)
    sounds = masks * mixture[:, None, None]
    logits = own.class_head(log_magnitude(sounds).flatten(0, 2)).unflatten(0, (3, 2, 3))
    consistency, direction, first = [], [], torch.zeros(1, dtype=torch.long)
    for b in range(3):
        for v in range(2):
            costs = -logits[b, v].log_softmax(-1)
            one, other = given['label'][b, v]
            orders = {(0, 1): costs[0, one] + costs[1, other], (1, 0): costs[1, one] + costs[0, other]}
            best = min(orders, key=orders.get)
            consistency += [orders[best] + costs[2, 0]]
            for place, embedding in enumerate(best):
                window = cut_windows(log_magnitude(sounds[b, v, embedding])[None], first, 30, 31)
                target = given['direction'][b, v, place, None]
                direction += [F.cross_entropy(own.direction_head(window), target)]
    losses = own.loss(given)
    assert losses['consistency'].item() == pytest.approx(torch.stack(consistency).sum().item() / 18, rel=1e-4)
    assert losses['direction'].item() == pytest.approx(torch.stack(direction).mean().item(), rel=1e-4)


def test_a_video_of_fewer_objects_adds_no_class_and_no_sound():
    """A label of 0 fills up: its mask, its class and its direction have no part in the losses, as released."""
    own, given = method().eval(), batch(objects=2)
    given['label'][:, :, 1] = 0
    other = {**given, 'direction': given['direction'].clone(), 'window': given['window'].clone()}
    other['direction'][:, :, 1] = 3
    assert torch.equal(own.loss(given)['total'], own.loss(other)['total'])
    mixture = own.spectrogram(given['audio'].mean(1))
    masks = own.masks(log_magnitude(mixture), {name: given[name].flatten(0, 1) for name in ('features', 'distance')}, 2)
    logits = own.class_head(log_magnitude(masks * mixture[:, None, None]).flatten(0, 2)).unflatten(0, (3, 2, 3))
    chosen = logits[:, :, :2].log_softmax(-1).gather(-1, given['label'][:, :, :1, None].expand(3, 2, 2, 1)).argmax(2)
    sounding = torch.cat(
        [masks.gather(2, chosen[..., None, None].expand(3, 2, 1, *masks.shape[-2:])), masks[:, :, 2:]], 2
    )
    expected = co_separation_loss(sounding, own.spectrogram(given['audio']), mixture)
    assert own.loss(given)['co_separation'].item() == pytest.approx(expected.item(), rel=1e-5)


def test_objects_whose_order_is_known_keep_it():
    own, given = method(use_scene_graph=False).eval(), batch(objects=2)
    given['label'][:, :, 0], given['label'][:, :, 1] = 1, 2
    swapped = {**given, 'label': given['label'].flip(2)}
    assert own.loss(given)['consistency'] != own.loss(swapped)['consistency']


# The direction network (supplement, section 8.5, and the released code)


def test_the_direction_network_is_the_released_one():
    """ResNet-18, the maximum over time and frequency, 512; 256, batch norm, LeakyReLU(.2); 10, batch norm."""
    own = Asmp().direction_head.eval()
    sizes = [tuple(layer.weight.shape) for layer in (own.embedding, own.head[0], own.head[1], own.head[3], own.norm)]
    assert sizes == [(512, 512), (256, 512), (256,), (10, 256), (10,)] and own.head[2].negative_slope == 0.2
    spectrogram = torch.randn(2, 256, 46)
    with torch.no_grad():
        largest = own.features(spectrogram[:, None]).amax((-2, -1))
        expected = own.norm(own.head(own.embedding(largest)))
        assert torch.allclose(own(spectrogram), expected, atol=1e-5)
    scales = Asmp().learning_rate_scales()
    assert scales == {'graph': 0.1, 'direction_head': 0.1}


def test_the_papers_direction_network_has_one_batch_norm():
    """As the supplement has it: behind the hidden layer alone, and no layer between ResNet-18 and the perceptron."""
    own = method(direction_embedding=0, direction_output_norm=False, pool='mean').direction_head
    assert isinstance(own.embedding, nn.Identity) and isinstance(own.norm, nn.Identity)
    assert [type(layer) for layer in own.head] == [nn.Linear, nn.BatchNorm1d, nn.LeakyReLU, nn.Linear]
    spectrogram = torch.randn(2, 32, 30)
    with torch.no_grad():
        own.eval()
        assert torch.equal(own(spectrogram), own.head(own.features(spectrogram[:, None]).mean((-2, -1))))


@pytest.fixture(scope='module')
def published(tmp_path_factory):
    torch.manual_seed(0)
    network = torchvision.models.resnet18(weights=None)
    path = tmp_path_factory.mktemp('weights') / 'resnet18.pth'
    torch.save(network.state_dict(), path)
    return path, network.state_dict()


def test_classifiers_start_from_imagenet_but_for_their_first_layer(published):
    path, weights = published
    wide = {'class_head': {}, 'direction_head': {}, 'direction_embedding': 512, 'direction_hidden': 256}
    own = method(**wide)
    first = own.direction_head.features.conv1.weight.clone()
    assert own.init_classifiers(path) is own
    for head in (own.class_head, own.direction_head):
        loaded = head.features.state_dict()
        assert all(torch.equal(loaded[name], weights[name]) for name in loaded if name != 'conv1.weight')
    assert torch.equal(own.direction_head.features.conv1.weight, first)
    undirected = method(**wide, weights={'direction': 0.0}).init_classifiers(path)
    assert torch.equal(undirected.class_head.features.layer4[1].conv2.weight, weights['layer4.1.conv2.weight'])
    with pytest.raises(ValueError, match='resnet18.pth: fits a classifier of width 64 .*class_head'):
        method().init_classifiers(path)


def test_the_papers_experiments_start_from_imagenet():
    assert Experiment('asmp', 'asmp', 'paper').settings['classifier_weights'] == 'resnet18-f37072fd.pth'
    assert Experiment('asmp', 'asmp', 'tiny').settings['classifier_weights'] is None


# Sounds of ASIW and AVE in training


def starts_and_gains(data, epoch):
    """The first second of each sound, and its gain by the levels of the seconds."""
    data.set_epoch(epoch)
    found = []
    for i in range(len(data)):
        example = data[i]
        for audio, window in zip(example['audio'], example['window'], strict=True):
            levels = audio.unflatten(0, (3, 8000))[:, 4000]
            step = (levels[1] - levels[0]).item()
            gain = step / 0.07
            start = round(levels[0].item() / step - 1)
            assert torch.allclose(levels, gain * 0.07 * (torch.arange(3) + start + 1), atol=2e-3)
            assert start + int(window[0]) == 4
            found.append((start, round(gain, 3)))
    return found


def test_sounds_of_videos_have_a_random_start_and_gain_in_training(ave):
    data = MovingPairs.from_settings(ave[(16,)], {'settings': {}}, 60, 0)
    found = starts_and_gains(data, 0)
    assert {start for start, _ in found} == {2, 3, 4}  # the window, second 4, is always heard
    gains = [gain for _, gain in found]
    assert 0.5 <= min(gains) < 0.6 and 1.4 < max(gains) <= 1.5
    assert starts_and_gains(data, 0) == found and starts_and_gains(data, 1) != found
    again = MovingPairs.from_settings(ave[(16,)], {'settings': {}}, 60, 0)
    assert torch.equal(again[7]['audio'], again[7]['audio'])
    other_seed = MovingPairs.from_settings(ave[(16,)], {'settings': {}}, 60, 1)
    assert starts_and_gains(other_seed, 0) != found


def test_loud_sounds_are_clipped_at_full_scale(ave):
    prepared = ave[(16,)]
    clips = AsiwClips(prepared.folder, 'train', prepared.card)
    clips.rows = [{**row, 'window': 9} for row in clips.rows]
    loud = [clips.training_example(0, np.random.default_rng(seed))['audio'] for seed in range(20)]
    assert max(audio.max() for audio in loud) == 1.0


def test_validation_and_test_have_fixed_sounds(ave):
    prepared = ave[(16,)]
    valid = MovingPairs.for_validation(prepared, {'settings': {}}, 0)
    assert {gain for _, gain in starts_and_gains(valid, 0)} == {1.0}
    test = MovingPairs.frozen(prepared, 'test', 'test')
    assert torch.equal(test[0]['audio'], torch.stack([test.clips[n]['audio'] for n in test.pairs[0]['clips']]))


# Models from before


def test_models_from_before_keep_their_network(tmp_path):
    """Cards from before name neither the pool nor the new layers; the packaged model has the old ones."""
    card = read_json(ROOT / 'avlib/weights/moving-scenes.json')
    assert 'pool' not in card['settings'] and 'direction_embedding' not in card['settings']
    packaged, _ = load_model('moving-scenes')
    assert packaged.settings.pool == 'mean' and packaged.settings.direction_embedding == 0
    assert packaged.settings.direction_hidden == 64 and not packaged.settings.direction_output_norm
    spectrogram = torch.randn(2, 257, 32)
    with torch.no_grad():
        head = packaged.eval().direction_head
        pooled = head.features(spectrogram[:, None]).mean((-2, -1))
        assert torch.equal(head(spectrogram), head.head(pooled))
    save_model(tmp_path / 'again.safetensors', packaged, {'rate': 8000})
    assert asdict(load_model(tmp_path / 'again.safetensors')[0].settings) == asdict(packaged.settings)
    today = method()
    save_model(tmp_path / 'today.safetensors', today, {'rate': 4000})
    assert load_model(tmp_path / 'today.safetensors')[0].settings == today.settings
    named = {'method': 'avlib.methods.asmp:Asmp', 'settings': {'pool': 'max'}}
    assert translate_card(named)['settings']['pool'] == 'max'


def test_a_wrong_pool_is_refused():
    with pytest.raises(ValueError, match='pool: "median"; expected max or mean'):
        replace(AsmpSettings(), pool='median')
    with pytest.raises(ValueError, match='pool: "median"; expected max or mean'):
        SpectrogramClassifier(3, pool='median')
