# Blood cells, fine-tuned from ImageNet weights; about the data see _base_/bccd.py.
_base_ = [
    "./_base_/lite-deformable-detr-refine-twostage_h3l1-2p1x3_effnet-lite0.py",
    "./_base_/bccd.py",
]

model = dict(
    num_queries=100,
    bbox_head=dict(num_classes=3),
    test_cfg=dict(max_per_img=100),
)
train_dataloader = _base_.bccd_train_dataloader
val_dataloader = _base_.bccd_val_dataloader
test_dataloader = val_dataloader
val_evaluator = _base_.bccd_evaluator
test_evaluator = val_evaluator
auto_scale_lr = dict(base_batch_size=2)
