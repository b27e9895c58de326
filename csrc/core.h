// What every kernel sees: plain views of memory, and the one exception type. No Python, no torch, no
// allocation.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#ifdef __CUDACC__
#define BWLM_HD __host__ __device__
#else
#define BWLM_HD
#endif

// Inlined into every caller: on the CPU into each SIMD level's copy of a hot function (cpu/simd.h).
#define BWLM_INLINE inline __attribute__((always_inline))

namespace bwlm {

enum class DType { f32, f64 };

// A matrix somewhere in memory, or none (data == nullptr). Extents and strides are 64-bit, strides count
// elements.
struct View {
    void* data = nullptr;
    DType dtype = DType::f32;
    int64_t rows = 0, cols = 0;
    int64_t row_stride = 0, col_stride = 1;
    bool on_gpu = false;

    template <typename T>
    BWLM_HD T* as() const {
        return static_cast<T*>(data);
    }
    template <typename T>
    BWLM_HD T* row(int64_t index) const {
        return static_cast<T*>(data) + index * row_stride;
    }
};

// A caller's mistake: becomes ValueError, its text names the argument.
struct Error : std::invalid_argument {
    using std::invalid_argument::invalid_argument;
};

inline void require(bool condition, const std::string& message) {
    if (!condition) throw Error(message);
}

inline std::string shape_of(const View& v) {
    return "(" + std::to_string(v.rows) + ", " + std::to_string(v.cols) + ")";
}

}  // namespace bwlm
