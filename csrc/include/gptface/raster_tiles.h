// Rasterisation on the CPU: the kernels of one instruction set, for a tile of a picture and for rows of pixels.
//
// Small triangles, which is what meshes are made of, go by in int32, a register of pixels at a time and without a
// branch. Large ones take int64, pixel by pixel.
#pragma once

#include <cstdint>
#include <cstring>

#include <gptface/raster.h>
#include <gptface/raster_interpolation.h>
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
      double* depths = tile.depth + place + column;
      cover_small<Isa>(triangle, t, rows.last - rows.first + 1, columns, depths, tile.triangle + place + column);
    } else {
      const ScreenTriangle triangle = screen_triangle(a, b, c);
      if (!triangle.depth.covers) continue;
      PixelRange columns = pixels_between(left, right, tile.first_column + tile.columns);
      columns.first = columns.first > tile.first_column ? columns.first : tile.first_column;
      cover_large(triangle, t, rows, columns, tile.depth + place, tile.triangle + place);
    }
  }
}

// What pixel arithmetic runs on: as many pixels at once as there are lanes.
template <class Isa, int Lanes = kLanes<Isa>>
struct PixelReals {
  using Type = typename PixelVectors<Lanes>::Doubles;
  static GPTFACE_INLINE void set(Type& value, int lane, double to) { value[lane] = to; }
  static GPTFACE_INLINE double get(const Type& value, int lane) { return value[lane]; }
};

template <class Isa>
struct PixelReals<Isa, 1> {
  using Type = double;
  static GPTFACE_INLINE void set(double& value, int, double to) { value = to; }
  static GPTFACE_INLINE double get(const double& value, int) { return value; }
};

// The next pixels of a row that show a triangle, with the corners of it.
template <class Isa>
struct PixelGroup {
  using Reals = PixelReals<Isa>;
  using Real = typename Reals::Type;
  int size = 0;
  int32_t column[kLanes<Isa>] = {}, triangle[kLanes<Isa>] = {};
  Real x, corner[3][4];

  // From `next` on, which is moved behind them. Lanes without a pixel repeat the first.
  GPTFACE_INLINE void take(
      const float* positions, const int32_t* triangles, const int32_t* shown, int32_t columns, int32_t first_column,
      int32_t width, int32_t& next) {
    alignas(64) double centre[kLanes<Isa>] = {};
    const float* places[3][kLanes<Isa>] = {};
    for (size = 0; size < kLanes<Isa> && next < columns; ++next) {
      const int32_t t = shown[next];
      if (t < 0) continue;
      const int32_t* named = triangles + 3 * int64_t{t};
      for (int i = 0; i < 3; ++i) places[i][size] = positions + 4 * int64_t{named[i]};
      centre[size] = centre_x(first_column + next, width);
      column[size] = next, triangle[size] = t;
      ++size;
    }
    if (size == 0) return;
    for (int lane = size; lane < kLanes<Isa>; ++lane) {
      for (int i = 0; i < 3; ++i) places[i][lane] = places[i][0];
      centre[lane] = centre[0];
    }
    for (int lane = 0; lane < kLanes<Isa>; ++lane) Reals::set(x, lane, centre[lane]);
    for (int i = 0; i < 3; ++i) load_corners(places[i], corner[i]);
  }

 private:
  // The vertices at `places`, one a lane, become their x, y, z and w.
  static GPTFACE_INLINE void load_corners(const float* const (&places)[kLanes<Isa>], Real (&corner)[4]) {
    if constexpr (kLanes<Isa> == 4) {  // turned in registers
      using Four = float __attribute__((vector_size(16)));
      Four a, b, c, d;
      std::memcpy(&a, places[0], sizeof(a)), std::memcpy(&b, places[1], sizeof(b));
      std::memcpy(&c, places[2], sizeof(c)), std::memcpy(&d, places[3], sizeof(d));
      const Four ab_xy = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab_zw = __builtin_shufflevector(a, b, 2, 6, 3, 7);
      const Four cd_xy = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd_zw = __builtin_shufflevector(c, d, 2, 6, 3, 7);
      corner[0] = __builtin_convertvector(__builtin_shufflevector(ab_xy, cd_xy, 0, 1, 4, 5), Real);
      corner[1] = __builtin_convertvector(__builtin_shufflevector(ab_xy, cd_xy, 2, 3, 6, 7), Real);
      corner[2] = __builtin_convertvector(__builtin_shufflevector(ab_zw, cd_zw, 0, 1, 4, 5), Real);
      corner[3] = __builtin_convertvector(__builtin_shufflevector(ab_zw, cd_zw, 2, 3, 6, 7), Real);
    } else {
      for (int k = 0; k < 4; ++k)
        for (int lane = 0; lane < kLanes<Isa>; ++lane) Reals::set(corner[k], lane, places[lane][k]);
    }
  }
};

// Weights and depth of what the tile shows.
template <class Isa>
void resolve_tile(const RasterProblem& problem, int64_t sample, const RasterTile& tile) {
  using Group = PixelGroup<Isa>;
  using Reals = typename Group::Reals;
  const float* positions = problem.positions + sample * problem.vertices * 4;
  for (int32_t r = 0; r < tile.rows; ++r) {
    const int32_t row = tile.first_row + r;
    const typename Group::Real y = typename Group::Real{} + centre_y(row, problem.height);
    const int64_t pixel = (sample * problem.height + row) * problem.width + tile.first_column;
    const int32_t* shown = tile.triangle + r * kTileStride;
    for (int32_t c = 0; c < tile.columns; ++c) {
      problem.triangle[pixel + c] = shown[c];
      problem.barycentric[2 * (pixel + c)] = problem.barycentric[2 * (pixel + c) + 1] = 0.0f;
      problem.depth[pixel + c] = 0.0f;
    }
    Group group;
    for (int32_t next = 0;;) {
      group.take(positions, problem.triangles, shown, tile.columns, tile.first_column, problem.width, next);
      if (group.size == 0) break;
      PixelTriangle<typename Group::Real> found;
      typename Group::Real depth;
      pixel_triangle(group.corner, group.x, y, found);
      pixel_depth(found, depth);
      for (int lane = 0; lane < group.size; ++lane) {
        const int64_t place = pixel + group.column[lane];
        problem.barycentric[2 * place] = static_cast<float>(Reals::get(found.weight[0], lane));
        problem.barycentric[2 * place + 1] = static_cast<float>(Reals::get(found.weight[1], lane));
        problem.depth[place] = static_cast<float>(Reals::get(depth, lane));
      }
    }
  }
}

// Adds the gradients of rows [begin, end) of one picture to `sums (vertices, 4)`: row by row, the pixels of a run of
// one triangle together.
template <class Isa>
void raster_gradient_rows(
    const RasterGradientProblem& problem, int64_t sample, int32_t begin, int32_t end, float* sums) {
  using Group = PixelGroup<Isa>;
  using Reals = typename Group::Reals;
  using Real = typename Group::Real;
  const float* positions = problem.positions + sample * problem.vertices * 4;
  double run[12] = {};
  int32_t of = kNoTriangle;
  const auto flush = [&]() __attribute__((always_inline)) {
    if (of < 0) return;
    for (int i = 0; i < 3; ++i) {
      float* sum = sums + 4 * int64_t{problem.triangles[3 * int64_t{of} + i]};
      for (int k = 0; k < 4; ++k) sum[k] += static_cast<float>(run[4 * i + k]);
    }
  };
  Group group;
  for (int32_t row = begin; row < end; ++row) {
    const Real y = Real{} + centre_y(row, problem.height);
    const int64_t first = (sample * problem.height + row) * problem.width;
    for (int32_t next = 0;;) {
      group.take(positions, problem.triangles, problem.triangle + first, problem.width, 0, problem.width, next);
      if (group.size == 0) break;
      Real grad_weight0{}, grad_weight1{}, grad_depth{};
      for (int lane = 0; lane < group.size; ++lane) {
        const int64_t pixel = first + group.column[lane];
        if (problem.grad_barycentric) {
          Reals::set(grad_weight0, lane, problem.grad_barycentric[2 * pixel]);
          Reals::set(grad_weight1, lane, problem.grad_barycentric[2 * pixel + 1]);
        }
        if (problem.grad_depth) Reals::set(grad_depth, lane, problem.grad_depth[pixel]);
      }
      PixelTriangle<Real> found;
      Real gradient[3][4];
      pixel_triangle(group.corner, group.x, y, found);
      pixel_gradient(found, group.x, y, grad_weight0, grad_weight1, grad_depth, gradient);
      alignas(64) double own[kLanes<Isa>][12];
      for (int i = 0; i < 12; ++i)
        for (int lane = 0; lane < kLanes<Isa>; ++lane) own[lane][i] = Reals::get(gradient[i / 4][i % 4], lane);
      for (int lane = 0; lane < group.size; ++lane) {
        if (group.triangle[lane] == of) {
          for (int i = 0; i < 12; ++i) run[i] += own[lane][i];
        } else {
          flush();
          of = group.triangle[lane];
          for (int i = 0; i < 12; ++i) run[i] = own[lane][i];
        }
      }
    }
  }
  flush();
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
