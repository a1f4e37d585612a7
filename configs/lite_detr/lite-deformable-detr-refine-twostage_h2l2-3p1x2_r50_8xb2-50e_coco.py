_base_ = "./lite-deformable-detr-refine-twostage_h3l1-2p1x3_r50_8xb2-50e_coco.py"

model = dict(encoder=dict(num_high_levels=2, num_high_updates=3, num_blocks=2))
