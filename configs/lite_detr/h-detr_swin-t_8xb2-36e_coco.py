_base_ = ["./h-detr_r50_8xb2-36e_coco.py", "./_base_/swin-t.py"]

model = dict(
    backbone=dict(_delete_=True, **_base_.swin_t),
    neck=dict(in_channels=_base_.swin_t_channels),
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=_base_.swin_t_custom_keys))
