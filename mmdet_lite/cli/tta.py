"""Test on several views of every image."""

from mmengine.config import Config, ConfigDict

from ..datasets.data_sources import innermost_dataset


def use_test_time_augmentation(cfg: Config) -> None:
    """Wrap the model in the config's ``tta_model``; by default flip every image.

    Args:
        cfg: a whole config; its test set and its model are changed.

    Raises:
        ConfigError: the test set joins several.
    """
    tta_model = cfg.get("tta_model") or {
        "type": "DetTTAModel",
        "tta_cfg": {"nms": {"type": "nms", "iou_threshold": 0.5}, "max_per_img": 100},
    }
    dataset = innermost_dataset(cfg.test_dataloader.dataset)
    if "tta_pipeline" in cfg:
        dataset.pipeline = cfg.tta_pipeline
    else:
        pack = dataset.pipeline[-1]
        pack["meta_keys"] = (
            "img_id",
            "img_path",
            "ori_shape",
            "img_shape",
            "scale_factor",
            "flip",
            "flip_direction",
        )
        # The ground truth of the result is that of the first view.
        flips = [{"type": "RandomFlip", "prob": prob} for prob in (0.0, 1.0)]
        dataset.pipeline[-1] = {
            "type": "TestTimeAug",
            "transforms": [flips, [pack]],
        }
    cfg.model = ConfigDict(**tta_model, module=cfg.model)
