#!/usr/bin/env bash
# Everything that needs a GPU, in one command: tests, inference timing, training, evaluation.
#
#   benchmarks/gpu.sh               on CUDA
#   benchmarks/gpu.sh --rehearse    the same way on the CPU with a tiny setting, in a minute
#
# Environment:
#   PYTHON        interpreter that has torch; default python3
#   DATA          demonstrations; default demos/pusht.zip
#   OUT           folder for what is measured and learnt, each file below 16 MiB; default outputs/gpu
#   TRAIN_STEPS   optimizer steps of the training; default 200000
#   TRAIN_LIMIT   seconds after which the training is stopped, resumably; default 360
#   RUN           folder of the training, resumed if it is there; default outputs/gpu_run
#
# Packages that the machine lacks may lie as wheels in .carry/wheels (see gpu_carry.sh).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-python3}
DATA=${DATA:-demos/pusht.zip}
OUT=${OUT:-outputs/gpu}
RUN=${RUN:-outputs/gpu_run}
DEVICE=cuda EPISODES=500 STEPS=${TRAIN_STEPS:-200000} LIMIT=${TRAIN_LIMIT:-360}
BATCH=256 CHANNELS='[64,128,256]' PRECISION=bf16 WORKERS=14 CALLS=500
if [[ ${1:-} == --rehearse ]]; then
  DEVICE=cpu EPISODES=2 STEPS=6 LIMIT=60 BATCH=8 CHANNELS='[8,16]' PRECISION=fp32 WORKERS=0 CALLS=5
fi
mkdir -p "$OUT"
export PYTHONPATH=src${PYTHONPATH:+:$PYTHONPATH}
if [[ -d .carry/wheels ]]; then
  "$PYTHON" -m pip install --quiet --no-index --no-deps .carry/wheels/*.whl
fi
dpc() { "$PYTHON" -m diffusion_controller.commands.main "$@"; }

echo "== tests on $DEVICE"
"$PYTHON" -m pytest -m gpu -p no:cacheprovider tests || [[ $? == 5 ]]

echo "== inference on $DEVICE"
"$PYTHON" benchmarks/chunk_latency.py checkpoints/pusht_keypoints --device "$DEVICE" \
  --calls "$CALLS" --out "$OUT/chunk_latency_$DEVICE.json"

echo "== training on $DEVICE"
if [[ -f $RUN/state.pt ]]; then
  goal=(resume="$RUN")
else
  goal=(out="$RUN" data="$DATA" device="$DEVICE" training.num_steps="$STEPS"
    training.batch_size="$BATCH" training.precision="$PRECISION"
    policy.network.channels="$CHANNELS" evaluation.episodes=0)
fi
dpc_status=0
timeout --signal=TERM "$LIMIT" "$PYTHON" -m diffusion_controller.commands.main train "${goal[@]}" \
  || dpc_status=$?
if [[ $dpc_status != 0 && $dpc_status != 2 && $dpc_status != 124 ]]; then exit "$dpc_status"; fi

echo "== evaluation on $DEVICE"
if [[ -e $RUN/last ]]; then
  rm -rf "$OUT/evaluation"
  dpc evaluate policy="$RUN" episodes="$EPISODES" device="$DEVICE" num_workers="$WORKERS" \
    video=0 out="$OUT/evaluation"
  "$PYTHON" - "$RUN" "$OUT/checkpoint" <<'PYTHON_END'
import sys
import torch
from diffusion_controller.policy import load_policy, read_metrics, save_policy

run, target = sys.argv[1:]
save_policy(load_policy(run), target, metrics=read_metrics(run), dtype=torch.float16)
PYTHON_END
else
  echo "the training has not ended; run again with RUN=$RUN to go on"
fi
