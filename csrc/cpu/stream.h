// Non-temporal stores, which avoid read-for-ownership, for results that are larger than the cache.
#pragma once

#include <cstdint>
#include <cstring>

#include "core.h"
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace bwlm::cpu {

constexpr int64_t kLineBytes = 64;

BWLM_INLINE bool is_aligned(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % kLineBytes == 0; }

// One cache line from `from` to the aligned `to`.
BWLM_INLINE void stream_line(const void* from, void* to) {
#if defined(__SSE2__)
    const auto* source = static_cast<const __m128i*>(from);
    auto* target = static_cast<__m128i*>(to);
    for (int k = 0; k < 4; ++k) _mm_stream_si128(target + k, _mm_loadu_si128(source + k));
#else
    std::memcpy(to, from, kLineBytes);
#endif
}

// After a thread's last non-temporal store: whatever follows sees all of them.
inline void stream_end() {
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

// n elements: complete cache lines by non-temporal stores, both ends by ordinary ones.
template <typename T>
BWLM_INLINE void stream_copy(const T* from, T* to, int64_t n) {
    constexpr int64_t line = kLineBytes / static_cast<int64_t>(sizeof(T));
    int64_t k = 0;
    while (k < n && !is_aligned(to + k)) {
        to[k] = from[k];
        ++k;
    }
    for (; k + line <= n; k += line) stream_line(from + k, to + k);
    for (; k < n; ++k) to[k] = from[k];
}

}  // namespace bwlm::cpu
