// What the kernels of an instruction set do for the rasteriser on the CPU.
#pragma once

#include <cstdint>

#include <gptface/raster.h>

namespace gptface {

inline constexpr int32_t kTileRows = 32, kTileColumns = 64;
// On each side of a row, for the eight lanes of a small triangle that reaches over the border.
inline constexpr int32_t kTileMargin = 8;
inline constexpr int32_t kTileStride = kTileColumns + 2 * kTileMargin;
inline constexpr int64_t kTilePlaces = int64_t{kTileRows} * kTileStride;

// A part of a picture while it is drawn: rows of kTileStride, of which the pointers leave out the left margin.
struct RasterTile {
  int32_t first_row, first_column, rows, columns;
  double* depth;      // of what is nearest, infinity where nothing is
  int32_t* triangle;  // kNoTriangle where nothing is
};

struct RasterKernels {
  void (*cover)(
      const RasterProblem&, const ScreenVertex* vertices, const int32_t* list, int64_t number, RasterTile&);
  void (*resolve)(const RasterProblem&, int64_t sample, const RasterTile&);
  void (*gradient)(const RasterGradientProblem&, int64_t sample, int32_t begin, int32_t end, float* sums);
  void (*interpolate)(const InterpolationProblem&, int64_t sample, int64_t begin, int64_t end);
  void (*interpolation_gradient)(
      const InterpolationProblem&, int64_t sample, int64_t begin, int64_t end, float* sums);
};

}  // namespace gptface
