// Masked attention, backward: one task is one key head of one sample and one chunk of its keys.
//
// It goes over the group's query heads, their queries in wide blocks, and the chunk's keys in tiles. For a tile it
// recomputes the weights from the log-sum-exp, P = exp(S − lse), and forms dS = P (dP − delta) right in the registers
// that hold the products K Qᵀ and V dOᵀ (keys down, queries across the lanes, as in the forward); then
//
//   dV += Pᵀ dO     dK += dSᵀ Q     dQ += dS K
//
// with dV and dK kept for the whole task. So each of the five products is computed once. Where a batch has too few key
// heads to fill a machine the keys are cut into chunks, a number that depends on shapes alone; each chunk then has its
// own share of dQ, and the shares are added in order: no atomics, and the same bits for any number of threads.
#pragma once

#include <gptface/attention_tiles.h>

namespace gptface {

template <class Isa, class Word>
struct AttentionBackward {
  using Pack = TensorRows<Isa, Word>;
  using V = Simd<Isa>;
  using Float = typename V::Float;
  static constexpr int kGroup = Arithmetic<Isa, Word>::group;
  static constexpr int kVectors = kTileVectors<Isa>;
  static constexpr int kExpDegree = kGroup == 2 ? 4 : 5;
  static constexpr int64_t kQueryBlock = 256;  // lanes; deep enough for dK and dV to stay in registers mostly
  static constexpr int64_t kBlockPanels = kQueryBlock / V::width;
  static constexpr int64_t kKeyTile = 64;
  static constexpr int64_t kEnoughTasks = 32, kMostChunks = 8;

  static int64_t chunks(const AttentionProblem& p) {
    const int64_t heads = p.batch * p.key_heads, most = (p.keys + kKeyTile - 1) / kKeyTile;
    int64_t wanted = heads > 0 ? (kEnoughTasks + heads - 1) / heads : 1;
    wanted = wanted < kMostChunks ? wanted : kMostChunks;
    wanted = wanted < most ? wanted : most;
    return wanted > 1 ? wanted : 1;
  }

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
      const int64_t depth = p.width / kGroup, columns = round_up<V::width>(p.width);
      const int64_t chunk = round_up<kKeyBlock>((p.keys + p.chunks - 1) / p.chunks) + kKeyBlock;
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

  // What a task works on.
  struct Context {
    const AttentionProblem& p;
    Scratch s;
    int64_t batch, key_head, chunk, first_key, keys;  // of the chunk; `keys` a multiple of kKeyBlock, padding included
    int64_t depth, columns;
    int64_t head, first_query, queries, lanes;        // of the block of queries
    bool any_key, any_query, any_grad_out;            // left out
  };

  static void task(const AttentionProblem& p, int64_t task, std::byte* memory) {
    ScratchCursor cursor{memory};
    Context c{p, Scratch(p, cursor), 0, 0, 0, 0, 0, p.width / kGroup, round_up<V::width>(p.width), 0, 0, 0, 0,
              false, false, false};
    c.chunk = task % p.chunks;
    c.key_head = task / p.chunks % p.key_heads;
    c.batch = task / p.chunks / p.key_heads;
    const int64_t blocks = (p.keys + kKeyBlock - 1) / kKeyBlock;
    c.first_key = c.chunk * blocks / p.chunks * kKeyBlock;
    c.keys = (c.chunk + 1) * blocks / p.chunks * kKeyBlock - c.first_key;
    const int64_t real = p.keys - c.first_key < c.keys ? p.keys - c.first_key : c.keys;
    Scratch& s = c.s;
    const char* key = row_of(p, p.key, c.batch, c.first_key, c.key_head);
    const char* value = row_of(p, p.value, c.batch, c.first_key, c.key_head);
    Pack::by_rows(p.type, key, p.key.row_stride, real, p.width, c.keys, c.depth, s.keys);
    Pack::by_depth(p.type, key, p.key.row_stride, real, p.width, c.keys, c.columns, s.keys_by_depth);
    c.any_key = Pack::leave_out(p.type, key, p.key.row_stride, real, p.width, c.columns, s.keys_by_depth, s.keys_left_out);
    Pack::by_rows(p.type, value, p.value.row_stride, real, p.width, c.keys, c.depth, s.values);
    std::memset(s.grad_keys, 0, c.keys * c.columns * sizeof(float));
    std::memset(s.grad_values, 0, c.keys * c.columns * sizeof(float));

    const int64_t vectors = (p.queries + V::width - 1) / V::width;
    const int64_t query_blocks = (vectors * V::width + kQueryBlock - 1) / kQueryBlock;
    for (int64_t h = 0; h < p.group(); ++h)
      for (int64_t b = 0; b < query_blocks; ++b) {
        c.head = c.key_head * p.group() + h;
        c.first_query = b * vectors / query_blocks * V::width;
        c.lanes = (b + 1) * vectors / query_blocks * V::width - c.first_query;
        c.queries = p.queries - c.first_query < c.lanes ? p.queries - c.first_query : c.lanes;
        query_block(c);
      }

    for (int64_t j = 0; j < real; ++j) {
      Pack::write(p.type, s.grad_keys + j * c.columns, p.scale, p.width,
                  row_of(p, p.grad_key, c.batch, c.first_key + j, c.key_head));
      Pack::write(p.type, s.grad_values + j * c.columns, p.dropout ? p.keep_scale : 1.0f, p.width,
                  row_of(p, p.grad_value, c.batch, c.first_key + j, c.key_head));
    }
  }

  static void query_block(Context& c) {
    const AttentionProblem& p = c.p;
    Scratch& s = c.s;
    load_queries(c);
    std::memset(s.grad_queries, 0, c.lanes * c.columns * sizeof(float));
    const int64_t tiles = (c.keys + kKeyTile - 1) / kKeyTile, blocks = c.keys / kKeyBlock;
    for (int64_t t = 0; t < tiles; ++t) {
      const int64_t from = t * blocks / tiles * kKeyBlock, to = (t + 1) * blocks / tiles * kKeyBlock;
      // The lanes from the first panel that sees any of the tile to the last.
      int64_t left = c.lanes, right = 0, panel = 0;
      for_each_panel<Isa>(c.lanes / V::width, [&]<int NV>(int64_t vector) {
        if (s.masks[panel++].classify(c.first_key + from, c.first_key + to) == TileClass::skip) return;
        left = left < vector * V::width ? left : vector * V::width;
        right = (vector + NV) * V::width;
      });
      if (left >= right) continue;
      panel = 0;
      for_each_panel<Isa>(c.lanes / V::width, [&]<int NV>(int64_t vector) {
        const PanelMask<Isa>& mask = s.masks[panel++];
        if (vector * V::width < left || vector * V::width >= right) return;
        grad_scores_of_panel<NV>(c, mask, vector * V::width, from, to);
      });
      const int64_t stride = c.lanes / kGroup, skipped = left / kGroup, deep = (right - left) / kGroup;
      multiply_into<Isa, Word, Rows::by_rows>(
          to - from, deep, s.weights + skipped, stride, s.grad_outs_by_depth + skipped * c.columns, c.columns,
          s.grad_values + from * c.columns, false);
      multiply_into<Isa, Word, Rows::by_rows>(
          to - from, deep, s.grad_scores + skipped, stride, s.queries_by_depth + skipped * c.columns, c.columns,
          s.grad_keys + from * c.columns, false);
      multiply_into<Isa, Word, Rows::by_depth>(
          round_up<4>((right < c.queries ? right : c.queries) - left), (to - from) / kGroup, s.grad_scores_by_depth + left, c.lanes,
          s.keys_by_depth + from / kGroup * c.columns, c.columns, s.grad_queries + left * c.columns, false);
      if (c.any_key || c.any_query || c.any_grad_out) add_left_out(c, from, to);
    }
    for (int64_t i = 0; i < c.queries; ++i) {
      const float* row = s.grad_queries + i * c.columns;
      const int64_t query = c.first_query + i;
      if (p.chunks == 1)
        Pack::write(p.type, row, p.scale, p.width, row_of(p, p.grad_query, c.batch, query, c.head));
      else
        std::memcpy(share(p, c.chunk, c.batch, c.head, query), row, p.width * sizeof(float));
    }
  }

  // What keys, queries and gradients that are not finite add to the gradients of a tile, where they are seen.
  static __attribute__((noinline, cold)) void add_left_out(Context& c, int64_t from, int64_t to) {
    const AttentionProblem& p = c.p;
    Scratch& s = c.s;
    to = to < p.keys - c.first_key ? to : p.keys - c.first_key;
    int64_t panel = 0;
    for_each_panel<Isa>(c.lanes / V::width, [&]<int NV>(int64_t vector) {
      const PanelMask<Isa>& mask = s.masks[panel++];
      const int64_t first = vector * V::width, end = first + NV * V::width;
      for (int64_t i = first; i < end && i < c.queries; ++i)
        for (int64_t j = from; j < to; ++j) {
          const bool key = c.any_key && s.keys_left_out[j], query = c.any_query && s.queries_left_out[i],
                     grad_out = c.any_grad_out && s.grad_outs_left_out[i];
          if (!(key || query || grad_out) || !mask.lane_sees(i - first, c.first_key + j)) continue;
          const int64_t word = (j - from) * (c.lanes / kGroup) + i / kGroup;
          const float weight = Pack::element(s.weights + word, i % kGroup);
          const float grad_score = Pack::element(s.grad_scores + word, i % kGroup);
          if (key)
            Pack::add_row(p.type, row_of(p, p.key, c.batch, c.first_key + j, c.key_head), p.width, grad_score,
                          s.grad_queries + i * c.columns);
          if (query)
            Pack::add_row(p.type, row_of(p, p.query, c.batch, c.first_query + i, c.head), p.width, grad_score,
                          s.grad_keys + j * c.columns);
          if (grad_out)
            Pack::add_row(p.type, row_of(p, p.grad_out, c.batch, c.first_query + i, c.head), p.width, weight,
                          s.grad_values + j * c.columns);
        }
    });
  }

  static float* share(const AttentionProblem& p, int64_t chunk, int64_t batch, int64_t head, int64_t query) {
    return p.grad_shares + (((chunk * p.batch + batch) * p.heads + head) * p.queries + query) * p.width;
  }

  // A head of a sample: its gradient of the queries from the chunks' shares, in their order.
  static void add_shares(const AttentionProblem& p, int64_t task) {
    const int64_t batch = task / p.heads, head = task % p.heads;
    for (int64_t query = 0; query < p.queries; ++query) {
      float* sum = share(p, 0, batch, head, query);
      for (int64_t chunk = 1; chunk < p.chunks; ++chunk) {
        const float* other = share(p, chunk, batch, head, query);
        for (int64_t d = 0; d < p.width; ++d) sum[d] += other[d];
      }
      Pack::write(p.type, sum, p.scale, p.width, row_of(p, p.grad_query, batch, query, head));
    }
  }

  // The block's queries and gradients in every form that the products need, its masks, and delta = sum(dO · O) − dlse.
  static void load_queries(Context& c) {
    const AttentionProblem& p = c.p;
    Scratch& s = c.s;
    const char* query = row_of(p, p.query, c.batch, c.first_query, c.head);
    const char* grad = row_of(p, p.grad_out, c.batch, c.first_query, c.head);
    int64_t panel = 0;
    for_each_panel<Isa>(c.lanes / V::width, [&]<int NV>(int64_t vector) {
      constexpr int64_t lanes = NV * V::width;
      const int64_t at = vector * V::width, queries = c.queries - at < lanes ? c.queries - at : lanes;
      s.masks[panel++].load(p, c.batch, c.first_query + at, queries);
      Pack::across(p.type, row_of(p, p.query, c.batch, c.first_query + at, c.head), p.query.row_stride, queries, p.width,
                   lanes, s.rows, s.queries + at * c.depth);
      Pack::across(p.type, row_of(p, p.grad_out, c.batch, c.first_query + at, c.head), p.grad_out.row_stride, queries,
                   p.width, lanes, s.rows, s.grad_outs + at * c.depth);
      Pack::across(p.type, row_of(p, p.out, c.batch, c.first_query + at, c.head), p.out.row_stride, queries, p.width,
                   lanes, s.rows, s.outs);
      delta_of_panel<NV>(c, at);
    });
    Pack::by_depth(p.type, query, p.query.row_stride, c.queries, p.width, c.lanes, c.columns, s.queries_by_depth);
    Pack::by_depth(p.type, grad, p.grad_out.row_stride, c.queries, p.width, c.lanes, c.columns, s.grad_outs_by_depth);
    const int64_t row = (c.batch * p.heads + c.head) * p.queries + c.first_query;
    // A query that is not finite has no finite log-sum-exp, and a gradient of an output that is not has no finite delta.
    c.any_query = c.any_grad_out = false;
    for (int64_t i = 0; i < c.queries; ++i) {
      s.queries_left_out[i] = !std::isfinite(p.lse[row + i]) &&
          Pack::leave_out_row(p.type, row_of(p, p.query, c.batch, c.first_query + i, c.head), i, p.width, c.columns,
                              s.queries_by_depth);
      s.grad_outs_left_out[i] = !std::isfinite(s.delta[i]) &&
          Pack::leave_out_row(p.type, row_of(p, p.grad_out, c.batch, c.first_query + i, c.head), i, p.width, c.columns,
                              s.grad_outs_by_depth);
      c.any_query |= s.queries_left_out[i] != 0;
      c.any_grad_out |= s.grad_outs_left_out[i] != 0;
    }
    for (int64_t i = 0; i < c.lanes; ++i) {
      const float lse = i < c.queries ? p.lse[row + i] : -__builtin_inff();
      // A row that sees nothing, as padding, must come out with weights e^(finite − infinity) = 0.
      s.lse[i] = lse == -__builtin_inff() ? __builtin_inff() : lse;
      if (p.grad_lse && s.lse[i] != __builtin_inff()) s.delta[i] -= p.grad_lse[row + i];
    }
  }

  // sum(dO · O) of the queries from lane `at`, added up in the very order of the product V dOᵀ: a row that sees a single
  // key has O = V there, and its dS must be 0 and not the difference of two roundings.
  template <int NV>
  static void delta_of_panel(Context& c, int64_t at) {
    using Product = Arithmetic<Isa, Word>;
    constexpr int64_t lanes = NV * V::width;
    const Word* grad_outs = c.s.grad_outs + at * c.depth;
    for (int64_t n = 0; n < lanes; n += V::width) {
      Float sum = V::zero();
      for (int64_t k = 0; k < c.depth; ++k)
        sum = Product::multiply_add(
            sum, Product::load(c.s.outs + k * lanes + n), Product::load(grad_outs + k * lanes + n));
      V::store(c.s.delta + at + n, sum);
    }
  }

  // Weights and dS of NV vectors of queries, from lane `at` of the block, and keys [from, to) of the chunk.
  template <int NV>
  static void grad_scores_of_panel(Context& c, const PanelMask<Isa>& mask, int64_t at, int64_t from, int64_t to) {
    Scratch& s = c.s;
    constexpr int64_t lanes = NV * V::width;
    constexpr int MR = kLeastRows<Isa, NV>;
    const Word *queries = s.queries + at * c.depth, *grad_outs = s.grad_outs + at * c.depth;
    for (int64_t row = 0; row < to - from; row += MR) {
      const int64_t key = c.first_key + from + row;
      const TileClass kind = mask.classify(key, key + MR);
      if (kind == TileClass::skip) {
        store_nothing<MR>(c, at, row, lanes);
        continue;
      }
      // Both products leave the registers: what follows is a loop that the compiler need not unroll.
      alignas(64) float scores[MR * lanes], grads[MR * lanes];
      multiply_rows<Isa, Word, NV, Rows::by_rows, MR>(
          MR, c.depth, s.keys + (from + row) * c.depth, c.depth, queries, lanes,
          [&]<int M>(int64_t, Float(&tile)[M][NV])
              __attribute__((always_inline)) { accumulate<Isa>(scores, lanes, true, tile); });
      multiply_rows<Isa, Word, NV, Rows::by_rows, MR>(
          MR, c.depth, s.values + (from + row) * c.depth, c.depth, grad_outs, lanes,
          [&]<int M>(int64_t, Float(&tile)[M][NV])
              __attribute__((always_inline)) { accumulate<Isa>(grads, lanes, true, tile); });
      for (int n = 0; n < NV; ++n)
        for (int m = 0; m < MR; m += 4)
          four_rows(c, mask, kind == TileClass::partial, at, n, key + m, row + m, lanes,
                    scores + m * lanes + n * V::width, grads + m * lanes + n * V::width);
    }
  }

  // One vector of queries and four neighbouring keys: P and dS from K Qᵀ and V dOᵀ, into their places.
  static GPTFACE_INLINE void four_rows(
      Context& c, const PanelMask<Isa>& mask, bool partial, int64_t at, int n, int64_t key, int64_t row, int64_t lanes,
      const float* scores, const float* grads) {
    const AttentionProblem& p = c.p;
    const int64_t lane = at + n * V::width;
    const Float scale = V::set(p.scale), minus_lse = V::subtract(V::zero(), V::load(c.s.lse + lane)),
                delta = V::load(c.s.delta + lane);
    Float weights[4], grad_scores[4];
#pragma GCC unroll 4
    for (int m = 0; m < 4; ++m) {
      Float x = V::multiply_add(V::load(scores + m * lanes), scale, minus_lse);
      if (partial) x = V::select(mask.sees(n, key + m), x, V::set(-__builtin_inff()));
      weights[m] = exp<Isa, kExpDegree>(x);
      grad_scores[m] = V::load(grads + m * lanes);
    }
    if (p.dropout) {
      typename V::Mask dropped[4];
      keep_masks<Isa>(p, c.batch, c.head, c.first_query + lane, key, dropped);
#pragma GCC unroll 4
      for (int m = 0; m < 4; ++m) {
        const Float grad = V::select(dropped[m], V::zero(), V::multiply(grad_scores[m], V::set(p.keep_scale)));
        grad_scores[m] = V::multiply(weights[m], V::subtract(grad, delta));
        weights[m] = V::select(dropped[m], V::zero(), weights[m]);
      }
    } else {
#pragma GCC unroll 4
      for (int m = 0; m < 4; ++m) grad_scores[m] = V::multiply(weights[m], V::subtract(grad_scores[m], delta));
    }
    // Where nothing is seen the weight is 0, but 0 · NaN of a hidden value would not be.
    if (partial)
      for (int m = 0; m < 4; ++m) grad_scores[m] = V::select(mask.sees(n, key + m), grad_scores[m], V::zero());
    store_four(c, lane, row, weights, grad_scores);
  }

  static GPTFACE_INLINE void store_four(
      Context& c, int64_t lane, int64_t row, const Float (&weights)[4], const Float (&grads)[4]) {
#pragma GCC unroll 4
    for (int m = 0; m < 4; ++m) {
      const int64_t word = (row + m) * (c.lanes / kGroup) + lane / kGroup;
      if constexpr (kGroup == 1) {
        V::store(c.s.weights + word, weights[m]);
        V::store(c.s.grad_scores + word, grads[m]);
      } else {
        V::store_bfloat16(reinterpret_cast<BFloat16*>(c.s.weights + word), weights[m]);
        V::store_bfloat16(reinterpret_cast<BFloat16*>(c.s.grad_scores + word), grads[m]);
        if (m % 2 == 0)
          V::store_pairs(c.s.grad_scores_by_depth + (row + m) / 2 * c.lanes + lane, grads[m], grads[m + 1]);
      }
    }
  }

  template <int MR>
  static void store_nothing(Context& c, int64_t at, int64_t row, int64_t lanes) {
    for (int64_t m = row; m < row + MR; ++m) {
      const int64_t word = m * (c.lanes / kGroup) + at / kGroup;
      std::memset(c.s.weights + word, 0, lanes / kGroup * sizeof(Word));
      std::memset(c.s.grad_scores + word, 0, lanes / kGroup * sizeof(Word));
      if (kGroup == 2 && m % 2 == 0)
        std::memset(c.s.grad_scores_by_depth + m / 2 * c.lanes + at, 0, lanes * sizeof(Word));
    }
  }
};

}  // namespace gptface
