// SPDX-License-Identifier: MIT
/// @file
/// Makes record files from real data: one record for each file found below a folder.
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "file.hpp"
#include "fnv.hpp"
#include "record.pb.h"
#include "record_file.hpp"

namespace fs = std::filesystem;

namespace record_filter {
namespace {

constexpr const char* kDescription =
    "Makes record files for record_filter: one record for each file below a folder.\n\n"
    "Record k of the sorted list goes to record file k modulo their number, so the same tree gives the same files.\n"
    "Beside the folders lies a CSV file with the group ids of every third directory.\n\n"
    "Exit code: 0 all is written, 1 some file could not be read or written, 2 wrong use.\n";

struct Options {
  fs::path source = "/usr/include";
  fs::path output;
  fs::path csv;
  std::size_t folders = 8;
  std::size_t files = 4;
  std::size_t repeat = 1;
};

struct Records {
  std::vector<std::string> messages;  // serialized, in the order of their paths
  std::size_t unreadable = 0;
};

void complain(const std::string& text) { std::cerr << "make_records: " << text << '\n'; }

/// The regular files below `source`, sorted, as paths below `source`. Links are not followed.
std::vector<std::string> find_files(const fs::path& source) {
  std::vector<std::string> paths;
  const auto options = fs::directory_options::skip_permission_denied;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(source, options)) {
    if (fs::is_regular_file(entry.symlink_status())) {
      paths.push_back(entry.path().lexically_relative(source).generic_string());
    }
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

/// "a/b/c" -> "a/b", "c" -> ""
std::string directory_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

std::uint64_t content_digest(const fs::path& file) {
  InputFile input(file);
  Fnv1a digest;
  static char buffer[65536];
  while (const std::size_t size = input.read(buffer, sizeof(buffer))) digest.update({buffer, size});
  return digest.value();
}

std::string make_record(const fs::path& source, const std::string& path) {
  const fs::path file = source / path;
  struct stat status;
  if (::lstat(file.c_str(), &status) != 0) throw std::system_error(errno, std::generic_category(), file.string());

  Record record;
  record.set_group_id(fnv1a(directory_of(path)));
  record.set_path(path);
  record.set_size(static_cast<std::uint64_t>(status.st_size));
  record.set_modified_ns(std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec);
  record.set_content_digest(content_digest(file));
  return record.SerializeAsString();
}

Records make_all(const fs::path& source, const std::vector<std::string>& paths) {
  Records records;
  for (const std::string& path : paths) {
    try {
      records.messages.push_back(make_record(source, path));
    } catch (const std::system_error& e) {
      complain(e.what());  // unreadable, or gone since it was found: the others still count
      ++records.unreadable;
    }
  }
  return records;
}

std::string numbered(const char* prefix, std::size_t number) {
  std::string digits = std::to_string(number);
  return prefix + std::string(digits.size() < 4 ? 4 - digits.size() : 0, '0') + digits;
}

void write_folders(const Options& options, const std::vector<std::string>& messages) {
  const std::size_t all_files = options.folders * options.files;
  const std::size_t all_records = messages.size() * options.repeat;
  for (std::size_t folder = 0; folder < options.folders; ++folder) {
    PartialFolder partial(options.output / numbered("folder-", folder));
    for (std::size_t file = 0; file < options.files; ++file) {
      RecordWriter writer(partial.path() / (numbered("records-", file) + ".sz"));
      for (std::size_t k = folder * options.files + file; k < all_records; k += all_files) {
        writer.write(messages[k % messages.size()]);
      }
      writer.close();
    }
    partial.commit();
  }
}

/// Hexadecimal, since a spreadsheet would round a decimal number of this size.
std::string as_hexadecimal(std::uint64_t number) {
  char text[24];
  std::snprintf(text, sizeof(text), "0x%016llx", static_cast<unsigned long long>(number));
  return text;
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) result += c == '"' ? std::string("\"\"") : std::string(1, c);
  return result + "\"";
}

/// Writes one row for every third directory, and returns how many.
std::size_t write_csv(const fs::path& csv, const std::vector<std::string>& paths) {
  std::map<std::string, std::size_t> files_of;  // by directory
  for (const std::string& path : paths) ++files_of[directory_of(path)];

  std::string text = "group_id,files,directory\n";
  std::size_t rows = 0;
  std::size_t position = 0;
  for (const auto& [directory, files] : files_of) {
    if (position++ % 3 != 0) continue;
    text += as_hexadecimal(fnv1a(directory)) + "," + std::to_string(files) + "," + quoted(directory) + "\n";
    ++rows;
  }
  OutputFile output(csv);
  output.write(text.data(), text.size());
  output.close();
  return rows;
}

int run(const Options& options) {
  std::vector<std::string> paths;
  try {
    paths = find_files(options.source);
    if (paths.empty()) throw std::runtime_error(options.source.string() + ": there are no files");
    require_empty_folder(options.output);
  } catch (const std::exception& e) {
    complain(e.what());
    return 2;
  }

  const fs::path csv = options.csv.empty() ? options.output / "groups.csv" : options.csv;
  try {
    const Records records = make_all(options.source, paths);
    write_folders(options, records.messages);
    const std::size_t groups = write_csv(csv, paths);
    std::cout << "folders  " << options.folders << "\nfiles    " << options.folders * options.files << "\nrecords  "
              << records.messages.size() * options.repeat << "\ngroups   " << groups << " in " << csv.string() << "\n";
    return records.unreadable == 0 ? 0 : 1;
  } catch (const std::exception& e) {
    complain(e.what());
    return 1;
  }
}

}  // namespace
}  // namespace record_filter

int main(int argc, char** argv) {
  record_filter::Options options;
  CLI::App app{record_filter::kDescription};
  app.add_option("--source", options.source, "Folder to walk; links are not followed")
      ->check(CLI::ExistingDirectory)
      ->capture_default_str();
  app.add_option("--output", options.output, "Folder for the record files; absent or empty")->required();
  app.add_option("--csv", options.csv, "CSV file of group ids to write [OUTPUT/groups.csv]");
  app.add_option("--folders", options.folders, "Folders to write")->check(CLI::Range(1, 9999))->capture_default_str();
  app.add_option("--files", options.files, "Record files in each")->check(CLI::Range(1, 9999))->capture_default_str();
  app.add_option("--repeat", options.repeat, "Write every record so many times, for more work from the same tree")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  return record_filter::run(options);
}
