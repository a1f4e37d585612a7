# A Lite-DINO that a processor can train from random weights: ResNet-18, narrow FFNs,
# three decoder layers, few queries. For demonstrations and small data sets.
_base_ = "../lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py"

ffn_cfg = dict(feedforward_channels=512)

model = dict(
    num_queries=60,
    # Nothing is frozen and batch statistics are learnt: there are no pretrained ones.
    backbone=dict(
        depth=18,
        frozen_stages=-1,
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=False,
        init_cfg=None,
    ),
    neck=dict(in_channels=[128, 256, 512]),
    encoder=dict(layer_cfg=dict(ffn_cfg=ffn_cfg)),
    decoder=dict(num_layers=3, layer_cfg=dict(ffn_cfg=ffn_cfg)),
    dn_cfg=dict(group_cfg=dict(num_dn_queries=60)),
    test_cfg=dict(max_per_img=60),
)

# From scratch the backbone learns as fast as the rest.
optim_wrapper = dict(
    optimizer=dict(lr=4e-4),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=1.0))),
)

train_dataloader = dict(num_workers=1)
val_dataloader = dict(num_workers=1)
test_dataloader = dict(num_workers=1)
default_hooks = dict(
    logger=dict(interval=25), checkpoint=dict(save_best="coco/bbox_mAP_50")
)
randomness = dict(seed=0)
