"""Run an exported detector on images; mmdet is not needed.

    python tools/deployment/infer.py detector.onnx photo.jpg --out results
    python tools/deployment/infer.py detector.pt2 folder/ --out results

Writes a picture with boxes for each image and results.json with all of them. To take
it elsewhere copy this file and mmdet_lite/deployment/runtime.py into one folder, and of
a .pt2 the .ops.so beside it.
"""

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType


def load_runtime() -> ModuleType:
    """Load runtime.py by itself: its package would ask for mmdet."""
    here = Path(__file__).resolve()
    # Beside it, in a checkout, or in the installed package around the tools; a copy
    # need not lie that deep.
    inside = ("mmdet_lite/deployment", "deployment")
    places = [here.parent, *map(Path.joinpath, here.parents[2:4], inside)]
    for place in places:
        if (place / "runtime.py").is_file():
            break
    else:
        raise SystemExit(
            f"error: runtime.py is in none of {', '.join(map(str, places))}"
        )
    spec = importlib.util.spec_from_file_location("runtime", place / "runtime.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parse_args(runtimes: tuple[str, ...]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="what export.py wrote, .onnx or .pt2")
    parser.add_argument("images", nargs="+", help="images, or folders of them")
    parser.add_argument("--out", type=Path, required=True, help="folder for results")
    parser.add_argument(
        "--score", type=float, default=0.3, help="least score of an object; default 0.3"
    )
    parser.add_argument(
        "--runtime", choices=runtimes, help="default: onnxruntime, or torch for .pt2"
    )
    return parser.parse_args()


def main() -> None:
    """Detect in every image, draw, write the results."""
    runtime = load_runtime()
    args = parse_args(runtime.RUNTIMES)
    try:
        paths = runtime.find_images(args.images)
        pictures = runtime.picture_paths(paths, args.out)
        args.out.mkdir(parents=True, exist_ok=True)
        detector = runtime.load_detector(args.model, args.runtime)
        results = {}
        for path, picture in zip(paths, pictures, strict=True):
            image = runtime.read_image(path)
            objects = runtime.detect(detector, image, args.score)
            results[str(path)] = objects
            runtime.write_image(picture, runtime.draw(image, objects))
            print(f"{path}: {len(objects)} objects")
        (args.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    except (runtime.DeploymentError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
