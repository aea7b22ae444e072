// What an object was built from, for whoever reads the library's file: "gptface built from vq.cuda:<SHA-256>". setup.py
// says it by -DGPTFACE_BUILT_FROM=vq.cuda:<SHA-256>; elsewhere this header does nothing.
#pragma once

#ifdef GPTFACE_BUILT_FROM
#define GPTFACE_QUOTED(text) #text
#define GPTFACE_QUOTE(text) GPTFACE_QUOTED(text)
namespace {
__attribute__((used)) const char gptface_built_from[] = "gptface built from " GPTFACE_QUOTE(GPTFACE_BUILT_FROM);
}
#endif
