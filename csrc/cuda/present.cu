#include "cuda/common.cuh"

namespace bwlm::cuda {

bool built() { return true; }

int device_count() {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess) {
        cudaGetLastError();  // no driver is not an error here
        return 0;
    }
    return count;
}

}  // namespace bwlm::cuda
