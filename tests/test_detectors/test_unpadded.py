"""Around the encoder nothing changes, in a captured graph or out of it."""

import pytest
import torch
from mmdet.models.detectors import DINO, DeformableDETR
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample

from mmdet_lite.detectors import LiteTransformerMixin
from mmdet_lite.detectors.unpadded import flatten_levels, propose_boxes
from mmdet_lite.ops import available_backends
from mmdet_lite.ops.dispatch import force_backend, select_backend

SHAPES = [(12, 17), (6, 9), (3, 5), (2, 3)]


@pytest.fixture(scope="module")
def model(small_config):
    torch.manual_seed(0)
    cfg = small_config("lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py")
    cfg.model.encoder.update(num_layers=1, num_high_updates=1, num_blocks=1)
    model = MODELS.build(cfg.model).eval()
    model.init_weights()
    return model


def test_maps_are_flattened_as_in_mmdet(model):
    maps = [torch.randn(2, 256, *shape) for shape in SHAPES]
    sample = DetDataSample(
        metainfo={"img_shape": (96, 136), "batch_input_shape": (96, 136)}
    )
    results = flatten_levels(maps, model.positional_encoding, model.level_embed)
    expected = DeformableDETR.pre_transformer(model, maps, [sample] * 2)
    for actual, wanted in zip(results, expected, strict=True):
        assert actual.keys() == wanted.keys()
        for name, value in wanted.items():
            assert actual[name] is value or actual[name].equal(value), name


def test_boxes_are_proposed_as_in_mmdet(model):
    num_tokens = sum(height * width for height, width in SHAPES)
    memory = torch.randn(2, num_tokens, 256)
    masked, proposals = propose_boxes(memory, SHAPES)
    expected = DeformableDETR.gen_encoder_output_proposals(
        model, memory, None, torch.tensor(SHAPES)
    )
    assert model.memory_trans_norm(model.memory_trans_fc(masked)).equal(expected[0])
    assert proposals.equal(expected[1])


def test_a_detector_with_hooks_of_its_own_keeps_them():
    class Own(DINO):
        def pre_transformer(self, *args, **kwargs):
            return super().pre_transformer(*args, **kwargs)

    class LiteOwn(LiteTransformerMixin, Own):
        pass

    assert LiteOwn.hooks_of_mmdet == {"gen_encoder_output_proposals"}


@pytest.mark.skipif(
    "cpp" not in available_backends(), reason="the C++ kernels are not built"
)
def test_one_graph_serves_other_sizes_and_batches(model):
    """What torch.compile keeps in one graph is right, for more than its size."""

    class Around(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, *maps):
            size = (8 * maps[0].shape[2], 8 * maps[0].shape[3])
            states = self.model.forward_transformer(maps, [Sample(size)])
            return states["hidden_states"]

    dim = torch.export.Dim.DYNAMIC
    maps = tuple(torch.randn(2, 256, *shape) for shape in SHAPES)
    cpp = select_backend("cpp", torch.device("cpu"), torch.float32)
    with force_backend(cpp):
        exported = torch.export.export(
            Around().eval(),
            maps,
            dynamic_shapes={"maps": tuple({0: dim, 2: dim, 3: dim} for _ in maps)},
            strict=True,
        )
    others = tuple(torch.randn(3, 256, h + 4, w + 2) for h, w in SHAPES)
    with torch.no_grad():
        torch.testing.assert_close(
            exported.module()(*others), Around().eval()(*others), rtol=1e-4, atol=1e-4
        )


class Sample:
    """What mmdet's transformers ask of an image's sample."""

    def __init__(self, size):
        self.img_shape = self.batch_input_shape = size
