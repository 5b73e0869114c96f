#!/bin/sh
# Makes a virtual environment with LeRobot, in which its diffusion policy and its data set class can
# be timed beside this project. Only what these two import is installed, not its drivers, viewers
# and trackers. Several gigabytes with the default builds of torch and torchvision.
# Usage: benchmarks/peers/make_lerobot.sh [DIRECTORY]   (then: --peer-python DIRECTORY/bin/python)
# PYTHON chooses the interpreter, TORCH the releases of torch and torchvision. LeRobot's video
# reader needs TORCH="torch==2.10.0 torchvision==0.25.0": later torchvision has none.
set -eu
directory=${1:-.cache/peers/lerobot}
test -x "$directory/bin/python" || "${PYTHON:-python3}" -m venv "$directory"
pip() { "$directory/bin/python" -m pip --quiet --disable-pip-version-check --no-input "$@"; }
# shellcheck disable=SC2086  # several requirements in one word
pip install ${TORCH:-torch==2.14.1 torchvision==0.29.1}
pip install "accelerate>=1.10,<2" "av>=15,<16" "datasets>=4,<5" "deepdiff>=7.0.1,<9" \
  "diffusers>=0.27.2,<0.36" "draccus==0.10.0" "einops>=0.8,<0.9" "gymnasium>=1.1.1,<2" \
  "huggingface-hub>=0.34.2,<0.36" "imageio>=2.34,<3" "jsonlines>=4,<5" "packaging>=24.2,<26" \
  "pyserial>=3.5,<4" "setuptools>=71,<81" "termcolor>=2.4,<4"
pip install --no-deps "lerobot==0.4.4"  # it admits torch < 2.11 only, but runs with later ones
HF_HUB_OFFLINE=1 "$directory/bin/python" -c "
import lerobot, torch
from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy
print('LeRobot', lerobot.__version__, 'with torch', torch.__version__)"
