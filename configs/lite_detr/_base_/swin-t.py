# Swin-T, pretrained on ImageNet-1k, to be named beside a model's ResNet-50 config:
#   _base_ = ["./MODEL_r50_SCHEDULE_coco.py", "./_base_/swin-t.py"]
#   model = dict(
#       backbone=dict(_delete_=True, **_base_.swin_t),
#       neck=dict(in_channels=_base_.swin_t_channels),
#   )
#   optim_wrapper = dict(paramwise_cfg=dict(custom_keys=_base_.swin_t_custom_keys))
swin_t = dict(
    type="SwinTransformer",
    embed_dims=96,
    depths=[2, 2, 6, 2],
    num_heads=[3, 6, 12, 24],
    window_size=7,
    drop_path_rate=0.2,
    out_indices=(1, 2, 3),
    with_cp=False,
    convert_weights=True,
    init_cfg=dict(
        type="Pretrained",
        checkpoint="https://github.com/SwinTransformer/storage/releases/download/"
        "v1.0.0/swin_tiny_patch4_window7_224.pth",
    ),
)
swin_t_channels = [192, 384, 768]

# No decay for norms and position biases. The longest key that is part of a parameter's
# name rules alone, so these repeat the backbone's learning rate.
swin_t_custom_keys = {
    key: dict(lr_mult=0.1, decay_mult=0.0)
    for key in [
        "relative_position_bias_table",
        "patch_embed.norm",
        *[f"blocks.{index}.norm" for index in range(max(swin_t["depths"]))],
        "downsample.norm",
        "backbone.norm",
    ]
}
