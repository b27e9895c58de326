// Rare, so plainly written: all in double, value by value.
#include "cpu/correlation_scaled.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace bwlm::cpu {
namespace {

// The power of two that brings the largest value that counts near 1.
template <typename T>
double scale_of(Line<const T> x, const T* weights, int64_t n) {
    double largest = 0;
    for (int64_t k = 0; k < n; ++k)
        if (!weights || weights[k] != 0) largest = std::max(largest, std::fabs(double(x.data[k * x.stride])));
    return largest > 0 && std::isfinite(largest) ? std::ldexp(1.0, -std::ilogb(largest)) : 1.0;
}

}  // namespace

template <typename T>
void correlate_scaled(Line<const T> x, Line<const T> y, const T* weights, int64_t n, double g, T* r,
                      Line<T> gx) {
    const double scale_x = scale_of(x, weights, n), scale_y = scale_of(y, weights, n);
    const auto weight = [&](int64_t k) { return weights ? static_cast<double>(weights[k]) : 1.0; };
    const auto value_x = [&](int64_t k) { return scale_x * static_cast<double>(x.data[k * x.stride]); };
    const auto value_y = [&](int64_t k) { return scale_y * static_cast<double>(y.data[k * y.stride]); };
    int64_t first = 0;
    while (first < n - 1 && weight(first) == 0) ++first;
    const double x0 = n > 0 ? value_x(first) : 0, y0 = n > 0 ? value_y(first) : 0;
    double count = 0;
    Moments m{0, 0, 0, 0, 0};
    for (int64_t k = 0; k < n;
         ++k) {  // from one of the values, so that a constant has exactly itself for its mean
        if (weight(k) == 0) continue;
        count += weight(k);
        m.mean_x += weight(k) * (value_x(k) - x0);
        m.mean_y += weight(k) * (value_y(k) - y0);
    }
    m.mean_x = x0 + m.mean_x / (count > 0 ? count : 1);
    m.mean_y = y0 + m.mean_y / (count > 0 ? count : 1);
    for (int64_t k = 0; k < n; ++k) {
        if (weight(k) == 0) continue;
        const double u = value_x(k) - m.mean_x, v = value_y(k) - m.mean_y;
        m.xx += weight(k) * u * u;
        m.yy += weight(k) * v * v;
        m.xy += weight(k) * u * v;
    }
    const Correlation out = correlation_of(m, count, std::numeric_limits<T>::epsilon());
    *r = static_cast<T>(out.r);
    if (!gx.data) return;
    for (int64_t k = 0; k < n; ++k) {
        const double slope = out.a * (value_y(k) - m.mean_y) - out.b * (value_x(k) - m.mean_x);
        gx.data[k * gx.stride] = static_cast<T>(weight(k) == 0 ? 0 : g * weight(k) * slope * scale_x);
    }
}

template void correlate_scaled(Line<const float>, Line<const float>, const float*, int64_t, double, float*,
                               Line<float>);
template void correlate_scaled(Line<const double>, Line<const double>, const double*, int64_t, double,
                               double*, Line<double>);

}  // namespace bwlm::cpu
