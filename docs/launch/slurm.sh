#!/bin/bash
# Two nodes of eight GPUs, one task for each GPU: sbatch docs/launch/slurm.sh
#SBATCH --job-name=vaejax
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --output=%x-%j.txt

# 120 seconds before the time is up, every task gets SIGTERM: the run is saved and ends with status
# 143. The job is then queued again, and the same command resumes.
srun --kill-on-bad-exit=1 .venv/bin/python -m vaejax.main --config=configs/vqvae.py \
  --workdir=/shared/runs/vqvae --config.train.batch_size=512
status=$?
if [ "$status" -eq 143 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
