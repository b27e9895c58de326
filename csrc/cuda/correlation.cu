// Pearson correlation and its gradient on the GPU. Across columns (axis 1) several blocks share a row: each
// sums a part of it that its cache holds, then every block joins the row's parts and writes its part of the
// gradient. Over time (axis 0) the threads of a block share its columns. Sums are in double and joined in a
// fixed order, so that results are the same from run to run.
#include <limits>

#include "cuda/common.cuh"
#include "pearson.h"

namespace bwlm::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kPart = 4096;  // columns of a row that a block sums: 32 KB of float x and y

unsigned parts_of(int64_t cols) { return cols > 0 ? blocks_for(cols, kPart) : 1; }

// Of some values of x and y: the sum of their weights, the means, and the centered sums.
struct Sums {
    double n, mean_x, mean_y, xx, yy, xy;
};
static_assert(sizeof(Sums) == 6 * sizeof(double), "as in the workspace");

// The sums of both, without cancellation (Chan, Golub and LeVeque, 1979).
__device__ Sums join(const Sums& a, const Sums& b) {
    const double n = a.n + b.n, share = n == 0 ? 0 : b.n / n, between = a.n * share;
    const double dx = b.mean_x - a.mean_x, dy = b.mean_y - a.mean_y;
    return {n,
            a.mean_x + dx * share,
            a.mean_y + dy * share,
            a.xx + b.xx + between * dx * dx,
            a.yy + b.yy + between * dy * dy,
            a.xy + b.xy + between * dx * dy};
}

__device__ Sums from_lane_below(const Sums& s, int distance) {
    const auto below = [distance](double value) { return __shfl_down_sync(0xffffffffu, value, distance); };
    return {below(s.n), below(s.mean_x), below(s.mean_y), below(s.xx), below(s.yy), below(s.xy)};
}

__device__ Correlation correlation_of(const Sums& s, double eps) {
    return bwlm::correlation_of({s.mean_x, s.mean_y, s.xx, s.yy, s.xy}, s.n, eps);
}

// Without weights every column counts 1. A column of weight 0 does not count even where it is NaN.
template <typename T>
__device__ double weight_of(const T* weights, int64_t column) {
    return weights ? static_cast<double>(weights[column]) : 1.0;
}

// Sums of part blockIdx.y of row blockIdx.x.
template <typename T>
__global__ void part_kernel(CorrelationArgs args) {
    const int64_t t = blockIdx.x, first = blockIdx.y * kPart, last = min(first + kPart, args.x.cols);
    const T *x = args.x.row<T>(t), *y = args.y.row<T>(t), *weights = args.weights.as<T>();
    double n = 0, sx = 0, sy = 0;
    for (int64_t k = first + threadIdx.x; k < last; k += kThreads) {
        const double w = weight_of(weights, k);
        if (w == 0) continue;
        n += w;
        sx += w * static_cast<double>(x[k]);
        sy += w * static_cast<double>(y[k]);
    }
    n = block_sum<kThreads>(n);
    sx = block_sum<kThreads>(sx);
    sy = block_sum<kThreads>(sy);
    const double mx = n == 0 ? 0 : sx / n, my = n == 0 ? 0 : sy / n;
    double xx = 0, yy = 0, xy = 0;
    for (int64_t k = first + threadIdx.x; k < last; k += kThreads) {
        const double w = weight_of(weights, k);
        if (w == 0) continue;
        const double u = x[k] - mx, v = y[k] - my;
        xx += w * u * u;
        yy += w * v * v;
        xy += w * u * v;
    }
    xx = block_sum<kThreads>(xx);
    yy = block_sum<kThreads>(yy);
    xy = block_sum<kThreads>(xy);
    if (threadIdx.x == 0) args.workspace.as<Sums>()[t * gridDim.y + blockIdx.y] = {n, mx, my, xx, yy, xy};
}

// Row blockIdx.x from its parts; part blockIdx.y of its gradient.
template <typename T>
__global__ void row_kernel(CorrelationArgs args, int n_parts, double eps) {
    const int64_t t = blockIdx.x;
    __shared__ Sums row;
    if (threadIdx.x < 32) {
        const Sums* parts = args.workspace.as<Sums>() + t * n_parts;
        Sums sums{};
        for (int part = threadIdx.x; part < n_parts; part += 32) sums = join(sums, parts[part]);
        for (int distance = 16; distance > 0; distance /= 2)
            sums = join(sums, from_lane_below(sums, distance));
        if (threadIdx.x == 0) row = sums;
    }
    __syncthreads();
    const Correlation out = correlation_of(row, eps);
    if (threadIdx.x == 0 && blockIdx.y == 0) args.r.as<T>()[t] = static_cast<T>(out.r);
    if (!args.gx.data) return;
    const T *x = args.x.row<T>(t), *y = args.y.row<T>(t), *weights = args.weights.as<T>();
    const double g = args.g.data ? static_cast<double>(args.g.as<T>()[t]) : args.g_all;
    const int64_t first = blockIdx.y * kPart, last = min(first + kPart, args.x.cols);
    T* gx = args.gx.row<T>(t);
    for (int64_t k = first + threadIdx.x; k < last; k += kThreads) {
        const double w = weight_of(weights, k);
        gx[k] = static_cast<T>(w == 0 ? 0.0
                                      : g * w * (out.a * (y[k] - row.mean_y) - out.b * (x[k] - row.mean_x)));
    }
}

// One column per threadIdx.x, its rows dealt over the lanes threadIdx.y. Each lane reads its rows once, as
// differences from the first of them: that is one of the values, so its distance from their mean is within
// their spread and nothing cancels.
template <typename T>
__global__ void columns_kernel(CorrelationArgs args, double eps) {
    const int64_t c = static_cast<int64_t>(blockIdx.x) * kColumns + threadIdx.x, rows = args.x.rows;
    const bool inside = c < args.x.cols;
    const T *x = args.x.as<T>() + c, *y = args.y.as<T>() + c;
    const int64_t xs = args.x.row_stride, ys = args.y.row_stride;
    Sums sums{};
    if (inside && threadIdx.y < rows) {
        const double x0 = x[threadIdx.y * xs], y0 = y[threadIdx.y * ys];
        double n = 0, sx = 0, sy = 0, xx = 0, yy = 0, xy = 0;
        for (int64_t t = threadIdx.y; t < rows; t += kLanes) {
            const double u = x[t * xs] - x0, v = y[t * ys] - y0;
            n += 1;
            sx += u;
            sy += v;
            xx += u * u;
            yy += v * v;
            xy += u * v;
        }
        sums = {n, x0 + sx / n, y0 + sy / n, xx - sx * sx / n, yy - sy * sy / n, xy - sx * sy / n};
    }
    __shared__ Sums lanes[kLanes][kColumns];
    lanes[threadIdx.y][threadIdx.x] = sums;
    __syncthreads();
    sums = lanes[0][threadIdx.x];
    for (int lane = 1; lane < kLanes; ++lane) sums = join(sums, lanes[lane][threadIdx.x]);
    const Correlation out = correlation_of(sums, eps);
    if (!inside) return;
    if (threadIdx.y == 0) args.r.as<T>()[c] = static_cast<T>(out.r);
    if (!args.gx.data) return;
    const double g = args.g.data ? static_cast<double>(args.g.as<T>()[c]) : args.g_all;
    for (int64_t t = threadIdx.y; t < rows; t += kLanes)
        args.gx.row<T>(t)[c] =
            static_cast<T>(g * (out.a * (y[t * ys] - sums.mean_y) - out.b * (x[t * xs] - sums.mean_x)));
}

template <typename T>
void launch_correlation(const CorrelationArgs& args, cudaStream_t stream) {
    const int64_t rows = args.x.rows, cols = args.x.cols;
    const double eps = std::numeric_limits<T>::epsilon();
    if (args.axis == 1 && rows > 0) {
        const unsigned n_parts = parts_of(cols);
        const dim3 parts(static_cast<unsigned>(rows), n_parts);
        if (!args.summed) part_kernel<T><<<parts, kThreads, 0, stream>>>(args);
        const dim3 written(static_cast<unsigned>(rows), args.gx.data ? n_parts : 1);
        row_kernel<T><<<written, kThreads, 0, stream>>>(args, static_cast<int>(n_parts), eps);
    }
    if (args.axis == 0 && cols > 0)
        columns_kernel<T><<<blocks_for(cols, kColumns), dim3(kColumns, kLanes), 0, stream>>>(args, eps);
    check_launch("correlation");
}

}  // namespace

int64_t correlation_workspace(int64_t rows, int64_t cols, int axis) {
    return axis == 1 ? rows * parts_of(cols) : 0;
}

void correlation(const CorrelationArgs& args, const Launch& launch) {
    (args.x.dtype == DType::f32 ? launch_correlation<float> : launch_correlation<double>)(args,
                                                                                          stream_of(launch));
}

}  // namespace bwlm::cuda
