#include "raster_tables.h"

#include <gptface/raster_tiles.h>

namespace gptface {

constinit const RasterKernels kRasterAvx2 = make_raster_kernels<Avx2>();

}  // namespace gptface
