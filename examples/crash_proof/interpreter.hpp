// SPDX-License-Identifier: MIT
/// @file
/// Runs little programs, as trusting as many a reader of files is: it has no limits of its own.
///
///     n = 1;
///     while n < 1000 { n = n * 2; }    # a comment
///     if n == 1024 { print "ten: " + n; }
///     assert n < 2000;
///
/// Values are numbers of 64 bits and texts. The operators are + - * / % < ==; + also joins texts, and * repeats one.
///
/// Who may write the program decides what becomes of the process that runs it:
///
///     while 1 { }                      does not end
///     t = "x"; while 1 { t = t + t; }  takes all the memory there is
///     assert 0;                        calls std::abort(), as assert does in C
///     print ((((…1…))));               needs some stack for each parenthesis
#pragma once

#include <stdexcept>
#include <string>

namespace crash_proof {

/// What is wrong with a program: "line 3: there is no variable 'n'".
class ProgramError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Runs a program to its end and returns what it prints.
/// @throws ProgramError; std::bad_alloc
std::string run_program(const std::string& program);

}  // namespace crash_proof
