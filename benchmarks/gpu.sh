#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, in one go and offline: build, GPU tests, the same under compute-sanitizer, and
# the benchmarks of core, ridge and training step. Needs torch, transformers, the build and the test tools in the current
# Python.
#
#     benchmarks/gpu.sh OUT        writes OUT/{build,tests,sanitizer}.log and
#                                  OUT/{core-gpu,ridge-gpu,ridge-gpu-full,step-gpu,step-gpu-8gb}.json
set -uo pipefail
out=$(realpath -m "${1:?usage: benchmarks/gpu.sh OUT}")
cd "$(dirname "$0")/.."
mkdir -p "$out"
site=$(mktemp -d)
status=0

BWLM_CUDA=ON python3 -m pip install --no-build-isolation --no-deps --target "$site" . >"$out/build.log" 2>&1 || {
    tail -30 "$out/build.log"
    exit 1
}
# The installed package, not the source tree beside the tests, which has no compiled core.
tests=$(mktemp -d)
cp -r tests benchmarks pyproject.toml "$tests"
cd "$tests" || exit 1
export PYTHONPATH=$site BWLM_REQUIRE_GPU=1
python3 -m pytest -q -p no:cacheprovider tests/test_gpu.py 2>&1 | tee "$out/tests.log" | tail -15 || status=1
for tool in memcheck racecheck initcheck; do
    compute-sanitizer --tool $tool --error-exitcode 9 python3 -m pytest -q -p no:cacheprovider tests/test_gpu.py \
        -k "definition or nan or cancel" 2>&1 | tee -a "$out/sanitizer.log" | tail -4 || status=1
done
python3 -m benchmarks.core --device cuda --out "$out/core-gpu.json" || status=1
peers=0 # himalaya is measured beside ours where it is installed
python3 -c "import himalaya" 2>/dev/null && peers=1
python3 -m benchmarks.ridge --device cuda --peer-rounds $peers --out "$out/ridge-gpu.json" || status=1
python3 -m benchmarks.ridge --device cuda --n 9000 --p 3072 --targets 90000 --peer-rounds $peers \
    --out "$out/ridge-gpu-full.json" || status=1
python3 -m benchmarks.step --device cuda --out "$out/step-gpu.json" || status=1
python3 -m benchmarks.step --device cuda --limit-gb 8 --out "$out/step-gpu-8gb.json" || status=1
exit $status
