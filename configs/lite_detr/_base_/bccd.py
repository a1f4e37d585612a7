# Blood cells (BCCD, 205 training images of 640x480, 3 classes) at 320x240, to be named
# beside a model's file:
#   _base_ = ["./_base_/MODEL.py", "./_base_/bccd.py"]
#   train_dataloader = _base_.bccd_train_dataloader
#   val_dataloader = _base_.bccd_val_dataloader
#   test_dataloader = val_dataloader
#   val_evaluator = _base_.bccd_evaluator
#   test_evaluator = val_evaluator
# Data: a folder with images/, train.json and val.json, named by BCCD_ROOT.
bccd_root = "{{$BCCD_ROOT:data/bccd}}/"
bccd_size = (320, 240)
bccd_dataset = dict(
    data_root=bccd_root, metainfo=dict(classes=("Platelets", "RBC", "WBC"))
)
bccd_train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        **bccd_dataset,
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations", with_bbox=True),
            dict(type="Resize", scale=bccd_size, keep_ratio=True),
            # Cells look alike from every side.
            dict(
                type="RandomFlip",
                prob=[0.25] * 3,
                direction=["horizontal", "vertical", "diagonal"],
            ),
            dict(type="PackDetInputs"),
        ],
    ),
)
bccd_val_dataloader = dict(
    dataset=dict(
        **bccd_dataset,
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="Resize", scale=bccd_size, keep_ratio=True),
            dict(type="LoadAnnotations", with_bbox=True),
            dict(type="PackDetInputs"),
        ],
    )
)
bccd_evaluator = dict(ann_file=bccd_root + "val.json")
