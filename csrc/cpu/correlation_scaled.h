// Correlation of values whose squares leave the range of their type, for both axes.
#pragma once

#include "ops.h"
#include "pearson.h"

namespace bwlm::cpu {

// A row or a column: values, `stride` elements apart.
template <typename T>
struct Line {
    T* data;
    int64_t stride;
};

// Whether sums of squares were so small or large that digits were lost, or a NaN is among the values.
template <typename T>
BWLM_INLINE bool is_extreme(const Moments& m, double n) {
    constexpr double least = sizeof(T) == 4 ? 1e-24 : 1e-280, most = 1 / least;
    const bool x = m.xx >= least * n && m.xx <= most * n, y = m.yy >= least * n && m.yy <= most * n;
    return !(x && y);
}

// r, and (if gx.data) its gradient times g, of n values; weights (if data) count what each value weighs. x
// and y are scaled by powers of two, which changes no digit.
template <typename T>
void correlate_scaled(Line<const T> x, Line<const T> y, const T* weights, int64_t n, double g, T* r,
                      Line<T> gx);

}  // namespace bwlm::cpu
