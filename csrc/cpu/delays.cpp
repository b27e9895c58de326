// FIR delay stacking on the CPU, z-scored on the way if wanted: complete rows are copied (forward) or added
// (backward), so memory is the only cost.
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

constexpr int64_t kRows = 32;  // rows of a piece of work, and those whose mean is the shift of the moments
constexpr int64_t kColumns = 256;        // columns of a block whose moments are taken together
constexpr int64_t kScoredAtOnce = 1024;  // elements z-scored before they are written
constexpr int64_t kStreamed = 16 << 20;  // bytes of a stack from which it takes non-temporal stores

// A run: rows [first, last) of x and its rows [start, stop) of the stack, both counted as rows of x.
struct Run {
    int64_t number, first, last, start, stop;
};

// Columns [column, column + width) of a run: a piece of work.
struct Block {
    Run run;
    int64_t column, width;
};

Run run_of(const Delays& d, int64_t number, int64_t n_rows, int64_t n_trs) {
    const bool is_last = number + 1 == d.n_runs;
    const int64_t first = d.run_onsets[number], end = d.context + n_trs;
    const int64_t last = is_last ? n_rows : d.run_onsets[number + 1];
    return {number, first, last, std::max(first, d.context), is_last ? end : std::min(last, end)};
}

template <typename Body>
void for_each_block(const Delays& d, const View& x, const View& stack, const Launch& launch, Body&& body) {
    const int64_t blocks = (x.cols + kColumns - 1) / kColumns;
    for_each_piece(d.n_runs * blocks, launch, [&](int64_t piece) {
        const int64_t column = piece % blocks * kColumns;
        body(Block{run_of(d, piece / blocks, x.rows, stack.rows), column,
                   std::min(kColumns, x.cols - column)});
    });
}

// A block's column moments: mean and 1 / sqrt(variance + eps). Rows are read from memory once; the shift is
// the mean of the first rows, as in correlation_columns.cpp.
template <typename T>
BWLM_INLINE void column_moments(const DelayStackArgs& args, const Block& block) {
    const int64_t stride = args.x.row_stride, n = block.run.last - block.run.first, width = block.width;
    const T* x = args.x.row<T>(block.run.first) + block.column;
    T* mean = args.moments.row<T>(2 * block.run.number) + block.column;
    T* scale = mean + args.moments.row_stride;
    double sum[kColumns] = {}, squares[kColumns] = {}, missed[kColumns] = {};
    const int64_t head = std::min(kRows, n);
    for_each_tile<T>(head, width,
                     [&](auto lanes, int64_t first, int64_t rows, int64_t c) __attribute__((always_inline)) {
                         using V = decltype(lanes);
                         typename V::type partial{};
                         for (int64_t t = first; t < first + rows; ++t)
                             partial += V::load(x + t * stride + c);
                         V::add(partial, sum + c);
                     });
    for (int64_t c = 0; c < width; ++c) mean[c] = static_cast<T>(sum[c] / static_cast<double>(head));
    for_each_tile<T>(n, width,
                     [&](auto lanes, int64_t first, int64_t rows, int64_t c) __attribute__((always_inline)) {
                         using V = decltype(lanes);
                         const typename V::type shift = V::load(mean + c);
                         typename V::type uu{}, u_sum{};
                         for (int64_t t = first; t < first + rows; ++t) {
                             fetch_ahead(x + (t + rows) * stride + c);
                             const typename V::type u = V::load(x + t * stride + c) - shift;
                             uu += u * u;
                             u_sum += u;
                         }
                         V::add(uu, squares + c);
                         V::add(u_sum, missed + c);
                     });
    const double count = static_cast<double>(n);
    for (int64_t c = 0; c < width; ++c) {
        const double error = missed[c] / count, variance = squares[c] / count - error * error;
        mean[c] = static_cast<T>(static_cast<double>(mean[c]) + error);
        scale[c] = static_cast<T>(1 / std::sqrt(std::max(variance, 0.0) + args.eps));
    }
}

// Sums over a run of the gradient g of z, and of g z, one per column of a block.
struct GradientSums {
    double g[kColumns] = {}, gz[kColumns] = {};
};

// A block of x's gradient: each row collects from the rows of the stack that copied it, and with kZscored the
// sums are taken on the way. Row by row: what a row collects lies in one page per delay, and kRowsPerFlush
// rows at a time would lie in kRowsPerFlush times as many.
template <bool kZscored, typename T>
BWLM_INLINE void collect(const DelayStackBackwardArgs& args, const Block& block, GradientSums& sums) {
    const Run run = block.run;
    const int64_t width = block.width, gs = args.g_out.row_stride, xs = args.x.row_stride;
    const T* g = args.g_out.as<T>() + block.column;
    const T* x = kZscored ? args.x.row<T>(run.first) + block.column : nullptr;
    const T* mean = kZscored ? args.moments.row<T>(2 * run.number) + block.column : nullptr;
    const T* scale = kZscored ? mean + args.moments.row_stride : nullptr;
    T* gx = args.gx.row<T>(run.first) + block.column;
    T partial_g[kColumns] = {}, partial_gz[kColumns] = {};  // of the rows since they were last added to sums
    std::vector<const T*> sources(static_cast<size_t>(args.delays.n_delays));
    for (int64_t t = run.first; t < run.last; ++t, gx += args.gx.row_stride, x += kZscored ? xs : 0) {
        size_t n = 0;
        for (int64_t k = 0; k < args.delays.n_delays; ++k) {
            const int64_t reader = t + args.delays.delays[k];
            if (reader >= run.start && reader < run.stop)
                sources[n++] = g + (reader - args.delays.context) * gs + k * args.gx.cols;
        }
        for_each_vector<T>(width, [&](auto lanes, int64_t c) __attribute__((always_inline)) {
            using V = decltype(lanes);
            typename V::type total{};
            for (size_t k = 0; k < n; ++k) {
                fetch_ahead(sources[k] + gs + c);
                total += V::load(sources[k] + c);
            }
            V::store(total, gx + c);
            if constexpr (kZscored) {
                fetch_ahead(x + xs + c);
                const typename V::type z = (V::load(x + c) - V::load(mean + c)) * V::load(scale + c);
                V::store(V::load(partial_g + c) + total, partial_g + c);
                V::store(V::load(partial_gz + c) + total * z, partial_gz + c);
            }
        });
        if constexpr (kZscored) {
            if ((t - run.first) % kRowsPerFlush != kRowsPerFlush - 1 && t != run.last - 1) continue;
            for_each_vector<T>(width, [&](auto lanes, int64_t c) __attribute__((always_inline)) {
                using V = decltype(lanes);
                V::add(V::load(partial_g + c), sums.g + c);
                V::add(V::load(partial_gz + c), sums.gz + c);
                V::store(typename V::type{}, partial_g + c);
                V::store(typename V::type{}, partial_gz + c);
            });
        }
    }
}

// Through the z-score, in place: gx = scale (g - mean(g) - z mean(g z)). The block is still in cache.
template <typename T>
BWLM_INLINE void zscore_backward(const DelayStackBackwardArgs& args, const Block& block,
                                 const GradientSums& sums) {
    const int64_t n = block.run.last - block.run.first, width = block.width;
    const int64_t gs = args.gx.row_stride, xs = args.x.row_stride;
    T* g = args.gx.row<T>(block.run.first) + block.column;
    const T* x = args.x.row<T>(block.run.first) + block.column;
    const T* mean = args.moments.row<T>(2 * block.run.number) + block.column;
    const T* scale = mean + args.moments.row_stride;
    T mean_g[kColumns], mean_gz[kColumns];
    for (int64_t c = 0; c < width; ++c) {
        mean_g[c] = static_cast<T>(sums.g[c] / static_cast<double>(n));
        mean_gz[c] = static_cast<T>(sums.gz[c] / static_cast<double>(n));
    }
    for_each_tile<T>(n, width,
                     [&](auto lanes, int64_t first, int64_t rows, int64_t c) __attribute__((always_inline)) {
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

template <typename T>
BWLM_INLINE void block_backward(const DelayStackBackwardArgs& args, const Block& block) {
    GradientSums sums;
    if (!args.moments.data) return collect<false, T>(args, block, sums);
    collect<true, T>(args, block, sums);
    zscore_backward<T>(args, block, sums);
}

template <typename T>
BWLM_INLINE void zscore_row(const T* x, const T* mean, const T* scale, T* z, int64_t n) {
    for (int64_t c = 0; c < n; ++c) z[c] = (x[c] - mean[c]) * scale[c];
}

BWLM_CLONES void moments_f32(const DelayStackArgs& args, const Block& block) {
    column_moments<float>(args, block);
}
BWLM_CLONES void moments_f64(const DelayStackArgs& args, const Block& block) {
    column_moments<double>(args, block);
}
BWLM_CLONES void backward_f32(const DelayStackBackwardArgs& args, const Block& block) {
    block_backward<float>(args, block);
}
BWLM_CLONES void backward_f64(const DelayStackBackwardArgs& args, const Block& block) {
    block_backward<double>(args, block);
}
BWLM_CLONES void zscore_of(const float* x, const float* mean, const float* scale, float* z, int64_t n) {
    zscore_row(x, mean, scale, z, n);
}
BWLM_CLONES void zscore_of(const double* x, const double* mean, const double* scale, double* z, int64_t n) {
    zscore_row(x, mean, scale, z, n);
}

// Row t of x, z-scored once, to every place in the stack that holds it.
template <typename T>
void copy_row(const DelayStackArgs& args, const Run& run, int64_t t, bool streamed) {
    const T* x = args.x.row<T>(t);
    const T* mean = args.moments.data ? args.moments.row<T>(2 * run.number) : nullptr;
    const int64_t cols = args.x.cols, scale = args.moments.row_stride;
    T scored[kScoredAtOnce];
    for (int64_t c = 0; c < cols; c += kScoredAtOnce) {
        const int64_t width = std::min(kScoredAtOnce, cols - c);
        if (mean) zscore_of(x + c, mean + c, mean + scale + c, scored, width);
        for (int64_t k = 0; k < args.delays.n_delays; ++k) {
            const int64_t reader = t + args.delays.delays[k];
            if (reader < run.start || reader >= run.stop) continue;
            T* to = args.out.row<T>(reader - args.delays.context) + k * cols + c;
            if (streamed)
                stream_copy(mean ? scored : x + c, to, width);
            else
                std::memcpy(to, mean ? scored : x + c, sizeof(T) * width);
        }
    }
}

template <typename T>
void stack(const DelayStackArgs& args, const Launch& launch) {
    const Delays& d = args.delays;
    const int64_t cols = args.x.cols;
    const bool streamed = args.out.rows * args.out.cols * static_cast<int64_t>(sizeof(T)) >= kStreamed;
    for (int64_t number = 0; number < d.n_runs; ++number) {
        const Run run = run_of(d, number, args.x.rows, args.out.rows);
        for_each_piece((run.last - run.first + kRows - 1) / kRows, launch, [&](int64_t piece) {
            const int64_t first = run.first + piece * kRows;
            for (int64_t t = first; t < std::min(first + kRows, run.last); ++t)
                copy_row<T>(args, run, t, streamed);
            if (streamed) stream_end();
        });
        for (int64_t k = 0; k < d.n_delays; ++k)  // rows whose delay reaches out of the run
            for (int64_t t = run.start; t < run.stop; ++t)
                if (t - d.delays[k] < run.first || t - d.delays[k] >= run.last)
                    std::memset(args.out.row<T>(t - d.context) + k * cols, 0, sizeof(T) * cols);
    }
}

}  // namespace

void delay_stack(const DelayStackArgs& args, const Launch& launch) {
    const bool single = args.x.dtype == DType::f32;
    if (args.moments.data)
        for_each_block(args.delays, args.x, args.out, launch,
                       [&](const Block& block) { (single ? moments_f32 : moments_f64)(args, block); });
    (single ? stack<float> : stack<double>)(args, launch);
}

void delay_stack_backward(const DelayStackBackwardArgs& args, const Launch& launch) {
    const auto backward = args.gx.dtype == DType::f32 ? backward_f32 : backward_f64;
    for_each_block(args.delays, args.gx, args.g_out, launch,
                   [&](const Block& block) { backward(args, block); });
}

}  // namespace bwlm::cpu
