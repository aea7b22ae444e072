// Rasterisation on the CPU over threads: vertices, bins of triangles, tiles; and the gradients in bands of rows.
//
// A triangle goes into the bin of every tile that its bounding box touches, in ascending order, so what a tile shows
// does not depend on who draws it. Gradients are summed in bands of rows whose number depends on the shapes alone, each band
// in the order of its pixels, and then band after band: same call, same bits, on any number of threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include <gptface/parallel.h>
#include <gptface/raster_kernels.h>
#include <gptface/thread_scratch.h>

namespace gptface {

namespace detail {

inline constexpr int64_t kVerticesOfATask = 8192, kTrianglesOfATask = 4096, kPixelsOfATask = 16384;

// The triangles of one stretch, sorted by tile.
struct RasterBins {
  std::vector<int32_t> begin;  // (tiles + 1)
  std::vector<int32_t> list;
  int32_t dropped = 0;
};

struct TileGrid {
  int32_t columns, rows;

  explicit TileGrid(const RasterProblem& problem)
      : columns((problem.width + kTileColumns - 1) / kTileColumns),
        rows((problem.height + kTileRows - 1) / kTileRows) {}
  int64_t tiles() const { return int64_t{columns} * rows; }
};

inline RasterBins fill_bins(
    const RasterProblem& problem, const ScreenVertex* vertices, int64_t first, int64_t last, const TileGrid& grid) {
  struct Reach {
    int32_t first_row, last_row, first_column, last_column;  // of tiles
  };
  RasterBins bins;
  bins.begin.assign(grid.tiles() + 1, 0);
  std::vector<Reach> reaches(last - first);
  for (int64_t t = first; t < last; ++t) {
    Reach& reach = reaches[t - first];
    reach = {0, -1, 0, -1};
    const int32_t* corner = problem.triangles + 3 * t;
    const auto exists = [&](int32_t vertex) { return vertex >= 0 && vertex < problem.vertices; };
    if (!exists(corner[0]) || !exists(corner[1]) || !exists(corner[2])) {
      ++bins.dropped;
      continue;
    }
    const ScreenVertex &a = vertices[corner[0]], &b = vertices[corner[1]], &c = vertices[corner[2]];
    const int32_t left = least(a.x, b.x, c.x);
    if (left == kUnusableVertex) {
      ++bins.dropped;
      continue;
    }
    const PixelRange columns = pixels_between(left, greatest(a.x, b.x, c.x), problem.width);
    const PixelRange rows = pixels_between(least(a.y, b.y, c.y), greatest(a.y, b.y, c.y), problem.height);
    if (columns.first > columns.last || rows.first > rows.last) continue;
    reach = {
        rows.first / kTileRows, rows.last / kTileRows, columns.first / kTileColumns, columns.last / kTileColumns};
    for (int32_t y = reach.first_row; y <= reach.last_row; ++y)
      for (int32_t x = reach.first_column; x <= reach.last_column; ++x)
        ++bins.begin[int64_t{y} * grid.columns + x + 1];
  }
  for (int64_t tile = 0; tile < grid.tiles(); ++tile) bins.begin[tile + 1] += bins.begin[tile];
  bins.list.resize(bins.begin.back());
  std::vector<int32_t> next(bins.begin.begin(), bins.begin.end() - 1);
  for (int64_t t = first; t < last; ++t) {
    const Reach& reach = reaches[t - first];
    for (int32_t y = reach.first_row; y <= reach.last_row; ++y)
      for (int32_t x = reach.first_column; x <= reach.last_column; ++x)
        bins.list[next[int64_t{y} * grid.columns + x]++] = static_cast<int32_t>(t);
  }
  return bins;
}

}  // namespace detail

inline void rasterize(
    const RasterKernels& kernels, const RasterProblem& problem, int workers, ParallelFor parallel_for) {
  using namespace detail;
  std::vector<ScreenVertex> vertices(problem.batch * problem.vertices);
  const int64_t all_vertices = problem.batch * problem.vertices;
  for_each_task(
      (all_vertices + kVerticesOfATask - 1) / kVerticesOfATask, 1, workers, parallel_for, [&](int64_t task, int) {
        const int64_t begin = task * kVerticesOfATask, end = std::min(begin + kVerticesOfATask, all_vertices);
        for (int64_t v = begin; v < end; ++v)
          vertices[v] = screen_vertex(problem.positions + 4 * v, problem.height, problem.width);
      });

  const TileGrid grid(problem);
  const int64_t stretches = (problem.count + kTrianglesOfATask - 1) / kTrianglesOfATask;
  std::vector<RasterBins> bins(problem.batch * stretches);
  for_each_task(problem.batch * stretches, 1, workers, parallel_for, [&](int64_t task, int) {
    const int64_t sample = task / stretches, first = task % stretches * kTrianglesOfATask;
    bins[task] = fill_bins(
        problem, vertices.data() + sample * problem.vertices, first, std::min(first + kTrianglesOfATask, problem.count),
        grid);
  });
  for (int64_t sample = 0; sample < problem.batch; ++sample) {
    problem.dropped[sample] = 0;
    for (int64_t s = 0; s < stretches; ++s) problem.dropped[sample] += bins[sample * stretches + s].dropped;
  }

  std::vector<ThreadScratch> scratch(workers);
  for_each_task(problem.batch * grid.tiles(), 1, workers, parallel_for, [&](int64_t task, int worker) {
    const int64_t sample = task / grid.tiles(), number = task % grid.tiles();
    auto* depth = reinterpret_cast<double*>(scratch[worker].get(kTilePlaces * (sizeof(double) + sizeof(int32_t))));
    auto* triangle = reinterpret_cast<int32_t*>(depth + kTilePlaces);
    std::fill_n(depth, kTilePlaces, std::numeric_limits<double>::infinity());
    std::fill_n(triangle, kTilePlaces, kNoTriangle);
    RasterTile tile;
    tile.first_row = static_cast<int32_t>(number / grid.columns) * kTileRows;
    tile.first_column = static_cast<int32_t>(number % grid.columns) * kTileColumns;
    tile.rows = std::min(kTileRows, problem.height - tile.first_row);
    tile.columns = std::min(kTileColumns, problem.width - tile.first_column);
    tile.depth = depth + kTileMargin;
    tile.triangle = triangle + kTileMargin;
    for (int64_t s = 0; s < stretches; ++s) {
      const RasterBins& from = bins[sample * stretches + s];
      kernels.cover(
          problem, vertices.data() + sample * problem.vertices, from.list.data() + from.begin[number],
          from.begin[number + 1] - from.begin[number], tile);
    }
    kernels.resolve(problem, sample, tile);
  });
}

namespace detail {

// Parts of a picture whose gradients are summed apart. Few pictures make several, so that threads share the work; each
// costs a row of sums for every vertex.
inline int64_t gradient_bands(int64_t batch, int64_t vertices, int32_t height, int32_t width) {
  const int64_t pixels = int64_t{height} * width, wanted = (8 + batch - 1) / std::max<int64_t>(batch, 1);
  const int64_t most = std::min<int64_t>(wanted, height);
  return std::clamp<int64_t>(pixels / std::max<int64_t>(kPixelsOfATask, vertices), 1, most);
}

// body(sample, first row, last row, sums) for every band; then `total (groups, size)` is the sum of the bands of a
// picture, or with one group of all pictures, in their order.
template <class Body>
void sum_bands(
    int64_t batch, int64_t bands, int32_t height, int64_t size, int64_t groups, float* total, int workers,
    ParallelFor parallel_for, const Body& body) {
  const int64_t parts = groups > 0 ? batch * bands / groups : 0;
  const bool direct = parts == 1;
  std::vector<ThreadScratch> rows(direct ? 0 : batch * bands);
  std::vector<float*> sums(batch * bands);
  for_each_task(batch * bands, 1, workers, parallel_for, [&](int64_t task, int) {
    sums[task] = direct ? total + task * size : reinterpret_cast<float*>(rows[task].get(size * sizeof(float)));
    std::fill_n(sums[task], size, 0.0f);
    const int64_t sample = task / bands, band = task % bands;
    body(sample, static_cast<int32_t>(height * band / bands), static_cast<int32_t>(height * (band + 1) / bands),
         sums[task]);
  });
  if (direct) return;
  const int64_t pieces = (size + kPixelsOfATask - 1) / kPixelsOfATask;
  for_each_task(groups * pieces, 1, workers, parallel_for, [&](int64_t task, int) {
    const int64_t group = task / pieces, begin = task % pieces * kPixelsOfATask;
    const int64_t end = std::min(begin + kPixelsOfATask, size);
    float* to = total + group * size;
    std::fill(to + begin, to + end, 0.0f);
    for (int64_t part = 0; part < parts; ++part)
      for (int64_t i = begin; i < end; ++i) to[i] += sums[group * parts + part][i];
  });
}

}  // namespace detail

inline void rasterize_backward(
    const RasterKernels& kernels, const RasterGradientProblem& problem, int workers, ParallelFor parallel_for) {
  const int64_t bands = detail::gradient_bands(problem.batch, problem.vertices, problem.height, problem.width);
  detail::sum_bands(
      problem.batch, bands, problem.height, problem.vertices * 4, problem.batch, problem.grad_positions, workers,
      parallel_for, [&](int64_t sample, int32_t begin, int32_t end, float* sums) {
        kernels.gradient(problem, sample, begin, end, sums);
      });
}

inline void interpolate(
    const RasterKernels& kernels, const InterpolationProblem& problem, int workers, ParallelFor parallel_for) {
  const int64_t pixels = int64_t{problem.height} * problem.width;
  const int64_t pieces = (pixels + detail::kPixelsOfATask - 1) / detail::kPixelsOfATask;
  for_each_task(problem.batch * pieces, 1, workers, parallel_for, [&](int64_t task, int) {
    const int64_t sample = task / pieces, begin = task % pieces * detail::kPixelsOfATask;
    const int64_t end = std::min(begin + detail::kPixelsOfATask, pixels);
    kernels.interpolate(problem, sample, sample * pixels + begin, sample * pixels + end);
  });
}

inline void interpolate_backward(
    const RasterKernels& kernels, const InterpolationProblem& problem, int workers, ParallelFor parallel_for) {
  const int64_t bands = detail::gradient_bands(problem.batch, problem.vertices, problem.height, problem.width);
  const int64_t pixels = int64_t{problem.height} * problem.width;
  detail::sum_bands(
      problem.batch, bands, problem.height, problem.vertices * problem.channels, problem.shared ? 1 : problem.batch,
      problem.grad_attributes, workers, parallel_for, [&](int64_t sample, int32_t begin, int32_t end, float* sums) {
        const int64_t first = sample * pixels;
        kernels.interpolation_gradient(
            problem, sample, first + int64_t{begin} * problem.width, first + int64_t{end} * problem.width, sums);
      });
}

}  // namespace gptface
