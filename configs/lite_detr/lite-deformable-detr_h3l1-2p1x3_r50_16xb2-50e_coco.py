_base_ = "mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py"
custom_imports = dict(imports=["mmdet_lite"], allow_failed_imports=False)

# H3L1-(2+1)x3 with key-aware attention is what LiteDeformableDETR builds by itself.
model = dict(type="LiteDeformableDETR")
