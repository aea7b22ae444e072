// Rasterisation on the CPU: the kernels of one instruction set, for a tile of a picture and for rows of pixels.
//
// Small triangles, which is what meshes are made of, go by in int32, a register of pixels at a time and without a
// branch. Large ones take int64, pixel by pixel.
#pragma once

#include <cstdint>

#include <gptface/raster.h>
#include <gptface/raster_kernels.h>
#include <gptface/simd.h>

namespace gptface {

namespace detail {

// Pixels of a row at a time: as many float64 as a register holds. One means plain scalar code.
template <class Isa>
inline constexpr int kLanes = 1;
#if defined(__AVX512F__)
template <>
inline constexpr int kLanes<Avx512> = 8;
#elif defined(__AVX2__)
template <>
inline constexpr int kLanes<Avx2> = 4;
#endif

template <int Lanes>
struct PixelVectors;

template <>
struct PixelVectors<4> {
  using Int32s = int32_t __attribute__((vector_size(16)));
  using Int64s = int64_t __attribute__((vector_size(32)));
  using Doubles = double __attribute__((vector_size(32)));
  using StoredInt32s = int32_t __attribute__((vector_size(16), aligned(4), may_alias));
  using StoredDoubles = double __attribute__((vector_size(32), aligned(8), may_alias));
};

template <>
struct PixelVectors<8> {
  using Int32s = int32_t __attribute__((vector_size(32)));
  using Int64s = int64_t __attribute__((vector_size(64)));
  using Doubles = double __attribute__((vector_size(64)));
  using StoredInt32s = int32_t __attribute__((vector_size(32), aligned(4), may_alias));
  using StoredDoubles = double __attribute__((vector_size(64), aligned(8), may_alias));
};

// Eight places to the right of its first column are the most that a small triangle writes to, in whole registers.
constexpr int kReach = 8;
// Extent of a triangle up to which its edge functions there fit int32: with 7 pixels,
// |dx · y| + |dy · x| < 7 · 4096 · (7 + 8) · 4096 < 2³¹.
constexpr int32_t kSmallExtent = 7 * kSubpixels;
static_assert(int64_t{kSmallExtent} * (kSmallExtent + kReach * kSubpixels) < INT32_MAX);
static_assert(kReach <= kTileMargin);

// A triangle of small extent: what screen_triangle makes of it, in int32, from its first row and column on.
struct SmallTriangle {
  int32_t edge[3];   // at the first pixel
  int32_t right[3];  // what a column adds
  int32_t down[3];   // what a row adds
  int32_t bound[3];  // inside is what lies above: 0, or −1 where the edge is upper or left
  DepthPlane depth;
};

// The three corners in ascending order of their vertices.
GPTFACE_INLINE SmallTriangle
small_triangle(const ScreenVertex& a, const ScreenVertex& b, const ScreenVertex& c, int32_t row, int32_t column) {
  SmallTriangle made;
  const int32_t y = row * kSubpixels + kSubpixels / 2, x = column * kSubpixels + kSubpixels / 2;
  const int32_t area = (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x);
  const int32_t turn = area >> 31;  // −1 or 0; (v ^ turn) − turn turns v
  const auto side = [&](int i, const ScreenVertex& begin, const ScreenVertex& end) __attribute__((always_inline)) {
    const int32_t dx = ((end.x - begin.x) ^ turn) - turn, dy = ((end.y - begin.y) ^ turn) - turn;
    made.edge[i] = dx * (y - begin.y) - dy * (x - begin.x);
    made.right[i] = -dy * kSubpixels;
    made.down[i] = dx * kSubpixels;
    made.bound[i] = -static_cast<int32_t>((dy < 0) | ((dy == 0) & (dx > 0)));
  };
  side(0, b, c);
  side(1, c, a);
  side(2, a, b);
  made.depth = depth_plane(a.z, b.z, c.z, (area ^ turn) - turn);
  return made;
}

// `columns` is 1 to 8. Not cut to the tile: what lies beside it goes to its margins.
template <class Isa>
GPTFACE_INLINE void cover_small(
    const SmallTriangle& triangle, int32_t number, int32_t rows, int32_t columns, double* depths, int32_t* numbers) {
  constexpr int lanes = kLanes<Isa>;
  int32_t edge0 = triangle.edge[0], edge1 = triangle.edge[1], edge2 = triangle.edge[2];
  if constexpr (lanes == 1) {
    for (int32_t row = 0; row < rows; ++row, depths += kTileStride, numbers += kTileStride) {
      for (int32_t column = 0; column < columns; ++column) {
        const int32_t here0 = edge0 + column * triangle.right[0], here1 = edge1 + column * triangle.right[1];
        const int32_t here2 = edge2 + column * triangle.right[2];
        if (here0 > triangle.bound[0] && here1 > triangle.bound[1] && here2 > triangle.bound[2]) {
          const double depth = depth_at(triangle.depth, here1, here2);
          if (depth < depths[column]) depths[column] = depth, numbers[column] = number;
        }
      }
      edge0 += triangle.down[0], edge1 += triangle.down[1], edge2 += triangle.down[2];
    }
  } else {
    using Vectors = PixelVectors<lanes>;
    using Int32s = typename Vectors::Int32s;
    using Int64s = typename Vectors::Int64s;
    using Doubles = typename Vectors::Doubles;
    Int32s lane;
    for (int i = 0; i < lanes; ++i) lane[i] = i;
    Int32s first0 = edge0 + lane * triangle.right[0], first1 = edge1 + lane * triangle.right[1];
    Int32s first2 = edge2 + lane * triangle.right[2];
    for (int32_t column = 0; column < columns; column += lanes) {
      Int32s here0 = first0, here1 = first1, here2 = first2;
      double* kept = depths + column;
      int32_t* shown = numbers + column;
      for (int32_t row = 0; row < rows; ++row, kept += kTileStride, shown += kTileStride) {
        const Int32s inside = (here0 > triangle.bound[0]) & (here1 > triangle.bound[1]) & (here2 > triangle.bound[2]);
        const Doubles depth = triangle.depth.first +
            (__builtin_convertvector(here1, Doubles) * triangle.depth.slope1 +
             __builtin_convertvector(here2, Doubles) * triangle.depth.slope2);
        auto* old_depth = reinterpret_cast<typename Vectors::StoredDoubles*>(kept);
        auto* old_number = reinterpret_cast<typename Vectors::StoredInt32s*>(shown);
        const Int64s nearer = (depth < *old_depth) & __builtin_convertvector(inside, Int64s);
        *old_depth = nearer ? depth : *old_depth;
        *old_number = __builtin_convertvector(nearer, Int32s) ? number + Int32s{} : *old_number;
        here0 += triangle.down[0], here1 += triangle.down[1], here2 += triangle.down[2];
      }
      first0 += lanes * triangle.right[0], first1 += lanes * triangle.right[1], first2 += lanes * triangle.right[2];
    }
  }
}

// `depths` and `numbers` are those of the first row, as far as the picture's left border.
GPTFACE_INLINE void cover_large(
    const ScreenTriangle& triangle, int32_t number, PixelRange rows, PixelRange columns, double* depths,
    int32_t* numbers) {
  int64_t first[3], right[3], down[3];
  for (int i = 0; i < 3; ++i) {
    first[i] = edge_function(triangle, i, rows.first, columns.first);
    right[i] = -triangle.dy[i] * kSubpixels;
    down[i] = triangle.dx[i] * kSubpixels;
  }
  const int64_t bound[3] = {!triangle.upper_or_left[0], !triangle.upper_or_left[1], !triangle.upper_or_left[2]};
  for (int32_t row = rows.first; row <= rows.last; ++row, depths += kTileStride, numbers += kTileStride) {
    int64_t edge0 = first[0], edge1 = first[1], edge2 = first[2];
    for (int32_t column = columns.first; column <= columns.last; ++column) {
      if (((edge0 - bound[0]) | (edge1 - bound[1]) | (edge2 - bound[2])) >= 0) {
        const double depth = depth_at(triangle.depth, edge1, edge2);
        if (depth < depths[column]) depths[column] = depth, numbers[column] = number;
      }
      edge0 += right[0], edge1 += right[1], edge2 += right[2];
    }
    for (int i = 0; i < 3; ++i) first[i] += down[i];
  }
}

// The triangles of a list, which is in ascending order, over what the tile shows already.
template <class Isa>
void cover_tile(
    const RasterProblem& problem, const ScreenVertex* vertices, const int32_t* list, int64_t number, RasterTile& tile) {
  for (int64_t n = 0; n < number; ++n) {
    const int32_t t = list[n];
    const int32_t* named = problem.triangles + 3 * int64_t{t};
    const SortedCorners corners(named);
    const ScreenVertex &a = vertices[corners.low], &b = vertices[corners.middle], &c = vertices[corners.high];
    const int32_t left = least(a.x, b.x, c.x), right = greatest(a.x, b.x, c.x);
    const int32_t top = least(a.y, b.y, c.y), bottom = greatest(a.y, b.y, c.y);
    PixelRange rows = pixels_between(top, bottom, tile.first_row + tile.rows);
    rows.first = rows.first > tile.first_row ? rows.first : tile.first_row;
    const int64_t place = (rows.first - tile.first_row) * int64_t{kTileStride} - tile.first_column;
    if (right - left <= kSmallExtent && bottom - top <= kSmallExtent) {
      const int32_t column = (left + kSubpixels / 2 - 1) >> kSubpixelBits;
      const int32_t columns = ((right - kSubpixels / 2) >> kSubpixelBits) - column + 1;
      const SmallTriangle triangle = small_triangle(a, b, c, rows.first, column);
      if (!triangle.depth.covers) continue;
      cover_small<Isa>(
          triangle, t, rows.last - rows.first + 1, columns, tile.depth + place + column, tile.triangle + place + column);
    } else {
      const ScreenTriangle triangle = screen_triangle(a, b, c);
      if (!triangle.depth.covers) continue;
      PixelRange columns = pixels_between(left, right, tile.first_column + tile.columns);
      columns.first = columns.first > tile.first_column ? columns.first : tile.first_column;
      cover_large(triangle, t, rows, columns, tile.depth + place, tile.triangle + place);
    }
  }
}

// Weights and depth of what the tile shows.
template <class Isa>
void resolve_tile(const RasterProblem& problem, int64_t sample, const RasterTile& tile) {
  const float* positions = problem.positions + sample * problem.vertices * 4;
  for (int32_t r = 0; r < tile.rows; ++r) {
    const int32_t row = tile.first_row + r;
    const double y = centre_y(row, problem.height);
    const int64_t pixel = (sample * problem.height + row) * problem.width + tile.first_column;
    const int32_t* shown = tile.triangle + r * kTileStride;
    for (int32_t c = 0; c < tile.columns; ++c) {
      const int32_t t = shown[c];
      float weight0 = 0.0f, weight1 = 0.0f, depth = 0.0f;
      if (t >= 0) {
        const int32_t* corners = problem.triangles + 3 * int64_t{t};
        const PixelTriangle found = pixel_triangle(
            positions + 4 * int64_t{corners[0]}, positions + 4 * int64_t{corners[1]},
            positions + 4 * int64_t{corners[2]}, centre_x(tile.first_column + c, problem.width), y);
        const double z = found.weight[0] * found.z[0] + found.weight[1] * found.z[1] + found.weight[2] * found.z[2];
        const double w = found.weight[0] * found.w[0] + found.weight[1] * found.w[1] + found.weight[2] * found.w[2];
        weight0 = static_cast<float>(found.weight[0]);
        weight1 = static_cast<float>(found.weight[1]);
        depth = static_cast<float>(z / w);
      }
      problem.triangle[pixel + c] = t;
      problem.barycentric[2 * (pixel + c)] = weight0;
      problem.barycentric[2 * (pixel + c) + 1] = weight1;
      problem.depth[pixel + c] = depth;
    }
  }
}

// Adds the gradients of rows [begin, end) of one picture to `sums (vertices, 4)`: row by row, the pixels of a run of one
// triangle together.
template <class Isa>
void raster_gradient_rows(const RasterGradientProblem& problem, int64_t sample, int32_t begin, int32_t end, float* sums) {
  const float* positions = problem.positions + sample * problem.vertices * 4;
  double run[3][4] = {};
  int32_t of = kNoTriangle;
  const auto flush = [&]() __attribute__((always_inline)) {
    if (of < 0) return;
    for (int i = 0; i < 3; ++i) {
      float* sum = sums + 4 * int64_t{problem.triangles[3 * int64_t{of} + i]};
      for (int k = 0; k < 4; ++k) sum[k] += static_cast<float>(run[i][k]);
    }
  };
  for (int32_t row = begin; row < end; ++row) {
    const double y = centre_y(row, problem.height);
    const int64_t first = (sample * problem.height + row) * problem.width;
    for (int32_t column = 0; column < problem.width; ++column) {
      const int64_t pixel = first + column;
      const int32_t t = problem.triangle[pixel];
      if (t < 0) continue;
      const int32_t* corners = problem.triangles + 3 * int64_t{t};
      const double x = centre_x(column, problem.width);
      const PixelTriangle found = pixel_triangle(
          positions + 4 * int64_t{corners[0]}, positions + 4 * int64_t{corners[1]}, positions + 4 * int64_t{corners[2]},
          x, y);
      double gradient[3][4];
      pixel_gradient(
          found, x, y, problem.grad_barycentric ? problem.grad_barycentric[2 * pixel] : 0.0f,
          problem.grad_barycentric ? problem.grad_barycentric[2 * pixel + 1] : 0.0f,
          problem.grad_depth ? problem.grad_depth[pixel] : 0.0f, gradient);
      if (t == of) {
        for (int i = 0; i < 3; ++i)
          for (int k = 0; k < 4; ++k) run[i][k] += gradient[i][k];
      } else {
        flush();
        of = t;
        for (int i = 0; i < 3; ++i)
          for (int k = 0; k < 4; ++k) run[i][k] = gradient[i][k];
      }
    }
  }
  flush();
}

// `Channels` 0: as many as the problem says.
template <class Isa, int Channels>
GPTFACE_INLINE void interpolate_some(const InterpolationProblem& problem, int64_t sample, int64_t begin, int64_t end) {
  const int64_t channels = Channels ? Channels : problem.channels;
  const float* attributes = problem.attributes + (problem.shared ? 0 : sample * problem.vertices * channels);
  for (int64_t pixel = begin; pixel < end; ++pixel) {
    const int32_t t = problem.triangle[pixel];
    float* out = problem.out + pixel * channels;
    if (t < 0) {
      for (int64_t k = 0; k < channels; ++k) out[k] = 0.0f;
      continue;
    }
    const int32_t* corners = problem.triangles + 3 * int64_t{t};
    const float weight0 = problem.barycentric[2 * pixel], weight1 = problem.barycentric[2 * pixel + 1];
    const float weight2 = 1.0f - (weight0 + weight1);
    const float* corner0 = attributes + corners[0] * channels;
    const float* corner1 = attributes + corners[1] * channels;
    const float* corner2 = attributes + corners[2] * channels;
    for (int64_t k = 0; k < channels; ++k) out[k] = weight0 * corner0[k] + weight1 * corner1[k] + weight2 * corner2[k];
  }
}

template <class Isa, int Channels>
GPTFACE_INLINE void interpolation_gradient_some(
    const InterpolationProblem& problem, int64_t sample, int64_t begin, int64_t end, float* sums) {
  const int64_t channels = Channels ? Channels : problem.channels;
  const float* attributes = problem.attributes + (problem.shared ? 0 : sample * problem.vertices * channels);
  for (int64_t pixel = begin; pixel < end; ++pixel) {
    const int32_t t = problem.triangle[pixel];
    float grad0 = 0.0f, grad1 = 0.0f;
    if (t >= 0) {
      const int32_t* corners = problem.triangles + 3 * int64_t{t};
      const int64_t place0 = corners[0] * channels, place1 = corners[1] * channels, place2 = corners[2] * channels;
      const float weight0 = problem.barycentric[2 * pixel], weight1 = problem.barycentric[2 * pixel + 1];
      const float weight2 = 1.0f - (weight0 + weight1);
      const float* gradient = problem.gradient + pixel * channels;
      for (int64_t k = 0; k < channels; ++k) {
        const float g = gradient[k], attribute2 = attributes[place2 + k];
        grad0 += g * (attributes[place0 + k] - attribute2);
        grad1 += g * (attributes[place1 + k] - attribute2);
        sums[place0 + k] += weight0 * g;
        sums[place1 + k] += weight1 * g;
        sums[place2 + k] += weight2 * g;
      }
    }
    problem.grad_barycentric[2 * pixel] = grad0;
    problem.grad_barycentric[2 * pixel + 1] = grad1;
  }
}

// body(std::integral_constant-like number of channels), the usual ones known to the compiler.
template <int Channels>
struct ChannelCount {
  static constexpr int value = Channels;
};

template <class Isa, class Body>
GPTFACE_INLINE void with_channels(int64_t channels, const Body& body) {
  switch (channels) {
    case 1: return body(ChannelCount<1>{});
    case 2: return body(ChannelCount<2>{});
    case 3: return body(ChannelCount<3>{});
    case 4: return body(ChannelCount<4>{});
    default: return body(ChannelCount<0>{});
  }
}

// Pixels [begin, end), counted over the batch, of one picture.
template <class Isa>
void interpolate_pixels(const InterpolationProblem& problem, int64_t sample, int64_t begin, int64_t end) {
  with_channels<Isa>(problem.channels, [&](auto count) __attribute__((always_inline)) {
    interpolate_some<Isa, decltype(count)::value>(problem, sample, begin, end);
  });
}

// Also adds to `sums (vertices, channels)`, pixel by pixel.
template <class Isa>
void interpolation_gradient_pixels(
    const InterpolationProblem& problem, int64_t sample, int64_t begin, int64_t end, float* sums) {
  with_channels<Isa>(problem.channels, [&](auto count) __attribute__((always_inline)) {
    interpolation_gradient_some<Isa, decltype(count)::value>(problem, sample, begin, end, sums);
  });
}

}  // namespace detail

template <class Isa>
constexpr RasterKernels make_raster_kernels() {
  return {
      detail::cover_tile<Isa>,         detail::resolve_tile<Isa>,
      detail::raster_gradient_rows<Isa>, detail::interpolate_pixels<Isa>,
      detail::interpolation_gradient_pixels<Isa>,
  };
}

}  // namespace gptface
