#include "cpu/threads.h"

#include "ops.h"

namespace bwlm::cpu {

int max_threads() {
#if defined(_OPENMP) && !defined(__SANITIZE_THREAD__)
    return omp_get_max_threads();
#else
    return 1;
#endif
}

const char* simd_level() {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        return "avx512";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
#endif
    return "baseline";
}

}  // namespace bwlm::cpu
