"""A detector as CUDA graphs: what the module computes, an image's size a graph."""

import pytest
import torch
from mmdet.registry import MODELS
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from mmdet_lite.deployment.cuda_graph import CUDAGraphDetector
from mmdet_lite.deployment.module import DetectorModule
from mmdet_lite.errors import ConfigError
from mmdet_lite.layers import key_aware_attention

CONFIG = "lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py"
on_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]


@pytest.fixture
def module(small_config):
    torch.manual_seed(0)
    model = MODELS.build(small_config(CONFIG).model)
    model.init_weights()
    return DetectorModule(model)


def images_of(*shape):
    return torch.randint(256, shape, dtype=torch.uint8)


def test_it_needs_a_lite_detector_a_gpu_and_room_for_a_graph(module, small_config):
    with pytest.raises(ConfigError, match="need a GPU, but the detector is on cpu"):
        CUDAGraphDetector(module)
    with pytest.raises(ConfigError, match="max_graphs must be a positive integer"):
        CUDAGraphDetector(module, max_graphs=0)
    stock = small_config(CONFIG).model
    stock.type = "DINO"
    with pytest.raises(ConfigError, match="mmdet's DINO stops a CUDA graph"):
        CUDAGraphDetector(DetectorModule(MODELS.build(stock)))


class _Visitors(TorchDispatchMode):
    """Notes what makes a tensor on the processor. A number cannot be asked for."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        results = result if isinstance(result, tuple | list) else [result]
        if any(torch.is_tensor(each) and not each.is_cuda for each in results):
            self.seen.append(str(func))
        return result


@pytest.mark.skipif(
    not torch.backends.cuda.is_built(), reason="PyTorch was built without CUDA"
)
def test_a_pass_copies_nothing_from_the_processor_and_asks_nothing(module, monkeypatch):
    """What a CUDA graph cannot hold, seen on a GPU whose tensors have no numbers."""
    monkeypatch.setattr(
        key_aware_attention,
        "key_aware_deformable_attention",
        lambda query, **arguments: query.flatten(2).clone(),
    )
    with FakeTensorMode(), torch.no_grad():
        for part in module.modules():
            for tensors in (part._parameters, part._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None:
                        like = torch.empty(
                            tensor.shape, dtype=tensor.dtype, device="cuda"
                        )
                        is_weight = tensors is part._parameters
                        tensors[name] = (
                            torch.nn.Parameter(like, False) if is_weight else like
                        )
        image = torch.empty(2, 3, 96, 128, dtype=torch.uint8, device="cuda")
        with _Visitors() as visitors:
            module.detect(image)
    assert visitors.seen == []


class TestOnAGpu:
    pytestmark = on_gpu

    @pytest.mark.parametrize("dtype", [None, torch.bfloat16])
    def test_it_computes_what_the_module_does(self, module, dtype):
        module.cuda()
        detector = CUDAGraphDetector(module, dtype)
        for shape in ((1, 3, 128, 160), (2, 3, 96, 96), (1, 3, 128, 160)):
            images = images_of(*shape)
            with (
                torch.no_grad(),
                torch.autocast("cuda", dtype, enabled=dtype is not None),
            ):
                expected = module(images.cuda())
            for result, wanted in zip(detector(images), expected, strict=True):
                torch.testing.assert_close(result, wanted)

    def test_results_stay_when_it_runs_again(self, module):
        detector = CUDAGraphDetector(module.cuda())
        first = detector(images_of(1, 3, 96, 96))
        kept = [each.clone() for each in first]
        detector(images_of(1, 3, 96, 96))
        for result, wanted in zip(first, kept, strict=True):
            assert torch.equal(result, wanted)

    def test_the_shape_not_used_for_longest_is_dropped(self, module):
        detector = CUDAGraphDetector(module.cuda(), max_graphs=2)
        for side in (64, 96, 64, 128):
            detector(images_of(1, 3, side, side))
        assert [shape[-1] for shape in detector._captured] == [64, 128]

    def test_it_launches_no_kernels_one_by_one(self, module):
        detector = CUDAGraphDetector(module.cuda())
        detector(images_of(1, 3, 96, 96))
        with torch.profiler.profile() as profiled:
            detector(images_of(1, 3, 96, 96))
        launches = [e for e in profiled.events() if e.name == "cudaLaunchKernel"]
        assert len(launches) < 20
