// FIR delay stacking on the GPU, z-scored on the way if wanted: one block per row, one thread per column for
// the moments; delays and runs travel in the kernel's arguments.
#include <algorithm>

#include "cuda/common.cuh"

namespace bwlm::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxDelays = 64;

// Delays and one run. Kernel arguments are plain and small; runs are taken one launch each, so that their
// number is free.
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
    const T* values = x.row<T>(taps.first) + c;
    const int64_t n = taps.last - taps.first;
    double mean = 0, squares = 0;
    for (int64_t t = 0; t < n; ++t) mean += static_cast<double>(values[t * x.row_stride]);
    mean /= static_cast<double>(n);
    for (int64_t t = 0; t < n; ++t) {
        const double u = values[t * x.row_stride] - mean;
        squares += u * u;
    }
    moments.row<T>(0)[c] = static_cast<T>(mean);
    moments.row<T>(1)[c] = static_cast<T>(1 / sqrt(squares / static_cast<double>(n) + eps));
}

// Through the z-score, in place: gx = scale (g - mean(g) - z mean(g z)).
template <typename T>
__global__ void zscore_backward_kernel(View gx, View x, Taps taps, View moments) {
    const int64_t c = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (c >= gx.cols) return;
    T* gradient = gx.row<T>(taps.first) + c;
    const T* values = x.row<T>(taps.first) + c;
    const int64_t n = taps.last - taps.first;
    const double mean = moments.row<T>(0)[c], scale = moments.row<T>(1)[c];
    double sum_g = 0, sum_gz = 0;
    for (int64_t t = 0; t < n; ++t) {
        const double g = gradient[t * gx.row_stride];
        sum_g += g;
        sum_gz += g * (values[t * x.row_stride] - mean) * scale;
    }
    sum_g /= static_cast<double>(n);
    sum_gz /= static_cast<double>(n);
    for (int64_t t = 0; t < n; ++t) {
        const double z = (values[t * x.row_stride] - mean) * scale;
        gradient[t * gx.row_stride] =
            static_cast<T>(scale * (gradient[t * gx.row_stride] - sum_g - z * sum_gz));
    }
}

template <typename T>
__global__ void stack_kernel(View x, Taps taps, View out, View moments) {
    const int64_t t = taps.start + blockIdx.x;
    const T *mean = moments.as<T>(), *scale = mean ? moments.row<T>(1) : nullptr;
    for (int k = 0; k < taps.n; ++k) {
        const int64_t from = t - taps.delay[k];
        const bool inside = from >= taps.first && from < taps.last;
        T* to = out.row<T>(t - taps.context) + k * x.cols;
        for (int64_t f = threadIdx.x; f < x.cols; f += kThreads) {
            T value = inside ? x.row<T>(from)[f] : T(0);
            if (mean && inside) value = (value - mean[f]) * scale[f];
            to[f] = value;
        }
    }
}

template <typename T>
__global__ void stack_backward_kernel(View g_out, Taps taps, View gx) {
    const int64_t t = taps.first + blockIdx.x;
    for (int64_t f = threadIdx.x; f < gx.cols; f += kThreads) {
        T sum = 0;
        for (int k = 0; k < taps.n; ++k) {
            const int64_t from = t + taps.delay[k];
            if (from >= taps.start && from < taps.stop)
                sum += g_out.row<T>(from - taps.context)[k * gx.cols + f];
        }
        gx.row<T>(t)[f] = sum;
    }
}

// One launch per run: body(taps, the run's two rows of moments, if there are moments).
template <typename T, typename Body>
void for_each_run(const Delays& d, const View& x, const View& stack, const View& moments, Body&& body) {
    require(d.n_delays <= kMaxDelays, "delays: at most 64 on a GPU, got " + std::to_string(d.n_delays));
    Taps taps{};
    taps.n = static_cast<int>(d.n_delays);
    taps.context = d.context;
    std::copy_n(d.delays, taps.n, taps.delay);
    for (int64_t run = 0; run < d.n_runs; ++run) {
        const bool is_last = run + 1 == d.n_runs;
        const int64_t end = d.context + stack.rows;
        taps.first = d.run_onsets[run];
        taps.last = is_last ? x.rows : d.run_onsets[run + 1];
        taps.start = std::max(taps.first, d.context);
        taps.stop = is_last ? end : std::min(taps.last, end);
        View run_moments = moments;
        if (moments.data) run_moments.data = moments.row<T>(2 * run);
        body(taps, run_moments);
    }
}

template <typename T>
void stack(const DelayStackArgs& args, cudaStream_t stream) {
    const unsigned columns = blocks_for(args.x.cols, kThreads);
    if (!columns) return;
    for_each_run<T>(args.delays, args.x, args.out, args.moments, [&](const Taps& taps, const View& moments) {
        if (moments.data)
            moments_kernel<T><<<columns, kThreads, 0, stream>>>(args.x, taps, moments, args.eps);
        const int64_t rows = taps.stop - taps.start;
        if (rows > 0)
            stack_kernel<T>
                <<<static_cast<unsigned>(rows), kThreads, 0, stream>>>(args.x, taps, args.out, moments);
    });
    check_launch("delay_stack");
}

template <typename T>
void stack_backward(const DelayStackBackwardArgs& args, cudaStream_t stream) {
    const unsigned columns = blocks_for(args.gx.cols, kThreads);
    if (!columns) return;
    for_each_run<T>(
        args.delays, args.gx, args.g_out, args.moments, [&](const Taps& taps, const View& moments) {
            const unsigned rows = static_cast<unsigned>(taps.last - taps.first);
            stack_backward_kernel<T><<<rows, kThreads, 0, stream>>>(args.g_out, taps, args.gx);
            if (moments.data)
                zscore_backward_kernel<T><<<columns, kThreads, 0, stream>>>(args.gx, args.x, taps, moments);
        });
    check_launch("delay_stack_backward");
}

}  // namespace

void delay_stack(const DelayStackArgs& args, const Launch& launch) {
    (args.x.dtype == DType::f32 ? stack<float> : stack<double>)(args, stream_of(launch));
}

void delay_stack_backward(const DelayStackBackwardArgs& args, const Launch& launch) {
    (args.gx.dtype == DType::f32 ? stack_backward<float> : stack_backward<double>)(args, stream_of(launch));
}

}  // namespace bwlm::cuda
