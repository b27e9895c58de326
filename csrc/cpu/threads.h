// Work split over threads in fixed pieces: the same pieces whatever the number of threads, so results do not
// depend on it.
#pragma once

#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "ops.h"

namespace bwlm::cpu {

template <typename Piece>
void for_each_piece(int64_t n_pieces, const Launch& launch, Piece&& piece) {
#ifdef _OPENMP
    const int threads = launch.num_threads > 0 ? launch.num_threads : omp_get_max_threads();
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1 && n_pieces > 1)
#endif
    for (int64_t k = 0; k < n_pieces; ++k) piece(k);
    (void)launch;
}

}  // namespace bwlm::cpu
