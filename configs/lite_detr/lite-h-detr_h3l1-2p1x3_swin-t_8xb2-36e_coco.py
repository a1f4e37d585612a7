_base_ = "./h-detr_swin-t_8xb2-36e_coco.py"

# H3L1-(2+1)x3 with key-aware attention is what LiteHDeformableDETR builds by itself.
model = dict(type="LiteHDeformableDETR")
