// Pearson correlation from centred sums: what both directions share.
#pragma once

#include <cmath>
#include <cstdint>

#include "cpu/simd.h"
#include "ops.h"

namespace bwlm::cpu {

// Centred sums of one row or column.
struct Moments {
    double mean_x, mean_y, xx, yy, xy;
};

// r and the two factors of its gradient, gx = g * (a * (y - mean_y) - b * (x - mean_x)).
struct Result {
    double r, a, b;
};

// Constant to rounding: the spread is what storing one value in the input's type would leave.
BWLM_INLINE bool is_constant(double sum_squares, double mean, double n, double eps) {
    const double rounding = 4 * eps * std::fabs(mean);
    return sum_squares <= n * rounding * rounding;
}

// n: how many values, or the sum of their weights. No branches, so that a loop over columns becomes vectors.
BWLM_INLINE Result finish(const Moments& m, double n, double eps) {
    const bool flat = is_constant(m.xx, m.mean_x, n, eps) | is_constant(m.yy, m.mean_y, n, eps);
    const double a = 1 / (flat ? 1.0 : std::sqrt(m.xx) * std::sqrt(m.yy));
    const double r = m.xy * a;
    return {flat ? 0.0 : r, flat ? 0.0 : a, flat ? 0.0 : r / m.xx};
}

// Along time, for each column; in correlation_columns.cpp.
template <typename T>
void correlation_columns(const View& x, const View& y, T* r, const T* g, double g_all, const View& gx,
                         const Launch&);

}  // namespace bwlm::cpu
