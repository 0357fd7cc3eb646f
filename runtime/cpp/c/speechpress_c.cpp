#include "speechpress_c.h"

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/runtime/backend/interface.h>

#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "log.h"
#include "program.h"
#include "speechpress/error.h"
#include "thread_pool.h"
#include "trace.h"

using executorch::aten::ScalarType;
using executorch::extension::make_tensor_ptr;
using executorch::extension::Module;
using executorch::extension::TensorPtr;
using executorch::runtime::EValue;
using RuntimeError = executorch::runtime::Error;

struct sp_program {
  sp_program(const std::string& path, bool traced)
      : trace(traced), module(path, Module::LoadMode::Mmap) {}

  speechpress::Trace trace;  // the module's methods write to it, so it must outlive the module
  Module module;
  std::vector<EValue> outputs;
};

namespace {

thread_local std::string error_text;
thread_local std::string given_text;

/// What `act` gives; `failed` when it throws, for nothing may be thrown into C.
template <typename Act, typename Value>
Value guarded(Value failed, Act act) {
  error_text.clear();
  speechpress::keep_log();
  speechpress::forget_log();
  try {
    return act();
  } catch (const std::exception& error) {
    error_text = error.what();
  } catch (...) {
    error_text = "an unknown error";
  }
  return failed;
}

const char* given(std::string text) {
  given_text = std::move(text);
  return given_text.c_str();
}

/// With what ExecuTorch logged about it, which names an operator or a backend that it has not.
void check(RuntimeError error, const std::string& what) {
  if (error == RuntimeError::Ok) return;
  const std::string log = speechpress::logged();
  throw speechpress::Error(what + ": " + executorch::runtime::to_string(error) +
                           (log.empty() ? "" : "; " + log));
}

TensorPtr wrapped(const sp_value& value) {
  if (value.kind != SP_TENSOR || value.dimensions < 0 || value.dimensions > SP_MOST_DIMENSIONS) {
    throw speechpress::Error("an input is no tensor of at most 8 dimensions");
  }
  std::vector<executorch::aten::SizesType> sizes(value.shape, value.shape + value.dimensions);
  return make_tensor_ptr(std::move(sizes), const_cast<void*>(value.data),
                         static_cast<ScalarType>(value.dtype));
}

void describe(const executorch::aten::Tensor& tensor, sp_value* value) {
  if (tensor.dim() > SP_MOST_DIMENSIONS) throw speechpress::Error("an output has too many dimensions");
  value->kind = SP_TENSOR;
  value->dtype = static_cast<int32_t>(tensor.scalar_type());
  value->dimensions = static_cast<int32_t>(tensor.dim());
  for (int32_t i = 0; i < value->dimensions; ++i) value->shape[i] = tensor.size(i);
  value->data = tensor.const_data_ptr();
  value->bytes = static_cast<int64_t>(tensor.nbytes());
}

void describe(const EValue& found, sp_value* value) {
  *value = sp_value{};
  value->kind = SP_OTHER;
  if (found.isTensor()) {
    describe(found.toTensor(), value);
  } else if (found.isInt()) {
    value->kind = SP_INTEGER;
    value->integer = found.toInt();
  } else if (found.isDouble()) {
    value->kind = SP_NUMBER;
    value->number = found.toDouble();
  } else if (found.isBool()) {
    value->kind = SP_TRUTH;
    value->integer = found.toBool() ? 1 : 0;
  }
}

}  // namespace

int32_t sp_abi(void) {
  return SP_ABI;
}

const char* sp_executorch_version(void) {
  return SPEECHPRESS_EXECUTORCH;
}

const char* sp_error(void) {
  return error_text.c_str();
}

const char* sp_backends(void) {
  return guarded<>(static_cast<const char*>(nullptr), [] {
    std::string names;
    for (size_t i = 0; i < executorch::runtime::get_num_registered_backends(); ++i) {
      const auto name = executorch::runtime::get_backend_name(i);
      if (name.ok()) names += std::string(name.get()) + "\n";
    }
    return given(names);
  });
}

int32_t sp_threads(void) {
  return guarded<>(-1, [] { return speechpress::pool_threads(); });
}

int32_t sp_set_threads(int32_t threads) {
  return guarded<>(-1, [&] {
    speechpress::reset_pool(threads);
    return 0;
  });
}

sp_program* sp_load(const char* path, int32_t trace) {
  return guarded<>(static_cast<sp_program*>(nullptr), [&] {
    auto program = std::make_unique<sp_program>(path, trace != 0);
    speechpress::load_program(program->module, path);
    return program.release();
  });
}

void sp_free(sp_program* program) {
  delete program;
}

const char* sp_methods(sp_program* program) {
  return guarded<>(static_cast<const char*>(nullptr), [&] {
    const auto names = program->module.method_names();
    check(names.error(), "its methods cannot be listed");
    std::string text;
    for (const auto& name : names.get()) text += name + "\n";
    return given(text);
  });
}

int32_t sp_load_method(sp_program* program, const char* method) {
  return guarded<>(-1, [&] {
    check(program->module.load_method(method, nullptr, program->trace.tracer()), method);
    return 0;
  });
}

int32_t sp_run(sp_program* program, const char* method, const sp_value* inputs, int32_t count) {
  return guarded<>(-1, [&] {
    std::vector<TensorPtr> tensors;
    for (int32_t i = 0; i < count; ++i) tensors.push_back(wrapped(inputs[i]));
    const std::vector<EValue> values(tensors.begin(), tensors.end());
    program->outputs.clear();
    auto outputs = program->module.execute(method, values);
    check(outputs.error(), method);
    program->outputs = std::move(outputs.get());
    return static_cast<int32_t>(program->outputs.size());
  });
}

int32_t sp_output(sp_program* program, int32_t index, sp_value* value) {
  return guarded<>(-1, [&] {
    describe(program->outputs.at(static_cast<size_t>(index)), value);
    return 0;
  });
}

int32_t sp_write_trace(sp_program* program, const char* path) {
  return guarded<>(-1, [&] {
    program->trace.write(path);
    return 0;
  });
}
