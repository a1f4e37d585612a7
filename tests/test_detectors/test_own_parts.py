"""An encoder, an attention and hooks of one's own, as docs/encoder.md shows them."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from mmdet.models.layers import DeformableDetrTransformerEncoder
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from one_class_batch import batch_of
from torch import Tensor, nn

from mmdet_lite.detectors import LiteDINO
from mmdet_lite.layers import KeyAwareDeformableAttention, LiteDetrTransformerEncoder
from mmdet_lite.layers.level_shapes import known_level_shapes

CONFIG = "lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py"


class SharpenedAttention(KeyAwareDeformableAttention):
    """Key-aware attention whose logits are multiplied by a number."""

    def __init__(self, *args, sharpness: float = 1.0, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.sharpness = sharpness

    def forward(self, query: Tensor, **kwargs) -> Tensor:
        return super().forward(query * self.sharpness, **kwargs)


class NormedEncoder(LiteDetrTransformerEncoder):
    """The interleaved encoder with a norm at its end."""

    def __init__(self, norm_eps: float, **kwargs) -> None:
        super().__init__(**kwargs)
        self.norm = nn.LayerNorm(self.embed_dims, eps=norm_eps)

    def forward(self, *args, **kwargs) -> Tensor:
        return self.norm(super().forward(*args, **kwargs))


class MyDINO(LiteDINO):
    """Looks at what the hooks get."""

    seen: dict[str, Tensor]

    def forward_encoder(self, spatial_shapes: Tensor, **kwargs) -> dict:
        self.seen["forward_encoder"] = spatial_shapes
        return super().forward_encoder(spatial_shapes=spatial_shapes, **kwargs)

    def pre_decoder(self, memory, memory_mask, spatial_shapes, **kwargs):
        self.seen["pre_decoder"] = spatial_shapes
        return super().pre_decoder(memory, memory_mask, spatial_shapes, **kwargs)

    def forward_decoder(self, *args, spatial_shapes: Tensor, **kwargs) -> dict:
        self.seen["forward_decoder"] = spatial_shapes
        return super().forward_decoder(*args, spatial_shapes=spatial_shapes, **kwargs)


@pytest.fixture
def model(small_config):
    registered = (SharpenedAttention, NormedEncoder, MyDINO)
    for cls in registered:
        MODELS.register_module(module=cls)
    cfg = small_config(CONFIG)
    attention = {"type": "SharpenedAttention", "sharpness": 2.0}
    cfg.model.encoder.update(type="NormedEncoder", norm_eps=1e-6)
    cfg.model.encoder.layer_cfg.self_attn_cfg.update(attention)
    cfg.model.decoder.layer_cfg.cross_attn_cfg.update(attention)
    yield MODELS.build({**cfg.model, "type": "MyDINO"})
    for cls in registered:
        MODELS.module_dict.pop(cls.__name__)


def predict(model):
    model.seen = {}
    data = model.data_preprocessor(demo_mm_inputs(1, [[3, 96, 128]]), False)
    with torch.no_grad():
        return model.eval().predict(data["inputs"], data["data_samples"])


def test_parts_with_arguments_of_their_own_are_named_in_a_config(model):
    assert model.encoder.norm.eps == 1e-6
    assert model.encoder.layer_kinds == "HFHFHF"
    for layer in model.encoder.layers:
        assert layer.self_attn.sharpness == 2.0
    for layer in model.decoder.layers:
        assert layer.cross_attn.sharpness == 2.0
    assert len(predict(model)) == 1


def test_hooks_get_what_mmdet_promises(model):
    predict(model)
    for hook in ("forward_encoder", "pre_decoder", "forward_decoder"):
        assert model.seen[hook].tolist() == [[12, 16], [6, 8], [3, 4], [2, 2]], hook


def test_an_encoder_that_is_none_of_ours_gets_a_tensor(small_config):
    class MyEncoder(DeformableDetrTransformerEncoder):
        def forward(self, spatial_shapes: Tensor, **kwargs) -> Tensor:
            assert spatial_shapes.tolist() == [[12, 16], [6, 8], [3, 4], [2, 2]]
            return super().forward(spatial_shapes=spatial_shapes, **kwargs)

    cfg = small_config(CONFIG)
    cfg.model.encoder.update(type=MyEncoder, num_layers=2, num_cp=-1)
    assert len(predict(MODELS.build({**cfg.model, "type": MyDINO}))) == 1


def test_sizes_of_the_levels_do_not_outlive_a_pass(model):
    predict(model)
    assert known_level_shapes() is None
    with pytest.raises(IndexError):
        model.forward_transformer([torch.zeros(1, 5, 4, 4)] * 4, [])
    assert known_level_shapes() is None


def test_threads_may_share_a_model(small_config):
    """Images of as many tokens in other shapes, at the same time."""
    model = MODELS.build(small_config(CONFIG).model).eval()
    model.init_weights()
    shapes = [(64, 96), (96, 64)]
    batches = [batch_of(model, [shape], training=False) for shape in shapes]
    barrier = threading.Barrier(2)
    encode = model.forward_encoder

    def wait_and_encode(**inputs):
        barrier.wait()
        return encode(**inputs)

    @torch.no_grad()
    def boxes_of(batch):
        (sample,) = model.predict(batch["inputs"], batch["data_samples"])
        return sample.pred_instances.bboxes

    alone = [boxes_of(batch) for batch in batches]
    model.forward_encoder = wait_and_encode
    with ThreadPoolExecutor(2) as pool:
        for found, expected in zip(pool.map(boxes_of, batches), alone, strict=True):
            torch.testing.assert_close(found, expected)
