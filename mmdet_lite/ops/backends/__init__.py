"""The backends of the attention operators, registered best first.

To add one, write a file with the two functions and ``why_not``, and register it here.
"""

from ..dispatch import Backend, register_backend
from . import cpp, mmcv, reference, triton

for _name, _module, _device_type in (
    ("cpp", cpp, "cpu"),
    ("triton", triton, "cuda"),
    ("mmcv", mmcv, "cuda"),
    ("reference", reference, None),
):
    register_backend(
        Backend(
            name=_name,
            key_aware=_module.key_aware_deformable_attention,
            plain=_module.multi_scale_deformable_attention,
            why_not=_module.why_not,
            device_type=_device_type,
        )
    )
