#include "raster_tables.h"

#include <gptface/raster_tiles.h>

namespace gptface {

constinit const RasterKernels kRasterAvx512 = make_raster_kernels<Avx512>();

}  // namespace gptface
