#!/bin/bash
# Four processes on one machine, to try a run in several processes: docs/launch/processes.sh 4
set -euo pipefail
count=${1:-4}
for ((i = 0; i < count; i++)); do
  JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=1 .venv/bin/python -m vaejax.main \
    --config=configs/beta_vae.py --workdir=runs/processes --config.train.steps=100 \
    --coordinator_address=localhost:8476 --num_processes="$count" --process_id="$i" &
done
wait
