"""The encoder exports with standard operators only, and computes the same after."""

import pytest
import torch
from encoder_inputs import LEVEL_START_INDEX, SPATIAL_SHAPES, encoder_inputs, layer_cfg
from torch import nn

from mmdet_lite.layers import LiteDetrTransformerEncoder

NAMES = ("query", "query_pos", "valid_ratios")


class Encoder(nn.Module):
    """The encoder for maps of fixed size, as an exchange format wants it."""

    def __init__(self, predict_logits=False):
        super().__init__()
        torch.manual_seed(0)
        cfg = layer_cfg("KeyAwareDeformableAttention")
        cfg["self_attn_cfg"]["predict_logits"] = predict_logits
        self.encoder = LiteDetrTransformerEncoder(cfg)
        if predict_logits:
            # They start from zeros, which would tell nothing.
            for layer in self.encoder.layers:
                nn.init.normal_(layer.self_attn.attention_weights.weight)
                nn.init.normal_(layer.self_attn.query_proj.weight)
        self.spatial_shapes = tuple(map(tuple, SPATIAL_SHAPES.tolist()))
        self.level_start_index = LEVEL_START_INDEX.tolist()

    def forward(self, query, query_pos, valid_ratios):
        return self.encoder(
            query,
            query_pos,
            key_padding_mask=None,
            spatial_shapes=self.spatial_shapes,
            level_start_index=torch.tensor(self.level_start_index),
            valid_ratios=valid_ratios,
        )


@pytest.fixture
def inputs():
    tensors = encoder_inputs()
    return tuple(tensors[name] for name in NAMES)


def test_the_exported_graph_has_no_fused_operator(inputs):
    model = Encoder().eval()
    exported = torch.export.export(model, inputs, strict=True)
    operators = {str(node.target) for node in exported.graph.nodes}
    assert any("grid_sampler" in operator for operator in operators)
    assert not any("mmdet_lite" in operator for operator in operators)
    torch.testing.assert_close(exported.module()(*inputs), model(*inputs))


@pytest.mark.parametrize("predict_logits", [False, True])
def test_onnx_runtime_computes_the_same(inputs, predict_logits, tmp_path):
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    model = Encoder(predict_logits).eval()
    path = str(tmp_path / "encoder.onnx")
    torch.onnx.export(
        model, inputs, path, dynamo=False, opset_version=16, input_names=list(NAMES)
    )
    assert {node.domain for node in onnx.load(path).graph.node} == {""}
    session = runtime.InferenceSession(path)
    wanted = {node.name for node in session.get_inputs()}
    feed = {
        name: tensor.numpy()
        for name, tensor in zip(NAMES, inputs, strict=True)
        if name in wanted
    }
    (output,) = session.run(None, feed)
    torch.testing.assert_close(
        torch.from_numpy(output), model(*inputs), rtol=1e-4, atol=1e-4
    )
