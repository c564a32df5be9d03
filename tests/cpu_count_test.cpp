// SPDX-License-Identifier: MIT
#include <sched.h>
#include <conc/cpu_count.hpp>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>
#include <string>

#include "worker.hpp"

namespace {

namespace fs = std::filesystem;

/// A directory that looks like /sys/fs/cgroup, and a file like /proc/self/cgroup.
class ControlGroups {
 public:
  ControlGroups() { fs::create_directory(root_); }
  ControlGroups(const ControlGroups&) = delete;
  ControlGroups& operator=(const ControlGroups&) = delete;
  ~ControlGroups() { fs::remove_all(root_); }

  void write(const std::string& path, const std::string& text) {
    const fs::path file = root_ / path;
    fs::create_directories(file.parent_path());
    std::ofstream{file} << text << "\n";
  }
  unsigned limit() const { return conc::detail::cgroup_cpu_limit(root_ / "membership", root_); }

 private:
  fs::path root_ = fs::temp_directory_path() / "cgroup";
};

}  // namespace

TEST_CASE("usable_cpu_count: is at least 1 and at most what the process may run on", "[cpu_count]") {
  CHECK(conc::usable_cpu_count() >= 1);
  CHECK(conc::usable_cpu_count() <= conc::detail::affinity_cpu_count());
}

TEST_CASE("usable_cpu_count: honours the affinity of the thread that asks", "[cpu_count][X1]") {
  const auto count_on_one_cpu = [] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(::sched_getcpu()), &one);
    return ::sched_setaffinity(0, sizeof one, &one) == 0 ? conc::usable_cpu_count() : 0;
  };
  CHECK(conc_test::elsewhere(count_on_one_cpu) == 1);
}

TEST_CASE("usable_cpu_count: honours the quota of its control group, version 2", "[cpu_count][X1]") {
  ControlGroups groups;
  groups.write("membership", "0::/app/worker");
  groups.write("app/worker/cpu.max", "max 100000");
  CHECK(groups.limit() == 0);
  groups.write("app/worker/cpu.max", "300000 100000");
  CHECK(groups.limit() == 3);
  groups.write("app/worker/cpu.max", "310000 100000");
  CHECK(groups.limit() == 4);  // rounded up
  groups.write("app/worker/cpu.max", "1000 100000");
  CHECK(groups.limit() == 1);
  // The groups above it have a say, the smallest wins.
  groups.write("app/worker/cpu.max", "max 100000");
  groups.write("app/cpu.max", "200000 100000");
  CHECK(groups.limit() == 2);
  groups.write("cpu.max", "100000 100000");
  CHECK(groups.limit() == 1);
}

TEST_CASE("usable_cpu_count: honours the quota of its control group, version 1", "[cpu_count][X1]") {
  ControlGroups groups;
  groups.write("membership", "12:cpuset:/other\n4:cpu,cpuacct:/app\n1:name=systemd:/app\n0::/");
  groups.write("cpu,cpuacct/app/cpu.cfs_period_us", "50000");
  groups.write("cpu,cpuacct/app/cpu.cfs_quota_us", "-1");
  CHECK(groups.limit() == 0);
  groups.write("cpu,cpuacct/app/cpu.cfs_quota_us", "125000");
  CHECK(groups.limit() == 3);
  groups.write("cpu,cpuacct/cpu.cfs_period_us", "100000");
  groups.write("cpu,cpuacct/cpu.cfs_quota_us", "100000");
  CHECK(groups.limit() == 1);
}

TEST_CASE("usable_cpu_count: knows no quota where nothing sets one, or the files make no sense", "[cpu_count]") {
  ControlGroups groups;
  CHECK(groups.limit() == 0);
  groups.write("membership", "0::/not/there");
  CHECK(groups.limit() == 0);
  groups.write("membership", "");
  CHECK(groups.limit() == 0);
  groups.write("membership", "0::/app");
  for (const char* const text : {"", "nonsense", "100000", "100000 0", "-5 100000", "0 100000"}) {
    groups.write("app/cpu.max", text);
    CHECK(groups.limit() == 0);
  }
}
