"""A measurement says where it was made."""

import torch

from mmdet_lite.benchmark.environment import describe_environment

CPU = torch.device("cpu")


def test_the_environment_names_versions_and_threads():
    environment = describe_environment(CPU)
    assert environment["versions"]["torch"] == torch.__version__
    assert environment["threads"] == torch.get_num_threads()
    assert environment["device"] == "cpu"
