"""Draw where the deformable attention of a trained detector looks.

    python tools/analysis_tools/visualize_attention.py IMAGE --config CONFIG \\
        --weights CHECKPOINT --out pictures --query 320,240 --layer 2 3
    python tools/analysis_tools/visualize_attention.py IMAGE --config CONFIG \\
        --weights CHECKPOINT --out pictures --top 2 \\
        --compare OTHER_CONFIG OTHER_CHECKPOINT

--query draws tokens of the encoder, --top what the decoder finds. Writes a PNG for each
image and layer, prints where the attention of whole layers goes. docs/attention.md says
how to read the pictures.
"""

import argparse
from pathlib import Path

import mmcv
import numpy as np
from mmdet.utils import register_all_modules
from mmengine.device import get_device

import mmdet_lite  # noqa: F401  (registers its modules)
from mmdet_lite.benchmark.measurement import save_measurement
from mmdet_lite.cli import (
    exit_on_config_error,
    read_config,
    require_writable_file,
    require_writable_folder,
)
from mmdet_lite.errors import ConfigError
from mmdet_lite.inference import load_detector
from mmdet_lite.visualization import (
    AttentionPanel,
    RecordedPass,
    choose_layers,
    draw_attention,
    panels_of_detections,
    panels_of_pixels,
    record_pass,
    summarise_attention,
    summary_table,
)


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument(
        "--config",
        required=True,
        help="path of a config, or mmdet::PATH for one that mmdet ships",
    )
    parser.add_argument("--weights", required=True, help="checkpoint of the config")
    parser.add_argument(
        "--out", required=True, type=Path, help="folder for the pictures"
    )
    queries = parser.add_mutually_exclusive_group(required=True)
    queries.add_argument(
        "--query",
        nargs="+",
        type=pixel,
        metavar="X,Y",
        help="pixels of the image as it is in the file: the encoder's tokens nearest "
        "to them",
    )
    queries.add_argument(
        "--top",
        type=int,
        metavar="K",
        help="the decoder's queries of the K detections of the highest scores; in the "
        "encoder the tokens at the centres of their boxes",
    )
    parser.add_argument(
        "--layer",
        nargs="+",
        default=[],
        metavar="LAYER",
        help="encoder or decoder, one of their layers (encoder.3, decoder.0), or a "
        "number for one of the encoder with --query, of the decoder with --top; "
        "default the last",
    )
    parser.add_argument(
        "--whole-image",
        action="store_true",
        help="draw the whole image; default the part of it where samples are",
    )
    parser.add_argument("--head", type=int, help="one head only; default all")
    parser.add_argument(
        "--stride",
        type=int,
        help="of the map whose tokens are drawn; default the finest one that every "
        "encoder layer updates, which is 16 in H3L1",
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("CONFIG", "WEIGHTS"),
        help="draw another model beside, DINO for example",
    )
    parser.add_argument(
        "--dpi", type=int, default=100, help="of the pictures; default %(default)s"
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write the printed numbers there"
    )
    parser.add_argument("--device", default=get_device(), help="default %(default)s")
    return parser.parse_args()


def pixel(text: str) -> tuple[float, float]:
    """Read ``X,Y``."""
    try:
        x, y = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected X,Y in pixels, such as 320,240, but got {text!r}"
        ) from None
    return x, y


def read_image(path: Path) -> np.ndarray:
    """Read an image, (height, width, 3), uint8, BGR."""
    image = mmcv.imread(path) if path.is_file() else None
    if image is None:
        raise ConfigError(f"{path} is no image that can be read")
    return image


def panels_of(
    passes: list[RecordedPass], layer: str, args: argparse.Namespace
) -> list[AttentionPanel]:
    """What is drawn of a layer."""
    if args.query:
        return panels_of_pixels(passes, layer, args.query, args.stride, args.head)
    return panels_of_detections(passes, layer, args.top, args.stride, args.head)


def main() -> None:
    """Record, draw, print."""
    args = parse_args()
    register_all_modules(init_default_scope=True)
    with exit_on_config_error():
        if len({path.stem for path in args.images}) < len(args.images):
            raise ConfigError("two images have the same name, their pictures would too")
        if args.dpi < 1:
            raise ConfigError(f"--dpi must be at least 1, but got {args.dpi}")
        require_writable_folder("--out", args.out)
        if args.json:
            require_writable_file("--json", args.json)
        images = {path.stem: read_image(path) for path in args.images}
        models = [
            load_detector(read_config(config), weights, args.device).model
            for config, weights in [
                (args.config, args.weights),
                *([args.compare] if args.compare else []),
            ]
        ]
        names = [type(model).__name__ for model in models]
        if len(set(names)) < len(names):
            names[1] += " (compared)"
        rows = []
        for stem, image in images.items():
            passes = [
                record_pass(model, image, name)
                for model, name in zip(models, names, strict=True)
            ]
            part = "encoder" if args.query else "decoder"
            layers = choose_layers(passes, args.layer, part)
            # All that can be refused is, before the first picture.
            for layer, panels in [
                (layer, panels_of(passes, layer, args)) for layer in layers
            ]:
                picture = args.out / f"{stem}_{layer.replace('.', '-')}.png"
                figure = draw_attention(
                    panels, beside=len(passes), whole=args.whole_image
                )
                figure.savefig(picture, dpi=args.dpi)
                print(picture)
                for seen in passes:
                    for row in summarise_attention(seen, layer, args.head):
                        rows.append({"image": stem, **row})
    for stem in images:
        print(f"\n{stem}\n")
        print(summary_table([row for row in rows if row["image"] == stem]))
    if args.json:
        save_measurement(args.json, {"rows": rows})


if __name__ == "__main__":
    main()
