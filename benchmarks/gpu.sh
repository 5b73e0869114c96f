#!/usr/bin/env bash
# Everything that needs a GPU, in one command of less than ten minutes on one H200: tests, inference
# timing, steps per second, training of the image policy, evaluation. A part that fails or runs out
# of time does not stop the next ones; the last lines say how each went.
#
#   benchmarks/gpu.sh                  on CUDA
#   benchmarks/gpu.sh --rehearse       the same way on the CPU with a tiny setting
#
# Environment:
#   PYTHON        interpreter that has torch; default python3
#   DATA          demonstrations with images; default .carry/pusht.zip, else demos/pusht.zip
#   OUT           folder for what is measured and learnt: eight files, each below 16 MiB; default
#                 outputs/gpu
#   RUN           folder of the training, resumed if it is there; default outputs/gpu_run
#   PARTS         which parts; default "tests timing inference steps training evaluation"
#   TRAIN_STEPS   optimizer steps; default as many as the measured rate promises
#   TRAIN_UNTIL   when the training is stopped, resumably, in seconds from the start; default 440
#   STOP_AT       when everything is stopped, likewise; default 575
#   COMPILE       true compiles the network as well; default false
#
# Packages that the machine lacks may lie as wheels in .carry/wheels (see gpu_carry.sh).
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-python3}
OUT=${OUT:-outputs/gpu}
RUN=${RUN:-outputs/gpu_run}
DATA=${DATA:-$([[ -e .carry/pusht.zip ]] && echo .carry/pusht.zip || echo demos/pusht.zip)}
PARTS=${PARTS:-tests timing inference steps training evaluation}
TRAIN_UNTIL=${TRAIN_UNTIL:-440}
STOP_AT=${STOP_AT:-575}
DEVICE=cuda CHOOSING=50 WORKERS=14 ENGINE=cuda_graph CONTROL_HZ=10
SETTINGS=(experiment=pusht_image_gpu training.compile="${COMPILE:-false}")
INFERENCE=(--seconds 65)
STEPS=(--seconds 14)
EVALUATION=(episodes=500 batch_size=125)
if [[ ${1:-} == --rehearse ]]; then
  DEVICE=cpu CHOOSING=0 WORKERS=0 ENGINE=eager CONTROL_HZ=1
  SETTINGS+=(training.precision=fp32 training.cuda_graph=false training.batch_size=4
    policy.encoder.encoders.camera.width=8 policy.network.channels='[8,16]'
    policy.num_inference_steps=2)
  INFERENCE=(--seconds 30 --tiny --seconds-per-row 0.1)
  STEPS=(--seconds 5 --seconds-per-row 0.1)
  EVALUATION=(episodes=1 max_steps=20)
  TRAIN_STEPS=${TRAIN_STEPS:-4}
fi
SETTINGS+=(device="$DEVICE" data="$DATA" num_threads=1 evaluation.episodes="$CHOOSING"
  evaluation.num_workers="$WORKERS")
export PYTHONPATH=src${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
mkdir -p "$OUT"
SUMMARY=()

# part NAME SECONDS COMMAND…: runs a command for at most so long, notes how it went
part() {
  local name=$1 limit=$2 began=$SECONDS status=0
  shift 2
  [[ " $PARTS " == *" $name "* ]] || return 0
  local left=$((STOP_AT - SECONDS))
  if ((limit > left)); then limit=$left; fi
  if ((limit < 1)); then
    SUMMARY+=("$name: not begun, the time was up")
    return 1
  fi
  echo "== $name on $DEVICE, at most $limit s"
  timeout --signal=TERM --kill-after=15 "$limit" "$@" || status=$?
  case $status in
    0) SUMMARY+=("$name: ok, $((SECONDS - began)) s") ;;
    124 | 137) SUMMARY+=("$name: stopped after $((SECONDS - began)) s") ;;
    *) SUMMARY+=("$name: failed with exit code $status after $((SECONDS - began)) s") ;;
  esac
  return "$status"
}

DPC=("$PYTHON" -m diffusion_controller.commands.main)

run_tests() {
  local files
  mapfile -t files < <(grep -rl 'pytest\.mark\.gpu' tests)
  part tests 80 "$PYTHON" -m pytest -m gpu -p no:cacheprovider --maxfail 5 "${files[@]}"
}

time_inference() {
  rm -rf "$OUT/timing"
  part timing 45 "${DPC[@]}" timing policy=checkpoints/pusht_keypoints control_hz="$CONTROL_HZ" \
    device="$DEVICE" load=false seconds=3 calls=300 sweep.engine="[$ENGINE]" \
    sweep.num_threads='[1]' sweep.wait_policy='[passive]' out="$OUT/timing" &&
    mv "$OUT/timing/timing.png" "$OUT"
  part inference 85 "$PYTHON" benchmarks/gpu_inference.py --device "$DEVICE" \
    "${INFERENCE[@]}" --out "$OUT/inference.json"
  part steps 35 "$PYTHON" benchmarks/gpu_training.py "${STEPS[@]}" --out "$OUT/steps.json" \
    "${SETTINGS[@]}"
}

# How many steps fit until TRAIN_UNTIL, at the rate that was just measured, less 15 s to begin and
# 12 s for each of five evaluations that choose a checkpoint
steps_that_fit() {
  "$PYTHON" - "$OUT/steps.json" $((TRAIN_UNTIL - SECONDS - 75)) <<'PYTHON_END' || echo 20000
import json
import sys

rate = json.load(open(sys.argv[1]))["rows"][0]["steps_per_second"]
print(max(1000, int(0.95 * rate * float(sys.argv[2]))))
PYTHON_END
}

train_in() { # run folder, further settings
  local run=$1 goal
  shift
  if [[ -f $run/state.pt ]]; then
    goal=(resume="$run")
  else
    rm -rf "$run"
    local steps=${TRAIN_STEPS:-$(steps_that_fit)}
    goal=(out="$run" "${SETTINGS[@]}" training.num_steps="$steps"
      training.evaluation_interval=$(((steps + 4) / 5)) "$@")
  fi
  part training $((TRAIN_UNTIL - SECONDS)) "${DPC[@]}" train "${goal[@]}"
}

train_image_policy() {
  train_in "$RUN" && return
  # without a graph, should recording one fail here
  if [[ ! -e $RUN/state.pt && $DEVICE == cuda ]]; then train_in "$RUN" training.cuda_graph=false; fi
}

evaluate_image_policy() {
  [[ " $PARTS " == *" evaluation "* ]] || return 0
  if [[ ! -e $RUN/best ]]; then
    SUMMARY+=("evaluation: not begun, there is no checkpoint in $RUN")
    return 1
  fi
  rm -rf "$OUT/checkpoint"
  "$PYTHON" - "$RUN" "$OUT/checkpoint" <<'PYTHON_END'
import sys
import torch
from diffusion_controller.policy import load_policy, read_metrics, save_policy

run, target = sys.argv[1:]
save_policy(load_policy(run), target, metrics=read_metrics(run), dtype=torch.float16)
PYTHON_END
  cp "$RUN/metrics.jsonl" "$OUT/training_log.jsonl"
  rm -f "$OUT/evaluation.json"
  part evaluation 115 "${DPC[@]}" evaluate policy="$OUT/checkpoint" device="$DEVICE" \
    num_workers="$WORKERS" video=0 out="$OUT" "${EVALUATION[@]}"
}

if [[ -d .carry/wheels ]]; then
  "$PYTHON" -m pip install --quiet --no-index --no-deps .carry/wheels/*.whl
fi
FAILED=0
run_tests || FAILED=1
time_inference || FAILED=1
train_image_policy || FAILED=1
evaluate_image_policy || FAILED=1

# One file of what was measured, and how each part went
"$PYTHON" - "$OUT" "${SUMMARY[@]}" <<'PYTHON_END'
import json
import sys
from pathlib import Path

out, *summary = sys.argv[1:]
results = {"summary": summary}
for name in ("timing/timing.json", "inference.json", "steps.json"):
    part = Path(out) / name
    if part.is_file():
        results[part.stem] = json.loads(part.read_text())
        part.unlink()
(Path(out) / "results.json").write_text(json.dumps(results, indent=2) + "\n")
PYTHON_END
rmdir "$OUT/timing" 2>/dev/null

echo "== summary, after $SECONDS s"
printf '%s\n' "${SUMMARY[@]}"
if [[ ${SUMMARY[*]} == *failed* || ${SUMMARY[*]} == *"not begun"* ]]; then FAILED=1; fi
exit "$FAILED"
