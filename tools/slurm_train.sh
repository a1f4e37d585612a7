#!/usr/bin/env bash
# Train as a Slurm job:
#   [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=5] [SRUN_ARGS=...] \
#     tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [arguments of train.py]
# On processors GPUS counts processes, and GRES= asks for no GPU.
set -euo pipefail
if [ $# -lt 4 ]; then
  echo "usage: $0 PARTITION JOB_NAME CONFIG WORK_DIR [arguments of train.py]" >&2
  exit 2
fi
gpus=${GPUS:-8}
gpus_per_node=${GPUS_PER_NODE:-8}
gres=${GRES-gpu:$gpus_per_node}
# SRUN_ARGS may hold several arguments: it is split on purpose.
# shellcheck disable=SC2086
exec srun -p "$1" \
  --job-name="$2" \
  ${gres:+"--gres=$gres"} \
  --ntasks="$gpus" \
  --ntasks-per-node="$gpus_per_node" \
  --cpus-per-task="${CPUS_PER_TASK:-5}" \
  --kill-on-bad-exit=1 \
  ${SRUN_ARGS:-} \
  python -u "$(dirname "$0")/train.py" "$3" \
  --work-dir="$4" --launcher slurm "${@:5}"
