"""Detectors of mmdet with the encoder and attention of Lite DETR; H-DETR."""

from .h_deformable_detr import HDeformableDETR
from .lite_ddq_detr import LiteDDQDETR
from .lite_deformable_detr import LiteDeformableDETR
from .lite_dino import LiteDINO
from .lite_grounding_dino import LiteGroundingDINO
from .lite_h_deformable_detr import LiteHDeformableDETR
from .lite_transformer import LiteTransformerMixin
from .proposal_levels import ProposalLevelsDINO

__all__ = [
    "HDeformableDETR",
    "LiteDDQDETR",
    "LiteDINO",
    "LiteDeformableDETR",
    "LiteGroundingDINO",
    "LiteHDeformableDETR",
    "LiteTransformerMixin",
    "ProposalLevelsDINO",
]
