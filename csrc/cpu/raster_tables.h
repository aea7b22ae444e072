// One table of kernels a translation unit, each compiled for its instruction set.
#pragma once

#include <gptface/raster_kernels.h>

namespace gptface {

extern const RasterKernels kRasterPortable, kRasterAvx2, kRasterAvx512;

}  // namespace gptface
