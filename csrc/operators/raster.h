// Tensors in, raw pointers out: what stands between the dispatcher and the rasteriser's kernels.
#pragma once

#include <limits>
#include <optional>
#include <tuple>
#include <vector>

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <gptface/raster.h>

namespace gptface {

// csrc/cpu/raster.cpp
void rasterize_cpu(const RasterProblem& problem);
void rasterize_backward_cpu(const RasterGradientProblem& problem);
void interpolate_cpu(const InterpolationProblem& problem);
void interpolate_backward_cpu(const InterpolationProblem& problem);

namespace operators {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline void check_raster_tensor(const Tensor& tensor, ScalarType type, int64_t dimensions, const char* name) {
  STD_TORCH_CHECK(
      tensor.scalar_type() == type && tensor.dim() == dimensions && tensor.is_contiguous(), "gptface: rasterisation: ",
      name, " must be contiguous, of ", dimensions, " dimensions, and ", type == ScalarType::Int ? "int32" : "float32");
}

template <class T>
const T* raster_data(const Tensor& tensor, ScalarType type, int64_t dimensions, const char* name) {
  check_raster_tensor(tensor, type, dimensions, name);
  return static_cast<const T*>(tensor.const_data_ptr());
}

// What all problems have: a mesh and the size of the pictures.
template <class Problem>
Problem raster_mesh(const Tensor& vertices, const Tensor& triangles, int64_t batch, int64_t height, int64_t width) {
  constexpr int64_t most = std::numeric_limits<int32_t>::max();
  STD_TORCH_CHECK(
      triangles.dim() == 2 && triangles.size(1) == 3 && triangles.size(0) < most && vertices.dim() == 3 &&
          vertices.size(1) < most,
      "gptface: rasterisation: triangles must be (T, 3) and vertices (B, V, …), fewer than ", most);
  Problem problem{};
  problem.triangles = raster_data<int32_t>(triangles, ScalarType::Int, 2, "triangles");
  problem.batch = batch;
  problem.vertices = vertices.size(1);
  problem.count = triangles.size(0);
  problem.height = static_cast<int32_t>(height);
  problem.width = static_cast<int32_t>(width);
  return problem;
}

inline std::tuple<Tensor, Tensor, Tensor, Tensor> rasterize_kernel(
    Tensor positions, Tensor triangles, int64_t height, int64_t width) {
  const int64_t batch = positions.size(0);
  auto problem = raster_mesh<RasterProblem>(positions, triangles, batch, height, width);
  STD_TORCH_CHECK(positions.size(2) == 4, "gptface: rasterisation: positions must be (B, V, 4)");
  problem.positions = raster_data<float>(positions, ScalarType::Float, 3, "positions");
  const auto allocate = [&](std::vector<int64_t> sizes, ScalarType type) {
    return torch::stable::new_empty(positions, sizes, type);
  };
  Tensor triangle = allocate({batch, height, width}, ScalarType::Int);
  Tensor barycentric = allocate({batch, height, width, 2}, ScalarType::Float);
  Tensor depth = allocate({batch, height, width}, ScalarType::Float);
  Tensor dropped = allocate({batch}, ScalarType::Int);
  problem.triangle = static_cast<int32_t*>(triangle.mutable_data_ptr());
  problem.barycentric = static_cast<float*>(barycentric.mutable_data_ptr());
  problem.depth = static_cast<float*>(depth.mutable_data_ptr());
  problem.dropped = static_cast<int32_t*>(dropped.mutable_data_ptr());
  rasterize_cpu(problem);
  return {triangle, barycentric, depth, dropped};
}

inline Tensor rasterize_backward_kernel(
    std::optional<Tensor> grad_barycentric, std::optional<Tensor> grad_depth, Tensor positions, Tensor triangles,
    Tensor triangle) {
  const int64_t batch = positions.size(0);
  auto problem =
      raster_mesh<RasterGradientProblem>(positions, triangles, batch, triangle.size(1), triangle.size(2));
  problem.positions = raster_data<float>(positions, ScalarType::Float, 3, "positions");
  problem.triangle = raster_data<int32_t>(triangle, ScalarType::Int, 3, "triangle");
  if (grad_barycentric)
    problem.grad_barycentric = raster_data<float>(*grad_barycentric, ScalarType::Float, 4, "grad_barycentric");
  if (grad_depth) problem.grad_depth = raster_data<float>(*grad_depth, ScalarType::Float, 3, "grad_depth");
  Tensor gradient =
      torch::stable::new_empty(positions, std::vector<int64_t>{batch, positions.size(1), 4}, ScalarType::Float);
  problem.grad_positions = static_cast<float*>(gradient.mutable_data_ptr());
  rasterize_backward_cpu(problem);
  return gradient;
}

inline InterpolationProblem interpolation_problem(
    const Tensor& attributes, const Tensor& triangle, const Tensor& barycentric, const Tensor& triangles) {
  const int64_t batch = triangle.size(0);
  auto problem = raster_mesh<InterpolationProblem>(attributes, triangles, batch, triangle.size(1), triangle.size(2));
  STD_TORCH_CHECK(
      attributes.size(0) == 1 || attributes.size(0) == batch,
      "gptface: interpolation: attributes must be (B, V, C) or (1, V, C)");
  problem.attributes = raster_data<float>(attributes, ScalarType::Float, 3, "attributes");
  problem.triangle = raster_data<int32_t>(triangle, ScalarType::Int, 3, "triangle");
  problem.barycentric = raster_data<float>(barycentric, ScalarType::Float, 4, "barycentric");
  problem.channels = attributes.size(2);
  problem.shared = attributes.size(0) == 1;
  return problem;
}

inline Tensor interpolate_kernel(Tensor attributes, Tensor triangle, Tensor barycentric, Tensor triangles) {
  InterpolationProblem problem = interpolation_problem(attributes, triangle, barycentric, triangles);
  const std::vector<int64_t> sizes{problem.batch, problem.height, problem.width, problem.channels};
  Tensor out = torch::stable::new_empty(attributes, sizes, ScalarType::Float);
  problem.out = static_cast<float*>(out.mutable_data_ptr());
  interpolate_cpu(problem);
  return out;
}

inline std::tuple<Tensor, Tensor> interpolate_backward_kernel(
    Tensor gradient, Tensor attributes, Tensor triangle, Tensor barycentric, Tensor triangles) {
  InterpolationProblem problem = interpolation_problem(attributes, triangle, barycentric, triangles);
  problem.gradient = raster_data<float>(gradient, ScalarType::Float, 4, "gradient");
  Tensor grad_attributes = torch::stable::new_empty(attributes, attributes.sizes(), ScalarType::Float);
  Tensor grad_barycentric = torch::stable::new_empty(barycentric, barycentric.sizes(), ScalarType::Float);
  problem.grad_attributes = static_cast<float*>(grad_attributes.mutable_data_ptr());
  problem.grad_barycentric = static_cast<float*>(grad_barycentric.mutable_data_ptr());
  interpolate_backward_cpu(problem);
  return {grad_attributes, grad_barycentric};
}

}  // namespace operators
}  // namespace gptface
