// FIR delay stacking on the CPU: rows are copied (forward) or added (backward) whole, so memory is the only
// cost.
#include <algorithm>
#include <cstring>

#include "cpu/simd.h"
#include "cpu/stream.h"
#include "cpu/threads.h"
#include "ops.h"

namespace bwlm::cpu {
namespace {

constexpr int64_t kRows = 32;            // rows of a piece of work
constexpr int64_t kStreamed = 16 << 20;  // bytes of a stack from which it is written past the cache

// The run of row t: [first, last).
struct Run {
    int64_t first, last;
};

Run run_of(const Delays& d, int64_t t, int64_t rows) {
    const int64_t* end = d.run_onsets + d.n_runs;
    const int64_t* next = std::upper_bound(d.run_onsets, end, t);
    return {*(next - 1), next == end ? rows : *next};
}

BWLM_CLONES void add(const float* from, float* to, int64_t n) {
    for (int64_t k = 0; k < n; ++k) to[k] += from[k];
}
BWLM_CLONES void add(const double* from, double* to, int64_t n) {
    for (int64_t k = 0; k < n; ++k) to[k] += from[k];
}

template <typename T>
void stack(const View& x, const Delays& d, const View& out, const Launch& launch) {
    const bool streamed = out.rows * out.cols * static_cast<int64_t>(sizeof(T)) >= kStreamed;
    for_each_piece((x.rows + kRows - 1) / kRows, launch, [&](int64_t piece) {
        for (int64_t t = piece * kRows; t < std::min((piece + 1) * kRows, x.rows); ++t) {
            const Run run = run_of(d, t, x.rows);
            for (int64_t k = 0; k < d.n_delays; ++k) {
                const int64_t from = t - d.delays[k];
                T* to = out.as<T>() + t * out.row_stride + k * x.cols;
                if (from < run.first || from >= run.last)
                    std::fill(to, to + x.cols, T(0));
                else if (streamed)
                    stream_copy(x.as<T>() + from * x.row_stride, to, x.cols);
                else
                    std::memcpy(to, x.as<T>() + from * x.row_stride, sizeof(T) * x.cols);
            }
        }
        if (streamed) stream_end();
    });
}

template <typename T>
void unstack(const View& g_out, const Delays& d, const View& gx, const Launch& launch) {
    for_each_piece((gx.rows + kRows - 1) / kRows, launch, [&](int64_t piece) {
        for (int64_t t = piece * kRows; t < std::min((piece + 1) * kRows, gx.rows); ++t) {
            const Run run = run_of(d, t, gx.rows);
            T* to = gx.as<T>() + t * gx.row_stride;
            std::fill(to, to + gx.cols, T(0));
            for (int64_t k = 0; k < d.n_delays; ++k) {
                const int64_t from = t + d.delays[k];
                if (from >= run.first && from < run.last)
                    add(g_out.as<T>() + from * g_out.row_stride + k * gx.cols, to, gx.cols);
            }
        }
    });
}

}  // namespace

void delay_stack(const View& x, const Delays& delays, const View& out, const Launch& launch) {
    x.dtype == DType::f32 ? stack<float>(x, delays, out, launch) : stack<double>(x, delays, out, launch);
}

void delay_stack_backward(const View& g_out, const Delays& delays, const View& gx, const Launch& launch) {
    gx.dtype == DType::f32 ? unstack<float>(g_out, delays, gx, launch)
                           : unstack<double>(g_out, delays, gx, launch);
}

}  // namespace bwlm::cpu
