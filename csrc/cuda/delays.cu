// FIR delay stacking on the GPU, z-scored on the way if wanted: a block a row, a thread a column for the
// moments; delays and run onsets travel in the kernel's arguments.
#include <algorithm>

#include "cuda/common.cuh"

namespace bwlm::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxDelays = 64;

// Kernel arguments are plain and small; runs are taken one launch each, so that their number is free.
struct Taps {
    int64_t delay[kMaxDelays];
    int n;
    int64_t first, last;  // the run, [first, last)
    int64_t start, stop;  // rows of the stack that are the run's, [start, stop), counted as x's rows
    int64_t context;      // the stack's row 0 is this row of x
};

// mean and 1 / sqrt(variance + eps) of each column over the run: rows 0 and 1 of `moments`.
template <typename T>
__global__ void moments_kernel(View x, Taps taps, View moments, double eps) {
    const int64_t c = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (c >= x.cols) return;
    const T* px = x.as<T>() + taps.first * x.row_stride + c;
    const int64_t n = taps.last - taps.first;
    double mean = 0, squares = 0;
    for (int64_t t = 0; t < n; ++t) mean += static_cast<double>(px[t * x.row_stride]);
    mean /= static_cast<double>(n);
    for (int64_t t = 0; t < n; ++t) {
        const double u = px[t * x.row_stride] - mean;
        squares += u * u;
    }
    moments.as<T>()[c] = static_cast<T>(mean);
    moments.as<T>()[moments.row_stride + c] =
        static_cast<T>(1 / sqrt(squares / static_cast<double>(n) + eps));
}

// Through the z-score, in place: gx = scale (g - mean(g) - z mean(g z)).
template <typename T>
__global__ void unscore_kernel(View gx, View x, Taps taps, View moments) {
    const int64_t c = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (c >= gx.cols) return;
    T* pg = gx.as<T>() + taps.first * gx.row_stride + c;
    const T* px = x.as<T>() + taps.first * x.row_stride + c;
    const int64_t n = taps.last - taps.first;
    const double mean = moments.as<T>()[c], scale = moments.as<T>()[moments.row_stride + c];
    double sum_g = 0, sum_gz = 0;
    for (int64_t t = 0; t < n; ++t) {
        const double g = pg[t * gx.row_stride];
        sum_g += g;
        sum_gz += g * (px[t * x.row_stride] - mean) * scale;
    }
    sum_g /= static_cast<double>(n);
    sum_gz /= static_cast<double>(n);
    for (int64_t t = 0; t < n; ++t) {
        const double z = (px[t * x.row_stride] - mean) * scale;
        pg[t * gx.row_stride] = static_cast<T>(scale * (pg[t * gx.row_stride] - sum_g - z * sum_gz));
    }
}

template <typename T>
__global__ void stack_kernel(View x, Taps taps, View out, View moments) {
    const int64_t t = taps.start + blockIdx.x;
    const T *mean = moments.as<T>(), *scale = mean ? mean + moments.row_stride : nullptr;
    for (int k = 0; k < taps.n; ++k) {
        const int64_t from = t - taps.delay[k];
        const bool inside = from >= taps.first && from < taps.last;
        T* to = out.as<T>() + (t - taps.context) * out.row_stride + k * x.cols;
        for (int64_t f = threadIdx.x; f < x.cols; f += kThreads) {
            T value = inside ? x.as<T>()[from * x.row_stride + f] : T(0);
            if (mean && inside) value = (value - mean[f]) * scale[f];
            to[f] = value;
        }
    }
}

template <typename T>
__global__ void unstack_kernel(View g_out, Taps taps, View gx) {
    const int64_t t = taps.first + blockIdx.x;
    for (int64_t f = threadIdx.x; f < gx.cols; f += kThreads) {
        T sum = 0;
        for (int k = 0; k < taps.n; ++k) {
            const int64_t from = t + taps.delay[k];
            if (from >= taps.start && from < taps.stop)
                sum += g_out.as<T>()[(from - taps.context) * g_out.row_stride + k * gx.cols + f];
        }
        gx.as<T>()[t * gx.row_stride + f] = sum;
    }
}

// A run's two rows of moments.
View of_run(const View& moments, int64_t run, int64_t size) {
    View two = moments;
    if (two.data) two.data = static_cast<char*>(two.data) + 2 * run * moments.row_stride * size;
    return two;
}

template <typename Body>
void for_each_run(const Delays& d, int64_t rows, int64_t n_stacked, const char* name, Body&& body) {
    require(d.n_delays <= kMaxDelays, "delays: at most 64 on a GPU, got " + std::to_string(d.n_delays));
    Taps taps{};
    taps.n = static_cast<int>(d.n_delays);
    taps.context = d.context;
    for (int k = 0; k < taps.n; ++k) taps.delay[k] = d.delays[k];
    for (int64_t run = 0; run < d.n_runs; ++run) {
        taps.first = d.run_onsets[run];
        taps.last = run + 1 < d.n_runs ? d.run_onsets[run + 1] : rows;
        const int64_t end = d.context + n_stacked;
        taps.start = std::max(taps.first, d.context);
        taps.stop = run + 1 < d.n_runs ? std::min(taps.last, end) : end;
        body(taps, run);
    }
    check_launch(name);
}

template <typename T>
void stack(const View& x, const Delays& d, const View& out, const View& moments, double eps,
           cudaStream_t stream) {
    const unsigned columns = static_cast<unsigned>((x.cols + kThreads - 1) / kThreads);
    if (!columns) return;
    for_each_run(d, x.rows, out.rows, "delay_stack", [&](const Taps& taps, int64_t run) {
        const View own = of_run(moments, run, sizeof(T));
        if (own.data) moments_kernel<T><<<columns, kThreads, 0, stream>>>(x, taps, own, eps);
        if (taps.stop > taps.start)
            stack_kernel<T>
                <<<static_cast<unsigned>(taps.stop - taps.start), kThreads, 0, stream>>>(x, taps, out, own);
    });
}

template <typename T>
void unstack(const View& g_out, const Delays& d, const View& gx, const View& x, const View& moments,
             cudaStream_t stream) {
    const unsigned columns = static_cast<unsigned>((gx.cols + kThreads - 1) / kThreads);
    if (!columns) return;
    for_each_run(d, gx.rows, g_out.rows, "delay_stack_backward", [&](const Taps& taps, int64_t run) {
        const View own = of_run(moments, run, sizeof(T));
        unstack_kernel<T>
            <<<static_cast<unsigned>(taps.last - taps.first), kThreads, 0, stream>>>(g_out, taps, gx);
        if (own.data) unscore_kernel<T><<<columns, kThreads, 0, stream>>>(gx, x, taps, own);
    });
}

}  // namespace

void delay_stack(const View& x, const Delays& delays, const View& out, const View& moments, double eps,
                 const Launch& launch) {
    (x.dtype == DType::f32 ? stack<float> : stack<double>)(x, delays, out, moments, eps, stream_of(launch));
}

void delay_stack_backward(const View& g_out, const Delays& delays, const View& gx, const View& x,
                          const View& moments, const Launch& launch) {
    (gx.dtype == DType::f32 ? unstack<float> : unstack<double>)(g_out, delays, gx, x, moments,
                                                                stream_of(launch));
}

}  // namespace bwlm::cuda
