// The operators as PyTorch sees them: checks, dtypes, memory and threads. The
// computation is in the kernels.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "kernels.h"

namespace mmdet_lite {
namespace {

using at::Tensor;

// The fewest queries of a head that are worth a thread of their own.
constexpr int64_t kMinQueries = 128;

// From how many samples per token on it pays to lay the tokens out head by head.
constexpr int64_t kSamplesPerToken = 2;

// As PyTorch chooses its own kernels: ATEN_CPU_CAPABILITY=default does without AVX2.
bool UseAvx2() {
#ifdef MMDET_LITE_WITH_AVX2
  static const bool use = __builtin_cpu_supports("avx2") &&
                          __builtin_cpu_supports("fma") &&
                          at::get_cpu_capability() != "DEFAULT";
  return use;
#else
  return false;
#endif
}

template <typename T>
Kernels<T> BestKernels(int64_t head_dims) {
#ifdef MMDET_LITE_WITH_AVX2
  if (UseAvx2()) return Avx2Kernels<T>(head_dims);
#endif
  return BaselineKernels<T>(head_dims);
}

std::string CpuKernels() { return UseAvx2() ? "avx2" : "baseline"; }

// Half precision is accumulated in float32. Converting a whole tensor costs less than
// converting each row as it is gathered: a token is sampled many times.
at::ScalarType ComputeType(const Tensor& value) {
  return value.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

int64_t PaddedHeadDims(int64_t head_dims) {
  return (head_dims + kHeadDimsMultiple - 1) / kHeadDimsMultiple * kHeadDimsMultiple;
}

Tensor Prepare(const Tensor& tensor, at::ScalarType type) {
  return tensor.to(type).contiguous();
}

// As Prepare, with zeros after the dimensions of each head, which change no product.
Tensor PrepareRows(const Tensor& tensor, at::ScalarType type, int64_t head_dims) {
  const int64_t padding = PaddedHeadDims(head_dims) - head_dims;
  const Tensor prepared = tensor.to(type);
  return padding == 0 ? prepared.contiguous()
                      : at::constant_pad_nd(prepared, {0, padding}).contiguous();
}

// Undoes PrepareRows for a result.
Tensor FinishRows(const Tensor& rows, const Tensor& like) {
  return rows.narrow(-1, 0, like.size(-1)).to(like.scalar_type()).contiguous();
}

std::vector<Level> ReadLevels(const Tensor& spatial_shapes,
                              const Tensor& level_start_index, int64_t num_levels,
                              int64_t num_tokens) {
  TORCH_CHECK_VALUE(spatial_shapes.dim() == 2 && spatial_shapes.size(0) == num_levels &&
                        spatial_shapes.size(1) == 2 && level_start_index.dim() == 1 &&
                        level_start_index.size(0) == num_levels,
                    "spatial_shapes must have shape (", num_levels,
                    ", 2) and level_start_index (", num_levels, "), but got ",
                    spatial_shapes.sizes(), " and ", level_start_index.sizes());
  // The kernels number the tokens of a level with 32 bits.
  TORCH_CHECK_VALUE(num_tokens < std::numeric_limits<int32_t>::max(),
                    "value must have fewer than 2^31 - 1 tokens, but has ", num_tokens);
  const Tensor shapes = Prepare(spatial_shapes, at::kLong);
  const Tensor starts = Prepare(level_start_index, at::kLong);
  std::vector<Level> levels(num_levels);
  int64_t next = 0;
  for (int64_t l = 0; l < num_levels; ++l) {
    const int64_t height = shapes.const_data_ptr<int64_t>()[2 * l];
    const int64_t width = shapes.const_data_ptr<int64_t>()[2 * l + 1];
    const int64_t start = starts.const_data_ptr<int64_t>()[l];
    TORCH_CHECK_VALUE(
        height >= 0 && width >= 0 && height <= num_tokens && width <= num_tokens &&
            start == next && height * width <= num_tokens - start,
        "spatial_shapes and level_start_index do not fit ", num_tokens,
        " tokens: level ", l, " of ", height, " x ", width, " starts at ", start);
    levels[l] = {static_cast<int32_t>(height), static_cast<int32_t>(width), start};
    next = start + height * width;
  }
  TORCH_CHECK_VALUE(next == num_tokens, "spatial_shapes hold ", next,
                    " tokens, but value has ", num_tokens);
  return levels;
}

// The prepared tensors of a call; the pointers of Inputs lead into them.
class Arguments {
 public:
  Arguments(const Tensor& value, const Tensor& spatial_shapes,
            const Tensor& level_start_index, const Tensor& sampling_locations,
            const std::optional<Tensor>& attention_weights,
            const std::optional<Tensor>& query, const std::optional<Tensor>& key,
            const std::optional<Tensor>& predicted_logits) {
    TORCH_CHECK_VALUE(value.dim() == 4, "value must have 4 dimensions, but got ",
                      value.sizes());
    TORCH_CHECK_VALUE(value.size(3) > 0, "head_dims of value must not be 0");
    TORCH_CHECK_VALUE(sampling_locations.dim() == 6 &&
                          sampling_locations.size(0) == value.size(0) &&
                          sampling_locations.size(2) == value.size(2) &&
                          sampling_locations.size(5) == 2,
                      "sampling_locations ", sampling_locations.sizes(),
                      " do not fit value ", value.sizes());
    sizes_ = {value.size(0),
              sampling_locations.size(1),
              value.size(2),
              PaddedHeadDims(value.size(3)),
              sampling_locations.size(3),
              sampling_locations.size(4),
              value.size(1)};
    head_dims_ = value.size(3);
    type_ = ComputeType(value);
    levels_ = ReadLevels(spatial_shapes, level_start_index, sizes_.num_levels,
                         sizes_.num_tokens);
    head_major_ = sizes_.num_queries * sizes_.num_levels * sizes_.num_points >=
                  kSamplesPerToken * sizes_.num_tokens;
    value_ = PrepareTokens(value);
    locations_ = Prepare(sampling_locations, type_);
    if (attention_weights.has_value()) {
      CheckSamples(*attention_weights, "attention_weights");
      attention_weights_ = Prepare(*attention_weights, type_);
    }
    if (predicted_logits.has_value()) {
      CheckSamples(*predicted_logits, "predicted_logits");
      predicted_logits_ = Prepare(*predicted_logits, type_);
    }
    if (query.has_value()) {
      CheckRows(*query, "query");
      query_ = PrepareRows(*query, type_, head_dims_);
    }
    if (key.has_value()) {
      TORCH_CHECK_VALUE(key->sizes() == value.sizes(), "key ", key->sizes(),
                        " does not fit value ", value.sizes());
      key_ = PrepareTokens(*key);
    }
  }

  // Refuses a tensor that is not (B, Q, M, D).
  void CheckRows(const Tensor& rows, const char* name) const {
    TORCH_CHECK_VALUE(rows.sizes() == at::IntArrayRef({sizes_.batch, sizes_.num_queries,
                                                       sizes_.num_heads, head_dims_}),
                      name, " has shape ", rows.sizes(), ", but (", sizes_.batch, ", ",
                      sizes_.num_queries, ", ", sizes_.num_heads, ", ", head_dims_,
                      ") is needed");
  }

  // Refuses a tensor that is not (B, Q, M, L, P).
  void CheckSamples(const Tensor& samples, const char* name) const {
    TORCH_CHECK_VALUE(samples.sizes() == locations_.sizes().slice(0, 5), name, " ",
                      samples.sizes(), " do not fit sampling_locations ",
                      locations_.sizes());
  }

  template <typename T>
  Inputs<T> As() const {
    const Attention attention = !query_.defined() ? Attention::kPlain
                                : key_.defined()  ? Attention::kSeparateKey
                                                  : Attention::kKeyIsValue;
    return {attention,
            sizes_,
            levels_.data(),
            value_.const_data_ptr<T>(),
            locations_.const_data_ptr<T>(),
            Pointer<T>(attention_weights_),
            Pointer<T>(query_),
            Pointer<T>(key_),
            Pointer<T>(predicted_logits_),
            value_.stride(0),
            value_.stride(1),
            value_.stride(2),
            static_cast<T>(1 / std::sqrt(static_cast<double>(head_dims_)))};
  }

  const Sizes& sizes() const { return sizes_; }
  int64_t head_dims() const { return head_dims_; }
  at::ScalarType type() const { return type_; }
  bool no_samples() const { return locations_.numel() == 0; }
  bool key_aware() const { return query_.defined(); }
  bool has_key() const { return key_.defined(); }
  bool has_predicted_logits() const { return predicted_logits_.defined(); }
  const Tensor& value() const { return value_; }
  const Tensor& locations() const { return locations_; }

 private:
  // Side by side, a head's tokens stay in cache far better than across the heads'.
  Tensor PrepareTokens(const Tensor& tokens) const {
    if (!head_major_) return PrepareRows(tokens, type_, head_dims_);
    // Moved before it is converted: half precision is half as much to move.
    const Tensor by_head = tokens.transpose(1, 2).contiguous();
    return PrepareRows(by_head, type_, head_dims_).transpose(1, 2);
  }

  template <typename T>
  static const T* Pointer(const Tensor& tensor) {
    return tensor.defined() ? tensor.const_data_ptr<T>() : nullptr;
  }

  Sizes sizes_;
  int64_t head_dims_;
  at::ScalarType type_;
  bool head_major_;
  std::vector<Level> levels_;
  Tensor value_;
  Tensor locations_;
  Tensor attention_weights_;
  Tensor query_;
  Tensor key_;
  Tensor predicted_logits_;
};

template <typename T>
Tensor RunForward(const Arguments& arguments) {
  const Sizes& sizes = arguments.sizes();
  const Inputs<T> inputs = arguments.As<T>();
  const Kernels<T> kernels = BestKernels<T>(sizes.head_dims);
  Tensor output =
      at::empty({sizes.batch, sizes.num_queries, sizes.num_heads, sizes.head_dims},
                arguments.value().options());
  if (arguments.no_samples()) return output.zero_();
  T* data = output.mutable_data_ptr<T>();
  at::parallel_for(
      0, sizes.batch * sizes.num_heads * sizes.num_queries, kMinQueries,
      [&](int64_t begin, int64_t end) { kernels.forward(inputs, data, begin, end); });
  return output;
}

// Undefined where there is no such input.
struct Gradients {
  Tensor query;
  Tensor value;
  Tensor key;
  Tensor locations;
  Tensor attention_weights;
  Tensor predicted_logits;
};

template <typename T>
Gradients RunBackward(const Arguments& arguments, const Tensor& grad_output) {
  const Sizes& sizes = arguments.sizes();
  const Inputs<T> inputs = arguments.As<T>();
  const Kernels<T> kernels = BestKernels<T>(sizes.head_dims);
  const auto options = arguments.value().options();
  const int64_t batch_heads = sizes.batch * sizes.num_heads;

  Gradients grads;
  if (arguments.no_samples()) {
    grads.locations = at::empty_like(arguments.locations());
    grads.attention_weights = at::empty(grads.locations.sizes().slice(0, 5), options);
    grads.predicted_logits = grads.attention_weights;
    grads.query = at::zeros(grad_output.sizes(), options);
    grads.value = at::zeros(arguments.value().sizes(), options);
    grads.key = grads.value.clone();
    return grads;
  }
  grads.locations = at::empty_like(arguments.locations());
  Tensor points_by_level = at::empty(
      {batch_heads, sizes.num_levels, sizes.num_queries, 4 * sizes.num_points},
      options);
  QueryGradients<T> query_grads = {grad_output.const_data_ptr<T>(),
                                   grads.locations.mutable_data_ptr<T>(),
                                   nullptr,
                                   nullptr,
                                   nullptr,
                                   points_by_level.mutable_data_ptr<T>()};
  if (arguments.key_aware()) {
    grads.query = at::empty_like(grad_output);
    query_grads.query = grads.query.mutable_data_ptr<T>();
  } else {
    grads.attention_weights = at::empty(grads.locations.sizes().slice(0, 5), options);
    query_grads.attention_weights = grads.attention_weights.mutable_data_ptr<T>();
  }
  if (arguments.has_predicted_logits()) {
    grads.predicted_logits = at::empty(grads.locations.sizes().slice(0, 5), options);
    query_grads.predicted_logits = grads.predicted_logits.mutable_data_ptr<T>();
  }
  at::parallel_for(0, batch_heads * sizes.num_queries, kMinQueries,
                   [&](int64_t begin, int64_t end) {
                     kernels.query_backward(inputs, query_grads, begin, end);
                   });

  const auto token_gradient = [&](const T* grad_rows, const T* query_rows) {
    Tensor grad_tokens = at::empty(arguments.value().sizes(), options);
    T* data = grad_tokens.mutable_data_ptr<T>();
    at::parallel_for(0, batch_heads * sizes.num_levels, 1,
                     [&](int64_t begin, int64_t end) {
                       kernels.token_backward(inputs, query_grads.points_by_level,
                                              grad_rows, query_rows, data, begin, end);
                     });
    return grad_tokens;
  };
  if (arguments.has_key()) {
    grads.value = token_gradient(query_grads.output, nullptr);
    grads.key = token_gradient(nullptr, inputs.query);
  } else {
    grads.value = token_gradient(query_grads.output, inputs.query);
  }
  return grads;
}

Tensor ForwardOf(const Arguments& arguments, const Tensor& value) {
  const Tensor output = arguments.type() == at::kDouble ? RunForward<double>(arguments)
                                                        : RunForward<float>(arguments);
  return FinishRows(output, value).flatten(2);
}

Gradients BackwardOf(const Arguments& arguments, const Tensor& grad_output) {
  const Sizes& sizes = arguments.sizes();
  const int64_t head_dims = arguments.head_dims();
  TORCH_CHECK_VALUE(
      grad_output.sizes() == at::IntArrayRef({sizes.batch, sizes.num_queries,
                                              sizes.num_heads * head_dims}),
      "grad_output has shape ", grad_output.sizes());
  const Tensor rows = PrepareRows(
      grad_output.reshape({sizes.batch, sizes.num_queries, sizes.num_heads, head_dims}),
      arguments.type(), head_dims);
  return arguments.type() == at::kDouble ? RunBackward<double>(arguments, rows)
                                         : RunBackward<float>(arguments, rows);
}

Tensor KeyAware(const Tensor& query, const Tensor& value,
                const std::optional<Tensor>& key, const Tensor& spatial_shapes,
                const Tensor& level_start_index, const Tensor& sampling_locations,
                const std::optional<Tensor>& predicted_logits) {
  const Arguments arguments(value, spatial_shapes, level_start_index,
                            sampling_locations, std::nullopt, query, key,
                            predicted_logits);
  return ForwardOf(arguments, value);
}

// Gradients of query, value, key, locations and predicted logits; those of inputs that
// are not there are empty.
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> KeyAwareBackward(
    const Tensor& grad_output, const Tensor& query, const Tensor& value,
    const std::optional<Tensor>& key, const Tensor& spatial_shapes,
    const Tensor& level_start_index, const Tensor& sampling_locations,
    const std::optional<Tensor>& predicted_logits) {
  const Arguments arguments(value, spatial_shapes, level_start_index,
                            sampling_locations, std::nullopt, query, key,
                            predicted_logits);
  const Gradients grads = BackwardOf(arguments, grad_output);
  return {FinishRows(grads.query, query), FinishRows(grads.value, value),
          key.has_value() ? FinishRows(grads.key, *key) : value.new_empty({0}),
          grads.locations.to(sampling_locations.scalar_type()),
          predicted_logits.has_value()
              ? grads.predicted_logits.to(predicted_logits->scalar_type())
              : value.new_empty({0})};
}

Tensor Plain(const Tensor& value, const Tensor& spatial_shapes,
             const Tensor& level_start_index, const Tensor& sampling_locations,
             const Tensor& attention_weights) {
  const Arguments arguments(value, spatial_shapes, level_start_index,
                            sampling_locations, attention_weights, std::nullopt,
                            std::nullopt, std::nullopt);
  return ForwardOf(arguments, value);
}

// Gradients of value, locations and attention weights.
std::tuple<Tensor, Tensor, Tensor> PlainBackward(const Tensor& grad_output,
                                                 const Tensor& value,
                                                 const Tensor& spatial_shapes,
                                                 const Tensor& level_start_index,
                                                 const Tensor& sampling_locations,
                                                 const Tensor& attention_weights) {
  const Arguments arguments(value, spatial_shapes, level_start_index,
                            sampling_locations, attention_weights, std::nullopt,
                            std::nullopt, std::nullopt);
  const Gradients grads = BackwardOf(arguments, grad_output);
  return {FinishRows(grads.value, value),
          grads.locations.to(sampling_locations.scalar_type()),
          grads.attention_weights.to(attention_weights.scalar_type())};
}

TORCH_LIBRARY_FRAGMENT(mmdet_lite, library) {
  library.def("cpu_kernels() -> str", CpuKernels);
  library.def(
      "key_aware_attention_cpu(Tensor query, Tensor value, Tensor? key, "
      "Tensor spatial_shapes, Tensor level_start_index, Tensor sampling_locations, "
      "Tensor? predicted_logits) -> Tensor");
  library.def(
      "key_aware_attention_cpu_backward(Tensor grad_output, Tensor query, "
      "Tensor value, Tensor? key, Tensor spatial_shapes, Tensor level_start_index, "
      "Tensor sampling_locations, Tensor? predicted_logits) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  library.def(
      "plain_attention_cpu(Tensor value, Tensor spatial_shapes, "
      "Tensor level_start_index, Tensor sampling_locations, "
      "Tensor attention_weights) -> Tensor");
  library.def(
      "plain_attention_cpu_backward(Tensor grad_output, Tensor value, "
      "Tensor spatial_shapes, Tensor level_start_index, Tensor sampling_locations, "
      "Tensor attention_weights) -> (Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(mmdet_lite, CPU, library) {
  library.impl("key_aware_attention_cpu", KeyAware);
  library.impl("key_aware_attention_cpu_backward", KeyAwareBackward);
  library.impl("plain_attention_cpu", Plain);
  library.impl("plain_attention_cpu_backward", PlainBackward);
}

}  // namespace
}  // namespace mmdet_lite
