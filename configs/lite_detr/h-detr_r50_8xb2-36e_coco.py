# H-DETR, which mmdet lacks; mmdet_lite brings it as a base for Lite-H-DETR.
_base_ = "mmdet::deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco.py"
custom_imports = dict(imports=["mmdet_lite"], allow_failed_imports=False)

ffn_cfg = dict(feedforward_channels=2048, ffn_drop=0.0)

# The hybrid branch's numbers are the defaults; stated, they tell a config of H-DETR
# from one of Deformable DETR, whose head it shares.
model = dict(
    type="HDeformableDETR",
    num_queries=300,
    num_one2many_queries=1500,
    k_one2many=6,
    lambda_one2many=1.0,
    encoder=dict(layer_cfg=dict(self_attn_cfg=dict(dropout=0.0), ffn_cfg=ffn_cfg)),
    decoder=dict(
        layer_cfg=dict(
            self_attn_cfg=dict(dropout=0.0),
            cross_attn_cfg=dict(dropout=0.0),
            ffn_cfg=ffn_cfg,
        )
    ),
)

optim_wrapper = dict(optimizer=dict(lr=0.0001))
auto_scale_lr = dict(base_batch_size=16)

max_epochs = 36
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(
        type="MultiStepLR",
        begin=0,
        end=max_epochs,
        by_epoch=True,
        milestones=[30],
        gamma=0.1,
    )
]
