// Pearson correlation and its gradient on the CPU, across the columns of each row: a row is read from memory
// once, in chunks that stay in cache for their second pass.
#include <algorithm>
#include <limits>

#include "cpu/correlation_columns.h"
#include "cpu/correlation_scaled.h"
#include "cpu/simd.h"
#include "cpu/stream.h"
#include "cpu/threads.h"
#include "cpu/vec.h"
#include "pearson.h"

namespace bwlm::cpu {
namespace {

constexpr int64_t kChunk = 4096;      // elements of a row whose two passes stay in the first-level cache
constexpr int64_t kStreamed = 16384;  // elements of a row from which its gradient takes non-temporal stores

// Moments of values, and what the values weigh together: each 1, or its weight.
struct WeightedMoments {
    Moments m;
    double n;
};

// A value counts unless its weight is 0: then even a NaN does not.
template <typename V>
BWLM_INLINE V counted(const V& value, const V& weight) {
    return weight != 0 ? value : V{};
}

// Sums over one vector (or element) of both rows after another: of the values, then around mx and my.
template <bool kWeighted, typename V>
struct Sums {
    typename V::type x{}, y{}, xx{}, yy{}, xy{}, n{};
    template <typename T>
    BWLM_INLINE void add_values(const T* px, const T* py, const T* pw) {
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
    BWLM_INLINE void add_centered(const T* px, const T* py, const T* pw, T mx, T my) {
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

// Centered sums of a chunk that stays in the first-level cache between its two passes.
template <bool kWeighted, typename T>
BWLM_INLINE WeightedMoments chunk_moments(const T* x, const T* y, const T* w, int64_t n) {
    using V = Vec<T>;
    constexpr int64_t step = V::width;
    const int64_t pairs_end = n / (2 * step) * (2 * step);
    Sums<kWeighted, V> even, odd;
    Sums<kWeighted, Scalar<double>> rest;
    for (int64_t k = 0; k < pairs_end; k += 2 * step) {
        even.add_values(x + k, y + k, w + k);
        odd.add_values(x + k + step, y + k + step, w + k + step);
    }
    even.add(odd);
    for (int64_t k = pairs_end; k < n; ++k) {
        const double values[3] = {x[k], y[k], kWeighted ? w[k] : T(1)};
        rest.add_values(values, values + 1, values + 2);
    }
    const double count = kWeighted ? V::sum(even.n) + rest.n : static_cast<double>(n);
    if (count == 0) return {{0, 0, 0, 0, 0}, 0};
    // The first pass is only as exact as T; the second measures what its mean missed and corrects for it.
    const T mx = static_cast<T>((V::sum(even.x) + rest.x) / count);
    const T my = static_cast<T>((V::sum(even.y) + rest.y) / count);
    Sums<kWeighted, V> even_centered, odd_centered;
    Sums<kWeighted, Scalar<double>> rest_centered;
    for (int64_t k = 0; k < pairs_end; k += 2 * step) {
        even_centered.add_centered(x + k, y + k, w + k, mx, my);
        odd_centered.add_centered(x + k + step, y + k + step, w + k + step, mx, my);
    }
    even_centered.add(odd_centered);
    for (int64_t k = pairs_end; k < n; ++k) {
        const double values[3] = {x[k], y[k], kWeighted ? w[k] : T(1)};
        rest_centered.add_centered(values, values + 1, values + 2, static_cast<double>(mx),
                                   static_cast<double>(my));
    }
    const Sums<kWeighted, V>& all = even_centered;
    const double ex = (V::sum(all.x) + rest_centered.x) / count;
    const double ey = (V::sum(all.y) + rest_centered.y) / count;
    return {{mx + ex, my + ey, V::sum(all.xx) + rest_centered.xx - count * ex * ex,
             V::sum(all.yy) + rest_centered.yy - count * ey * ey,
             V::sum(all.xy) + rest_centered.xy - count * ex * ey},
            count};
}

// A row, read from memory once: chunks are joined by their means, which cancels nothing.
template <bool kWeighted, typename T>
BWLM_INLINE WeightedMoments row_moments(const T* x, const T* y, const T* w, int64_t n) {
    WeightedMoments all{{0, 0, 0, 0, 0}, 0};
    for (int64_t start = 0; start < n; start += kChunk) {
        const WeightedMoments now = chunk_moments<kWeighted>(x + start, y + start, kWeighted ? w + start : w,
                                                             std::min(kChunk, n - start));
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

// gx = w (a (y - my) - b (x - mx)), with the gradient of r already in a and b.
template <bool kWeighted, typename V, typename T>
BWLM_INLINE typename V::type slope(const T* x, const T* y, const T* w, T a, T b, T mx, T my) {
    const typename V::type value = a * (V::load(y) - my) - b * (V::load(x) - mx);
    if constexpr (kWeighted) return V::load(w) * counted(value, V::load(w));
    return value;
}

template <bool kWeighted, typename T>
BWLM_INLINE void correlate_row(const CorrelationArgs& args, int64_t t) {
    const T *x = args.x.row<T>(t), *y = args.y.row<T>(t), *w = kWeighted ? args.weights.as<T>() : x;
    const int64_t n = args.x.cols;
    const WeightedMoments moments = row_moments<kWeighted>(x, y, w, n);
    const double g = args.g.data ? static_cast<double>(args.g.as<T>()[t]) : args.g_all;
    if (is_extreme<T>(moments.m, moments.n)) {
        const Line<T> written{args.gx.data ? args.gx.row<T>(t) : nullptr, 1};
        return correlate_scaled<T>({x, 1}, {y, 1}, args.weights.as<T>(), n, g, args.r.as<T>() + t, written);
    }
    const Correlation out = correlation_of(moments.m, moments.n, std::numeric_limits<T>::epsilon());
    args.r.as<T>()[t] = static_cast<T>(out.r);
    if (!args.gx.data) return;
    T* gx = args.gx.row<T>(t);
    const T a = static_cast<T>(g * out.a), b = static_cast<T>(g * out.b);
    const T mx = static_cast<T>(moments.m.mean_x), my = static_cast<T>(moments.m.mean_y);
    const auto store_element = [&](int64_t k) {
        gx[k] = slope<kWeighted, Scalar<T>>(x + k, y + k, w + k, a, b, mx, my);
    };
    int64_t k = 0;
    if (n >= kStreamed) {  // too much to be in cache when it is used
        for (; !is_aligned(gx + k); ++k) store_element(k);
        constexpr int64_t step = Vec<T>::width;
        for (; k + 2 * step <= n; k += 2 * step) {
            const typename Vec<T>::type line[2] = {
                slope<kWeighted, Vec<T>>(x + k, y + k, w + k, a, b, mx, my),
                slope<kWeighted, Vec<T>>(x + k + step, y + k + step, w + k + step, a, b, mx, my)};
            static_assert(sizeof(line) == kLineBytes, "two vectors are a line");
            stream_line(line, gx + k);
        }
    }
    for (; k < n; ++k) store_element(k);
    stream_end();
}

BWLM_CLONES void row_f32(const CorrelationArgs& args, int64_t t) { correlate_row<false, float>(args, t); }
BWLM_CLONES void row_f64(const CorrelationArgs& args, int64_t t) { correlate_row<false, double>(args, t); }
BWLM_CLONES void weighted_row_f32(const CorrelationArgs& args, int64_t t) {
    correlate_row<true, float>(args, t);
}
BWLM_CLONES void weighted_row_f64(const CorrelationArgs& args, int64_t t) {
    correlate_row<true, double>(args, t);
}

}  // namespace

void correlation(const CorrelationArgs& args, const Launch& launch) {
    if (args.axis == 0) return correlation_columns(args, launch);
    const bool single = args.x.dtype == DType::f32;
    const auto row =
        args.weights.data ? (single ? weighted_row_f32 : weighted_row_f64) : (single ? row_f32 : row_f64);
    for_each_piece(args.x.rows, launch, [&](int64_t t) { row(args, t); });
}

}  // namespace bwlm::cpu
