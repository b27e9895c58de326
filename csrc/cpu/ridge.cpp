// The ridge sweep's epilogue on the CPU: one read of four matrices serves every penalty. Sums run in the
// input's type over a few rows at a time and are flushed to double, so that float32 loses nothing over
// thousands of rows.
#include <algorithm>

#include "cpu/simd.h"
#include "cpu/threads.h"
#include "ops.h"

namespace bwlm::cpu {
namespace {

constexpr int64_t kTargets = 64;    // targets of a piece of work
constexpr int64_t kPenalties = 16;  // penalties whose sums are held at once: 12 KB of float
constexpr int64_t kFlush = 128;     // rows between flushes to double

// The rows [first, last) of a, b, e, mb from target `start` on, for penalties [i0, i0 + n), into sums.
template <typename T>
struct Piece {
    const View &a, &b, &e, &mb;
    const RidgeBasis& basis;
    int64_t start, width;
};

template <typename T>
BWLM_INLINE void sum_rows(const Piece<T>& p, int64_t first, int64_t last, int64_t i0, int64_t n,
                          T (*covariance)[kTargets], T (*variance)[kTargets], T (*scale)[kTargets]) {
    for (int64_t k = first; k < last; ++k) {
        const T* a = p.a.template as<T>() + k * p.a.row_stride + p.start;
        const T* b = p.b.template as<T>() + k * p.b.row_stride + p.start;
        const T* e = p.e.template as<T>() + k * p.e.row_stride + p.start;
        const T* mb = p.mb.template as<T>() + k * p.mb.row_stride + p.start;
        T ab[kTargets], bm[kTargets], be[kTargets], bb[kTargets];
        const T diagonal = static_cast<T>(p.basis.diagonal[k]);
        for (int64_t c = 0; c < p.width; ++c) {
            ab[c] = a[c] * b[c];
            bm[c] = b[c] * mb[c];
            be[c] = b[c] * e[c];
            bb[c] = b[c] * b[c] * diagonal;
        }
        for (int64_t i = 0; i < n; ++i) {
            const double shrink = p.basis.shrink[(i0 + i) * p.b.rows + k];
            const T d = static_cast<T>(shrink), dd = static_cast<T>(shrink * shrink);
            const T s = static_cast<T>(2 * (shrink - p.basis.shift[i0 + i]));
            for (int64_t c = 0; c < p.width; ++c) {
                covariance[i][c] += d * ab[c];
                variance[i][c] += dd * bm[c] + s * be[c];
                scale[i][c] += dd * bb[c];
            }
        }
    }
}

template <typename T>
BWLM_INLINE void piece(const Piece<T>& p, const View& covariance, const View& variance, const View& scale) {
    const View* outs[3] = {&covariance, &variance, &scale};
    for (int64_t i0 = 0; i0 < p.basis.n_penalties; i0 += kPenalties) {
        const int64_t n = std::min(kPenalties, p.basis.n_penalties - i0);
        for (const View* out : outs)
            for (int64_t i = 0; i < n; ++i) {
                double* row = out->as<double>() + (i0 + i) * out->row_stride + p.start;
                std::fill(row, row + p.width, 0.0);
            }
        for (int64_t first = 0; first < p.b.rows; first += kFlush) {
            T sums[3][kPenalties][kTargets] = {};
            sum_rows<T>(p, first, std::min(first + kFlush, p.b.rows), i0, n, sums[0], sums[1], sums[2]);
            for (int64_t o = 0; o < 3; ++o)
                for (int64_t i = 0; i < n; ++i) {
                    double* row = outs[o]->as<double>() + (i0 + i) * outs[o]->row_stride + p.start;
                    for (int64_t c = 0; c < p.width; ++c) row[c] += static_cast<double>(sums[o][i][c]);
                }
        }
    }
}

BWLM_CLONES void piece_any(const Piece<float>& p, const View& covariance, const View& variance,
                           const View& scale) {
    piece<float>(p, covariance, variance, scale);
}
BWLM_CLONES void piece_any(const Piece<double>& p, const View& covariance, const View& variance,
                           const View& scale) {
    piece<double>(p, covariance, variance, scale);
}

template <typename T>
void moments(const View& a, const View& b, const View& e, const View& mb, const RidgeBasis& basis,
             const View& covariance, const View& variance, const View& scale, const Launch& launch) {
    for_each_piece((b.cols + kTargets - 1) / kTargets, launch, [&](int64_t k) {
        const int64_t start = k * kTargets;
        piece_any(Piece<T>{a, b, e, mb, basis, start, std::min(kTargets, b.cols - start)}, covariance,
                  variance, scale);
    });
}

}  // namespace

void ridge_moments(const View& a, const View& b, const View& e, const View& mb, const RidgeBasis& basis,
                   const View& covariance, const View& variance, const View& scale, const Launch& launch) {
    (b.dtype == DType::f32 ? moments<float> : moments<double>)(a, b, e, mb, basis, covariance, variance,
                                                               scale, launch);
}

}  // namespace bwlm::cpu
