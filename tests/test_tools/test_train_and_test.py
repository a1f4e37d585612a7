"""The tools as users call them: train, test, resume, and refuse what cannot work."""

import json
import pickle
import subprocess
import sys

import pytest
import torch
from python_process import run_python

CONFIG = "configs/lite_detr/lite-dino_h3l1-2p1x3_r18_1xb4-3e_digits.py"
# A run of seconds: less of everything that does not change what is run.
SMALL = {
    "model.num_queries": 20,
    "model.test_cfg.max_per_img": 20,
    "model.encoder.layer_cfg.ffn_cfg.feedforward_channels": 64,
    "train_cfg.max_epochs": 2,
    "default_hooks.logger.interval": 1,
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "test_dataloader.num_workers": 0,
    "test_dataloader.persistent_workers": False,
    "val_dataloader.num_workers": 0,
    "val_dataloader.persistent_workers": False,
}


@pytest.fixture(scope="module")
def run_tool(repository, digits_root):
    """Function that calls a tool on the digits and returns the finished process."""

    def run(tool, *arguments, config=CONFIG, options=SMALL, new_interpreter=False):
        command = [f"tools/{tool}.py", config, *map(str, arguments)]
        if options:
            command += ["--cfg-options"]
            command += [f"{name}={value}" for name, value in options.items()]
        env = {"PATH": "/usr/bin:/bin", "DIGITS_ROOT": str(digits_root)}
        if not new_interpreter:
            return run_python(*command, cwd=repository, env=env)
        return subprocess.run(
            [sys.executable, *command],
            cwd=repository,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def trained(run_tool, tmp_path_factory):
    """The work dir of a finished training."""
    work_dir = tmp_path_factory.mktemp("work_dir")
    arguments = ("--work-dir", work_dir, "--draw-validation", 3)
    result = run_tool("train", *arguments, new_interpreter=True)
    assert result.returncode == 0, result.stderr[-3000:]
    return work_dir


def logged_scalars(work_dir):
    (path,) = work_dir.glob("*/vis_data/scalars.json")
    return [json.loads(line) for line in path.read_text().splitlines()]


def validation_metrics(scalars):
    names = ("coco/bbox_mAP", "coco/bbox_mAP_50", "coco/bbox_mAP_l")
    return [{name: row[name] for name in names} for row in scalars if names[0] in row]


def test_training_leaves_log_and_checkpoints(trained):
    scalars = logged_scalars(trained)
    losses = [row["loss"] for row in scalars if "loss" in row]
    assert len(losses) == 2 * 2  # epochs times batches
    assert len(validation_metrics(scalars)) == 2
    assert (trained / "epoch_2.pth").is_file()
    # One in three of four validation images, twice.
    assert len(list(trained.glob("*/vis_data/vis_image/*.png"))) in (2, 3)


def test_testing_a_checkpoint_repeats_its_metrics(run_tool, trained, tmp_path):
    """The whole way through a file: weights saved, read back under protection."""
    result = run_tool(
        "test",
        trained / "epoch_2.pth",
        "--work-dir",
        tmp_path,
        "--show-dir",
        tmp_path / "pictures",
        "--out",
        tmp_path / "predictions.pkl",
        new_interpreter=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    (metrics,) = [
        json.loads(path.read_text())
        for path in tmp_path.glob("*/*.json")
        if path.parent.name != "vis_data"
    ]
    last = validation_metrics(logged_scalars(trained))[-1]
    assert {name: metrics[name] for name in last} == last
    assert metrics["latency/median_ms"] > 0
    assert "latency per image" in result.stdout.splitlines()[-1]
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 4
    assert len(pickle.loads((tmp_path / "predictions.pkl").read_bytes())) == 4


@pytest.fixture
def without_drawing(repository, tmp_path):
    """Path of a config that names nothing to draw with."""
    config = tmp_path / "no_hook.py"
    lines = [
        f"_base_ = {str(repository / CONFIG)!r}",
        "default_hooks = dict(_delete_=True, logger=dict(type='LoggerHook'))",
        "visualizer = None",
    ]
    config.write_text("\n".join(lines))
    return str(config)


def test_pictures_are_drawn_for_a_config_that_names_no_hook_for_it(
    run_tool, without_drawing, trained, tmp_path
):
    arguments = ("--work-dir", tmp_path, "--show-dir", tmp_path / "pictures")
    result = run_tool(
        "test", trained / "epoch_2.pth", *arguments, config=without_drawing
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 4


def test_validation_is_drawn_for_a_config_that_names_no_hook_for_it(
    run_tool, without_drawing, tmp_path
):
    arguments = ("--work-dir", tmp_path, "--draw-validation", 1)
    options = {**SMALL, "train_cfg.max_epochs": 1}
    result = run_tool("train", *arguments, config=without_drawing, options=options)
    assert result.returncode == 0, result.stderr[-3000:]
    assert list(tmp_path.glob("*/vis_data/vis_image/*.png"))
    assert validation_metrics(logged_scalars(tmp_path))


@pytest.mark.parametrize("flag", ["--tta", "--amp", "--optimize"])
def test_variants_of_testing_run(run_tool, trained, tmp_path, flag):
    result = run_tool("test", trained / "epoch_2.pth", "--work-dir", tmp_path, flag)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "coco/bbox_mAP_50" in result.stdout + result.stderr


def test_a_model_that_was_trained_with_averaging_is_made_fast_too(
    repository, run_tool, trained, tmp_path
):
    # The hook exchanges parameters one by one, and folding leaves fewer of them.
    config = tmp_path / "averaged.py"
    hooks = "custom_hooks = [dict(type='EMAHook')]"
    config.write_text(f"_base_ = {str(repository / CONFIG)!r}\n{hooks}\n")
    arguments = (trained / "epoch_2.pth", "--work-dir", tmp_path, "--optimize")
    result = run_tool("test", *arguments, config=str(config))
    assert result.returncode == 0, result.stderr[-3000:]
    assert "coco/bbox_mAP_50" in result.stdout + result.stderr


def test_resuming_goes_on_from_the_latest_checkpoint(run_tool, trained):
    result = run_tool(
        "train",
        "--work-dir",
        trained,
        "--resume",
        options={**SMALL, "train_cfg.max_epochs": 3},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Epoch(train) [3]" in result.stdout + result.stderr
    assert "Epoch(train) [2]" not in result.stdout + result.stderr
    assert (trained / "epoch_3.pth").is_file()


@pytest.mark.skipif(torch.cuda.is_available(), reason="mixed precision can train here")
def test_mixed_precision_training_needs_a_gpu(run_tool, tmp_path):
    result = run_tool("train", "--work-dir", tmp_path, "--amp")
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].startswith("error: --amp")


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (
            "mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py",
            {"model.type": "LiteDINO"},
            "data/coco/annotations/instances_train2017.json",
        ),
        (CONFIG, {"model.bbox_head.num_classes": 3}, "num_classes is 3"),
        (CONFIG, {"model.encoder.num_blocks": 2}, "gives 4 encoder layers"),
        (CONFIG, {"model.type": "LiteDDQDETR"}, "DINOHead: set model.type=LiteDINO"),
        ("configs/no_such_config.py", {}, "no_such_config"),
    ],
)
def test_what_cannot_train_is_refused_in_one_line(
    run_tool, tmp_path, config, options, message
):
    result = run_tool("train", "--work-dir", tmp_path, config=config, options=options)
    assert result.returncode == 2
    last_line = result.stderr.strip().splitlines()[-1]
    assert last_line.startswith("error: ")
    assert message in last_line
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("*.pth"))


@pytest.mark.parametrize("part", ["test_dataloader", "test_evaluator", "test_cfg"])
def test_a_config_without_a_test_is_refused_in_one_line(run_tool, part):
    result = run_tool("test", "none.pth", options={part: None})
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith(
        f"error: {CONFIG} has no test set: it needs {part}"
    )


def test_weights_of_plain_attention_are_refused_in_one_line(
    run_tool, trained, tmp_path
):
    plain = {
        "model.encoder.layer_cfg.self_attn_cfg.type": "MultiScaleDeformableAttention",
        "model.decoder.layer_cfg.cross_attn_cfg.type": "MultiScaleDeformableAttention",
    }
    result = run_tool(
        "test",
        trained / "epoch_2.pth",
        "--work-dir",
        tmp_path,
        options={**SMALL, **plain},
    )
    assert result.returncode == 2
    assert "encoder.layers.0.self_attn.query_proj.weight" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda weights: {n: v for n, v in weights.items() if "decoder" not in n},
            "are missing: decoder.",
        ),
        (lambda weights: [1, 2], "it holds no weights"),
    ],
    ids=["decoder missing", "no weights"],
)
def test_a_checkpoint_that_does_not_fit_is_not_tested(
    run_tool, trained, tmp_path, spoil, message
):
    checkpoint = torch.load(trained / "epoch_2.pth")
    checkpoint["state_dict"] = spoil(checkpoint["state_dict"])
    path = tmp_path / "other.pth"
    torch.save(checkpoint, path)
    result = run_tool("test", path, "--work-dir", tmp_path)
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].startswith(f"error: {path} does not")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("argument", ["--weights", "--resume"])
def test_a_truncated_checkpoint_does_not_start_a_training(
    run_tool, trained, tmp_path, argument
):
    path = tmp_path / "half.pth"
    path.write_bytes((trained / "epoch_2.pth").read_bytes()[:-1000])
    result = run_tool("train", "--work-dir", tmp_path, argument, path)
    assert result.returncode == 2
    assert f"error: the checkpoint {path} is truncated" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_small_config_trains_on_a_folder_of_ones_own(
    run_tool, repository, digits_root, trained, tmp_path
):
    weights = trained / "epoch_2.pth"  # of ten classes, as the digits have
    result = run_tool(
        "train",
        *("--data-root", digits_root, "--epochs", 1, "--image-size", 96),
        *("--batch-size", 8, "--weights", weights, "--work-dir", tmp_path),
        config="configs/lite_detr/lite-dino_h3l1-2p1x3_r18_1xb2-8e_bccd.py",
        options={**SMALL, "train_cfg.max_epochs": 8},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    scalars = logged_scalars(tmp_path)
    assert sum("loss" in row for row in scalars) == 1  # eight images, one batch
    assert "coco/7_precision" in scalars[-1]
    assert f"Load checkpoint from {weights}" in result.stdout
