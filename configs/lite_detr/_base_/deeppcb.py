# Defects of circuit boards (DeepPCB, 400 training images of 640x640, 6 classes, a third
# of the boxes small) at 320x320; how to use it stands in bccd.py.
# Data: a folder with images/, train.json and test.json, named by DEEPPCB_ROOT.
deeppcb_root = "{{$DEEPPCB_ROOT:data/deeppcb}}/"
deeppcb_size = (320, 320)
deeppcb_dataset = dict(
    data_root=deeppcb_root,
    metainfo=dict(classes=("open", "short", "mousebite", "spur", "copper", "pin-hole")),
)
deeppcb_train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        **deeppcb_dataset,
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations", with_bbox=True),
            dict(type="Resize", scale=deeppcb_size, keep_ratio=True),
            # A board has no upper side.
            dict(
                type="RandomFlip",
                prob=[0.25] * 3,
                direction=["horizontal", "vertical", "diagonal"],
            ),
            dict(type="PackDetInputs"),
        ],
    ),
)
deeppcb_val_dataloader = dict(
    dataset=dict(
        **deeppcb_dataset,
        ann_file="test.json",
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="Resize", scale=deeppcb_size, keep_ratio=True),
            dict(type="LoadAnnotations", with_bbox=True),
            dict(type="PackDetInputs"),
        ],
    )
)
deeppcb_evaluator = dict(ann_file=deeppcb_root + "test.json")
