// SPDX-License-Identifier: Apache-2.0
#include <penstock/provisioner.hpp>

#include "provision/job.hpp"

namespace penstock {

Provisioner::Provisioner(Image& image, Executor& background, Clock& clock, ProvisionOptions options,
                         std::function<void(const Progress&)> changed)
    : job_(std::make_unique<Job>(image, background, clock, options, std::move(changed))) {}

Provisioner::~Provisioner() = default;

void Provisioner::start() {
  job_->start();
}
void Provisioner::pause() {
  job_->pause();
}
void Provisioner::resume() {
  job_->resume();
}
void Provisioner::cancel() {
  job_->cancel();
}
void Provisioner::set_speed(std::uint64_t bytes_per_second) {
  job_->set_speed(bytes_per_second);
}
Result<> Provisioner::wait() {
  return job_->wait();
}
bool Provisioner::wait_for_end(std::chrono::milliseconds patience) {
  return job_->wait_for_end(patience);
}
Progress Provisioner::progress() const {
  return job_->progress();
}

}  // namespace penstock
