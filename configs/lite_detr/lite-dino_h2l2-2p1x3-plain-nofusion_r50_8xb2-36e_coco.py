_base_ = "./lite-dino_h3l1-2p1x3-plain-nofusion_r50_8xb2-36e_coco.py"

model = dict(encoder=dict(num_high_levels=2))
