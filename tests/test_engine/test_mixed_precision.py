"""What a detector predicts under autocast is float32, and as precise."""

import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs

from mmdet_lite.engine import predict_in_float32


def test_boxes_and_scores_are_not_rounded_to_bfloat16(small_config):
    torch.manual_seed(0)
    model = MODELS.build(
        small_config("lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py").model
    ).eval()
    predict_in_float32(model)
    data = model.data_preprocessor(demo_mm_inputs(1, [[3, 96, 128]]), False)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        sample = model(**data, mode="predict")[0]
    for numbers in (sample.pred_instances.bboxes, sample.pred_instances.scores):
        assert numbers.dtype == torch.float32
        representable = numbers.bfloat16().float() == numbers
        assert representable.float().mean() < 0.5
