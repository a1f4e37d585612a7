# The paper's main model, with the data and the 36 epochs of mmdet's DINO.
_base_ = "./_base_/lite-dino_h3l1-2p1x3_r50.py"
