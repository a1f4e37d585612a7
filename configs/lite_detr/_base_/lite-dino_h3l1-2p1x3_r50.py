# Lite-DINO H3L1-(2+1)x3 on ResNet-50: mmdet's DINO with the Lite encoder.
_base_ = "mmdet::dino/dino-4scale_r50_8xb2-36e_coco.py"
custom_imports = dict(imports=["mmdet_lite"], allow_failed_imports=False)

# H3L1-(2+1)x3 with key-aware attention is what LiteDINO builds by itself.
# The last two are the official code's, so that its checkpoints convert exactly.
model = dict(
    type="LiteDINO",
    neck=dict(bias=True),
    bbox_head=dict(type="LiteDINOHead"),
)
