// How the backward of masked attention is cut into tasks, and what does not depend on how a task multiplies: rows without a
// gradient, and the chunks' shares of the gradient of the queries.
#pragma once

#include <initializer_list>

#include <gptface/attention_tiles.h>

namespace gptface {

// What a task works on. QueryBlock: queries that it takes at a time at most, a multiple of a vector's lanes.
template <class Isa, int64_t QueryBlock>
struct AttentionBackwardPlace {
  static constexpr int64_t kLanes = Simd<Isa>::width;
  const AttentionPart* part;
  int64_t key_head, chunk, first_key, keys;  // `keys` a multiple of kKeyBlock, padding included
  int64_t vectors, query_blocks;             // of a head

  AttentionBackwardPlace(const AttentionProblem& p, int64_t task) {
    part = &part_of_task(p, task, [&](const AttentionPart& other) { return other.chunks_before * p.key_heads; });
    task -= part->chunks_before * p.key_heads;
    chunk = task % part->chunks;
    key_head = task / part->chunks;
    const int64_t first = part->key_begin / kKeyBlock, blocks = (part->key_end + kKeyBlock - 1) / kKeyBlock - first;
    first_key = (first + chunk * blocks / part->chunks) * kKeyBlock;
    keys = (first + (chunk + 1) * blocks / part->chunks) * kKeyBlock - first_key;
    vectors = (part->query_end - part->query_begin + kLanes - 1) / kLanes;
    query_blocks = (vectors * kLanes + QueryBlock - 1) / QueryBlock;
  }

  // The first query of a block, and how many lanes it takes.
  int64_t first_query(int64_t block) const { return part->query_begin + block * vectors / query_blocks * kLanes; }
  int64_t lanes(int64_t block) const { return first_query(block + 1) - first_query(block); }
  int64_t queries(int64_t block) const {
    const int64_t left = part->query_end - first_query(block);
    return left < lanes(block) ? left : lanes(block);
  }
};

// Whether a query of the block sees a key of the chunk: of a long window most blocks see nothing of most chunks.
template <class Context>
bool reaches_chunk(const Context& c) {
  const AttentionProblem& p = c.p;
  if (!p.intervals) return true;
  const int32_t* interval =
      p.intervals + c.batch * p.interval_batch_stride + 2 * p.interval_count * c.first_query;
  for (int64_t n = c.queries * p.interval_count; n > 0; --n, interval += 2)
    if (interval[0] < interval[1] && interval[0] < c.first_key + c.keys && c.first_key < interval[1]) return true;
  return false;
}

// Gradients of queries that see nothing and of keys that nobody sees.
template <class Context>
void write_no_gradients(const Context& c) {
  const AttentionProblem& p = c.p;
  const auto clear = [&](const AttentionTensor& tensor, int64_t head, int64_t from, int64_t to) {
    for (int64_t row = from; row < to; ++row)
      std::memset(row_of(p, tensor, c.batch, row, head), 0, p.width * bytes_of(p.type));
  };
  for (int64_t head = c.key_head * p.group(); head < (c.key_head + 1) * p.group(); ++head) {
    clear(p.grad_query, head, c.part.owned_query_begin, c.part.query_begin);
    clear(p.grad_query, head, c.part.query_end, c.part.owned_query_end);
  }
  for (const AttentionTensor* tensor : {&p.grad_key, &p.grad_value}) {
    clear(*tensor, c.key_head, c.part.owned_key_begin, c.part.key_begin);
    clear(*tensor, c.key_head, c.part.key_end, c.part.owned_key_end);
  }
}

// The share of a chunk of keys in the gradient of a query.
GPTFACE_INLINE float* share_of_grad_query(
    const AttentionProblem& p, int64_t chunk, int64_t batch, int64_t head, int64_t query) {
  return p.grad_shares + (((chunk * p.batch + batch) * p.heads + head) * p.queries + query) * p.width;
}

// A head of a part: its gradient of the queries from the chunks' shares, in their order.
template <class Isa, class Word>
void add_shares(const AttentionProblem& p, int64_t task) {
  const AttentionPart& part = p.parts[task / p.heads];
  const int64_t head = task % p.heads;
  if (part.chunks == 1) return;
  for (int64_t query = part.query_begin; query < part.query_end; ++query) {
    float* sum = share_of_grad_query(p, 0, part.batch, head, query);
    for (int64_t chunk = 1; chunk < part.chunks; ++chunk) {
      const float* other = share_of_grad_query(p, chunk, part.batch, head, query);
      for (int64_t d = 0; d < p.width; ++d) sum[d] += other[d];
    }
    TensorRows<Isa, Word>::write(p.type, sum, p.scale, p.width, row_of(p, p.grad_query, part.batch, query, head));
  }
}

}  // namespace gptface
