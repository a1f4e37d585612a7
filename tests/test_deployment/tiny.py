"""Detectors that are exported in seconds, with scores that do not nearly tie."""

import torch
from mmdet.registry import MODELS

# A model of each family; all of mmdet's by the types that its own configs name.
FAMILIES = {
    "LiteDINO": "lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py",
    "LiteDINO, plain": "lite-dino_h3l1-2p1x3-plain_r50_8xb2-36e_coco.py",
    "LiteDINO, NMS": "lite-dino_h3l1-2p1x3_r18_1xb2-8e_bccd.py",
    "LiteDeformableDETR": "lite-deformable-detr_h3l1-2p1x3_r50_8xb2-50e_coco.py",
    "LiteDeformableDETR, refine": (
        "mmdet::deformable_detr/deformable-detr-refine_r50_16xb2-50e_coco.py"
    ),
    "LiteDeformableDETR, two-stage": (
        "lite-deformable-detr-refine-twostage_h3l1-2p1x3_r50_8xb2-50e_coco.py"
    ),
    "LiteHDeformableDETR": "lite-h-detr_h3l1-2p1x3_r50_8xb2-36e_coco.py",
    "DINO": "mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py",
}


def tiny_config(small_config, family):
    """A config of a family with one encoder layer of each kind and few queries."""
    cfg = small_config(FAMILIES[family])
    if family == "LiteDeformableDETR, refine":
        cfg.model.type = "LiteDeformableDETR"
    if family.startswith("Lite"):
        cfg.model.encoder.update(num_layers=2, num_high_updates=2, num_blocks=1)
    else:
        cfg.model.encoder.num_layers = 1
    if family == "LiteDINO, NMS":  # and the other option that the paper has not
        cfg.model.test_cfg.nms.iou_threshold = 0.6
        cfg.model.num_proposal_levels = 3
    return cfg


def spread_scores(model):
    """Weights of a new model, but for those of the classes, which tell apart."""
    generator = torch.Generator().manual_seed(0)
    model.init_weights()
    for branch in model.bbox_head.cls_branches:
        torch.nn.init.normal_(branch.weight, std=0.2, generator=generator)
        torch.nn.init.normal_(branch.bias, std=0.2, generator=generator)
    for branch in model.bbox_head.reg_branches:
        # Boxes of a new model are so small that none overlaps another.
        torch.nn.init.constant_(branch[-1].bias[2:], 1.0)
    return model.eval()


def tiny_model(small_config, family):
    """A detector of a family, from :func:`tiny_config`."""
    torch.manual_seed(0)
    return spread_scores(MODELS.build(tiny_config(small_config, family).model))


def photograph(height, width, seed=0):
    """(3, height, width), uint8: smooth, as what a camera sees."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 8, generator=generator)
    image = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    return (255 * image[0]).clamp(0, 255).to(torch.uint8)
