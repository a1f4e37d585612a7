#!/usr/bin/env bash
# Test in several processes, each on a GPU or, where there is none, on a share of the
# processor's cores; NNODES, NODE_RANK, MASTER_ADDR and PORT name several machines:
#   tools/dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [arguments of tools/test.py]
set -euo pipefail
if [ $# -lt 3 ]; then
  echo "usage: $0 CONFIG CHECKPOINT NUM_PROCESSES [arguments of tools/test.py]" >&2
  exit 2
fi
config=$1
checkpoint=$2
num_processes=$3
exec python "$(dirname "$0")/dist_launch.py" \
  --nproc-per-node="$num_processes" \
  "$(dirname "$0")/test.py" "$config" "$checkpoint" --launcher pytorch "${@:4}"
