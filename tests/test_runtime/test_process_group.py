"""Several processes without a GPU train as one does."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from python_process import run_python
from several_processes import run_in_several

SCRIPT = Path(__file__).with_name("one_step.py")
CONFIG = "lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py"
NUM_PROCESSES = 2


def images_to_share(digits_root):
    """Numbers of four images; the first two have the most objects, and as many.

    How many noisy queries a batch has depends on the most objects of an image, and
    each process gets every other image.
    """
    content = json.loads((digits_root / "train.json").read_text())
    objects = Counter(box["image_id"] for box in content["annotations"])
    images = sorted(image["id"] for image in content["images"])
    order = sorted(range(len(images)), key=lambda i: -objects[images[i]])
    most = [objects[images[number]] for number in order]
    first = next(n for n in range(5) if most[n] == most[n + 1])
    return order[first : first + 4]


@pytest.fixture
def step_config(small_config, digits_root, tmp_path, monkeypatch):
    """Config of one step on four images, in which nothing depends on the batch."""
    monkeypatch.setenv("DIGITS_ROOT", str(digits_root))
    cfg = small_config(CONFIG)
    cfg.merge_from_dict(
        {
            "work_dir": str(tmp_path),
            "model.backbone.norm_eval": True,
            "model.dn_cfg.label_noise_scale": 1e-9,
            "model.dn_cfg.box_noise_scale": 1e-9,
            "optim_wrapper.clip_grad": None,
            "train_cfg.max_epochs": 1,
            "train_dataloader.num_workers": 0,
            "train_dataloader.persistent_workers": False,
            "train_dataloader.sampler.shuffle": False,
            "train_dataloader.dataset.indices": images_to_share(digits_root),
            "randomness.seed": 0,
        }
    )
    for split in ("val", "test"):
        for part in ("dataloader", "cfg", "evaluator"):
            cfg[f"{split}_{part}"] = None
    return cfg


def run_step(cfg, num_processes, out):
    """Train a step in processes that share the batch; return what each recorded."""
    cfg.train_dataloader.batch_size = 4 // num_processes
    config = out.with_suffix(".py")
    cfg.dump(config)
    if num_processes > 1:
        results = run_in_several(num_processes, SCRIPT, config, "pytorch", out)
    else:
        results = [run_python(SCRIPT, config, "none", out)]
    for result in results:
        assert result.returncode == 0, result.stderr[-3000:]
    logs = [result.stdout.count("Epoch(train)") for result in results]
    assert logs[0] == 1
    assert not any(logs[1:])
    return [torch.load(f"{out}{rank}") for rank in range(num_processes)]


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="they would take the GPU")
def test_two_processes_give_the_losses_and_gradients_of_one(step_config, tmp_path):
    (whole,) = run_step(step_config, 1, tmp_path / "one")
    halves = run_step(step_config, NUM_PROCESSES, tmp_path / "two")
    assert sorted(whole["images"]) == sorted(halves[0]["images"] + halves[1]["images"])
    assert halves[0]["images"] != halves[1]["images"]
    # Each process divides by the mean number of objects of all, so the mean is the
    # loss of the whole batch; sums are in another order, no more.
    for name, loss in whole["losses"].items():
        mean = torch.stack([half["losses"][name] for half in halves]).mean(0)
        torch.testing.assert_close(mean, loss, rtol=1e-5, atol=1e-6, msg=name)
    assert whole["gradients"].keys() == halves[0]["gradients"].keys()
    assert len(whole["gradients"]) > 100
    for name, gradient in whole["gradients"].items():
        assert torch.equal(halves[0]["gradients"][name], halves[1]["gradients"][name])
        difference = (halves[0]["gradients"][name] - gradient).abs().max()
        assert difference <= 1e-4 * gradient.abs().max() + 1e-6, name
