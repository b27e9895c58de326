// Pearson correlation and its gradient on the CPU. Two passes over data that is still in cache for the
// second: a row at a time across columns (axis 1), a block of columns at a time across rows (axis 0).
#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/simd.h"
#include "cpu/threads.h"
#include "ops.h"

namespace bwlm::cpu {
namespace {

constexpr int64_t kLanes =
    16;  // independent partial sums, so that the compiler may vectorise without reassociating
constexpr int64_t kFlush = 1024;  // elements summed in the input's type before a flush to double
constexpr int64_t kColumns =
    256;  // columns of a block along axis 0: 300 rows of float stay in the second-level cache

// Centred sums of one row or column.
struct Moments {
    double mean_x, mean_y, xx, yy, xy;
};

// r and the two factors of its gradient, gx = g * (a * (y - mean_y) - b * (x - mean_x)).
struct Result {
    double r, a, b;
};

// Constant to rounding: the spread is what storing one value in the input's type would leave.
BWLM_INLINE bool is_constant(double sum_squares, double mean, int64_t n, double eps) {
    const double rounding = 4 * eps * std::fabs(mean);
    return sum_squares <= static_cast<double>(n) * rounding * rounding;
}

BWLM_INLINE Result finish(const Moments& m, int64_t n, double eps) {
    if (is_constant(m.xx, m.mean_x, n, eps) || is_constant(m.yy, m.mean_y, n, eps)) return {0, 0, 0};
    const double a = 1 / (std::sqrt(m.xx) * std::sqrt(m.yy));
    const double r = m.xy * a;
    return {r, a, r / m.xx};
}

// Sum of lanes of T, flushed to double.
template <typename T>
struct LaneSum {
    double total = 0;
    T lanes[kLanes] = {};
    BWLM_INLINE void flush() {
        for (int64_t l = 0; l < kLanes; ++l) {
            total += static_cast<double>(lanes[l]);
            lanes[l] = 0;
        }
    }
};

template <typename T>
BWLM_INLINE Moments row_moments(const T* x, const T* y, int64_t n) {
    LaneSum<T> sx, sy;
    for (int64_t start = 0; start < n; start += kFlush) {
        const int64_t stop = std::min(start + kFlush, n), whole = start + (stop - start) / kLanes * kLanes;
        for (int64_t k = start; k < whole; k += kLanes)
            for (int64_t l = 0; l < kLanes; ++l) {
                sx.lanes[l] += x[k + l];
                sy.lanes[l] += y[k + l];
            }
        for (int64_t k = whole; k < stop; ++k) {
            sx.total += static_cast<double>(x[k]);
            sy.total += static_cast<double>(y[k]);
        }
        sx.flush();
        sy.flush();
    }
    // The first pass is only as exact as T; the second measures what its mean missed and corrects for it.
    const T mx = static_cast<T>(sx.total / n), my = static_cast<T>(sy.total / n);
    LaneSum<T> dx, dy, xx, yy, xy;
    for (int64_t start = 0; start < n; start += kFlush) {
        const int64_t stop = std::min(start + kFlush, n), whole = start + (stop - start) / kLanes * kLanes;
        for (int64_t k = start; k < whole; k += kLanes)
            for (int64_t l = 0; l < kLanes; ++l) {
                const T u = x[k + l] - mx, v = y[k + l] - my;
                dx.lanes[l] += u;
                dy.lanes[l] += v;
                xx.lanes[l] += u * u;
                yy.lanes[l] += v * v;
                xy.lanes[l] += u * v;
            }
        for (int64_t k = whole; k < stop; ++k) {
            const double u = x[k] - mx, v = y[k] - my;
            dx.total += u;
            dy.total += v;
            xx.total += u * u;
            yy.total += v * v;
            xy.total += u * v;
        }
        for (auto* sum : {&dx, &dy, &xx, &yy, &xy}) sum->flush();
    }
    const double ex = dx.total / n, ey = dy.total / n;
    return {mx + ex, my + ey, xx.total - n * ex * ex, yy.total - n * ey * ey, xy.total - n * ex * ey};
}

template <typename T>
BWLM_INLINE void row(const T* x, const T* y, int64_t n, T* r, double g, T* gx) {
    if (n == 0) {
        *r = 0;
        return;
    }
    const Moments m = row_moments(x, y, n);
    const Result out = finish(m, n, std::numeric_limits<T>::epsilon());
    *r = static_cast<T>(out.r);
    if (!gx) return;
    const T a = static_cast<T>(g * out.a), b = static_cast<T>(g * out.b);
    const T mx = static_cast<T>(m.mean_x), my = static_cast<T>(m.mean_y);
    for (int64_t k = 0; k < n; ++k) gx[k] = a * (y[k] - my) - b * (x[k] - mx);
}

// Columns [0, width) of a block: x and y point at its first element.
template <typename T>
BWLM_INLINE void columns(const T* x, int64_t xs, const T* y, int64_t ys, int64_t n, int64_t width, T* r,
                         const T* g, double g_all, T* gx, int64_t gs) {
    double mean_x[kColumns] = {}, mean_y[kColumns] = {}, xx[kColumns] = {}, yy[kColumns] = {},
           xy[kColumns] = {};
    for (int64_t t = 0; t < n; ++t)
        for (int64_t c = 0; c < width; ++c) {
            mean_x[c] += static_cast<double>(x[t * xs + c]);
            mean_y[c] += static_cast<double>(y[t * ys + c]);
        }
    for (int64_t c = 0; c < width; ++c) {
        mean_x[c] /= static_cast<double>(n);
        mean_y[c] /= static_cast<double>(n);
    }
    for (int64_t t = 0; t < n; ++t)
        for (int64_t c = 0; c < width; ++c) {
            const double u = x[t * xs + c] - mean_x[c], v = y[t * ys + c] - mean_y[c];
            xx[c] += u * u;
            yy[c] += v * v;
            xy[c] += u * v;
        }
    T a[kColumns], b[kColumns];
    for (int64_t c = 0; c < width; ++c) {
        const Result out =
            finish({mean_x[c], mean_y[c], xx[c], yy[c], xy[c]}, n, std::numeric_limits<T>::epsilon());
        r[c] = static_cast<T>(n ? out.r : 0);
        const double scale = g ? static_cast<double>(g[c]) : g_all;
        a[c] = static_cast<T>(scale * out.a);
        b[c] = static_cast<T>(scale * out.b);
    }
    if (!gx) return;
    for (int64_t t = 0; t < n; ++t)
        for (int64_t c = 0; c < width; ++c)
            gx[t * gs + c] = a[c] * static_cast<T>(y[t * ys + c] - mean_y[c]) -
                             b[c] * static_cast<T>(x[t * xs + c] - mean_x[c]);
}

BWLM_CLONES void row_any(const float* x, const float* y, int64_t n, float* r, double g, float* gx) {
    row(x, y, n, r, g, gx);
}
BWLM_CLONES void row_any(const double* x, const double* y, int64_t n, double* r, double g, double* gx) {
    row(x, y, n, r, g, gx);
}
BWLM_CLONES void columns_any(const float* x, int64_t xs, const float* y, int64_t ys, int64_t n, int64_t width,
                             float* r, const float* g, double g_all, float* gx, int64_t gs) {
    columns(x, xs, y, ys, n, width, r, g, g_all, gx, gs);
}
BWLM_CLONES void columns_any(const double* x, int64_t xs, const double* y, int64_t ys, int64_t n,
                             int64_t width, double* r, const double* g, double g_all, double* gx,
                             int64_t gs) {
    columns(x, xs, y, ys, n, width, r, g, g_all, gx, gs);
}

template <typename T>
void correlation_of(const View& x, const View& y, int axis, T* r, const T* g, double g_all, const View& gx,
                    const Launch& launch) {
    const T *px = x.as<T>(), *py = y.as<T>();
    T* pg = gx.as<T>();
    if (axis == 1) {
        for_each_piece(x.rows, launch, [&](int64_t t) {
            row_any(px + t * x.row_stride, py + t * y.row_stride, x.cols, r + t,
                    g ? static_cast<double>(g[t]) : g_all, pg ? pg + t * gx.row_stride : nullptr);
        });
        return;
    }
    for_each_piece((x.cols + kColumns - 1) / kColumns, launch, [&](int64_t k) {
        const int64_t c = k * kColumns, width = std::min(kColumns, x.cols - c);
        columns_any(px + c, x.row_stride, py + c, y.row_stride, x.rows, width, r + c, g ? g + c : nullptr,
                    g_all, pg ? pg + c : nullptr, gx.row_stride);
    });
}

}  // namespace

void correlation(const View& x, const View& y, int axis, void* r, const void* g, double g_all, const View& gx,
                 const Launch& launch) {
    if (x.dtype == DType::f32)
        correlation_of(x, y, axis, static_cast<float*>(r), static_cast<const float*>(g), g_all, gx, launch);
    else
        correlation_of(x, y, axis, static_cast<double*>(r), static_cast<const double*>(g), g_all, gx, launch);
}

}  // namespace bwlm::cpu
