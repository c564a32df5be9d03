// SPDX-License-Identifier: MIT
#include "http_client.hpp"

#include <string_view>

namespace fetch_urls {
namespace {

constexpr const char* kProtocols = "http,https";  // not file:, for one

void require(CURLcode code) {
  if (code != CURLE_OK) throw std::runtime_error(std::string("libcurl: ") + curl_easy_strerror(code));
}

/// No proxy can reach the loopback addresses of this machine.
bool is_loopback(std::string_view url) { return url.starts_with("http://127.0.0.1:"); }

bool is_temporary(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
      return true;
    default:
      return false;
  }
}

/// The server is in trouble (5xx), was too slow to get the request (408) or asks for patience (429).
bool is_temporary(long status) { return status >= 500 || status == 408 || status == 429; }

}  // namespace

Curl::Curl() { require(curl_global_init(CURL_GLOBAL_DEFAULT)); }

HttpClient::HttpClient(const Limits& limits, const conc::Event& stop)
    : limits_(limits), stop_(stop), easy_(curl_easy_init()) {
  if (!easy_) throw std::runtime_error("libcurl: out of memory");
  set(CURLOPT_NOSIGNAL, 1L);  // timeouts by signals would hit any thread
  set(CURLOPT_ERRORBUFFER, error_);
  set(CURLOPT_PROTOCOLS_STR, kProtocols);  // of redirects too
  set(CURLOPT_FOLLOWLOCATION, 1L);
  set(CURLOPT_MAXREDIRS, static_cast<long>(limits_.redirects));
  set(CURLOPT_TIMEOUT_MS, static_cast<long>(limits_.timeout.count()));
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(limits_.timeout.count()));
  set(CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(limits_.bytes));  // heeded where the server tells the size
  set(CURLOPT_WRITEFUNCTION, &HttpClient::take_body);
  set(CURLOPT_WRITEDATA, this);
  set(CURLOPT_XFERINFOFUNCTION, &HttpClient::shall_stop);
  set(CURLOPT_XFERINFODATA, this);
  set(CURLOPT_NOPROGRESS, 0L);  // without progress shall_stop() would not be called
}

Page HttpClient::get(const std::string& url) {
  set(CURLOPT_URL, url.c_str());
  set(CURLOPT_PROXY, is_loopback(url) ? "" : nullptr);  // nullptr: what the environment says
  received_ = 0;
  error_[0] = '\0';
  const CURLcode code = curl_easy_perform(easy_.get());
  if (code != CURLE_OK) fail(code);

  const long status = info<long>(CURLINFO_RESPONSE_CODE);
  if (status < 200 || status > 299) {
    throw FetchError("the server answered with status " + std::to_string(status), is_temporary(status));
  }
  return {.status = status, .bytes = received_, .seconds = info<double>(CURLINFO_TOTAL_TIME)};
}

template <class Value>
void HttpClient::set(CURLoption option, Value value) {
  require(curl_easy_setopt(easy_.get(), option, value));
}

template <class Value>
Value HttpClient::info(CURLINFO what) const {
  Value value{};
  require(curl_easy_getinfo(easy_.get(), what, &value));
  return value;
}

/// Called by libcurl with a piece of the page. Any result but `size` ends the transfer.
std::size_t HttpClient::take_body(char*, std::size_t, std::size_t size, void* client) noexcept {
  HttpClient& self = *static_cast<HttpClient*>(client);
  if (size > self.limits_.bytes - self.received_) return 0;
  self.received_ += size;
  return size;
}

/// Called by libcurl at least once a second. Any result but 0 ends the transfer.
int HttpClient::shall_stop(void* client, curl_off_t, curl_off_t, curl_off_t, curl_off_t) noexcept {
  return static_cast<HttpClient*>(client)->stop_.is_set() ? 1 : 0;
}

void HttpClient::fail(CURLcode code) const {
  if (code == CURLE_ABORTED_BY_CALLBACK) throw Interrupted{};
  if (code == CURLE_FILESIZE_EXCEEDED || code == CURLE_WRITE_ERROR) {
    throw FetchError("the page has more than " + std::to_string(limits_.bytes) + " bytes", false);
  }
  throw FetchError(error_[0] != '\0' ? error_ : curl_easy_strerror(code), is_temporary(code));
}

}  // namespace fetch_urls
