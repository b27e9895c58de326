// Pearson correlation and its gradient on the CPU. Two passes over data that is still in cache for the
// second: a row at a time across columns (axis 1), a block of columns at a time across rows (axis 0).
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "cpu/simd.h"
#include "cpu/stream.h"
#include "cpu/threads.h"
#include "ops.h"

namespace bwlm::cpu {
namespace {

constexpr int64_t kStretch = 4096;  // elements of a row whose two passes stay in the first-level cache
constexpr int64_t kColumns = 128;  // columns of a block along axis 0: 300 rows stay in the second-level cache
constexpr int64_t kFlush = 32;     // rows summed in the input's type before a flush to double

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

// 64 bytes of T as one value: one register at AVX-512, two or four below.
template <typename T>
struct Vec {
    typedef T type __attribute__((vector_size(64)));
    static constexpr int64_t width = 64 / static_cast<int64_t>(sizeof(T));
    BWLM_INLINE static type load(const T* from) {
        type v;
        std::memcpy(&v, from, sizeof(v));
        return v;
    }
    BWLM_INLINE static void add(const type& v, double* sums) {
        T lanes[width];
        std::memcpy(lanes, &v, sizeof(v));
        for (int64_t l = 0; l < width; ++l) sums[l] += static_cast<double>(lanes[l]);
    }
    BWLM_INLINE static double sum(const type& v) {
        double total = 0;
        for (int64_t l = 0; l < width; ++l) total += static_cast<double>(v[l]);
        return total;
    }
};

// One T with the same face, for what is left over.
template <typename T>
struct One {
    using type = T;
    BWLM_INLINE static T load(const T* from) { return *from; }
    BWLM_INLINE static void add(const T& v, double* sums) { *sums += static_cast<double>(v); }
};

// Centred sums of a stretch that stays in the first-level cache between its two passes.
template <typename T>
BWLM_INLINE Moments stretch_moments(const T* x, const T* y, int64_t n) {
    using V = Vec<T>;
    using Value = typename V::type;
    constexpr int64_t w = V::width;
    const int64_t whole = n / (2 * w) * (2 * w);
    Value sx0{}, sx1{}, sy0{}, sy1{};
    for (int64_t k = 0; k < whole; k += 2 * w) {
        sx0 += V::load(x + k);
        sx1 += V::load(x + k + w);
        sy0 += V::load(y + k);
        sy1 += V::load(y + k + w);
    }
    double total_x = V::sum(sx0 + sx1), total_y = V::sum(sy0 + sy1);
    for (int64_t k = whole; k < n; ++k) {
        total_x += static_cast<double>(x[k]);
        total_y += static_cast<double>(y[k]);
    }
    // The first pass is only as exact as T; the second measures what its mean missed and corrects for it.
    const T mx = static_cast<T>(total_x / n), my = static_cast<T>(total_y / n);
    Value dx0{}, dx1{}, dy0{}, dy1{}, xx0{}, xx1{}, yy0{}, yy1{}, xy0{}, xy1{};
    for (int64_t k = 0; k < whole; k += 2 * w) {
        const Value u0 = V::load(x + k) - mx, v0 = V::load(y + k) - my;
        const Value u1 = V::load(x + k + w) - mx, v1 = V::load(y + k + w) - my;
        dx0 += u0;
        dx1 += u1;
        dy0 += v0;
        dy1 += v1;
        xx0 += u0 * u0;
        xx1 += u1 * u1;
        yy0 += v0 * v0;
        yy1 += v1 * v1;
        xy0 += u0 * v0;
        xy1 += u1 * v1;
    }
    double sum_dx = V::sum(dx0 + dx1), sum_dy = V::sum(dy0 + dy1);
    Moments m{0, 0, V::sum(xx0 + xx1), V::sum(yy0 + yy1), V::sum(xy0 + xy1)};
    for (int64_t k = whole; k < n; ++k) {
        const double u = x[k] - mx, v = y[k] - my;
        sum_dx += u;
        sum_dy += v;
        m.xx += u * u;
        m.yy += v * v;
        m.xy += u * v;
    }
    const double ex = sum_dx / n, ey = sum_dy / n;
    return {mx + ex, my + ey, m.xx - n * ex * ex, m.yy - n * ey * ey, m.xy - n * ex * ey};
}

// A row, read from memory once: stretches are joined by their means, which cancels nothing.
template <typename T>
BWLM_INLINE Moments row_moments(const T* x, const T* y, int64_t n) {
    Moments all = stretch_moments(x, y, std::min(kStretch, n));
    for (int64_t start = kStretch; start < n; start += kStretch) {
        const int64_t width = std::min(kStretch, n - start);
        const Moments m = stretch_moments(x + start, y + start, width);
        const double before = static_cast<double>(start), now = static_cast<double>(width);
        const double dx = m.mean_x - all.mean_x, dy = m.mean_y - all.mean_y;
        const double share = now / (before + now), factor = before * share;
        all.mean_x += dx * share;
        all.mean_y += dy * share;
        all.xx += m.xx + dx * dx * factor;
        all.yy += m.yy + dy * dy * factor;
        all.xy += m.xy + dx * dy * factor;
    }
    return all;
}

constexpr int64_t kStreamed = 16384;  // elements of a row from which its gradient is written past the cache

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
    int64_t k = 0;
    if (n >=
        kStreamed) {  // too much to be in cache when it is used: written past the cache, a line at a time
        using V = Vec<T>;
        for (; !aligned(gx + k); ++k) gx[k] = a * (y[k] - my) - b * (x[k] - mx);
        for (; k + V::width <= n; k += V::width) {
            const typename V::type line = a * (V::load(y + k) - my) - b * (V::load(x + k) - mx);
            stream_line(&line, gx + k);
        }
    }
    for (; k < n; ++k) gx[k] = a * (y[k] - my) - b * (x[k] - mx);
}

// Adds what a few rows summed up in T to sums in double.
template <typename T>
BWLM_INLINE void flush(const T* few, double* sums, int64_t width) {
    for (int64_t c = 0; c < width; ++c) sums[c] += static_cast<double>(few[c]);
}

// Adds the centred sums of a few rows of neighbouring columns, held in registers, to sums in double.
template <typename V, typename T>
BWLM_INLINE void centred_sums(const T* x, int64_t xs, const T* y, int64_t ys, int64_t start, int64_t stop,
                              const T* mx, const T* my, double* ex, double* ey, double* xx, double* yy,
                              double* xy) {
    const typename V::type mean_x = V::load(mx), mean_y = V::load(my);
    typename V::type dx{}, dy{}, sxx{}, syy{}, sxy{};
    for (int64_t t = start; t < stop; ++t) {
        const typename V::type u = V::load(x + t * xs) - mean_x, v = V::load(y + t * ys) - mean_y;
        dx += u;
        dy += v;
        sxx += u * u;
        syy += v * v;
        sxy += u * v;
    }
    V::add(dx, ex);
    V::add(dy, ey);
    V::add(sxx, xx);
    V::add(syy, yy);
    V::add(sxy, xy);
}

// Columns [0, width) of a block: x and y point at its first element. While the second pass works in the
// cache, the next block, `ahead` columns wide, is fetched from memory.
template <typename T>
BWLM_INLINE void columns(const T* x, int64_t xs, const T* y, int64_t ys, int64_t n, int64_t width,
                         int64_t ahead, T* r, const T* g, double g_all, T* gx, int64_t gs) {
    double mean_x[kColumns] = {}, mean_y[kColumns] = {}, ex[kColumns] = {}, ey[kColumns] = {};
    double xx[kColumns] = {}, yy[kColumns] = {}, xy[kColumns] = {};
    for (int64_t start = 0; start < n; start += kFlush) {
        T sx[kColumns] = {}, sy[kColumns] = {};
        for (int64_t t = start; t < std::min(start + kFlush, n); ++t)
            for (int64_t c = 0; c < width; ++c) {
                sx[c] += x[t * xs + c];
                sy[c] += y[t * ys + c];
            }
        flush(sx, mean_x, width);
        flush(sy, mean_y, width);
    }
    T mx[kColumns], my[kColumns];
    for (int64_t c = 0; c < width; ++c) {
        mx[c] = static_cast<T>(mean_x[c] / static_cast<double>(n));
        my[c] = static_cast<T>(mean_y[c] / static_cast<double>(n));
    }
    constexpr int64_t w = Vec<T>::width;
    const int64_t whole = width / w * w;
    for (int64_t start = 0; start < n; start += kFlush) {
        const int64_t stop = std::min(start + kFlush, n);
        for (int64_t t = start; t < stop; ++t)
            for (int64_t c = 0; c < ahead; c += w) {
                __builtin_prefetch(x + t * xs + width + c, 0, 2);
                __builtin_prefetch(y + t * ys + width + c, 0, 2);
            }
        for (int64_t c = 0; c < whole; c += w)
            centred_sums<Vec<T>>(x + c, xs, y + c, ys, start, stop, mx + c, my + c, ex + c, ey + c, xx + c,
                                 yy + c, xy + c);
        for (int64_t c = whole; c < width; ++c)
            centred_sums<One<T>>(x + c, xs, y + c, ys, start, stop, mx + c, my + c, ex + c, ey + c, xx + c,
                                 yy + c, xy + c);
    }
    // The means were only as exact as T: what they missed is known now, and taken out.
    const double count = static_cast<double>(n);
    for (int64_t c = 0; c < width; ++c) {
        const double u = ex[c] / count, v = ey[c] / count;
        mean_x[c] = static_cast<double>(mx[c]) + u;
        mean_y[c] = static_cast<double>(my[c]) + v;
        xx[c] -= count * u * u;
        yy[c] -= count * v * v;
        xy[c] -= count * u * v;
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
                             int64_t ahead, float* r, const float* g, double g_all, float* gx, int64_t gs) {
    columns(x, xs, y, ys, n, width, ahead, r, g, g_all, gx, gs);
}
BWLM_CLONES void columns_any(const double* x, int64_t xs, const double* y, int64_t ys, int64_t n,
                             int64_t width, int64_t ahead, double* r, const double* g, double g_all,
                             double* gx, int64_t gs) {
    columns(x, xs, y, ys, n, width, ahead, r, g, g_all, gx, gs);
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
            stream_end();
        });
        return;
    }
    constexpr int64_t strip = 8 * kColumns;
    for_each_piece((x.cols + strip - 1) / strip, launch, [&](int64_t k) {
        const int64_t end = std::min((k + 1) * strip, x.cols);
        for (int64_t c = k * strip; c < end; c += kColumns) {
            const int64_t width = std::min(kColumns, end - c), ahead = std::min(kColumns, end - c - width);
            columns_any(px + c, x.row_stride, py + c, y.row_stride, x.rows, width, ahead, r + c,
                        g ? g + c : nullptr, g_all, pg ? pg + c : nullptr, gx.row_stride);
        }
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
