// SPDX-License-Identifier: Apache-2.0
/// A local file or block device, through the page cache.
#pragma once

#include <penstock/storage.hpp>

#include "base/descriptor.hpp"
#include "base/mutex.hpp"

#include <atomic>
#include <optional>
#include <string>
#include <utility>

namespace penstock {

/// Threads: any call beside any other, but truncate() to a smaller size cuts what is written at the same time.
/// Errors: the errno of the system call. Source: pread(2), fallocate(2), lseek(2), sd(4).
class FileStorage final : public Storage {
 public:
  enum class Kind : std::uint8_t { regular, block };
  /// What the open found out about the file.
  struct Opened {
    Kind kind = Kind::regular;
    bool writable = false;
    std::uint32_t sector_size = 1;  ///< block devices: what zeroing and discarding must be aligned to
    StorageFacts facts;             ///< without the descriptor
  };

  FileStorage(std::string name, Descriptor descriptor, Opened opened);

  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] const StorageFacts& facts() const noexcept override { return opened_.facts; }
  [[nodiscard]] bool writable() const noexcept override { return opened_.writable; }
  [[nodiscard]] Result<> read(HostOffset offset, std::span<std::byte> out) override;
  [[nodiscard]] Result<> write(HostOffset offset, std::span<const std::byte> in) override;
  [[nodiscard]] Result<> write_zeroes(HostRange range, Zeroing zeroing) override;
  [[nodiscard]] Result<> discard(HostRange range) override;
  [[nodiscard]] Result<> allocate(HostRange range) override;
  [[nodiscard]] Result<> flush() override;
  [[nodiscard]] Result<std::uint64_t> size() override;
  [[nodiscard]] Result<> truncate(std::uint64_t size) override;
  [[nodiscard]] Result<HostExtent> extent(HostOffset offset) override;
  [[nodiscard]] Result<std::uint64_t> allocated_bytes() override;

 private:
  [[nodiscard]] Result<> check_change(HostRange range) const;
  [[nodiscard]] Result<> zero_regular(HostRange range, Zeroing zeroing);
  [[nodiscard]] Result<> zero_block(HostRange range, Zeroing zeroing);
  [[nodiscard]] Result<> grow_to(HostOffset end);
  [[nodiscard]] Result<> check_still_there(HostOffset end);
  /// pread(2), which first takes what is there without waiting where somebody wants to know of waits.
  [[nodiscard]] Result<ssize_t> read_some(HostOffset offset, std::span<std::byte> out);

  std::string name_;
  Descriptor descriptor_;
  Opened opened_;
  std::atomic<std::uint64_t> least_size_{0};  // the file was that long, and we have not made it shorter
  std::atomic<bool> answers_at_once_{true};   // the file system knows RWF_NOWAIT
  std::atomic<bool> flush_failed_{false};
  Mutex mutex_;
  std::optional<Error> flush_error_ GUARDED_BY(mutex_);
};

/// A storage over an open file, which may be reached by no name any more; `name` is for people, and `path` absolute or
/// empty. Errors: as open_storage(), and EACCES for a file that is open for less than `options` ask.
[[nodiscard]] Result<std::shared_ptr<Storage>> adopt_file_storage(std::string name, std::string path,
                                                                  Descriptor descriptor, const StorageOptions& options);

/// `path` is a plain path, without a protocol. Errors: as open_storage().
[[nodiscard]] Result<std::shared_ptr<Storage>> open_file_storage(const std::string& path,
                                                                 const StorageOptions& options);
/// Errors: as create_storage().
[[nodiscard]] Result<std::shared_ptr<Storage>> create_file_storage(const std::string& path);

}  // namespace penstock
