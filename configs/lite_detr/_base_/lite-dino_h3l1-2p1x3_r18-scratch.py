# The small Lite-DINO on ResNet-18 from random weights.
_base_ = "./lite-dino_h3l1-2p1x3_small.py"

model = dict(
    # Nothing is frozen and batch statistics are learnt: there are no pretrained ones.
    backbone=dict(
        depth=18,
        frozen_stages=-1,
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=False,
        init_cfg=None,
    ),
    neck=dict(in_channels=[128, 256, 512]),
)

# From scratch the backbone learns as fast as the rest.
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=1.0))),
)
