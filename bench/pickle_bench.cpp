// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>

#include <cereal/archives/binary.hpp>
#include <cereal/types/map.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/vector.hpp>
#include <conc/detail/byte_buffer.hpp>
#include <conc/pickle.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace {

using Map = std::map<std::string, std::vector<int>>;
using Block = std::vector<double>;

/// An argument as tasks have it.
struct Small {
  std::int32_t number = 7;
  double factor = 1.5;
  std::string name = "a task";
  template <class Archive>
  void serialize(Archive& archive) {
    archive(number, factor, name);
  }
};

template <class T>
T make();
template <>
Map make<Map>() {
  Map map;
  for (int i = 0; i < 1000; ++i) map["key " + std::to_string(i)].assign(20, i);
  return map;
}
template <>
Block make<Block>() {
  return Block((std::size_t{1} << 20) / sizeof(double), 1.5);
}
template <>
Small make<Small>() {
  return {};
}

struct Conc {
  using Bytes = conc::detail::ByteBuffer;
  template <class T>
  static Bytes save(const T& value) {
    Bytes bytes;
    conc::Pickler out{bytes};
    out(value);
    return bytes;
  }
  template <class T>
  static T load(const Bytes& bytes) {
    conc::Unpickler in{{bytes.data(), bytes.size()}};
    T value = in.get<T>();
    in.expect_end();
    return value;
  }
};

struct Cereal {
  using Bytes = std::string;
  template <class T>
  static Bytes save(const T& value) {
    std::ostringstream stream;
    cereal::BinaryOutputArchive archive{stream};
    archive(value);
    return std::move(stream).str();
  }
  template <class T>
  static T load(const Bytes& bytes) {
    std::istringstream stream{bytes};
    cereal::BinaryInputArchive archive{stream};
    T value;
    archive(value);
    return value;
  }
};

/// A block at the speed of memory: what no archive can do better.
struct Copy {
  using Bytes = conc::detail::ByteBuffer;
  template <class T>
  static Bytes save(const T& value) {
    Bytes bytes;
    bytes.append(value.data(), value.size() * sizeof value[0]);
    return bytes;
  }
  template <class T>
  static T load(const Bytes& bytes) {
    T value(bytes.size() / sizeof(typename T::value_type));
    std::memcpy(value.data(), bytes.data(), bytes.size());
    return value;
  }
};

/// How long does it take until a value is bytes, in memory of their own?
template <class Who, class T>
void BM_Pickle_save(benchmark::State& state) {
  const T value = make<T>();
  for (auto _ : state) {
    benchmark::DoNotOptimize(Who::save(value));
  }
}

/// How long does it take until bytes are a value?
template <class Who, class T>
void BM_Pickle_load(benchmark::State& state) {
  const auto bytes = Who::save(make<T>());
  for (auto _ : state) {
    benchmark::DoNotOptimize(Who::template load<T>(bytes));
  }
}

BENCHMARK(BM_Pickle_save<Conc, Map>)->Name("BM_Pickle_save_map/conc");
BENCHMARK(BM_Pickle_save<Cereal, Map>)->Name("BM_Pickle_save_map/cereal");
BENCHMARK(BM_Pickle_load<Conc, Map>)->Name("BM_Pickle_load_map/conc");
BENCHMARK(BM_Pickle_load<Cereal, Map>)->Name("BM_Pickle_load_map/cereal");
BENCHMARK(BM_Pickle_save<Conc, Block>)->Name("BM_Pickle_save_block/conc");
BENCHMARK(BM_Pickle_save<Cereal, Block>)->Name("BM_Pickle_save_block/cereal");
BENCHMARK(BM_Pickle_save<Copy, Block>)->Name("BM_Pickle_save_block/memcpy");
BENCHMARK(BM_Pickle_load<Conc, Block>)->Name("BM_Pickle_load_block/conc");
BENCHMARK(BM_Pickle_load<Cereal, Block>)->Name("BM_Pickle_load_block/cereal");
BENCHMARK(BM_Pickle_load<Copy, Block>)->Name("BM_Pickle_load_block/memcpy");
BENCHMARK(BM_Pickle_save<Conc, Small>)->Name("BM_Pickle_save_struct/conc");
BENCHMARK(BM_Pickle_save<Cereal, Small>)->Name("BM_Pickle_save_struct/cereal");
BENCHMARK(BM_Pickle_load<Conc, Small>)->Name("BM_Pickle_load_struct/conc");
BENCHMARK(BM_Pickle_load<Cereal, Small>)->Name("BM_Pickle_load_struct/cereal");

}  // namespace
