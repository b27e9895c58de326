#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, offline: build, GPU tests, the whole job with a GPU in sight, the same GPU tests
# under compute-sanitizer, and the benchmarks. Needs torch, transformers, the build and the test tools in the current
# Python. A stage that fails does not stop the next.
#
#     benchmarks/gpu.sh OUT [STAGE ...]     all stages, or those named, in that order
#
#     tests      tests/test_gpu.py                          tests.log
#     suite      model, training, evaluation, ridge...      suite.log (in parallel where pytest-xdist is installed)
#     step       the paper's training step, an epoch        step-gpu.json, step-gpu-8gb.json
#     core       the kernels, in parts of a copy            core-gpu.json
#     ridge      20,000 targets; 90,000 at p 3,072          ridge-gpu.json, ridge-gpu-full.json
#     sanitizer  memcheck, racecheck, initcheck             sanitizer.log
set -uo pipefail
out=$(realpath -m "${1:?usage: benchmarks/gpu.sh OUT [STAGE ...]}")
shift
cd "$(dirname "$0")/.."
mkdir -p "$out"
site=$(mktemp -d)
threads=$(nproc)

BWLM_CUDA=ON python3 -m pip install --no-build-isolation --no-deps --target "$site" . >"$out/build.log" 2>&1 || {
    tail -30 "$out/build.log"
    exit 1
}
# The installed package, not the source tree beside the tests, which has no compiled core.
tests=$(mktemp -d)
cp -r tests benchmarks pyproject.toml "$tests"
cd "$tests" || exit 1
export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH} PATH=$site/bin:$PATH BWLM_REQUIRE_GPU=1
pytest=(python3 -m pytest -q -p no:cacheprovider)
peers=0 # himalaya is measured beside ours where it is installed
python3 -c "import himalaya" 2>/dev/null && peers=1

stage_tests() { "${pytest[@]}" tests/test_gpu.py 2>&1 | tee "$out/tests.log" | tail -40; }
stage_suite() {
    local parallel=()
    python3 -c "import xdist" 2>/dev/null && parallel=(-n "$threads")
    "${pytest[@]}" "${parallel[@]}" -m "not slow" tests/{model,training,evaluation,features,ridge,probes} \
        2>&1 | tee "$out/suite.log" | tail -40
}
stage_step() {
    local step=(python3 -m benchmarks.step --device cuda --threads "$threads")
    "${step[@]}" --out "$out/step-gpu.json" && "${step[@]}" --limit-gb 8 --out "$out/step-gpu-8gb.json"
}
stage_core() { python3 -m benchmarks.core --device cuda --out "$out/core-gpu.json"; }
stage_ridge() {
    local ridge=(python3 -m benchmarks.ridge --device cuda --threads "$threads" --peer-rounds "$peers")
    "${ridge[@]}" --out "$out/ridge-gpu.json" &&
        "${ridge[@]}" --n 9000 --p 3072 --targets 90000 --out "$out/ridge-gpu-full.json"
}
stage_sanitizer() {
    local tool failed=0
    for tool in memcheck racecheck initcheck; do
        compute-sanitizer --tool $tool --error-exitcode 9 "${pytest[@]}" tests/test_gpu.py \
            -k "definition or nan or cancel" 2>&1 | tee -a "$out/sanitizer.log" | tail -4 || failed=1
    done
    return $failed
}

status=0
for stage in "${@:-tests suite step core ridge sanitizer}"; do
    for name in $stage; do
        echo "== $name"
        SECONDS=0
        "stage_$name" || status=1
        echo "== $name: $SECONDS s"
    done
done
exit $status
