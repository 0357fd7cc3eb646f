#include "program.h"

#include <cstdint>
#include <numeric>

#include "speechpress/error.h"
#include "speechpress/file.h"

namespace speechpress {
namespace {

using executorch::runtime::EValue;
using executorch::runtime::Program;

constexpr int64_t kNewestSchema = 2;
constexpr int64_t kMost = INT32_MAX;  // of any number, so that products fit

/// Reads the constant methods of one program.
class Constants {
 public:
  Constants(Module& module, const std::string& path) : module_(module), path_(path) {
    auto names = module.method_names();
    if (names.ok()) names_ = names.get();
  }

  bool has(const std::string& name) const { return names_.count(name) > 0; }

  int64_t integer(const std::string& name, int64_t least) {
    const auto values = integers(name);
    if (values.size() != 1 || values[0] < least || values[0] > kMost) throw damaged(name);
    return values[0];
  }

  std::vector<int64_t> integers(const std::string& name) {
    std::vector<int64_t> integers;
    for (const EValue& value : values(name)) {
      if (!value.isInt()) throw damaged(name);
      integers.push_back(value.toInt());
    }
    return integers;
  }

  std::vector<double> numbers(const std::string& name) {
    std::vector<double> numbers;
    for (const EValue& value : values(name)) {
      if (!value.isInt() && !value.isDouble()) throw damaged(name);
      numbers.push_back(value.isInt() ? static_cast<double>(value.toInt()) : value.toDouble());
    }
    return numbers;
  }

  Error damaged(const std::string& name) const {
    return Error(path_ + " is no speechpress program, or a damaged one: its method '" + name +
                 "' is missing or gives something unexpected");
  }

 private:
  std::vector<EValue> values(const std::string& name) {
    if (!has(name)) throw damaged(name);
    auto result = module_.execute(name);
    if (!result.ok()) throw damaged(name);
    return std::move(result.get());
  }

  Module& module_;
  const std::string& path_;
  std::unordered_set<std::string> names_;
};

void check_schema(Constants& constants, const std::string& path) {
  if (!constants.has("schema")) {
    throw Error(path + " is an ExecuTorch program, but not one that speechpress exported");
  }
  const int64_t schema = constants.integer("schema", 1);
  if (schema > kNewestSchema) {
    throw Error(path + " has schema " + std::to_string(schema) + ", but this runtime reads up to " +
                std::to_string(kNewestSchema) + ": it needs a newer speechpress");
  }
}

void check_state(const ProgramFacts& facts, const Constants& constants) {
  const auto initial = static_cast<int64_t>(facts.state_initial.size());
  for (const int64_t size : facts.state_sizes) {
    if (size < 0) throw constants.damaged("state_sizes");
    if (size > initial) throw constants.damaged("state_initial");
  }
  for (const int64_t frames : facts.chunk_frames) {
    if (frames < 1 || frames > kMost) throw constants.damaged("chunk_frames");
  }
  const auto& sizes = facts.state_sizes;
  if (std::accumulate(sizes.begin(), sizes.end(), int64_t{0}) != initial) {
    throw constants.damaged("state_initial");
  }
  const bool streams = !facts.chunk_frames.empty();
  if (streams && facts.end_index >= static_cast<int64_t>(sizes.size())) {
    throw constants.damaged("end_index");
  }
}

}  // namespace

void load_program(Module& module, const std::string& path) {
  { const File readable(path); }
  const auto error = module.load(Program::Verification::InternalConsistency);
  if (error != executorch::runtime::Error::Ok) {
    throw Error(path + " is no ExecuTorch program, or a damaged one (" +
                executorch::runtime::to_string(error) + "); copy it again");
  }
}

ProgramFacts read_facts(Module& module, const std::string& path) {
  Constants constants(module, path);
  check_schema(constants, path);
  ProgramFacts facts;
  facts.spec.sample_rate = constants.integer("sample_rate", 1);
  facts.spec.hop_samples = constants.integer("hop_samples", 1);
  facts.spec.receptive_samples = constants.integer("receptive_samples", 1);
  facts.spec.lookahead_frames = constants.integer("lookahead_frames", 0);
  if (constants.has("lag_frames")) facts.spec.lag_frames = constants.integer("lag_frames", 0);
  facts.spec.width = constants.integer("width", 1);
  facts.chunk_frames = constants.integers("chunk_frames");
  facts.state_sizes = constants.integers("state_sizes");
  facts.state_initial = constants.numbers("state_initial");
  facts.end_index = constants.integer("end_index", facts.chunk_frames.empty() ? -1 : 0);
  if (constants.has("head_outputs")) facts.head_outputs = constants.integer("head_outputs", 0);
  check_state(facts, constants);
  return facts;
}

}  // namespace speechpress
