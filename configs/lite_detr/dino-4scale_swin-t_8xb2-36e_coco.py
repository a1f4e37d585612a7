_base_ = [
    "mmdet::dino/dino-4scale_r50_8xb2-36e_coco.py",
    "./_base_/swin-t.py",
]
custom_imports = dict(imports=["mmdet_lite"], allow_failed_imports=False)

model = dict(
    backbone=dict(_delete_=True, **_base_.swin_t),
    neck=dict(in_channels=_base_.swin_t_channels),
    # The paper's noise for Swin-T; 1.0 for ResNet-50.
    dn_cfg=dict(box_noise_scale=0.4),
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=_base_.swin_t_custom_keys))
