// SPDX-License-Identifier: Apache-2.0
#include "fuse/io_ring.hpp"

#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstring>

namespace penstock::fuse {

namespace {

constexpr std::size_t kSubmissionBytes = 128;

long register_at(int ring, unsigned what, const void* argument, unsigned count) {
  return syscall(SYS_io_uring_register, ring, what, argument, count);
}

std::uint32_t load(std::uint32_t* place) {
  return std::atomic_ref(*place).load(std::memory_order_acquire);
}

void store(std::uint32_t* place, std::uint32_t value) {
  std::atomic_ref(*place).store(value, std::memory_order_release);
}

}  // namespace

Result<std::unique_ptr<IoRing>> IoRing::make(unsigned entries, int device, int wake_up) {
  io_uring_params parameters{};
  // One thread submits and reaps, and does the kernel's part of receiving a request when it looks, not when it is
  // interrupted.
  parameters.flags = IORING_SETUP_SQE128 | IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_R_DISABLED |
                     IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  const unsigned room = std::bit_ceil(entries + 1);
  parameters.cq_entries = 2 * room;
  const auto descriptor = static_cast<int>(syscall(SYS_io_uring_setup, room, &parameters));
  if (descriptor < 0) return system_failure("io_uring");
  std::unique_ptr<IoRing> ring(new IoRing(descriptor, device, wake_up));
  TRY(ring->map(parameters));
  TRY(ring->confine());
  return ring;
}

Result<> IoRing::map(const io_uring_params& parameters) {
  const std::size_t submission_end = parameters.sq_off.array + parameters.sq_entries * sizeof(std::uint32_t);
  const std::size_t completion_end = parameters.cq_off.cqes + parameters.cq_entries * sizeof(io_uring_cqe);
  const auto map_at = [this](std::size_t bytes, off_t what) {
    return mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, descriptor_, what);
  };
  const std::size_t bytes = std::max(submission_end, completion_end);
  void* const rings = map_at(bytes, IORING_OFF_SQ_RING);
  if (rings == MAP_FAILED) return system_failure("io_uring: cannot map the rings");
  rings_ = rings;
  rings_bytes_ = bytes;
  void* const submissions = map_at(parameters.sq_entries * kSubmissionBytes, IORING_OFF_SQES);
  if (submissions == MAP_FAILED) return system_failure("io_uring: cannot map the submissions");
  submissions_ = submissions;
  submissions_bytes_ = parameters.sq_entries * kSubmissionBytes;
  auto* const base = static_cast<std::byte*>(rings_);
  const auto word = [base](std::uint32_t offset) { return reinterpret_cast<std::uint32_t*>(base + offset); };
  mask_ = parameters.sq_entries - 1;
  completion_mask_ = parameters.cq_entries - 1;
  kernel_tail_ = word(parameters.sq_off.tail);
  completion_head_ = word(parameters.cq_off.head);
  completion_tail_ = word(parameters.cq_off.tail);
  completions_ = reinterpret_cast<io_uring_cqe*>(base + parameters.cq_off.cqes);
  for (std::uint32_t i = 0; i < parameters.sq_entries; ++i) word(parameters.sq_off.array)[i] = i;
  return {};
}

// Whoever gets hold of the daemon finds a ring that opens no file and connects to nobody.
Result<> IoRing::confine() {
  std::array<io_uring_restriction, 2> allowed{};
  allowed[0].opcode = IORING_RESTRICTION_SQE_OP;
  allowed[0].sqe_op = IORING_OP_URING_CMD;
  allowed[1].opcode = IORING_RESTRICTION_SQE_OP;
  allowed[1].sqe_op = IORING_OP_POLL_ADD;
  if (register_at(descriptor_, IORING_REGISTER_RESTRICTIONS, allowed.data(), allowed.size()) < 0) {
    return system_failure("io_uring: cannot restrict the ring");
  }
  return {};
}

IoRing::~IoRing() {
  if (submissions_ != nullptr) munmap(submissions_, submissions_bytes_);
  if (rings_ != nullptr) munmap(rings_, rings_bytes_);
  close(descriptor_);
}

Result<> IoRing::enable() {
  if (register_at(descriptor_, IORING_REGISTER_ENABLE_RINGS, nullptr, 0) < 0) {
    return system_failure("io_uring: cannot enable the ring");
  }
  return {};
}

io_uring_sqe& IoRing::next() {
  auto* const place = static_cast<std::byte*>(submissions_) + (tail_ & mask_) * kSubmissionBytes;
  std::memset(place, 0, kSubmissionBytes);
  ++tail_;
  ++added_;
  return *reinterpret_cast<io_uring_sqe*>(place);
}

io_uring_sqe& IoRing::add_command(std::uint32_t command, std::uint64_t tag) {
  auto& out = next();
  out.opcode = IORING_OP_URING_CMD;
  out.fd = device_;
  out.cmd_op = command;
  out.user_data = tag;
  return out;
}

void IoRing::add_wake_up(std::uint64_t tag) {
  auto& out = next();
  out.opcode = IORING_OP_POLL_ADD;
  out.fd = wake_up_;
  out.len = IORING_POLL_ADD_MULTI;
  out.poll32_events = POLLIN;
  out.user_data = tag;
}

Result<> IoRing::submit(bool wait) {
  store(kernel_tail_, tail_);
  const auto done = syscall(SYS_io_uring_enter, descriptor_, added_, wait ? 1U : 0U,
                            wait ? static_cast<unsigned>(IORING_ENTER_GETEVENTS) : 0U, nullptr, std::size_t{0});
  if (done >= 0) {
    added_ -= static_cast<unsigned>(done);
    return {};
  }
  if (errno == EINTR || errno == EAGAIN || errno == EBUSY) return {};
  return system_failure("io_uring: cannot wait for requests");
}

const io_uring_cqe* IoRing::peek() const {
  const auto head = *completion_head_;
  return head == load(completion_tail_) ? nullptr : &completions_[head & completion_mask_];
}

void IoRing::pop() {
  store(completion_head_, *completion_head_ + 1);
}

}  // namespace penstock::fuse
