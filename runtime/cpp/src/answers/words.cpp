// words: vectors in which an app looks for what it was taught; the head itself tells no event.

#include "answers/kinds.h"
#include "answers/parts.h"

namespace speechpress {
namespace {

class Words : public Decoder {
 public:
  explicit Words(const HeadSpec& spec) : spec_(spec) { Parameters(spec_).done(); }

  void reset() override {}

  void step(const std::vector<Rows>& outputs, int64_t, std::vector<Event>&) override {
    check_outputs(spec_, outputs);
  }

  void finish(std::vector<Event>&) override {}

  Wait wait() const override { return {0, 0}; }

 private:
  HeadSpec spec_;
};

}  // namespace

std::unique_ptr<Decoder> make_words(const HeadSpec& spec) {
  return std::make_unique<Words>(spec);
}

}  // namespace speechpress
