// The interface between the operators, which know PyTorch, and the kernels, which know
// only pointers: the kernels are compiled once for each instruction set, and code of
// PyTorch's headers must not be compiled with instructions that a machine may lack.
//
// B batch, Q queries, M heads, D dimensions of a head, L levels, P points, S tokens.
// Tensors are contiguous but for value and key; offsets are 64-bit throughout. There is
// at least one sample: B, Q, M, D, L and P are not 0.

#ifndef MMDET_LITE_OPS_CSRC_KERNELS_H_
#define MMDET_LITE_OPS_CSRC_KERNELS_H_

#include <cstdint>

namespace mmdet_lite {

// D must be a multiple of this; the operators pad it with zeros.
constexpr int64_t kHeadDimsMultiple = 8;

struct Level {
  int32_t height;
  int32_t width;
  int64_t start;  // index of the level's first token
};

struct Sizes {
  int64_t batch;
  int64_t num_queries;
  int64_t num_heads;
  int64_t head_dims;
  int64_t num_levels;
  int64_t num_points;
  int64_t num_tokens;
};

enum class Attention {
  kPlain,        // weights are given
  kKeyIsValue,   // weights are softmax(query · sampled value)
  kSeparateKey,  // weights are softmax(query · sampled key)
};

template <typename T>
struct Inputs {
  Attention attention;
  Sizes sizes;
  const Level* levels;         // (L)
  const T* value;              // (B, S, M, D), strides below
  const T* locations;          // (B, Q, M, L, P, 2)
  const T* attention_weights;  // (B, Q, M, L, P), of plain attention only
  const T* query;              // (B, Q, M, D), of key-aware attention only
  const T* key;                // as value, of a separate key only
  const T*
      predicted_logits;  // (B, Q, M, L, P), added to query · key / sqrt(D); or null
  int64_t batch_stride;  // of value and key; their last dimension is dense
  int64_t token_stride;
  int64_t head_stride;
  T logit_scale;  // 1 / sqrt(D), of the D before padding
};

// What the backward pass finds by gathering; each query's results are its own.
template <typename T>
struct QueryGradients {
  const T* output;       // (B, Q, M, D), the incoming gradient
  T* locations;          // (B, Q, M, L, P, 2)
  T* query;              // (B, Q, M, D), of key-aware attention only
  T* attention_weights;  // (B, Q, M, L, P), of plain attention only
  T* predicted_logits;   // (B, Q, M, L, P), where there are such inputs
  // (B, M, L, Q, 4 * P), what token_backward reads of the points, in its order: of a
  // query's points in a level the locations (x, y), the attention weights, and the
  // gradients of the logits before scaling, query · key; 0 in plain attention.
  T* points_by_level;
};

// The kernels of one instruction set. Each works on a range of independent items, so
// that the result does not depend on how the ranges are spread over threads.
template <typename T>
struct Kernels {
  // Writes output (B, Q, M, D) of the items [begin, end) of B * M * Q.
  void (*forward)(const Inputs<T>& inputs, T* output, int64_t begin, int64_t end);

  // Writes the gradients that a query has to itself, for the items [begin, end) of
  // B * M * Q.
  void (*query_backward)(const Inputs<T>& inputs, const QueryGradients<T>& gradients,
                         int64_t begin, int64_t end);

  // Writes the gradient (B, S, M, D) of the value, of the key or, where the key is the
  // value, of both, for the items [begin, end) of B * M * L. Each sampled token gets
  // the incoming gradient times the attention weight, unless `grad_output` is null, and
  // the query times the gradient of query · key, unless `query` is null; both are
  // (B, Q, M, D).
  void (*token_backward)(const Inputs<T>& inputs, const T* points_by_level,
                         const T* grad_output, const T* query, T* grad_tokens,
                         int64_t begin, int64_t end);
};

// The kernels for heads of some size, on any machine of the architecture that the
// library was compiled for.
template <typename T>
Kernels<T> BaselineKernels(int64_t head_dims);

#ifdef MMDET_LITE_WITH_AVX2
// The same for x86-64 machines with AVX2 and FMA.
template <typename T>
Kernels<T> Avx2Kernels(int64_t head_dims);
#endif

}  // namespace mmdet_lite

#endif  // MMDET_LITE_OPS_CSRC_KERNELS_H_
