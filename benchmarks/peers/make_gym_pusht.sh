#!/bin/sh
# Makes a virtual environment with gym-pusht, the published Push-T's package. It needs pymunk < 7
# and pygame, so it cannot share this project's environment.
# Usage: benchmarks/peers/make_gym_pusht.sh DIRECTORY   (then: DIRECTORY/bin/python …)
set -eu
directory=${1:?give a directory for the virtual environment}
"${PYTHON:-python3}" -m venv "$directory"
"$directory/bin/python" -m pip install --quiet "gym-pusht==0.1.8"
"$directory/bin/python" -c "import gym_pusht, pymunk; print('gym-pusht with pymunk', pymunk.version)"
