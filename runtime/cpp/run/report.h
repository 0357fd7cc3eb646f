#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "speechpress/extractor.h"

namespace speechpress {

/// What one run of the runner measured.
struct Report {
  double load_ms = 0;
  int threads = 0;
  StreamSpec spec;
  int64_t frames = 0;
  Counts counts;
  std::vector<double> chunk_ms;  // one per chunk, in order
};

/// The value below which that share of the values lies, with linear interpolation (numpy's
/// default).
double quantile(std::vector<double> values, double share);

/// The highest resident memory of this process so far; 0 where the system does not tell.
int64_t peak_rss_bytes();

/// One line, one object.
std::string to_json(const Report& report);

}  // namespace speechpress
