// Work split over threads in fixed pieces: the same pieces whatever the number of threads, so results do not
// depend on it.
#pragma once

#include <algorithm>
#include <cstdint>

#if defined(__SANITIZE_THREAD__)
#include <atomic>
#include <thread>
#include <vector>
#elif defined(_OPENMP)
#include <omp.h>
#endif

#include "ops.h"

namespace bwlm::cpu {

// Under the thread sanitizer plain threads take the pieces: it cannot see into GCC's OpenMP.
template <typename Piece>
void for_each_piece(int64_t n_pieces, const Launch& launch, Piece&& piece) {
#if defined(__SANITIZE_THREAD__)
    std::atomic<int64_t> next{0};
    std::vector<std::thread> threads;
    for (int n = 0; n < launch.num_threads; ++n)
        threads.emplace_back([&] {
            for (int64_t k = next++; k < n_pieces; k = next++) piece(k);
        });
    for (std::thread& thread : threads) thread.join();
    return;
#elif defined(_OPENMP)
    const int threads = launch.num_threads > 0 ? launch.num_threads : omp_get_max_threads();
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1 && n_pieces > 1)
#endif
    for (int64_t k = 0; k < n_pieces; ++k) piece(k);
    (void)launch;
}

// Columns [column, column + width) of a matrix, a piece of work: body(column, width).
template <typename Body>
void for_each_column_block(int64_t n_columns, int64_t block, const Launch& launch, Body&& body) {
    for_each_piece((n_columns + block - 1) / block, launch,
                   [&](int64_t k) { body(k * block, std::min(block, n_columns - k * block)); });
}

}  // namespace bwlm::cpu
