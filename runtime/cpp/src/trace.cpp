#include "trace.h"

#include "speechpress/error.h"

#ifdef SPEECHPRESS_ETDUMP
#include <executorch/devtools/etdump/etdump_flatcc.h>

#include <cstdlib>
#include <fstream>
#endif

namespace speechpress {

#ifdef SPEECHPRESS_ETDUMP

struct Trace::Impl {
  executorch::etdump::ETDumpGen generator;
};

Trace::Trace(bool wanted) : impl_(wanted ? std::make_unique<Impl>() : nullptr) {}

executorch::runtime::EventTracer* Trace::tracer() {
  return impl_ ? &impl_->generator : nullptr;
}

void Trace::write(const std::string& path) {
  if (!impl_) throw Error("nothing was traced: the engine was loaded without it");
  const auto dump = impl_->generator.get_etdump_data();
  const std::unique_ptr<void, decltype(&std::free)> owner(dump.buf, &std::free);
  std::ofstream file(path, std::ios::binary);
  file.write(static_cast<const char*>(dump.buf), static_cast<std::streamsize>(dump.size));
  if (dump.size == 0 || !file.flush()) throw Error("cannot write the trace to " + path);
}

#else

struct Trace::Impl {};

Trace::Trace(bool wanted) {
  if (wanted) throw Error("this runtime was built without ExecuTorch's event tracer");
}

executorch::runtime::EventTracer* Trace::tracer() {
  return nullptr;
}

void Trace::write(const std::string& path) {
  throw Error("there is no trace to write to " + path);
}

#endif

Trace::~Trace() = default;

}  // namespace speechpress
