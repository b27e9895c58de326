// The Python module _C: convert, check once, choose the device, release the GIL. Errors become ValueError.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <utility>
#include <vector>

#include "arrays.h"
#include "ops.h"

namespace py = pybind11;
using namespace bwlm;

namespace {

using Whole = std::vector<int64_t>;

void require_same(const std::string& name, const View& v, const View& like, int64_t rows, int64_t cols) {
    require(v.on_gpu == like.on_gpu, name + ": lies on another device than the other arrays");
    require(v.dtype == like.dtype, name + ": has another type than the other arrays");
    require(v.rows == rows && v.cols == cols, name + ": expected shape (" + std::to_string(rows) + ", " +
                                                  std::to_string(cols) + "), got " + shape_of(v));
    require(v.rows == 0 || v.cols <= 1 || v.col_stride == 1, name + ": columns must be contiguous");
}

Delays checked(const Whole& delays, const Whole& run_onsets, int64_t context, int64_t rows) {
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

// r and g are (1, n) matrices here, so that one conversion serves all arrays.
void correlation(const py::object& px, const py::object& py_, int axis,
                 const std::optional<py::object>& pweights, const py::object& pr,
                 const std::optional<py::object>& pg, double g_all, const std::optional<py::object>& pgx,
                 int num_threads, std::uintptr_t stream) {
    const View x = view_of("x", px), y = view_of("y", py_), r = view_of("r", pr, true);
    require(axis == 0 || axis == 1, "axis: expected 0 or 1, got " + std::to_string(axis));
    const int64_t n = axis == 1 ? x.rows : x.cols;
    require_same("x", x, x, x.rows, x.cols);
    require_same("y", y, x, x.rows, x.cols);
    require_same("r", r, x, 1, n);
    View weights, g, gx;
    if (pweights) {
        require(axis == 1, "weights: the kernel takes them across columns (axis 1) only");
        require_same("weights", weights = view_of("weights", *pweights), x, 1, x.cols);
    }
    if (pg) require_same("g", g = view_of("g", *pg), x, 1, n);
    if (pgx) require_same("gx", gx = view_of("gx", *pgx, true), x, x.rows, x.cols);
    const Launch launch{num_threads, stream};
    py::gil_scoped_release release;
    (x.on_gpu ? cuda::correlation : cpu::correlation)(x, y, axis, weights.data, r.data, g.data, g_all, gx,
                                                      launch);
}

// Moments of the z-score, (2 * n_runs, n_columns), if it is wanted.
View moments_of(const std::optional<py::object>& given, const View& like, size_t n_runs, bool writable) {
    View moments;
    if (given) {
        moments = view_of("moments", *given, writable);
        require_same("moments", moments, like, 2 * static_cast<int64_t>(n_runs), like.cols);
    }
    return moments;
}

void delay_stack(const py::object& px, const Whole& delays, const Whole& run_onsets, int64_t context,
                 const py::object& pout, const std::optional<py::object>& pmoments, double eps,
                 int num_threads, std::uintptr_t stream) {
    const View x = view_of("x", px), out = view_of("out", pout, true);
    require_same("x", x, x, x.rows, x.cols);
    require_same("out", out, x, out.rows, x.cols * static_cast<int64_t>(delays.size()));
    if (x.rows == 0) return;
    const Delays d = checked(delays, run_onsets, context, x.rows);
    const View moments = moments_of(pmoments, x, run_onsets.size(), true);
    const Launch launch{num_threads, stream};
    py::gil_scoped_release release;
    (x.on_gpu ? cuda::delay_stack : cpu::delay_stack)(x, d, out, moments, eps, launch);
}

void delay_stack_backward(const py::object& pg, const Whole& delays, const Whole& run_onsets, int64_t context,
                          const py::object& pgx, const std::optional<py::object>& px,
                          const std::optional<py::object>& pmoments, int num_threads, std::uintptr_t stream) {
    const View g_out = view_of("g_out", pg), gx = view_of("gx", pgx, true);
    require_same("gx", gx, gx, gx.rows, gx.cols);
    require_same("g_out", g_out, gx, g_out.rows, gx.cols * static_cast<int64_t>(delays.size()));
    if (gx.rows == 0) return;
    const Delays d = checked(delays, run_onsets, context, gx.rows);
    const View moments = moments_of(pmoments, gx, run_onsets.size(), false);
    require(px.has_value() == pmoments.has_value(), "x: goes together with moments");
    View x;
    if (px) require_same("x", x = view_of("x", *px), gx, gx.rows, gx.cols);
    const Launch launch{num_threads, stream};
    py::gil_scoped_release release;
    (gx.on_gpu ? cuda::delay_stack_backward : cpu::delay_stack_backward)(g_out, d, gx, x, moments, launch);
}

// shrink, shift (one row) and diagonal (one row) are double matrices.
void ridge_moments(const py::object& pa, const py::object& pb, const py::object& pe, const py::object& pmb,
                   const py::object& pshrink, const py::object& pshift, const py::object& pdiagonal,
                   const py::object& pcovariance, const py::object& pvariance, const py::object& pscale,
                   int num_threads, std::uintptr_t stream) {
    const View b = view_of("b", pb), a = view_of("a", pa), e = view_of("e", pe), mb = view_of("mb", pmb);
    for (const auto& [name, v] :
         {std::pair<const char*, const View*>{"a", &a}, {"b", &b}, {"e", &e}, {"mb", &mb}})
        require_same(name, *v, b, b.rows, b.cols);
    const View shrink = view_of("shrink", pshrink), shift = view_of("shift", pshift),
               diagonal = view_of("diagonal", pdiagonal);
    const View covariance = view_of("covariance", pcovariance, true),
               variance = view_of("variance", pvariance, true), scale = view_of("scale", pscale, true);
    const int64_t n = shrink.rows;
    require(shrink.dtype == DType::f64, "shrink: expected float64");
    require(shrink.on_gpu == b.on_gpu, "shrink: lies on another device than the other arrays");
    require_same("shrink", shrink, shrink, n, b.rows);
    require(n <= 1 || shrink.row_stride == b.rows, "shrink: must be contiguous");
    require_same("shift", shift, shrink, 1, n);
    require_same("diagonal", diagonal, shrink, 1, b.rows);
    require_same("covariance", covariance, shrink, n, b.cols);
    require_same("variance", variance, shrink, n, b.cols);
    require_same("scale", scale, shrink, n, b.cols);
    const RidgeBasis basis{shrink.as<double>(), shift.as<double>(), diagonal.as<double>(), n};
    py::gil_scoped_release release;
    (b.on_gpu ? cuda::ridge_moments : cpu::ridge_moments)(a, b, e, mb, basis, covariance, variance, scale,
                                                          Launch{num_threads, stream});
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
    m.doc() = "The native core of brainwavlm_fast; brainwavlm_fast.kernels is its public face.";
    py::register_exception_translator([](std::exception_ptr p) {
        try {
            if (p) std::rethrow_exception(p);
        } catch (const Error& e) {
            py::set_error(PyExc_ValueError, e.what());
        }
    });
    m.def("correlation", &correlation, py::arg("x"), py::arg("y"), py::arg("axis"), py::arg("weights"),
          py::arg("r"), py::arg("g"), py::arg("g_all"), py::arg("gx"), py::arg("num_threads"),
          py::arg("stream"));
    m.def("delay_stack", &delay_stack, py::arg("x"), py::arg("delays"), py::arg("run_onsets"),
          py::arg("context"), py::arg("out"), py::arg("moments"), py::arg("eps"), py::arg("num_threads"),
          py::arg("stream"));
    m.def("delay_stack_backward", &delay_stack_backward, py::arg("g_out"), py::arg("delays"),
          py::arg("run_onsets"), py::arg("context"), py::arg("gx"), py::arg("x"), py::arg("moments"),
          py::arg("num_threads"), py::arg("stream"));
    m.def("ridge_moments", &ridge_moments, py::arg("a"), py::arg("b"), py::arg("e"), py::arg("mb"),
          py::arg("shrink"), py::arg("shift"), py::arg("diagonal"), py::arg("covariance"),
          py::arg("variance"), py::arg("scale"), py::arg("num_threads"), py::arg("stream"));
    m.def("build_info", &build_info);
}
