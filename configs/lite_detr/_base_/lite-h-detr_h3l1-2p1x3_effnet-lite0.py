# A small Lite-H-DETR: the small Lite-Deformable-DETR with the hybrid branch.
_base_ = "./lite-deformable-detr-refine-twostage_h3l1-2p1x3_effnet-lite0.py"

# Five times the queries of the one-to-one group, as the paper has it.
model = dict(
    type="LiteHDeformableDETR",
    num_one2many_queries=300,
    k_one2many=6,
    lambda_one2many=1.0,
)
