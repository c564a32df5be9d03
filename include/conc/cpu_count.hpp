// SPDX-License-Identifier: MIT
/// @file
/// usable_cpu_count, physical_cpu_count: how many CPUs, and cores, this process may keep busy.
#pragma once

#include <sched.h>
#include <unistd.h>
#include <conc/detail/sync.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace conc::inline CONC_ABI {

namespace detail {

/// The first line of a file, without its end; empty if there is none.
/// `prefix`: the first line that starts with it, without it.
inline std::string read_line(const std::string& path, const char* prefix = "") {
  std::string found;
  if (std::FILE* const file = std::fopen(path.c_str(), "re"); file != nullptr) {
    char line[4096];
    while (found.empty() && std::fgets(line, sizeof line, file) != nullptr) {
      if (std::strncmp(line, prefix, std::strlen(prefix)) == 0) {
        found.assign(line + std::strlen(prefix));
        found.erase(found.find_last_not_of('\n') + 1);
      }
    }
    std::fclose(file);
  }
  return found;
}

/// quota / period, rounded up; 0 if there is no limit.
inline unsigned whole_cpus(long long quota, long long period) noexcept {
  return quota <= 0 || period <= 0 ? 0 : static_cast<unsigned>((quota + period - 1) / period);
}

/// The quota in one control group's directory, in CPUs; 0 if it sets none. Reads both versions of the interface
/// (cgroups(7)): cpu.max holds "quota period" or "max period"; version 1 has a file for each.
inline unsigned cgroup_quota(const std::string& directory) {
  if (const std::string both = read_line(directory + "/cpu.max"); !both.empty()) {
    char* rest = nullptr;
    const long long quota = std::strtoll(both.c_str(), &rest, 10);  // "max" gives 0: no limit
    return whole_cpus(quota, std::strtoll(rest, nullptr, 10));
  }
  const std::string quota = read_line(directory + "/cpu.cfs_quota_us");
  const std::string period = read_line(directory + "/cpu.cfs_period_us");
  return whole_cpus(std::strtoll(quota.c_str(), nullptr, 10), std::strtoll(period.c_str(), nullptr, 10));
}

/// The smallest quota on the way from the control group `path` up to `root`; 0 if none sets one. In a container the path
/// may name a directory that is not visible; its visible part is looked at.
inline unsigned cgroup_limit(const std::string& root, std::string path) {
  unsigned limit = 0;
  for (;;) {
    const unsigned here = cgroup_quota(root + path);
    if (here != 0 && (limit == 0 || here < limit)) {
      limit = here;
    }
    const std::size_t parent = path.find_last_of('/');
    if (parent == std::string::npos) {
      return limit;
    }
    path.erase(parent);
  }
}

/// The CPU quota of the control groups listed in `membership` (a file like /proc/self/cgroup) below `root`; 0 if none.
inline unsigned cgroup_cpu_limit(const std::string& membership = "/proc/self/cgroup",
                                 const std::string& root = "/sys/fs/cgroup") {
  if (const std::string unified = read_line(membership, "0::"); !unified.empty()) {
    if (const unsigned limit = cgroup_limit(root, unified); limit != 0) {
      return limit;
    }
  }
  for (unsigned id = 1; id < 32; ++id) {
    const std::string prefix = std::to_string(id) + ":";
    const std::string line = read_line(membership, prefix.c_str());  // "cpu,cpuacct:/path"
    const std::size_t colon = line.find(':');
    std::string controllers{','};
    controllers.append(line, 0, colon).append(",");  // "," + line.substr(…) makes g++ 12 warn of what is not there
    if (colon != std::string::npos && controllers.find(",cpu,") != std::string::npos) {
      return cgroup_limit(root + "/" + line.substr(0, colon), line.substr(colon + 1));
    }
  }
  return 0;
}

/// The numbers of the CPUs this thread may run on (sched_setaffinity(2)); none if the system does not tell. Elsewhere than
/// on Linux it may run on all.
inline std::vector<unsigned> allowed_cpus() {
  std::vector<unsigned> allowed;
#if defined(__linux__)
  for (std::size_t cpus = CPU_SETSIZE; cpus <= (std::size_t{1} << 20U); cpus *= 2) {  // as large as the kernel's
    std::vector<cpu_set_t> sets(CPU_ALLOC_SIZE(cpus) / sizeof(cpu_set_t));
    const std::size_t size = sets.size() * sizeof(cpu_set_t);
    if (sched_getaffinity(0, size, sets.data()) == 0) {
      for (std::size_t cpu = 0; cpu < cpus; ++cpu) {
        if (CPU_ISSET_S(cpu, size, sets.data())) {
          allowed.push_back(static_cast<unsigned>(cpu));
        }
      }
      return allowed;
    }
  }
#else
  for (long cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); ++cpu) {
    allowed.push_back(static_cast<unsigned>(cpu));
  }
#endif
  return allowed;
}

/// How many cores these CPUs belong to; 0 if the system does not tell for each of them. The CPUs of a core all have the
/// same list of siblings, "0,64" or "0-1", so its first number names the core.
inline unsigned count_cores(const std::vector<unsigned>& cpus, const std::string& root = "/sys/devices/system/cpu") {
  std::vector<unsigned long> cores;
  for (const unsigned cpu : cpus) {
    const std::string siblings = read_line(root + "/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
    char* rest = nullptr;
    const unsigned long core = std::strtoul(siblings.c_str(), &rest, 10);
    if (rest == siblings.c_str()) {
      return 0;
    }
    bool known = false;
    for (const unsigned long other : cores) {
      known = known || other == core;
    }
    if (!known) {
      cores.push_back(core);
    }
  }
  return static_cast<unsigned>(cores.size());
}

/// The smaller of two counts, of which 0 says nothing; at least 1.
inline unsigned least_count(unsigned count, unsigned limit) noexcept {
  const unsigned least = limit != 0 && (count == 0 || limit < count) ? limit : count;
  return least == 0 ? 1 : least;
}

}  // namespace detail

/// How many CPUs this process may keep busy: those it may run on, and no more than its control group's quota, rounded
/// up. At least 1. Read anew at each call.
///
/// @throws std::bad_alloc.
/// @par Thread safety   any thread, any time.
/// @par Cost            a few small files: tens of microseconds.
/// @par Python          os.process_cpu_count, which does not know quotas.
[[nodiscard]] inline unsigned usable_cpu_count() {
  return detail::least_count(static_cast<unsigned>(detail::allowed_cpus().size()), detail::cgroup_cpu_limit());
}

/// How many cores the CPUs belong to that this process may run on; CPUs that share a core (hyper-threads) count once. No
/// more than usable_cpu_count(), and that where the system does not tell which CPUs share one. At least 1. Read anew at
/// each call.
///
/// Work that keeps the units of a core busy by itself, as dense arithmetic does, gains little from more threads.
///
/// @throws std::bad_alloc.
/// @par Thread safety   any thread, any time.
/// @par Cost            a small file for each CPU: some ten microseconds each.
/// @par Python          psutil.cpu_count(logical=False), which counts the whole machine.
[[nodiscard]] inline unsigned physical_cpu_count() {
  return detail::least_count(usable_cpu_count(), detail::count_cores(detail::allowed_cpus()));
}

}  // namespace conc::inline CONC_ABI
