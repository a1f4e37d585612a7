"""H-DETR: one-to-many matching beside one-to-one, in training only.

Jia et al., *DETRs with Hybrid Matching*, CVPR 2023 (arXiv 2207.13080).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmdet.models.detectors import DeformableDETR
from mmdet.models.layers import inverse_sigmoid
from mmdet.models.utils import reweight_loss_dict
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, OptSampleList, SampleList
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..arguments import require_count, require_number
from ..errors import ConfigError
from .few_tokens import FewTokensMixin


@MODELS.register_module()
class HDeformableDETR(FewTokensMixin, DeformableDETR):
    """Two-stage Deformable DETR with H-DETR's hybrid branch.

    It is mmdet's ``DeformableDETR`` with box refinement, in two stages, and

    * *hybrid branch*: in training a second group of queries learns from every ground
      truth ``k_one2many`` times. The groups share all layers but do not attend to each
      other, and inference knows only the first;
    * *mixed query selection* (of DINO, arXiv 2203.03605): the best proposals give the
      positions of the queries, learned embeddings their content;
    * *look forward twice* (of DINO): the box loss of a layer reaches the box branch of
      the layer before.

    Any head of two-stage Deformable DETR serves, ``DeformableDETRHead`` by default.

    Args:
        *args: as ``DeformableDETR``.
        num_queries (int): queries of the one-to-one group, the only ones at inference.
            Defaults to 300.
        num_one2many_queries (int): queries of the one-to-many group. Defaults to 1500;
            0 leaves the hybrid branch out.
        k_one2many (int): K, how often the one-to-many group sees each ground truth.
            Defaults to 6.
        lambda_one2many (float): λ, weight of the one-to-many group's losses. Defaults
            to 1.0.
        with_box_refine (bool): must be True, the default.
        as_two_stage (bool): must be True, the default.
        **kwargs: as ``DeformableDETR``.

    Raises:
        ConfigError: a number of queries, ``k_one2many`` or ``lambda_one2many`` is out
            of its range, or ``with_box_refine`` or ``as_two_stage`` is False.
    """

    # While a batch's proposals are selected: how many there are to select from.
    num_proposals: int | None = None

    def __init__(
        self,
        *args,
        num_queries: int = 300,
        num_one2many_queries: int = 1500,
        k_one2many: int = 6,
        lambda_one2many: float = 1.0,
        with_box_refine: bool = True,
        as_two_stage: bool = True,
        **kwargs,
    ) -> None:
        for name, number, least in (
            ("num_queries", num_queries, 1),
            ("num_one2many_queries", num_one2many_queries, 0),
            ("k_one2many", k_one2many, 1),
        ):
            require_count(name, number, least)
        require_number("lambda_one2many", lambda_one2many)
        if not (with_box_refine and as_two_stage):
            raise ConfigError(
                "H-DETR refines boxes in two stages: with_box_refine and as_two_stage "
                f"must be True, but got {with_box_refine!r} and {as_two_stage!r}"
            )
        self.num_one2many_queries = num_one2many_queries
        self.k_one2many = k_one2many
        self.lambda_one2many = lambda_one2many
        super().__init__(
            *args,
            num_queries=num_queries,
            with_box_refine=with_box_refine,
            as_two_stage=as_two_stage,
            **kwargs,
        )

    @property
    def num_queries(self) -> int:
        """How many proposals mmdet's ``pre_decoder`` selects: one for each query."""
        number = self.num_one2one_queries
        if self.training:
            number += self.num_one2many_queries
        return number if self.num_proposals is None else min(number, self.num_proposals)

    @num_queries.setter
    def num_queries(self, number: int) -> None:
        self.num_one2one_queries = number

    @contextmanager
    def _limited_to(self, num_proposals: int) -> Iterator[None]:
        """Leave the queries of the one-to-many group out first."""
        self.num_proposals = num_proposals
        try:
            yield
        finally:
            self.num_proposals = None

    def _init_layers(self) -> None:
        """Add the content embeddings of both groups, the one-to-one group's first."""
        super()._init_layers()
        self.query_embedding = nn.Embedding(
            self.num_one2one_queries + self.num_one2many_queries, self.embed_dims
        )

    def pre_decoder(  # type: ignore[override]  # DeformableDETR has no more
        self, memory: Tensor, memory_mask: Tensor | None, spatial_shapes: Tensor
    ) -> tuple[dict, dict]:
        """Select proposals as mmdet does, best first, then mix in learned content.

        Where there are fewer tokens than queries, each makes one, those of the
        one-to-one group first.

        Args:
            memory: (batch, num_tokens, embed_dims).
            memory_mask: (batch, num_tokens), True where a token is padding, or None.
            spatial_shapes: (num_levels, 2), integers, (height, width).

        Returns:
            tuple: keyword arguments of :meth:`forward_decoder`, and those that the
            head's loss takes besides the decoder's output (none at inference).
        """
        decoder_inputs, head_inputs = super().pre_decoder(
            memory, memory_mask, spatial_shapes
        )
        batch_size, num_queries, _ = decoder_inputs["reference_points"].shape
        content = self.query_embedding.weight[:num_queries]
        decoder_inputs["query"] = content.expand(batch_size, -1, -1)
        decoder_inputs["self_attn_mask"] = self._group_mask(num_queries, memory.device)
        return decoder_inputs, head_inputs

    def _group_mask(self, num_queries: int, device: torch.device) -> Tensor | None:
        """(num_queries, num_queries), True where queries are of different groups."""
        if num_queries <= self.num_one2one_queries:
            return None
        is_one2many = (
            torch.arange(num_queries, device=device) >= self.num_one2one_queries
        )
        return is_one2many[:, None] != is_one2many

    def forward_decoder(
        self,
        query: Tensor,
        query_pos: Tensor,
        memory: Tensor,
        memory_mask: Tensor | None,
        reference_points: Tensor,
        self_attn_mask: Tensor | None,
        **geometry,
    ) -> dict:
        """Decode both groups apart; in training the references look forward twice.

        Args:
            query: (batch, num_queries, embed_dims), content.
            query_pos: (batch, num_queries, embed_dims), position.
            memory: (batch, num_tokens, embed_dims).
            memory_mask: (batch, num_tokens), True where a token is padding, or None.
            reference_points: (batch, num_queries, 4), (cx, cy, w, h), normalised.
            self_attn_mask: (num_queries, num_queries), True where a query must not see
                another, or None.
            **geometry: ``spatial_shapes``, ``level_start_index`` and ``valid_ratios``.

        Returns:
            dict: ``hidden_states`` (num_layers, batch, num_queries, embed_dims) and
            ``references``, the initial one and one after every layer, each (batch,
            num_queries, 4).
        """
        reg_branches = self.bbox_head.reg_branches
        hidden_states, references = self.decoder(
            query=query,
            query_pos=query_pos,
            value=memory,
            key_padding_mask=memory_mask,
            reference_points=reference_points,
            self_attn_mask=self_attn_mask,
            reg_branches=reg_branches,
            **geometry,
        )
        references = [reference_points, *references]
        if self.training:
            # mmdet's decoder returns references whose gradient is cut. Three small
            # linear layers give the same numbers anew, with a gradient to the branch
            # and states of one layer. No layer starts from the last reference.
            references[1:-1] = [
                (branch(states) + inverse_sigmoid(reference)).sigmoid()
                for branch, states, reference in zip(
                    reg_branches, hidden_states, references[:-2], strict=False
                )
            ]
        return {"hidden_states": hidden_states, "references": references}

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict:
        """Losses of both groups; the names of the second end in ``_one2many``.

        Args:
            batch_inputs: (batch, 3, height, width).
            batch_data_samples: the images' meta information and ground truth.

        Returns:
            dict: the losses of mmdet's ``DeformableDETRHead``, and, where there is a
            hybrid branch, those of the decoder's layers once more for its group.
        """
        head_inputs = self.forward_transformer(
            self.extract_feat(batch_inputs), batch_data_samples
        )
        hidden_states = head_inputs.pop("hidden_states")
        references = head_inputs.pop("references")
        split = self.num_one2one_queries
        losses = self.bbox_head.loss(
            hidden_states[:, :, :split],
            [reference[:, :split] for reference in references],
            **head_inputs,
            batch_data_samples=batch_data_samples,
        )
        # An image of few tokens may leave no query to the second group.
        if hidden_states.shape[2] > split:
            losses_one2many = self.bbox_head.loss(
                hidden_states[:, :, split:],
                [reference[:, split:] for reference in references],
                # The proposals have been judged above, once for both groups.
                enc_outputs_class=None,
                enc_outputs_coord=None,
                batch_data_samples=[
                    _repeat_ground_truth(sample, self.k_one2many)
                    for sample in batch_data_samples
                ],
            )
            reweight_loss_dict(losses_one2many, self.lambda_one2many)
            losses.update(
                {f"{name}_one2many": loss for name, loss in losses_one2many.items()}
            )
        return losses

    def _forward(
        self, batch_inputs: Tensor, batch_data_samples: OptSampleList = None
    ) -> tuple[Tensor, Tensor]:
        """Raw output of ``mode='tensor'``, of both groups while training.

        Args:
            batch_inputs: (batch, 3, height, width).
            batch_data_samples: the images' meta information.

        Returns:
            tuple: class logits (num_layers, batch, num_queries, num_classes) and boxes
            (num_layers, batch, num_queries, 4), (cx, cy, w, h), normalised.
        """
        head_inputs = self.forward_transformer(
            self.extract_feat(batch_inputs), batch_data_samples
        )
        # In training there are the proposals too, which only the loss can take.
        return self.bbox_head(head_inputs["hidden_states"], head_inputs["references"])


def _repeat_ground_truth(sample: DetDataSample, times: int) -> DetDataSample:
    """The image's sample with every ground truth ``times`` times."""
    repeated = DetDataSample(metainfo=sample.metainfo)
    repeated.gt_instances = InstanceData.cat([sample.gt_instances] * times)
    return repeated
