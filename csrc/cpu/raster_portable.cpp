#include "raster_tables.h"

#include <gptface/raster_tiles.h>

namespace gptface {

constinit const RasterKernels kRasterPortable = make_raster_kernels<Portable>();

}  // namespace gptface
