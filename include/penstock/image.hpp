// SPDX-License-Identifier: Apache-2.0
/// The layers of an image as one flat disk. Read this header first.
#pragma once

#include <penstock/format.hpp>
#include <penstock/opener.hpp>

#include <memory>
#include <string>
#include <vector>

namespace penstock {

/// What happens to guest writes that are all zero, cluster by cluster.
enum class DetectZeroes : std::uint8_t {
  off,    ///< stored as they come
  on,     ///< as write_zeroes() keeping host room
  unmap,  ///< as write_zeroes() giving host room back
};

/// Whether zeroes may be stored as bytes, which takes as long as writing data.
enum class ZeroBytes : std::uint8_t { if_needed, never };

/// How an image is opened.
struct ImageOptions {
  std::string format;  ///< of the top layer; empty: probed where that is safe
  bool writable = false;
  bool lock = true;                        ///< QEMU's byte-range locks on every layer
  bool backing = true;                     ///< false: the top layer alone, unallocated reads as zero
  bool probe_backing = false;              ///< a backing file without a stored format may be probed
  std::uint64_t cache_bytes = 64U << 20U;  ///< metadata and unpacked clusters, all layers together
  DetectZeroes detect_zeroes = DetectZeroes::off;
  std::shared_ptr<Opener> opener = {};  ///< of all files; null: make_host_opener()
};

/// One open image file of a chain, as a handle: src/image/layer.hpp knows what is in it.
struct Layer;

/// What Image::populate() did, bytes.
struct Populated {
  std::uint64_t copied = 0;  ///< stored as data
  std::uint64_t zeroed = 0;  ///< stored as zeroes
  std::uint64_t left = 0;    ///< found to be zero, which the format cannot say: zero once there is no backing file
};

/// Counters since the image was opened; populate() is not a request.
struct ImageActivity {
  std::uint64_t requests = 0;               ///< begun
  std::uint64_t in_flight = 0;              ///< begun and not ended
  std::uint64_t flushing = 0;               ///< flushes that have not ended, populate()'s included
  std::uint64_t copied_on_read = 0;         ///< bytes
  std::uint64_t copy_on_read_failures = 0;  ///< the reader got its data all the same
};

/// What one run of the flat disk is; zero and unallocated read as zero, the latter because no layer answers.
enum class ExtentKind : std::uint8_t { data, zero, compressed, unallocated };

/// One run of the flat disk with one answer, as `map` prints it.
struct Extent {
  GuestRange guest;
  ExtentKind kind = ExtentKind::unallocated;
  unsigned depth = 0;                       ///< 0 is the top layer; unallocated: the depth of the lowest layer
  bool present = false;                     ///< some layer answers for it
  std::shared_ptr<const Layer> layer = {};  ///< that answers; keeps `storage` open
  Storage* storage = nullptr;               ///< data: the file it lies in; zero: where host room is kept for it
  HostOffset host_offset;                   ///< where storage is set
  friend bool operator==(const Extent&, const Extent&) = default;
};

/// One layer as the user knows it.
struct LayerInfo {
  std::string path;  ///< as given, or as resolved from the overlay's backing name
  std::string format;
  BackingReference backing;  ///< as stored
  std::string backing_path;  ///< the backing name resolved; empty without one
  std::uint64_t virtual_size = 0;
  std::uint64_t allocated_bytes = 0;
  Capabilities capabilities;
  StorageFacts facts;  ///< of its own file
  FormatInfo details;
  /// describe_chain(): why the layer below this one could not be opened. Only the last layer shown may have it; whoever
  /// shows it reports the error and fails (exit status 1).
  std::optional<Error> backing_error;
  /// Image::layers(): which it is. Whoever keeps it keeps the layer open, with its locks.
  std::shared_ptr<const Layer> layer = {};
};

/// The layers as one flat disk of virtual_size() bytes.
/// Units: guest bytes, any alignment.
/// Threads: any call beside any other, except close() and the destructor. Overlapping writes take turns.
/// Locks, outer to inner: resize, RangeLock, driver metadata. Guest data moves under RangeLock alone.
/// Errors: EINVAL past the end, else the layer's own with its name in front.
class Image {
 public:
  /// Opens `name` (a path, "file:" or "json:{...}") and everything below it; only the top layer is opened for writing.
  [[nodiscard]] static Result<std::unique_ptr<Image>> open(const std::string& name, const ImageOptions& options);
  [[nodiscard]] static Result<std::unique_ptr<Image>> open(const ImageName& name, const ImageOptions& options);
  Image() = default;
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;
  /// Closes, and logs what went wrong with that.
  virtual ~Image() = default;

  [[nodiscard]] virtual std::uint64_t virtual_size() const noexcept = 0;
  [[nodiscard]] virtual bool writable() const noexcept = 0;
  [[nodiscard]] virtual const std::string& name() const noexcept = 0;
  [[nodiscard]] virtual Geometry geometry() const noexcept = 0;  ///< of the top layer

  /// Storage::start() of every file of every layer.
  [[nodiscard]] virtual Result<> start() = 0;

  /// Reads through the layers. Fills all of `out`.
  [[nodiscard]] virtual Result<> read(GuestOffset offset, std::span<std::byte> out) = 0;
  /// Copies on write where the top layer does not have the cluster for itself.
  [[nodiscard]] virtual Result<> write(GuestOffset offset, std::span<const std::byte> in) = 0;
  /// Stores one whole cluster (shorter only at the end of the disk) compressed, when the format can and it gets smaller
  /// so; else as write() does. For images being made: the cluster must not have been written before.
  [[nodiscard]] virtual Result<> write_compressed(GuestOffset cluster, std::span<const std::byte> in) = 0;
  /// `range` reads as zero afterwards. What the format cannot represent is written as zero bytes; with
  /// ZeroBytes::never that is EOPNOTSUPP instead, and the range up to there may read as zero already.
  [[nodiscard]] virtual Result<> write_zeroes(GuestRange range, Zeroing zeroing, ZeroBytes bytes) = 0;
  [[nodiscard]] Result<> write_zeroes(GuestRange range, Zeroing zeroing) {
    return write_zeroes(range, zeroing, ZeroBytes::if_needed);
  }
  /// The contents of `range` no longer matter; whole clusters that the format can forget are given back.
  [[nodiscard]] virtual Result<> discard(GuestRange range) = 0;
  /// Sets host room aside for `range`, so that later writes into it do not fail with ENOSPC. Contents stay.
  [[nodiscard]] virtual Result<> allocate(GuestRange range) = 0;
  /// Everything written before the call survives power loss when it returns.
  [[nodiscard]] virtual Result<> flush() = 0;
  /// The same for who calls populate(): not counted as a guest's request in activity(), which it would give way to.
  [[nodiscard]] virtual Result<> flush_populated() = 0;
  /// Changes virtual_size(), durably. New bytes read as zero. Shrinking drops what lies behind.
  [[nodiscard]] virtual Result<> resize(std::uint64_t size) = 0;

  /// Copy-on-read with no reader: stores in the top layer what it lacks of `range` and the layers above `base` (one of
  /// layers(); null: all) answer for, unit by unit: zero units as zeroes. What all layers are known to have as
  /// zero without reading it is left alone where the top will read as zero without them. The lower layers are read
  /// without holding up requests; a write that comes meanwhile wins. Alignment: `range` begins and ends at a cluster,
  /// or at the end of the disk. Memory: its length.
  [[nodiscard]] virtual Result<Populated> populate(GuestRange range, const Layer* base) = 0;
  /// Whether `range` at its start needs populate() as that says, and for how many bytes the answer holds.
  struct Missing {
    bool missing = false;
    bool known_zero = false;  ///< costs no reading
    std::uint64_t length = 0;
  };
  [[nodiscard]] virtual Result<Missing> missing(GuestRange range, const Layer* base) = 0;
  /// 1 without a backing file.
  [[nodiscard]] virtual unsigned layer_count() const noexcept = 0;
  /// The top stands on layer `base` from now on, one below it, or alone with null: durably changes its header in one
  /// write, and lets go of the layers between. Everything that they answer for has been populated.
  [[nodiscard]] virtual Result<> drop_backing(const Layer* base) = 0;
  /// Whether reads keep in the top layer what they had to fetch from below; off at first, never on when read-only.
  virtual void set_copy_on_read(bool on) noexcept = 0;
  [[nodiscard]] virtual bool copies_on_read() const noexcept = 0;
  [[nodiscard]] virtual AutoStart auto_start() const = 0;
  [[nodiscard]] virtual Result<> set_auto_start(AutoStart start) = 0;
  [[nodiscard]] virtual ImageActivity activity() const noexcept = 0;

  /// Names another backing file in the top layer, durably; the layers that are open stay as they are, so that reads
  /// through this Image go on as before. The caller has made sure that the new chain shows the same.
  [[nodiscard]] virtual Result<> change_backing(const BackingReference& backing) = 0;

  /// Forgets all that the top layer holds, durably, so that the layers below show. The caller has made sure that they
  /// show the same. Errors: EOPNOTSUPP for a format that cannot; nothing changed then.
  [[nodiscard]] virtual Result<> make_empty() = 0;

  /// The extent at `want.offset`, at most want.length bytes; neighbours with the same answer are joined, up to a bound
  /// on the work of one call (1 TiB of one answer), so that the next extent may have the same answer again.
  [[nodiscard]] virtual Result<Extent> extent(GuestRange want) = 0;
  [[nodiscard]] virtual Result<std::uint64_t>
  allocated_bytes() = 0;  ///< host bytes of the top layer, its data file included
  [[nodiscard]] virtual Result<std::vector<LayerInfo>> layers() = 0;  ///< from the top down
  [[nodiscard]] virtual std::uint64_t cache_bytes()
      const = 0;  ///< memory in use by the flattened map and unpacked clusters

  /// Flushes, marks the image as cleanly closed and gives up its locks. Later calls fail with EBADF.
  [[nodiscard]] virtual Result<> close() = 0;
};

/// The layers of `name` from the top down as `info` shows them; without `chain` only the first. Opens read-only and
/// one after the other, so that a chain whose lower part is missing or loops is still shown up to the error.
[[nodiscard]] Result<std::vector<LayerInfo>> describe_chain(const std::string& name, const ImageOptions& options,
                                                            bool chain);

/// What `create` was asked for.
struct NewImage {
  std::string path;
  std::string format = "raw";
  std::optional<std::uint64_t> size;  ///< unset: the backing file's
  BackingReference backing;
  bool check_backing = true;  ///< false (-u): the backing file is not opened
  std::map<std::string, std::string> options;
};

/// What create_image() has to say.
struct CreatedImage {
  std::string summary;  ///< qemu-img's words after "Formatting "
  /// The file for the data was there already and keeps what is in it: the image does not read as zero.
  bool keeps_old_data = false;
};

/// Makes an image file; nothing is touched before all of the request is found to be possible.
[[nodiscard]] Result<CreatedImage> create_image(const NewImage& request, bool dry_run = false);

/// Opens the file of an image for its format's check: writable when `options.repair` asks for it.
/// Errors: ENOSYS when the format has no check (exit status 63).
struct CheckedImage {
  std::string format;
  CheckReport report;
};
[[nodiscard]] Result<CheckedImage> check_image(const std::string& name, const ImageOptions& image,
                                               const CheckOptions& options);

}  // namespace penstock
