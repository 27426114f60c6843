// SPDX-License-Identifier: Apache-2.0
/// The gate to everything that an image is made of: whatever is opened under a name is opened here, by who gave it.
#pragma once

#include <penstock/storage.hpp>

#include <map>
#include <memory>
#include <string>

namespace penstock {

/// Whose word a name is, and what for.
struct NamedBy {
  /// Who gave it.
  enum class Who : std::uint8_t { user, image };
  /// What for.
  enum class What : std::uint8_t { image, backing_file, data_file };
  Who who = Who::user;
  What what = What::image;
  /// Of an image whose header its guest may have written, since it is named like a raw disk: the format that its
  /// contents look like. Empty: no doubt.
  std::string doubtful_format = {};
};

/// Opens what images are made of. Threads: any call beside any other.
/// Errors: as open_storage(); EACCES and EINVAL for what may not be opened at that word. No message repeats the name.
class Opener {
 public:
  Opener() = default;
  Opener(const Opener&) = delete;
  Opener& operator=(const Opener&) = delete;
  virtual ~Opener() = default;

  [[nodiscard]] virtual Result<std::shared_ptr<Storage>> open(const ImageName& name, const StorageOptions& options,
                                                              const NamedBy& by) = 0;
  /// As create_storage(); always at the user's word.
  [[nodiscard]] virtual Result<std::shared_ptr<Storage>> create(const ImageName& name) = 0;
  /// As identify_storage().
  [[nodiscard]] virtual Result<std::string> identify(const ImageName& name) = 0;
};

/// What an image may name.
struct OpenPolicy {
  bool data_files = true;  ///< false: an image that names an external data file is refused
};

/// Refuses by `policy` what `by` may not name, whoever opens it. Errors: EACCES, EINVAL.
[[nodiscard]] Result<> check_named(const NamedBy& by, const OpenPolicy& policy);

/// Opens by open_storage(), with this process's rights, what `policy` allows.
[[nodiscard]] std::shared_ptr<Opener> make_host_opener(OpenPolicy policy = {});

/// Opens nothing but the files that it was given open, each under the name that belongs to it, by whatever word: for a
/// process that may open no files itself, or whose files have no names any more.
class DescriptorOpener final : public Opener {
 public:
  explicit DescriptorOpener(OpenPolicy policy = {}) : policy_(policy) {}
  ~DescriptorOpener() override;

  /// `descriptor` is the opener's from here on, of a file or block device, open for reading or for both. Before the
  /// first open(). Errors: EEXIST, the name has one; EINVAL, not a plain name.
  [[nodiscard]] Result<> give(const ImageName& name, int descriptor);

  /// Errors, beside those of all: ENOENT, it was not given; EACCES, it is open for less. The storage locks as any other
  /// does; each open() gives one of its own, over the same open file description.
  [[nodiscard]] Result<std::shared_ptr<Storage>> open(const ImageName& name, const StorageOptions& options,
                                                      const NamedBy& by) override;
  /// Errors: ENOTSUP.
  [[nodiscard]] Result<std::shared_ptr<Storage>> create(const ImageName& name) override;
  [[nodiscard]] Result<std::string> identify(const ImageName& name) override;

 private:
  [[nodiscard]] Result<int> find(const ImageName& name) const;

  const OpenPolicy policy_;
  std::map<std::string, int> given_;  // by ImageName::text()
};

}  // namespace penstock
