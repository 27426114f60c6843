// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/allocator.hpp"

#include "base/log.hpp"
#include "base/text.hpp"

#include <algorithm>

namespace penstock::qcow2 {

Allocator::Allocator(Storage& storage, Header& header, Refcounts& refcounts, Metadata& metadata)
    : storage_(storage), header_(header), refcounts_(refcounts), metadata_(metadata) {}

void Allocator::start(std::uint64_t file_end, bool growable) {
  fresh_from_ = divide_up(file_end, header_.cluster_size());
  growable_ = growable;
}

Result<> Allocator::check_usable(std::uint64_t cluster) const {
  if (metadata_.contains(cluster)) {
    return corrupt(concat("refcount of host cluster ", cluster,
                          " is 0, but the cluster holds metadata; run penstock check -r all"));
  }
  const std::uint64_t end = (cluster + 1) << header_.cluster_bits;
  if (end > storage_.facts().size_max || end > kHostOffsetMax) {
    return fail(ENOSPC, "the image file cannot grow any further");
  }
  return {};
}

Result<bool> Allocator::is_free(std::uint64_t cluster) {
  if (waiting_.contains(cluster)) return false;
  return TRY(refcounts_.get(cluster)) == 0;
}

Result<Allocator::Allocation> Allocator::allocate(std::uint64_t count_max) {
  std::uint64_t cluster = hint_;
  while (true) {
    if (waiting_.contains(cluster)) {
      ++cluster;
    } else if (cluster >= refcounts_.clusters_covered()) {
      TRY(check_usable(cluster));
      TRY(grow_table(cluster));
      cluster = hint_;
    } else if (!refcounts_.has_block(cluster)) {
      TRY(make_block(cluster));
    } else if (TRY(is_free(cluster))) {
      break;
    } else {
      ++cluster;
    }
  }
  ClusterRun run{cluster, 0};
  const std::uint64_t block_end = align_up(cluster + 1, refcounts_.clusters_per_block());
  while (run.count < count_max && cluster < block_end && TRY(is_free(cluster))) {
    if (auto usable = check_usable(cluster); !usable) {
      if (run.count == 0) return Failure(usable.error());
      break;
    }
    ++run.count;
    ++cluster;
  }
  TRY(raise(run));
  hint_ = cluster;
  const bool fresh = growable_ && run.first >= fresh_from_;
  fresh_from_ = std::max(fresh_from_, cluster);
  return Allocation{run, fresh};
}

Result<> Allocator::raise(ClusterRun run) {
  for (std::uint64_t done = 0; done < run.count; ++done) {
    if (auto set = refcounts_.set(run.first + done, 1); !set) {
      release({run.first, done});
      return set;
    }
  }
  return {};
}

Result<ClusterRun> Allocator::allocate_contiguous(std::uint64_t count) {
  // Rare (a new L1 table): pieces are taken until they happen to be neighbours; behind the end they are.
  std::vector<ClusterRun> unfit;
  ClusterRun run;
  Result<> outcome;
  while (run.count < count) {
    auto piece = allocate(count - run.count);
    if (!piece) {
      unfit.push_back(run);
      outcome = Failure(piece.error());
      break;
    }
    if (run.count != 0 && piece->run.first == run.first + run.count) {
      run.count += piece->run.count;
    } else {
      unfit.push_back(run);
      run = piece->run;
    }
  }
  for (const ClusterRun& piece : unfit) release(piece);
  if (!outcome) return Failure(outcome.error());
  return run;
}

void Allocator::release(ClusterRun run) {
  for (std::uint64_t cluster = run.first; cluster < run.first + run.count; ++cluster) {
    forget_packed(cluster);
    if (const auto set = refcounts_.set(cluster, 0); !set) {
      log_limited(LogLevel::warning, concat("host cluster ", cluster, " is leaked: ", set.error().message()));
    }
  }
  if (run.count != 0) hint_ = std::min(hint_, run.first);
}

Result<HostOffset> Allocator::place_packed(std::uint32_t bytes) {
  const std::uint64_t cluster_size = header_.cluster_size();
  if (packed_at_ == 0) return HostOffset{TRY(allocate(1)).run.first * cluster_size};
  const HostOffset here{packed_at_};
  const std::uint64_t cluster = packed_at_ / cluster_size;
  const std::uint64_t count = TRY(refcounts_.get(cluster));
  const bool fits_here = packed_at_ % cluster_size + bytes <= cluster_size;
  const bool may_share = count < header_.refcount_max();
  if (fits_here && may_share) {
    TRY(refcounts_.set(cluster, count + 1));
    return here;
  }
  const ClusterRun next = TRY(allocate(1)).run;
  if (next.first != cluster + 1 || !may_share) return HostOffset{next.first * cluster_size};
  if (auto raised = refcounts_.set(cluster, count + 1); !raised) {
    release(next);
    return Failure(raised.error());
  }
  return here;
}

Result<HostRange> Allocator::allocate_packed(std::uint32_t bytes) {
  const HostRange room{TRY(place_packed(bytes)), bytes};
  packed_at_ = room.end().value % header_.cluster_size() == 0 ? 0 : room.end().value;
  if (room.end().value <= 1ULL << std::min(56U, 70U - header_.cluster_bits)) return room;
  release_packed(room);
  return fail(ENOSPC, "compressed clusters cannot lie so far behind in the file");
}

void Allocator::release_packed(HostRange room) {
  const ClusterRun run{room.offset.value >> header_.cluster_bits, 0};
  for (std::uint64_t cluster = run.first; cluster << header_.cluster_bits < room.end().value; ++cluster) {
    const auto count = refcounts_.get(cluster);
    if (count && *count == 1) {
      release({cluster, 1});
    } else if (!count || *count == 0 || !refcounts_.set(cluster, *count - 1)) {
      log_limited(LogLevel::warning, concat("host cluster ", cluster, " is leaked"));
    }
  }
}

/// Nothing packed is left in the cluster: the next owner may be anybody.
void Allocator::forget_packed(std::uint64_t cluster) {
  if (packed_at_ >> header_.cluster_bits == cluster) packed_at_ = 0;
}

void Allocator::drop(ClusterRun run) {
  if (!drops_.empty() && drops_.back().first + drops_.back().count == run.first) {
    drops_.back().count += run.count;
  } else {
    drops_.push_back(run);
  }
}

void Allocator::settle(const std::vector<ClusterRun>& drops) {
  for (const ClusterRun& run : drops) {
    for (std::uint64_t cluster = run.first; cluster < run.first + run.count; ++cluster) lower_one(cluster);
  }
}

void Allocator::lower_one(std::uint64_t cluster) {
  // A wrong count costs a leak at most: never hand out what may be in use.
  const auto count = refcounts_.get(cluster);
  if (!count || *count == 0 || metadata_.contains(cluster)) {
    log_limited(LogLevel::warning, concat("host cluster ", cluster, " stays allocated: ",
                                          count ? "its refcount is wrong" : count.error().message()));
    return;
  }
  if (const auto set = refcounts_.set(cluster, *count - 1); !set || *count > 1) return;
  forget_packed(cluster);
  waiting_.insert(cluster);
  if (!freed_.empty() && freed_.back().first + freed_.back().count == cluster) {
    ++freed_.back().count;
  } else {
    freed_.push_back({cluster, 1});
  }
}

void Allocator::reuse(const std::vector<ClusterRun>& freed) {
  for (const ClusterRun& run : freed) {
    waiting_.erase(run.first, run.count);
    hint_ = std::min(hint_, run.first);
  }
}

Result<> Allocator::make_block(std::uint64_t cluster) {
  // The new block takes the first free cluster of those it counts, and so counts itself.
  TRY(check_usable(cluster));
  // Room now: a full host must fail this write, not a later flush.
  const HostRange room{{cluster << header_.cluster_bits}, header_.cluster_size()};
  if (const auto allocated = storage_.allocate(room); !allocated && !allocated.error().is(EOPNOTSUPP)) {
    return allocated;
  }
  refcounts_.add_block(cluster, cluster);
  TRY(refcounts_.set(cluster, 1));
  metadata_.fixed.insert(cluster);
  fresh_from_ = std::max(fresh_from_, cluster + 1);
  return {};
}

Result<> Allocator::grow_table(std::uint64_t cluster) {
  const std::uint64_t per_block = refcounts_.clusters_per_block();
  const std::uint64_t entries_per_cluster = header_.cluster_size() / 8;
  const std::uint64_t old_entries = refcounts_.table_entries();
  // Table and missing blocks go behind everything that was ever handed out, where nothing can be in the way.
  const std::uint64_t start = std::max(fresh_from_, cluster);
  std::uint64_t table_clusters = 0;
  std::uint64_t new_blocks = 0;
  for (std::uint64_t total = 1;;) {
    const std::uint64_t last = start + total - 1;
    const std::uint64_t entries = std::max(old_entries + old_entries / 2, last / per_block + 1);
    table_clusters = divide_up(entries, entries_per_cluster);
    new_blocks = 0;
    for (std::uint64_t block = start / per_block; block <= last / per_block; ++block) {
      if (!refcounts_.has_block(block * per_block)) ++new_blocks;
    }
    if (table_clusters + new_blocks <= total) break;
    total = table_clusters + new_blocks;
  }
  if (table_clusters * header_.cluster_size() > kRefcountTableBytesMax) {
    return fail(EFBIG, "the refcount table has reached its largest size; a larger cluster size is needed");
  }
  TRY(check_usable(start + table_clusters + new_blocks - 1));

  refcounts_.extend(table_clusters * entries_per_cluster);
  std::vector<std::uint64_t> added;
  std::uint64_t next = start + table_clusters;
  for (std::uint64_t block = start / per_block; added.size() < new_blocks; ++block) {
    if (refcounts_.has_block(block * per_block)) continue;
    refcounts_.add_block(block * per_block, next++);
    added.push_back(block * per_block);
  }
  const ClusterRun area{start, next - start};
  const HostOffset table_offset{start << header_.cluster_bits};
  const auto put_in_place = [&]() -> Result<> {
    TRY(raise(area));
    const auto table = refcounts_.encode_table();
    TRY(storage_.write(table_offset, table));
    TRY(refcounts_.write_blocks());
    return storage_.flush();
  };
  if (auto done = put_in_place(); !done) {
    release(area);
    for (const std::uint64_t counted : added) refcounts_.remove_block(counted);
    refcounts_.shrink_back(old_entries);
    return done;
  }
  if (auto switched = write_refcount_table_switch(storage_, table_offset, static_cast<std::uint32_t>(table_clusters));
      !switched) {
    // Nobody knows which table the header names now: go on with the old one, and never touch the new one again.
    for (const std::uint64_t counted : added) refcounts_.remove_block(counted);
    refcounts_.shrink_back(old_entries);
    waiting_.insert(area.first, area.count);
    fresh_from_ = next;
    table_unsure_ = true;
    return switched;
  }
  const ClusterRun old{header_.refcount_table_offset.value >> header_.cluster_bits, header_.refcount_table_clusters};
  refcounts_.moved(table_offset);
  header_.refcount_table_offset = table_offset;
  header_.refcount_table_clusters = static_cast<std::uint32_t>(table_clusters);
  metadata_.fixed.insert(area.first, area.count);
  metadata_.fixed.erase(old.first, old.count);
  fresh_from_ = next;
  TRY(storage_.flush());
  drop(old);
  return {};
}

}  // namespace penstock::qcow2
