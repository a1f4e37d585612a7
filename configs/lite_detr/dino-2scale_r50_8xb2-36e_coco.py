# DINO on the two highest levels, strides 32 and 64: a baseline of the paper.
_base_ = "mmdet::dino/dino-4scale_r50_8xb2-36e_coco.py"
custom_imports = dict(imports=["mmdet_lite"], allow_failed_imports=False)

num_levels = 2

model = dict(
    num_feature_levels=num_levels,
    backbone=dict(out_indices=(3,)),
    neck=dict(in_channels=[2048], num_outs=num_levels),
    encoder=dict(layer_cfg=dict(self_attn_cfg=dict(num_levels=num_levels))),
    decoder=dict(layer_cfg=dict(cross_attn_cfg=dict(num_levels=num_levels))),
)
