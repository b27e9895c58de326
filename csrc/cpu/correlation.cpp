// Pearson correlation and its gradient on the CPU, across the columns of each row: a row is read from memory
// once, in stretches that stay in cache for their second pass.
#include <algorithm>
#include <limits>

#include "cpu/pearson.h"
#include "cpu/stream.h"
#include "cpu/threads.h"
#include "cpu/vec.h"

namespace bwlm::cpu {
namespace {

constexpr int64_t kStretch = 4096;    // elements of a row whose two passes stay in the first-level cache
constexpr int64_t kStreamed = 16384;  // elements of a row from which its gradient is written past the cache

// Moments of values of one weight, or of weighted values, and how many there are (what they weigh).
struct Weighed {
    Moments m;
    double n;
};

// A value counts unless its weight is 0: then even a NaN does not.
template <typename V>
BWLM_INLINE V counted(const V& value, const V& weight) {
    return weight != 0 ? value : V{};
}

// One vector (or element) of both rows joins the sums around mx and my.
template <bool kWeighted, typename V>
struct Sums {
    typename V::type x{}, y{}, xx{}, yy{}, xy{}, n{};
    template <typename T>
    BWLM_INLINE void first(const T* px, const T* py, const T* pw) {
        if constexpr (kWeighted) {
            const typename V::type w = V::load(pw);
            n += w;
            x += w * counted(V::load(px), w);
            y += w * counted(V::load(py), w);
        } else {
            x += V::load(px);
            y += V::load(py);
        }
    }
    template <typename T>
    BWLM_INLINE void second(const T* px, const T* py, const T* pw, T mx, T my) {
        typename V::type u = V::load(px) - mx, v = V::load(py) - my;
        typename V::type wu = u, wv = v;
        if constexpr (kWeighted) {
            const typename V::type w = V::load(pw);
            u = counted(u, w);
            v = counted(v, w);
            wu = w * u;
            wv = w * v;
        }
        x += wu;
        y += wv;
        xx += wu * u;
        yy += wv * v;
        xy += wu * v;
    }
    BWLM_INLINE void add(const Sums& other) {
        x += other.x;
        y += other.y;
        xx += other.xx;
        yy += other.yy;
        xy += other.xy;
        n += other.n;
    }
};

// Centred sums of a stretch that stays in the first-level cache between its two passes.
template <bool kWeighted, typename T>
BWLM_INLINE Weighed stretch_moments(const T* x, const T* y, const T* w, int64_t n) {
    using V = Vec<T>;
    constexpr int64_t step = V::width;
    const int64_t whole = n / (2 * step) * (2 * step);
    Sums<kWeighted, V> even, odd;
    Sums<kWeighted, One<double>> rest;
    for (int64_t k = 0; k < whole; k += 2 * step) {
        even.first(x + k, y + k, w + k);
        odd.first(x + k + step, y + k + step, w + k + step);
    }
    even.add(odd);
    for (int64_t k = whole; k < n; ++k) {
        const double one[3] = {x[k], y[k], kWeighted ? w[k] : T(1)};
        rest.first(one, one + 1, one + 2);
    }
    const double count = kWeighted ? V::sum(even.n) + rest.n : static_cast<double>(n);
    if (count == 0) return {{0, 0, 0, 0, 0}, 0};
    // The first pass is only as exact as T; the second measures what its mean missed and corrects for it.
    const T mx = static_cast<T>((V::sum(even.x) + rest.x) / count);
    const T my = static_cast<T>((V::sum(even.y) + rest.y) / count);
    Sums<kWeighted, V> near, far;
    Sums<kWeighted, One<double>> last;
    for (int64_t k = 0; k < whole; k += 2 * step) {
        near.second(x + k, y + k, w + k, mx, my);
        far.second(x + k + step, y + k + step, w + k + step, mx, my);
    }
    near.add(far);
    for (int64_t k = whole; k < n; ++k) {
        const double one[3] = {x[k], y[k], kWeighted ? w[k] : T(1)};
        last.second(one, one + 1, one + 2, static_cast<double>(mx), static_cast<double>(my));
    }
    const double ex = (V::sum(near.x) + last.x) / count, ey = (V::sum(near.y) + last.y) / count;
    return {{mx + ex, my + ey, V::sum(near.xx) + last.xx - count * ex * ex,
             V::sum(near.yy) + last.yy - count * ey * ey, V::sum(near.xy) + last.xy - count * ex * ey},
            count};
}

// A row, read from memory once: stretches are joined by their means, which cancels nothing.
template <bool kWeighted, typename T>
BWLM_INLINE Weighed row_moments(const T* x, const T* y, const T* w, int64_t n) {
    Weighed all{{0, 0, 0, 0, 0}, 0};
    for (int64_t start = 0; start < n; start += kStretch) {
        const Weighed now = stretch_moments<kWeighted>(x + start, y + start, kWeighted ? w + start : w,
                                                       std::min(kStretch, n - start));
        if (now.n == 0) continue;
        if (all.n == 0) {
            all = now;
            continue;
        }
        const double dx = now.m.mean_x - all.m.mean_x, dy = now.m.mean_y - all.m.mean_y;
        const double share = now.n / (all.n + now.n), factor = all.n * share;
        all.m.mean_x += dx * share;
        all.m.mean_y += dy * share;
        all.m.xx += now.m.xx + dx * dx * factor;
        all.m.yy += now.m.yy + dy * dy * factor;
        all.m.xy += now.m.xy + dx * dy * factor;
        all.n += now.n;
    }
    return all;
}

// gx = w (a (y - my) - b (x - mx)), g and the weights' sum being in a and b.
template <bool kWeighted, typename V, typename T>
BWLM_INLINE typename V::type slope(const T* x, const T* y, const T* w, T a, T b, T mx, T my) {
    const typename V::type value = a * (V::load(y) - my) - b * (V::load(x) - mx);
    if constexpr (kWeighted) return V::load(w) * counted(value, V::load(w));
    return value;
}

template <bool kWeighted, typename T>
BWLM_INLINE void row(const T* x, const T* y, const T* w, int64_t n, T* r, double g, T* gx) {
    const Weighed found = row_moments<kWeighted>(x, y, w, n);
    const Result out =
        found.n == 0 ? Result{0, 0, 0} : finish(found.m, found.n, std::numeric_limits<T>::epsilon());
    *r = static_cast<T>(out.r);
    if (!gx) return;
    const T a = static_cast<T>(g * out.a), b = static_cast<T>(g * out.b);
    const T mx = static_cast<T>(found.m.mean_x), my = static_cast<T>(found.m.mean_y);
    const auto one = [&](int64_t k) { gx[k] = slope<kWeighted, One<T>>(x + k, y + k, w + k, a, b, mx, my); };
    int64_t k = 0;
    if (n >= kStreamed) {  // too much to be in cache when it is used: written past it, a line at a time
        for (; !aligned(gx + k); ++k) one(k);
        for (; k + Vec<T>::width <= n; k += Vec<T>::width) {
            const auto line = slope<kWeighted, Vec<T>>(x + k, y + k, w + k, a, b, mx, my);
            stream_line(&line, gx + k);
        }
    }
    for (; k < n; ++k) one(k);
}

BWLM_CLONES void row_any(const float* x, const float* y, int64_t n, float* r, double g, float* gx) {
    row<false>(x, y, x, n, r, g, gx);
}
BWLM_CLONES void row_any(const double* x, const double* y, int64_t n, double* r, double g, double* gx) {
    row<false>(x, y, x, n, r, g, gx);
}
BWLM_CLONES void weighted_row_any(const float* x, const float* y, const float* w, int64_t n, float* r,
                                  double g, float* gx) {
    row<true>(x, y, w, n, r, g, gx);
}
BWLM_CLONES void weighted_row_any(const double* x, const double* y, const double* w, int64_t n, double* r,
                                  double g, double* gx) {
    row<true>(x, y, w, n, r, g, gx);
}

template <typename T>
void correlation_rows(const View& x, const View& y, const T* w, T* r, const T* g, double g_all,
                      const View& gx, const Launch& launch) {
    for_each_piece(x.rows, launch, [&](int64_t t) {
        const T *px = x.as<T>() + t * x.row_stride, *py = y.as<T>() + t * y.row_stride;
        T* pg = gx.data ? gx.as<T>() + t * gx.row_stride : nullptr;
        const double scale = g ? static_cast<double>(g[t]) : g_all;
        if (w)
            weighted_row_any(px, py, w, x.cols, r + t, scale, pg);
        else
            row_any(px, py, x.cols, r + t, scale, pg);
        stream_end();
    });
}

template <typename T>
void correlation_of(const View& x, const View& y, int axis, const void* w, void* r, const void* g,
                    double g_all, const View& gx, const Launch& launch) {
    if (axis == 1)
        correlation_rows(x, y, static_cast<const T*>(w), static_cast<T*>(r), static_cast<const T*>(g), g_all,
                         gx, launch);
    else
        correlation_columns(x, y, static_cast<T*>(r), static_cast<const T*>(g), g_all, gx, launch);
}

}  // namespace

void correlation(const View& x, const View& y, int axis, const void* weights, void* r, const void* g,
                 double g_all, const View& gx, const Launch& launch) {
    (x.dtype == DType::f32 ? correlation_of<float> : correlation_of<double>)(x, y, axis, weights, r, g, g_all,
                                                                             gx, launch);
}

}  // namespace bwlm::cpu
