// FIR delay stacking on the GPU: a block a row; delays and run onsets travel in the kernel's arguments.
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
};

template <typename T>
__global__ void stack_kernel(View x, Taps taps, View out) {
    const int64_t t = taps.first + blockIdx.x;
    for (int k = 0; k < taps.n; ++k) {
        const int64_t from = t - taps.delay[k];
        const bool inside = from >= taps.first && from < taps.last;
        T* to = out.as<T>() + t * out.row_stride + k * x.cols;
        for (int64_t f = threadIdx.x; f < x.cols; f += kThreads)
            to[f] = inside ? x.as<T>()[from * x.row_stride + f] : T(0);
    }
}

template <typename T>
__global__ void unstack_kernel(View g_out, Taps taps, View gx) {
    const int64_t t = taps.first + blockIdx.x;
    for (int64_t f = threadIdx.x; f < gx.cols; f += kThreads) {
        T sum = 0;
        for (int k = 0; k < taps.n; ++k) {
            const int64_t from = t + taps.delay[k];
            if (from >= taps.first && from < taps.last)
                sum += g_out.as<T>()[from * g_out.row_stride + k * gx.cols + f];
        }
        gx.as<T>()[t * gx.row_stride + f] = sum;
    }
}

template <typename Kernel>
void for_each_run(const Delays& d, int64_t rows, const char* name, Kernel&& kernel) {
    require(d.n_delays <= kMaxDelays, "delays: at most 64 on a GPU, got " + std::to_string(d.n_delays));
    Taps taps{};
    taps.n = static_cast<int>(d.n_delays);
    for (int k = 0; k < taps.n; ++k) taps.delay[k] = d.delays[k];
    for (int64_t run = 0; run < d.n_runs; ++run) {
        taps.first = d.run_onsets[run];
        taps.last = run + 1 < d.n_runs ? d.run_onsets[run + 1] : rows;
        kernel(taps, static_cast<unsigned>(taps.last - taps.first));
    }
    check_launch(name);
}

}  // namespace

void delay_stack(const View& x, const Delays& delays, const View& out, const Launch& launch) {
    for_each_run(delays, x.rows, "delay_stack", [&](const Taps& taps, unsigned blocks) {
        if (x.dtype == DType::f32)
            stack_kernel<float><<<blocks, kThreads, 0, stream_of(launch)>>>(x, taps, out);
        else
            stack_kernel<double><<<blocks, kThreads, 0, stream_of(launch)>>>(x, taps, out);
    });
}

void delay_stack_backward(const View& g_out, const Delays& delays, const View& gx, const Launch& launch) {
    for_each_run(delays, gx.rows, "delay_stack_backward", [&](const Taps& taps, unsigned blocks) {
        if (gx.dtype == DType::f32)
            unstack_kernel<float><<<blocks, kThreads, 0, stream_of(launch)>>>(g_out, taps, gx);
        else
            unstack_kernel<double><<<blocks, kThreads, 0, stream_of(launch)>>>(g_out, taps, gx);
    });
}

}  // namespace bwlm::cuda
