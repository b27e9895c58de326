// Every operation of the CPU core with four threads, for the thread sanitizer: built and run by
// tests/sanitize.sh. The results must not depend on the number of threads either.
#include <cstdio>
#include <cstring>
#include <vector>

#include "ops.h"

using namespace bwlm;

namespace {

struct Matrix {
    std::vector<float> values;
    View view;
    Matrix(int64_t rows, int64_t cols, unsigned seed = 0) : values(static_cast<size_t>(rows * cols)) {
        for (float& value : values) {
            seed = seed * 1664525u + 1013904223u;
            value = seed ? static_cast<float>(seed >> 8) / (1 << 24) - 0.5f : 0.0f;
        }
        view = {values.data(), DType::f32, rows, cols, cols, 1, false};
    }
};

struct Doubles {
    std::vector<double> values;
    View view;
    Doubles(int64_t rows, int64_t cols) : values(static_cast<size_t>(rows * cols), 0.5) {
        view = {values.data(), DType::f64, rows, cols, cols, 1, false};
    }
};

// Everything the core computes, one after the other, as bytes.
std::vector<char> everything(int num_threads) {
    const Launch launch{num_threads, 0};
    const Matrix x(300, 3001, 1), y(300, 3001, 2), weights(1, 3001, 3);
    Matrix r(1, 3001), gx(300, 3001), wide(300, 2 * 3001), moments(4, 3001);
    std::vector<char> all;
    const auto keep = [&](const void* data, size_t bytes) {
        const char* from = static_cast<const char*>(data);
        all.insert(all.end(), from, from + bytes);
    };
    for (int axis = 0; axis < 2; ++axis)
        for (const View& w : {View{}, axis ? weights.view : View{}}) {
            CorrelationArgs args;
            args.x = x.view, args.y = y.view, args.axis = axis, args.weights = w;
            args.r = r.view, args.g_all = -1.0, args.gx = gx.view;
            cpu::correlation(args, launch);
            keep(r.values.data(), 4 * r.values.size());
            keep(gx.values.data(), 4 * gx.values.size());
        }
    const int64_t delays[] = {1, -2}, onsets[] = {0, 130};
    const Delays stack{delays, 2, onsets, 2, 0};
    for (const View& m : {View{}, moments.view}) {
        cpu::delay_stack({x.view, stack, wide.view, m, 1e-5}, launch);
        cpu::delay_stack_backward({wide.view, stack, gx.view, x.view, m}, launch);
        keep(wide.values.data(), 4 * wide.values.size());
        keep(gx.values.data(), 4 * gx.values.size());
    }
    const Doubles shrink(7, 300), shift(1, 7), diagonal(1, 300);
    Doubles covariance(7, 3001), variance(7, 3001), scale(7, 3001);
    RidgeMomentsArgs args;
    args.held_cross = x.view, args.train_cross = y.view, args.divided_cross = y.view,
    args.close_cross = x.view;
    args.shrink = shrink.view, args.shift = shift.view, args.diagonal = diagonal.view;
    args.covariance = covariance.view, args.variance = variance.view, args.scale = scale.view;
    cpu::ridge_moments(args, launch);
    for (const Doubles* out : {&covariance, &variance, &scale})
        keep(out->values.data(), 8 * out->values.size());
    return all;
}

}  // namespace

int main() {
    const std::vector<char> one = everything(1), four = everything(4);
    if (one.size() != four.size() || std::memcmp(one.data(), four.data(), one.size()) != 0) {
        std::puts("four threads gave other numbers than one");
        return 1;
    }
    std::printf("%zu bytes, the same with one thread and with four\n", one.size());
    return 0;
}
