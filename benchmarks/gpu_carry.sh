#!/usr/bin/env bash
# Put what benchmarks/gpu.sh needs on a machine without a network into .carry/, which git ignores:
# wheels for another Python, and the demonstrations with their pictures as bytes.
#
#   benchmarks/gpu_carry.sh DEMONSTRATIONS [PYTHON_VERSION]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
data=${1:?give the demonstrations, e.g. demos/pusht.zip}
version=${2:-3.12}
mkdir -p .carry/wheels
.venv/bin/python -m pip download --quiet --no-deps --only-binary=:all: \
  --python-version "$version" --dest .carry/wheels --constraint constraints.txt \
  diffusers gymnasium farama-notifications pymunk cffi pycparser zarr numcodecs donfig \
  google-crc32c hydra-core omegaconf shapely jaxtyping wadler-lindig importlib-metadata
.venv/bin/python -m pip wheel --quiet --no-deps --wheel-dir .carry/wheels \
  --constraint constraints.txt antlr4-python3-runtime
rm -f .carry/pusht.zip
.venv/bin/dpc data convert "$data" out=.carry/pusht.zip
du -sh .carry
