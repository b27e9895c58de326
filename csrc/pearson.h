// Pearson correlation and the factors of its gradient from centered sums, the same on both devices.
#pragma once

#include <cmath>

#include "core.h"

namespace bwlm {

// Means and centered sums of one row or column: xx = sum (x - mean_x)^2, xy = sum (x - mean_x)(y - mean_y).
struct Moments {
    double mean_x, mean_y, xx, yy, xy;
};

// r and the two factors of its gradient, gx = g * (a * (y - mean_y) - b * (x - mean_x)).
struct Correlation {
    double r, a, b;
};

// Constant to rounding: the spread is what storing one value in the input's type would leave.
BWLM_HD BWLM_INLINE bool is_constant(double sum_squares, double mean, double n, double eps) {
    const double rounding = 4 * eps * std::fabs(mean);
    return sum_squares <= n * rounding * rounding;
}

// n: how many values, or the sum of their weights; eps: that of the input's type. Where nothing counts, or x
// or y is constant, r and the gradient are 0. No branches, so that a loop over columns becomes vectors.
BWLM_HD BWLM_INLINE Correlation correlation_of(const Moments& m, double n, double eps) {
    const bool undefined =
        (n == 0) | is_constant(m.xx, m.mean_x, n, eps) | is_constant(m.yy, m.mean_y, n, eps);
    const double a = 1 / (undefined ? 1.0 : std::sqrt(m.xx) * std::sqrt(m.yy));
    const double r = m.xy * a;
    return {undefined ? 0.0 : r, undefined ? 0.0 : a, undefined ? 0.0 : r / m.xx};
}

}  // namespace bwlm
