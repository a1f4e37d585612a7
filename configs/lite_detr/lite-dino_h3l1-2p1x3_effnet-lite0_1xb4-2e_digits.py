# Handwritten digits, fine-tuned from ImageNet weights: trains on two processor cores
# within minutes; `make demo` runs it.
# Data: python tools/dataset_converters/make_digits.py
_base_ = ["./_base_/lite-dino_h3l1-2p1x3_effnet-lite0.py", "./_base_/digits.py"]

model = dict(bbox_head=dict(num_classes=10))
train_dataloader = _base_.digits_train_dataloader
val_dataloader = _base_.digits_val_dataloader
test_dataloader = val_dataloader
val_evaluator = _base_.digits_evaluator
test_evaluator = val_evaluator
auto_scale_lr = dict(base_batch_size=4)

max_epochs = 2
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = _base_.param_scheduler
param_scheduler[-1].update(end=max_epochs, T_max=max_epochs)
