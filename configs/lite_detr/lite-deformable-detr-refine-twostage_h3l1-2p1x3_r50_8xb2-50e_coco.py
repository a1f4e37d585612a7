# Box refinement in two stages: the paper's AP can only be that of this form.
_base_ = "mmdet::deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco.py"
custom_imports = dict(imports=["mmdet_lite"], allow_failed_imports=False)

# H3L1-(2+1)x3 with key-aware attention is what LiteDeformableDETR builds by itself.
model = dict(type="LiteDeformableDETR")

# The paper's batch of 16, with the learning rate for it.
optim_wrapper = dict(optimizer=dict(lr=0.0001))
auto_scale_lr = dict(base_batch_size=16)
