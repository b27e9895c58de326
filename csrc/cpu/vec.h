// 32 bytes of T as one value, and one T with the same interface, for the columns left over. One register from
// AVX2 up: of 64 bytes GCC makes scalars where there is no AVX-512, at a sixth of the speed.
#pragma once

#include <cstdint>
#include <cstring>

#include "core.h"

namespace bwlm::cpu {

template <typename T>
struct Vec {
    typedef T type __attribute__((vector_size(32)));
    static constexpr int64_t width = 32 / static_cast<int64_t>(sizeof(T));
    BWLM_INLINE static type load(const T* from) {
        type v;
        std::memcpy(&v, from, sizeof(v));
        return v;
    }
    BWLM_INLINE static void store(const type& v, T* to) { std::memcpy(to, &v, sizeof(v)); }
    // Each lane is added to its own sum, four lanes at a time.
    BWLM_INLINE static void add(const type& v, double* sums) {
        typedef T Four __attribute__((vector_size(4 * sizeof(T))));
        typedef double Wide __attribute__((vector_size(32)));
        Four parts[width / 4];
        std::memcpy(parts, &v, sizeof(v));
        for (int64_t k = 0; k < width / 4; ++k) {
            Wide total;
            std::memcpy(&total, sums + 4 * k, sizeof(total));
            total += __builtin_convertvector(parts[k], Wide);
            std::memcpy(sums + 4 * k, &total, sizeof(total));
        }
    }
    BWLM_INLINE static double sum(const type& v) {
        double total = 0;
        for (int64_t l = 0; l < width; ++l) total += static_cast<double>(v[l]);
        return total;
    }
};

template <typename T>
struct Scalar {
    using type = T;
    static constexpr int64_t width = 1;
    BWLM_INLINE static T load(const T* from) { return *from; }
    BWLM_INLINE static void store(const T& v, T* to) { *to = v; }
    BWLM_INLINE static void add(const T& v, double* sums) { *sums += static_cast<double>(v); }
};

constexpr int64_t kRowsPerFlush = 8;  // rows summed in registers, in T, before they are added in double

// Columns [0, width), a vector at a time: body(V, column) is called with the vector type.
template <typename T, typename Body>
BWLM_INLINE void for_each_vector(int64_t width, Body&& body) {
    const int64_t vectors_end = width / Vec<T>::width * Vec<T>::width;
    for (int64_t c = 0; c < vectors_end; c += Vec<T>::width) body(Vec<T>{}, c);
    for (int64_t c = vectors_end; c < width; ++c) body(Scalar<T>{}, c);
}

// A block of columns, traversed in memory order, in tiles of kRowsPerFlush rows and one vector of columns:
// body(V, first row, rows, column) is called with the vector type and fetches ahead what the next tile
// reads. Sums over rows that are held for each column stay in the nearest caches.
template <typename T, typename Body>
BWLM_INLINE void for_each_tile(int64_t n, int64_t width, Body&& body) {
    for (int64_t t = 0; t < n; t += kRowsPerFlush) {
        const auto tiles_of = [&](int64_t rows) __attribute__((always_inline)) {
            for_each_vector<T>(width, [&](auto lanes, int64_t c)
                                          __attribute__((always_inline)) { body(lanes, t, rows, c); });
        };
        if (n - t >= kRowsPerFlush)
            tiles_of(kRowsPerFlush);
        else
            tiles_of(n - t);
    }
}

// The line that the next tile will read, into the second-level cache: rows lie pages apart, where the
// machine's own prefetch does not reach.
BWLM_INLINE void fetch_ahead(const void* line) { __builtin_prefetch(line, 0, 2); }

}  // namespace bwlm::cpu
