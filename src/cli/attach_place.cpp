// SPDX-License-Identifier: Apache-2.0
#include "cli/attach_place.hpp"

#include "cli/loop_device.hpp"

#include "base/real_path.hpp"
#include "base/text.hpp"
#include "fuse/mountpoint.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <utility>

namespace penstock::cli {

namespace {

constexpr std::string_view kPrefix = "attach-";
constexpr std::size_t kRandomLetters = 6;

Descriptor open_directory(const std::string& path) {
  return Descriptor(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

std::vector<std::string> places_in(const std::string& runtime) {
  std::vector<std::string> out;
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(opendir(runtime.c_str()), closedir);
  if (!entries) return out;
  while (const dirent* entry = readdir(entries.get())) {
    if (std::string_view(entry->d_name).starts_with(kPrefix)) out.push_back(concat(runtime, "/", entry->d_name));
  }
  return out;
}

/// What is left of attachments whose daemon was killed. One that a loop device still stands on is for `detach`.
void remove_dead_places(const std::string& runtime) {
  for (const std::string& directory : places_in(runtime)) {
    const Descriptor lock = open_directory(directory);
    if (!lock || flock(lock.get(), LOCK_EX | LOCK_NB) != 0) continue;
    const auto view = view_in(directory);
    if (!view || loops_over(*view).empty()) clear_place(directory);
  }
}

}  // namespace

Result<AttachPlace> AttachPlace::make(const std::string& image) {
  const auto name = parse_name(image);
  const std::string runtime = TRY(control::runtime_directory());
  remove_dead_places(runtime);
  for (;;) {
    std::string directory = concat(runtime, "/", kPrefix, std::string(kRandomLetters, 'X'));
    if (mkdtemp(directory.data()) == nullptr) return system_failure(concat("cannot make ", directory));
    Descriptor lock = open_directory(directory);
    struct stat attributes{};
    // Another attach may have taken it for a dead one before it was locked.
    if (!lock || flock(lock.get(), LOCK_EX) != 0 || fstat(lock.get(), &attributes) != 0 || attributes.st_nlink == 0) {
      rmdir(directory.c_str());
      continue;
    }
    std::string view = concat(directory, "/", fuse::view_name(name ? name->file_name() : std::string_view(image)));
    if (!Descriptor(open(view.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600))) {
      const auto problem = system_failure(concat("cannot make ", view));
      rmdir(directory.c_str());
      return problem;
    }
    return AttachPlace(std::move(directory), std::move(view), std::move(lock));
  }
}

void AttachPlace::remove() {
  unlink(view_.c_str());
  rmdir(directory_.c_str());
}

std::optional<std::string> attach_directory_of(std::string_view file, std::string_view runtime) {
  const std::string start = concat(runtime, "/", kPrefix);
  const std::size_t length = start.size() + kRandomLetters;
  if (!file.starts_with(start) || file.size() <= length || file[length] != '/') return std::nullopt;
  return std::string(file.substr(0, length));
}

std::optional<std::string> view_in(const std::string& directory) {
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(opendir(directory.c_str()), closedir);
  if (!entries) return std::nullopt;
  while (const dirent* entry = readdir(entries.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") return concat(directory, "/", name);
  }
  return std::nullopt;
}

std::vector<std::string> views_without_device() {
  std::vector<std::string> out;
  const auto runtime = control::runtime_directory();
  if (!runtime) return out;
  const auto mounts = fuse::read_mounts();
  for (const std::string& directory : places_in(*runtime)) {
    auto view = view_in(directory);
    if (view && fuse::mount_at(mounts, *view) && loops_over(*view).empty()) out.push_back(*std::move(view));
  }
  return out;
}

std::string view_of(const std::string& path) {
  const auto resolved = real_path(path);
  if (!resolved || resolved->find(concat("/", kPrefix)) == std::string_view::npos) return path;
  const auto runtime = control::runtime_directory();
  // A directory in the runtime directory, and nothing in it but a view.
  const std::string& directory = *resolved;
  if (!runtime || attach_directory_of(directory + '/', *runtime) != directory) return path;
  return view_in(directory).value_or(path);
}

void clear_place(const std::string& directory) {
  if (const auto view = view_in(directory)) {
    if (fuse::mount_at(fuse::read_mounts(), *view)) umount2(view->c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    unlink(view->c_str());
  }
  rmdir(directory.c_str());
}

}  // namespace penstock::cli
