// gptface's attention in a C++ program without torch: a Python module of NumPy arrays, by pybind11.
//
//   c++ -std=c++20 -O3 -march=native -shared -fPIC -pthread -I<gptface.get_include()> <python3 -m pybind11 --includes> ...
//
// examples/attention_from_cpp.py builds and calls it.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <thread>

#include <gptface/attention.h>
#include <gptface/attention_kernels.h>

namespace py = pybind11;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Integers = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;

// The best instruction set that the compiler's flags allow. A program for many machines compiles one file for each.
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
using Isa = gptface::Avx512;
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
using Isa = gptface::Avx2;
#else
using Isa = gptface::Portable;
#endif

static gptface::AttentionTensor tensor(const Floats& array) {
  const int64_t rows = array.shape(1), heads = array.shape(2), width = array.shape(3);
  return {const_cast<float*>(array.data()), rows * heads * width, heads * width, width};
}

// query, key, value (B, S, H, D); intervals (B or 1, S, K, 2): each query sees the keys in its K half-open intervals.
static py::tuple attend(Floats query, Floats key, Floats value, Integers intervals) {
  if (query.ndim() != 4 || key.ndim() != 4 || value.ndim() != 4 || intervals.ndim() != 4)
    throw std::invalid_argument("query, key and value must be (B, S, H, D), intervals (B or 1, S, K, 2)");
  const int64_t batch = query.shape(0), queries = query.shape(1), heads = query.shape(2), width = query.shape(3);
  const int64_t keys = key.shape(1), key_heads = key.shape(2), count = intervals.shape(2);
  bool fits = key.shape(0) == batch && key.shape(3) == width && key_heads > 0 && heads % key_heads == 0;
  for (int d = 0; d < 4; ++d) fits = fits && value.shape(d) == key.shape(d);
  if (!fits || width % 8 != 0) throw std::invalid_argument("shapes of query, key and value do not belong together");
  if ((intervals.shape(0) != batch && intervals.shape(0) != 1) || intervals.shape(1) != queries || count < 1 ||
      count > 2 || intervals.shape(3) != 2)
    throw std::invalid_argument("intervals must be (B or 1, S, 1 or 2, 2)");

  Floats out({batch, queries, heads, width}), lse({batch, heads, queries});
  gptface::AttentionProblem problem{};
  problem.type = gptface::ElementType::float32;
  problem.batch = batch, problem.queries = queries, problem.keys = keys;
  problem.heads = heads, problem.key_heads = key_heads, problem.width = width;
  problem.scale = 1.0f / std::sqrt(static_cast<float>(width));
  problem.intervals = intervals.data();
  problem.interval_batch_stride = intervals.shape(0) == 1 ? 0 : queries * count * 2;
  problem.interval_count = static_cast<int>(count);
  problem.query = tensor(query), problem.key = tensor(key), problem.value = tensor(value), problem.out = tensor(out);
  problem.lse = lse.mutable_data();
  problem.chunks = 1;

  const auto workers = static_cast<int>(std::thread::hardware_concurrency());
  {
    py::gil_scoped_release release;
    gptface::attention_forward(gptface::make_attention_kernels<Isa, float>(), problem, workers > 0 ? workers : 1);
  }
  return py::make_tuple(out, lse);
}

PYBIND11_MODULE(attention_from_cpp, module) {
  module.def("attend", &attend, py::arg("query"), py::arg("key"), py::arg("value"), py::arg("intervals"),
             "Masked attention of NumPy arrays: (out, log-sum-exp). Rows that see nothing give zeros.");
}
