#include "report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <numeric>

namespace speechpress {
namespace {

/// Builds one object of numbers.
class JsonLine {
 public:
  void add(const char* key, int64_t value) { append(key, std::to_string(value)); }

  void add(const char* key, double value) {
    char text[32];
    std::snprintf(text, sizeof(text), "%.6g", value);
    append(key, std::isfinite(value) ? text : "null");
  }

  std::string text() const { return "{" + members_ + "}"; }

 private:
  void append(const char* key, const std::string& value) {
    members_ += (members_.empty() ? "\"" : ", \"") + std::string(key) + "\": " + value;
  }

  std::string members_;
};

}  // namespace

double quantile(std::vector<double> values, double share) {
  if (values.empty()) return std::nan("");
  std::sort(values.begin(), values.end());
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

// Not getrusage, which on Linux inherits the peak of the process that started this one.
int64_t peak_rss_bytes() {
  std::ifstream status("/proc/self/status");
  std::string key;
  int64_t kib = 0;
  while (status >> key) {
    if (key == "VmHWM:" && status >> kib) return kib * 1024;
    std::getline(status, key);
  }
  return 0;
}

std::string to_json(const Report& report) {
  const auto& times = report.chunk_ms;
  const double infer_s = std::accumulate(times.begin(), times.end(), 0.0) / 1000;
  const double audio_s =
      static_cast<double>(report.counts.samples) / static_cast<double>(report.spec.sample_rate);
  JsonLine line;
  line.add("load_ms", report.load_ms);
  line.add("threads", int64_t{report.threads});
  line.add("chunk_frames", report.spec.chunk_frames);
  line.add("chunk_ms", report.spec.chunk_ms());
  line.add("worst_age_ms", report.spec.worst_age_ms());
  line.add("width", report.spec.width);
  line.add("audio_s", audio_s);
  line.add("samples", report.counts.samples);
  line.add("replaced", report.counts.replaced);
  line.add("clipped", report.counts.clipped);
  line.add("frames", report.frames);
  line.add("chunks", static_cast<int64_t>(times.size()));
  line.add("first_ms", times.empty() ? std::nan("") : times.front());
  line.add("p50_ms", quantile(times, 0.50));
  line.add("p90_ms", quantile(times, 0.90));
  line.add("p99_ms", quantile(times, 0.99));
  line.add("max_ms", quantile(times, 1.0));
  line.add("infer_s", infer_s);
  line.add("rtf", audio_s > 0 ? infer_s / audio_s : std::nan(""));
  line.add("peak_rss_bytes", peak_rss_bytes());
  return line.text();
}

}  // namespace speechpress
