# A Lite-DINO that a processor can train: narrow FFNs, three decoder layers and few
# queries. For demonstrations and small data sets; a backbone stands on top of it.
_base_ = "./lite-dino_h3l1-2p1x3_r50.py"

ffn_cfg = dict(feedforward_channels=512)

model = dict(
    num_queries=60,
    encoder=dict(layer_cfg=dict(ffn_cfg=ffn_cfg)),
    decoder=dict(num_layers=3, layer_cfg=dict(ffn_cfg=ffn_cfg)),
    dn_cfg=dict(group_cfg=dict(num_dn_queries=60)),
    # Few steps of training do not teach a decoder to find each object once only.
    test_cfg=dict(max_per_img=60, nms=dict(type="nms", iou_threshold=0.8)),
)

# The fused step takes a processor a fifth of the time.
optim_wrapper = dict(optimizer=dict(lr=4e-4, fused=True))

# Small data sets lie in one folder: images/, train.json and val.json.
train_dataloader = dict(
    num_workers=1,
    dataset=dict(ann_file="train.json", data_prefix=dict(img="images/")),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(ann_file="val.json", data_prefix=dict(img="images/")),
)
test_dataloader = val_dataloader

max_epochs = 8
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(
        type="CosineAnnealingLR",
        by_epoch=True,
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        convert_to_iter_based=True,
    ),
]
default_hooks = dict(
    logger=dict(interval=25),
    checkpoint=dict(save_best="coco/bbox_mAP_50"),
    # A short training leaves low scores.
    visualization=dict(score_thr=0.25),
)
randomness = dict(seed=0)
