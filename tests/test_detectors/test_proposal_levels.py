"""Queries from the smaller maps only: what is chosen from, and what is refused."""

import pytest
import torch
from mmdet.models.detectors import DINO
from mmdet.registry import MODELS
from one_class_batch import batch_of

from mmdet_lite.errors import ConfigError

CONFIGS = {
    "LiteDINO": "lite-dino_h3l1-2p1x3_r50_8xb2-36e_coco.py",
    "ProposalLevelsDINO": "mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py",
    "LiteGroundingDINO": (
        "mmdet::grounding_dino/grounding_dino_r50_scratch_8xb2_1x_coco.py"
    ),
    "LiteDeformableDETR": (
        "mmdet::deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco.py"
    ),
    "LiteHDeformableDETR": "lite-h-detr_h3l1-2p1x3_r50_8xb2-36e_coco.py",
}
SHAPES = torch.tensor([(12, 17), (6, 9), (3, 5), (2, 3)])
NUM_LOW, NUM_TOKENS = 12 * 17, 12 * 17 + 6 * 9 + 3 * 5 + 2 * 3


def build(small_config, kind, **arguments):
    torch.manual_seed(0)
    cfg = small_config(CONFIGS[kind])
    cfg.model.update(type=kind, **arguments)
    if "contrastive_cfg" not in cfg.model.bbox_head:
        cfg.model.bbox_head.num_classes = 1
    model = MODELS.build(cfg.model).eval()
    model.init_weights()
    return model


@pytest.fixture(scope="module", params=CONFIGS)
def model(request, small_config):
    return build(small_config, request.param, num_proposal_levels=3)


@pytest.mark.parametrize("padded", [False, True])
def test_tokens_of_the_other_levels_propose_nothing(model, padded):
    memory = torch.randn(2, NUM_TOKENS, 256)
    mask = torch.zeros(2, NUM_TOKENS, dtype=torch.bool) if padded else None
    proposals = model.gen_encoder_output_proposals(memory, mask, SHAPES)
    model.num_proposal_levels = None
    of_all = model.gen_encoder_output_proposals(memory, mask, SHAPES)
    model.num_proposal_levels = 3
    for kept, every in zip(proposals, of_all, strict=True):
        assert every.shape[1] == NUM_TOKENS
        assert kept.equal(every[:, NUM_LOW:])


@pytest.mark.parametrize(
    ("shapes", "num_found"),
    # Of the second the maps of strides 16 to 64 have 3·2, 2·1 and 1·1 tokens.
    [([(96, 136), (64, 96)], 20), ([(48, 32)], 9)],
    ids=["padded", "few tokens"],
)
def test_it_trains_and_finds_as_many_as_there_are_proposals(model, shapes, num_found):
    data = batch_of(model, shapes, training=False)
    with torch.no_grad():
        results = model.predict(data["inputs"], data["data_samples"])
    for result in results:
        assert len(result.pred_instances) == num_found
        assert result.pred_instances.bboxes.isfinite().all()
    data = batch_of(model.train(), shapes, training=True)
    losses, _ = model.parse_losses(model.loss(data["inputs"], data["data_samples"]))
    losses.backward()
    model.eval()
    assert losses.isfinite()


def test_the_decoder_still_sees_every_level(model):
    memory = torch.randn(1, NUM_TOKENS, 256)
    if isinstance(model, MODELS.get("GroundingDINO")):
        pytest.skip("its hook wants a text; it makes its inputs as DINO does")
    decoder_inputs, _ = model.pre_decoder(
        memory=memory, memory_mask=None, spatial_shapes=SHAPES
    )
    assert decoder_inputs["memory"] is memory


def test_without_the_argument_it_is_the_dino_of_mmdet(small_config):
    model = build(small_config, "ProposalLevelsDINO")
    cfg = small_config(CONFIGS["ProposalLevelsDINO"])
    cfg.model.bbox_head.num_classes = 1
    stock = MODELS.build(cfg.model).eval()
    stock.load_state_dict(model.state_dict())
    assert type(stock) is DINO
    data = batch_of(model, [(96, 136), (64, 96)], training=False)
    with torch.no_grad():
        mine, theirs = (
            each.predict(data["inputs"], data["data_samples"])
            for each in (model, stock)
        )
    for one, other in zip(mine, theirs, strict=True):
        assert one.pred_instances.bboxes.equal(other.pred_instances.bboxes)
        assert one.pred_instances.scores.equal(other.pred_instances.scores)


def test_what_mmdet_does_around_the_encoder_is_still_known():
    hooks = {"pre_transformer", "gen_encoder_output_proposals"}
    assert MODELS.get("LiteDINO").hooks_of_mmdet == hooks


@pytest.mark.parametrize("number", [0, -1, "3", 2.0, True, 5])
def test_what_is_no_number_of_levels_is_refused(small_config, number):
    with pytest.raises(ConfigError, match="num_proposal_levels"):
        build(small_config, "LiteDINO", num_proposal_levels=number)


def test_a_detector_of_one_stage_is_refused(small_config):
    cfg = small_config("mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py")
    cfg.model.update(type="LiteDeformableDETR", num_proposal_levels=3)
    with pytest.raises(ConfigError, match="as_two_stage"):
        MODELS.build(cfg.model)


def test_distinct_queries_are_not_chosen_from_fewer_levels(small_config):
    cfg = small_config("mmdet::ddq/ddq-detr-4scale_r50_8xb2-12e_coco.py")
    cfg.model.update(type="LiteDDQDETR", num_proposal_levels=3)
    with pytest.raises(ConfigError, match="num_proposal_levels"):
        MODELS.build(cfg.model)
