// What the backward of masked attention by tiles works on: a thread's scratch, and a task at work.
#pragma once

#include <gptface/attention_amx_steps.h>
#include <gptface/attention_backward_place.h>

namespace gptface {

template <class Isa>
struct AttentionAmxLayout {
  using V = Simd<Isa>;
  static constexpr int kPanel = kTileVectors<Isa>;         // vectors that a mask describes
  static constexpr int64_t kQueryBlock = 2 * kPanel * V::width;  // lanes
  static constexpr int kVectors = kQueryBlock / V::width, kPairs = kVectors / 2;
  static constexpr int kSteps = 4;  // of keys at a time
  static constexpr int kStepTiles = 2 * kPairs;  // of weights
  using Place = AttentionBackwardPlace<Isa, kQueryBlock>;

  // Rows of weights and of dS by queries hold 32 of them, a pair of vectors.
  struct Scratch {
    int64_t depth, channels;              // tiles along the width, by rows and across
    Tile *keys, *values, *keys_by_depth;  // of the chunk: (steps, 2, depth) twice; (steps, channels), channels down
    Tile *grad_keys, *grad_values;        // (steps, 2, channels), keys down
    PanelMask<Isa>* masks;                // of the block's panels
    Tile *queries, *grad_outs;            // (vectors, depth), queries across
    Tile *queries_by_depth, *grad_outs_by_depth;  // (pairs of vectors, channels), channels across
    Tile* outs;                           // (depth), of one vector, by rows
    Tile* grad_queries;                   // (vectors, channels), channels down
    float *lse, *delta;                   // (block)
    Tile *scores, *grads;                 // (pair, 2), twice each: a step and a pair of vectors, and the next pair
    Tile *weights, *grad_scores;          // (pairs, 2), twice each: a step, queries across, and the one before
    Tile* grad_scores_by_depth;           // (steps at a time, vectors), pairs of keys down
    unsigned char* keys_left_out;         // (chunk): rows that are not finite, see TileRows::leave_out
    unsigned char *queries_left_out, *grad_outs_left_out;  // (block)

    Scratch(const AttentionProblem& p, ScratchCursor& cursor) {
      depth = (p.width + kTileDepth - 1) / kTileDepth;
      channels = (p.width + kTileWords - 1) / kTileWords;
      const int64_t steps = steps_of(p.chunk_keys);
      keys = cursor.take<Tile>(2 * steps * depth);
      values = cursor.take<Tile>(2 * steps * depth);
      keys_by_depth = cursor.take<Tile>(steps * channels);
      grad_keys = cursor.take<Tile>(2 * steps * channels);
      grad_values = cursor.take<Tile>(2 * steps * channels);
      masks = cursor.take<PanelMask<Isa>>(kVectors / kPanel);
      queries = cursor.take<Tile>(kVectors * depth);
      grad_outs = cursor.take<Tile>(kVectors * depth);
      queries_by_depth = cursor.take<Tile>(kPairs * channels);
      grad_outs_by_depth = cursor.take<Tile>(kPairs * channels);
      outs = cursor.take<Tile>(depth);
      grad_queries = cursor.take<Tile>(kVectors * channels);
      lse = cursor.take<float>(kQueryBlock);
      delta = cursor.take<float>(kQueryBlock);
      scores = cursor.take<Tile>(2 * 4);
      grads = cursor.take<Tile>(2 * 4);
      weights = cursor.take<Tile>(2 * kStepTiles);
      grad_scores = cursor.take<Tile>(2 * kStepTiles);
      grad_scores_by_depth = cursor.take<Tile>(kSteps * kVectors);
      keys_left_out = cursor.take<unsigned char>(steps * kStepKeys);
      queries_left_out = cursor.take<unsigned char>(kQueryBlock);
      grad_outs_left_out = cursor.take<unsigned char>(kQueryBlock);
    }

    // Where the numbers of key `key` of a step begin, for the queries of vector n; `tiles` are the step's.
    static GPTFACE_INLINE BFloat16* half_row(Tile* tiles, int64_t key, int n) {
      return reinterpret_cast<BFloat16*>(tiles[n / 2 * 2].words) + key * kTileDepth + n % 2 * V::width;
    }
  };

  static int64_t scratch_bytes(const AttentionProblem& p) {
    ScratchCursor cursor{nullptr};
    Scratch(p, cursor);
    return cursor.used;
  }

  // A task at work: its rows of keys, and the block of queries that it has come to.
  struct Context {
    const AttentionProblem& p;
    const AttentionPart& part;
    Scratch s;
    int64_t batch, key_head, chunk, first_key, keys;
    int64_t head = 0, first_query = 0, queries = 0;  // of the block of queries
    int vectors = 0;
    bool any_key = false, any_query = false, any_grad_out = false;  // left out of products: see attention_amx_repair.h

    const BFloat16* key_rows(const AttentionTensor& tensor, int64_t key = 0) const {
      return reinterpret_cast<const BFloat16*>(row_of(p, tensor, batch, first_key + key, key_head));
    }
    const BFloat16* query_rows(const AttentionTensor& tensor, int64_t query = 0) const {
      return reinterpret_cast<const BFloat16*>(row_of(p, tensor, batch, first_query + query, head));
    }
    // The mask of vector n, which is vector n % kPanel of its panel.
    GPTFACE_INLINE const PanelMask<Isa>& mask(int n) const { return s.masks[n / kPanel]; }
  };
};

}  // namespace gptface
