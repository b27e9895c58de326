// Python arrays to views: NumPy's buffer on the host; on the GPU the dictionary of __cuda_array_interface__,
// or an object that has it (CuPy). torch makes that dictionary slowly: ops.py hands over its own. Nothing is
// copied; the Python object outlives the call, since the caller holds it.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <utility>
#include <vector>

#include "core.h"

namespace bwlm {

namespace py = pybind11;

inline DType dtype_of(const std::string& name, char kind, int64_t size) {
    require(kind == 'f' && (size == 4 || size == 8), name + ": expected float32 or float64");
    return size == 4 ? DType::f32 : DType::f64;
}

inline void require_matrix(const std::string& name, int64_t n_axes) {
    require(n_axes == 2, name + ": expected a matrix, got " + std::to_string(n_axes) + " axes");
}

// A matrix. `writable` outputs must be writable; inputs may be read-only.
inline View view_of(const std::string& name, const py::object& object, bool writable = false) {
    View v;
    const py::object described = py::isinstance<py::dict>(object)
                                     ? object
                                     : py::getattr(object, "__cuda_array_interface__", py::none());
    if (!described.is_none()) {
        const auto interface = described.cast<py::dict>();
        const auto shape = interface["shape"].cast<std::vector<int64_t>>();
        const auto type = interface["typestr"].cast<std::string>();
        require_matrix(name, static_cast<int64_t>(shape.size()));
        const int64_t size = std::stoll(type.substr(2));
        v.dtype = dtype_of(name, type[1], size);
        v.rows = shape[0];
        v.cols = shape[1];
        v.row_stride = v.cols;
        if (interface.contains("strides") && !interface["strides"].is_none()) {
            const auto strides = interface["strides"].cast<std::vector<int64_t>>();
            v.row_stride = strides[0] / size;
            v.col_stride = strides[1] / size;
        }
        const auto data = interface["data"].cast<std::pair<std::uintptr_t, bool>>();
        require(!writable || !data.second, name + ": is read-only");
        v.data = reinterpret_cast<void*>(data.first);
        v.on_gpu = true;
        return v;
    }
    require(py::isinstance<py::array>(object), name + ": expected an array");
    const auto array = py::reinterpret_borrow<py::array>(object);
    require_matrix(name, array.ndim());
    require(!writable || array.writeable(), name + ": is read-only");
    v.dtype = dtype_of(name, array.dtype().kind(), array.itemsize());
    v.rows = array.shape(0);
    v.cols = array.shape(1);
    v.row_stride = array.strides(0) / array.itemsize();
    v.col_stride = array.strides(1) / array.itemsize();
    v.data = const_cast<void*>(array.data());
    return v;
}

}  // namespace bwlm
