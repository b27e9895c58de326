// The ridge sweep's epilogue on the GPU: a thread a target, a few penalties at a time, sums in double in a
// fixed order. One read of the four matrices serves all penalties of a launch.
#include <algorithm>

#include "cuda/common.cuh"

namespace bwlm::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kPenalties = 8;  // whose sums are held in registers: 24 doubles

template <typename T>
__global__ void moments_kernel(View a, View b, View e, View mb, RidgeBasis basis, int64_t i0, int n,
                               View covariance, View variance, View scale) {
    const int64_t t = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (t >= b.cols) return;
    double sums[3][kPenalties] = {};
    for (int64_t k = 0; k < b.rows; ++k) {
        const double bk = b.as<T>()[k * b.row_stride + t];
        const double ab = a.as<T>()[k * a.row_stride + t] * bk, be = e.as<T>()[k * e.row_stride + t] * bk;
        const double bm = mb.as<T>()[k * mb.row_stride + t] * bk, bb = bk * bk * basis.diagonal[k];
#pragma unroll
        for (int i = 0; i < kPenalties; ++i) {
            if (i >= n) continue;
            const double d = basis.shrink[(i0 + i) * b.rows + k];
            sums[0][i] += d * ab;
            sums[1][i] += d * d * bm + 2 * (d - basis.shift[i0 + i]) * be;
            sums[2][i] += d * d * bb;
        }
    }
#pragma unroll
    for (int i = 0; i < kPenalties; ++i) {
        if (i >= n) continue;
        covariance.as<double>()[(i0 + i) * covariance.row_stride + t] = sums[0][i];
        variance.as<double>()[(i0 + i) * variance.row_stride + t] = sums[1][i];
        scale.as<double>()[(i0 + i) * scale.row_stride + t] = sums[2][i];
    }
}

}  // namespace

void ridge_moments(const View& a, const View& b, const View& e, const View& mb, const RidgeBasis& basis,
                   const View& covariance, const View& variance, const View& scale, const Launch& launch) {
    if (b.cols == 0) return;
    const unsigned blocks = static_cast<unsigned>((b.cols + kThreads - 1) / kThreads);
    for (int64_t i0 = 0; i0 < basis.n_penalties; i0 += kPenalties) {
        const int n = static_cast<int>(std::min<int64_t>(kPenalties, basis.n_penalties - i0));
        const auto kernel = b.dtype == DType::f32 ? moments_kernel<float> : moments_kernel<double>;
        kernel<<<blocks, kThreads, 0, stream_of(launch)>>>(a, b, e, mb, basis, i0, n, covariance, variance,
                                                           scale);
    }
    check_launch("ridge_moments");
}

}  // namespace bwlm::cuda
