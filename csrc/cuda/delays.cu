// FIR delay stacking on the GPU, z-scored on the way if wanted: a block per row and delay; for the moments,
// the threads of a block share the columns of a run. Delays and runs travel in the kernels' arguments, so
// many runs to a launch.
#include <algorithm>

#include "cuda/common.cuh"

namespace bwlm::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxDelays = 64;
constexpr int kMaxRuns = 256;  // in one launch

// Delays, and consecutive runs. Rows are x's everywhere: the stack's row i is row i + context.
struct Taps {
    int64_t delay[kMaxDelays];
    int n_delays;
    int64_t context;
    int64_t end;                  // after the stack's last row
    int64_t onset[kMaxRuns + 1];  // the last is where the next run starts, or x ends
    int n_runs;
    bool has_last;  // the last of these runs is the last of all: the stack's rows after x's are its

    BWLM_HD int64_t first(int run) const { return onset[run]; }
    BWLM_HD int64_t last(int run) const { return onset[run + 1]; }
    // The run's rows of the stack, [start, stop).
    BWLM_HD int64_t start(int run) const { return onset[run] > context ? onset[run] : context; }
    BWLM_HD int64_t stop(int run) const {
        const bool open = has_last && run == n_runs - 1;
        return open || onset[run + 1] > end ? end : onset[run + 1];
    }
    // The run of a row.
    __device__ int run_of(int64_t t) const {
        int low = 0, high = n_runs - 1;
        while (low < high) {
            const int middle = (low + high + 1) / 2;
            if (onset[middle] <= t)
                low = middle;
            else
                high = middle - 1;
        }
        return low;
    }
};

// mean and 1 / sqrt(variance + eps) of each column over run blockIdx.y: two rows of `moments`.
template <typename T>
__global__ void moments_kernel(View x, const __grid_constant__ Taps taps, View moments, double eps) {
    const int64_t c = static_cast<int64_t>(blockIdx.x) * kColumns + threadIdx.x;
    const int run = blockIdx.y;
    const int64_t first = taps.first(run), n = taps.last(run) - first, stop = c < x.cols ? n : 0;
    const T* values = x.row<T>(first) + c;
    double mean = 0, squares = 0;
    for (int64_t t = threadIdx.y; t < stop; t += kLanes)
        mean += static_cast<double>(values[t * x.row_stride]);
    mean = lane_sum(mean) / static_cast<double>(n);
    for (int64_t t = threadIdx.y; t < stop; t += kLanes) {
        const double u = values[t * x.row_stride] - mean;
        squares += u * u;
    }
    squares = lane_sum(squares);
    if (threadIdx.y > 0 || c >= x.cols) return;
    moments.row<T>(2 * run)[c] = static_cast<T>(mean);
    moments.row<T>(2 * run + 1)[c] = static_cast<T>(1 / sqrt(squares / static_cast<double>(n) + eps));
}

// Through the z-score of run blockIdx.y, in place: gx = scale (g - mean(g) - z mean(g z)).
template <typename T>
__global__ void zscore_backward_kernel(View gx, View x, const __grid_constant__ Taps taps, View moments) {
    const int64_t c = static_cast<int64_t>(blockIdx.x) * kColumns + threadIdx.x;
    const int run = blockIdx.y;
    const int64_t first = taps.first(run), n = taps.last(run) - first, stop = c < gx.cols ? n : 0;
    T* gradient = gx.row<T>(first) + c;
    const T* values = x.row<T>(first) + c;
    const double mean = stop ? moments.row<T>(2 * run)[c] : T(0);
    const double scale = stop ? moments.row<T>(2 * run + 1)[c] : T(0);
    double sum_g = 0, sum_gz = 0;
    for (int64_t t = threadIdx.y; t < stop; t += kLanes) {
        const double g = gradient[t * gx.row_stride];
        sum_g += g;
        sum_gz += g * (values[t * x.row_stride] - mean) * scale;
    }
    sum_g = lane_sum(sum_g) / static_cast<double>(n);
    sum_gz = lane_sum(sum_gz) / static_cast<double>(n);
    for (int64_t t = threadIdx.y; t < stop; t += kLanes) {
        const double z = (values[t * x.row_stride] - mean) * scale;
        gradient[t * gx.row_stride] =
            static_cast<T>(scale * (gradient[t * gx.row_stride] - sum_g - z * sum_gz));
    }
}

// Delay blockIdx.y of the stack's row blockIdx.x, counted from the first run's.
template <typename T>
__global__ void stack_kernel(View x, const __grid_constant__ Taps taps, View out, View moments) {
    const int64_t t = taps.start(0) + blockIdx.x, from = t - taps.delay[blockIdx.y];
    const int run = taps.run_of(t);
    const bool inside = from >= taps.first(run) && from < taps.last(run);
    const T* mean = moments.data ? moments.row<T>(2 * run) : nullptr;
    const T* scale = moments.data ? moments.row<T>(2 * run + 1) : nullptr;
    T* to = out.row<T>(t - taps.context) + blockIdx.y * x.cols;
    for (int64_t f = threadIdx.x; f < x.cols; f += kThreads) {
        T value = inside ? x.row<T>(from)[f] : T(0);
        if (mean && inside) value = (value - mean[f]) * scale[f];
        to[f] = value;
    }
}

// Row blockIdx.x of x, counted from the first run's.
template <typename T>
__global__ void stack_backward_kernel(View g_out, const __grid_constant__ Taps taps, View gx) {
    const int64_t t = taps.first(0) + blockIdx.x;
    const int run = taps.run_of(t);
    const int64_t start = taps.start(run), stop = taps.stop(run);
    for (int64_t f = threadIdx.x; f < gx.cols; f += kThreads) {
        T sum = 0;
        for (int k = 0; k < taps.n_delays; ++k) {
            const int64_t from = t + taps.delay[k];
            if (from >= start && from < stop) sum += g_out.row<T>(from - taps.context)[k * gx.cols + f];
        }
        gx.row<T>(t)[f] = sum;
    }
}

// A few hundred runs at a time: body(taps, their rows of moments, if there are moments).
template <typename T, typename Body>
void for_runs(const Delays& d, const View& x, const View& stack, const View& moments, Body&& body) {
    require(d.n_delays <= kMaxDelays, "delays: at most 64 on a GPU, got " + std::to_string(d.n_delays));
    Taps taps{};
    taps.n_delays = static_cast<int>(d.n_delays);
    taps.context = d.context;
    taps.end = d.context + stack.rows;
    std::copy_n(d.delays, taps.n_delays, taps.delay);
    for (int64_t run = 0; run < d.n_runs; run += kMaxRuns) {
        taps.n_runs = static_cast<int>(std::min<int64_t>(kMaxRuns, d.n_runs - run));
        taps.has_last = run + taps.n_runs == d.n_runs;
        std::copy_n(d.run_onsets + run, taps.n_runs, taps.onset);
        taps.onset[taps.n_runs] = taps.has_last ? x.rows : d.run_onsets[run + taps.n_runs];
        View of_runs = moments;
        if (moments.data) of_runs.data = moments.row<T>(2 * run);
        body(taps, of_runs);
    }
}

template <typename T>
void stack(const DelayStackArgs& args, cudaStream_t stream) {
    if (args.x.cols == 0) return;
    for_runs<T>(args.delays, args.x, args.out, args.moments, [&](const Taps& taps, const View& moments) {
        const dim3 columns(blocks_for(args.x.cols, kColumns), static_cast<unsigned>(taps.n_runs));
        if (moments.data)
            moments_kernel<T>
                <<<columns, dim3(kColumns, kLanes), 0, stream>>>(args.x, taps, moments, args.eps);
        const int64_t rows = taps.stop(taps.n_runs - 1) - taps.start(0);
        if (rows <= 0) return;
        const dim3 blocks(static_cast<unsigned>(rows), static_cast<unsigned>(taps.n_delays));
        stack_kernel<T><<<blocks, kThreads, 0, stream>>>(args.x, taps, args.out, moments);
    });
    check_launch("delay_stack");
}

template <typename T>
void stack_backward(const DelayStackBackwardArgs& args, cudaStream_t stream) {
    if (args.gx.cols == 0) return;
    for_runs<T>(args.delays, args.gx, args.g_out, args.moments, [&](const Taps& taps, const View& moments) {
        const unsigned rows = static_cast<unsigned>(taps.last(taps.n_runs - 1) - taps.first(0));
        stack_backward_kernel<T><<<rows, kThreads, 0, stream>>>(args.g_out, taps, args.gx);
        const dim3 columns(blocks_for(args.gx.cols, kColumns), static_cast<unsigned>(taps.n_runs));
        if (moments.data)
            zscore_backward_kernel<T>
                <<<columns, dim3(kColumns, kLanes), 0, stream>>>(args.gx, args.x, taps, moments);
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
