#pragma once

#include <string_view>
#include <vector>

#include "json_value.h"
#include "speechpress/head_spec.h"

namespace speechpress {

/// One head, as bundle.json has it. Throws Error when something is missing or not as it must be.
HeadSpec read_head(const JsonValue& value);

/// The heads of a bundle.json, none when it has no such list. Throws Error when it is damaged, or
/// has a head that this runtime cannot decode.
std::vector<HeadSpec> read_heads(std::string_view document);

}  // namespace speechpress
