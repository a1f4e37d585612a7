_base_ = "./lite-dino_h3l1-2p1x3_swin-t_8xb2-36e_coco.py"

model = dict(encoder=dict(num_high_updates=6, num_blocks=1))
