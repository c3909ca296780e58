#!/bin/bash
# Runs `runner` on the nodes of a Slurm job, from a folder that they share: sbatch cluster/slurm.sh train jobs/x.yaml --workers 8
# Needs whole nodes, and this package in .venv. Before the time limit it saves and is queued again; then it goes on.
#SBATCH --job-name=runner
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%x-%j.log
set -euo pipefail

if [ -f .venv/bin/activate ]; then
    # shellcheck source=/dev/null
    . .venv/bin/activate
fi
nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes%%$'\n'*}
address="$head:$((20000 + SLURM_JOB_ID % 20000))"

# one token a job, in a folder that only its owner reads
private="$PWD/.slurm-$SLURM_JOB_ID"
rm -rf "$private" # of a start that was killed
mkdir -m 700 "$private"
trap 'rm -rf "$private"' EXIT
echo '*' > "$private/.gitignore" # neither Git nor `runner submit` takes it
(umask 077 && python3 -c 'import secrets; print(secrets.token_hex(32))' > "$private/token")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$private/token"
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300

# SIGTERM goes to the command alone: Ray must live until it has saved
ending=no
# shellcheck disable=SC2317,SC2329 # the trap calls it
save_and_end() {
    ending=yes
    srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" bash -c "kill -TERM \$(cat '$private/pid')" || true
}
trap save_and_end USR1

# shellcheck disable=SC2016 # the words are expanded on the head, where the command runs
srun --nodes="$SLURM_JOB_NUM_NODES" ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus="${SLURM_CPUS_PER_TASK:-1}" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" \
    -- bash -c 'echo $$ > "$0/pid"; exec runner "$@"' "$private" "$@" --address "$address" &
step=$!
status=0
wait "$step" || status=$?
if [ "$ending" = yes ]; then # the signal had ended the wait, not the step
    status=0
    wait "$step" || status=$?
fi
if [ "$ending" = yes ] && [ "$status" -eq 75 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
if [ "$status" -eq 0 ] && [ ! -f "$private/pid" ]; then # `ray symmetric-run` ends with 0 where Ray did not start
    echo "error: Ray did not start; $address; see above, then submit it again, which takes another port" >&2
    status=4
fi
exit "$status"
