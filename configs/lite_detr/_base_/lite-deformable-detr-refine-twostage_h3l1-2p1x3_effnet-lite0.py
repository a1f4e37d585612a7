# A small Lite-Deformable-DETR with box refinement in two stages: all of the small
# Lite-DINO, its training too, but for what makes it DINO. mmdet's DINO config says at
# each such setting what Deformable DETR has.
_base_ = "./lite-dino_h3l1-2p1x3_effnet-lite0.py"

del _base_.model["dn_cfg"]
model = dict(
    type="LiteDeformableDETR",
    positional_encoding=dict(offset=-0.5, temperature=10000),
    bbox_head=dict(type="DeformableDETRHead", loss_cls=dict(loss_weight=2.0)),
    # The head knows no suppression of duplicates.
    test_cfg=dict(_delete_=True, max_per_img=60),
)
