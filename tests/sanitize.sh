#!/usr/bin/env bash
# The core under sanitizers. Address and undefined behaviour: built apart, tested in an environment apart that borrows
# the packages of the Python given. Threads: every operation in a small program, tests/threads.cpp, without Python.
#
#     tests/sanitize.sh PYTHON
set -euo pipefail
cd "$(dirname "$0")/.."
threads=$(mktemp)
trap 'rm -f "$threads"' EXIT
g++ -std=c++17 -O1 -g -Wno-psabi -fsanitize=thread -fno-math-errno -DBWLM_VERSION='"0"' -Icsrc -o "$threads" \
    tests/threads.cpp csrc/cpu/*.cpp -lpthread
TSAN_OPTIONS=halt_on_error=1 setarch "$(uname -m)" -R "$threads"
python=$(realpath -s "${1:?usage: tests/sanitize.sh PYTHON}")
work=build/sanitize
rm -rf "$work/env"
"$python" -m venv --without-pip "$work/env"
site=$(echo "$work"/env/lib/python*/site-packages)
"$python" -c 'import numpy, pathlib; print(pathlib.Path(numpy.__file__).parents[1])' >"$site/borrowed.pth"
"$python" -m pip --python "$work/env/bin/python" install --quiet --disable-pip-version-check --no-build-isolation \
    --no-deps -C build-dir="$work/cmake" -C cmake.build-type=RelWithDebInfo \
    -C cmake.define.BWLM_SANITIZE=address,undefined -C cmake.define.BWLM_CUDA=OFF -e .
export LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so) $(gcc -print-file-name=libstdc++.so)"
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
"$work/env/bin/python" -P -m pytest -q -p no:cacheprovider tests/test_kernels.py tests/ridge/test_sweep.py \
    tests/test_weights_and_context.py
