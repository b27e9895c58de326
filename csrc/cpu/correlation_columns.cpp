// Pearson correlation along time, for each column, on the CPU: memory is read once, row after row, at the
// speed at which it is read at all.
#include <algorithm>
#include <limits>

#include "cpu/pearson.h"
#include "cpu/threads.h"
#include "cpu/vec.h"

namespace bwlm::cpu {
namespace {

constexpr int64_t kColumns = 1024;  // columns of a block: their sums stay in the second-level cache
constexpr int64_t kHead = 32;       // rows whose mean is the shift of the moments

// Columns [0, width) of a block: x and y point at its first element. Moments are taken around the mean of the
// first kHead rows; how far that lies from the mean of all is known at the end and taken out. Its square is
// at most (n / kHead - 1) variances, whatever the data, so little can cancel.
template <typename T>
BWLM_INLINE void columns(const T* x, int64_t xs, const T* y, int64_t ys, int64_t n, int64_t width, T* r,
                         const T* g, double g_all, T* gx, int64_t gs) {
    const int64_t head = std::min(kHead, n);
    double mean_x[kColumns] = {}, mean_y[kColumns] = {}, ex[kColumns] = {}, ey[kColumns] = {};
    double xx[kColumns] = {}, yy[kColumns] = {}, xy[kColumns] = {};
    walk<T>(head, width,
            [&](auto lanes, int64_t first, int64_t rows, int64_t c) __attribute__((always_inline)) {
                using V = decltype(lanes);
                typename V::type sx{}, sy{};
                for (int64_t t = first; t < first + rows; ++t) {
                    fetch_ahead(x + (t + rows) * xs + c);
                    fetch_ahead(y + (t + rows) * ys + c);
                    sx += V::load(x + t * xs + c);
                    sy += V::load(y + t * ys + c);
                }
                V::add(sx, mean_x + c);
                V::add(sy, mean_y + c);
            });
    T mx[kColumns], my[kColumns];
    for (int64_t c = 0; c < width; ++c) {
        mx[c] = static_cast<T>(mean_x[c] / static_cast<double>(head));
        my[c] = static_cast<T>(mean_y[c] / static_cast<double>(head));
    }
    walk<T>(n, width, [&](auto lanes, int64_t first, int64_t rows, int64_t c) __attribute__((always_inline)) {
        using V = decltype(lanes);
        const typename V::type cx = V::load(mx + c), cy = V::load(my + c);
        typename V::type dx{}, dy{}, sxx{}, syy{}, sxy{};
        for (int64_t t = first; t < first + rows; ++t) {
            fetch_ahead(x + (t + rows) * xs + c);
            fetch_ahead(y + (t + rows) * ys + c);
            const typename V::type u = V::load(x + t * xs + c) - cx, v = V::load(y + t * ys + c) - cy;
            dx += u;
            dy += v;
            sxx += u * u;
            syy += v * v;
            sxy += u * v;
        }
        V::add(dx, ex + c);
        V::add(dy, ey + c);
        V::add(sxx, xx + c);
        V::add(syy, yy + c);
        V::add(sxy, xy + c);
    });
    const double count = static_cast<double>(n);
    T a[kColumns], b[kColumns];
    for (int64_t c = 0; c < width; ++c) {
        const double u = ex[c] / count, v = ey[c] / count;
        mean_x[c] = static_cast<double>(mx[c]) + u;
        mean_y[c] = static_cast<double>(my[c]) + v;
        const Moments m{mean_x[c], mean_y[c], xx[c] - count * u * u, yy[c] - count * v * v,
                        xy[c] - count * u * v};
        const Result out = finish(m, count, std::numeric_limits<T>::epsilon());
        r[c] = static_cast<T>(n ? out.r : 0.0);
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

BWLM_CLONES void columns_any(const float* x, int64_t xs, const float* y, int64_t ys, int64_t n, int64_t width,
                             float* r, const float* g, double g_all, float* gx, int64_t gs) {
    columns(x, xs, y, ys, n, width, r, g, g_all, gx, gs);
}
BWLM_CLONES void columns_any(const double* x, int64_t xs, const double* y, int64_t ys, int64_t n,
                             int64_t width, double* r, const double* g, double g_all, double* gx,
                             int64_t gs) {
    columns(x, xs, y, ys, n, width, r, g, g_all, gx, gs);
}

}  // namespace

template <typename T>
void correlation_columns(const View& x, const View& y, T* r, const T* g, double g_all, const View& gx,
                         const Launch& launch) {
    T* pg = gx.as<T>();
    for_each_piece((x.cols + kColumns - 1) / kColumns, launch, [&](int64_t k) {
        const int64_t c = k * kColumns;
        columns_any(x.as<T>() + c, x.row_stride, y.as<T>() + c, y.row_stride, x.rows,
                    std::min(kColumns, x.cols - c), r + c, g ? g + c : nullptr, g_all, pg ? pg + c : nullptr,
                    gx.row_stride);
    });
}

template void correlation_columns(const View&, const View&, float*, const float*, double, const View&,
                                  const Launch&);
template void correlation_columns(const View&, const View&, double*, const double*, double, const View&,
                                  const Launch&);

}  // namespace bwlm::cpu
