// Shared by the CUDA sources: launches and block reductions.
#pragma once

#include <cuda_runtime.h>

#include <string>

#include "ops.h"  // declares what each source defines

namespace bwlm::cuda {

inline cudaStream_t stream_of(const Launch& launch) { return reinterpret_cast<cudaStream_t>(launch.stream); }

// After a launch: configuration errors only, nothing synchronizes.
inline void check_launch(const char* name) {
    const cudaError_t status = cudaGetLastError();
    if (status != cudaSuccess)
        throw std::runtime_error(std::string(name) + ": CUDA launch failed: " + cudaGetErrorString(status));
}

// Blocks of `threads` with one thread per element.
inline unsigned blocks_for(int64_t n, int64_t threads) {
    return static_cast<unsigned>((n + threads - 1) / threads);
}

// The sum over a block of threads, in a fixed order, for every thread.
template <int kThreads>
__device__ double block_sum(double value) {
    __shared__ double shared[kThreads / 32];
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_down_sync(0xffffffffu, value, offset);
    __syncthreads();
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
    __syncthreads();
    double total = 0;
    for (int w = 0; w < kThreads / 32; ++w) total += shared[w];
    return total;
}

// Blocks whose threads share columns: threadIdx.x is the column, threadIdx.y the lane, which takes every
// kLanes-th row. Blocks are dim3(kColumns, kLanes).
constexpr int kColumns = 32, kLanes = 8;

// The sum over a column's lanes, in a fixed order, for every thread.
__device__ inline double lane_sum(double value) {
    __shared__ double shared[kLanes][kColumns];
    __syncthreads();
    shared[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    double total = 0;
    for (int lane = 0; lane < kLanes; ++lane) total += shared[lane][threadIdx.x];
    return total;
}

}  // namespace bwlm::cuda
