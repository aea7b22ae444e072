// Antialiasing of silhouettes on the CPU; the definition is gptface/ops/raster/antialias_reference.py.
//
// First every pair of neighbouring pixels learns by how much one of the two is blended with the other; then every pixel
// gathers from its four pairs. Gradients of positions are summed in bands like those of the rasteriser.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include <gptface/raster_pictures.h>

namespace gptface {

// Arrays are contiguous.
struct AntialiasProblem {
  const float* colour;        // (batch, height, width, channels)
  const int32_t* triangle;    // (batch, height, width)
  const float* depth;         // the same
  const float* positions;     // (batch, vertices, 4)
  const int32_t* triangles;   // (count, 3)
  const int32_t* neighbours;  // (count, 3)
  int64_t batch, vertices, count, channels;
  int32_t height, width;

  float* out;             // of the forward pass, like colour
  const float* gradient;  // the same, of the backward pass
  float* grad_colour;
  float* grad_positions;
};

namespace detail {

inline constexpr int kMostSteps = 64;  // as in the reference

// Where a silhouette passes between two pixels.
struct Crossing {
  bool found;
  bool first_is_near;  // of the two pixels, the left or upper one shows the surface in front
  double alpha;        // how much of the way from the near to the far centre lies on it, within [0, 1]
  int32_t begin, end;  // vertices of the edge

  // By how much one of the two is blended with the other, and which.
  double share() const { return std::abs(alpha - 0.5); }
  bool first_is_blended() const { return (alpha < 0.5) == first_is_near; }
};

struct Centre {
  double x, y;
};

struct FromCentre {
  double x, y;
};

inline FromCentre lead(const float* position, const Centre& centre) {
  const double w = position[3];
  return {position[0] - centre.x * w, position[1] - centre.y * w};
}

inline double cross(const FromCentre& a, const FromCentre& b) { return a.x * b.y - a.y * b.x; }

inline bool in_front(const float* position) {
  float zero = 0.0f;  // or NaN
  for (int k = 0; k < 4; ++k) zero += position[k] - position[k];
  return zero == 0.0f && position[3] > 0.0f;
}

inline bool is_steep(const AntialiasProblem& problem, const float* begin, const float* end) {
  const auto extent = [&](int axis, int32_t size) {
    return std::abs(
        static_cast<double>(end[axis]) / end[3] * size - static_cast<double>(begin[axis]) / begin[3] * size);
  };
  return extent(1, problem.height) >= extent(0, problem.width);
}

// Between the pixel at (row, column) and the one to its right (`beside`) or below it.
inline Crossing find_crossing(
    const AntialiasProblem& problem, int64_t sample, int32_t row, int32_t column, bool beside) {
  Crossing crossing{false, true, 0.0, 0, 0};
  const int64_t first = (sample * problem.height + row) * problem.width + column;
  const int64_t second = first + (beside ? 1 : problem.width);
  const int32_t one = problem.triangle[first], other = problem.triangle[second];
  if (one == other) return crossing;
  crossing.first_is_near = one >= 0 && (other < 0 || problem.depth[first] <= problem.depth[second]);
  Centre near{centre_x(column, problem.width), centre_y(row, problem.height)};
  Centre far{centre_x(column + beside, problem.width), centre_y(row + !beside, problem.height)};
  if (!crossing.first_is_near) std::swap(near, far);
  int32_t shown = crossing.first_is_near ? one : other;
  const int32_t behind = crossing.first_is_near ? other : one;
  int entered = -1;
  const float* positions = problem.positions + sample * problem.vertices * 4;
  const auto place = [&](int32_t vertex) { return positions + 4 * int64_t{vertex}; };
  for (int step = 0; step < kMostSteps; ++step) {
    const int32_t* corner = problem.triangles + 3 * int64_t{shown};
    FromCentre to_near[3], to_far[3];
    for (int i = 0; i < 3; ++i) to_near[i] = lead(place(corner[i]), near), to_far[i] = lead(place(corner[i]), far);
    double at_near[3], area = 0.0;
    for (int i = 0; i < 3; ++i) {
      at_near[i] = cross(to_near[(i + 1) % 3], to_near[(i + 2) % 3]);
      area += at_near[i] * place(corner[i])[3];
    }
    const double turn = area > 0.0 ? 1.0 : area < 0.0 ? -1.0 : 0.0;
    if (turn == 0.0) return crossing;
    int side = -1;
    double alpha = 0.0;
    for (int i = 0; i < 3; ++i) {
      if (i == entered) continue;
      const double here = at_near[i] * turn, there = cross(to_far[(i + 1) % 3], to_far[(i + 2) % 3]) * turn;
      if (!(there < 0.0 && here > there)) continue;
      const double passed = here / (here - there);
      if (side < 0 || passed < alpha) side = i, alpha = passed;
    }
    if (side < 0) return crossing;
    const int32_t begin = corner[(side + 1) % 3], end = corner[(side + 2) % 3];
    const int32_t beyond = problem.neighbours[3 * int64_t{shown} + side];
    bool ends = beyond < 0 || beyond >= problem.count;
    int apex = 0;
    if (!ends) {
      const int32_t* named = problem.triangles + 3 * int64_t{beyond};
      while (apex < 2 && (named[apex] == begin || named[apex] == end)) ++apex;
      ends = !(in_front(place(named[0])) && in_front(place(named[1])) && in_front(place(named[2])));
      if (!ends) {
        const float *a = place(begin), *b = place(end), *c = place(named[apex]);
        const auto minor = [](const float* p, const float* q) {
          return static_cast<double>(p[0]) * q[1] - static_cast<double>(p[1]) * q[0];
        };
        ends = (minor(b, c) * a[3] + minor(c, a) * b[3] + minor(a, b) * c[3]) * turn >= 0.0;
      }
    }
    if (ends) {
      if (is_steep(problem, place(begin), place(end)) != beside) return crossing;
      crossing.found = true;
      crossing.alpha = alpha < 0.0 ? 0.0 : alpha > 1.0 ? 1.0 : alpha;
      crossing.begin = begin, crossing.end = end;
      return crossing;
    }
    if (beyond == behind) return crossing;
    shown = beyond;
    entered = apex;
  }
  return crossing;
}

// For every pixel the shares of its pairs to the right and downwards: positive where the pixel itself is blended,
// negative where the other is. −0 is a silhouette in the middle between the two: nothing is blended, but it has a
// gradient.
inline std::vector<float> pair_shares(const AntialiasProblem& problem, int workers, ParallelFor parallel_for) {
  std::vector<float> shares(2 * problem.batch * problem.height * problem.width);
  for_each_task(problem.batch * problem.height, 4, workers, parallel_for, [&](int64_t task, int) {
    const int64_t sample = task / problem.height;
    const int32_t row = static_cast<int32_t>(task % problem.height);
    float* own = shares.data() + 2 * task * problem.width;
    for (int32_t column = 0; column < problem.width; ++column)
      for (int down = 0; down < 2; ++down) {
        if (down ? row + 1 == problem.height : column + 1 == problem.width) continue;
        const Crossing crossing = find_crossing(problem, sample, row, column, !down);
        const float share = static_cast<float>(crossing.share());
        if (crossing.found) own[2 * column + down] = crossing.first_is_blended() && share != 0.0f ? share : -share;
      }
  });
  return shares;
}

inline bool has_silhouette(float share) { return share != 0.0f || std::signbit(share); }

// body(pixel, other pixel, share) for the four pairs of every pixel: positive where the pixel itself is blended.
template <class Begin, class Body>
void for_each_pair(
    const AntialiasProblem& problem, const std::vector<float>& shares, int workers, ParallelFor parallel_for,
    const Begin& begin, const Body& body) {
  for_each_task(problem.batch * problem.height, 4, workers, parallel_for, [&](int64_t task, int) {
    const int32_t row = static_cast<int32_t>(task % problem.height);
    for (int32_t column = 0; column < problem.width; ++column) {
      const int64_t pixel = task * problem.width + column, above = pixel - problem.width;
      begin(pixel);
      const auto pair = [&](int64_t other, float share) {
        if (share != 0.0f) body(pixel, other, share);
      };
      if (column > 0) pair(pixel - 1, -shares[2 * (pixel - 1)]);
      if (column + 1 < problem.width) pair(pixel + 1, shares[2 * pixel]);
      if (row > 0) pair(above, -shares[2 * above + 1]);
      if (row + 1 < problem.height) pair(pixel + problem.width, shares[2 * pixel + 1]);
    }
  });
}

// Adds what a crossing gives to the two ends of its edge.
inline void crossing_gradient(
    const AntialiasProblem& problem, int64_t sample, int32_t row, int32_t column, bool beside, float* sums) {
  const Crossing crossing = find_crossing(problem, sample, row, column, beside);
  if (!crossing.found || crossing.alpha <= 0.0 || crossing.alpha >= 1.0) return;
  const int64_t first = (sample * problem.height + row) * problem.width + column;
  const int64_t second = first + (beside ? 1 : problem.width);
  const int64_t near_pixel = crossing.first_is_near ? first : second;
  const int64_t far_pixel = crossing.first_is_near ? second : first;
  const float* near_colour = problem.colour + near_pixel * problem.channels;
  const float* far_colour = problem.colour + far_pixel * problem.channels;
  const float* gradient = problem.gradient + (crossing.alpha < 0.5 ? near_pixel : far_pixel) * problem.channels;
  double grad_alpha = 0.0;
  for (int64_t k = 0; k < problem.channels; ++k)
    grad_alpha += (static_cast<double>(near_colour[k]) - far_colour[k]) * gradient[k];
  Centre centres[2] = {
      {centre_x(column, problem.width), centre_y(row, problem.height)},
      {centre_x(column + beside, problem.width), centre_y(row + !beside, problem.height)}};
  if (!crossing.first_is_near) std::swap(centres[0], centres[1]);
  const float* positions = problem.positions + sample * problem.vertices * 4;
  const float *begin = positions + 4 * int64_t{crossing.begin}, *end = positions + 4 * int64_t{crossing.end};
  const FromCentre to_begin[2] = {lead(begin, centres[0]), lead(begin, centres[1])};
  const FromCentre to_end[2] = {lead(end, centres[0]), lead(end, centres[1])};
  const double area[2] = {cross(to_begin[0], to_end[0]), cross(to_begin[1], to_end[1])};
  const double whole = area[0] - area[1], scale = grad_alpha / (whole * whole);
  const double weight[2] = {-area[1] * scale, area[0] * scale};
  double grad_begin[3] = {}, grad_end[3] = {};
  for (int i = 0; i < 2; ++i) {
    const double begin_x = weight[i] * to_end[i].y, begin_y = -weight[i] * to_end[i].x;
    const double end_x = -weight[i] * to_begin[i].y, end_y = weight[i] * to_begin[i].x;
    grad_begin[0] += begin_x, grad_begin[1] += begin_y;
    grad_end[0] += end_x, grad_end[1] += end_y;
    grad_begin[2] -= centres[i].x * begin_x + centres[i].y * begin_y;
    grad_end[2] -= centres[i].x * end_x + centres[i].y * end_y;
  }
  for (int i = 0; i < 3; ++i) {
    const int k = i < 2 ? i : 3;  // x, y and w
    sums[4 * int64_t{crossing.begin} + k] += static_cast<float>(grad_begin[i]);
    sums[4 * int64_t{crossing.end} + k] += static_cast<float>(grad_end[i]);
  }
}

}  // namespace detail

inline void antialias(const AntialiasProblem& problem, int workers, ParallelFor parallel_for) {
  const std::vector<float> shares = detail::pair_shares(problem, workers, parallel_for);
  const int64_t channels = problem.channels;
  detail::for_each_pair(
      problem, shares, workers, parallel_for,
      [&](int64_t pixel) {
        for (int64_t k = pixel * channels; k < (pixel + 1) * channels; ++k) problem.out[k] = problem.colour[k];
      },
      [&](int64_t pixel, int64_t other, float share) {
        if (share < 0.0f) return;
        const float *own = problem.colour + pixel * channels, *its = problem.colour + other * channels;
        for (int64_t k = 0; k < channels; ++k) problem.out[pixel * channels + k] += share * (its[k] - own[k]);
      });
}

inline void antialias_backward(const AntialiasProblem& problem, int workers, ParallelFor parallel_for) {
  const std::vector<float> shares = detail::pair_shares(problem, workers, parallel_for);
  const int64_t channels = problem.channels;
  detail::for_each_pair(
      problem, shares, workers, parallel_for,
      [&](int64_t pixel) {
        for (int64_t k = pixel * channels; k < (pixel + 1) * channels; ++k)
          problem.grad_colour[k] = problem.gradient[k];
      },
      [&](int64_t pixel, int64_t other, float share) {
        // Blended, it passes a share of its own gradient on; or it gets that of the other.
        const float* from = problem.gradient + (share > 0.0f ? pixel : other) * channels;
        for (int64_t k = 0; k < channels; ++k) problem.grad_colour[pixel * channels + k] -= share * from[k];
      });
  const int64_t bands = detail::gradient_bands(problem.batch, problem.vertices, problem.height, problem.width);
  detail::sum_bands(
      problem.batch, bands, problem.height, problem.vertices * 4, problem.batch, problem.grad_positions, workers,
      parallel_for, [&](int64_t sample, int32_t begin, int32_t end, float* sums) {
        for (int32_t row = begin; row < end; ++row)
          for (int32_t column = 0; column < problem.width; ++column) {
            const int64_t pixel = (sample * problem.height + row) * problem.width + column;
            for (int down = 0; down < 2; ++down)
              if (detail::has_silhouette(shares[2 * pixel + down]))
                detail::crossing_gradient(problem, sample, row, column, !down, sums);
          }
      });
}

}  // namespace gptface
