// The contract: every operation once. cpu:: and cuda:: hold twins with the same signature and meaning;
// brainwavlm_fast/reference.py holds the definition. Outputs are allocated by the caller.
#pragma once

#include <cstdint>

#include "core.h"

namespace bwlm {

// Options that only one side needs: num_threads on the CPU, the caller's stream on the GPU.
struct Launch {
    int num_threads = 0;        // 0: OpenMP's default
    std::uintptr_t stream = 0;  // cudaStream_t
};

// Delays of an FIR stack and the first rows of runs, both host memory. The first run starts at row 0. The
// first `context` rows, of the first run, are there to be looked back at: the stack's row 0 is row `context`.
struct Delays {
    const int64_t* delays = nullptr;  // (n_delays,) distinct, in rows
    int64_t n_delays = 0;
    const int64_t* run_onsets = nullptr;  // (n_runs,) rising, run_onsets[0] == 0
    int64_t n_runs = 0;
    int64_t context = 0;
};

// A training Gram matrix's eigenbasis for the ridge sweep, all double, in the memory of the other arrays.
struct RidgeBasis {
    const double* shrink = nullptr;    // (n_penalties, rank): 1 / (eigenvalue + penalty)
    const double* shift = nullptr;     // (n_penalties,): near the bulk of shrink, against cancellation
    const double* diagonal = nullptr;  // (rank,): of the held-out Gram matrix in the basis
    int64_t n_penalties = 0;
};

// Pearson correlation of x and y, both (rows, cols) with unit col_stride, and its gradient, in one call.
//   axis 1: r (rows,), across the columns of each row.   axis 0: r (cols,), across the rows of each column.
//   gx (rows, cols), optional (data == nullptr: not wanted): sum_i g_i dr_i/dx, with g of r's length, or
//   g = g_all for every i when g is nullptr.
// weights (cols,), with axis 1 only, nullptr for none: what each column counts, finite and at least 0; a
// column of weight 0 does not count even where it is NaN. r is then the weighted correlation, and gx its
// gradient. Population moments, no cancellation. r = 0 with zero gradient where x or y is constant to
// rounding. A NaN stays in its own row (column): r and gx there are NaN, no other is touched.
namespace cpu {
void correlation(const View& x, const View& y, int axis, const void* weights, void* r, const void* g,
                 double g_all, const View& gx, const Launch&);
void delay_stack(const View& x, const Delays&, const View& out, const View& moments, double eps,
                 const Launch&);
void delay_stack_backward(const View& g_out, const Delays&, const View& gx, const View& x,
                          const View& moments, const Launch&);
// Held-out moments of ridge predictions for every penalty i and target t, from a, b, e, mb (rank, n_targets)
// of one type (reference.ridge_moments says what they are); outputs (n_penalties, n_targets), double:
//   covariance = sum_k d_ik a_kt b_kt
//   variance   = sum_k d_ik^2 b_kt mb_kt + 2 sum_k (d_ik - shift_i) b_kt e_kt
//   scale      = sum_k d_ik^2 b_kt^2 diagonal_k
void ridge_moments(const View& a, const View& b, const View& e, const View& mb, const RidgeBasis&,
                   const View& covariance, const View& variance, const View& scale, const Launch&);
int max_threads();
const char* simd_level();
}  // namespace cpu

// out (n_trs, n_delays * cols), delay-major: out[t - context, k * cols + f] = z[t - delays[k], f] within t's
// run, else 0; rows after x's last belong to the last run. z is x, or, when moments.data is not null, x
// z-scored over each run: (x - mean) / sqrt(variance + eps), with moments (2 * n_runs, cols) receiving each
// run's mean and 1 / sqrt(variance + eps). Backward: gz[t, f] = sum_k g_out[t + delays[k] - context, k * cols
// + f] over rows of t's run, and gx = gz, or through the z-score from the forward's x and moments.
namespace cuda {
bool built();
int device_count();
void correlation(const View& x, const View& y, int axis, const void* weights, void* r, const void* g,
                 double g_all, const View& gx, const Launch&);
void delay_stack(const View& x, const Delays&, const View& out, const View& moments, double eps,
                 const Launch&);
void delay_stack_backward(const View& g_out, const Delays&, const View& gx, const View& x,
                          const View& moments, const Launch&);
void ridge_moments(const View& a, const View& b, const View& e, const View& mb, const RidgeBasis&,
                   const View& covariance, const View& variance, const View& scale, const Launch&);
}  // namespace cuda

}  // namespace bwlm
