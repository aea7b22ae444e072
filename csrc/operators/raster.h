// Tensors in, raw pointers out: what stands between the dispatcher and the rasteriser's kernels.
#pragma once

#include <limits>
#include <optional>
#include <tuple>
#include <vector>

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <gptface/raster.h>
#ifndef GPTFACE_CUDA
#include <gptface/raster_silhouettes.h>
#endif

#include "span_mask.h"

namespace gptface {

#ifdef GPTFACE_CUDA
// csrc/cuda/raster.cu
void rasterize_cuda(const RasterProblem& problem, const RasterScratch& scratch, void* stream);
void raster_corner_gradients_cuda(const RasterGradientProblem& problem, void* stream);
void interpolate_cuda(const InterpolationProblem& problem, void* stream);
#else
// csrc/cpu/raster.cpp
void rasterize_cpu(const RasterProblem& problem);
void rasterize_backward_cpu(const RasterGradientProblem& problem);
void interpolate_cpu(const InterpolationProblem& problem);
void interpolate_backward_cpu(const InterpolationProblem& problem);
void antialias_cpu(const AntialiasProblem& problem);
void antialias_backward_cpu(const AntialiasProblem& problem);
#endif

namespace operators {

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

// What is read at every pixel must have as many of them as `triangle`.
inline void check_pixels(const Tensor& tensor, const Tensor& triangle, const char* name) {
  STD_TORCH_CHECK(
      tensor.size(0) == triangle.size(0) && tensor.size(1) == triangle.size(1) && tensor.size(2) == triangle.size(2),
      "gptface: rasterisation: ", name, " must have the pixels of triangle");
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
#ifdef GPTFACE_CUDA
  const torch::stable::accelerator::DeviceGuard guard(positions.get_device_index());
#endif
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
#ifdef GPTFACE_CUDA
  Tensor vertices = allocate({batch, problem.vertices, 2}, ScalarType::Long);
  static_assert(sizeof(ScreenVertex) == 2 * sizeof(int64_t));
  Tensor nearest = allocate({batch, height, width}, ScalarType::Long);
  Tensor large = allocate({batch * problem.count + 1}, ScalarType::Long);
  auto* listed = static_cast<int64_t*>(large.mutable_data_ptr());
  const RasterScratch scratch{
      static_cast<ScreenVertex*>(vertices.mutable_data_ptr()),
      static_cast<unsigned long long*>(nearest.mutable_data_ptr()), listed + 1,
      reinterpret_cast<unsigned long long*>(listed)};
  rasterize_cuda(problem, scratch, current_stream(positions));
#else
  rasterize_cpu(problem);
#endif
  return {triangle, barycentric, depth, dropped};
}

inline RasterGradientProblem raster_gradient_problem(
    const std::optional<Tensor>& grad_barycentric, const std::optional<Tensor>& grad_depth, const Tensor& positions,
    const Tensor& triangles, const Tensor& triangle) {
  auto problem = raster_mesh<RasterGradientProblem>(
      positions, triangles, positions.size(0), triangle.size(1), triangle.size(2));
  problem.positions = raster_data<float>(positions, ScalarType::Float, 3, "positions");
  problem.triangle = raster_data<int32_t>(triangle, ScalarType::Int, 3, "triangle");
  if (grad_barycentric)
    problem.grad_barycentric = raster_data<float>(*grad_barycentric, ScalarType::Float, 4, "grad_barycentric");
  if (grad_depth) problem.grad_depth = raster_data<float>(*grad_depth, ScalarType::Float, 3, "grad_depth");
  return problem;
}

#ifdef GPTFACE_CUDA
// (B, H, W, 3, 4): what every pixel gives to the corners of its triangle, still to be summed.
inline Tensor raster_corner_gradients(
    std::optional<Tensor> grad_barycentric, std::optional<Tensor> grad_depth, Tensor positions, Tensor triangles,
    Tensor triangle) {
  const torch::stable::accelerator::DeviceGuard guard(positions.get_device_index());
  RasterGradientProblem problem =
      raster_gradient_problem(grad_barycentric, grad_depth, positions, triangles, triangle);
  const std::vector<int64_t> sizes{problem.batch, problem.height, problem.width, 3, 4};
  Tensor gradients = torch::stable::new_empty(positions, sizes, ScalarType::Float);
  problem.grad_positions = static_cast<float*>(gradients.mutable_data_ptr());
  raster_corner_gradients_cuda(problem, current_stream(positions));
  return gradients;
}
#else
inline Tensor rasterize_backward_kernel(
    std::optional<Tensor> grad_barycentric, std::optional<Tensor> grad_depth, Tensor positions, Tensor triangles,
    Tensor triangle) {
  RasterGradientProblem problem =
      raster_gradient_problem(grad_barycentric, grad_depth, positions, triangles, triangle);
  Tensor gradient = torch::stable::new_empty(positions, positions.sizes(), ScalarType::Float);
  problem.grad_positions = static_cast<float*>(gradient.mutable_data_ptr());
  rasterize_backward_cpu(problem);
  return gradient;
}
#endif

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
  check_pixels(barycentric, triangle, "barycentric");
  problem.channels = attributes.size(2);
  problem.shared = attributes.size(0) == 1;
  return problem;
}

inline Tensor interpolate_kernel(Tensor attributes, Tensor triangle, Tensor barycentric, Tensor triangles) {
#ifdef GPTFACE_CUDA
  const torch::stable::accelerator::DeviceGuard guard(attributes.get_device_index());
#endif
  InterpolationProblem problem = interpolation_problem(attributes, triangle, barycentric, triangles);
  const std::vector<int64_t> sizes{problem.batch, problem.height, problem.width, problem.channels};
  Tensor out = torch::stable::new_empty(attributes, sizes, ScalarType::Float);
  problem.out = static_cast<float*>(out.mutable_data_ptr());
#ifdef GPTFACE_CUDA
  interpolate_cuda(problem, current_stream(attributes));
#else
  interpolate_cpu(problem);
#endif
  return out;
}

#ifndef GPTFACE_CUDA
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

inline AntialiasProblem antialias_problem(
    const Tensor& colour, const Tensor& triangle, const Tensor& depth, const Tensor& positions, const Tensor& triangles,
    const Tensor& neighbours) {
  auto problem = raster_mesh<AntialiasProblem>(
      positions, triangles, positions.size(0), triangle.size(1), triangle.size(2));
  STD_TORCH_CHECK(
      neighbours.sizes().equals(triangles.sizes()), "gptface: antialias: neighbours must be shaped like triangles");
  problem.colour = raster_data<float>(colour, ScalarType::Float, 4, "colour");
  problem.triangle = raster_data<int32_t>(triangle, ScalarType::Int, 3, "triangle");
  problem.depth = raster_data<float>(depth, ScalarType::Float, 3, "depth");
  check_pixels(colour, triangle, "colour");
  check_pixels(depth, triangle, "depth");
  problem.positions = raster_data<float>(positions, ScalarType::Float, 3, "positions");
  problem.neighbours = raster_data<int32_t>(neighbours, ScalarType::Int, 2, "neighbours");
  problem.channels = colour.size(3);
  return problem;
}

inline Tensor antialias_kernel(
    Tensor colour, Tensor triangle, Tensor depth, Tensor positions, Tensor triangles, Tensor neighbours) {
  AntialiasProblem problem = antialias_problem(colour, triangle, depth, positions, triangles, neighbours);
  Tensor out = torch::stable::new_empty(colour, colour.sizes(), ScalarType::Float);
  problem.out = static_cast<float*>(out.mutable_data_ptr());
  antialias_cpu(problem);
  return out;
}

inline std::tuple<Tensor, Tensor> antialias_backward_kernel(
    Tensor gradient, Tensor colour, Tensor triangle, Tensor depth, Tensor positions, Tensor triangles,
    Tensor neighbours) {
  AntialiasProblem problem = antialias_problem(colour, triangle, depth, positions, triangles, neighbours);
  problem.gradient = raster_data<float>(gradient, ScalarType::Float, 4, "gradient");
  Tensor grad_colour = torch::stable::new_empty(colour, colour.sizes(), ScalarType::Float);
  Tensor grad_positions = torch::stable::new_empty(positions, positions.sizes(), ScalarType::Float);
  problem.grad_colour = static_cast<float*>(grad_colour.mutable_data_ptr());
  problem.grad_positions = static_cast<float*>(grad_positions.mutable_data_ptr());
  antialias_backward_cpu(problem);
  return {grad_colour, grad_positions};
}
#endif

}  // namespace operators
}  // namespace gptface
