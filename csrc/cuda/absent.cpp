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
int64_t correlation_workspace(int64_t, int64_t, int) { absent(); }
void correlation(const CorrelationArgs&, const Launch&) { absent(); }
void delay_stack(const DelayStackArgs&, const Launch&) { absent(); }
void delay_stack_backward(const DelayStackBackwardArgs&, const Launch&) { absent(); }
void ridge_moments(const RidgeMomentsArgs&, const Launch&) { absent(); }

}  // namespace bwlm::cuda
