#!/usr/bin/env bash
# The core under the address and undefined-behaviour sanitizers: built apart, tested in an environment apart that
# borrows the packages of the Python given. Thread sanitizer is left out: GCC's OpenMP runtime is not instrumented, and
# every barrier in it looks like a race.
#
#     tests/sanitize.sh PYTHON
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(realpath -s "${1:?usage: tests/sanitize.sh PYTHON}")
work=build/sanitize
rm -rf "$work/env"
"$python" -m venv --without-pip "$work/env"
site=$(echo "$work"/env/lib/python*/site-packages)
"$python" -c 'import numpy, pathlib; print(pathlib.Path(numpy.__file__).parents[1])' >"$site/borrowed.pth"
"$python" -m pip --python "$work/env/bin/python" install --quiet --disable-pip-version-check --no-build-isolation \
    --no-deps -C build-dir="$work/cmake" -C cmake.build-type=RelWithDebInfo \
    -C cmake.define.BWLM_SANITIZE=address,undefined -C cmake.define.BWLM_CUDA=OFF .
export LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so) $(gcc -print-file-name=libstdc++.so)"
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
"$work/env/bin/python" -P -m pytest -q -p no:cacheprovider tests/test_kernels.py tests/evaluation/test_ridge_sweep.py
