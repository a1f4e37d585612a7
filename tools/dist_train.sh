#!/usr/bin/env bash
# Train in several processes, each on a GPU or, where there is none, on a share of the
# processor's cores; NNODES, NODE_RANK, MASTER_ADDR and PORT name several machines:
#   tools/dist_train.sh CONFIG NUM_PROCESSES [arguments of tools/train.py]
set -euo pipefail
if [ $# -lt 2 ]; then
  echo "usage: $0 CONFIG NUM_PROCESSES [arguments of tools/train.py]" >&2
  exit 2
fi
config=$1
num_processes=$2
exec python "$(dirname "$0")/dist_launch.py" \
  --nproc-per-node="$num_processes" \
  "$(dirname "$0")/train.py" "$config" --launcher pytorch "${@:3}"
