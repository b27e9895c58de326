// Pearson correlation along time, for each column, on the CPU: memory is read once, row after row, at the
// speed at which it is read at all.
#include "cpu/correlation_columns.h"

#include <algorithm>
#include <limits>

#include "cpu/correlation_scaled.h"
#include "cpu/simd.h"
#include "cpu/threads.h"
#include "cpu/vec.h"
#include "pearson.h"

namespace bwlm::cpu {
namespace {

constexpr int64_t kColumns = 1024;  // columns of a block: their sums stay in the second-level cache
constexpr int64_t kHead = 32;       // rows whose mean is the shift of the moments

// Columns [column, column + width). Moments are taken around the mean of the first kHead rows; how far that
// lies from the mean of all is known at the end and taken out. Its square is at most (n / kHead - 1)
// variances, whatever the data, so little can cancel.
template <typename T>
BWLM_INLINE void correlate_columns(const CorrelationArgs& args, int64_t column, int64_t width) {
    const T *x = args.x.as<T>() + column, *y = args.y.as<T>() + column;
    const int64_t xs = args.x.row_stride, ys = args.y.row_stride, n = args.x.rows, head = std::min(kHead, n);
    const T* g = args.g.data ? args.g.as<T>() + column : nullptr;
    T* r = args.r.as<T>() + column;
    double mean_x[kColumns] = {}, mean_y[kColumns] = {}, ex[kColumns] = {}, ey[kColumns] = {};
    double xx[kColumns] = {}, yy[kColumns] = {}, xy[kColumns] = {};
    for_each_tile<T>(head, width,
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
    for_each_tile<T>(
        n, width, [&](auto lanes, int64_t first, int64_t rows, int64_t c) __attribute__((always_inline)) {
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
    bool extreme[kColumns], any_extreme = false;
    for (int64_t c = 0; c < width; ++c) {
        const double u = ex[c] / count, v = ey[c] / count;
        mean_x[c] = static_cast<double>(mx[c]) + u;
        mean_y[c] = static_cast<double>(my[c]) + v;
        const Moments m{mean_x[c], mean_y[c], xx[c] - count * u * u, yy[c] - count * v * v,
                        xy[c] - count * u * v};
        extreme[c] = is_extreme<T>(m, count);
        any_extreme |= extreme[c];
        const Correlation out = correlation_of(m, count, std::numeric_limits<T>::epsilon());
        r[c] = static_cast<T>(out.r);
        const double scale = g ? static_cast<double>(g[c]) : args.g_all;
        a[c] = static_cast<T>(scale * out.a);
        b[c] = static_cast<T>(scale * out.b);
    }
    T* gx = args.gx.data ? args.gx.as<T>() + column : nullptr;
    const int64_t gs = args.gx.row_stride;
    for (int64_t t = 0; t < (gx ? n : 0); ++t)
        for (int64_t c = 0; c < width; ++c)
            gx[t * gs + c] = a[c] * static_cast<T>(y[t * ys + c] - mean_y[c]) -
                             b[c] * static_cast<T>(x[t * xs + c] - mean_x[c]);
    for (int64_t c = 0; any_extreme && c < width; ++c)
        if (extreme[c])
            correlate_scaled<T>({x + c, xs}, {y + c, ys}, nullptr, n,
                                g ? static_cast<double>(g[c]) : args.g_all, r + c,
                                {gx ? gx + c : nullptr, gs});
}

BWLM_CLONES void columns_f32(const CorrelationArgs& args, int64_t column, int64_t width) {
    correlate_columns<float>(args, column, width);
}
BWLM_CLONES void columns_f64(const CorrelationArgs& args, int64_t column, int64_t width) {
    correlate_columns<double>(args, column, width);
}

}  // namespace

void correlation_columns(const CorrelationArgs& args, const Launch& launch) {
    const auto columns = args.x.dtype == DType::f32 ? columns_f32 : columns_f64;
    for_each_column_block(args.x.cols, kColumns, launch,
                          [&](int64_t column, int64_t width) { columns(args, column, width); });
}

}  // namespace bwlm::cpu
