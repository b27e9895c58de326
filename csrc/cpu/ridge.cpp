// The ridge sweep's epilogue on the CPU: one read of four matrices serves every penalty. Sums run in the
// input's type over a few rows at a time and are flushed to double, so that float32 loses nothing over
// thousands of rows.
#include <algorithm>

#include "cpu/simd.h"
#include "cpu/threads.h"
#include "ops.h"

namespace bwlm::cpu {
namespace {

constexpr int64_t kTargets = 64;        // targets of a piece of work
constexpr int64_t kPenalties = 16;      // penalties whose sums are held at once: 12 KB of float
constexpr int64_t kRowsPerFlush = 128;  // rows summed in the input's type before they are added in double

// Consecutive indices, first and how many.
struct Range {
    int64_t first, n;
};

// Sums over some rows for some penalties and targets.
template <typename T>
struct Sums {
    T covariance[kPenalties][kTargets] = {}, variance[kPenalties][kTargets] = {};
    T scale[kPenalties][kTargets] = {};
};

template <typename T>
BWLM_INLINE void sum_rows(const RidgeMomentsArgs& args, Range rows, Range penalties, Range targets,
                          Sums<T>& sums) {
    for (int64_t k = rows.first; k < rows.first + rows.n; ++k) {
        const T* held = args.held_cross.row<T>(k) + targets.first;
        const T* train = args.train_cross.row<T>(k) + targets.first;
        const T* divided = args.divided_cross.row<T>(k) + targets.first;
        const T* close = args.close_cross.row<T>(k) + targets.first;
        T train_held[kTargets], train_close[kTargets], train_divided[kTargets], train_train[kTargets];
        const T diagonal = static_cast<T>(args.diagonal.as<double>()[k]);
        for (int64_t c = 0; c < targets.n; ++c) {
            train_held[c] = held[c] * train[c];
            train_close[c] = train[c] * close[c];
            train_divided[c] = train[c] * divided[c];
            train_train[c] = train[c] * train[c] * diagonal;
        }
        for (int64_t i = 0; i < penalties.n; ++i) {
            const double shrink = args.shrink.row<double>(penalties.first + i)[k];
            const T d = static_cast<T>(shrink), dd = static_cast<T>(shrink * shrink);
            const T s = static_cast<T>(2 * (shrink - args.shift.as<double>()[penalties.first + i]));
            for (int64_t c = 0; c < targets.n; ++c) {
                sums.covariance[i][c] += d * train_held[c];
                sums.variance[i][c] += dd * train_close[c] + s * train_divided[c];
                sums.scale[i][c] += dd * train_train[c];
            }
        }
    }
}

template <typename T>
BWLM_INLINE void add_to(const View& out, const T (&sums)[kPenalties][kTargets], Range penalties,
                        Range targets) {
    for (int64_t i = 0; i < penalties.n; ++i) {
        double* row = out.row<double>(penalties.first + i) + targets.first;
        for (int64_t c = 0; c < targets.n; ++c) row[c] += static_cast<double>(sums[i][c]);
    }
}

// All penalties for some targets.
template <typename T>
BWLM_INLINE void moments_of(const RidgeMomentsArgs& args, Range targets) {
    const int64_t n_penalties = args.shrink.rows, rank = args.shrink.cols;
    for (const View* out : {&args.covariance, &args.variance, &args.scale})
        for (int64_t i = 0; i < n_penalties; ++i)
            std::fill_n(out->row<double>(i) + targets.first, targets.n, 0.0);
    for (int64_t i = 0; i < n_penalties; i += kPenalties) {
        const Range penalties{i, std::min(kPenalties, n_penalties - i)};
        for (int64_t k = 0; k < rank; k += kRowsPerFlush) {
            Sums<T> sums;
            sum_rows<T>(args, {k, std::min(kRowsPerFlush, rank - k)}, penalties, targets, sums);
            add_to(args.covariance, sums.covariance, penalties, targets);
            add_to(args.variance, sums.variance, penalties, targets);
            add_to(args.scale, sums.scale, penalties, targets);
        }
    }
}

BWLM_CLONES void moments_f32(const RidgeMomentsArgs& args, Range targets) {
    moments_of<float>(args, targets);
}
BWLM_CLONES void moments_f64(const RidgeMomentsArgs& args, Range targets) {
    moments_of<double>(args, targets);
}

}  // namespace

void ridge_moments(const RidgeMomentsArgs& args, const Launch& launch) {
    const auto moments = args.train_cross.dtype == DType::f32 ? moments_f32 : moments_f64;
    for_each_column_block(args.train_cross.cols, kTargets, launch,
                          [&](int64_t target, int64_t n) { moments(args, {target, n}); });
}

}  // namespace bwlm::cpu
