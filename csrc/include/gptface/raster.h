// Rasterisation of triangles: what is decided for a vertex, a triangle and a pixel, on host and device alike.
//
// The definition is gptface/ops/raster/reference.py. Which pixels a triangle covers is exact (corners are snapped to
// 1/4096 of a pixel, the rest is int64), and which is nearest is decided in float64 with every operation rounded by
// itself, so all implementations show the same triangles. For that, host code must be compiled without contraction of
// floating-point operations (-ffp-contract=off).
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define GPTFACE_RASTER_INLINE __host__ __device__ inline __attribute__((always_inline))
#else
#define GPTFACE_RASTER_INLINE inline __attribute__((always_inline))
#endif

namespace gptface {

inline constexpr int kSubpixelBits = 12;
inline constexpr int32_t kSubpixels = 1 << kSubpixelBits;
// Sub-pixels from the upper left corner within which edge functions fit int64.
inline constexpr int32_t kGuardBand = 1 << 29;
inline constexpr int32_t kUnusableVertex = INT32_MIN;  // as ScreenVertex::x
inline constexpr int32_t kNoTriangle = -1;

// Pictures of `batch` meshes that share their triangles. Arrays are contiguous.
struct RasterProblem {
  const float* positions;    // (batch, vertices, 4), clip space
  const int32_t* triangles;  // (count, 3)
  int64_t batch, vertices, count;
  int32_t height, width;

  int32_t* triangle;   // (batch, height, width)
  float* barycentric;  // (batch, height, width, 2)
  float* depth;        // (batch, height, width)
  int32_t* dropped;    // (batch)
};

// The gradient of positions for what a rasterisation showed. A null gradient is zero.
struct RasterGradientProblem {
  const float* positions;
  const int32_t* triangles;
  int64_t batch, vertices, count;
  int32_t height, width;
  const int32_t* triangle;
  const float* grad_barycentric;
  const float* grad_depth;

  float* grad_positions;  // (batch, vertices, 4)
};

// Attributes mixed at every pixel, and the gradients of that.
struct InterpolationProblem {
  const float* attributes;  // (batch, vertices, channels), or (1, vertices, channels) where `shared`
  const int32_t* triangles;
  const int32_t* triangle;   // (batch, height, width)
  const float* barycentric;  // (batch, height, width, 2)
  int64_t batch, vertices, count, channels;
  int32_t height, width;
  bool shared;

  float* out;             // (batch, height, width, channels); of the forward pass
  const float* gradient;  // the same, of the backward pass
  float* grad_attributes;
  float* grad_barycentric;
};

// Rounded by itself, never as part of a fused multiply-add.
GPTFACE_RASTER_INLINE double rounded_product(double a, double b) {
#if defined(__CUDA_ARCH__)
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}

GPTFACE_RASTER_INLINE double rounded_sum(double a, double b) {
#if defined(__CUDA_ARCH__)
  return __dadd_rn(a, b);
#else
  return a + b;
#endif
}

// A vertex on the screen: sub-pixels from the left and (downwards) from the upper border; z/w.
struct ScreenVertex {
  int32_t x, y;
  double z;
};

// To the nearest integer, halves to even, for |value| < 2⁵¹; farther values stay far away.
GPTFACE_RASTER_INLINE double nearest_integer(double value) {
  constexpr double shift = 6755399441055744.0;  // 1.5 · 2⁵²: the sum has no bits for fractions
  return rounded_sum(rounded_sum(value, shift), -shift);
}

GPTFACE_RASTER_INLINE ScreenVertex screen_vertex(const float* position, int32_t height, int32_t width) {
  const double x = position[0], y = position[1], z = position[2], w = position[3];
  const float finite = (position[0] - position[0]) + (position[1] - position[1]) + (position[2] - position[2]) +
      (position[3] - position[3]);  // 0, or NaN
  ScreenVertex vertex{kUnusableVertex, 0, 0.0};
  if (!(finite == 0.0f && w > 0.0 && z >= -w)) return vertex;
  const double column = nearest_integer(rounded_product(rounded_sum(x / w, 1.0), width * (kSubpixels / 2.0)));
  const double row = nearest_integer(rounded_product(rounded_sum(1.0, -(y / w)), height * (kSubpixels / 2.0)));
  if (!(column >= -kGuardBand && column <= kGuardBand && row >= -kGuardBand && row <= kGuardBand)) return vertex;
  vertex.x = static_cast<int32_t>(column);
  vertex.y = static_cast<int32_t>(row);
  vertex.z = z / w;
  return vertex;
}

// Pixels from `first` to `last`, none where first > last.
struct PixelRange {
  int32_t first, last;
};

// Those of `size` whose centre lies in [low, high] sub-pixels.
GPTFACE_RASTER_INLINE PixelRange pixels_between(int32_t low, int32_t high, int32_t size) {
  const int32_t first = (low - kSubpixels / 2 + kSubpixels - 1) >> kSubpixelBits;
  const int32_t last = (high - kSubpixels / 2) >> kSubpixelBits;
  return {first > 0 ? first : 0, last < size - 1 ? last : size - 1};
}

GPTFACE_RASTER_INLINE int32_t least(int32_t a, int32_t b, int32_t c) {
  const int32_t ab = a < b ? a : b;
  return ab < c ? ab : c;
}

GPTFACE_RASTER_INLINE int32_t greatest(int32_t a, int32_t b, int32_t c) {
  const int32_t ab = a > b ? a : b;
  return ab > c ? ab : c;
}

// The corners of a triangle in ascending order, so that triangles of the same vertices have the same depth to the last
// bit, in whatever order they name them.
struct SortedCorners {
  int32_t low, middle, high;

  GPTFACE_RASTER_INLINE explicit SortedCorners(const int32_t* triangle)
      : low(least(triangle[0], triangle[1], triangle[2])), high(greatest(triangle[0], triangle[1], triangle[2])) {
    middle = static_cast<int32_t>(int64_t{triangle[0]} + triangle[1] + triangle[2] - low - high);
  }
};

// z/w over a triangle: of its first corner, and what the edge functions of the other two add. A triangle of one depth
// has exactly that everywhere.
struct DepthPlane {
  double first, slope1, slope2;
  bool covers;  // false for a triangle without area, which covers nothing
};

// `area` is twice the area.
GPTFACE_RASTER_INLINE DepthPlane depth_plane(double z0, double z1, double z2, double area) {
  if (area == 0.0) return {0.0, 0.0, 0.0, false};
  const double scale = 1.0 / area;
  return {z0, rounded_product(rounded_sum(z1, -z0), scale), rounded_product(rounded_sum(z2, -z0), scale), true};
}

// A triangle on the screen: the side opposite each corner, turned so that the inside is positive.
struct ScreenTriangle {
  int32_t x[3], y[3];    // where the side begins
  int64_t dx[3], dy[3];  // where it leads
  bool upper_or_left[3];
  DepthPlane depth;
};

// The three corners in ascending order of their vertices.
GPTFACE_RASTER_INLINE ScreenTriangle
screen_triangle(const ScreenVertex& a, const ScreenVertex& b, const ScreenVertex& c) {
  const ScreenVertex corner[3] = {a, b, c};
  ScreenTriangle made;
  const int64_t area =
      static_cast<int64_t>(b.x - a.x) * (c.y - a.y) - static_cast<int64_t>(b.y - a.y) * (c.x - a.x);
  const int64_t turn = area < 0 ? -1 : 1;
  made.depth = depth_plane(a.z, b.z, c.z, static_cast<double>(area * turn));
  for (int i = 0; i < 3; ++i) {
    const ScreenVertex &begin = corner[(i + 1) % 3], &end = corner[(i + 2) % 3];
    made.x[i] = begin.x, made.y[i] = begin.y;
    made.dx[i] = (end.x - begin.x) * turn, made.dy[i] = (end.y - begin.y) * turn;
    made.upper_or_left[i] = made.dy[i] < 0 || (made.dy[i] == 0 && made.dx[i] > 0);
  }
  return made;
}

// Twice the area that a pixel's centre spans with the side opposite a corner; negative outside.
GPTFACE_RASTER_INLINE int64_t edge_function(const ScreenTriangle& triangle, int side, int32_t row, int32_t column) {
  const int64_t y = row * int64_t{kSubpixels} + kSubpixels / 2, x = column * int64_t{kSubpixels} + kSubpixels / 2;
  return triangle.dx[side] * (y - triangle.y[side]) - triangle.dy[side] * (x - triangle.x[side]);
}

// From the edge functions of the sides opposite the second and the third corner.
GPTFACE_RASTER_INLINE double depth_at(const DepthPlane& plane, int64_t edge1, int64_t edge2) {
  const double product1 = rounded_product(static_cast<double>(edge1), plane.slope1);
  const double product2 = rounded_product(static_cast<double>(edge2), plane.slope2);
  return rounded_sum(plane.first, rounded_sum(product1, product2));
}

// Where pixel centres are in units of clip space.
GPTFACE_RASTER_INLINE double centre_x(int32_t column, int32_t width) { return (2.0 * column + 1.0) / width - 1.0; }
GPTFACE_RASTER_INLINE double centre_y(int32_t row, int32_t height) { return 1.0 - (2.0 * row + 1.0) / height; }

// The triangle behind a pixel in homogeneous coordinates; one entry a corner. Real is double, or a vector of them with
// a pixel in each lane.
template <class Real>
struct PixelTriangle {
  Real z[3], w[3];
  Real from_x[3], from_y[3];  // from the pixel's centre to the corner, times w
  Real raw[3];                // perspective-correct weights as they come
  Real weight[3];             // none below 0
  Real inverse_total;
  decltype(Real{} > Real{}) sound;  // false where the triangle is thinner than a sub-pixel: raw weights mean nothing
};

// `corner[i]` are x, y, z and w.
template <class Real>
GPTFACE_RASTER_INLINE void pixel_triangle(
    const Real (&corner)[3][4], const Real& x, const Real& y, PixelTriangle<Real>& made) {
  const Real zero = Real{}, one = zero + 1.0;
  for (int i = 0; i < 3; ++i) {
    made.z[i] = corner[i][2], made.w[i] = corner[i][3];
    made.from_x[i] = corner[i][0] - x * made.w[i];
    made.from_y[i] = corner[i][1] - y * made.w[i];
  }
  Real area[3];
  for (int i = 0; i < 3; ++i) {
    const int next = (i + 1) % 3, last = (i + 2) % 3;
    area[i] = made.from_x[next] * made.from_y[last] - made.from_y[next] * made.from_x[last];
  }
  made.inverse_total = one / (area[0] + area[1] + area[2]);
  for (int i = 0; i < 3; ++i) made.raw[i] = area[i] * made.inverse_total;
  made.sound = (made.raw[0] > -one) & (made.raw[1] > -one) & (made.raw[2] > -one);  // false for NaN
  for (int i = 0; i < 3; ++i) {
    const Real positive = made.raw[i] > zero ? made.raw[i] : zero;
    made.weight[i] = made.sound ? positive : one;
  }
  const Real scale = one / (made.weight[0] + made.weight[1] + made.weight[2]);
  for (int i = 0; i < 3; ++i) made.weight[i] *= scale;
}

template <class Real>
GPTFACE_RASTER_INLINE void pixel_depth(const PixelTriangle<Real>& pixel, Real& depth) {
  depth = (pixel.weight[0] * pixel.z[0] + pixel.weight[1] * pixel.z[1] + pixel.weight[2] * pixel.z[2]) /
      (pixel.weight[0] * pixel.w[0] + pixel.weight[1] * pixel.w[1] + pixel.weight[2] * pixel.w[2]);
}

// Gradients of a pixel's first two weights and of its depth become those of the corners' x, y, z and w.
template <class Real>
GPTFACE_RASTER_INLINE void pixel_gradient(
    const PixelTriangle<Real>& pixel, const Real& x, const Real& y, const Real& grad_weight0, const Real& grad_weight1,
    const Real& grad_depth, Real (&gradient)[3][4]) {
  const Real zero = Real{};
  Real grad_weight[3] = {grad_weight0, grad_weight1, zero};
  Real mean_z = zero, mean_w = zero;
  for (int i = 0; i < 3; ++i) {
    mean_z += pixel.weight[i] * pixel.z[i];
    mean_w += pixel.weight[i] * pixel.w[i];
  }
  const Real inverse_w = 1.0 / mean_w, depth = mean_z * inverse_w, scaled = grad_depth * inverse_w;
  Real common = zero;
  for (int i = 0; i < 3; ++i) {
    gradient[i][2] = scaled * pixel.weight[i];
    gradient[i][3] = -gradient[i][2] * depth;
    grad_weight[i] += scaled * (pixel.z[i] - depth * pixel.w[i]);
    common += grad_weight[i] * pixel.raw[i];
  }
  Real grad_area[3];
  for (int i = 0; i < 3; ++i) {
    const Real own = (grad_weight[i] - common) * pixel.inverse_total;
    grad_area[i] = pixel.sound ? own : zero;
  }
  for (int i = 0; i < 3; ++i) {
    const int next = (i + 1) % 3, last = (i + 2) % 3;
    gradient[i][0] = grad_area[last] * pixel.from_y[next] - grad_area[next] * pixel.from_y[last];
    gradient[i][1] = grad_area[next] * pixel.from_x[last] - grad_area[last] * pixel.from_x[next];
    gradient[i][3] -= x * gradient[i][0] + y * gradient[i][1];
  }
}

// Scratch of the kernels on a GPU (gptface/raster_device.cuh).
struct RasterScratch {
  ScreenVertex* vertices;       // (batch, vertices)
  unsigned long long* nearest;  // (batch, height, width): depth, in an order of unsigned integers
  int64_t* large;               // (batch · count): sample · count + triangle, of those drawn by whole blocks
  unsigned long long* number_large;
};

}  // namespace gptface
