// SPDX-License-Identifier: Apache-2.0
/// The seam between a format and the rest: a driver says where guest bytes live, and changes that answer under
/// reserve, fill, publish. It never moves guest data and never reads its backing file. A format that is only read
/// leaves out all that changes: what it then answers is here.
#pragma once

#include <penstock/storage.hpp>

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace penstock {

/// What a driver answers for guest bytes.
enum class MappingKind : std::uint8_t {
  data,         ///< bytes lie at (storage, host_offset)
  zero,         ///< reads as zero, hides any backing file
  compressed,   ///< the cluster is packed at (storage, host_offset); FormatDriver::unpack()
  unallocated,  ///< ask the backing file; zero without one
};

/// Where one run of guest bytes lives.
struct Mapping {
  MappingKind kind = MappingKind::unallocated;
  std::uint64_t length = 0;         ///< guest bytes from the offset asked for, at least 1, never more than asked
  Storage* storage = nullptr;       ///< data and compressed; zero too where host room is kept for it
  HostOffset host_offset;           ///< of the guest offset asked for; compressed: of the packed bytes
  bool in_place = false;            ///< data: may be overwritten where it lies, nobody else refers to it
  std::uint32_t packed_length = 0;  ///< compressed: bytes to read, an upper bound that may reach past the end of file
  GuestOffset cluster;              ///< compressed: first guest byte of the cluster that unpack() yields
};

/// Host room for a run of guest bytes.
struct ReservedRun {
  GuestRange guest;
  Storage* storage = nullptr;
  HostOffset host_offset;   ///< of guest.offset
  bool reads_zero = false;  ///< the host room is known to read as zero (behind the old end of file)
};

/// Room found by FormatDriver::reserve(). Dropped without publish(), the room is free again.
/// Threads: one at a time.
class Reservation {
 public:
  /// What the driver needs to know; its destructor gives the room back.
  struct State {
    State() = default;
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    virtual ~State() = default;
  };

  Reservation() = default;
  Reservation(GuestRange range, std::vector<ReservedRun> runs, std::unique_ptr<State> state)
      : range_(range), runs_(std::move(runs)), state_(std::move(state)) {}

  /// All of it must be filled before publish(): what the write does not cover is copied from what was there.
  [[nodiscard]] GuestRange range() const { return range_; }
  /// In guest order, covering range() without gaps.
  [[nodiscard]] std::span<const ReservedRun> runs() const { return runs_; }
  [[nodiscard]] State* state() const { return state_.get(); }

 private:
  GuestRange range_;
  std::vector<ReservedRun> runs_;
  std::unique_ptr<State> state_;
};

/// The units that a format works in, bytes.
struct Geometry {
  std::uint32_t cluster_size = 0;     ///< what range locks and compressed data go by, power of two; raw: its block size
  std::uint32_t allocation_unit = 0;  ///< reserve and publish_zero go by this: the cluster, or the subcluster
};

/// What a format can do, known before it is asked to.
struct Capabilities {
  bool compressed = false;   ///< map() may answer compressed
  bool sparse_data = false;  ///< holes of the host file are holes of the disk (raw)
  bool resize = false;
  bool always_in_place = false;  ///< every byte is mapped in place; reserve() is never needed (raw)
  bool pack = false;             ///< new clusters may be stored compressed: pack() and reserve_packed()
  bool must_fill = false;  ///< a map of a raw file, which is complete alone once every cluster is mapped (add-cow)
  bool backing = false;    ///< may have a backing file: change_backing()
};

/// What a mount starts by itself, as the image remembers it.
struct AutoStart {
  bool copy_on_read = false;
  bool stream = false;
  friend bool operator==(const AutoStart&, const AutoStart&) = default;
};

/// A value as info shows it: under "Format specific information" and in JSON.
struct InfoItem {
  std::string label;  ///< human, "lazy refcounts"
  std::string key;    ///< JSON, "lazy-refcounts"; with dots ("encrypt.format") inside an object
  std::variant<bool, std::uint64_t, std::string> value;
};

/// An internal snapshot, as info lists it.
struct SnapshotInfo {
  std::string id;
  std::string name;
  std::uint64_t vm_state_size = 0;
  std::uint64_t virtual_size = 0;
  std::uint32_t date_seconds = 0;
  std::uint32_t date_nanoseconds = 0;
  std::uint64_t vm_clock_nanoseconds = 0;
  std::optional<std::uint64_t> icount;
};

/// A dirty bitmap (qcow2), as info lists it.
struct BitmapInfo {
  std::string name;
  std::uint64_t granularity = 0;   ///< bytes
  std::vector<std::string> flags;  ///< "in-use", "auto"
};

/// What info shows of one layer.
struct FormatInfo {
  std::uint64_t cluster_size = 0;  ///< 0: the format has none
  bool dirty = false;              ///< "dirty-flag": was not closed cleanly
  bool encrypted = false;
  bool compressed = false;
  std::vector<InfoItem> items;
  std::vector<SnapshotInfo> snapshots;
  std::vector<BitmapInfo> bitmaps;
};

/// The backing file as the image stores it.
struct BackingReference {
  std::string name;    ///< empty: none
  std::string format;  ///< empty: not stored
  /// The image stores no format names, but that its backing file is not raw (QED): its magic tells which it is.
  bool probe_not_raw = false;
};

/// One open layer in one format: where its guest bytes live.
/// Units: guest bytes. Alignment: reserve and publish_zero take ranges of geometry().allocation_unit; a range may pass
/// virtual_size() only to fill its last cluster.
/// Threads: any call beside any other, except that the caller holds the clusters named in reserve, publish,
/// publish_zero and discard exclusively, and those named in map at least shared, while it uses the answer. Metadata
/// has its own mutex, taken last.
/// Errors: EUCLEAN for what the format forbids, never a guess; EIO and ENOSPC from below. Source: penstock-formats(5).
class FormatDriver {
 public:
  FormatDriver() = default;
  FormatDriver(const FormatDriver&) = delete;
  FormatDriver& operator=(const FormatDriver&) = delete;
  virtual ~FormatDriver() = default;

  [[nodiscard]] virtual std::string_view format() const noexcept = 0;  ///< "raw", "qcow2"
  [[nodiscard]] virtual std::uint64_t virtual_size() const noexcept = 0;
  [[nodiscard]] virtual Geometry geometry() const noexcept = 0;
  [[nodiscard]] virtual Capabilities capabilities() const noexcept = 0;
  [[nodiscard]] virtual BackingReference backing() const { return {}; }
  [[nodiscard]] virtual Result<FormatInfo> info() = 0;
  /// The file the format lives in.
  [[nodiscard]] virtual Storage& storage() noexcept = 0;
  /// Every file of the layer, that one first, each once: map() answers with no others. The same from first to last.
  [[nodiscard]] virtual std::vector<Storage*> files() { return {&storage()}; }

  /// What `want.offset` maps to and for how many bytes, at most want.length, coalesced. Reads metadata only.
  /// `want` lies within virtual_size() rounded up to the cluster and is not empty.
  [[nodiscard]] virtual Result<Mapping> map(GuestRange want) = 0;
  /// Decompresses one whole cluster. `packed` are the bytes that a compressed mapping named; `cluster` is
  /// cluster_size bytes. Any thread, no lock. Errors: EUCLEAN.
  [[nodiscard]] virtual Result<> unpack(std::span<const std::byte> packed, std::span<std::byte> cluster);

  /// Must have returned once before the first change of any kind, data written in place included; cheap afterwards.
  /// Clears what a writer that does not maintain it must clear (qcow2's autoclear bits), durably.
  [[nodiscard]] virtual Result<> begin_writing() { return {}; }
  /// Finds host room for the units at the start of `want` that are not mapped in place. The range of the answer starts
  /// at or before want.offset and contains at least the first unit; it may be longer or shorter than `want`, within
  /// the clusters that `want` touches. Invisible to map() until published.
  [[nodiscard]] virtual Result<Reservation> reserve(GuestRange want);
  /// Links units whose data is already written: seen at once, on disk only after that data was flushed. After a crash:
  /// old contents or new, no third. On failure nothing is linked and the room is free.
  [[nodiscard]] virtual Result<> publish(Reservation filled);
  /// Compresses one whole cluster; nothing when it does not get smaller. Any thread, no lock. Errors: EOPNOTSUPP.
  [[nodiscard]] virtual Result<std::optional<std::vector<std::byte>>> pack(std::span<const std::byte> cluster);
  /// Room for `packed_bytes` of the cluster at `cluster`, which must be unallocated. The one run of the answer has the
  /// guest range of the cluster, and host room of `packed_bytes` at any byte offset; publish() links it. Errors:
  /// EOPNOTSUPP, EINVAL when the cluster is there already.
  [[nodiscard]] virtual Result<Reservation> reserve_packed(GuestOffset cluster, std::uint32_t packed_bytes);
  /// Maps units at the start of `units` as zero without data, hiding any backing file. Answers for how many bytes that
  /// was done, at least one unit. EOPNOTSUPP: the first unit cannot be represented so, nothing changed.
  [[nodiscard]] virtual Result<std::uint64_t> publish_zero(GuestRange units, Zeroing zeroing);
  /// The contents of the whole clusters in `range` no longer matter. What the format cannot forget stays as it is.
  [[nodiscard]] virtual Result<> discard(GuestRange range);
  /// Everything published and written before the call survives power loss when it returns. Errors stay: after a
  /// failed flush every later one fails too.
  [[nodiscard]] virtual Result<> flush() { return {}; }
  /// Changes virtual_size(), durably. When growing, guest bytes of the new part that a backing file of `backing_size`
  /// bytes would show are made zero first. EOPNOTSUPP: the format cannot, nothing changed.
  [[nodiscard]] virtual Result<> resize(std::uint64_t size, std::uint64_t backing_size);
  /// Names another backing file, or none, in one atomic and durable change of the header, after everything published
  /// has become durable. The caller has made sure that the guest sees the same; layers are not opened or closed.
  /// Errors: EOPNOTSUPP, ENAMETOOLONG or ENOSPC when the header has no room, ENOTSUP for a format it cannot store;
  /// nothing changed then.
  [[nodiscard]] virtual Result<> change_backing(const BackingReference& backing);
  /// Forgets every cluster, durably, so that the backing file shows everywhere. The caller has made sure that the guest
  /// sees the same, and holds everything. Errors: EOPNOTSUPP, nothing changed then.
  [[nodiscard]] virtual Result<> make_empty();
  [[nodiscard]] virtual AutoStart auto_start() const { return {}; }
  /// Remembers it, durably. Errors: EOPNOTSUPP.
  [[nodiscard]] virtual Result<> set_auto_start(AutoStart start);
  /// Flushes and marks the image as cleanly closed. No call but the destructor may follow.
  [[nodiscard]] virtual Result<> close() { return flush(); }
};

/// Opens a file that an image names besides its backing file (qcow2's external data file, the extents of a disk in many
/// files), as the user allows it.
using FileOpener = std::function<Result<std::shared_ptr<Storage>>(std::string_view name, bool writable)>;

/// How a driver is opened.
struct FormatOpenOptions {
  bool writable = false;
  bool for_info = false;  ///< only info() will be asked: what cannot be read or written (encrypted data) may be shown
  std::uint64_t table_cache_bytes = 32U << 20U;
  FileOpener open_file;  ///< unset: images with a further file are refused
};

/// How much a check may change: nothing, clusters that nobody refers to, or whatever is wrong.
enum class Repair : std::uint8_t { none, leaks, all };

/// How an image is checked.
struct CheckOptions {
  Repair repair = Repair::none;
  /// Each finding as it is made, one line ("ERROR cluster 5 refcount=0 reference=1"); may be empty.
  std::function<void(std::string_view)> log;
};

/// What `qemu-img check` reports.
struct CheckReport {
  std::uint64_t corruptions = 0;   ///< left after repair
  std::uint64_t leaks = 0;         ///< left after repair
  std::uint64_t check_errors = 0;  ///< places that could not be examined
  std::uint64_t corruptions_fixed = 0;
  std::uint64_t leaks_fixed = 0;
  std::uint64_t total_clusters = 0;
  std::uint64_t allocated_clusters = 0;
  std::uint64_t fragmented_clusters = 0;
  std::uint64_t compressed_clusters = 0;
  std::uint64_t image_end_offset = 0;
};

/// What a new image is to be, as its format is told.
struct CreateRequest {
  std::uint64_t size = 0;  ///< virtual size, bytes, a multiple of 512
  bool size_given = true;  ///< false: taken from the backing file; a data file that is kept may know better
  BackingReference backing;
  std::uint64_t backing_size = 0;              ///< virtual size of the backing file, 0 without one
  std::map<std::string, std::string> options;  ///< -o key=value, as qemu-img names them
};

/// What create() of a format will do, decided and checked before any file is touched.
class CreatePlan {
 public:
  virtual ~CreatePlan() = default;
  /// The line qemu-img prints after "Formatting 'name', fmt=qcow2 ": "cluster_size=65536 ... size=1073741824 ...".
  [[nodiscard]] virtual std::string summary() const = 0;
  /// A file besides the image that has to be made (qcow2's data_file); empty: none.
  [[nodiscard]] virtual std::string data_file() const { return {}; }
  /// Whether that file, when it is there already, keeps its contents (add-cow's raw file).
  [[nodiscard]] virtual bool keeps_data_file() const { return false; }
  /// Writes the image into an empty `storage` (and `data`, when data_file() named one), durably.
  [[nodiscard]] virtual Result<> write(std::shared_ptr<Storage> storage, std::shared_ptr<Storage> data) const = 0;
};

/// One -o key of create, as `create -o help` lists it.
struct CreateOption {
  std::string_view name;  ///< "cluster_size"
  std::string_view type;  ///< "size", "str", "bool (on/off)", "num"
  std::string_view help;
};

/// What an image needs beside the contents of its disk, for `measure`.
struct Overhead {
  std::uint64_t cluster_size = 1;  ///< contents are counted in whole ones
  std::uint64_t bytes = 0;         ///< tables and headers, with all clusters there
  bool always_full = false;        ///< zeroes take room, too
};

/// One format: one constant in its folder, one line in src/format/registry.cpp. One that is only read has a name, probe
/// and open.
struct Format {
  std::string_view name;
  /// Whether the first bytes of a file (up to 512, fewer when it is shorter) carry its magic. Null: cannot be told.
  bool (*probe)(std::span<const std::byte> head);
  Result<std::unique_ptr<FormatDriver>> (*open)(std::shared_ptr<Storage> storage, const FormatOpenOptions& options);
  /// Null: images of it cannot be made.
  Result<std::unique_ptr<CreatePlan>> (*plan_create)(const CreateRequest& request) = nullptr;
  /// Null: the format has no check.
  Result<CheckReport> (*check)(std::shared_ptr<Storage> storage, const FormatOpenOptions& open,
                               const CheckOptions& options) = nullptr;
  /// The options that plan_create() knows.
  std::span<const CreateOption> (*create_options)() = nullptr;
  /// Of a disk of `size` bytes, a multiple of 512, with create's `options`. Null: images of it cannot be made.
  Result<Overhead> (*overhead)(const std::map<std::string, std::string>& options, std::uint64_t size) = nullptr;
  /// The option of create without which no image can be made, since it names the file for the data.
  std::string_view data_file_option = {};
  /// Its driver changes nothing: only opened for reading.
  bool read_only = false;
};

/// All formats, raw first. Lives as long as the program.
[[nodiscard]] std::span<const Format* const> formats();
/// The bytes of the disk and nothing else.
[[nodiscard]] const Format& raw_format();
/// EINVAL names the formats there are.
[[nodiscard]] Result<const Format*> find_format(std::string_view name);
/// The format whose magic `storage` carries; raw when there is none. Only where the caller knows that guessing is safe.
[[nodiscard]] Result<const Format*> probe_format(Storage& storage);

}  // namespace penstock
