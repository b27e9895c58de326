// Pearson correlation and its gradient on the GPU: a block a row (axis 1), a thread a column (axis 0).
// Sums are in double and in a fixed order, so results are the same from run to run.
#include <cfloat>

#include "cuda/common.cuh"

namespace bwlm::cuda {
namespace {

constexpr int kThreads = 512;

struct Result {
    double r, a, b;
};

__device__ bool is_constant(double sum_squares, double mean, double n, double eps) {
    const double rounding = 4 * eps * fabs(mean);
    return sum_squares <= n * rounding * rounding;
}

__device__ Result finish(double mx, double my, double xx, double yy, double xy, double n, double eps) {
    if (is_constant(xx, mx, n, eps) || is_constant(yy, my, n, eps)) return {0, 0, 0};
    const double a = 1 / (sqrt(xx) * sqrt(yy));
    return {xy * a, a, xy * a / xx};
}

// weights may be null: every column counts 1. A column of weight 0 does not count even where it is NaN.
template <typename T>
__global__ void rows_kernel(View x, View y, const T* weights, T* r, const T* g, double g_all, View gx,
                            double eps) {
    const int64_t t = blockIdx.x;
    const T *px = x.as<T>() + t * x.row_stride, *py = y.as<T>() + t * y.row_stride;
    double n = 0, sx = 0, sy = 0;
    for (int64_t k = threadIdx.x; k < x.cols; k += kThreads) {
        const double w = weights ? static_cast<double>(weights[k]) : 1.0;
        if (w == 0) continue;
        n += w;
        sx += w * static_cast<double>(px[k]);
        sy += w * static_cast<double>(py[k]);
    }
    n = weights ? block_sum<kThreads>(n) : static_cast<double>(x.cols);
    const double mx = block_sum<kThreads>(sx) / n, my = block_sum<kThreads>(sy) / n;
    double xx = 0, yy = 0, xy = 0;
    for (int64_t k = threadIdx.x; k < x.cols; k += kThreads) {
        const double w = weights ? static_cast<double>(weights[k]) : 1.0;
        if (w == 0) continue;
        const double u = px[k] - mx, v = py[k] - my;
        xx += w * u * u;
        yy += w * v * v;
        xy += w * u * v;
    }
    xx = block_sum<kThreads>(xx);
    yy = block_sum<kThreads>(yy);
    xy = block_sum<kThreads>(xy);
    const Result out = n > 0 ? finish(mx, my, xx, yy, xy, n, eps) : Result{0, 0, 0};
    if (threadIdx.x == 0) r[t] = static_cast<T>(out.r);
    if (!gx.data) return;
    const double scale = g ? static_cast<double>(g[t]) : g_all;
    T* pg = gx.as<T>() + t * gx.row_stride;
    for (int64_t k = threadIdx.x; k < x.cols; k += kThreads) {
        const double w = weights ? static_cast<double>(weights[k]) : 1.0;
        pg[k] = static_cast<T>(w == 0 ? 0.0 : scale * w * (out.a * (py[k] - my) - out.b * (px[k] - mx)));
    }
}

template <typename T>
__global__ void columns_kernel(View x, View y, T* r, const T* g, double g_all, View gx, double eps) {
    const int64_t c = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (c >= x.cols) return;
    const T *px = x.as<T>() + c, *py = y.as<T>() + c;
    const double n = static_cast<double>(x.rows);
    double mx = 0, my = 0;
    for (int64_t t = 0; t < x.rows; ++t) {
        mx += static_cast<double>(px[t * x.row_stride]);
        my += static_cast<double>(py[t * y.row_stride]);
    }
    mx /= n;
    my /= n;
    double xx = 0, yy = 0, xy = 0;
    for (int64_t t = 0; t < x.rows; ++t) {
        const double u = px[t * x.row_stride] - mx, v = py[t * y.row_stride] - my;
        xx += u * u;
        yy += v * v;
        xy += u * v;
    }
    const Result out = x.rows ? finish(mx, my, xx, yy, xy, n, eps) : Result{0, 0, 0};
    r[c] = static_cast<T>(out.r);
    if (!gx.data) return;
    const double scale = g ? static_cast<double>(g[c]) : g_all;
    for (int64_t t = 0; t < x.rows; ++t)
        gx.as<T>()[t * gx.row_stride + c] = static_cast<T>(
            scale * (out.a * (py[t * y.row_stride] - my) - out.b * (px[t * x.row_stride] - mx)));
}

template <typename T>
void launch_correlation(const View& x, const View& y, int axis, const void* weights, void* r, const void* g,
                        double g_all, const View& gx, double eps, const Launch& launch) {
    T* pr = static_cast<T*>(r);
    const T *pg = static_cast<const T*>(g), *pw = static_cast<const T*>(weights);
    const cudaStream_t stream = stream_of(launch);
    if (axis == 1 && x.rows > 0)
        rows_kernel<T>
            <<<static_cast<unsigned>(x.rows), kThreads, 0, stream>>>(x, y, pw, pr, pg, g_all, gx, eps);
    if (axis == 0 && x.cols > 0)
        columns_kernel<T>
            <<<static_cast<unsigned>((x.cols + 127) / 128), 128, 0, stream>>>(x, y, pr, pg, g_all, gx, eps);
    check_launch("correlation");
}

}  // namespace

void correlation(const View& x, const View& y, int axis, const void* weights, void* r, const void* g,
                 double g_all, const View& gx, const Launch& launch) {
    if (x.dtype == DType::f32)
        launch_correlation<float>(x, y, axis, weights, r, g, g_all, gx, FLT_EPSILON, launch);
    else
        launch_correlation<double>(x, y, axis, weights, r, g, g_all, gx, DBL_EPSILON, launch);
}

}  // namespace bwlm::cuda
