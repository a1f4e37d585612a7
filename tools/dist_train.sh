#!/usr/bin/env bash
# Train on several GPUs of one or more machines:
#   tools/dist_train.sh CONFIG NUM_GPUS [arguments of tools/train.py]
set -euo pipefail
if [ $# -lt 2 ]; then
  echo "usage: $0 CONFIG NUM_GPUS [arguments of tools/train.py]" >&2
  exit 2
fi
config=$1
num_gpus=$2
exec python -m torch.distributed.run \
  --nnodes="${NNODES:-1}" \
  --node-rank="${NODE_RANK:-0}" \
  --master-addr="${MASTER_ADDR:-127.0.0.1}" \
  --master-port="${PORT:-29500}" \
  --nproc-per-node="$num_gpus" \
  "$(dirname "$0")/train.py" "$config" --launcher pytorch "${@:3}"
