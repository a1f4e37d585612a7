// Vectors of numbers: the compiler's, as wide as the widest registers in use.

#ifndef MMDET_LITE_OPS_CSRC_VECTORS_H_
#define MMDET_LITE_OPS_CSRC_VECTORS_H_

#include <math.h>

#include <cstdint>

#ifdef __AVX2__
#include <immintrin.h>
#endif

// Before a loop whose iterations touch different memory.
#define MMDET_LITE_INDEPENDENT _Pragma("GCC ivdep")

namespace mmdet_lite {
namespace {

// Eight floats or four doubles: a register of AVX2, two of SSE or NEON.
constexpr int64_t kVectorBytes = 32;

template <typename T>
constexpr int64_t kLanes = kVectorBytes / static_cast<int64_t>(sizeof(T));

template <typename T>
struct VectorOf {
  typedef T Type __attribute__((vector_size(kVectorBytes)));
  // Rows of a tensor are aligned to their elements only.
  typedef T Unaligned
      __attribute__((vector_size(kVectorBytes), aligned(alignof(T)), may_alias));
};

template <typename T>
using Vector = typename VectorOf<T>::Type;

template <typename T>
inline Vector<T> Load(const T* from) {
  return *reinterpret_cast<const typename VectorOf<T>::Unaligned*>(from);
}

template <typename T>
inline void Store(T* to, Vector<T> vector) {
  *reinterpret_cast<typename VectorOf<T>::Unaligned*>(to) = vector;
}

inline float SumLanes(Vector<float> v) {
  return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7]));
}

inline double SumLanes(Vector<double> v) { return (v[0] + v[2]) + (v[1] + v[3]); }

template <typename T>
inline T Max(T first, T second) {
  return first > second ? first : second;
}

inline float MaxLane(Vector<float> v) {
  return Max(Max(Max(v[0], v[4]), Max(v[1], v[5])),
             Max(Max(v[2], v[6]), Max(v[3], v[7])));
}

inline double MaxLane(Vector<double> v) {
  return Max(Max(v[0], v[2]), Max(v[1], v[3]));
}

// The sums of the lanes of eight vectors.
template <typename T>
inline void SumLanesOf8(const Vector<T>* vectors, T* sums) {
  for (int64_t i = 0; i < 8; ++i) sums[i] = SumLanes(vectors[i]);
}

#ifdef __AVX2__
template <>
inline void SumLanesOf8<float>(const Vector<float>* vectors, float* sums) {
  const __m256 first = _mm256_hadd_ps(_mm256_hadd_ps(vectors[0], vectors[1]),
                                      _mm256_hadd_ps(vectors[2], vectors[3]));
  const __m256 second = _mm256_hadd_ps(_mm256_hadd_ps(vectors[4], vectors[5]),
                                       _mm256_hadd_ps(vectors[6], vectors[7]));
  Store<float>(sums, _mm256_permute2f128_ps(first, second, 0x20) +
                         _mm256_permute2f128_ps(first, second, 0x31));
}
#endif

// The exponential of numbers up to 0.
inline Vector<double> ExpOfNegative(Vector<double> x) {
  for (int64_t lane = 0; lane < kLanes<double>; ++lane) x[lane] = exp(x[lane]);
  return x;
}

inline Vector<float> ExpOfNegative(Vector<float> x) {
  typedef int32_t Bits __attribute__((vector_size(kVectorBytes)));
  const Vector<float> lowest = Vector<float>{} - 87.0f;
  const Vector<float> clamped = x < lowest ? lowest : x;
  // Adding 1.5 * 2^23 leaves no bits for a fraction: this rounds to an integer, which
  // then stands in the lowest bits.
  const Vector<float> shifted = clamped * 1.44269504088896341f + 12582912.0f;
  const Vector<float> power = shifted - 12582912.0f;
  // exp(x) = 2^power * exp(rest); ln 2 in two parts, the first short, to lose no bits.
  const Vector<float> rest = clamped - power * 0.693359375f + power * 2.12194440e-4f;
  // The polynomial of Cephes' expf.
  Vector<float> result = rest * 1.9875691500e-4f + 1.3981999507e-3f;
  result = result * rest + 8.3334519073e-3f;
  result = result * rest + 4.1665795894e-2f;
  result = result * rest + 1.6666665459e-1f;
  result = result * rest + 5.0000001201e-1f;
  result = result * rest * rest + rest + 1.0f;
  result = (Vector<float>)((Bits)result + ((Bits)shifted << 23));
  return x == x ? result : x;
}

// Without the C library's function, which the x86-64 baseline would call point by
// point.
template <typename T>
inline int32_t Floor(T x) {
  const int32_t truncated = static_cast<int32_t>(x);
  return truncated - (x < static_cast<T>(truncated));
}

}  // namespace
}  // namespace mmdet_lite

#endif  // MMDET_LITE_OPS_CSRC_VECTORS_H_
