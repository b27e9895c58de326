// FIR delay stacking on the CPU, z-scored on the way if wanted: rows are copied (forward) or added (backward)
// whole, so memory is the only cost.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/simd.h"
#include "cpu/stream.h"
#include "cpu/threads.h"
#include "ops.h"

namespace bwlm::cpu {
namespace {

constexpr int64_t kRows = 32;            // rows of a piece of work
constexpr int64_t kColumns = 128;        // columns of a block whose moments are taken together
constexpr int64_t kScored = 1024;        // elements z-scored before they are written
constexpr int64_t kStreamed = 16 << 20;  // bytes of a stack from which it is written past the cache

// The run of row t: [first, last), and which one it is.
struct Run {
    int64_t first, last, number;
};

Run run_of(const Delays& d, int64_t t, int64_t rows) {
    const int64_t* end = d.run_onsets + d.n_runs;
    const int64_t* next = std::upper_bound(d.run_onsets, end, t);
    return {*(next - 1), next == end ? rows : *next, next - d.run_onsets - 1};
}

BWLM_CLONES void add(const float* from, float* to, int64_t n) {
    for (int64_t k = 0; k < n; ++k) to[k] += from[k];
}
BWLM_CLONES void add(const double* from, double* to, int64_t n) {
    for (int64_t k = 0; k < n; ++k) to[k] += from[k];
}

// One run's column moments: mean and 1 / sqrt(variance + eps), two passes, a few rows at a time in T.
template <typename T>
BWLM_INLINE void column_moments(const T* x, int64_t stride, int64_t n, int64_t width, double eps, T* mean,
                                T* scale) {
    double sum[kColumns] = {}, squares[kColumns] = {}, missed[kColumns] = {};
    const double count = static_cast<double>(n);
    for (int64_t start = 0; start < n; start += kRows) {
        T few[kColumns] = {};
        for (int64_t t = start; t < std::min(start + kRows, n); ++t)
            for (int64_t c = 0; c < width; ++c) few[c] += x[t * stride + c];
        for (int64_t c = 0; c < width; ++c) sum[c] += static_cast<double>(few[c]);
    }
    for (int64_t c = 0; c < width; ++c) mean[c] = static_cast<T>(sum[c] / count);
    for (int64_t start = 0; start < n; start += kRows) {
        T few[kColumns] = {}, off[kColumns] = {};
        for (int64_t t = start; t < std::min(start + kRows, n); ++t)
            for (int64_t c = 0; c < width; ++c) {
                const T u = x[t * stride + c] - mean[c];
                few[c] += u * u;
                off[c] += u;
            }
        for (int64_t c = 0; c < width; ++c) {
            squares[c] += static_cast<double>(few[c]);
            missed[c] += static_cast<double>(off[c]);
        }
    }
    for (int64_t c = 0; c < width; ++c) {
        const double error = missed[c] / count;
        mean[c] = static_cast<T>(static_cast<double>(mean[c]) + error);
        scale[c] = static_cast<T>(1 / std::sqrt(squares[c] / count - error * error + eps));
    }
}

// Sums over one run of g and of g z, z the z-scored x.
template <typename T>
BWLM_INLINE void gradient_sums(const T* g, int64_t gs, const T* x, int64_t xs, int64_t n, int64_t width,
                               const T* mean, const T* scale, double* sum_g, double* sum_gz) {
    for (int64_t start = 0; start < n; start += kRows) {
        T few[kColumns] = {}, few_z[kColumns] = {};
        for (int64_t t = start; t < std::min(start + kRows, n); ++t)
            for (int64_t c = 0; c < width; ++c) {
                few[c] += g[t * gs + c];
                few_z[c] += g[t * gs + c] * ((x[t * xs + c] - mean[c]) * scale[c]);
            }
        for (int64_t c = 0; c < width; ++c) {
            sum_g[c] += static_cast<double>(few[c]);
            sum_gz[c] += static_cast<double>(few_z[c]);
        }
    }
}

// Through the z-score, in place: gx = scale (g - mean(g) - z mean(g z)).
template <typename T>
BWLM_INLINE void unscore(T* g, int64_t gs, const T* x, int64_t xs, int64_t n, int64_t width, const T* mean,
                         const T* scale) {
    double sum_g[kColumns] = {}, sum_gz[kColumns] = {};
    gradient_sums(g, gs, x, xs, n, width, mean, scale, sum_g, sum_gz);
    T mean_g[kColumns], mean_gz[kColumns];
    for (int64_t c = 0; c < width; ++c) {
        mean_g[c] = static_cast<T>(sum_g[c] / static_cast<double>(n));
        mean_gz[c] = static_cast<T>(sum_gz[c] / static_cast<double>(n));
    }
    for (int64_t t = 0; t < n; ++t)
        for (int64_t c = 0; c < width; ++c) {
            const T z = (x[t * xs + c] - mean[c]) * scale[c];
            g[t * gs + c] = scale[c] * (g[t * gs + c] - mean_g[c] - z * mean_gz[c]);
        }
}

template <typename T>
BWLM_INLINE void score_row(const T* x, const T* mean, const T* scale, T* z, int64_t n) {
    for (int64_t c = 0; c < n; ++c) z[c] = (x[c] - mean[c]) * scale[c];
}

BWLM_CLONES void column_moments_any(const float* x, int64_t stride, int64_t n, int64_t width, double eps,
                                    float* mean, float* scale) {
    column_moments(x, stride, n, width, eps, mean, scale);
}
BWLM_CLONES void column_moments_any(const double* x, int64_t stride, int64_t n, int64_t width, double eps,
                                    double* mean, double* scale) {
    column_moments(x, stride, n, width, eps, mean, scale);
}
BWLM_CLONES void unscore_any(float* g, int64_t gs, const float* x, int64_t xs, int64_t n, int64_t width,
                             const float* mean, const float* scale) {
    unscore(g, gs, x, xs, n, width, mean, scale);
}
BWLM_CLONES void unscore_any(double* g, int64_t gs, const double* x, int64_t xs, int64_t n, int64_t width,
                             const double* mean, const double* scale) {
    unscore(g, gs, x, xs, n, width, mean, scale);
}
BWLM_CLONES void score_row_any(const float* x, const float* mean, const float* scale, float* z, int64_t n) {
    score_row(x, mean, scale, z, n);
}
BWLM_CLONES void score_row_any(const double* x, const double* mean, const double* scale, double* z,
                               int64_t n) {
    score_row(x, mean, scale, z, n);
}

// Runs and blocks of columns, each a piece of work: body(run's number, first row, rows, first column, width).
template <typename Body>
void for_each_block(const Delays& d, int64_t rows, int64_t cols, const Launch& launch, Body&& body) {
    const int64_t blocks = (cols + kColumns - 1) / kColumns;
    for_each_piece(d.n_runs * blocks, launch, [&](int64_t piece) {
        const int64_t run = piece / blocks, c = piece % blocks * kColumns;
        const int64_t first = d.run_onsets[run], last = run + 1 < d.n_runs ? d.run_onsets[run + 1] : rows;
        body(run, first, last - first, c, std::min(kColumns, cols - c));
    });
}

template <typename T>
void stack(const View& x, const Delays& d, const View& out, const View& moments, double eps,
           const Launch& launch) {
    const bool streamed = out.rows * out.cols * static_cast<int64_t>(sizeof(T)) >= kStreamed;
    T* m = moments.as<T>();
    if (m)
        for_each_block(d, x.rows, x.cols, launch,
                       [&](int64_t run, int64_t first, int64_t n, int64_t c, int64_t width) {
                           T* mean = m + 2 * run * moments.row_stride + c;
                           column_moments_any(x.as<T>() + first * x.row_stride + c, x.row_stride, n, width,
                                              eps, mean, mean + moments.row_stride);
                       });
    for_each_piece((x.rows + kRows - 1) / kRows, launch, [&](int64_t piece) {
        T scored[kScored];
        for (int64_t t = piece * kRows; t < std::min((piece + 1) * kRows, x.rows); ++t) {
            const Run run = run_of(d, t, x.rows);
            const T* mean = m ? m + 2 * run.number * moments.row_stride : nullptr;
            for (int64_t k = 0; k < d.n_delays; ++k) {
                const int64_t from = t - d.delays[k];
                T* to = out.as<T>() + t * out.row_stride + k * x.cols;
                const T* row = x.as<T>() + from * x.row_stride;
                if (from < run.first || from >= run.last)
                    std::fill(to, to + x.cols, T(0));
                else
                    for (int64_t c = 0; c < x.cols; c += kScored) {
                        const int64_t width = std::min(kScored, x.cols - c);
                        const T* source = row + c;
                        if (m) {
                            score_row_any(source, mean + c, mean + moments.row_stride + c, scored, width);
                            source = scored;
                        }
                        if (streamed)
                            stream_copy(source, to + c, width);
                        else
                            std::memcpy(to + c, source, sizeof(T) * width);
                    }
            }
        }
        if (streamed) stream_end();
    });
}

template <typename T>
void unstack(const View& g_out, const Delays& d, const View& gx, const View& x, const View& moments,
             const Launch& launch) {
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
    if (const T* m = moments.as<T>())
        for_each_block(d, gx.rows, gx.cols, launch,
                       [&](int64_t run, int64_t first, int64_t n, int64_t c, int64_t width) {
                           const T* mean = m + 2 * run * moments.row_stride + c;
                           unscore_any(gx.as<T>() + first * gx.row_stride + c, gx.row_stride,
                                       x.as<T>() + first * x.row_stride + c, x.row_stride, n, width, mean,
                                       mean + moments.row_stride);
                       });
}

}  // namespace

void delay_stack(const View& x, const Delays& delays, const View& out, const View& moments, double eps,
                 const Launch& launch) {
    (x.dtype == DType::f32 ? stack<float> : stack<double>)(x, delays, out, moments, eps, launch);
}

void delay_stack_backward(const View& g_out, const Delays& delays, const View& gx, const View& x,
                          const View& moments, const Launch& launch) {
    (gx.dtype == DType::f32 ? unstack<float> : unstack<double>)(g_out, delays, gx, x, moments, launch);
}

}  // namespace bwlm::cpu
