// SPDX-License-Identifier: MIT
#include <sched.h>
#include <conc/cpu_count.hpp>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

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

/// A directory that looks like /sys/devices/system/cpu.
class Topology {
 public:
  Topology() { fs::create_directory(root_); }
  Topology(const Topology&) = delete;
  Topology& operator=(const Topology&) = delete;
  ~Topology() { fs::remove_all(root_); }

  void write(unsigned cpu, const std::string& siblings) {
    const fs::path folder = root_ / ("cpu" + std::to_string(cpu)) / "topology";
    fs::create_directories(folder);
    std::ofstream{folder / "thread_siblings_list"} << siblings << "\n";
  }
  unsigned cores(const std::vector<unsigned>& cpus) const { return conc::detail::count_cores(cpus, root_); }

 private:
  fs::path root_ = fs::temp_directory_path() / "topology";
};

}  // namespace

TEST_CASE("usable_cpu_count: is at least 1 and at most what the process may run on", "[cpu_count]") {
  CHECK(conc::usable_cpu_count() >= 1);
  CHECK(conc::usable_cpu_count() <= conc::detail::allowed_cpus().size());
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

TEST_CASE("physical_cpu_count: is at least 1 and at most what is usable", "[cpu_count]") {
  CHECK(conc::physical_cpu_count() >= 1);
  CHECK(conc::physical_cpu_count() <= conc::usable_cpu_count());
}

TEST_CASE("physical_cpu_count: honours the affinity of the thread that asks", "[cpu_count]") {
  const auto count_on_one_cpu = [] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(::sched_getcpu()), &one);
    return ::sched_setaffinity(0, sizeof one, &one) == 0 ? conc::physical_cpu_count() : 0;
  };
  CHECK(conc_test::elsewhere(count_on_one_cpu) == 1);
}

TEST_CASE("physical_cpu_count: CPUs that share a core count once, and only those that are asked for", "[cpu_count]") {
  Topology machine;  // cores of two CPUs each, numbered as some machines do, and as others do
  for (const unsigned cpu : {0U, 1U, 2U, 3U}) {
    machine.write(cpu, std::to_string(cpu) + "," + std::to_string(cpu + 4));
    machine.write(cpu + 4, std::to_string(cpu) + "," + std::to_string(cpu + 4));
  }
  for (const unsigned cpu : {10U, 11U, 12U, 13U}) {
    machine.write(cpu, cpu < 12 ? "10-11" : "12-13");
  }
  machine.write(20, "20");
  CHECK(machine.cores({0, 1, 2, 3, 4, 5, 6, 7}) == 4);
  CHECK(machine.cores({0, 4}) == 1);
  CHECK(machine.cores({0, 1}) == 2);
  CHECK(machine.cores({5, 6, 7}) == 3);
  CHECK(machine.cores({10, 11, 12, 13}) == 2);
  CHECK(machine.cores({7, 11, 20}) == 3);
}

TEST_CASE("physical_cpu_count: where the system does not tell, each usable CPU counts", "[cpu_count]") {
  Topology machine;
  CHECK(machine.cores({0, 1}) == 0);
  machine.write(0, "0-1");
  CHECK(machine.cores({0}) == 1);
  CHECK(machine.cores({0, 1}) == 0);  // one that does not tell
  for (const char* const text : {"", "nonsense", ","}) {
    machine.write(1, text);
    CHECK(machine.cores({0, 1}) == 0);
  }
  CHECK(machine.cores({}) == 0);
  CHECK(conc::detail::least_count(4, 0) == 4);  // cores not known
  CHECK(conc::detail::least_count(4, 2) == 2);
  CHECK(conc::detail::least_count(2, 4) == 2);  // a quota below the cores
  CHECK(conc::detail::least_count(0, 3) == 3);
  CHECK(conc::detail::least_count(0, 0) == 1);
}
