// SPDX-License-Identifier: MIT
/// @file
/// use_future: the completion token that has any operation of Asio return a conc::Future.
#pragma once

#include <conc/detail/asio.hpp>
#include <conc/future.hpp>
#include <exception>
#include <tuple>
#include <type_traits>
#include <utility>

namespace conc::inline CONC_ABI {

struct UseFuture {};

/// As the last argument of an operation of Asio, on any context: the operation returns a Future of what it would have
/// called its handler with. An error code becomes std::system_error, several values a tuple. An operation that is dropped,
/// with its context, leaves BrokenPromise. cancel() of the future does not cancel the operation.
inline constexpr UseFuture use_future{};

}  // namespace conc::inline CONC_ABI

namespace conc::inline CONC_ABI::detail {

template <class... Values>
struct ResultOf {
  using type = std::tuple<std::decay_t<Values>...>;
};
template <class Value>
struct ResultOf<Value> {
  using type = std::decay_t<Value>;
};
template <>
struct ResultOf<> {
  using type = void;
};

template <class... Values>
struct HandlerResult : ResultOf<Values...> {};
template <class... Values>
struct HandlerResult<asio::error_code, Values...> : ResultOf<Values...> {};
template <class... Values>
struct HandlerResult<std::exception_ptr, Values...> : ResultOf<Values...> {};

/// The handler of an operation that calls it with Args.
template <class... Args>
class FutureHandler {
 public:
  using Result = typename HandlerResult<std::decay_t<Args>...>::type;

  Future<Result> get_future() const { return promise_.get_future(); }

  void operator()() { promise_.try_set_result(); }
  template <class First, class... Others>
  void operator()(First&& first, Others&&... others) {
    // A future that was cancelled meanwhile stays so.
    using Kind = std::tuple_element_t<0, std::tuple<std::decay_t<Args>...>>;
    if constexpr (std::is_same_v<Kind, asio::error_code>) {
      if (const asio::error_code error = first) {
        promise_.try_set_exception(std::make_exception_ptr(asio::system_error{error}));
      } else {
        promise_.try_set_result(std::forward<Others>(others)...);
      }
    } else if constexpr (std::is_same_v<Kind, std::exception_ptr>) {
      if (const std::exception_ptr exception = first) {
        promise_.try_set_exception(exception);
      } else {
        promise_.try_set_result(std::forward<Others>(others)...);
      }
    } else {
      promise_.try_set_result(std::forward<First>(first), std::forward<Others>(others)...);
    }
  }

 private:
  Promise<Result> promise_;
};

}  // namespace conc::inline CONC_ABI::detail

template <class R, class... Args>
class asio::async_result<conc::UseFuture, R(Args...)> {
 public:
  using return_type = conc::Future<typename conc::detail::FutureHandler<Args...>::Result>;

  template <class Initiation, class... InitArgs>
  static return_type initiate(Initiation&& initiation, conc::UseFuture /*token*/, InitArgs&&... args) {
    conc::detail::FutureHandler<Args...> handler;
    return_type future = handler.get_future();
    std::forward<Initiation>(initiation)(std::move(handler), std::forward<InitArgs>(args)...);
    return future;
  }
};
