// The Python module _C: convert, check once, choose the device, release the GIL. Errors become ValueError.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <vector>

#include "arrays.h"
#include "ops.h"

namespace py = pybind11;
using namespace bwlm;

namespace {

using Integers = std::vector<int64_t>;
using Optional = std::optional<py::object>;  // an array, or None

enum class Access { read, write };
constexpr int64_t kAny = -1;

// An array as a matrix of `rows` (or any number of rows) by `cols`, on the device and of the type of `like`,
// the first of its call; or no matrix.
View matrix(const std::string& name, const Optional& array, Access access, int64_t rows, int64_t cols,
            const View& like) {
    if (!array) return {};
    const View v = view_of(name, *array, access == Access::write);
    if (rows == kAny) rows = v.rows;
    require(v.on_gpu == like.on_gpu, name + ": lies on another device than the other arrays");
    require(v.dtype == like.dtype, name + ": has another type than the other arrays");
    require(v.rows == rows && v.cols == cols, name + ": expected shape (" + std::to_string(rows) + ", " +
                                                  std::to_string(cols) + "), got " + shape_of(v));
    require(v.rows == 0 || v.cols <= 1 || v.col_stride == 1, name + ": columns must be contiguous");
    return v;
}

View first_matrix(const std::string& name, const py::object& array, Access access) {
    const View v = view_of(name, array);
    return matrix(name, array, access, v.rows, v.cols, v);
}

Delays checked_delays(const Integers& delays, const Integers& run_onsets, int64_t context, int64_t rows) {
    require(!delays.empty(), "delays: at least one is needed");
    require(!run_onsets.empty() && run_onsets[0] == 0, "run_onsets: the first run must start at row 0");
    for (size_t k = 1; k < run_onsets.size(); ++k)
        require(run_onsets[k] > run_onsets[k - 1] && run_onsets[k] < rows,
                "run_onsets: must rise and stay below the number of rows");
    require(context >= 0 && (run_onsets.size() == 1 || context <= run_onsets[1]),
            "context: its rows must be the first run's, got " + std::to_string(context));
    return {delays.data(), static_cast<int64_t>(delays.size()), run_onsets.data(),
            static_cast<int64_t>(run_onsets.size()), context};
}

// r, g and weights are (1, n) matrices here, so that one conversion serves all arrays.
void correlation(const py::object& x, const py::object& y, int axis, const Optional& weights,
                 const py::object& r, const Optional& g, double g_all, const Optional& gx,
                 const py::object& workspace, int num_threads, std::uintptr_t stream, bool summed) {
    CorrelationArgs args;
    args.x = first_matrix("x", x, Access::read);
    const int64_t rows = args.x.rows, cols = args.x.cols, n = axis == 1 ? rows : cols;
    require(axis == 0 || axis == 1, "axis: expected 0 or 1, got " + std::to_string(axis));
    require(axis == 1 || !weights, "weights: the kernel takes them across columns (axis 1) only");
    args.y = matrix("y", y, Access::read, rows, cols, args.x);
    args.axis = axis;
    args.weights = matrix("weights", weights, Access::read, 1, cols, args.x);
    args.r = matrix("r", r, Access::write, 1, n, args.x);
    args.g = matrix("g", g, Access::read, 1, n, args.x);
    args.g_all = g_all;
    args.gx = matrix("gx", gx, Access::write, rows, cols, args.x);
    View sums = args.x;
    sums.dtype = DType::f64;
    const int64_t n_sums = args.x.on_gpu ? cuda::correlation_workspace(rows, cols, axis) : 0;
    args.workspace = matrix("workspace", workspace, Access::write, n_sums, 6, sums);
    args.summed = summed;
    const Launch launch{num_threads, stream};
    py::gil_scoped_release release;
    (args.x.on_gpu ? cuda::correlation : cpu::correlation)(args, launch);
}

void delay_stack(const py::object& x, const Integers& delays, const Integers& run_onsets, int64_t context,
                 const py::object& out, const Optional& moments, double eps, int num_threads,
                 std::uintptr_t stream) {
    DelayStackArgs args;
    args.x = first_matrix("x", x, Access::read);
    const int64_t rows = args.x.rows, cols = args.x.cols, n_delays = static_cast<int64_t>(delays.size());
    args.out = matrix("out", out, Access::write, kAny, cols * n_delays, args.x);
    if (rows == 0) return;
    args.delays = checked_delays(delays, run_onsets, context, rows);
    args.moments = matrix("moments", moments, Access::write, 2 * args.delays.n_runs, cols, args.x);
    args.eps = eps;
    const Launch launch{num_threads, stream};
    py::gil_scoped_release release;
    (args.x.on_gpu ? cuda::delay_stack : cpu::delay_stack)(args, launch);
}

void delay_stack_backward(const py::object& g_out, const Integers& delays, const Integers& run_onsets,
                          int64_t context, const py::object& gx, const Optional& x, const Optional& moments,
                          int num_threads, std::uintptr_t stream) {
    DelayStackBackwardArgs args;
    args.gx = first_matrix("gx", gx, Access::write);
    const int64_t rows = args.gx.rows, cols = args.gx.cols, n_delays = static_cast<int64_t>(delays.size());
    args.g_out = matrix("g_out", g_out, Access::read, kAny, cols * n_delays, args.gx);
    if (rows == 0) return;
    require(x.has_value() == moments.has_value(), "x: goes together with moments");
    args.delays = checked_delays(delays, run_onsets, context, rows);
    args.x = matrix("x", x, Access::read, rows, cols, args.gx);
    args.moments = matrix("moments", moments, Access::read, 2 * args.delays.n_runs, cols, args.gx);
    const Launch launch{num_threads, stream};
    py::gil_scoped_release release;
    (args.gx.on_gpu ? cuda::delay_stack_backward : cpu::delay_stack_backward)(args, launch);
}

void ridge_moments(const py::object& held_cross, const py::object& train_cross,
                   const py::object& divided_cross, const py::object& close_cross, const py::object& shrink,
                   const py::object& shift, const py::object& diagonal, const py::object& covariance,
                   const py::object& variance, const py::object& scale, int num_threads,
                   std::uintptr_t stream) {
    RidgeMomentsArgs args;
    const View& train = args.train_cross = first_matrix("train_cross", train_cross, Access::read);
    args.held_cross = matrix("held_cross", held_cross, Access::read, train.rows, train.cols, train);
    args.divided_cross = matrix("divided_cross", divided_cross, Access::read, train.rows, train.cols, train);
    args.close_cross = matrix("close_cross", close_cross, Access::read, train.rows, train.cols, train);
    View like = train;  // what follows is double
    like.dtype = DType::f64;
    args.shrink = matrix("shrink", shrink, Access::read, kAny, train.rows, like);
    const int64_t n_penalties = args.shrink.rows;
    args.shift = matrix("shift", shift, Access::read, 1, n_penalties, like);
    args.diagonal = matrix("diagonal", diagonal, Access::read, 1, train.rows, like);
    args.covariance = matrix("covariance", covariance, Access::write, n_penalties, train.cols, like);
    args.variance = matrix("variance", variance, Access::write, n_penalties, train.cols, like);
    args.scale = matrix("scale", scale, Access::write, n_penalties, train.cols, like);
    const Launch launch{num_threads, stream};
    py::gil_scoped_release release;
    (train.on_gpu ? cuda::ridge_moments : cpu::ridge_moments)(args, launch);
}

py::dict build_info() {
    py::dict info;
    info["version"] = BWLM_VERSION;
    info["simd"] = cpu::simd_level();
    info["threads"] = cpu::max_threads();
    info["cuda_built"] = cuda::built();
    info["cuda_devices"] = cuda::device_count();
    return info;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
    m.doc() = "The native core of brainwavlm_fast; brainwavlm_fast.kernels is its public interface.";
    py::register_exception_translator([](std::exception_ptr p) {
        try {
            if (p) std::rethrow_exception(p);
        } catch (const Error& e) {
            py::set_error(PyExc_ValueError, e.what());
        }
    });
    using py::arg;
    m.def("correlation", &correlation, arg("x"), arg("y"), arg("axis"), arg("weights"), arg("r"), arg("g"),
          arg("g_all"), arg("gx"), arg("workspace"), arg("num_threads"), arg("stream"),
          arg("summed") = false);
    m.def("correlation_workspace", &cuda::correlation_workspace, arg("rows"), arg("cols"), arg("axis"));
    m.def("delay_stack", &delay_stack, arg("x"), arg("delays"), arg("run_onsets"), arg("context"), arg("out"),
          arg("moments"), arg("eps"), arg("num_threads"), arg("stream"));
    m.def("delay_stack_backward", &delay_stack_backward, arg("g_out"), arg("delays"), arg("run_onsets"),
          arg("context"), arg("gx"), arg("x"), arg("moments"), arg("num_threads"), arg("stream"));
    m.def("ridge_moments", &ridge_moments, arg("held_cross"), arg("train_cross"), arg("divided_cross"),
          arg("close_cross"), arg("shrink"), arg("shift"), arg("diagonal"), arg("covariance"),
          arg("variance"), arg("scale"), arg("num_threads"), arg("stream"));
    m.def("build_info", &build_info);
}
