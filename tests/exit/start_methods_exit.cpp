// SPDX-License-Identifier: MIT
// [P19] All start methods, in programs that are linked in several ways: see CMakeLists.txt.
// stdout: fork_server: 42
// stdout: spawn: 42
// stdout: fork: 42
#include <conc/process.hpp>
#include <string>

#include "say.hpp"

int main(int argc, char** argv) {
  conc::process_init(argc, argv);
  using enum conc::StartMethod;
  for (const auto& [method, name] : {std::pair{fork_server, "fork_server"}, {spawn, "spawn"}, {fork, "fork"}}) {
    conc::Process process{
        {.start_method = method}, [](int a, const std::string& b) { ::_exit(a * std::stoi(b)); }, 6, std::string{"7"}};
    process.start();
    process.join();
    say(std::string{name} + ": " + std::to_string(process.exitcode().value_or(-1)));
  }
}
