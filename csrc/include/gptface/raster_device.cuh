// Rasterisation on a GPU, from the same decisions as on the CPU (gptface/raster.h).
//
// Triangles go by twice: first every pixel learns the depth of what is nearest, then the lowest triangle that has it.
// Both are minima, so the order in which threads arrive does not show. Eight threads share a triangle; those with many
// pixels are listed in the first pass and drawn by whole blocks. tests/native/raster_checks.cpp runs these kernels on
// the threads of a CPU.
#pragma once

#include <cuda_runtime.h>

#include <gptface/raster.h>

namespace gptface {

namespace {

constexpr int kRasterThreads = 256;
constexpr int kThreadsOfATriangle = 8;
constexpr int64_t kLargeTriangle = 512;  // pixels of a bounding box
constexpr int kSlices = 8;               // parts of a large triangle that blocks of their own draw

__device__ inline int64_t global_thread() {
  return static_cast<int64_t>(blockIdx.x) * kRasterThreads + threadIdx.x;
}

// Keeps the order of float64; −0 counts as 0.
__device__ inline unsigned long long ordered_bits(double depth) {
  const double positive_zero = rounded_sum(depth, 0.0);
  long long bits;
  static_assert(sizeof(bits) == sizeof(positive_zero));
  __builtin_memcpy(&bits, &positive_zero, sizeof(bits));
  return bits < 0 ? ~static_cast<unsigned long long>(bits) : static_cast<unsigned long long>(bits) | 1ull << 63;
}

__global__ void __launch_bounds__(kRasterThreads)
    project_kernel(const __grid_constant__ RasterProblem problem, const __grid_constant__ RasterScratch scratch) {
  const int64_t thread = global_thread();
  if (thread < problem.batch * problem.vertices)
    scratch.vertices[thread] = screen_vertex(problem.positions + 4 * thread, problem.height, problem.width);
  if (thread < problem.batch * problem.height * problem.width) {
    scratch.nearest[thread] = ~0ull;
    problem.triangle[thread] = INT32_MAX;
  }
  if (thread < problem.batch) problem.dropped[thread] = 0;
  if (thread == 0) *scratch.number_large = 0;
}

struct PixelBox {
  PixelRange rows, columns;
  __device__ int64_t pixels() const {
    const int64_t high = rows.last - rows.first + 1, wide = columns.last - columns.first + 1;
    return high > 0 && wide > 0 ? high * wide : 0;
  }
};

// False where the triangle cannot be drawn.
__device__ inline bool pixel_box(
    const RasterProblem& problem, const ScreenVertex* vertices, const int32_t* triangle, PixelBox& box) {
  for (int i = 0; i < 3; ++i)
    if (triangle[i] < 0 || triangle[i] >= problem.vertices) return false;
  const ScreenVertex &a = vertices[triangle[0]], &b = vertices[triangle[1]], &c = vertices[triangle[2]];
  const int32_t left = least(a.x, b.x, c.x);
  if (left == kUnusableVertex) return false;
  box.columns = pixels_between(left, greatest(a.x, b.x, c.x), problem.width);
  box.rows = pixels_between(least(a.y, b.y, c.y), greatest(a.y, b.y, c.y), problem.height);
  return true;
}

// Every `step`-th pixel of the box from `first` on. `Choose`: the depth is known, name the triangle.
template <bool Choose>
__device__ inline void draw(
    const RasterProblem& problem, const RasterScratch& scratch, int64_t sample, int32_t t, const PixelBox& box,
    int64_t first, int64_t step) {
  const int64_t pixels = box.pixels();
  if (first >= pixels) return;
  const ScreenVertex* vertices = scratch.vertices + sample * problem.vertices;
  const SortedCorners corners(problem.triangles + 3 * static_cast<int64_t>(t));
  const ScreenTriangle triangle =
      screen_triangle(vertices[corners.low], vertices[corners.middle], vertices[corners.high]);
  if (!triangle.depth.covers) return;
  const int32_t wide = box.columns.last - box.columns.first + 1;
  for (int64_t i = first; i < pixels; i += step) {
    const int32_t row = box.rows.first + static_cast<int32_t>(i / wide);
    const int32_t column = box.columns.first + static_cast<int32_t>(i % wide);
    const int64_t edge0 = edge_function(triangle, 0, row, column), edge1 = edge_function(triangle, 1, row, column);
    const int64_t edge2 = edge_function(triangle, 2, row, column);
    if (edge0 < !triangle.upper_or_left[0] || edge1 < !triangle.upper_or_left[1] || edge2 < !triangle.upper_or_left[2])
      continue;
    const unsigned long long depth = ordered_bits(depth_at(triangle.depth, edge1, edge2));
    const int64_t pixel = (sample * problem.height + row) * problem.width + column;
    if constexpr (Choose) {
      if (depth == scratch.nearest[pixel]) atomicMin(problem.triangle + pixel, t);
    } else {
      atomicMin(scratch.nearest + pixel, depth);
    }
  }
}

template <bool Choose>
__global__ void __launch_bounds__(kRasterThreads)
    cover_kernel(const __grid_constant__ RasterProblem problem, const __grid_constant__ RasterScratch scratch) {
  const int64_t item = global_thread() / kThreadsOfATriangle;
  const int part = static_cast<int>(threadIdx.x) % kThreadsOfATriangle;
  if (item >= problem.batch * problem.count) return;
  const int64_t sample = item / problem.count;
  const int32_t t = static_cast<int32_t>(item % problem.count);
  PixelBox box;
  if (!pixel_box(problem, scratch.vertices + sample * problem.vertices, problem.triangles + 3 * int64_t{t}, box)) {
    if (!Choose && part == 0) atomicAdd(problem.dropped + sample, 1);
    return;
  }
  if (box.pixels() > kLargeTriangle) {
    if (!Choose && part == 0) scratch.large[atomicAdd(scratch.number_large, 1ull)] = item;
    return;
  }
  draw<Choose>(problem, scratch, sample, t, box, part, kThreadsOfATriangle);
}

template <bool Choose>
__global__ void __launch_bounds__(kRasterThreads)
    cover_large_kernel(const __grid_constant__ RasterProblem problem, const __grid_constant__ RasterScratch scratch) {
  const int64_t number = static_cast<int64_t>(*scratch.number_large);
  for (int64_t n = blockIdx.x; n < number; n += gridDim.x) {
    const int64_t item = scratch.large[n], sample = item / problem.count;
    const int32_t t = static_cast<int32_t>(item % problem.count);
    PixelBox box;
    pixel_box(problem, scratch.vertices + sample * problem.vertices, problem.triangles + 3 * int64_t{t}, box);
    draw<Choose>(
        problem, scratch, sample, t, box, static_cast<int64_t>(blockIdx.y) * kRasterThreads + threadIdx.x,
        int64_t{kSlices} * kRasterThreads);
  }
}

struct PixelPlace {
  int64_t sample;
  int32_t row, column;
};

__device__ inline PixelPlace pixel_place(int64_t pixel, int32_t height, int32_t width) {
  const int64_t rows = pixel / width;
  return {rows / height, static_cast<int32_t>(rows % height), static_cast<int32_t>(pixel % width)};
}

template <class Problem>
__device__ inline void triangle_behind(
    const Problem& problem, const PixelPlace& place, int32_t t, double x, double y, PixelTriangle<double>& found) {
  const float* positions = problem.positions + place.sample * problem.vertices * 4;
  const int32_t* named = problem.triangles + 3 * static_cast<int64_t>(t);
  double corner[3][4];
  for (int i = 0; i < 3; ++i)
    for (int k = 0; k < 4; ++k) corner[i][k] = positions[4 * int64_t{named[i]} + k];
  pixel_triangle(corner, x, y, found);
}

__global__ void __launch_bounds__(kRasterThreads) resolve_kernel(const __grid_constant__ RasterProblem problem) {
  const int64_t pixel = global_thread();
  if (pixel >= problem.batch * problem.height * problem.width) return;
  const int32_t t = problem.triangle[pixel];
  float weight0 = 0.0f, weight1 = 0.0f, depth = 0.0f;
  if (t != INT32_MAX) {
    const PixelPlace place = pixel_place(pixel, problem.height, problem.width);
    PixelTriangle<double> found;
    triangle_behind(
        problem, place, t, centre_x(place.column, problem.width), centre_y(place.row, problem.height), found);
    double exact_depth;
    pixel_depth(found, exact_depth);
    weight0 = static_cast<float>(found.weight[0]);
    weight1 = static_cast<float>(found.weight[1]);
    depth = static_cast<float>(exact_depth);
  }
  problem.triangle[pixel] = t == INT32_MAX ? kNoTriangle : t;
  problem.barycentric[2 * pixel] = weight0;
  problem.barycentric[2 * pixel + 1] = weight1;
  problem.depth[pixel] = depth;
}

// `grad_positions` of the problem takes what every pixel gives to the corners of its triangle, (pixels, 3, 4); zeros
// where there is none.
__global__ void __launch_bounds__(kRasterThreads)
    corner_gradient_kernel(const __grid_constant__ RasterGradientProblem problem) {
  const int64_t pixel = global_thread();
  if (pixel >= problem.batch * problem.height * problem.width) return;
  const int32_t t = problem.triangle[pixel];
  double gradient[3][4] = {};
  if (t >= 0 && t < problem.count) {
    const PixelPlace place = pixel_place(pixel, problem.height, problem.width);
    const double x = centre_x(place.column, problem.width), y = centre_y(place.row, problem.height);
    PixelTriangle<double> found;
    triangle_behind(problem, place, t, x, y, found);
    const double grad_weight0 = problem.grad_barycentric ? problem.grad_barycentric[2 * pixel] : 0.0f;
    const double grad_weight1 = problem.grad_barycentric ? problem.grad_barycentric[2 * pixel + 1] : 0.0f;
    const double grad_depth = problem.grad_depth ? problem.grad_depth[pixel] : 0.0f;
    pixel_gradient(found, x, y, grad_weight0, grad_weight1, grad_depth, gradient);
  }
  for (int i = 0; i < 3; ++i)
    for (int k = 0; k < 4; ++k) problem.grad_positions[12 * pixel + 4 * i + k] = static_cast<float>(gradient[i][k]);
}

__global__ void __launch_bounds__(kRasterThreads)
    interpolate_kernel(const __grid_constant__ InterpolationProblem problem) {
  const int64_t pixel = global_thread();
  if (pixel >= problem.batch * problem.height * problem.width) return;
  const int32_t t = problem.triangle[pixel];
  float* out = problem.out + pixel * problem.channels;
  const int32_t* corners = problem.triangles + 3 * static_cast<int64_t>(t);
  bool there = t >= 0 && t < problem.count;
  for (int i = 0; there && i < 3; ++i) there = corners[i] >= 0 && corners[i] < problem.vertices;
  if (!there) {
    for (int64_t k = 0; k < problem.channels; ++k) out[k] = 0.0f;
    return;
  }
  const int64_t sample = pixel / (static_cast<int64_t>(problem.height) * problem.width);
  const float* attributes = problem.attributes + (problem.shared ? 0 : sample * problem.vertices * problem.channels);
  const float weight0 = problem.barycentric[2 * pixel], weight1 = problem.barycentric[2 * pixel + 1];
  const float weight2 = 1.0f - (weight0 + weight1);
  for (int64_t k = 0; k < problem.channels; ++k)
    out[k] = weight0 * attributes[corners[0] * problem.channels + k] +
        weight1 * attributes[corners[1] * problem.channels + k] +
        weight2 * attributes[corners[2] * problem.channels + k];
}

}  // namespace

}  // namespace gptface
