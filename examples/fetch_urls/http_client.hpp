// SPDX-License-Identifier: MIT
/// @file
/// One HTTP request after the other, with libcurl: limited in time, size and redirects.
#pragma once

#include <curl/curl.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>

#include <conc/event.hpp>

namespace fetch_urls {

/// libcurl, set up for the program. Made in main() before there are other threads: setting it up is not thread-safe.
class Curl {
 public:
  Curl();
  ~Curl() { curl_global_cleanup(); }

  Curl(const Curl&) = delete;
  Curl& operator=(const Curl&) = delete;
};

struct Limits {
  std::chrono::milliseconds timeout{10'000};  // for a request with its redirects, from the look-up of the name on
  std::size_t bytes = 10'000'000;             // of one page
  int redirects = 5;
};

struct Page {
  long status = 0;
  std::size_t bytes = 0;
  double seconds = 0;  // of the attempt that succeeded
  int attempts = 1;
};

/// Why there is no page.
class FetchError : public std::runtime_error {
 public:
  FetchError(const std::string& reason, bool temporary) : std::runtime_error(reason), temporary_(temporary) {}

  /// Whether another attempt may succeed.
  bool temporary() const noexcept { return temporary_; }

 private:
  bool temporary_;
};

/// There is no page because the user wants to stop.
class Interrupted : public std::runtime_error {
 public:
  Interrupted() : std::runtime_error("was interrupted") {}
};

/// A client keeps its connections for later requests. Only one thread may use it at a time.
class HttpClient {
 public:
  /// Requests are given up, within a second, once `stop` is set.
  HttpClient(const Limits& limits, const conc::Event& stop);

  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  /// One attempt.
  /// @throws FetchError if there is no answer, or one without success (not 2xx); Interrupted.
  Page get(const std::string& url);

 private:
  struct Cleanup {
    void operator()(CURL* easy) const noexcept { curl_easy_cleanup(easy); }
  };

  template <class Value>
  void set(CURLoption option, Value value);
  template <class Value>
  Value info(CURLINFO what) const;
  static std::size_t take_body(char* bytes, std::size_t one, std::size_t size, void* client) noexcept;
  static int shall_stop(void* client, curl_off_t, curl_off_t, curl_off_t, curl_off_t) noexcept;
  [[noreturn]] void fail(CURLcode code) const;

  const Limits limits_;
  const conc::Event& stop_;
  std::unique_ptr<CURL, Cleanup> easy_;
  char error_[CURL_ERROR_SIZE] = {};  // libcurl's own words about what went wrong
  std::size_t received_ = 0;          // bytes of the current page
};

}  // namespace fetch_urls
