#pragma once

#include <string>

namespace speechpress {

/// From now on keep what ExecuTorch logs, for the errors that it explains, instead of printing it.
void keep_log();

/// Of this thread.
void forget_log();

/// The errors that this thread's calls logged since it was last forgotten; at most a few lines.
std::string logged();

}  // namespace speechpress
