# Defects of circuit boards; about the data see _base_/deeppcb.py.
_base_ = ["./_base_/lite-dino_h3l1-2p1x3_effnet-lite0.py", "./_base_/deeppcb.py"]

model = dict(bbox_head=dict(num_classes=6))
train_dataloader = _base_.deeppcb_train_dataloader
val_dataloader = _base_.deeppcb_val_dataloader
test_dataloader = val_dataloader
val_evaluator = _base_.deeppcb_evaluator
test_evaluator = val_evaluator
auto_scale_lr = dict(base_batch_size=2)
