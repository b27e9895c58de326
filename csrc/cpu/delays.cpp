// FIR delay stacking on the CPU, z-scored on the way if wanted: rows are copied (forward) or added (backward)
// whole, so memory is the only cost.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "cpu/simd.h"
#include "cpu/stream.h"
#include "cpu/threads.h"
#include "cpu/vec.h"
#include "ops.h"

namespace bwlm::cpu {
namespace {

constexpr int64_t kRows = 32;            // rows of a piece of work
constexpr int64_t kColumns = 256;        // columns of a block whose moments are taken together
constexpr int64_t kScored = 1024;        // elements z-scored before they are written
constexpr int64_t kStreamed = 16 << 20;  // bytes of a stack from which it is written past the cache

// A run: rows [first, last) of x, and the rows [start, stop) of the stack that are its, both counted as x's
// rows.
struct Run {
    int64_t number, first, last, start, stop;
};

Run run_of(const Delays& d, int64_t number, int64_t n_rows, int64_t n_trs) {
    const bool is_last = number + 1 == d.n_runs;
    const int64_t first = d.run_onsets[number], end = d.context + n_trs;
    const int64_t last = is_last ? n_rows : d.run_onsets[number + 1];
    return {number, first, last, std::max(first, d.context), is_last ? end : std::min(last, end)};
}

// One run's column moments: mean and 1 / sqrt(variance + eps). Rows are read from memory once; the shift is
// the mean of the first rows, as in correlation_columns.cpp.
template <typename T>
BWLM_INLINE void column_moments(const T* x, int64_t stride, int64_t n, int64_t width, double eps, T* mean,
                                T* scale) {
    double sum[kColumns] = {}, squares[kColumns] = {}, missed[kColumns] = {};
    const int64_t head = std::min(kRows, n);
    walk<T>(head, width,
            [&](auto lanes, int64_t first, int64_t rows, int64_t c) __attribute__((always_inline)) {
                using V = decltype(lanes);
                typename V::type few{};
                for (int64_t t = first; t < first + rows; ++t) few += V::load(x + t * stride + c);
                V::add(few, sum + c);
            });
    for (int64_t c = 0; c < width; ++c) mean[c] = static_cast<T>(sum[c] / static_cast<double>(head));
    walk<T>(n, width, [&](auto lanes, int64_t first, int64_t rows, int64_t c) __attribute__((always_inline)) {
        using V = decltype(lanes);
        const typename V::type shift = V::load(mean + c);
        typename V::type few{}, off{};
        for (int64_t t = first; t < first + rows; ++t) {
            fetch_ahead(x + (t + rows) * stride + c);
            const typename V::type u = V::load(x + t * stride + c) - shift;
            few += u * u;
            off += u;
        }
        V::add(few, squares + c);
        V::add(off, missed + c);
    });
    const double count = static_cast<double>(n);
    for (int64_t c = 0; c < width; ++c) {
        const double error = missed[c] / count, variance = squares[c] / count - error * error;
        mean[c] = static_cast<T>(static_cast<double>(mean[c]) + error);
        scale[c] = static_cast<T>(1 / std::sqrt(std::max(variance, 0.0) + eps));
    }
}

// Some columns of a run of x's gradient: each row collects from the rows of the stack that copied it, and
// with kScored the sums of g and of g z over the run are taken on the way, z the z-scored x. Row by row: what
// a row collects lies in a page a delay, and kFew rows at a time would be in kFew times as many.
template <bool kScored, typename T>
BWLM_INLINE void collect(const T* g, int64_t gs, const Delays& d, const Run& run, int64_t n_columns, T* gx,
                         int64_t gxs, const T* x, int64_t xs, int64_t width, const T* mean, const T* scale,
                         double* sum_g, double* sum_gz) {
    T few[kColumns] = {}, few_z[kColumns] = {};  // of the rows since the last that was added to the sums
    std::vector<const T*> from(static_cast<size_t>(d.n_delays));
    for (int64_t t = run.first; t < run.last; ++t, gx += gxs, x += kScored ? xs : 0) {
        size_t n = 0;
        for (int64_t k = 0; k < d.n_delays; ++k) {
            const int64_t reader = t + d.delays[k];
            if (reader >= run.start && reader < run.stop)
                from[n++] = g + (reader - d.context) * gs + k * n_columns;
        }
        along<T>(width, [&](auto lanes, int64_t c) __attribute__((always_inline)) {
            using V = decltype(lanes);
            typename V::type total{};
            for (size_t k = 0; k < n; ++k) {
                fetch_ahead(from[k] + gs + c);
                total += V::load(from[k] + c);
            }
            V::store(total, gx + c);
            if constexpr (kScored) {
                fetch_ahead(x + xs + c);
                const typename V::type z = (V::load(x + c) - V::load(mean + c)) * V::load(scale + c);
                V::store(V::load(few + c) + total, few + c);
                V::store(V::load(few_z + c) + total * z, few_z + c);
            }
        });
        if constexpr (kScored) {
            if ((t - run.first) % kFew != kFew - 1 && t != run.last - 1) continue;
            along<T>(width, [&](auto lanes, int64_t c) __attribute__((always_inline)) {
                using V = decltype(lanes);
                V::add(V::load(few + c), sum_g + c);
                V::add(V::load(few_z + c), sum_gz + c);
                V::store(typename V::type{}, few + c);
                V::store(typename V::type{}, few_z + c);
            });
        }
    }
}

// Through the z-score, in place: gx = scale (g - mean(g) - z mean(g z)).
template <typename T>
BWLM_INLINE void unscore(T* g, int64_t gs, const T* x, int64_t xs, int64_t n, int64_t width, const T* mean,
                         const T* scale, const double* sum_g, const double* sum_gz) {
    T mean_g[kColumns], mean_gz[kColumns];
    for (int64_t c = 0; c < width; ++c) {
        mean_g[c] = static_cast<T>(sum_g[c] / static_cast<double>(n));
        mean_gz[c] = static_cast<T>(sum_gz[c] / static_cast<double>(n));
    }
    walk<T>(n, width, [&](auto lanes, int64_t first, int64_t rows, int64_t c) __attribute__((always_inline)) {
        using V = decltype(lanes);
        const typename V::type shift = V::load(mean + c), factor = V::load(scale + c);
        const typename V::type level = V::load(mean_g + c), slope = V::load(mean_gz + c);
        for (int64_t t = first; t < first + rows; ++t) {
            fetch_ahead(g + (t + rows) * gs + c);
            fetch_ahead(x + (t + rows) * xs + c);
            const typename V::type z = (V::load(x + t * xs + c) - shift) * factor;
            V::store(factor * (V::load(g + t * gs + c) - level - z * slope), g + t * gs + c);
        }
    });
}

// Some columns of a run's gradient, through the z-score if there is one: what the second pass reads is in
// cache.
template <typename T>
BWLM_INLINE void backward(const T* g, int64_t gs, const Delays& d, const Run& run, int64_t n_columns, T* gx,
                          int64_t gxs, const T* x, int64_t xs, int64_t width, const T* mean, const T* scale) {
    double sum_g[kColumns] = {}, sum_gz[kColumns] = {};
    if (!mean) {
        collect<false>(g, gs, d, run, n_columns, gx, gxs, x, xs, width, mean, scale, sum_g, sum_gz);
        return;
    }
    collect<true>(g, gs, d, run, n_columns, gx, gxs, x, xs, width, mean, scale, sum_g, sum_gz);
    unscore(gx, gxs, x, xs, run.last - run.first, width, mean, scale, sum_g, sum_gz);
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
BWLM_CLONES void backward_any(const float* g, int64_t gs, const Delays& d, const Run& run, int64_t n_columns,
                              float* gx, int64_t gxs, const float* x, int64_t xs, int64_t width,
                              const float* mean, const float* scale) {
    backward(g, gs, d, run, n_columns, gx, gxs, x, xs, width, mean, scale);
}
BWLM_CLONES void backward_any(const double* g, int64_t gs, const Delays& d, const Run& run, int64_t n_columns,
                              double* gx, int64_t gxs, const double* x, int64_t xs, int64_t width,
                              const double* mean, const double* scale) {
    backward(g, gs, d, run, n_columns, gx, gxs, x, xs, width, mean, scale);
}
BWLM_CLONES void score_row_any(const float* x, const float* mean, const float* scale, float* z, int64_t n) {
    score_row(x, mean, scale, z, n);
}
BWLM_CLONES void score_row_any(const double* x, const double* mean, const double* scale, double* z,
                               int64_t n) {
    score_row(x, mean, scale, z, n);
}

// Runs and blocks of columns, each a piece of work: body(run, first column, width).
template <typename Body>
void for_each_block(const Delays& d, int64_t n_rows, int64_t n_trs, int64_t cols, const Launch& launch,
                    Body&& body) {
    const int64_t blocks = (cols + kColumns - 1) / kColumns;
    for_each_piece(d.n_runs * blocks, launch, [&](int64_t piece) {
        const int64_t c = piece % blocks * kColumns;
        body(run_of(d, piece / blocks, n_rows, n_trs), c, std::min(kColumns, cols - c));
    });
}

// One row of x, z-scored once, to wherever the stack holds it.
template <typename T>
void spread(const T* x, int64_t cols, const T* mean, const T* scale, const Delays& d, const Run& run,
            int64_t t, const View& out, bool streamed) {
    T scored[kScored];
    for (int64_t c = 0; c < cols; c += kScored) {
        const int64_t width = std::min(kScored, cols - c);
        if (mean) score_row_any(x + c, mean + c, scale + c, scored, width);
        for (int64_t k = 0; k < d.n_delays; ++k) {
            const int64_t reader = t + d.delays[k];
            if (reader < run.start || reader >= run.stop) continue;
            T* to = out.as<T>() + (reader - d.context) * out.row_stride + k * cols + c;
            if (streamed)
                stream_copy(mean ? scored : x + c, to, width);
            else
                std::memcpy(to, mean ? scored : x + c, sizeof(T) * width);
        }
    }
}

template <typename T>
void stack(const View& x, const Delays& d, const View& out, const View& moments, double eps,
           const Launch& launch) {
    const bool streamed = out.rows * out.cols * static_cast<int64_t>(sizeof(T)) >= kStreamed;
    T* m = moments.as<T>();
    if (m)
        for_each_block(d, x.rows, out.rows, x.cols, launch, [&](const Run& run, int64_t c, int64_t width) {
            T* mean = m + 2 * run.number * moments.row_stride + c;
            column_moments_any(x.as<T>() + run.first * x.row_stride + c, x.row_stride, run.last - run.first,
                               width, eps, mean, mean + moments.row_stride);
        });
    for (int64_t number = 0; number < d.n_runs; ++number) {
        const Run run = run_of(d, number, x.rows, out.rows);
        const T* mean = m ? m + 2 * number * moments.row_stride : nullptr;
        const T* scale = m ? mean + moments.row_stride : nullptr;
        for_each_piece((run.last - run.first + kRows - 1) / kRows, launch, [&](int64_t piece) {
            const int64_t first = run.first + piece * kRows;
            for (int64_t t = first; t < std::min(first + kRows, run.last); ++t)
                spread(x.as<T>() + t * x.row_stride, x.cols, mean, scale, d, run, t, out, streamed);
            if (streamed) stream_end();
        });
        for (int64_t k = 0; k < d.n_delays; ++k)  // rows whose delay reaches out of the run
            for (int64_t t = run.start; t < run.stop; ++t)
                if (t - d.delays[k] < run.first || t - d.delays[k] >= run.last)
                    std::memset(out.as<T>() + (t - d.context) * out.row_stride + k * x.cols, 0,
                                sizeof(T) * x.cols);
    }
}

template <typename T>
void unstack(const View& g_out, const Delays& d, const View& gx, const View& x, const View& moments,
             const Launch& launch) {
    const T* m = moments.as<T>();
    for_each_block(d, gx.rows, g_out.rows, gx.cols, launch, [&](const Run& run, int64_t c, int64_t width) {
        const T* mean = m ? m + 2 * run.number * moments.row_stride + c : nullptr;
        backward_any(g_out.as<T>() + c, g_out.row_stride, d, run, gx.cols,
                     gx.as<T>() + run.first * gx.row_stride + c, gx.row_stride,
                     m ? x.as<T>() + run.first * x.row_stride + c : nullptr, x.row_stride, width, mean,
                     m ? mean + moments.row_stride : nullptr);
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
