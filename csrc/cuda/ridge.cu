// The ridge sweep's epilogue on the GPU: one thread per target, a few penalties at a time, sums in double in
// a fixed order. One read of the four matrices serves all penalties of a launch.
#include <algorithm>

#include "cuda/common.cuh"

namespace bwlm::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kPenalties = 8;  // whose sums are held in registers: 24 doubles

// Penalties [first, first + n).
template <typename T>
__global__ void moments_kernel(RidgeMomentsArgs args, int64_t first, int n) {
    const int64_t target = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (target >= args.train_cross.cols) return;
    double covariance[kPenalties] = {}, variance[kPenalties] = {}, scale[kPenalties] = {};
    for (int64_t k = 0; k < args.train_cross.rows; ++k) {
        const double train = args.train_cross.row<T>(k)[target];
        const double train_held = args.held_cross.row<T>(k)[target] * train;
        const double train_divided = args.divided_cross.row<T>(k)[target] * train;
        const double train_close = args.close_cross.row<T>(k)[target] * train;
        const double train_train = train * train * args.diagonal.as<double>()[k];
#pragma unroll
        for (int i = 0; i < kPenalties; ++i) {
            if (i >= n) continue;
            const double d = args.shrink.row<double>(first + i)[k];
            covariance[i] += d * train_held;
            variance[i] += d * d * train_close + 2 * (d - args.shift.as<double>()[first + i]) * train_divided;
            scale[i] += d * d * train_train;
        }
    }
#pragma unroll
    for (int i = 0; i < kPenalties; ++i) {
        if (i >= n) continue;
        args.covariance.row<double>(first + i)[target] = covariance[i];
        args.variance.row<double>(first + i)[target] = variance[i];
        args.scale.row<double>(first + i)[target] = scale[i];
    }
}

}  // namespace

void ridge_moments(const RidgeMomentsArgs& args, const Launch& launch) {
    const int64_t n_targets = args.train_cross.cols, n_penalties = args.shrink.rows;
    if (n_targets == 0) return;
    const auto kernel = args.train_cross.dtype == DType::f32 ? moments_kernel<float> : moments_kernel<double>;
    for (int64_t first = 0; first < n_penalties; first += kPenalties) {
        const int n = static_cast<int>(std::min<int64_t>(kPenalties, n_penalties - first));
        kernel<<<blocks_for(n_targets, kThreads), kThreads, 0, stream_of(launch)>>>(args, first, n);
    }
    check_launch("ridge_moments");
}

}  // namespace bwlm::cuda
