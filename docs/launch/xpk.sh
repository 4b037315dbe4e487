#!/bin/bash
# Two slices of a v5e with 16 chips each, in a cluster that xpk has made.
set -euo pipefail
xpk workload create --cluster=CLUSTER --workload=vqvae --tpu-type=v5litepod-16 --num-slices=2 \
  --docker-image=REGION-docker.pkg.dev/PROJECT/REPOSITORY/vaejax:latest --max-restarts=10 \
  --command="python -m vaejax.main --config=configs/vqvae.py --workdir=/shared/runs/vqvae \
    --config.train.batch_size=512"
