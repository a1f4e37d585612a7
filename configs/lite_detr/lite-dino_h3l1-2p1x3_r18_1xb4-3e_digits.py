# Trains from scratch on two processor cores within minutes; `make demo` runs it.
# Data: python tools/dataset_converters/make_digits.py
_base_ = "./_base_/lite-dino_h3l1-2p1x3_r18-scratch.py"

data_root = "{{$DIGITS_ROOT:data/digits}}/"
metainfo = dict(classes=("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"))
image_size = (160, 160)

model = dict(bbox_head=dict(num_classes=10))

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=image_size, keep_ratio=True),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=image_size, keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
dataset = dict(data_root=data_root, metainfo=metainfo)
train_dataloader = dict(batch_size=4, dataset=dict(**dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**dataset, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + "val.json")
test_evaluator = val_evaluator
auto_scale_lr = dict(base_batch_size=4)

max_epochs = 3
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
