// The contract of the native core, one block per operation: what it computes, its arguments as a plain struct
// with shapes and types, its workspace, and its twins cpu:: and cuda::. brainwavlm_fast/reference.py defines
// each in float64; kernels.py (NumPy, CuPy) and ops.py (torch) call them through bindings.cpp, which checks.
//
// For every operation:
//   Layout     Matrices have contiguous columns (col_stride 1) and any row stride. Outputs are allocated by
//              the caller and overlap no input.
//   Types      All matrices of a call are float, or all are double, and lie on one device, unless said
//              otherwise. Sums are at least as exact as double sums over short runs of the matrices' type.
//   Optional   A matrix that is not given has data == nullptr.
//   Order      Sums have a fixed order: results do not depend on the number of threads and are the same from
//              run to run. (On the CPU, the last bit of a long row's gradient may depend on its alignment.)
//   Launch     CUDA twins run on the caller's stream and do not synchronize.
#pragma once

#include <cstdint>

#include "core.h"

namespace bwlm {

// How to run: each twin reads its own field.
struct Launch {
    int num_threads = 0;        // CPU threads, 0: OpenMP's default
    std::uintptr_t stream = 0;  // cudaStream_t
};

// ---- correlation -----------------------------------------------------------------------------------------
// Pearson correlation r of x and y, and its gradient for x, gx = sum_i g_i dr_i/dx, in one call.
//   axis 1: n = rows, across the columns of each row.   axis 0: n = cols, across the rows of each column.
// Population moments, no cancellation. r = 0 with zero gradient where x or y is constant to rounding. A NaN
// stays in its row (column): r and gx are NaN there and nowhere else. With weights, r is the weighted
// correlation; a column of weight 0 does not count even where it is NaN.
// Workspace: CPU, the sums of a block of columns on each thread's stack; CUDA, of rows `workspace`.
struct CorrelationArgs {
    View x, y;     // (rows, cols)
    int axis = 1;  // 0 or 1
    View weights;  // (1, cols), optional, for axis 1 only: finite, at least 0
    View r;        // (1, n), output
    View g;        // (1, n), optional: without it g_i = g_all for every i
    double g_all = 0;
    View gx;         // (rows, cols), optional output
    View workspace;  // (correlation_workspace(), 6), double, overwritten; the CPU needs no row of it
    bool summed =
        false;  // the workspace is that of an earlier call with this x, y and weights: not summed anew
};
namespace cpu {
void correlation(const CorrelationArgs&, const Launch&);
}
namespace cuda {
int64_t correlation_workspace(int64_t rows, int64_t cols, int axis);
void correlation(const CorrelationArgs&, const Launch&);
}  // namespace cuda

// ---- delay_stack -----------------------------------------------------------------------------------------
// FIR stack: out[t, k * cols + f] = z[context + t - delays[k], f] where that row lies in the run of row
// context + t, else 0; rows after x's last belong to the last run. z is x or, with moments, x z-scored over
// each run: (x - mean) / sqrt(variance + eps), population variance.
// Workspace: CPU, the sums of a block of columns on each thread's stack; CUDA, none.

// Delays and runs of a stack, in host memory on either device. The first `context` rows of x, all of the
// first run, are seen by later rows and have no row in the stack: its row 0 is row `context` of x.
struct Delays {
    const int64_t* delays = nullptr;  // (n_delays,) distinct, in rows; at most 64 on a GPU
    int64_t n_delays = 0;
    const int64_t* run_onsets = nullptr;  // (n_runs,) rising, run_onsets[0] == 0
    int64_t n_runs = 0;
    int64_t context = 0;
};
struct DelayStackArgs {
    View x;  // (rows, cols)
    Delays delays;
    View out;        // (n_trs, n_delays * cols), output, any n_trs
    View moments;    // (2 * n_runs, cols), optional output: each run's mean and 1 / sqrt(variance + eps)
    double eps = 0;  // for the z-score
};
namespace cpu {
void delay_stack(const DelayStackArgs&, const Launch&);
}
namespace cuda {
void delay_stack(const DelayStackArgs&, const Launch&);
}

// ---- delay_stack_backward --------------------------------------------------------------------------------
// Gradient of delay_stack for x: gz[s, f] = sum_k g_out[s + delays[k] - context, k * cols + f] over the rows
// of the stack in the run of s; gx = gz or, with moments, gx = scale (gz - mean(gz) - z mean(gz z)) over
// each run.
// Workspace: CPU, the sums of a block of columns on each thread's stack; CUDA, none.
struct DelayStackBackwardArgs {
    View g_out;  // (n_trs, n_delays * cols)
    Delays delays;
    View gx;          // (rows, cols), output
    View x, moments;  // (rows, cols), (2 * n_runs, cols), optional: the forward's, if it z-scored
};
namespace cpu {
void delay_stack_backward(const DelayStackBackwardArgs&, const Launch&);
}
namespace cuda {
void delay_stack_backward(const DelayStackBackwardArgs&, const Launch&);
}

// ---- ridge_moments ---------------------------------------------------------------------------------------
// Moments of held-out ridge predictions for every penalty i and target t, sums over the rank k, in one pass
// over four matrices (brainwavlm_fast/ridge/sweep.py derives them):
//   covariance = sum_k shrink_ik held_kt train_kt
//   variance   = sum_k shrink_ik^2 train_kt close_kt + 2 sum_k (shrink_ik - shift_i) train_kt divided_kt
//   scale      = sum_k shrink_ik^2 train_kt^2 diagonal_k
// Workspace: CPU, the sums of 16 penalties and 64 targets on each thread's stack; CUDA, none.
struct RidgeMomentsArgs {
    View held_cross, train_cross;      // (rank, n_targets) cross products with the targets, in the basis
    View divided_cross, close_cross;   // (rank, n_targets) train_cross times the divided and close Gram
    View shrink;                       // (n_penalties, rank), double: 1 / (eigenvalue + penalty)
    View shift;                        // (1, n_penalties), double: near the bulk of shrink
    View diagonal;                     // (1, rank), double: of the held-out Gram matrix, in the basis
    View covariance, variance, scale;  // (n_penalties, n_targets), double, outputs
};
namespace cpu {
void ridge_moments(const RidgeMomentsArgs&, const Launch&);
}
namespace cuda {
void ridge_moments(const RidgeMomentsArgs&, const Launch&);
}

// ---- what was built and what is here ---------------------------------------------------------------------
namespace cpu {
int max_threads();
const char* simd_level();  // "baseline", "avx2" or "avx512": the copies of hot functions that run
}  // namespace cpu
namespace cuda {
bool built();
int device_count();
}  // namespace cuda

}  // namespace bwlm
