// Pearson correlation and its gradient on the GPU: one block per row (axis 1), one thread per column (axis
// 0). Sums are in double and in a fixed order, so results are the same from run to run.
#include <limits>

#include "cuda/common.cuh"
#include "pearson.h"

namespace bwlm::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kColumnThreads = 128;

// Without weights every column counts 1. A column of weight 0 does not count even where it is NaN.
template <typename T>
__global__ void rows_kernel(CorrelationArgs args, double eps) {
    const int64_t t = blockIdx.x, cols = args.x.cols;
    const T *x = args.x.row<T>(t), *y = args.y.row<T>(t), *weights = args.weights.as<T>();
    double n = 0, sx = 0, sy = 0;
    for (int64_t k = threadIdx.x; k < cols; k += kThreads) {
        const double w = weights ? static_cast<double>(weights[k]) : 1.0;
        if (w == 0) continue;
        n += w;
        sx += w * static_cast<double>(x[k]);
        sy += w * static_cast<double>(y[k]);
    }
    n = weights ? block_sum<kThreads>(n) : static_cast<double>(cols);
    const double mx = block_sum<kThreads>(sx) / n, my = block_sum<kThreads>(sy) / n;
    double xx = 0, yy = 0, xy = 0;
    for (int64_t k = threadIdx.x; k < cols; k += kThreads) {
        const double w = weights ? static_cast<double>(weights[k]) : 1.0;
        if (w == 0) continue;
        const double u = x[k] - mx, v = y[k] - my;
        xx += w * u * u;
        yy += w * v * v;
        xy += w * u * v;
    }
    xx = block_sum<kThreads>(xx);
    yy = block_sum<kThreads>(yy);
    xy = block_sum<kThreads>(xy);
    const Correlation out = correlation_of({mx, my, xx, yy, xy}, n, eps);
    if (threadIdx.x == 0) args.r.as<T>()[t] = static_cast<T>(out.r);
    if (!args.gx.data) return;
    const double g = args.g.data ? static_cast<double>(args.g.as<T>()[t]) : args.g_all;
    T* gx = args.gx.row<T>(t);
    for (int64_t k = threadIdx.x; k < cols; k += kThreads) {
        const double w = weights ? static_cast<double>(weights[k]) : 1.0;
        gx[k] = static_cast<T>(w == 0 ? 0.0 : g * w * (out.a * (y[k] - my) - out.b * (x[k] - mx)));
    }
}

template <typename T>
__global__ void columns_kernel(CorrelationArgs args, double eps) {
    const int64_t c = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (c >= args.x.cols) return;
    const T *x = args.x.as<T>() + c, *y = args.y.as<T>() + c;
    const int64_t rows = args.x.rows, xs = args.x.row_stride, ys = args.y.row_stride;
    const double n = static_cast<double>(rows);
    double mx = 0, my = 0;
    for (int64_t t = 0; t < rows; ++t) {
        mx += static_cast<double>(x[t * xs]);
        my += static_cast<double>(y[t * ys]);
    }
    mx /= n;
    my /= n;
    double xx = 0, yy = 0, xy = 0;
    for (int64_t t = 0; t < rows; ++t) {
        const double u = x[t * xs] - mx, v = y[t * ys] - my;
        xx += u * u;
        yy += v * v;
        xy += u * v;
    }
    const Correlation out = correlation_of({mx, my, xx, yy, xy}, n, eps);
    args.r.as<T>()[c] = static_cast<T>(out.r);
    if (!args.gx.data) return;
    const double g = args.g.data ? static_cast<double>(args.g.as<T>()[c]) : args.g_all;
    for (int64_t t = 0; t < rows; ++t)
        args.gx.row<T>(t)[c] = static_cast<T>(g * (out.a * (y[t * ys] - my) - out.b * (x[t * xs] - mx)));
}

template <typename T>
void launch_correlation(const CorrelationArgs& args, cudaStream_t stream) {
    const int64_t rows = args.x.rows, cols = args.x.cols;
    const double eps = std::numeric_limits<T>::epsilon();
    if (args.axis == 1 && rows > 0)
        rows_kernel<T><<<static_cast<unsigned>(rows), kThreads, 0, stream>>>(args, eps);
    if (args.axis == 0 && cols > 0)
        columns_kernel<T><<<blocks_for(cols, kColumnThreads), kColumnThreads, 0, stream>>>(args, eps);
    check_launch("correlation");
}

}  // namespace

void correlation(const CorrelationArgs& args, const Launch& launch) {
    (args.x.dtype == DType::f32 ? launch_correlation<float> : launch_correlation<double>)(args,
                                                                                          stream_of(launch));
}

}  // namespace bwlm::cuda
