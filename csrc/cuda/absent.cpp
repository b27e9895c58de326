// Compiled instead of the CUDA sources where there is no nvcc: the same functions, which say so.
#include "ops.h"

namespace bwlm::cuda {
namespace {
[[noreturn]] void absent() {
    throw Error(
        "x: lies on a GPU, but this build of brainwavlm_fast has no CUDA kernels; "
        "reinstall it where nvcc is found (BWLM_CUDA=ON), or move the array to the host");
}
}  // namespace

bool built() { return false; }
int device_count() { return 0; }
void correlation(const View&, const View&, int, const void*, void*, const void*, double, const View&,
                 const Launch&) {
    absent();
}
void delay_stack(const View&, const Delays&, const View&, const View&, double, const Launch&) { absent(); }
void delay_stack_backward(const View&, const Delays&, const View&, const View&, const View&, const Launch&) {
    absent();
}
void ridge_moments(const View&, const View&, const View&, const View&, const RidgeBasis&, const View&,
                   const View&, const View&, const Launch&) {
    absent();
}

}  // namespace bwlm::cuda
