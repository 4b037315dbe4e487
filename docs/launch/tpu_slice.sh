#!/bin/bash
# A slice of Cloud TPU machines, here four hosts of a v5e with 16 chips. The same command runs on
# every host. All hosts must see one disk under /shared, for example Filestore.
set -euo pipefail
name=vaejax zone=us-west4-a

gcloud compute tpus tpu-vm create "$name" --zone="$zone" --accelerator-type=v5litepod-16 \
  --version=v2-alpha-tpuv5-lite
gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="
  pip install -q 'jax[tpu]' 'vaejax[train] @ git+https://github.com/vaejax/vaejax'
  python3 -m vaejax.main --config=configs/vqvae.py --workdir=/shared/runs/vqvae \
    --config.train.batch_size=512"
