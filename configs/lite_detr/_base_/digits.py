# Scans of handwritten digits at 160x160; how to use it stands in bccd.py.
# Data: python tools/dataset_converters/make_digits.py, its folder named by DIGITS_ROOT.
digits_root = "{{$DIGITS_ROOT:data/digits}}/"
digits_size = (160, 160)
digits_dataset = dict(
    data_root=digits_root,
    metainfo=dict(classes=("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")),
)
digits_train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        **digits_dataset,
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations", with_bbox=True),
            dict(type="Resize", scale=digits_size, keep_ratio=True),
            dict(type="PackDetInputs"),
        ],
    ),
)
digits_val_dataloader = dict(
    dataset=dict(
        **digits_dataset,
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="Resize", scale=digits_size, keep_ratio=True),
            dict(type="LoadAnnotations", with_bbox=True),
            dict(type="PackDetInputs"),
        ],
    )
)
digits_evaluator = dict(ann_file=digits_root + "val.json")
