// What the backward of masked attention works on: a thread's scratch, the rows of a task, and a task at work.
#pragma once

#include <gptface/attention_backward_place.h>
#include <gptface/attention_tiles.h>

namespace gptface {

template <class Isa, class Word>
struct AttentionBackwardLayout {
  using V = Simd<Isa>;
  static constexpr int kGroup = Arithmetic<Isa, Word>::group;
  static constexpr int kVectors = kTileVectors<Isa>;
  static constexpr int64_t kQueryBlock = 256;  // lanes; deep enough for dK and dV to stay in registers mostly
  static constexpr int64_t kBlockPanels = kQueryBlock / V::width;
  static constexpr int64_t kKeyTile = 64;

  // Rows of weights and of dS along the queries: words of `kGroup` neighbouring queries.
  struct Scratch {
    Word *keys, *keys_by_depth, *values;                // of the chunk
    float *grad_keys, *grad_values;                     // (chunk, columns)
    PanelMask<Isa>* masks;                              // of the block's panels
    Word *rows, *outs, *queries, *grad_outs;            // a panel by rows, and transposed; all panels transposed
    Word *queries_by_depth, *grad_outs_by_depth;        // (block / group, columns)
    float *grad_queries, *lse, *delta;                  // (block, columns); (block); (block)
    Word *weights, *grad_scores, *grad_scores_by_depth; // (key tile, block / group) twice; (key tile / group, block)
    unsigned char* keys_left_out;                       // (chunk): rows that are not finite, see TensorRows::leave_out
    unsigned char *queries_left_out, *grad_outs_left_out; // (block)

    Scratch(const AttentionProblem& p, ScratchCursor& cursor) {
      const int64_t depth = p.width / kGroup, columns = round_up<V::width>(p.width), chunk = p.chunk_keys;
      keys = cursor.take<Word>(chunk * depth);
      keys_by_depth = cursor.take<Word>(chunk / kGroup * columns);
      values = cursor.take<Word>(chunk * depth);
      grad_keys = cursor.take<float>(chunk * columns);
      grad_values = cursor.take<float>(chunk * columns);
      masks = cursor.take<PanelMask<Isa>>(kBlockPanels);
      rows = cursor.take<Word>(kVectors * V::width * depth);
      outs = cursor.take<Word>(kVectors * V::width * depth);
      queries = cursor.take<Word>(kQueryBlock * depth);
      grad_outs = cursor.take<Word>(kQueryBlock * depth);
      queries_by_depth = cursor.take<Word>(kQueryBlock / kGroup * columns);
      grad_outs_by_depth = cursor.take<Word>(kQueryBlock / kGroup * columns);
      grad_queries = cursor.take<float>(kQueryBlock * columns);
      lse = cursor.take<float>(kQueryBlock);
      delta = cursor.take<float>(kQueryBlock);
      weights = cursor.take<Word>(kKeyTile * kQueryBlock / kGroup);
      grad_scores = cursor.take<Word>(kKeyTile * kQueryBlock / kGroup);
      grad_scores_by_depth = kGroup == 1 ? grad_scores : cursor.take<Word>(kKeyTile / kGroup * kQueryBlock);
      keys_left_out = cursor.take<unsigned char>(chunk);
      queries_left_out = cursor.take<unsigned char>(kQueryBlock);
      grad_outs_left_out = cursor.take<unsigned char>(kQueryBlock);
    }
  };

  static int64_t scratch_bytes(const AttentionProblem& p) {
    ScratchCursor cursor{nullptr};
    Scratch(p, cursor);
    return cursor.used;
  }

  using Place = AttentionBackwardPlace<Isa, kQueryBlock>;

  // A task at work: its rows of keys, and the block of queries that it has come to.
  struct Context {
    const AttentionProblem& p;
    const AttentionPart& part;
    Scratch s;
    int64_t batch, key_head, chunk, first_key, keys;
    int64_t depth, columns;
    int64_t head, first_query, queries, lanes;  // of the block of queries
    bool any_key, any_query, any_grad_out;      // left out of products: see attention_backward_repair.h
  };
};

}  // namespace gptface
