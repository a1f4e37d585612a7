# Ablation: the interleaved encoder without key-aware attention.
_base_ = "./lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py"

plain = dict(type="MultiScaleDeformableAttention")

model = dict(
    encoder=dict(layer_cfg=dict(self_attn_cfg=plain)),
    decoder=dict(layer_cfg=dict(cross_attn_cfg=plain)),
)
