// Where in the tensors an item of the kernels finds its numbers.

#ifndef MMDET_LITE_OPS_CSRC_LAYOUT_H_
#define MMDET_LITE_OPS_CSRC_LAYOUT_H_

#include "kernels.h"
#include "memory.h"
#include "vectors.h"

namespace mmdet_lite {
namespace {

// kVectors is the number of vectors of a head's dimensions where it is known at compile
// time, so that sums stay in registers, or 0.
template <typename T, int kVectors>
inline int64_t NumVectors(const Sizes& sizes) {
  return kVectors > 0 ? kVectors : sizes.head_dims / kLanes<T>;
}

// Items are numbered (B, M, Q), so that a thread stays in one head's tokens:
// neighbouring queries sample the same ones. Rows of queries are numbered (B, Q, M), as
// in memory.
inline int64_t RowOf(int64_t item, const Sizes& sizes) {
  const int64_t query = item % sizes.num_queries;
  const int64_t batch_and_head = item / sizes.num_queries;
  const int64_t batch = batch_and_head / sizes.num_heads;
  const int64_t head = batch_and_head % sizes.num_heads;
  return (batch * sizes.num_queries + query) * sizes.num_heads + head;
}

// Where an item's batch and head begin in value and key.
template <typename T>
inline int64_t HeadOffset(int64_t item, const Inputs<T>& inputs) {
  const int64_t batch_and_head = item / inputs.sizes.num_queries;
  return batch_and_head / inputs.sizes.num_heads * inputs.batch_stride +
         batch_and_head % inputs.sizes.num_heads * inputs.head_stride;
}

// Where an item's first level begins in QueryGradients::points_by_level.
inline int64_t PointsByLevelOffset(int64_t item, const Sizes& sizes) {
  const int64_t query = item % sizes.num_queries;
  const int64_t batch_and_head = item / sizes.num_queries;
  return (batch_and_head * sizes.num_levels * sizes.num_queries + query) * 4 *
         sizes.num_points;
}

// How many queries ahead to prefetch.
constexpr int64_t kPrefetchDistance = 4;

// Prefetches what the operators read of a query and head, beside the sampled tokens.
template <typename T>
inline void PrefetchQuery(const Inputs<T>& inputs, const T* grad_output, int64_t row) {
  const Sizes& sizes = inputs.sizes;
  const int64_t num_samples = sizes.num_levels * sizes.num_points;
  if (row >= sizes.batch * sizes.num_queries * sizes.num_heads) return;
  Prefetch(inputs.locations + row * num_samples * 2, num_samples * 2);
  if (inputs.query != nullptr) {
    Prefetch(inputs.query + row * sizes.head_dims, sizes.head_dims);
  } else {
    Prefetch(inputs.attention_weights + row * num_samples, num_samples);
  }
  if (inputs.predicted_logits != nullptr) {
    Prefetch(inputs.predicted_logits + row * num_samples, num_samples);
  }
  if (grad_output != nullptr) {
    Prefetch(grad_output + row * sizes.head_dims, sizes.head_dims);
  }
}

}  // namespace
}  // namespace mmdet_lite

#endif  // MMDET_LITE_OPS_CSRC_LAYOUT_H_
