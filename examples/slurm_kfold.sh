#!/bin/bash
# A k-fold as a job array, a split a task; each task stops in time, puts itself back into the queue, and goes on there.
#   sbatch --array=1-5 slurm_kfold.sh config.yaml
# Five tasks for five splits; a map of fewer than 15 areas has four. `bigsf kfold config.yaml --dry-run` names them.
# The task that ends last writes the out-of-fold map and the summary. If it was stopped: bigsf kfold config.yaml
# Make the folds first, with bigsf split, so that the tasks do not wait for each other.
#
# For two GPUs a split, replace --gpus=1 by --nodes=1 --ntasks=2 --gpus-per-task=1, and put before `bigsf`
#   export MASTER_ADDR=$(hostname) MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
#   srun --cpus-per-task="$SLURM_CPUS_PER_TASK"
# (torchrun would hide the exit code.)
#SBATCH --job-name=bigsf
#SBATCH --time=04:00:00
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@180

bigsf kfold "$1" --only "${SLURM_ARRAY_TASK_ID:-1}" --time-limit 3h50min --quiet &
run=$!
trap 'kill -USR1 $run' USR1 # from SLURM, three minutes before the end
wait $run
code=$?
while kill -0 $run 2>/dev/null; do # the trap ended the first wait
    wait $run
    code=$?
done
if [ $code -eq 75 ] || [ $code -eq 138 ]; then # stopped by the time limit, or by USR1 (128 + 10)
    scontrol requeue "$SLURM_JOB_ID"
fi
