"""Build a data set as one process of several, and say what it holds.

python load_data_set.py DATASET.json OUT
"""

import json
import os
import sys
from pathlib import Path

from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules
from torch import distributed

from mmdet_lite.datasets import coco_file
from mmdet_lite.errors import ConfigError

settings, out = sys.argv[1:]
reads = []
read = coco_file._read
coco_file._read = lambda path: reads.append(str(path)) or read(path)

register_all_modules(init_default_scope=True)
distributed.init_process_group("gloo")
held = {}
try:
    dataset = DATASETS.build(json.loads(Path(settings).read_text()))
    held["rows"] = [dataset.get_data_info(index) for index in range(len(dataset))]
    held["categories"] = dataset.cat_ids
    held["shape"] = list(dataset[0]["inputs"].shape)
except ConfigError as error:
    held["error"] = str(error)
held["reads"] = len(reads)
Path(f"{out}{os.environ['RANK']}").write_text(json.dumps(held))
distributed.destroy_process_group()
