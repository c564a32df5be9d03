// SPDX-License-Identifier: MIT
/// @file
/// Shipment: a call on its way to a worker process and back, and what may become of it on the way.
#pragma once

#include <conc/deadline.hpp>
#include <conc/detail/backtrace.hpp>
#include <conc/detail/byte_buffer.hpp>
#include <conc/detail/continuation.hpp>
#include <conc/detail/frame.hpp>
#include <conc/detail/future_state.hpp>
#include <conc/detail/remote_code.hpp>
#include <conc/detail/remote_exception.hpp>
#include <conc/error.hpp>
#include <conc/pickle.hpp>
#include <conc/thread.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace conc::inline CONC_ABI::detail {

/// What a call calls, for people.
class Callee {
 public:
  Callee() noexcept = default;
  template <class F>
  explicit Callee(const F& fn) noexcept : type_{&typeid(F)} {
    if constexpr (is_function_pointer<F>) {
      function_ = reinterpret_cast<const void*>(fn);
    }
  }
  template <class F, class Items>
  explicit Callee(const MapCall<F, Items>& call) noexcept : Callee{call.fn} {}

  [[nodiscard]] std::string name() const {
    return function_ != nullptr ? name_of_function(function_) : type_name(type_ == nullptr ? typeid(void) : *type_);
  }

 private:
  const std::type_info* type_ = nullptr;
  const void* function_ = nullptr;
};

/// A call in bytes, ready to be written: the header of its frame, the name of its code, callable and arguments.
class CallBytes {
 public:
  CallBytes() noexcept = default;

  /// @throws whatever the pickling of the callable or of an argument throws
  template <class F, class... Args>
  void pack(FrameKind kind, const F& fn, const Args&... args) {
    const FrameHeader header{.kind = kind};
    bytes_.append(&header, sizeof header);
    Pickler pickler{bytes_};
    callee_ = Callee{fn};
    pickler(RemoteCode<F, Args...>::key());
    save_call(pickler, fn, args...);
    if (!pickler.kept().empty()) {
      kept_ = pickler.kept();
    }
    set_header(&FrameHeader::length, bytes_.size() - sizeof header);
  }

  void set_id(std::uint64_t id) noexcept { set_header(&FrameHeader::id, id); }
  /// What is named in them lives on.
  void drop_bytes() noexcept { bytes_ = {}; }
  void clear() noexcept {
    bytes_ = {};
    kept_ = {};
  }
  [[nodiscard]] const ByteBuffer& bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::string name() const { return callee_.name(); }

 private:
  void set_header(std::uint64_t FrameHeader::*member, std::uint64_t value) noexcept {
    FrameHeader header;
    std::memcpy(&header, bytes_.data(), sizeof header);
    header.*member = value;
    std::memcpy(bytes_.data(), &header, sizeof header);
  }

  ByteBuffer bytes_;
  Callee callee_;
  std::vector<std::shared_ptr<const void>> kept_;  // what the bytes only name: shared memory
};

/// What a worker has answered: its result, or the exception.
struct Answer {
  Unpickler& bytes;
  bool failed;
  int pid;

  /// The result of the call. @throws its exception; PickleError if the bytes are none of it
  template <class T>
  T take() const {
    if (failed) {
      const std::exception_ptr exception = load_exception(bytes, pid);
      bytes.expect_end();
      keep_for_sanitizer(exception);
      std::rethrow_exception(exception);
    }
    if constexpr (std::is_void_v<T>) {
      bytes.expect_end();
    } else {
      T result = bytes.get<T>();
      bytes.expect_end();
      return result;
    }
  }
};

/// A call that the broker owns until one of arrive(), give_up() and withdraw(): it may be gone then.
class Shipment {
 public:
  Shipment() noexcept = default;
  Shipment(const Shipment&) = delete;
  Shipment& operator=(const Shipment&) = delete;

  [[nodiscard]] virtual bool cancelled() const noexcept = 0;
  /// It goes to a worker for the first time. @return false if it was cancelled
  virtual bool leave() noexcept = 0;
  virtual void arrive(const Answer& answer) noexcept = 0;
  virtual void give_up(const std::exception_ptr& why) noexcept = 0;
  /// It is not to be run.
  virtual void withdraw() noexcept = 0;

  [[nodiscard]] std::string name() const { return call.name(); }

  CallBytes call;
  Shipment* next = nullptr;          // in one of the broker's lists
  std::uint64_t id = 0;              // changes with every try
  Deadline timeout{};                // counted from its start
  unsigned retries = 0;              // how often it may be run again
  bool for_good = false;             // once its bytes are written nobody needs them any more
  bool for_good_once_begun = false;  // likewise, once the worker has read some of them
  bool started = false;              // has left once: it cannot be cancelled any more

 protected:
  ~Shipment() = default;
};

/// One with a future. Born with one handle, and owned by whoever is to send it.
template <class T>
class RemoteState final : public FutureState<T>, public Shipment {
 public:
  explicit RemoteState(const std::type_info& callable) noexcept
      : FutureState<T>{FutureCore::kHandle | FutureCore::kOwned}, callable_{callable} {}

  [[nodiscard]] bool cancelled() const noexcept override {
    const auto phase = this->phase();
    return phase == FutureCore::cancelled || phase == FutureCore::cancelling;
  }
  bool leave() noexcept override { return this->start(); }
  void arrive(const Answer& answer) noexcept override {
    this->complete(true, [&answer]() -> T { return answer.take<T>(); });
  }
  void give_up(const std::exception_ptr& why) noexcept override {
    if (started) {
      this->complete(true, [&why]() -> T { std::rethrow_exception(why); });
    } else {
      this->refuse(why);
    }
  }
  void withdraw() noexcept override { this->refuse(nullptr); }

  const std::type_info& callable() const noexcept override { return callable_; }

 protected:
  void abandon() noexcept override { call.clear(); }

 private:
  const std::type_info& callable_;
};

/// One whose result nobody wants. What it throws goes to the hook of set_excepthook().
class DetachedShipment final : public Shipment {
 public:
  explicit DetachedShipment(CallBytes bytes) noexcept { call = std::move(bytes); }

  [[nodiscard]] bool cancelled() const noexcept override { return false; }
  bool leave() noexcept override { return true; }
  void arrive(const Answer& answer) noexcept override {
    if (answer.failed) {
      call_reporting([&answer] { answer.take<void>(); });
    }
    delete this;
  }
  void give_up(const std::exception_ptr& why) noexcept override {
    call_reporting([&why] { std::rethrow_exception(why); });
    delete this;
  }
  void withdraw() noexcept override { delete this; }

 private:
  ~DetachedShipment() = default;
};

}  // namespace conc::inline CONC_ABI::detail
