# Blood cells (BCCD, 205 training images, 3 classes) from scratch at 320x240.
# Data: a folder with images/, train.json and val.json, named by BCCD_ROOT.
_base_ = "./_base_/lite-dino_h3l1-2p1x3_r18-scratch.py"

data_root = "{{$BCCD_ROOT:data/bccd}}/"
metainfo = dict(classes=("Platelets", "RBC", "WBC"))
image_size = (320, 240)

model = dict(
    num_queries=100,
    bbox_head=dict(num_classes=3),
    test_cfg=dict(max_per_img=100),
)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=image_size, keep_ratio=True),
    # Cells look alike from every side.
    dict(
        type="RandomFlip",
        prob=[0.25] * 3,
        direction=["horizontal", "vertical", "diagonal"],
    ),
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
train_dataloader = dict(batch_size=2, dataset=dict(**dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**dataset, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + "val.json")
test_evaluator = val_evaluator
auto_scale_lr = dict(base_batch_size=2)
