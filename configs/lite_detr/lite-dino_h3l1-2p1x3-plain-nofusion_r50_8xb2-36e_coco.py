# Ablation: besides, high levels meet the low ones in F layers only.
_base_ = "./lite-dino_h3l1-2p1x3-plain_r50_8xb2-36e_coco.py"

model = dict(encoder=dict(iterative_fusion=False))
