#!/usr/bin/env bash
# Test on several GPUs of one or more machines:
#   tools/dist_test.sh CONFIG CHECKPOINT NUM_GPUS [arguments of tools/test.py]
set -euo pipefail
if [ $# -lt 3 ]; then
  echo "usage: $0 CONFIG CHECKPOINT NUM_GPUS [arguments of tools/test.py]" >&2
  exit 2
fi
config=$1
checkpoint=$2
num_gpus=$3
exec python -m torch.distributed.run \
  --nnodes="${NNODES:-1}" \
  --node-rank="${NODE_RANK:-0}" \
  --master-addr="${MASTER_ADDR:-127.0.0.1}" \
  --master-port="${PORT:-29500}" \
  --nproc-per-node="$num_gpus" \
  "$(dirname "$0")/test.py" "$config" "$checkpoint" --launcher pytorch "${@:4}"
